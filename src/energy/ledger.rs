//! All owners: appends in, commits out, the cardinality cap.
//!
//! The ledger holds a *candidate*: what was applied but is not on disk yet. Whoever drives it takes the
//! changes as a commit, stores them, and only then answers. If storing fails it forgets the candidate
//! and inserts the stored rows again.

use std::collections::HashMap;
use std::sync::Arc;

use meter::{Clock, Context, Hold, Id, Labels, Mark, Mutant, Owner, OwnerKind, Position, Record, Refusal, Utc, mutant};

use crate::batch::Batch;
use crate::dating::set_back;
use crate::rejection::Rejection;
use crate::slots::settle;
use crate::{HourBlock, MarkOutcome, OwnerState, Policy, RefusedCount, StoredAnswer, Tally};

/// Answers remembered per numbered stream: a client repeats its last post, not one of hours ago.
const ANSWERS_KEPT: usize = 16;

/// An append of a native stream.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream.
    pub stream: Id,
    /// Whose energy it is.
    pub owner: Owner,
    /// Who speaks and what the records' contexts mean; needed at least once per stream.
    pub hello: Option<Hello>,
    /// The prefix it extends.
    pub base: Position,
    /// Where the stream stands after it.
    pub end: Position,
    /// Whether these are recordings, which may be of any age.
    pub import: bool,
    /// The sender's clocks when it sent.
    pub sent: Option<Sent>,
    /// The records.
    pub records: Vec<Record>,
    /// Records of the present, to be shown while those of the past are being brought.
    pub live: Vec<Record>,
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    /// The machine, if it reports itself.
    pub fingerprint: Option<Id>,
    /// Its labels.
    pub labels: Labels,
    /// Contexts by id.
    pub contexts: Vec<(u64, Context)>,
}

/// The sender's clocks at the instant of sending.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The running boot.
    pub boot: Id,
    /// Its clock, in nanoseconds.
    pub boot_ns: u64,
    /// The machine's wall clock, nanoseconds since the Unix epoch.
    pub wall_ns: i64,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Applied; durable once the owner's commit is.
    Applied {
        /// Where the stream stands now.
        at: Position,
        /// What became of the readings.
        tally: Tally,
    },
    /// It does not extend what is applied: the stream stands here.
    Stands(Position),
    /// It speaks of contexts the ledger does not know: say hello.
    SayHello,
    /// Refused as a whole.
    Rejected(Rejection),
}

/// A numbered post of a client that keeps no spool (JSON).
#[derive(Clone, Debug)]
pub struct NumberedPost {
    /// The stream.
    pub stream: Id,
    /// Its number: 1, 2, 3….
    pub seq: u64,
    /// A digest of the body, to tell a repetition from another post.
    pub body: Id,
    /// Whose energy it is.
    pub owner: Owner,
    /// Labels, if the body has them.
    pub labels: Option<Labels>,
    /// The context of the records.
    pub context: Context,
    /// Whether these are recordings, which may be of any age.
    pub import: bool,
    /// The records.
    pub records: Vec<Record>,
    /// Readings refused before they could be named as accounts.
    pub unnamed: Vec<RefusedCount>,
}

/// What became of a numbered post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostOutcome {
    /// Applied; durable once the owner's commit is.
    Applied {
        /// Its number.
        seq: u64,
        /// What became of the readings.
        tally: Tally,
    },
    /// The same post was applied before: this was its answer.
    Repeated {
        /// Its number.
        seq: u64,
        /// What became of the readings then.
        tally: Tally,
    },
    /// This number was used for another body.
    BodyDiffers,
    /// Older than the answers that are kept.
    Older {
        /// The oldest number whose answer is known.
        oldest_kept: u64,
    },
    /// It would leave a hole: this number is next.
    Expected(u64),
    /// Refused as a whole.
    Rejected(Rejection),
}

/// One owner's change, to be stored in one piece.
#[derive(Clone, Debug)]
pub struct Dirty {
    /// Whose row.
    pub owner: Owner,
    /// The version the stored row must have; zero if there must be none.
    pub expect: u64,
    /// The version it gets.
    pub next: u64,
    /// The row.
    pub state: Arc<OwnerState>,
    /// Postings to the history that leave the row with this commit.
    pub settled: Vec<HourBlock>,
    /// Allocations that ended, which leave the row with this commit.
    pub ended: Vec<Hold>,
}

/// All owners of the fleet, applied but not necessarily on disk.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    policy: Policy,
    owners: HashMap<Owner, Entry>,
    dirty: Vec<Owner>,
    accounts: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    state: Arc<OwnerState>,
    version: u64,
    dirty: bool,
}

impl Entry {
    /// What the entry takes of the cap: an owner without accounts takes room too.
    fn weight(&self) -> usize {
        self.state.keys.len().max(1)
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Puts a stored row in place.
    pub fn insert(&mut self, state: OwnerState, version: u64) {
        let owner = state.owner.clone();
        self.forget(&owner);
        let entry = Entry { state: Arc::new(state), version, dirty: false };
        self.accounts += entry.weight();
        self.owners.insert(owner, entry);
    }

    /// Drops an owner's candidate state. If it was stored, its row must be inserted again.
    pub fn forget(&mut self, owner: &Owner) {
        if let Some(entry) = self.owners.remove(owner) {
            self.accounts -= entry.weight();
            if entry.dirty {
                self.dirty.retain(|dirty| dirty != owner);
            }
        }
    }

    /// Applies an append of a native stream, if it extends exactly what is applied.
    pub fn append(&mut self, append: &Append, now: Utc) -> AppendOutcome {
        let full = self.accounts >= self.policy.accounts;
        let Some(mut seat) = self.seat(&append.owner, full) else {
            return AppendOutcome::Rejected(Rejection::AccountCap(self.policy.accounts));
        };
        let outcome = seat.append(append, now, &self.policy);
        let changed =
            matches!(outcome, AppendOutcome::Applied { .. }) && (!append.records.is_empty() || append.hello.is_some());
        self.settle_seat(seat, changed);
        outcome
    }

    /// Applies a numbered post, if it is the next of its stream.
    pub fn post(&mut self, post: &NumberedPost, now: Utc) -> PostOutcome {
        let full = self.accounts >= self.policy.accounts;
        let Some(mut seat) = self.seat(&post.owner, full) else {
            return PostOutcome::Rejected(Rejection::AccountCap(self.policy.accounts));
        };
        let outcome = seat.post(post, now, &self.policy);
        let changed = matches!(outcome, PostOutcome::Applied { .. });
        self.settle_seat(seat, changed);
        outcome
    }

    /// Gives a host's name to another machine: to `to`, or to the next one that reports itself under it.
    /// Returns the machine it was bound to; nothing if there is no such owner.
    pub fn rebind(&mut self, owner: &Owner, to: Option<Id>) -> Option<Option<Id>> {
        let mut seat = self.seat(owner, true)?;
        let state = Arc::make_mut(&mut seat.entry.state);
        let before = state.rebind(to);
        // The machine before may still be running: its streams must say hello again, and are refused.
        // What it then sends once more falls in covered time. Numbered streams are no machine's.
        state.streams.retain(|stream| !stream.answers.is_empty());
        self.settle_seat(seat, true);
        Some(before)
    }

    /// Takes in a mark that came by itself, dated by its own word: at most as far ahead as clocks may differ.
    pub fn mark(&mut self, owner: &Owner, at: Utc, mark: &Mark, now: Utc) -> MarkOutcome {
        if at.since(now) > self.policy.skew_ns {
            return MarkOutcome::Refused(Refusal::FromFuture);
        }
        let Some(mut seat) = self.seat(owner, true) else { return MarkOutcome::UnknownOwner };
        let outcome = Arc::make_mut(&mut seat.entry.state).mark(at, mark);
        self.settle_seat(seat, !matches!(outcome, MarkOutcome::Refused(_)));
        outcome
    }

    /// Ends all allocations of a host that goes out of service; tells how many there were.
    pub fn release(&mut self, owner: &Owner, at: Utc) -> usize {
        let Some(mut seat) = self.seat(owner, true) else { return 0 };
        let ended =
            if seat.entry.state.holds.is_empty() { 0 } else { Arc::make_mut(&mut seat.entry.state).end_all(at) };
        self.settle_seat(seat, ended > 0);
        ended
    }

    /// Takes an owner out to work on it; a new one only while there is room.
    fn seat(&mut self, owner: &Owner, full: bool) -> Option<Seat> {
        let entry = match self.owners.remove(owner) {
            Some(entry) => {
                self.accounts -= entry.weight();
                entry
            }
            None if full => return None,
            None => Entry { state: Arc::new(OwnerState::new(owner.clone())), version: 0, dirty: false },
        };
        let keys_max = self.policy.accounts.saturating_sub(self.accounts);
        Some(Seat { entry, keys_max })
    }

    /// Puts an owner back. A new one to which nothing was applied leaves no trace.
    fn settle_seat(&mut self, seat: Seat, changed: bool) {
        let mut entry = seat.entry;
        if !changed && entry.version == 0 && !entry.dirty {
            return;
        }
        let owner = entry.state.owner.clone();
        if changed && !entry.dirty {
            entry.dirty = true;
            self.dirty.push(owner.clone());
        }
        self.accounts += entry.weight();
        self.owners.insert(owner, entry);
    }

    /// Takes everything changed since the last call, as one commit.
    pub fn take_commit(&mut self) -> Vec<Dirty> {
        let owners = std::mem::take(&mut self.dirty);
        let taken = owners.into_iter().filter_map(|owner| {
            let entry = self.owners.get_mut(&owner)?;
            let state = Arc::make_mut(&mut entry.state);
            let (settled, ended) = (settle(&mut state.open), std::mem::take(&mut state.ended));
            let expect = entry.version;
            entry.version += 1;
            entry.dirty = false;
            Some(Dirty { owner, expect, next: entry.version, state: Arc::clone(&entry.state), settled, ended })
        });
        taken.collect()
    }

    /// How many owners have changes that no commit has taken yet.
    #[must_use]
    pub fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// Accounts counted towards the cap.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts
    }

    /// An owner's candidate state.
    #[must_use]
    pub fn state(&self, owner: &Owner) -> Option<&Arc<OwnerState>> {
        self.owners.get(owner).map(|entry| &entry.state)
    }
}

/// An owner being worked on, and how many accounts it may have.
struct Seat {
    entry: Entry,
    keys_max: usize,
}

impl Seat {
    fn append(&mut self, append: &Append, now: Utc, policy: &Policy) -> AppendOutcome {
        let state = &self.entry.state;
        let known = state.streams.iter().any(|stream| stream.id == append.stream);
        let position = state.position(append.stream);
        if position != append.base && !mutant(Mutant::NoCompareAndAppend) {
            return AppendOutcome::Stands(position);
        }
        if (!known && append.hello.is_none()) || !state.knows_contexts_of(append) {
            return AppendOutcome::SayHello;
        }
        if append.records.is_empty() && append.hello.is_none() {
            return AppendOutcome::Applied { at: position, tally: Tally::default() };
        }
        if let Some(behind_ns) = append.sent.as_ref().and_then(|sent| set_back(&state.boots, sent)) {
            let owner = Box::new(state.owner.clone());
            return AppendOutcome::Rejected(Rejection::ClockSetBack { owner, behind_ns });
        }
        let rivalled = state.is_rivalled(append.stream, now);
        let state = Arc::make_mut(&mut self.entry.state);
        if let Some(hello) = &append.hello {
            if let Err(rejection) = state.bind(hello.fingerprint) {
                return AppendOutcome::Rejected(rejection);
            }
            state.greet(hello, first_instant(append, now));
        }
        let mut tally = Tally::default();
        let (records, sent) = (&append.records, append.sent.as_ref());
        // A boot the ledger has not heard of comes with a hello, which says whose it is.
        let own = state.owner.kind == OwnerKind::Host
            && append.hello.as_ref().is_some_and(|hello| hello.fingerprint.is_some());
        let (follows, keys_max) = (append.base.seq > 0, self.keys_max);
        let batch = Batch { records, sent, import: append.import, now, own, follows, rivalled, keys_max };
        state.book(&batch, policy, &mut tally);
        state.show(&append.live, sent, now);
        state.limit_contexts(policy.contexts);
        let stream = state.stream_mut(append.stream, now, policy.streams);
        if !mutant(Mutant::ForgetPosition) {
            stream.position = append.end;
        }
        state.last_seen = now;
        AppendOutcome::Applied { at: append.end, tally }
    }

    fn post(&mut self, post: &NumberedPost, now: Utc, policy: &Policy) -> PostOutcome {
        let state = &self.entry.state;
        let last = state.position(post.stream).seq;
        if post.seq <= last {
            return repeated(state, post);
        }
        if post.seq != last + 1 {
            return PostOutcome::Expected(last + 1);
        }
        let rivalled = state.is_rivalled(post.stream, now);
        let state = Arc::make_mut(&mut self.entry.state);
        if let Some(labels) = &post.labels {
            let from = post.records.first().and_then(|record| i64::try_from(record.at).ok()).map_or(now, Utc);
            state.label_for(labels, from);
        }
        let context = state.resolve(0, &post.context);
        let mut tally = Tally::default();
        state.refuse_unnamed(&post.unnamed, &mut tally);
        let (records, import) = (&post.records, post.import);
        let (own, follows, keys_max) = (false, last > 0, self.keys_max);
        let batch = Batch { records, sent: None, import, now, own, follows, rivalled, keys_max };
        state.book_run(&context, None, &post.records, &batch, policy, &mut tally);
        state.last_seen = now;
        let stream = state.stream_mut(post.stream, now, policy.streams);
        stream.position.seq = post.seq;
        if stream.answers.len() >= ANSWERS_KEPT {
            stream.answers.remove(0);
        }
        stream.answers.push(StoredAnswer { seq: post.seq, body: post.body, tally: tally.clone() });
        PostOutcome::Applied { seq: post.seq, tally }
    }
}

fn repeated(state: &OwnerState, post: &NumberedPost) -> PostOutcome {
    let answers =
        state.streams.iter().find(|stream| stream.id == post.stream).map_or(&[][..], |stream| &stream.answers);
    match answers.iter().find(|answer| answer.seq == post.seq) {
        Some(answer) if answer.body == post.body && !mutant(Mutant::JsonRepetition) => {
            PostOutcome::Repeated { seq: post.seq, tally: answer.tally.clone() }
        }
        Some(_) => PostOutcome::BodyDiffers,
        None => PostOutcome::Older { oldest_kept: answers.first().map_or(post.seq + 1, |answer| answer.seq) },
    }
}

/// When the labels of a hello begin to hold: with the first record it came with.
fn first_instant(append: &Append, now: Utc) -> Utc {
    let contexts = append.hello.iter().flat_map(|hello| &hello.contexts);
    let utc = contexts.filter(|(_, context)| context.clock == Clock::Utc).map(|(id, _)| *id).collect::<Vec<_>>();
    let recorded = append.records.iter().find(|record| utc.contains(&record.context));
    recorded.and_then(|record| i64::try_from(record.at).ok()).map_or(now, Utc)
}
