//! A store that can fail at every step of a commit, and be set back to an export.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use meter::Owner;
use store::{
    Durability, HistoryEntry, HistoryQuery, Identity, ImageItem, Outcome, OwnerCommit, Row, Store, StoreError,
};

/// What happens to the next commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is on disk, and says so.
    #[default]
    Done,
    /// An error, and nothing was written.
    Nothing,
    /// An error, but all of it was written.
    Written,
}

/// Everything on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) identity: Identity,
    pub(crate) commit: u64,
    pub(crate) rows: BTreeMap<Owner, Row>,
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) documents: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
struct State {
    image: Image,
    fate: Fate,
    full: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SimStore(Mutex<State>);

impl Image {
    pub(crate) const fn empty(identity: Identity) -> Self {
        Self { identity, commit: 0, rows: BTreeMap::new(), history: Vec::new(), documents: BTreeMap::new() }
    }
}

impl SimStore {
    pub(crate) const fn new(image: Image) -> Self {
        Self(Mutex::new(State { image, fate: Fate::Done, full: false }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what happens to the next commit.
    pub(crate) fn decide(&self, fate: Fate) {
        self.state().fate = fate;
    }

    /// Fills the disk, or makes room.
    pub(crate) fn fill(&self, full: bool) {
        self.state().full = full;
    }

    /// What is on disk now.
    pub(crate) fn copy(&self) -> Image {
        self.state().image.clone()
    }

    /// One owner's row as it is on disk.
    pub(crate) fn row(&self, owner: &Owner) -> Option<Row> {
        self.state().image.rows.get(owner).cloned()
    }

    /// Puts another image in place.
    pub(crate) fn replace(&self, image: Image) {
        self.state().image = image;
    }
}

fn failed() -> StoreError {
    StoreError::Failed("no space left on device".into())
}

impl Image {
    fn apply(&mut self, commit: OwnerCommit) -> Outcome {
        let row = self.rows.get(&commit.owner);
        if row.map_or(0, |row| row.version) != commit.expect {
            return Outcome::Lost(row.cloned());
        }
        let OwnerCommit { owner, next: version, row: bytes, history, documents, .. } = commit;
        self.documents.extend(documents);
        for (hour, bytes) in history {
            self.history.push(HistoryEntry { owner: owner.clone(), hour, version, bytes });
        }
        self.rows.insert(owner.clone(), Row { owner, version, bytes });
        Outcome::Won
    }
}

impl Store for SimStore {
    fn load(&self, owners: &[Owner]) -> Result<Vec<Option<Row>>, StoreError> {
        let state = self.state();
        Ok(owners.iter().map(|owner| state.image.rows.get(owner).cloned()).collect())
    }

    fn commit(&self, commits: Vec<OwnerCommit>) -> Result<Vec<Outcome>, StoreError> {
        let mut state = self.state();
        let fate = std::mem::take(&mut state.fate);
        if state.full || fate == Fate::Nothing {
            return Err(failed());
        }
        let outcomes: Vec<_> = commits.into_iter().map(|commit| state.image.apply(commit)).collect();
        state.image.commit += u64::from(outcomes.contains(&Outcome::Won));
        if fate == Fate::Written { Err(failed()) } else { Ok(outcomes) }
    }

    fn scan(&self, parts: Range<u8>, each: &mut dyn FnMut(Row)) -> Result<(), StoreError> {
        let rows: Vec<Row> = self.state().image.rows.values().cloned().collect();
        rows.into_iter().filter(|row| parts.contains(&row.owner.part())).for_each(each);
        Ok(())
    }

    fn history(&self, query: &HistoryQuery, each: &mut dyn FnMut(HistoryEntry)) -> Result<(), StoreError> {
        let wanted = |entry: &&HistoryEntry| {
            query.hours.contains(&entry.hour)
                && query.owners.as_ref().is_none_or(|owners| owners.contains(&entry.owner))
        };
        let entries: Vec<HistoryEntry> = self.state().image.history.iter().filter(wanted).cloned().collect();
        entries.into_iter().for_each(each);
        Ok(())
    }

    fn identity(&self) -> Identity {
        self.state().image.identity
    }

    fn durability(&self) -> Durability {
        Durability { engine: "simulated", survives_crash: true, survives_power_loss: true, words: "simulated" }
    }

    fn put_documents(&self, documents: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.full {
            return Err(failed());
        }
        state.image.commit += u64::from(!documents.is_empty());
        state.image.documents.extend(documents);
        Ok(())
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().image.documents.get(name).cloned())
    }

    fn documents(&self, from: &str, until: &str, each: &mut dyn FnMut(String, Vec<u8>)) -> Result<(), StoreError> {
        let documents = self.copy().documents.into_iter();
        let found = documents.filter(|(name, _)| from <= &name[..] && &name[..] < until);
        found.for_each(|(name, bytes)| each(name, bytes));
        Ok(())
    }

    fn commit_number(&self) -> u64 {
        self.state().image.commit
    }

    fn image(&self, each: &mut dyn FnMut(ImageItem) -> Result<(), StoreError>) -> Result<u64, StoreError> {
        let image = self.copy();
        let rows = image.rows.into_values().map(ImageItem::Row);
        let history = image.history.into_iter().map(ImageItem::History);
        let documents = image.documents.into_iter().map(|(name, bytes)| ImageItem::Document { name, bytes });
        rows.chain(history).chain(documents).try_for_each(each)?;
        Ok(image.commit)
    }
}
