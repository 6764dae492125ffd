//! Records on their way to the accounts: what they have in common, and when they were read.

use meter::{Clock, Id, Record, Refusal, Utc};

use crate::dating::{self, CLOCK_SLACK_NS, Dates};
use crate::policy::{Policy, Rules};
use crate::precedence::Readers;
use crate::{BootDate, Edge, KnownContext, Sent};

/// Readings, and words of a stream, that are at most this old are of the present.
pub(crate) const LIVE_NS: u64 = 120_000_000_000;

/// Records to be booked, with what dates them.
pub(crate) struct Batch<'a> {
    pub(crate) records: &'a [Record],
    pub(crate) sent: Option<&'a Sent>,
    pub(crate) import: bool,
    pub(crate) now: Utc,
    /// Whether the machine reports itself.
    pub(crate) own: bool,
    /// Whether the stream held records before.
    pub(crate) follows: bool,
    /// Whether another stream takes turns with this one: whoever repeats what it sent before, under a new
    /// name, never speaks under the old one again.
    pub(crate) rivalled: bool,
    /// Most accounts that the owner may have without exceeding the ledger's cap.
    pub(crate) keys_max: usize,
}

/// What the samples of a run of records have in common.
pub(crate) struct RunDesk<'a> {
    pub(crate) context: &'a KnownContext,
    /// How its boot clock is dated; nothing if it counts in UTC.
    pub(crate) dates: Option<Dates>,
    /// By device.
    pub(crate) rules: &'a [Rules],
    /// Who reads the owner, if that may be several.
    pub(crate) readers: Option<&'a Readers>,
    pub(crate) batch: &'a Batch<'a>,
    pub(crate) policy: &'a Policy,
}

impl Batch<'_> {
    /// Dates the boots whose records the batch holds, in the order of their first records.
    pub(crate) fn date(
        &self,
        boots: &mut Vec<BootDate>,
        contexts: &[KnownContext],
        policy: &Policy,
    ) -> Vec<(Id, Dates)> {
        let mut runs: Vec<dating::Run<'_>> = Vec::new();
        let mut newest: Option<(&KnownContext, Id)> = None;
        for record in self.records {
            if newest.is_none_or(|(context, _)| context.id != record.context) {
                let context = contexts.iter().find(|context| context.id == record.context);
                newest = context.and_then(|context| match context.clock {
                    Clock::Boot(boot) => Some((context, boot)),
                    Clock::Utc => None,
                });
            }
            let Some((context, boot)) = newest else { continue };
            if is_ahead(context.clock, record.at, self.sent) {
                continue;
            }
            let first = first_instant(record);
            match runs.iter_mut().rev().find(|run| run.boot == boot) {
                Some(run) => (run.first, run.last) = (run.first.min(first), run.last.max(record.at)),
                None => runs.push(dating::Run {
                    boot,
                    first,
                    last: record.at,
                    wall_offset_ns: context.wall_offset_ns,
                    own: self.own,
                    follows: self.follows,
                    sent: self.sent,
                    now: self.now,
                    skew_ns: policy.skew_ns,
                }),
            }
        }
        runs.iter().map(|run| (run.boot, dating::date(boots, run))).collect()
    }
}

impl RunDesk<'_> {
    /// An edge without values at an instant of the context's clock; refused if no reading can be dated
    /// so. A boot clock's dates are the ledger's own and are never refused: were its clock wrong when it
    /// gave them, the readings would be lost with it.
    pub(crate) fn edge_at(&self, at: u64) -> Result<Edge, Refusal> {
        let (clock, batch) = (self.context.clock, self.batch);
        let edge = dating::edge_at(clock, at, self.dates.as_ref()).ok_or(Refusal::FromFuture)?;
        match clock {
            Clock::Boot(_) if is_ahead(clock, at, batch.sent) => Err(Refusal::FromFuture),
            Clock::Boot(_) => Ok(edge),
            Clock::Utc if edge.at.since(batch.now) > self.policy.skew_ns => Err(Refusal::FromFuture),
            Clock::Utc if !batch.import && batch.now.since(edge.at) > self.policy.live_age_max_ns => {
                Err(Refusal::TooOld)
            }
            Clock::Utc => Ok(edge),
        }
    }

    /// Whether a reading was just taken, by the clock that dated it.
    pub(crate) fn is_fresh(&self, edge: &Edge) -> bool {
        let age = match (self.context.clock, self.batch.sent) {
            (Clock::Utc, _) if !self.batch.import => Some(self.batch.now.since(edge.at)),
            (Clock::Boot(boot), Some(sent)) if sent.boot == boot => Some(sent.boot_ns.saturating_sub(edge.mono)),
            _ => None,
        };
        age.is_some_and(|age| age < LIVE_NS)
    }
}

/// The earliest instant that a record speaks of.
fn first_instant(record: &Record) -> u64 {
    let spans = record.summary.iter().flat_map(|summary| &summary.spans);
    spans.map(|span| span.from.at).min().unwrap_or(record.at).min(record.at)
}

/// Whether an instant lies ahead of the boot clock by which it was read, when it was sent.
fn is_ahead(clock: Clock, at: u64, sent: Option<&Sent>) -> bool {
    let running = sent.filter(|sent| clock == Clock::Boot(sent.boot));
    running.is_some_and(|sent| at.saturating_sub(sent.boot_ns) > CLOCK_SLACK_NS)
}
