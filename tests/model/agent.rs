//! An agent: a spool of few records, and the decisions of the real [`Delivery`] about them.
//!
//! What is done follows `agents::lane` step by step; what is decided (where to go on, when to begin anew,
//! what counts as delivered) is the code of `agents::delivery`.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use agents::delivery::{Delivery, Step};
use energy::Policy;
use meter::{Owner, Position};
use wire::{Append, AppendAnswer, Hello, Post};

use crate::readings::{Dated, Meter, Set, context, record, sent_at};
use crate::spool::{Disk, Held};
use crate::{Broken, Glue};

/// An agent: what is on its disk, and what its process knows while it runs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Agent {
    /// Which of the two it is.
    pub(crate) place: u8,
    pub(crate) disk: Option<Disk>,
    pub(crate) process: Option<Process>,
}

/// What is lost with the process.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    delivery: Deciding,
    /// Whose contexts the ledger was told, one bit each.
    told: u8,
    under_way: Option<UnderWay>,
    acknowledged: u64,
    /// The stream that the delivery speaks of: the spool may have begun another one since.
    stream: u8,
    /// Where the last post ended that was not answered: it is repeated as it was.
    unanswered: Option<u64>,
    /// The ends of posts that may have been applied.
    sent: BTreeSet<u64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct UnderWay {
    introduced: bool,
    contexts: u8,
}

/// A [`Delivery`] by what it decides from; how often it stalled only makes it wait.
#[derive(Clone)]
struct Deciding(Delivery);

impl Deciding {
    fn key(&self) -> (Option<Position>, u64, bool) {
        (self.0.stands(), self.0.durable(), self.0.wants_hello())
    }
}

impl PartialEq for Deciding {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Deciding {}

impl Hash for Deciding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// The device and its clock, as the whole world has them.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) meter: Meter,
    pub(crate) dated: Dated,
}

/// Neighbouring readings are joined, others are not: a missing reading is a hole.
pub(crate) fn policy(policy: Policy) -> Policy {
    Policy { join_periods: 1, ..policy }
}

/// The one owner of the world.
pub(crate) fn owner() -> Owner {
    Owner::host("node-1").expect("a good name")
}

/// A stream's id.
fn id(stream: u8) -> [u8; 16] {
    [stream; 16]
}

impl Agent {
    pub(crate) fn new(place: u8, disk: Disk) -> Self {
        Self { place, disk: Some(disk), process: None }
    }

    /// The readings in its spool.
    pub(crate) fn readings(&self) -> Set {
        self.disk.as_ref().map_or(0, Disk::readings)
    }

    /// Its stream, while it has a spool.
    pub(crate) fn stream(&self) -> Option<u8> {
        self.disk.as_ref().map(|disk| disk.stream)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.under_way.is_some())
    }

    /// Whether the ledger has everything on disk, as far as the agent knows.
    pub(crate) fn is_delivered(&self) -> bool {
        let (Some(disk), Some(process)) = (&self.disk, &self.process) else { return false };
        process.delivery.0.is_delivered(disk.head().seq)
    }

    /// Records that a power cut would take.
    pub(crate) fn unsynced(&self) -> usize {
        self.disk.as_ref().map_or(0, |disk| disk.records.len() - disk.synced)
    }

    /// As `Lane::live`: a process that finds its spool.
    pub(crate) fn start(&mut self, new_stream: u8) {
        let disk = self.disk.get_or_insert_with(|| Disk::new(new_stream));
        let delivery = if disk.head().seq == 0 { Delivery::fresh() } else { Delivery::resumed() };
        let mut process = Process {
            delivery: Deciding(delivery),
            told: 0,
            under_way: None,
            acknowledged: 0,
            stream: disk.stream,
            unanswered: None,
            sent: disk.sent.keys().copied().collect(),
        };
        process.note_sent(disk.head().seq, disk);
        self.process = Some(process);
    }

    /// A look at the device; the record is on disk (but not synced) before anything is sent.
    pub(crate) fn sample(&mut self, reading: u8, kind: Kind) {
        let (Some(disk), Some(_)) = (&mut self.disk, &self.process) else { return };
        disk.push(record(kind.meter, kind.dated, self.place, reading), self.place);
    }

    pub(crate) fn sync(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.sync();
        }
    }

    /// Where nothing is ever coalesced it does not matter where posts ended.
    pub(crate) fn forget_posts(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.sent.clear();
        }
        if let Some(process) = &mut self.process {
            process.sent.clear();
        }
    }

    /// A power cut that leaves so many of the unsynced records.
    pub(crate) fn power_cut(&mut self, kept: usize) {
        self.process = None;
        if let Some(disk) = &mut self.disk {
            disk.records.truncate(disk.synced + kept);
            let head = disk.head().seq;
            disk.sent.retain(|seq, behind| *seq <= head && behind.is_none_or(|behind| behind < head));
            disk.sync();
        }
    }

    /// The oldest record goes to make room; whether it may.
    pub(crate) fn evict(&mut self, glue: Broken) -> bool {
        let (Some(disk), Some(process)) = (&mut self.disk, &self.process) else { return false };
        let Some(oldest) = disk.records.first() else { return false };
        if oldest.end.seq > process.acknowledged && !glue.has(Glue::EvictUnacknowledged) {
            return false;
        }
        disk.start = oldest.end;
        disk.records.remove(0);
        disk.synced = disk.synced.saturating_sub(1);
        true
    }

    /// The oldest records become summaries to make room; whether they may.
    pub(crate) fn coalesce(&mut self, count: usize, kind: Kind, new_stream: u8, glue: Broken) -> bool {
        let (Some(disk), Some(process)) = (&mut self.disk, &mut self.process) else { return false };
        if count < 2 || disk.records.get(count - 1).is_none_or(|last| last.end.seq <= process.acknowledged) {
            return false;
        }
        disk.coalesce(count, &process.sent, new_stream, kind, glue);
        (process.acknowledged, process.sent) = (0, disk.sent.keys().copied().collect());
        true
    }

    /// How many records it holds.
    pub(crate) fn held(&self) -> usize {
        self.disk.as_ref().map_or(0, |disk| disk.records.len())
    }

    /// As `Lane::next_append`: the next post, if there is anything to say.
    pub(crate) fn next_post(&mut self, now: u8, kind: Kind, new_stream: u8, glue: Broken) -> Option<Vec<u8>> {
        let (Some(disk), Some(process)) = (&mut self.disk, &mut self.process) else { return None };
        process.under_way = None;
        process.follow_spool(disk);
        if process.delivery.0.is_delivered(disk.head().seq) {
            return None;
        }
        if let Some(step) = process.delivery.0.reach(disk.start.seq) {
            process.follow(step, disk, new_stream, glue);
        }
        let mut stands = process.delivery.0.stands();
        if glue.has(Glue::ResumeFromOwnMark) && stands.is_some() {
            let seq = process.acknowledged.max(disk.start.seq);
            stands = disk.digest_at(seq).map(|digest| Position { seq, digest });
        }
        let until = process.unanswered.filter(|_| !glue.has(Glue::PostsGrow)).unwrap_or(u64::MAX);
        let is_next = |end: u64| stands.is_some_and(|at| end > at.seq) && end <= until;
        let pending: Vec<&Held> = disk.records.iter().filter(|held| is_next(held.end.seq)).collect();
        let contexts = pending.iter().fold(0, |all, held| all | 1 << held.by);
        let introduced = process.delivery.0.wants_hello() || contexts & !process.told != 0;
        let hello = introduced.then(|| Hello {
            fingerprint: Some([0xF1; 16]),
            agent: "model/0".into(),
            contexts: (0..2)
                .filter(|by| contexts >> by & 1 == 1)
                .map(|by| context(kind.meter, kind.dated, by))
                .collect(),
            ..Hello::default()
        });
        process.under_way = Some(UnderWay { introduced, contexts });
        let base = stands.unwrap_or_else(|| disk.head());
        let append = Append {
            stream: id(disk.stream),
            owner: owner(),
            hello,
            base,
            import: kind.dated == Dated::Utc,
            records: pending.iter().map(|held| held.record.clone()).collect(),
            live: Vec::new(),
        };
        if let Some(end) = pending.last().map(|held| held.end.seq) {
            process.unanswered = Some(end);
            process.note_sent(end, disk);
        }
        let post = Post { sent: sent_at(kind.dated, now), appends: vec![append] };
        Some(wire::encode_post(&post).expect("a post of few records"))
    }

    /// The answer never came, or came to nobody.
    pub(crate) fn give_up(&mut self) {
        if let Some(process) = &mut self.process {
            process.under_way = None;
        }
    }

    /// As `Lane::settle`. Returns the readings that the answer says are on disk.
    pub(crate) fn settle(&mut self, answer: &AppendAnswer, new_stream: u8, glue: Broken) -> Set {
        let (Some(disk), Some(process)) = (&mut self.disk, &mut self.process) else { return 0 };
        let Some(under_way) = process.under_way.take() else { return 0 };
        if process.stream != disk.stream {
            process.follow_spool(disk);
            return 0;
        }
        process.unanswered = None;
        let digest_at = |seq| match answer {
            AppendAnswer::Durable { at, .. } | AppendAnswer::Stands(at) if glue.has(Glue::BlindToDigests) => {
                Some(at.digest)
            }
            _ => disk.digest_at(seq),
        };
        let own_mark = process.acknowledged;
        let step = process.delivery.0.step(answer, under_way.introduced, digest_at);
        let mut durable = 0;
        if let Step::Durable(at) = &step {
            process.told |= under_way.contexts;
            durable =
                disk.records.iter().filter(|held| held.end.seq <= at.seq).fold(0, |all, held| all | held.readings());
        }
        process.follow(step, disk, new_stream, glue);
        if glue.has(Glue::KeepOldAcknowledgement) {
            process.acknowledged = process.acknowledged.max(own_mark);
        }
        durable
    }
}

impl Process {
    /// As `Lane::follow`.
    fn follow(&mut self, step: Step, disk: &mut Disk, new_stream: u8, glue: Broken) {
        match step {
            Step::Durable(at) => self.acknowledge(at.seq),
            Step::Resume(at) => {
                let durable = self.delivery.0.durable();
                self.acknowledge(if glue.has(Glue::StandingIsDurable) { at.seq } else { durable });
            }
            Step::Introduce => self.told = 0,
            Step::Mint(_) => {
                self.told = 0;
                disk.mint(new_stream, self.acknowledged, glue);
                (self.stream, self.unanswered, self.acknowledged) = (disk.stream, None, 0);
                self.sent = disk.sent.keys().copied().collect();
            }
            Step::Rejected { .. } => {}
        }
    }

    /// As `Lane::follow_spool`: a spool that was coalesced is a stream that no ledger has heard of.
    fn follow_spool(&mut self, disk: &Disk) {
        if self.stream != disk.stream {
            self.stream = disk.stream;
            self.delivery = Deciding(Delivery::fresh());
            (self.told, self.unanswered) = (0, None);
        }
    }

    /// As `Spool::acknowledge`, where all lies in one segment.
    fn acknowledge(&mut self, seq: u64) {
        self.acknowledged = seq;
        self.sent.insert(seq);
    }

    /// As `Spool::note_sent`.
    fn note_sent(&mut self, end: u64, disk: &mut Disk) {
        let head = disk.head().seq;
        if end > self.acknowledged && self.sent.insert(end) {
            disk.sent.insert(end, Some(head));
            if end < head {
                disk.sync();
            }
        }
    }
}
