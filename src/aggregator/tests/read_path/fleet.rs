//! Hand-made rows and postings, so that figures can be worked out on paper.

use std::collections::BTreeMap;
use std::sync::Arc;

use energy::{Account, Cell, Edge, HourBlock, HourCell, LabelsSince, OpenSlot, OwnerState};
use meter::{AccountKey, ByQuality, Energy, Milliwatts, Owner, Quality, Scope, Slot, Utc};
use store::{MemoryStore, Outcome, OwnerCommit, Store, records};

/// 2026-10-05T00:00:00Z, a Monday.
pub(crate) const MONDAY: Slot = Slot(1_791_158_400 / 900);

/// Owners on their way into a store.
pub(crate) struct Fleet {
    pub(crate) store: Arc<MemoryStore>,
    rows: BTreeMap<Owner, (OwnerState, u64)>,
}

/// Energy of `kj` kilojoules measured by joined power.
pub(crate) fn kj(kj: u64) -> ByQuality {
    ByQuality::of(Quality::Integrated, Energy::from_microjoules(kj * 1_000_000_000))
}

pub(crate) fn cell(energy: ByQuality, seconds: u64) -> Cell {
    Cell { energy, covered_ns: seconds * 1_000_000_000 }
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new([7; 16], 42)), rows: BTreeMap::new() }
    }

    /// An owner whose accounts were first read at the start of `first` and last at the end of `last`.
    pub(crate) fn owner(
        &mut self,
        owner: &Owner,
        accounts: &[(Scope, &str)],
        first: Slot,
        last: Slot,
    ) -> &mut OwnerState {
        let mut state = OwnerState::new(owner.clone());
        let keys = accounts.iter().map(|(scope, device)| AccountKey::new(*scope, device).expect("a device"));
        state.keys = Arc::new(keys.collect());
        let edge = |at| Edge { at, power: Some(Milliwatts(500_000)), ..Edge::default() };
        state.accounts = accounts
            .iter()
            .map(|_| Account {
                lifetime: ByQuality::default(),
                first: edge(first.start()),
                frontier: edge(last.end()),
                shown: Some((last.end(), Milliwatts(500_000))),
                covered_ns: last.end().since(first.start()),
                rare: None,
            })
            .collect();
        state.last_seen = last.end();
        state.readings = 10;
        self.rows.insert(owner.clone(), (state, 0));
        self.state(owner)
    }

    pub(crate) fn state(&mut self, owner: &Owner) -> &mut OwnerState {
        &mut self.rows.get_mut(owner).expect("the owner").0
    }

    pub(crate) fn label(&mut self, owner: &Owner, from: Utc, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.state(owner).labels.push(LabelsSince { from, labels: Arc::new(labels) });
    }

    /// Books cells of one slot, which stays open.
    pub(crate) fn open(&mut self, owner: &Owner, slot: Slot, cells: &[Cell]) {
        let state = self.state(owner);
        for (account, cell) in state.accounts.iter_mut().zip(cells) {
            account.lifetime += cell.energy;
        }
        state.open.push(OpenSlot { slot, cells: cells.to_vec(), cuts: vec![] });
    }

    /// Commits an owner's row; its open slots leave as postings, but for those from `keep` on.
    pub(crate) fn settle(&mut self, owner: &Owner, keep: Slot) {
        let (state, version) = self.rows.get_mut(owner).expect("the owner");
        let (left, kept): (Vec<OpenSlot>, Vec<OpenSlot>) = state.open.drain(..).partition(|open| open.slot < keep);
        state.open = kept;
        let mut hours: BTreeMap<i32, Vec<HourCell>> = BTreeMap::new();
        for open in left {
            let (hour, quarter) = open.slot.hour();
            let cells = open.cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::default());
            hours.entry(hour).or_default().extend(cells.map(|(account, cell)| HourCell {
                quarter: quarter as u8,
                account: account as u16,
                cell: *cell,
            }));
        }
        let history = hours
            .into_iter()
            .map(|(hour, cells)| (hour, records::encode_hour(&HourBlock { hour, cells, cuts: vec![] })));
        let commit = OwnerCommit {
            owner: owner.clone(),
            expect: *version,
            next: *version + 1,
            row: records::encode_row(state),
            history: history.collect(),
            documents: vec![],
        };
        *version += 1;
        let outcomes = self.store.commit(vec![commit]).expect("a store in memory");
        assert_eq!(outcomes, [Outcome::Won]);
    }

    /// Commits every row as it is; slots before `keep` leave as postings.
    pub(crate) fn settle_all(&mut self, keep: Slot) {
        let owners: Vec<Owner> = self.rows.keys().cloned().collect();
        for owner in owners {
            self.settle(&owner, keep);
        }
    }

    /// What a reader holds that loaded the rows now.
    pub(crate) fn snapshot(&self, as_of: Utc) -> billing::published::Snapshot {
        let mut snapshot = billing::published::Snapshot::empty(self.store.identity().generation, as_of);
        for (state, version) in self.rows.values() {
            snapshot.put(Arc::new(state.clone()), *version);
        }
        snapshot
    }
}

pub(crate) fn host(name: &str) -> Owner {
    Owner::host(name).expect("a name")
}
