//! One owner's stream on its way to the ledger: what its next append holds, and what the answer changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use energy::CLOCK_SET_BACK;
use meter::{Context, Id, Labels, Owner, Record, Refusal};
use wire::{Append, AppendAnswer, Hello};

use crate::delivery::{Delivery, Step};
use crate::spool::{Batch, Room, Spool, SpoolError};

/// How long a rejected stream waits before it asks again, in nanoseconds.
const REJECTED_WAIT_NS: u64 = 30_000_000_000;

/// Answers in a row without progress that are taken for a misunderstanding and waited out.
const STALLED_MAX: u32 = 4;

/// One owner's stream.
#[derive(Debug)]
pub struct Lane {
    owner: Owner,
    import: bool,
    hello: Hello,
    spool: Spool,
    /// The stream that `delivery` speaks of: the spool may have begun another one since.
    stream: Id,
    delivery: Delivery,
    told: BTreeSet<u64>,
    under_way: Option<UnderWay>,
    /// Where the last post ended that was not answered: it is repeated as it was, so that a ledger can
    /// stand in no more than one place that is not known yet.
    unanswered: Option<u64>,
    not_before_ns: u64,
    rejected: Option<Rejection>,
    tally: Tally,
}

#[derive(Debug)]
struct UnderWay {
    introduced: bool,
    contexts: Vec<u64>,
}

/// Why the ledger does not accept a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The ledger's stable code.
    pub code: String,
    /// The ledger's words.
    pub detail: String,
}

/// What the ledger made of the readings, by its own answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Readings booked.
    pub booked: u64,
    /// Readings for time that was covered already.
    pub fenced: u64,
    /// Readings refused, by reason.
    pub refused: BTreeMap<Refusal, u64>,
}

impl Tally {
    /// Adds what another one has.
    pub fn add(&mut self, more: &Self) {
        self.booked += more.booked;
        self.fenced += more.fenced;
        for (&reason, count) in &more.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }
}

/// What the program says of itself.
#[must_use]
pub fn agent_name() -> String {
    concat!("wattledger-agent/", env!("CARGO_PKG_VERSION")).into()
}

impl Lane {
    /// A stream of live readings. `fingerprint` is that of the machine, if the owner is itself.
    #[must_use]
    pub fn live(owner: Owner, fingerprint: Option<Id>, labels: Labels, spool: Spool) -> Self {
        let hello = Hello { fingerprint, labels, agent: agent_name(), contexts: Vec::new() };
        let delivery = if spool.head().seq == 0 { Delivery::fresh() } else { Delivery::resumed() };
        Self::new(owner, false, hello, spool, delivery)
    }

    /// A stream of recorded readings.
    ///
    /// # Errors
    /// [`SpoolError::Random`].
    pub fn recorded(owner: Owner, labels: Labels) -> Result<Self, SpoolError> {
        let hello = Hello { fingerprint: None, labels, agent: agent_name(), contexts: Vec::new() };
        Ok(Self::new(owner, true, hello, Spool::in_memory(u64::MAX)?, Delivery::fresh()))
    }

    fn new(owner: Owner, import: bool, hello: Hello, spool: Spool, delivery: Delivery) -> Self {
        Self {
            owner,
            import,
            hello,
            stream: spool.stream(),
            spool,
            delivery,
            told: BTreeSet::new(),
            under_way: None,
            unanswered: None,
            not_before_ns: 0,
            rejected: None,
            tally: Tally::default(),
        }
    }

    /// Appends a record.
    pub fn append(&mut self, context: &Arc<Context>, record: &Record) {
        self.spool.append(context, record);
    }

    /// Whose stream this is.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Labels to introduce the owner with from the next append on.
    pub fn set_labels(&mut self, labels: Labels) {
        if self.hello.labels != labels {
            self.hello.labels = labels;
            self.delivery.introduce();
            if let Some(under_way) = &mut self.under_way {
                // It introduces by the old ones.
                under_way.introduced = false;
            }
        }
    }

    /// The labels that the owner is introduced with.
    #[must_use]
    pub const fn labels(&self) -> &Labels {
        &self.hello.labels
    }

    /// The records that wait here.
    #[must_use]
    pub const fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Up to which record the ledger has this stream on disk.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.delivery.durable()
    }

    /// Whether the ledger has everything on disk.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.delivery.is_delivered(self.spool.head().seq)
    }

    /// Why the ledger last refused the stream as a whole, if it did.
    #[must_use]
    pub const fn rejected(&self) -> Option<&Rejection> {
        self.rejected.as_ref()
    }

    /// What the ledger made of the readings so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Makes what was appended survive a power loss, and tries again what could not be written.
    pub(crate) fn sync(&mut self) {
        self.spool.sync();
    }

    /// Makes what was appended, and what the next post holds of it, survive a power loss.
    pub(crate) fn save(&mut self) {
        self.spool.save();
    }

    /// Says nothing in the next post; whether it would have had something to say.
    pub(crate) fn stand_by(&mut self, now_ns: u64) -> bool {
        self.under_way = None;
        now_ns >= self.not_before_ns && !self.is_delivered()
    }

    /// Lets the next append be another than the one that was not answered.
    pub(crate) const fn give_up_post(&mut self) {
        self.unanswered = None;
    }

    /// Whether an append of this stream waits for its answer.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether the last answer called for another append at once.
    pub(crate) const fn goes_on(&self, now_ns: u64) -> bool {
        self.delivery.stalled() > 0 && now_ns >= self.not_before_ns
    }

    /// The next append, if there is anything to say. It may be sent once the stream was saved.
    pub(crate) fn next_append(&mut self, now_ns: u64, room: Room) -> Option<(Append, Size)> {
        self.under_way = None;
        self.follow_spool();
        if now_ns < self.not_before_ns || self.is_delivered() {
            return None;
        }
        if let Some(step) = self.delivery.reach(self.spool.start().seq) {
            self.follow(step, now_ns);
        }
        let until = self.unanswered.unwrap_or(u64::MAX);
        let batch = self.delivery.stands().map(|stands| (stands, self.spool.read(stands, Room { until, ..room })));
        let (base, batch) = match batch {
            Some((stands, Ok(batch))) => (stands, batch),
            asking => {
                if asking.is_some() {
                    self.delivery.ask();
                }
                (self.spool.head(), Batch::default())
            }
        };
        let size = Size { bytes: batch.bytes, samples: batch.samples };
        let (records, mut needed) = (batch.records, batch.contexts);
        if !records.is_empty() {
            self.unanswered = Some(batch.end.seq);
            self.spool.mark_sent(batch.end.seq);
        }
        let live = if records.is_empty() { Vec::new() } else { self.present(batch.end.seq, &mut needed) };
        let untold = needed.keys().any(|id| !self.told.contains(id));
        let introduced = self.delivery.wants_hello() || untold;
        let hello = introduced.then(|| {
            let contexts = needed.values().map(|context| Context::clone(context)).collect();
            Hello { contexts, ..self.hello.clone() }
        });
        self.under_way = Some(UnderWay { introduced, contexts: needed.into_keys().collect() });
        let (stream, owner) = (self.spool.stream(), self.owner.clone());
        Some((Append { stream, owner, hello, base, import: self.import, records, live }, size))
    }

    /// The newest records, to be shown while older ones are brought; none if the append brings them.
    fn present(&self, end: u64, needed: &mut BTreeMap<u64, Arc<Context>>) -> Vec<Record> {
        if self.import || end == self.spool.head().seq {
            return Vec::new();
        }
        let room = wire::CONTEXTS_MAX - needed.len().min(wire::CONTEXTS_MAX);
        let newest: Vec<_> = self.spool.newest().take(room.min(wire::LIVE_MAX)).collect();
        needed.extend(newest.iter().map(|(record, context)| (record.context, Arc::clone(context))));
        newest.into_iter().map(|(record, _)| record.clone()).collect()
    }

    /// A spool that was coalesced, or came home, is a stream that no ledger has heard of.
    fn follow_spool(&mut self) {
        if self.stream != self.spool.stream() {
            self.stream = self.spool.stream();
            self.delivery = Delivery::fresh();
            self.told.clear();
            self.unanswered = None;
        }
    }

    /// Takes the answer to the append under way.
    pub(crate) fn settle(&mut self, answer: &AppendAnswer, now_ns: u64) {
        let Some(under_way) = self.under_way.take() else { return };
        self.note(answer);
        if self.stream != self.spool.stream() {
            // What it speaks of has another name by now.
            return self.follow_spool();
        }
        self.unanswered = None;
        let step = self.delivery.step(answer, under_way.introduced, |seq| self.spool.digest_at(seq));
        if matches!(step, Step::Durable(_)) {
            self.told.extend(under_way.contexts);
            if self.rejected.take().is_some() {
                tracing::info!(owner = %self.owner, "the ledger accepts this owner's readings again");
            }
        }
        self.follow(step, now_ns);
        if self.delivery.stalled() >= STALLED_MAX {
            self.not_before_ns = self.not_before_ns.max(now_ns + REJECTED_WAIT_NS);
        }
    }

    /// Adds up what the ledger made of the readings.
    fn note(&mut self, answer: &AppendAnswer) {
        if let AppendAnswer::Durable { booked, fenced, refused, .. } = answer {
            self.tally.booked += booked;
            self.tally.fenced += fenced;
            for refused in refused {
                let seen = self.tally.refused.entry(refused.reason).or_default();
                if *seen == 0 {
                    tracing::warn!(owner = %self.owner, scope = %refused.scope, device = ?refused.device, reason = %refused.reason, "the ledger refuses readings");
                }
                *seen += refused.count;
            }
        }
    }

    fn follow(&mut self, step: Step, now_ns: u64) {
        match step {
            Step::Durable(at) => self.spool.acknowledge(at.seq),
            Step::Resume(at) => {
                tracing::info!(owner = %self.owner, seq = at.seq, "going on where the ledger stands");
                self.spool.acknowledge(self.delivery.durable());
            }
            Step::Introduce => self.told.clear(),
            Step::Mint(why) => {
                tracing::warn!(owner = %self.owner, "{why}: everything retained is sent as a new stream, nothing of it is booked twice");
                self.told.clear();
                if let Err(error) = self.spool.mint() {
                    tracing::error!(%error, "the new stream's identity cannot be saved");
                }
                (self.stream, self.unanswered) = (self.spool.stream(), None);
            }
            Step::Rejected { code, detail } => {
                let rejection = Rejection { code, detail };
                // The boot has another id by the next post: nothing has to change first.
                let wait_ns = if rejection.code == CLOCK_SET_BACK { 0 } else { REJECTED_WAIT_NS };
                if self.rejected.as_ref() != Some(&rejection) {
                    tracing::error!(owner = %self.owner, code = ?rejection.code, detail = ?rejection.detail, "the ledger rejects this owner's readings: they are kept, and offered again every 30 s");
                    self.rejected = Some(rejection);
                }
                self.not_before_ns = now_ns + wait_ns;
            }
        }
    }
}

/// What an append takes of a post's room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    pub(crate) bytes: usize,
    pub(crate) samples: usize,
}
