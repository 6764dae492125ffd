//! The one writer: applies posts to the ledger in memory, commits, then answers.
//!
//! Operation. A post is applied at once and its answer waits. When no commit is in flight, everything
//! applied so far becomes one: the store actor persists it, the durable figures are published, and
//! only then are its posts answered. Posts that arrive meanwhile make the next one, so that commits
//! grow with the load. Also an answer that changed nothing (`stands`, a repetition) waits for what it
//! rests on.
//!
//! Failure. What was applied but is not on disk never happened: all owners touched are forgotten and
//! loaded again from the store, everyone who waits is told to come again, and until the store has
//! answered nothing new is accepted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MailboxError, Message, Recipient, WrapFuture};
use energy::{Ledger, OwnerState};
use meter::{Owner, Utc};
use tokio::sync::oneshot;

use crate::app::Stats;
use crate::door::{AppendPost, Ticket, Told, Unavailable, Work};
use crate::health::Health;
use crate::published::Published;
use crate::recent::RecentPower;
use crate::shutdown::DeathWatch;
use crate::store_actor::{Committed, PersistCommit, Reload, ReloadError};

/// How long applied work may wait for a commit to begin, whatever happens.
const TICK: Duration = Duration::from_millis(500);
/// How long to wait before asking a store again that could not be read.
const RELOAD_AGAIN: Duration = Duration::from_secs(1);

/// Begins a commit if there is work and none is in flight.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CommitTick;

/// Accepts nothing more; `done` is told once everything applied is on disk.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Told when done.
    pub done: oneshot::Sender<()>,
}

/// The actor; see the module.
pub struct LedgerActor {
    ledger: Ledger,
    links: Links,
    phase: Phase,
    /// A commit will begin as soon as the mailbox is empty.
    called: bool,
    /// Posts applied since the last commit began.
    waiting: Vec<Waiter>,
    drains: Vec<oneshot::Sender<()>>,
    /// Messages that the mailbox holds.
    mailbox: usize,
}

/// What the ledger actor works with.
pub struct Links {
    /// Persists commits.
    pub store: Recipient<PersistCommit>,
    /// Loads rows again after a failure.
    pub reload: Recipient<Reload>,
    /// Where durable figures are published.
    pub published: Arc<Published>,
    /// Power for live graphs.
    pub recent: Arc<RecentPower>,
    /// Process counters.
    pub stats: Arc<Stats>,
    /// What the probes see.
    pub health: Arc<Health>,
    /// The clock.
    pub now: fn() -> Utc,
    /// Ends the process if this actor dies.
    pub watch: DeathWatch,
}

enum Phase {
    Idle,
    /// A commit is in flight, made at that instant, with the posts it answers.
    Committing(Utc, Vec<Waiter>),
    /// A commit failed and its owners are being loaded again.
    Recovering,
}

/// A post that was applied and waits to be durable.
struct Waiter {
    reply: oneshot::Sender<Result<Told, Unavailable>>,
    told: Told,
    _ticket: Ticket,
}

type Rows = Vec<Option<(OwnerState, u64)>>;

impl LedgerActor {
    /// A ledger with the rows of the store already inserted.
    #[must_use]
    pub fn new(ledger: Ledger, links: Links, mailbox: usize) -> Self {
        let (waiting, drains) = (Vec::new(), Vec::new());
        Self { ledger, links, phase: Phase::Idle, called: false, waiting, drains, mailbox }
    }

    /// Begins a commit, unless one is in flight or nothing waits.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.called = false;
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        let dirty = self.ledger.take_commit();
        let waiters = std::mem::take(&mut self.waiting);
        if dirty.is_empty() {
            // Nothing is in flight and nothing changed: all that these answers rest on is on disk.
            answer(waiters);
            for done in self.drains.drain(..) {
                let _ = done.send(());
            }
            return;
        }
        self.links.health.commit_begins();
        self.phase = Phase::Committing((self.links.now)(), waiters);
        let commit = self.links.store.send(PersistCommit(dirty)).into_actor(self);
        ctx.spawn(commit.map(|committed, actor, ctx| actor.committed(committed, ctx)));
    }

    fn committed(&mut self, committed: Result<Committed, MailboxError>, ctx: &mut Context<Self>) {
        let Phase::Committing(made, waiters) = std::mem::replace(&mut self.phase, Phase::Recovering) else { return };
        let Ok(Committed { dirty, result }) = committed else {
            // The store actor died; its watch ends the process.
            self.links.health.commit_ended(false);
            return;
        };
        if let Err(error) = result {
            tracing::error!("failed to commit {} owners: {error}", dirty.len());
            self.refuse(waiters);
            let owners = dirty.into_iter().map(|dirty| dirty.owner).collect();
            return self.recover(owners, ctx);
        }
        let mut snapshot = (*self.links.published.load()).clone();
        snapshot.as_of = made;
        self.links.recent.note(dirty.iter().map(|dirty| &*dirty.state), made);
        for dirty in dirty {
            snapshot.put(dirty.state, dirty.next);
        }
        self.links.published.store(snapshot);
        self.links.health.commit_ended(true);
        self.phase = Phase::Idle;
        answer(waiters);
        if !self.waiting.is_empty() || !self.drains.is_empty() {
            self.begin(ctx);
        }
    }

    /// While nothing waits, the published figures are those of now.
    fn freshen(&self) {
        if matches!(self.phase, Phase::Idle) && self.waiting.is_empty() {
            let mut snapshot = (*self.links.published.load()).clone();
            snapshot.as_of = (self.links.now)();
            self.links.published.store(snapshot);
        }
    }

    /// Tells everyone that nothing of theirs was booked.
    fn refuse(&mut self, waiters: Vec<Waiter>) {
        for waiter in waiters.into_iter().chain(self.waiting.drain(..)) {
            Stats::bump(&self.links.stats.unbooked);
            let _ = waiter.reply.send(Err(Unavailable::StoreFailed));
        }
    }

    /// Forgets what is not on disk and loads it again.
    fn recover(&mut self, mut owners: HashSet<Owner>, ctx: &mut Context<Self>) {
        self.links.health.commit_ended(false);
        owners.extend(self.ledger.take_commit().into_iter().map(|dirty| dirty.owner));
        for owner in &owners {
            self.ledger.forget(owner);
        }
        self.reload(Arc::new(owners.into_iter().collect()), ctx);
    }

    fn reload(&mut self, owners: Arc<Vec<Owner>>, ctx: &mut Context<Self>) {
        let rows = self.links.reload.send(Reload(Arc::clone(&owners))).into_actor(self);
        ctx.spawn(rows.map(move |rows, actor, ctx| actor.reloaded(owners, rows, ctx)));
    }

    fn reloaded(
        &mut self,
        owners: Arc<Vec<Owner>>,
        rows: Result<Result<Rows, ReloadError>, MailboxError>,
        ctx: &mut Context<Self>,
    ) {
        let Ok(rows) = rows else { return };
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!("failed to load {} owners again: {error}", owners.len());
                ctx.run_later(RELOAD_AGAIN, move |actor, ctx| actor.reload(owners, ctx));
                return;
            }
        };
        // Whether the failed commit reached the disk shows only now: what was loaded is durable.
        let mut snapshot = (*self.links.published.load()).clone();
        for (owner, row) in owners.iter().zip(rows) {
            match row {
                Some((state, version)) => {
                    snapshot.put(Arc::new(state.clone()), version);
                    self.ledger.insert(state, version);
                }
                None => snapshot.remove(owner),
            }
        }
        self.links.published.store(snapshot);
        self.links.health.commit_ended(true);
        self.phase = Phase::Idle;
        tracing::warn!("{} owners were loaded again; booking goes on", owners.len());
        if !self.drains.is_empty() {
            self.begin(ctx);
        }
    }

    fn apply(&mut self, work: &Work) -> Told {
        let now = (self.links.now)();
        match work {
            Work::Appends(appends) => {
                Told::Appends(appends.iter().map(|append| self.ledger.append(append, now)).collect())
            }
            Work::Numbered(post) => Told::Numbered(self.ledger.post(post, now)),
            Work::Rebind(owner, to) => Told::Rebound(self.ledger.rebind(owner, *to)),
        }
    }
}

fn answer(waiters: Vec<Waiter>) {
    for waiter in waiters {
        // Whoever went away asks again and is told the same.
        let _ = waiter.reply.send(Ok(waiter.told));
    }
}

impl Actor for LedgerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(self.mailbox);
        self.links.health.beat();
        ctx.run_interval(TICK, |actor, ctx| {
            actor.links.health.beat();
            actor.links.recent.tick((actor.links.now)());
            actor.begin(ctx);
            actor.freshen();
        });
    }
}

impl Handler<AppendPost> for LedgerActor {
    type Result = ();

    fn handle(&mut self, AppendPost { work, reply, ticket }: AppendPost, ctx: &mut Context<Self>) {
        let closed = match self.phase {
            _ if self.links.health.is_draining() => Some(Unavailable::Closed),
            Phase::Recovering => Some(Unavailable::StoreFailed),
            _ => None,
        };
        if let Some(closed) = closed {
            let _ = reply.send(Err(closed));
            return;
        }
        let told = self.apply(&work);
        self.waiting.push(Waiter { reply, told, _ticket: ticket });
        if !self.called && matches!(self.phase, Phase::Idle) {
            // After what already lies in the mailbox, so that it shares the commit.
            self.called = true;
            ctx.notify(CommitTick);
        }
    }
}

impl Handler<CommitTick> for LedgerActor {
    type Result = ();

    fn handle(&mut self, _: CommitTick, ctx: &mut Context<Self>) {
        self.begin(ctx);
    }
}

impl Handler<Drain> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Drain { done }: Drain, ctx: &mut Context<Self>) {
        self.links.health.drain();
        if matches!(self.phase, Phase::Recovering) {
            // Nothing is left that could be saved: all who wait were told so.
            let _ = done.send(());
            return;
        }
        self.drains.push(done);
        self.begin(ctx);
    }
}
