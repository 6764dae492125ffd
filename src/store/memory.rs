//! The store in memory: the port's rules without a disk, for tests and demonstrations.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use meter::{Id, Owner};

use crate::port::{
    Durability, HistoryEntry, HistoryQuery, Identity, ImageItem, Outcome, OwnerCommit, Row, Store, StoreError,
    check_commits, check_documents,
};

/// A store that forgets everything when it is dropped.
pub struct MemoryStore {
    identity: Identity,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    commit: u64,
    rows: BTreeMap<u8, HashMap<Owner, Row>>,
    history: BTreeMap<(u8, i32), Vec<HistoryEntry>>,
    documents: BTreeMap<String, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store of this ledger; `generation` as in [`Identity`].
    #[must_use]
    pub fn new(ledger: Id, generation: u64) -> Self {
        Self { identity: Identity { ledger, generation }, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn row(&self, owner: &Owner) -> Option<&Row> {
        self.rows.get(&owner.part())?.get(owner)
    }

    fn apply(&mut self, commit: OwnerCommit) -> Outcome {
        let row = self.row(&commit.owner);
        if row.map_or(0, |row| row.version) != commit.expect {
            return Outcome::Lost(row.cloned());
        }
        let (owner, version) = (commit.owner, commit.next);
        let part = owner.part();
        for (hour, bytes) in commit.history {
            let entry = HistoryEntry { owner: owner.clone(), hour, version, bytes };
            self.history.entry((part, hour)).or_default().push(entry);
        }
        self.documents.extend(commit.documents);
        self.rows.entry(part).or_default().insert(owner.clone(), Row { owner, version, bytes: commit.row });
        Outcome::Won
    }
}

impl Store for MemoryStore {
    fn load(&self, owners: &[Owner]) -> Result<Vec<Option<Row>>, StoreError> {
        let state = self.state();
        Ok(owners.iter().map(|owner| state.row(owner).cloned()).collect())
    }

    fn commit(&self, commits: Vec<OwnerCommit>) -> Result<Vec<Outcome>, StoreError> {
        check_commits(&commits)?;
        let mut state = self.state();
        let outcomes: Vec<_> = commits.into_iter().map(|commit| state.apply(commit)).collect();
        state.commit += u64::from(outcomes.contains(&Outcome::Won));
        Ok(outcomes)
    }

    fn scan(&self, parts: Range<u8>, each: &mut dyn FnMut(Row)) -> Result<(), StoreError> {
        let rows: Vec<Row> =
            self.state().rows.range(parts).flat_map(|(_, rows)| rows.values().cloned().collect::<Vec<_>>()).collect();
        // The lock is free here: `each` may well ask the store something.
        rows.into_iter().for_each(each);
        Ok(())
    }

    fn history(&self, query: &HistoryQuery, each: &mut dyn FnMut(HistoryEntry)) -> Result<(), StoreError> {
        let owners: Option<HashSet<&Owner>> = query.owners.as_ref().map(|owners| owners.iter().collect());
        let wanted = |entry: &&HistoryEntry| {
            query.hours.contains(&entry.hour) && owners.as_ref().is_none_or(|owners| owners.contains(&entry.owner))
        };
        let entries: Vec<HistoryEntry> = self.state().history.values().flatten().filter(wanted).cloned().collect();
        entries.into_iter().for_each(each);
        Ok(())
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn durability(&self) -> Durability {
        Durability {
            engine: "memory",
            survives_crash: false,
            survives_power_loss: false,
            words: "acknowledged means in memory: everything is lost when the process ends",
        }
    }

    fn put_documents(&self, documents: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        check_documents(&documents)?;
        let mut state = self.state();
        state.commit += u64::from(!documents.is_empty());
        state.documents.extend(documents);
        Ok(())
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().documents.get(name).cloned())
    }

    fn documents(&self, from: &str, until: &str, each: &mut dyn FnMut(String, Vec<u8>)) -> Result<(), StoreError> {
        let wanted = |(name, _): &(&String, &Vec<u8>)| from <= &name[..] && &name[..] < until;
        let found: Vec<_> =
            self.state().documents.iter().filter(wanted).map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        found.into_iter().for_each(|(name, bytes)| each(name, bytes));
        Ok(())
    }

    fn commit_number(&self) -> u64 {
        self.state().commit
    }

    fn image(&self, each: &mut dyn FnMut(ImageItem) -> Result<(), StoreError>) -> Result<u64, StoreError> {
        let state = self.state();
        let rows = state.rows.values().flat_map(HashMap::values).cloned().map(ImageItem::Row);
        let history = state.history.values().flatten().cloned().map(ImageItem::History);
        let documents = state.documents.iter();
        let documents = documents.map(|(name, bytes)| ImageItem::Document { name: name.clone(), bytes: bytes.clone() });
        let items: Vec<ImageItem> = rows.chain(history).chain(documents).collect();
        let commit = state.commit;
        drop(state);
        items.into_iter().try_for_each(each)?;
        Ok(commit)
    }
}
