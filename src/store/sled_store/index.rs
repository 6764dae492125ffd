//! Where each owner's row lies: the only thing the store keeps in memory, by reckoning 150 to 200 bytes per owner.
//!
//! It changes when a commit is on disk and not before, so whoever reads through it sees acknowledged
//! commits only.

use std::collections::{BTreeMap, HashMap};

use meter::{Owner, PARTS};

use super::stamps::Stamps;

/// A partition is rewritten when what it keeps needlessly exceeds what it needs by this many bytes:
/// below that a rewrite costs more than it saves.
const SLACK: u64 = 64 << 10;

/// At most so many partitions are rewritten in one commit, unless they are badly overdue: else all
/// of an evenly loaded fleet would fall due in the same commit.
const FOLDS_PER_COMMIT: usize = 8;

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The row's version.
    pub version: u64,
    /// The commit whose run holds it.
    pub commit: u64,
    /// Where its bytes begin in the run.
    pub offset: u32,
    /// How many they are.
    pub len: u32,
}

/// The rows of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartIndex {
    /// Where each row lies.
    pub rows: HashMap<Owner, Place>,
    /// The runs of the partition and their lengths in bytes.
    pub runs: BTreeMap<u64, u64>,
    /// Bytes of the rows that stand.
    live: u64,
}

/// What a commit changes of one partition's index.
#[derive(Debug)]
pub(crate) struct PartChange {
    /// The partition.
    pub part: u8,
    /// Whether all runs before this one are gone.
    pub folded: bool,
    /// The new run's length in bytes.
    pub run_len: u64,
    /// The rows in it.
    pub places: Vec<(Owner, Place)>,
}

/// The rows of all partitions.
#[derive(Debug)]
pub(crate) struct Index {
    parts: Vec<PartIndex>,
    /// Digests of the history.
    pub stamps: Stamps,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { parts: vec![PartIndex::default(); usize::from(PARTS)], stamps: Stamps::default() }
    }

    pub(crate) fn part(&self, part: u8) -> &PartIndex {
        &self.parts[usize::from(part)]
    }

    /// Where the owner's row lies.
    pub(crate) fn place(&self, owner: &Owner) -> Option<Place> {
        self.part(owner.part()).rows.get(owner).copied()
    }

    /// How many rows there are, and the sum of their versions modulo 2^64.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let rows = self.parts.iter().flat_map(|part| part.rows.values());
        rows.fold((0, 0), |(rows, versions), place| (rows + 1, versions.wrapping_add(place.version)))
    }

    /// Takes in what a commit wrote.
    pub(crate) fn apply(&mut self, commit: u64, change: PartChange) {
        let part = &mut self.parts[usize::from(change.part)];
        if change.folded {
            part.runs.clear();
        }
        part.runs.insert(commit, change.run_len);
        for (owner, place) in change.places {
            let size = cost(&owner, &place);
            if let Some((owner, before)) = part.rows.remove_entry(&owner) {
                part.live -= cost(&owner, &before);
                part.rows.insert(owner, place);
            } else {
                part.rows.insert(owner, place);
            }
            part.live += size;
        }
    }

    /// Which of these partitions a commit should rewrite whole, the fullest first.
    pub(crate) fn due(&self, touched: impl Iterator<Item = u8>) -> Vec<u8> {
        let mut due: Vec<(u64, u8)> =
            touched.map(|part| (self.part(part).fullness(), part)).filter(|&(fullness, _)| fullness >= 100).collect();
        due.sort_unstable_by(|a, b| b.cmp(a));
        due.into_iter()
            .enumerate()
            .filter(|&(rank, (fullness, _))| rank < FOLDS_PER_COMMIT || fullness >= 200)
            .map(|(_, (_, part))| part)
            .collect()
    }
}

impl PartIndex {
    /// Needless bytes in per cent of what is tolerated.
    fn fullness(&self) -> u64 {
        let stored: u64 = self.runs.values().sum();
        stored.saturating_sub(self.live) * 100 / (self.live + SLACK)
    }
}

/// Bytes of an entry in a run, to within its varints.
fn cost(owner: &Owner, place: &Place) -> u64 {
    u64::from(place.len) + (owner.cluster.len() + owner.name.len() + 16) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(part: u8, folded: bool, commit: u64, owner: &Owner, len: u32) -> PartChange {
        let place = Place { version: commit, commit, offset: 1, len };
        PartChange { part, folded, run_len: u64::from(len) + 40, places: vec![(owner.clone(), place)] }
    }

    #[test]
    fn a_part_falls_due_when_half_of_it_is_needless_and_a_rewrite_settles_it() {
        let owner = Owner::host("n1").expect("a good name");
        let part = owner.part();
        let mut index = Index::new();
        let mut commits = 0;
        while index.due([part].into_iter()).is_empty() {
            commits += 1;
            index.apply(commits, change(part, false, commits, &owner, 10_000));
        }
        // 64 KiB of slack and the row itself are tolerated: 75.5 kB in runs of 10 kB, beside the live one.
        assert_eq!(commits, 9);
        index.apply(commits + 1, change(part, true, commits + 1, &owner, 10_000));
        assert!(index.due([part].into_iter()).is_empty());
        assert_eq!(index.part(part).runs.len(), 1);
        assert_eq!(index.place(&owner).map(|place| place.version), Some(commits + 1));
    }

    #[test]
    fn parts_that_fall_due_together_are_rewritten_a_few_at_a_time() {
        let mut index = Index::new();
        let owners: Vec<Owner> = (0..64 * 40).map(|n| Owner::host(&format!("n{n}")).expect("a good name")).collect();
        for commit in 1..=4 {
            for owner in &owners {
                let part = owner.part();
                let place = Place { version: commit, commit, offset: 1, len: 2_000 };
                let change = PartChange { part, folded: false, run_len: 0, places: vec![(owner.clone(), place)] };
                index.apply(commit, change);
            }
            for part in &mut index.parts {
                part.runs.insert(commit, 40 * 2_100);
            }
        }
        assert_eq!(index.due(0..PARTS).len(), FOLDS_PER_COMMIT);
    }
}
