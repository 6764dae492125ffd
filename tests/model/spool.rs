//! A spool of few records, which does with them what `agents::spool` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agents::spool::coalesce::Coalescer;
use energy::Policy;
use meter::{Digest, Position, Record};

use crate::agent::{Kind, policy};
use crate::readings::{Set, context, spans_of, through};
use crate::{Broken, Glue};

/// What outlives the process.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub(crate) stream: u8,
    /// Where the stream stood in front of the oldest record held.
    pub(crate) start: Position,
    pub(crate) records: Vec<Held>,
    /// How many of them would outlive a power cut.
    pub(crate) synced: usize,
    /// Where posts ended that were sent. A note that was not synced lies behind the record that is
    /// named beside it.
    pub(crate) sent: BTreeMap<u64, Option<u64>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) record: Record,
    /// Who read it: a cloned spool holds records of the other one.
    pub(crate) by: u8,
    pub(crate) end: Position,
}

impl Disk {
    pub(crate) fn new(stream: u8) -> Self {
        Self { stream, start: Position::default(), records: Vec::new(), synced: 0, sent: BTreeMap::new() }
    }

    pub(crate) fn sync(&mut self) {
        self.synced = self.records.len();
        self.sent.values_mut().for_each(|behind| *behind = None);
    }

    pub(crate) fn head(&self) -> Position {
        self.records.last().map_or(self.start, |held| held.end)
    }

    /// As `Spool::digest_at`.
    pub(crate) fn digest_at(&self, seq: u64) -> Option<Digest> {
        let ends = std::iter::once(self.start).chain(self.records.iter().map(|held| held.end));
        ends.filter(|end| end.seq == seq).map(|end| end.digest).next_back()
    }

    pub(crate) fn readings(&self) -> Set {
        self.records.iter().fold(0, |all, held| all | held.readings())
    }

    /// As `Spool::mint`: all that is retained is numbered from 1 in a stream nobody knows.
    pub(crate) fn mint(&mut self, stream: u8, acknowledged: u64, glue: Broken) {
        let mut records = std::mem::take(&mut self.records);
        if glue.has(Glue::MintOnlyUnacknowledged) {
            records.retain(|held| held.end.seq > acknowledged);
        }
        let synced = self.synced.min(records.len());
        let first = self.start.seq;
        let sent = self.sent_from(first + 1, first);
        *self = Self { synced, sent, ..Self::new(stream) };
        records.into_iter().for_each(|held| self.push(held.record, held.by));
    }

    /// The ends of posts from `seq` on, by numbers that are smaller by `fewer`.
    fn sent_from(&self, seq: u64, fewer: u64) -> BTreeMap<u64, Option<u64>> {
        self.sent.range(seq..).map(|(seq, behind)| (seq - fewer, behind.map(|behind| behind - fewer))).collect()
    }

    pub(crate) fn push(&mut self, record: Record, by: u8) {
        let end = wire::advance(self.head(), std::slice::from_ref(&record));
        self.records.push(Held { record, by, end });
    }

    /// As `Spool::coalesce`: the oldest records become summaries, under a new identity.
    pub(crate) fn coalesce(&mut self, count: usize, ends: &BTreeSet<u64>, stream: u8, kind: Kind, glue: Broken) {
        let policy = policy(Policy::default());
        let mut coalescer = Coalescer::new(policy, 86_400_000_000_000);
        let old = std::mem::replace(self, Self::new(stream));
        for held in &old.records[..count] {
            let context = Arc::new(context(kind.meter, kind.dated, held.by));
            coalescer.push(held.record.clone(), &context).into_iter().for_each(|record| self.put(record, kind));
            if ends.contains(&held.end.seq) && !glue.has(Glue::CoalesceOverPosts) {
                coalescer.finish().into_iter().for_each(|record| self.put(record, kind));
                self.sent.insert(self.head().seq, None);
            }
        }
        coalescer.finish().into_iter().for_each(|record| self.put(record, kind));
        let end = old.records[count - 1].end.seq;
        self.sent.extend(old.sent_from(end + 1, end - self.head().seq));
        old.records[count..].iter().for_each(|held| self.push(held.record.clone(), held.by));
        self.synced = self.records.len();
    }

    fn put(&mut self, record: Record, kind: Kind) {
        let by = (0..2).find(|by| wire::context_id(&context(kind.meter, kind.dated, *by)) == record.context);
        self.push(record, by.expect("a context of this world"));
    }
}

impl Held {
    pub(crate) fn readings(&self) -> Set {
        spans_of(&self.record).into_iter().fold(0, |all, (first, last)| all | through(first, last))
    }
}
