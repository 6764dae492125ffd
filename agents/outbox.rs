//! Streams on their way to the ledger: what the next post holds, and what its answer changes.
//!
//! Several streams share each post (an agent reports itself, its BMCs, its recorded hosts), each
//! answered by itself. One post is under way at a time.

use meter::Id;
use wire::{Answer, Append, Post, SentAt, WireError};

pub use crate::lane::{Lane, Rejection, Tally, agent_name};
use crate::spool::Room;

/// Canonical bytes per post. They shrink to about half when packed, so that a body stays well
/// below [`wire::BODY_MAX`]; where they do not, the amount is halved.
const POST_BYTES: usize = 1 << 20;

/// How many streams are saved at once.
const SIDE_BY_SIDE: usize = 8;

/// All streams of this process.
#[derive(Debug)]
pub struct Outbox {
    lanes: Vec<Lane>,
    /// Where the next post begins, so that no stream waits for ever behind the others.
    turn: usize,
    post_bytes: usize,
    ledger: Option<(Id, u64)>,
}

/// A post ready to go.
#[derive(Debug)]
pub struct Outgoing {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Whether more is waiting than it holds.
    pub more: bool,
}

/// Saves streams. Many are saved side by side: a disk takes hardly longer for ten syncs than for one.
fn save_all<'a>(lanes: impl Iterator<Item = &'a mut Lane>, save: fn(&mut Lane)) {
    let mut lanes: Vec<&mut Lane> = lanes.filter(|lane| !lane.spool().is_safe()).collect();
    if lanes.len() > SIDE_BY_SIDE {
        let share = lanes.len().div_ceil(SIDE_BY_SIDE);
        std::thread::scope(|scope| {
            for some in lanes.chunks_mut(share) {
                let work = move || some.iter_mut().for_each(|lane| save(lane));
                // Without a thread they are saved below.
                let _ = std::thread::Builder::new().name("sync".into()).spawn_scoped(scope, work);
            }
        });
    }
    lanes.into_iter().filter(|lane| !lane.spool().is_safe()).for_each(save);
}

impl Outbox {
    /// An outbox of these streams.
    #[must_use]
    pub const fn new(lanes: Vec<Lane>) -> Self {
        Self { lanes, turn: 0, post_bytes: POST_BYTES, ledger: None }
    }

    /// The streams.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Adds a stream; its place.
    pub fn push(&mut self, lane: Lane) -> usize {
        self.lanes.push(lane);
        self.lanes.len() - 1
    }

    /// The stream at a place.
    pub fn lane(&mut self, place: usize) -> Option<&mut Lane> {
        self.lanes.get_mut(place)
    }

    /// Whether a ledger ever answered.
    #[must_use]
    pub const fn answered(&self) -> bool {
        self.ledger.is_some()
    }

    /// Makes what was appended survive a power loss.
    pub fn sync(&mut self) {
        save_all(self.lanes.iter_mut(), Lane::sync);
    }

    /// The same for the first stream only.
    pub fn sync_first(&mut self) {
        save_all(self.lanes.iter_mut().take(1), Lane::sync);
    }

    /// Whether the ledger has everything on disk.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.lanes.iter().all(Lane::is_delivered)
    }

    /// The next post, or nothing if there is nothing to say now. `now_ns` is the boot clock.
    ///
    /// # Errors
    /// [`WireError`] if not even one record can be encoded.
    pub fn next_post(&mut self, now_ns: u64, sent: Option<SentAt>) -> Result<Option<Outgoing>, WireError> {
        loop {
            let (appends, more) = self.gather(now_ns);
            if appends.is_empty() {
                return Ok(None);
            }
            match wire::encode_post(&Post { sent, appends }) {
                Ok(body) => return Ok(Some(Outgoing { body, more })),
                Err(WireError::TooMany { .. }) if self.post_bytes > 1 => self.halve(),
                Err(error) => return Err(error),
            }
        }
    }

    fn gather(&mut self, now_ns: u64) -> (Vec<Append>, bool) {
        let mut left = Room { bytes: self.post_bytes, samples: wire::SAMPLES_MAX, until: u64::MAX };
        let (mut appends, mut more) = (Vec::new(), false);
        let count = self.lanes.len();
        let begin = self.turn;
        for step in 0..count {
            let place = (begin + step) % count;
            let lane = &mut self.lanes[place];
            // An introduction weighs about as much as a few records.
            let full = left.bytes < 512 || left.samples < wire::DEVICES_MAX || appends.len() == wire::APPENDS_MAX;
            if full && !appends.is_empty() {
                more |= lane.stand_by(now_ns);
                continue;
            }
            let Some((append, size)) = lane.next_append(now_ns, left) else { continue };
            left.bytes = left.bytes.saturating_sub(size.bytes + 512);
            left.samples = left.samples.saturating_sub(size.samples);
            more |= append.base.seq + (append.records.len() as u64) < lane.spool().head().seq;
            appends.push((place, append));
            self.turn = place + 1;
        }
        // A ledger must never know more of a stream than its spool.
        save_all(self.lanes.iter_mut().filter(|lane| lane.is_under_way()), Lane::save);
        // Answers come in the order of the appends: that of the streams.
        appends.sort_by_key(|(place, _)| *place);
        (appends.into_iter().map(|(_, append)| append).collect(), more)
    }

    /// The body was too large for the other end: smaller posts from now on.
    pub fn halve(&mut self) {
        self.post_bytes = (self.post_bytes / 2).max(1);
        self.lanes.iter_mut().for_each(Lane::give_up_post);
    }

    /// Takes the answer to the post under way; whether a stream learned something that lets it go on
    /// at once.
    pub fn settle(&mut self, answer: &Answer, now_ns: u64) -> bool {
        let expected = self.lanes.iter().filter(|lane| lane.is_under_way()).count();
        if answer.answers.len() != expected {
            tracing::error!(expected, got = answer.answers.len(), "the ledger's answer does not fit the post");
            return false;
        }
        let ledger = (answer.ledger, answer.generation);
        if self.ledger.replace(ledger).is_some_and(|known| known != ledger) {
            tracing::warn!("another ledger answers, or the same one after a restore");
        }
        let mut at_once = false;
        for (lane, answer) in self.lanes.iter_mut().filter(|lane| lane.is_under_way()).zip(&answer.answers) {
            lane.settle(answer, now_ns);
            at_once |= lane.goes_on(now_ns);
        }
        at_once
    }

    /// The sum of all streams' tallies.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.lanes.iter().for_each(|lane| sum.add(lane.tally()));
        sum
    }

    /// Records durable in the ledger, and records there are, over all streams.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let ends = |sum: (u64, u64), lane: &Lane| (sum.0 + lane.durable(), sum.1 + lane.spool().head().seq);
        self.lanes.iter().fold((0, 0), ends)
    }
}
