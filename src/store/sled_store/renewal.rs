//! Everything that stands, for an image or for a database that takes the place of this one.
//!
//! sled gives log space back by whole segments. History stays, rows are replaced with every commit, and
//! both lie in the same segments: a few values that stay keep each of them, and the file grows by many times what
//! it holds. So when most of it is needless, what stands is written into a new database, and the two change
//! places in one step: a crash at any moment leaves one of them whole in the right place.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use meter::PARTS;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::draft::Totals;
use super::engine::Engine;
use super::index::PartIndex;
use super::loader::{Loader, read_index};
use super::mark::Mark;
use super::{SledStore, View, reading};
use crate::directory::{self, io_error};
use crate::port::{ImageItem, StoreError};

/// The new database while it is being made, beside the old one.
pub(crate) const MAKING: &str = "ledger.partial";

/// Needless bytes below which nothing is made anew: two days of a fleet of 10,000 devices. The C library keeps
/// some of the memory of an engine that was closed, so that this must be rare.
const NEEDLESS_MIN: u64 = 512 << 20;
/// …and how many times what stands the file must be: rows and their log alone take up to five.
const NEEDLESS_TIMES: u64 = 6;

/// What stands at one commit, and where it lies.
pub(super) struct Standing {
    pub(super) engine: Arc<Engine>,
    parts: HashMap<u8, PartIndex>,
    documents: Vec<(String, Vec<u8>)>,
    pub(super) commit: u64,
    totals: Totals,
}

impl SledStore {
    /// What stands. Only for who holds the writer's lock.
    pub(super) fn standing(&self) -> Result<Standing, StoreError> {
        let engine = self.engine_for_writing()?;
        let documents = reading::read_documents(&engine)?;
        let view = self.view();
        let parts = (0..PARTS).map(|part| (part, view.index.part(part).clone())).collect();
        Ok(Standing { engine, parts, documents, commit: view.commit, totals: view.totals })
    }

    /// Calls `each` with every row, posting and document that stands. While it runs nothing may be folded.
    pub(super) fn each_item(
        &self,
        standing: &Standing,
        each: &mut dyn FnMut(ImageItem) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let engine = &standing.engine;
        let mut bytes = 0;
        for part in 0..PARTS {
            let rows = reading::read_part(engine, part, &standing.parts[&part])?;
            let rows = rows.ok_or_else(|| engine.damaged("a run of rows is missing"))?;
            for row in rows {
                bytes += row.bytes.len() as u64;
                each(ImageItem::Row(row))?;
            }
        }
        let mut postings = 0;
        for part in 0..PARTS {
            reading::read_history(engine, part, &(i32::MIN..i32::MAX), standing.commit, &mut |entry| {
                postings += 1;
                bytes += entry.bytes.len() as u64;
                each(ImageItem::History(entry))
            })?;
        }
        if postings != standing.totals.postings {
            return Err(engine.damaged(format!("it holds {postings} postings, not {}", standing.totals.postings)));
        }
        for (name, content) in &standing.documents {
            bytes += content.len() as u64;
            each(ImageItem::Document { name: name.clone(), bytes: content.clone() })?;
        }
        self.live.store(bytes.max(1), Ordering::Relaxed);
        Ok(())
    }

    /// Makes the database anew if most of its file is needless.
    pub(super) fn renew_if_needless(&self) -> Result<(), StoreError> {
        let path = self.directory.join("db");
        let size = fs::metadata(&path).map_err(io_error(&path))?.len();
        let live = self.live.load(Ordering::Relaxed);
        if live == 0 || size < NEEDLESS_MIN + NEEDLESS_TIMES * live { Ok(()) } else { self.renew() }
    }

    /// Makes the database anew. Commits wait meanwhile; readers only while the two change places.
    pub(super) fn renew(&self) -> Result<(), StoreError> {
        let _alone = self.write_alone();
        if self.images.load(Ordering::SeqCst) > 0 {
            // Somebody reads the old one at leisure: the next time will do.
            return Ok(());
        }
        let Some(data) = self.directory.parent() else { return Ok(()) };
        let making = data.join(MAKING);
        let standing = self.standing()?;
        remove(&making)?;
        let made = self.copy(&standing, &making).and_then(|()| self.swap(&standing.engine, &making));
        // What lies there now is the old one, or what did not become one.
        let removed = remove(&making);
        made.and(removed)
    }

    /// Writes what stands into a database of its own, and sees to it that it opens.
    fn copy(&self, standing: &Standing, making: &Path) -> Result<(), StoreError> {
        let mut loader = Loader::new(making, self.identity)?;
        self.each_item(standing, &mut |item| loader.add(&item))?;
        loader.finish(standing.commit)?;
        let engine = Engine::open(making)?;
        let (_, commit, totals) = read_index(&engine)?;
        engine.close();
        if totals != standing.totals {
            return Err(engine.damaged("it holds less than the database that it was made of"));
        }
        Mark::open(making)?.write(commit);
        directory::sync_tree(making)
    }

    /// Puts the new database in the place of the old one.
    fn swap(&self, old: &Engine, making: &Path) -> Result<(), StoreError> {
        let _nobody_reads = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        let before = fs::metadata(self.directory.join("db")).map_or(0, |about| about.len());
        // Before its directory has another name: sled goes by names.
        old.close();
        self.view.write().unwrap_or_else(PoisonError::into_inner).engine = None;
        let swapped = renameat_with(CWD, making, CWD, &self.directory, RenameFlags::EXCHANGE);
        let synced = self.directory.parent().map_or(Ok(()), directory::sync_directory);
        // Whichever of the two lies there is whole and of the same commit.
        let engine = Arc::new(Engine::open(&self.directory)?);
        let (index, commit, totals) = read_index(&engine)?;
        *self.mark() = Mark::open(&self.directory)?;
        *self.view.write().unwrap_or_else(PoisonError::into_inner) =
            View { engine: Some(engine), index, commit, totals };
        swapped.map_err(|error| io_error(making)(error.into()))?;
        synced?;
        let after = fs::metadata(self.directory.join("db")).map_or(0, |about| about.len());
        tracing::info!("the database was made anew: {} MiB became {} MiB", before >> 20, after >> 20);
        Ok(())
    }
}

/// Removes a directory and what is in it, if it is there.
pub(crate) fn remove(directory: &Path) -> Result<(), StoreError> {
    if directory.exists() { fs::remove_dir_all(directory).map_err(io_error(directory)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use meter::Id;

    use super::*;
    use crate::conformance::host;
    use crate::port::{HistoryEntry, HistoryQuery, OwnerCommit, Row, Store};
    use crate::{How, open_or_restore};

    const OWNERS: usize = 300;

    /// Commits that replace every row and post a little history: what makes a file needless.
    fn commit(store: &SledStore, version: u64) {
        let commit = |number: usize| OwnerCommit {
            owner: host(number).expect("a host"),
            expect: version,
            next: version + 1,
            row: vec![u8::try_from(version % 251).expect("a byte"); 1000],
            history: if number as u64 % 7 == version % 7 {
                vec![(i32::try_from(version).expect("an hour"), vec![7; 20])]
            } else {
                vec![]
            },
            documents: vec![],
        };
        store.commit((0..OWNERS).map(commit).collect()).expect("commits");
    }

    fn everything(store: &SledStore) -> (Vec<Row>, Vec<HistoryEntry>, Option<Vec<u8>>, u64, Id) {
        let (mut rows, mut history) = (Vec::new(), Vec::new());
        store.scan(0..PARTS, &mut |row| rows.push(row)).expect("scans");
        rows.sort_by(|a, b| a.owner.cmp(&b.owner));
        let query = HistoryQuery { owners: None, hours: i32::MIN..i32::MAX };
        store.history(&query, &mut |entry| history.push(entry)).expect("reads");
        (rows, history, store.document("d").expect("reads"), store.commit_number(), store.identity().ledger)
    }

    #[test]
    fn what_stands_is_the_same_and_the_file_is_smaller() {
        let root = tempfile::tempdir().expect("a directory");
        let (data, exports) = (root.path().join("data"), root.path().join("exports"));
        let store = open_or_restore(&data, &exports, 1).expect("opens").store;
        store.put_document("d", b"kept").expect("puts");
        (0..120).for_each(|version| commit(&store, version));
        let (before, size) = (everything(&store), fs::metadata(data.join("ledger/db")).expect("a file").len());
        store.renew().expect("renews");
        assert_eq!(everything(&store), before);
        assert!(!data.join(MAKING).exists());
        let after = fs::metadata(data.join("ledger/db")).expect("a file").len();
        assert!(after < size / 2, "{size} bytes became {after}");
        // It goes on, and is found again.
        commit(&store, 120);
        let (rows, history, ..) = everything(&store);
        assert!(rows.iter().all(|row| row.version == 121) && history.len() > before.1.len());
        let last = everything(&store);
        drop(store);
        let opened = open_or_restore(&data, &exports, 2).expect("opens");
        assert_eq!((opened.how, everything(&opened.store)), (How::Existing, last));
    }

    #[test]
    fn what_a_killed_renewal_leaves_is_cleared_away() {
        let root = tempfile::tempdir().expect("a directory");
        let (data, exports) = (root.path().join("data"), root.path().join("exports"));
        let store = open_or_restore(&data, &exports, 1).expect("opens").store;
        commit(&store, 0);
        let before = everything(&store);
        drop(store);
        fs::create_dir(data.join(MAKING)).expect("a directory");
        fs::write(data.join(MAKING).join("db"), "half of one").expect("a file");
        let opened = open_or_restore(&data, &exports, 2).expect("opens");
        assert_eq!((opened.how, everything(&opened.store)), (How::Existing, before));
        assert!(!data.join(MAKING).exists());
    }

    #[test]
    fn readers_and_writers_go_on_meanwhile() {
        let root = tempfile::tempdir().expect("a directory");
        let (data, exports) = (root.path().join("data"), root.path().join("exports"));
        let store = open_or_restore(&data, &exports, 1).expect("opens").store;
        commit(&store, 0);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let read = || {
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let mut versions = Vec::new();
                    store.scan(0..PARTS, &mut |row| versions.push(row.version)).expect("scans");
                    assert_eq!(versions.len(), OWNERS);
                    let rows = store.load(&[host(1).expect("a host")]).expect("loads");
                    let version = rows[0].as_ref().expect("a row").version;
                    assert!(version >= newest, "{version} after {newest}");
                    newest = version;
                    let mut images = 0;
                    store
                        .image(&mut |_| {
                            images += 1;
                            Ok(())
                        })
                        .expect("an image");
                    assert!(images >= OWNERS);
                }
            };
            scope.spawn(read);
            scope.spawn(|| (0..8).for_each(|_| store.renew().expect("renews")));
            (1..25).for_each(|version| commit(&store, version));
            done.store(true, Ordering::Relaxed);
        });
        store.renew().expect("renews");
        let (rows, ..) = everything(&store);
        assert!(rows.iter().all(|row| row.version == 25));
    }
}
