//! The one writer: a thin shell around [`Booking`], which decides. Here are the mailbox, the timers
//! and the ways out: to the store actor, to readers, to whoever waits for an answer.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MailboxError, Message, Recipient, WrapFuture};
use billing::published::Published;
use energy::{Dirty, Ledger};
use meter::{Owner, Utc};
use tokio::sync::oneshot;

use crate::app::Stats;
use crate::booking::{Booking, Orders, Rows};
use crate::door::{AppendPost, Ticket, Told, Unavailable};
use crate::health::Health;
use crate::persist::LoadError;
use crate::recent::RecentPower;
use crate::shutdown::DeathWatch;
use crate::statements::late::Late;
use crate::store_actor::{Committed, PersistCommit, Reload};

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
    booking: Booking<Reply>,
    links: Links,
    /// A commit will begin as soon as the mailbox is empty.
    called: bool,
    drains: Vec<oneshot::Sender<()>>,
    /// Days of closed months that the last commit touched.
    late_days: Vec<i32>,
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
    /// What is booked in closed months.
    pub late: Arc<Late>,
    /// Process counters.
    pub stats: Arc<Stats>,
    /// What the probes see.
    pub health: Arc<Health>,
    /// The clock.
    pub now: fn() -> Utc,
    /// Ends the process if this actor dies.
    pub watch: DeathWatch,
}

/// Where a post's answer goes, and the bytes it holds until then.
struct Reply {
    to: oneshot::Sender<Result<Told, Unavailable>>,
    _ticket: Ticket,
}

impl LedgerActor {
    /// A ledger with the rows of the store already inserted.
    #[must_use]
    pub fn new(ledger: Ledger, links: Links, mailbox: usize) -> Self {
        Self { booking: Booking::new(ledger), links, called: false, drains: Vec::new(), late_days: Vec::new(), mailbox }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.called = false;
        let orders = self.booking.begin((self.links.now)());
        self.carry_out(orders, ctx);
    }

    /// In this order: on disk < published < answered.
    fn carry_out(&mut self, orders: Orders<Reply>, ctx: &mut Context<Self>) {
        if let Some(made) = orders.as_of {
            let states = orders.publish.iter().filter_map(|publication| publication.row.as_ref());
            self.links.recent.note(states.map(|(state, _)| &**state), made);
        }
        if let Some(snapshot) = orders.snapshot(&self.links.published.load()) {
            self.links.published.store(snapshot);
        }
        self.links.late.note(std::mem::take(&mut self.late_days));
        for (reply, answer) in orders.answers {
            if answer.is_err() {
                Stats::bump(&self.links.stats.unbooked);
            }
            // Whoever went away asks again and is told the same.
            let _ = reply.to.send(answer);
        }
        if !orders.commit.is_empty() {
            self.persist(orders.commit, ctx);
        }
        if let Some(owners) = orders.reload {
            self.reload(owners, ctx);
        }
        if orders.settled {
            for done in self.drains.drain(..) {
                let _ = done.send(());
            }
        }
    }

    fn persist(&mut self, dirty: Vec<Dirty>, ctx: &mut Context<Self>) {
        self.links.health.commit_begins();
        let commit = self.links.store.send(PersistCommit(dirty)).into_actor(self);
        ctx.spawn(commit.map(|committed, actor, ctx| actor.committed(committed, ctx)));
    }

    fn committed(&mut self, committed: Result<Committed, MailboxError>, ctx: &mut Context<Self>) {
        let Ok(Committed { dirty, result }) = committed else {
            // The store actor died; its watch ends the process.
            self.links.health.commit_ended(false);
            return;
        };
        if let Err(error) = &result {
            tracing::error!("failed to commit {} owners: {error}", dirty.len());
        }
        self.links.health.commit_ended(result.is_ok());
        if result.is_ok() {
            let ended = dirty.iter().flat_map(|one| one.ended.iter().map(|hold| (&one.state.owner, &*hold.allocation)));
            self.links.published.load().jobs.note(ended);
        }
        self.late_days = self.links.late.days(&dirty);
        let orders = self.booking.committed(dirty, result.is_ok(), (self.links.now)());
        self.carry_out(orders, ctx);
    }

    fn reload(&mut self, owners: Arc<Vec<Owner>>, ctx: &mut Context<Self>) {
        let rows = self.links.reload.send(Reload(Arc::clone(&owners))).into_actor(self);
        ctx.spawn(rows.map(move |rows, actor, ctx| actor.reloaded(owners, rows, ctx)));
    }

    fn reloaded(
        &mut self,
        owners: Arc<Vec<Owner>>,
        rows: Result<Result<Rows, LoadError>, MailboxError>,
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
        self.links.health.commit_ended(true);
        let orders = self.booking.reloaded(rows, (self.links.now)());
        tracing::warn!("{} owners were loaded again; booking goes on", owners.len());
        self.carry_out(orders, ctx);
    }

    /// While nothing waits, the published figures are those of now.
    fn freshen(&self) {
        if self.booking.is_settled() {
            let mut snapshot = (*self.links.published.load()).clone();
            snapshot.as_of = (self.links.now)();
            self.links.published.store(snapshot);
        }
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
        if self.links.health.is_draining() {
            let _ = reply.send(Err(Unavailable::Closed));
            return;
        }
        let reply = Reply { to: reply, _ticket: ticket };
        if let Err((reply, closed)) = self.booking.apply(&work, reply, (self.links.now)()) {
            let _ = reply.to.send(Err(closed));
            return;
        }
        if !self.called && self.booking.is_idle() {
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
        self.drains.push(done);
        let orders = self.booking.close((self.links.now)());
        self.carry_out(orders, ctx);
    }
}
