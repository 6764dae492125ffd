//! The store's own thread: commits, reloads and exports, one after the other.
//!
//! Blocking is right here: nobody else runs on this arbiter, and the ledger actor has at most one
//! commit in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult};
use energy::{Dirty, OwnerState};
use meter::Owner;
use store::records::{self, RecordError};
use store::{Outcome, OwnerCommit, Row, Store, StoreError};

use crate::app::Stats;
use crate::shutdown::{self, DeathWatch};

/// Where a recovered store proves that it can be written.
const PROBE: &str = "recovered";

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

/// Why a commit is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another aggregator wrote these owners meanwhile.
    #[error("another aggregator wrote {0} of its owners")]
    Lost(usize),
}

/// Why rows could not be loaded again.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row is not what was written.
    #[error("the row of {0}: {1}")]
    Row(Owner, RecordError),
}

/// Loads rows again, after a commit failed; proves that the store can be written, too.
#[derive(Message)]
#[rtype(result = "Result<Vec<Option<(OwnerState, u64)>>, ReloadError>")]
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
        let result = self.commit(&dirty);
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
    type Result = Result<Vec<Option<(OwnerState, u64)>>, ReloadError>;

    fn handle(&mut self, Reload(owners): Reload, _: &mut Context<Self>) -> Self::Result {
        // Written first: a disk that is still full must not look recovered.
        self.store.put_document(PROBE, &self.store.commit_number().to_le_bytes())?;
        let rows = self.store.load(&owners)?;
        let state = |row: Row| match records::decode_row(&row.owner, &row.bytes) {
            Ok(state) => Ok((state, row.version)),
            Err(why) => Err(ReloadError::Row(row.owner, why)),
        };
        rows.into_iter().map(|row| row.map(state).transpose()).collect()
    }
}

impl Handler<Export> for StoreActor {
    type Result = ();

    fn handle(&mut self, _: Export, _: &mut Context<Self>) {
        self.export();
    }
}

impl StoreActor {
    fn commit(&self, dirty: &[Dirty]) -> Result<(), CommitError> {
        let commits = dirty.iter().map(encode).collect();
        let lost = self.store.commit(commits)?.iter().filter(|outcome| matches!(outcome, Outcome::Lost(_))).count();
        if lost > 0 { Err(CommitError::Lost(lost)) } else { Ok(()) }
    }

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

/// One owner's change as the store takes it.
fn encode(dirty: &Dirty) -> OwnerCommit {
    OwnerCommit {
        owner: dirty.owner.clone(),
        expect: dirty.expect,
        next: dirty.next,
        row: records::encode_row(&dirty.state),
        history: dirty.settled.iter().map(|block| (block.hour, records::encode_hour(block))).collect(),
    }
}
