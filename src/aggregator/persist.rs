//! Rows between the ledger and a store: blocking, for whoever may wait for a disk.

use std::sync::Arc;

use billing::published::Snapshot;
use energy::{Dirty, Ledger, Policy};
use meter::{Owner, PARTS, Utc};
use store::records::{self, RecordError};
use store::{Outcome, OwnerCommit, Row, Store, StoreError};

use crate::booking::Rows;

/// Where a recovered store proves that it can be written.
const PROBE: &str = "recovered";

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

/// Why rows could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row is not what was written.
    #[error("the row of {0}: {1}")]
    Row(Owner, RecordError),
}

/// Puts a commit on disk.
///
/// # Errors
/// [`CommitError`]; what was written of it shows when the rows are loaded again.
pub fn commit(store: &dyn Store, dirty: &[Dirty]) -> Result<(), CommitError> {
    let commits = dirty.iter().map(encode).collect();
    let lost = store.commit(commits)?.iter().filter(|outcome| matches!(outcome, Outcome::Lost(_))).count();
    if lost > 0 { Err(CommitError::Lost(lost)) } else { Ok(()) }
}

/// One owner's change as the store takes it.
fn encode(dirty: &Dirty) -> OwnerCommit {
    OwnerCommit {
        owner: dirty.owner.clone(),
        expect: dirty.expect,
        next: dirty.next,
        row: records::encode_row(&dirty.state),
        history: dirty.settled.iter().map(|block| (block.hour, records::encode_hour(block))).collect(),
        documents: dirty.ended.iter().filter_map(|hold| records::encode_hold(&dirty.owner, hold)).collect(),
    }
}

/// Loads rows again after a commit failed, and proves that the store can be written.
///
/// # Errors
/// [`LoadError`]: the store does not work yet.
pub fn reload(store: &dyn Store, owners: &[Owner]) -> Result<Rows, LoadError> {
    // Written first: a disk that is still full must not look recovered.
    store.put_document(PROBE, &store.commit_number().to_le_bytes())?;
    let rows = store.load(owners)?;
    let state = |row: Row| match records::decode_row(&row.owner, &row.bytes) {
        Ok(state) => Ok((state, row.version)),
        Err(why) => Err(LoadError::Row(row.owner, why)),
    };
    rows.into_iter().map(|row| row.map(state).transpose()).collect()
}

/// Every row of the store, into a ledger and the first snapshot.
///
/// # Errors
/// [`LoadError`]; a row that cannot be read is not an owner without energy.
pub fn open(store: &dyn Store, policy: Policy, now: Utc) -> Result<(Ledger, Snapshot), LoadError> {
    let mut ledger = Ledger::new(policy);
    let mut snapshot = Snapshot::empty(store.identity().generation, now);
    let mut broken = None;
    store.scan(0..PARTS, &mut |row| match records::decode_row(&row.owner, &row.bytes) {
        Ok(state) => {
            snapshot.put(Arc::new(state.clone()), row.version);
            ledger.insert(state, row.version);
        }
        Err(why) => broken = Some(LoadError::Row(row.owner, why)),
    })?;
    match broken {
        Some(broken) => Err(broken),
        None => Ok((ledger, snapshot)),
    }
}
