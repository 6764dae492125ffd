//! What readers see: immutable snapshots of durable figures.
//!
//! Only the ledger actor publishes, and only what a commit has put on disk; a query never enters its
//! mailbox. Owners are grouped by partition, so that a commit copies the maps it touched and shares
//! the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use energy::OwnerState;
use meter::{Owner, OwnerKind, PARTS, Utc};

use crate::charges::known::KnownCharges;
use crate::doubles::Doubles;
use crate::hardware::{Hardware, Said};
use crate::holds::known::KnownJobs;

/// Everything that is on disk, as of one commit.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Until when everything that was acknowledged is in it.
    pub as_of: Utc,
    /// The store's generation: counters may step back only where it changes.
    pub generation: u64,
    /// One part per partition, in their order.
    pub parts: Vec<Arc<Part>>,
    doubles: OnceLock<Arc<Doubles>>,
    /// What was found due each month.
    pub charges: KnownCharges,
    /// What is known of the jobs that were ever told.
    pub jobs: Arc<KnownJobs>,
}

/// The owners of one partition.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// By owner.
    pub owners: BTreeMap<Owner, Arc<OwnerView>>,
    /// What the hosts and chassis among them say of themselves. It stays the same from commit to commit
    /// for as long as none of them says anything new.
    pub said: Arc<BTreeMap<Owner, Said>>,
}

/// One owner's row as it is on disk.
#[derive(Debug)]
pub struct OwnerView {
    /// The row.
    pub state: Arc<OwnerState>,
    /// Its version; postings of later versions do not belong to it yet.
    pub version: u64,
}

/// The newest snapshot.
#[derive(Debug)]
pub struct Published(ArcSwap<Snapshot>);

impl Snapshot {
    /// A ledger without owners.
    #[must_use]
    pub fn empty(generation: u64, as_of: Utc) -> Self {
        let parts = (0..PARTS).map(|_| Arc::default()).collect();
        Self {
            as_of,
            generation,
            parts,
            doubles: OnceLock::new(),
            charges: KnownCharges::default(),
            jobs: Arc::default(),
        }
    }

    /// One owner.
    #[must_use]
    pub fn owner(&self, owner: &Owner) -> Option<&Arc<OwnerView>> {
        self.parts.get(usize::from(owner.part()))?.owners.get(owner)
    }

    /// All owners, by partition and name.
    pub fn owners(&self) -> impl Iterator<Item = &Arc<OwnerView>> {
        self.parts.iter().flat_map(|part| part.owners.values())
    }

    /// Devices that more than one owner reports. Looked for when first asked.
    #[must_use]
    pub fn doubles(&self) -> &Doubles {
        self.doubles.get_or_init(|| Arc::new(Doubles::of(self.owners().map(|view| &*view.state))))
    }

    /// Puts an owner's row in place of the one before.
    pub fn put(&mut self, state: Arc<OwnerState>, version: u64) {
        let owner = state.owner.clone();
        self.doubles = OnceLock::new();
        self.charges = KnownCharges::default();
        if let Some(part) = self.parts.get_mut(usize::from(owner.part())) {
            let part = Arc::make_mut(part);
            part.note(&state);
            part.owners.insert(owner, Arc::new(OwnerView { state, version }));
        }
    }

    /// Takes an owner out, if the store no longer has it.
    pub fn remove(&mut self, owner: &Owner) {
        self.doubles = OnceLock::new();
        self.charges = KnownCharges::default();
        if let Some(part) = self.parts.get_mut(usize::from(owner.part())) {
            let part = Arc::make_mut(part);
            part.owners.remove(owner);
            if part.said.contains_key(owner) {
                Arc::make_mut(&mut part.said).remove(owner);
            }
        }
    }

    /// What all hosts and chassis say of themselves.
    #[must_use]
    pub fn hardware(&self) -> Hardware {
        Hardware(self.parts.iter().map(|part| Arc::clone(&part.said)).collect())
    }
}

impl Part {
    /// Takes note of what a row says of its owner, if that is anything new.
    fn note(&mut self, state: &OwnerState) {
        let before = self.owners.get(&state.owner);
        if state.owner.kind == OwnerKind::Meter || before.is_some_and(|view| !Said::may_differ(&view.state, state)) {
            return;
        }
        let said = Said::of(state);
        if self.said.get(&state.owner) != Some(&said) {
            Arc::make_mut(&mut self.said).insert(state.owner.clone(), said);
        }
    }
}

impl Published {
    /// Begins with `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The newest snapshot. It stays as it is for as long as it is held.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Publishes a snapshot; for the ledger actor, after a commit.
    pub fn store(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
