//! The commit cycle as a state machine: what may be answered when, what is published when, and what
//! is forgotten after a commit that failed. No actor, no clock, no store: whoever drives it carries
//! out its [`Orders`].
//!
//! Operation. A post is applied at once and its answer waits. When no commit is in flight, everything
//! applied so far becomes one: its rows are persisted, the durable figures are published, and only
//! then are its posts answered. Posts that arrive meanwhile make the next one, so that commits grow
//! with the load. Also an answer that changed nothing (`stands`, a repetition) waits for what it
//! rests on.
//!
//! Failure. What was applied but is not on disk never happened: all owners touched are forgotten and
//! loaded again from the store, everyone who waits is told to come again, and until the store has
//! answered nothing new is accepted.

use std::collections::HashSet;
use std::sync::Arc;

use billing::published::Snapshot;
use energy::{Dirty, Ledger, OwnerState};
use meter::{Mutant, Owner, Utc, mutant};

use crate::door::{Told, Unavailable, Work};

/// The ledger and the posts that wait for its commits; `R` is where an answer goes.
pub struct Booking<R> {
    ledger: Ledger,
    phase: Phase<R>,
    /// Posts applied since the last commit began.
    waiting: Vec<Waiter<R>>,
    closing: bool,
}

enum Phase<R> {
    Idle,
    /// A commit is in flight, made at that instant, with the posts it answers.
    Committing(Utc, Vec<Waiter<R>>),
    /// A commit failed and its owners are being loaded again.
    Recovering(Arc<Vec<Owner>>),
}

/// A post that was applied and waits to be durable.
struct Waiter<R> {
    reply: R,
    told: Told,
}

/// Rows as the store has them, with their versions; nothing where there is none.
pub type Rows = Vec<Option<(OwnerState, u64)>>;

/// What is to be done now, in the order of the fields.
pub struct Orders<R> {
    /// Rows that are on disk, to be shown to readers.
    pub publish: Vec<Publication>,
    /// Until when everything acknowledged is in what is published; only after a commit.
    pub as_of: Option<Utc>,
    /// Answers to be given.
    pub answers: Vec<(R, Result<Told, Unavailable>)>,
    /// The next commit, to be persisted; empty if there is none.
    pub commit: Vec<Dirty>,
    /// Owners whose rows are to be loaded again.
    pub reload: Option<Arc<Vec<Owner>>>,
    /// Whether everything applied is on disk or was refused: who waits for the end need not any more.
    pub settled: bool,
}

/// One owner's row as it is on disk.
pub struct Publication {
    /// Whose row.
    pub owner: Owner,
    /// The row and its version; nothing if the store has none.
    pub row: Option<(Arc<OwnerState>, u64)>,
}

impl Publication {
    fn of(dirty: &Dirty) -> Self {
        Self { owner: dirty.owner.clone(), row: Some((Arc::clone(&dirty.state), dirty.next)) }
    }
}

impl<R> Default for Orders<R> {
    fn default() -> Self {
        let (publish, answers, commit) = (Vec::new(), Vec::new(), Vec::new());
        Self { publish, as_of: None, answers, commit, reload: None, settled: false }
    }
}

impl<R> Orders<R> {
    /// The snapshot that readers see next; nothing if it stays as it is.
    #[must_use]
    pub fn snapshot(&self, current: &Snapshot) -> Option<Snapshot> {
        if self.publish.is_empty() && self.as_of.is_none() {
            return None;
        }
        let mut next = current.clone();
        next.as_of = self.as_of.unwrap_or(next.as_of);
        for Publication { owner, row } in &self.publish {
            match row {
                Some((state, version)) => next.put(Arc::clone(state), *version),
                None => next.remove(owner),
            }
        }
        Some(next)
    }
}

impl<R> Booking<R> {
    /// A cycle around a ledger that holds the rows of the store.
    #[must_use]
    pub const fn new(ledger: Ledger) -> Self {
        Self { ledger, phase: Phase::Idle, waiting: Vec::new(), closing: false }
    }

    /// Applies a post; its answer waits for the commit.
    ///
    /// # Errors
    /// Where the answer goes, and why nothing is accepted now.
    pub fn apply(&mut self, work: &Work, reply: R, now: Utc) -> Result<(), (R, Unavailable)> {
        if self.closing {
            return Err((reply, Unavailable::Closed));
        }
        if matches!(self.phase, Phase::Recovering(_)) {
            return Err((reply, Unavailable::StoreFailed));
        }
        let told = match work {
            Work::Appends(appends) => {
                Told::Appends(appends.iter().map(|append| self.ledger.append(append, now)).collect())
            }
            Work::Numbered(post) => Told::Numbered(self.ledger.post(post, now)),
            Work::Rebind(owner, to) => Told::Rebound(self.ledger.rebind(owner, *to)),
            Work::Mark(owner, at, mark) => Told::Marked(self.ledger.mark(owner, *at, mark, now)),
            Work::Release(owner, at) => Told::Released(self.ledger.release(owner, *at)),
        };
        self.waiting.push(Waiter { reply, told });
        Ok(())
    }

    /// Begins a commit, unless one is in flight or nothing waits.
    pub fn begin(&mut self, now: Utc) -> Orders<R> {
        let mut orders = Orders::default();
        if !matches!(self.phase, Phase::Idle) {
            return orders;
        }
        orders.commit = self.ledger.take_commit();
        let mut waiters = std::mem::take(&mut self.waiting);
        if orders.commit.is_empty() {
            // Nothing is in flight and nothing changed: all that these answers rest on is on disk.
            orders.answers = answered(waiters);
            orders.settled = true;
        } else {
            let rest = if mutant(Mutant::AnswerBeforeDisk) { Vec::new() } else { std::mem::take(&mut waiters) };
            orders.answers = answered(waiters);
            if mutant(Mutant::PublishVolatile) {
                orders.publish = orders.commit.iter().map(Publication::of).collect();
            }
            self.phase = Phase::Committing(now, rest);
        }
        orders
    }

    /// Takes the outcome of the commit in flight: on disk, or (as far as anyone knows) nothing of it.
    pub fn committed(&mut self, dirty: Vec<Dirty>, on_disk: bool, now: Utc) -> Orders<R> {
        let (made, waiters) = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Committing(made, waiters) => (made, waiters),
            other => {
                self.phase = other;
                return Orders::default();
            }
        };
        if !on_disk {
            return self.recover(dirty, waiters);
        }
        let publish = dirty.iter().map(Publication::of).collect();
        let mut orders = Orders { publish, as_of: Some(made), ..Orders::default() };
        orders.answers = answered(waiters);
        self.go_on(orders, now)
    }

    /// Forgets what is not on disk, to be loaded again, and tells everyone that nothing of theirs was
    /// booked.
    fn recover(&mut self, dirty: Vec<Dirty>, waiters: Vec<Waiter<R>>) -> Orders<R> {
        let mut owners: HashSet<Owner> = dirty.into_iter().map(|dirty| dirty.owner).collect();
        owners.extend(self.ledger.take_commit().into_iter().map(|dirty| dirty.owner));
        for owner in owners.iter().filter(|_| !mutant(Mutant::KeepFailedCommit)) {
            self.ledger.forget(owner);
        }
        let owners = Arc::new(owners.into_iter().collect::<Vec<_>>());
        self.phase = Phase::Recovering(Arc::clone(&owners));
        let refused = waiters.into_iter().chain(self.waiting.drain(..));
        let answers = refused.map(|waiter| (waiter.reply, Err(Unavailable::StoreFailed))).collect();
        // Nothing is left that could be saved: all who waited were told so.
        Orders { answers, reload: Some(owners), settled: self.closing, ..Orders::default() }
    }

    /// Takes the rows that were asked for, in their order: booking goes on from there.
    pub fn reloaded(&mut self, rows: Rows, now: Utc) -> Orders<R> {
        let owners = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Recovering(owners) => owners,
            other => {
                self.phase = other;
                return Orders::default();
            }
        };
        // Whether the failed commit reached the disk shows only now: what was loaded is durable.
        let mut orders = Orders::default();
        for (owner, row) in owners.iter().zip(rows) {
            let row = row.map(|(state, version)| {
                if !mutant(Mutant::KeepFailedCommit) {
                    self.ledger.insert(state.clone(), version);
                }
                (Arc::new(state), version)
            });
            orders.publish.push(Publication { owner: owner.clone(), row });
        }
        self.go_on(orders, now)
    }

    /// Begins what waits meanwhile.
    fn go_on(&mut self, orders: Orders<R>, now: Utc) -> Orders<R> {
        if self.waiting.is_empty() && !self.closing {
            return orders;
        }
        let mut next = self.begin(now);
        let answers = orders.answers.into_iter().chain(next.answers.drain(..)).collect();
        Orders { answers, commit: next.commit, settled: next.settled, ..orders }
    }

    /// Accepts nothing more. [`Orders::settled`] tells when everything applied is on disk.
    pub fn close(&mut self, now: Utc) -> Orders<R> {
        self.closing = true;
        match self.phase {
            // All who waited were told that nothing of theirs was booked.
            Phase::Recovering(_) => Orders { settled: true, ..Orders::default() },
            _ => self.begin(now),
        }
    }

    /// Whether no commit is in flight.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Whether nothing waits: the published figures are those of now.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.is_idle() && self.waiting.is_empty()
    }
}

fn answered<R>(waiters: Vec<Waiter<R>>) -> Vec<(R, Result<Told, Unavailable>)> {
    waiters.into_iter().map(|waiter| (waiter.reply, Ok(waiter.told))).collect()
}
