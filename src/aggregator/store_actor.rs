//! The store's own thread: commits and reloads, one after the other; exports are written beside it.
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
use crate::exports::Exports;
use crate::persist::{self, CommitError, LoadError};
use crate::shutdown::{self, DeathWatch};

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

/// Exports the store now: for the end, when no commit waits any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Export;

/// The actor; see the module.
pub struct StoreActor {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Process counters.
    pub stats: Arc<Stats>,
    /// Its exports; nothing for stores that need none.
    pub exports: Option<Arc<Exports>>,
    /// How often one is written.
    pub export_every: Duration,
    /// Ends the process if this actor dies.
    pub watch: DeathWatch,
}

impl Actor for StoreActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.export_every, |actor, _| {
            if let Some(exports) = &actor.exports {
                exports.begin();
            }
        });
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
        if let Some(exports) = &self.exports {
            exports.write();
        }
    }
}

impl StoreActor {
    /// The database was taken away: saves what was acknowledged, as far as it can still be read, and
    /// ends the process. What is published rests on nothing any more.
    fn give_up(&self, error: &StoreError) {
        tracing::error!("{error}");
        if let Some(exports) = &self.exports {
            exports.write();
        }
        shutdown::give_up();
    }
}
