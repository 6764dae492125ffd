//! What happens before a database is in use: making one, filling one from an image, reading its
//! identity and index.

use std::path::Path;

use meter::PARTS;

use super::draft::{Draft, Totals, Writes};
use super::engine::Engine;
use super::index::{Index, PartChange, Place};
use super::keys::{self, RunKey};
use super::runs::RunReader;
use super::stamps::{self, Stamps};
use crate::directory::io_error;
use crate::port::{Identity, ImageItem, StoreError};

/// The layout of keys and runs that this program writes.
const LAYOUT: u8 = 1;

/// Image bytes written in one batch.
const BATCH: usize = 4 << 20;

/// Makes an empty database.
pub(crate) fn create(directory: &Path, identity: Identity) -> Result<(), StoreError> {
    Loader::new(directory, identity)?.finish(0)
}

/// Fills a new database with an image.
pub(crate) struct Loader {
    engine: Engine,
    draft: Draft,
    stamps: Stamps,
    number: u64,
    size: usize,
}

impl Loader {
    /// Begins a database in a directory that does not exist yet.
    pub(crate) fn new(directory: &Path, identity: Identity) -> Result<Self, StoreError> {
        std::fs::DirBuilder::new().create(directory).map_err(io_error(directory))?;
        let engine = Engine::open(directory)?;
        engine.apply(identity_writes(identity))?;
        let draft = Draft::new(1, Totals::default());
        Ok(Self { engine, draft, stamps: Stamps::default(), number: 1, size: 0 })
    }

    /// Takes in one item.
    pub(crate) fn add(&mut self, item: &ImageItem) -> Result<(), StoreError> {
        let added = match item {
            ImageItem::Row(row) => {
                self.size += row.bytes.len() + 64;
                self.draft.totals.rows += 1;
                self.draft.totals.versions = self.draft.totals.versions.wrapping_add(row.version);
                self.draft.row(&row.owner, row.version, &row.bytes)
            }
            ImageItem::History(entry) => {
                self.size += entry.bytes.len() + 64;
                self.draft.totals.postings += 1;
                self.draft.posting(&entry.owner, entry.hour, entry.version, &entry.bytes)
            }
            ImageItem::Document { name, bytes } => {
                self.size += bytes.len() + 64;
                self.draft.document(name, bytes, None);
                Ok(())
            }
        };
        added.map_err(|error| StoreError::Failed(error.0))?;
        if self.size >= BATCH { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.size = 0;
        self.number += 1;
        let next = Draft::new(self.number, self.draft.totals);
        let draft = std::mem::replace(&mut self.draft, next);
        let stamps = self.stamps.with(&draft.stamps);
        let (mut writes, _) = draft.finish(&[]);
        stamps.write(&mut writes);
        self.stamps.replace(stamps);
        self.engine.apply(writes)
    }

    /// Closes the database; its next commit will be numbered after `commit`.
    pub(crate) fn finish(mut self, commit: u64) -> Result<(), StoreError> {
        self.write()?;
        let mut writes = Writes::default();
        // Each batch took a number of its own; a fresh store begins at 0.
        let last = if commit == 0 { 0 } else { commit.max(self.number) };
        writes.put(keys::COMMIT, &self.draft.totals.encode(last));
        self.engine.apply(writes)?;
        self.engine.close();
        Ok(())
    }
}

/// What puts an identity in its place.
pub(crate) fn identity_writes(identity: Identity) -> Writes {
    let mut writes = Writes::default();
    writes.put(keys::IDENTITY, &[&[LAYOUT], &identity.ledger[..], &identity.generation.to_be_bytes()].concat());
    writes
}

/// Which ledger a database holds.
pub(crate) fn read_identity(engine: &Engine) -> Result<Identity, StoreError> {
    let stored = engine.get(keys::IDENTITY)?.ok_or_else(|| engine.damaged("it holds no ledger's identity"))?;
    let Some((&layout, rest)) = stored.split_first() else { return Err(engine.damaged("its identity is empty")) };
    if layout != LAYOUT {
        // Not damage: a restore of an older export in its place would lose what the newer one wrote.
        return Err(StoreError::Failed(format!(
            "the database has layout {layout}, this program knows {LAYOUT}: use the version that wrote it"
        )));
    }
    let read = || {
        let (ledger, generation) = rest.split_first_chunk::<16>()?;
        Some(Identity { ledger: *ledger, generation: u64::from_be_bytes(generation.try_into().ok()?) })
    };
    read().ok_or_else(|| engine.damaged("its identity has another length"))
}

/// Reads where all rows lie, the number of the last commit, and what the store held with it; an error
/// if it does not hold that.
pub(crate) fn read_index(engine: &Engine) -> Result<(Index, u64, Totals), StoreError> {
    let last = engine.get(keys::COMMIT)?.ok_or_else(|| engine.damaged("it holds no commit number"))?;
    let (last, totals) = Totals::decode(&last).ok_or_else(|| engine.damaged("its commit number has another length"))?;
    let mut index = Index::new();
    for part in 0..PARTS {
        engine.each_run(
            keys::rows_of(part),
            |_| true,
            |key, run| {
                let change = read_run(engine, part, &key, &run, last)?;
                index.apply(key.commit().unwrap_or_default(), change);
                Ok(())
            },
        )?;
    }
    let (rows, versions) = index.totals();
    if (rows, versions) != (totals.rows, totals.versions) {
        let Totals { rows: expected, .. } = totals;
        return Err(engine.damaged(format!("it holds {rows} rows, not the {expected} of commit {last}, or older ones")));
    }
    index.stamps = stamps::read(engine, last, totals.postings)?;
    Ok((index, last, totals))
}

fn read_run(engine: &Engine, part: u8, key: &RunKey, run: &[u8], last: u64) -> Result<PartChange, StoreError> {
    let commit = key.commit().filter(|commit| *commit <= last);
    let commit = commit.ok_or_else(|| engine.damaged("a run of rows is newer than the last commit"))?;
    let mut places = Vec::new();
    for entry in RunReader::new(run).map_err(|e| engine.damaged(e))? {
        let entry = entry.map_err(|e| engine.damaged(e))?;
        let narrow = |number: usize| u32::try_from(number).map_err(|_| engine.damaged("a run beyond 4 GiB"));
        let (offset, len) = (narrow(entry.offset)?, narrow(entry.bytes.len())?);
        places.push((entry.owner, Place { version: entry.version, commit, offset, len }));
    }
    Ok(PartChange { part, folded: false, run_len: run.len() as u64, places })
}

#[cfg(test)]
mod tests {
    use meter::Owner;

    use super::*;
    use crate::port::Row;

    fn identity() -> Identity {
        Identity { ledger: [1; 16], generation: 1 }
    }

    #[test]
    fn a_row_that_went_missing_or_stepped_back_is_noticed() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("ledger");
        let owner = Owner::host("n1").expect("a good name");
        let mut loader = Loader::new(&directory, identity()).expect("creates");
        for number in 0..3 {
            let owner = Owner::host(&format!("n{number}")).expect("a good name");
            loader.add(&ImageItem::Row(Row { owner, version: 5, bytes: vec![1; 9] })).expect("adds");
        }
        loader.finish(9).expect("finishes");
        let engine = Engine::open(&directory).expect("opens");
        let (index, last, totals) = read_index(&engine).expect("is whole");
        assert_eq!((index.totals(), last, totals.rows), ((3, 15), 9, 3));
        // Behind the store's back: a run disappears; then it returns with an older row.
        let place = index.place(&owner).expect("a place");
        let run = RunKey::rows(owner.part(), place.commit).chunk(0);
        let mut writes = Writes::default();
        writes.batch.remove(&run[..]);
        engine.apply(writes).expect("writes");
        assert!(matches!(read_index(&engine), Err(StoreError::Damaged { .. })));
        let mut older = Draft::new(place.commit, totals);
        older.row(&owner, 4, &[1; 9]).expect("adds");
        engine.apply(older.finish(&[]).0).expect("writes");
        assert!(matches!(read_index(&engine), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_database_of_a_newer_layout_is_no_damage() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("ledger");
        create(&directory, identity()).expect("creates");
        let engine = Engine::open(&directory).expect("opens");
        let mut writes = Writes::default();
        writes.put(keys::IDENTITY, &[LAYOUT + 1, 0, 0]);
        engine.apply(writes).expect("writes");
        // Damage would be set aside and replaced by an older export.
        assert!(matches!(read_identity(&engine), Err(StoreError::Failed(why)) if why.contains("layout 2")));
    }
}
