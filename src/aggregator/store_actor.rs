//! The store's own thread: commits, reloads and exports, one after the other.
//!
//! Blocking is right here: nobody else runs on this arbiter, and the ledger actor has at most one
//! commit in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult};
use energy::Dirty;
use meter::Owner;
use store::{Store, StoreError};

use crate::app::Stats;
use crate::booking::Rows;
use crate::persist::{self, CommitError, LoadError};
use crate::shutdown::{self, DeathWatch};

/// Writes an export of the store; returns what is told of it.
pub type Exporter = Box<dyn Fn(&dyn Store) -> Result<(), StoreError> + Send>;

/// Persists one commit. The changes come back, to be published.
#[derive(Message)]
#[rtype(result = "Committed")]
pub struct PersistCommit(pub Vec<Dirty>);

/// What became of a commit.
pub struct Committed {
    /// What was to be committed.
    pub dirty: Vec<Dirty>,
    /// Whether it is on disk: all of it, or (as far as anyone knows) nothing.
    pub result: Result<(), CommitError>,
}

/// Loads rows again, after a commit failed; proves that the store can be written, too.
#[derive(Message)]
#[rtype(result = "Result<Rows, LoadError>")]
pub struct Reload(pub Arc<Vec<Owner>>);

/// Exports the store now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Export;

/// The actor; see the module.
pub struct StoreActor {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Process counters.
    pub stats: Arc<Stats>,
    /// How exports are written; nothing for stores that need none.
    pub exporter: Option<Exporter>,
    /// How often.
    pub export_every: Duration,
    /// The commit that the last export holds.
    pub exported: Option<u64>,
    /// Ends the process if this actor dies.
    pub watch: DeathWatch,
}

impl Actor for StoreActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.export_every, |actor, _| actor.export());
    }
}

impl Handler<PersistCommit> for StoreActor {
    type Result = MessageResult<PersistCommit>;

    fn handle(&mut self, PersistCommit(dirty): PersistCommit, _: &mut Context<Self>) -> Self::Result {
        let start = Instant::now();
        let result = persist::commit(&*self.store, &dirty);
        match &result {
            Ok(()) => {
                Stats::bump(&self.stats.commits);
                Stats::add(&self.stats.rows, dirty.len() as u64);
                Stats::add(&self.stats.commit_ns, u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            Err(CommitError::Store(error @ StoreError::Gone(_))) => self.give_up(error),
            Err(_) => Stats::bump(&self.stats.commit_failures),
        }
        MessageResult(Committed { dirty, result })
    }
}

impl Handler<Reload> for StoreActor {
    type Result = Result<Rows, LoadError>;

    fn handle(&mut self, Reload(owners): Reload, _: &mut Context<Self>) -> Self::Result {
        persist::reload(&*self.store, &owners)
    }
}

impl Handler<Export> for StoreActor {
    type Result = ();

    fn handle(&mut self, _: Export, _: &mut Context<Self>) {
        self.export();
    }
}

impl StoreActor {
    /// The database was taken away: saves what was acknowledged, as far as it can still be read, and
    /// ends the process. What is published rests on nothing any more.
    fn give_up(&mut self, error: &StoreError) {
        tracing::error!("{error}");
        self.export();
        shutdown::give_up();
    }

    fn export(&mut self) {
        let Some(exporter) = &self.exporter else { return };
        let number = self.store.commit_number();
        if self.exported == Some(number) {
            return;
        }
        match exporter(&*self.store) {
            Ok(()) => {
                self.exported = Some(number);
                Stats::bump(&self.stats.exports);
            }
            Err(error) => {
                tracing::error!("failed to export the store: {error}");
                Stats::bump(&self.stats.export_failures);
            }
        }
    }
}
