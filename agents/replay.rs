//! Recorded readings on their way to the ledger: the same streams, spool and protocol as live ones,
//! with the recording's own dates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meter::{Context, Labels, Owner, Record};
use wire::WireError;

use crate::clock;
use crate::link::{Backoff, Link, LinkError, random};
use crate::outbox::{Lane, Outbox, Rejection, Tally};
use crate::sources::replay::RecordedOwner;
use crate::spool::SpoolError;

/// Attempts to reach an aggregator that never answered before giving up: a few seconds.
const FIRST_ATTEMPTS: u32 = 4;

/// How often a paced replay releases what became due.
const PACE: Duration = Duration::from_millis(500);

/// How to send recorded readings.
#[derive(Clone, Debug)]
pub struct SendSettings {
    /// Aggregators, tried in order.
    pub servers: Vec<String>,
    /// Longest time for one request.
    pub timeout: Duration,
    /// How many times faster than recorded; nothing for as fast as possible.
    pub speed: Option<f64>,
    /// Labels to introduce owners with.
    pub labels: BTreeMap<Owner, Labels>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Owners whose readings were sent.
    pub owners: usize,
    /// Records on the ledger's disk.
    pub records: u64,
    /// Readings in them.
    pub readings: u64,
    /// What the ledger made of them.
    pub tally: Tally,
}

/// Why recorded readings could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The aggregator cannot be reached or does not accept.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A stream cannot be made.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A record cannot be encoded.
    #[error("a record cannot be sent: {0}")]
    Wire(#[from] WireError),
    /// The ledger does not accept an owner's readings.
    #[error("the ledger rejects the readings of {owner}: {detail} ({code})", code = .rejection.code, detail = .rejection.detail)]
    Rejected {
        /// Whose.
        owner: Box<Owner>,
        /// Why.
        rejection: Rejection,
    },
}

impl SendSettings {
    /// As fast as possible to one aggregator.
    #[must_use]
    pub fn to(server: &str) -> Self {
        Self { servers: vec![server.into()], timeout: Duration::from_secs(30), speed: None, labels: BTreeMap::new() }
    }
}

/// One recording, and how much of it was released to its stream.
struct Recording {
    contexts: BTreeMap<u64, Arc<Context>>,
    records: std::vec::IntoIter<Record>,
    /// A record that was looked at and is not due yet.
    next: Option<Record>,
}

/// Sends recordings, each as its own stream, and returns when the ledger has all of it on disk.
/// `progress` is told how many records are, and of how many.
///
/// # Errors
/// [`SendError`]. What was durable stays so; sending again books nothing twice.
pub async fn send(
    owners: Vec<RecordedOwner>,
    settings: &SendSettings,
    mut progress: impl FnMut(u64, u64),
) -> Result<ReplaySummary, SendError> {
    let total = owners.iter().map(|owner| owner.records.len() as u64).sum();
    let readings = owners.iter().flat_map(|owner| &owner.records).map(|record| record.samples.len() as u64).sum();
    let mut link = Link::new(&settings.servers, settings.timeout)?;
    let (mut lanes, mut recordings) = (Vec::new(), Vec::new());
    for owner in owners {
        let labels = settings.labels.get(&owner.owner).cloned().unwrap_or_default();
        lanes.push(Lane::recorded(owner.owner, labels)?);
        recordings.push(Recording::new(owner.contexts, owner.records));
    }
    let mut outbox = Outbox::new(lanes);
    let pace = Pace::new(settings.speed, &mut recordings);
    loop {
        let due = pace.due();
        for (place, recording) in recordings.iter_mut().enumerate() {
            if let Some(lane) = outbox.lane(place) {
                recording.release(due, lane);
            }
        }
        deliver(&mut outbox, &mut link, total, &mut progress).await?;
        if let Some(lane) = outbox.lanes().iter().find(|lane| lane.rejected().is_some())
            && let Some(rejection) = lane.rejected().cloned()
        {
            return Err(SendError::Rejected { owner: Box::new(lane.owner().clone()), rejection });
        }
        if recordings.iter_mut().all(Recording::is_released) {
            break;
        }
        tokio::time::sleep(PACE).await;
    }
    let (records, _) = outbox.progress();
    Ok(ReplaySummary { owners: recordings.len(), records, readings, tally: outbox.tally() })
}

/// Posts until the ledger has everything released so far, or rejects what is left.
pub(crate) async fn deliver(
    outbox: &mut Outbox,
    link: &mut Link,
    total: u64,
    progress: &mut impl FnMut(u64, u64),
) -> Result<(), SendError> {
    let mut backoff = Backoff::default();
    loop {
        progress(outbox.progress().0, total);
        if outbox.is_delivered() {
            return Ok(());
        }
        let Some(outgoing) = outbox.next_post(clock::boot_ns(), None)? else {
            if outbox.lanes().iter().any(|lane| lane.rejected().is_some()) {
                return Ok(());
            }
            // A misunderstanding that is waited out.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        match link.post(&outgoing.body).await {
            Ok(answer) => {
                outbox.settle(&answer, clock::boot_ns());
                backoff.reset();
            }
            Err(LinkError::TooLarge(_)) => outbox.halve(),
            Err(error @ (LinkError::Refused { .. } | LinkError::Garbled { .. })) => return Err(error.into()),
            Err(error) => {
                let never = !outbox.answered();
                if never && matches!(error, LinkError::Unreachable { .. }) && backoff.failures() >= FIRST_ATTEMPTS {
                    return Err(error.into());
                }
                if backoff.failures() == 0 {
                    tracing::warn!("{error} (trying on)");
                }
                tokio::time::sleep(backoff.next(&error, random())).await;
            }
        }
    }
}

impl Recording {
    fn new(contexts: Vec<Context>, records: Vec<Record>) -> Self {
        let contexts = contexts.into_iter().map(|context| (wire::context_id(&context), Arc::new(context))).collect();
        Self { contexts, records: records.into_iter(), next: None }
    }

    fn peek(&mut self) -> Option<&Record> {
        if self.next.is_none() {
            self.next = self.records.next();
        }
        self.next.as_ref()
    }

    fn is_released(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Appends what is due to the stream.
    fn release(&mut self, due_ns: u64, lane: &mut Lane) {
        while self.peek().is_some_and(|record| record.at <= due_ns) {
            if let Some(record) = self.next.take()
                && let Some(context) = self.contexts.get(&record.context)
            {
                lane.append(context, &record);
            }
        }
    }
}

/// Which recorded instant is due now.
struct Pace {
    speed: Option<f64>,
    started_ns: u64,
    first_ns: u64,
}

impl Pace {
    fn new(speed: Option<f64>, recordings: &mut [Recording]) -> Self {
        let first = recordings.iter_mut().filter_map(|recording| recording.peek().map(|record| record.at)).min();
        Self { speed, started_ns: clock::boot_ns(), first_ns: first.unwrap_or(0) }
    }

    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
    fn due(&self) -> u64 {
        let Some(speed) = self.speed else { return u64::MAX };
        let passed = clock::boot_ns().saturating_sub(self.started_ns) as f64 * speed;
        self.first_ns.saturating_add(passed as u64)
    }
}
