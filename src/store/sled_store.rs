//! The embedded store: sled as a log of runs, with an index in memory.
//!
//! A commit appends, per partition, one run with the new rows, and per partition and hour one run
//! with postings; rows that a newer run replaced are needless, and a partition that holds too much
//! of that is rewritten within a later commit. So a commit costs what it changes, however large the
//! fleet, and writes a few large values instead of one per owner. See `docs/STORAGE.md`.

mod documents;
mod draft;
mod engine;
mod index;
mod keys;
mod loader;
mod mark;
mod reading;
mod renewal;
mod runs;
mod stamps;

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use meter::{Owner, PARTS};

use self::draft::{Draft, Totals};
use self::engine::Engine;
use self::index::Index;
use self::keys::RunKey;
use self::loader::{identity_writes, read_identity, read_index};
use self::mark::Mark;
use self::reading::{stands, whole};
use self::runs::{RunError, RunReader};
use crate::directory::DirectoryLock;
use crate::port::{
    Durability, HistoryEntry, HistoryQuery, Identity, ImageItem, Outcome, OwnerCommit, Row, Store, StoreError,
    check_commits, check_documents,
};

pub(crate) use self::loader::{Loader, create};
pub(crate) use self::renewal::{MAKING, remove};

/// The embedded store. One process at a time may open its directory.
pub struct SledStore {
    directory: PathBuf,
    identity: Identity,
    /// What readers look through; changed by the writer only, and only after a commit is on disk.
    view: RwLock<View>,
    /// One commit at a time.
    writer: Mutex<()>,
    mark: Mutex<Mark>,
    /// Held by whoever reads the engine for longer than a moment; taken whole to put another in its place.
    reading: RwLock<()>,
    /// Bytes of the last image: what of the database's file is not needless. Zero before the first.
    live: AtomicU64,
    /// Images being written: while there are any, nothing is rewritten, so that they find their runs.
    images: AtomicUsize,
    /// Last, so that the directory is let go only after the engine.
    lock: Option<DirectoryLock>,
}

/// The last acknowledged state.
struct View {
    /// Nothing after a failure, until the database was opened again.
    engine: Option<Arc<Engine>>,
    index: Index,
    commit: u64,
    totals: Totals,
}

impl View {
    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        self.engine.clone().ok_or_else(|| StoreError::Failed("the database is closed after an error".into()))
    }
}

impl SledStore {
    /// Opens the existing database in `directory`; also tells the commit that was acknowledged last,
    /// which a sound database is not behind.
    pub(crate) fn open(directory: &Path) -> Result<(Self, u64), StoreError> {
        // A damaged database may open and make sled panic only when it is read.
        std::panic::catch_unwind(|| Self::open_once(directory)).unwrap_or_else(|_| {
            let why = "the engine panicked when it was read".into();
            Err(StoreError::Damaged { path: directory.into(), why })
        })
    }

    fn open_once(directory: &Path) -> Result<(Self, u64), StoreError> {
        let engine = Engine::open(directory)?;
        let identity = read_identity(&engine)?;
        let mark = Mark::open(directory)?;
        let (index, commit, totals) = read_index(&engine)?;
        let acknowledged = mark.read();
        let store = Self {
            directory: directory.into(),
            identity,
            view: RwLock::new(View { engine: Some(Arc::new(engine)), index, commit, totals }),
            writer: Mutex::new(()),
            mark: Mutex::new(mark),
            reading: RwLock::new(()),
            live: AtomicU64::new(0),
            images: AtomicUsize::new(0),
            lock: None,
        };
        Ok((store, acknowledged))
    }

    /// Begins a new generation from the commit that stands.
    pub(crate) fn begin_generation(&mut self, generation: u64) -> Result<(), StoreError> {
        let identity = Identity { generation, ..self.identity };
        let (engine, commit) = (self.engine_for_writing()?, self.view().commit);
        engine.apply(identity_writes(identity))?;
        self.mark().write(commit);
        self.identity = identity;
        Ok(())
    }

    /// Keeps the data directory's lock for as long as the store is open.
    pub(crate) fn hold(mut self, lock: DirectoryLock) -> Self {
        self.lock = Some(lock);
        self
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self) -> MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the engine in its place for as long as it is held.
    fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.reading.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_alone(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine, opened again if it failed before. Only for who holds the writer's lock.
    fn engine_for_writing(&self) -> Result<Arc<Engine>, StoreError> {
        if let Ok(engine) = self.view().engine() {
            return Ok(engine);
        }
        // sled would make another one, empty.
        let path = self.directory.join("db");
        if !path.exists() {
            return Err(StoreError::Gone(path));
        }
        let engine = Arc::new(Engine::open(&self.directory)?);
        // What the failed commit left on disk decides, not what memory remembers.
        let (index, commit, totals) = read_index(&engine)?;
        let acknowledged = self.mark().read();
        if commit < acknowledged {
            let why =
                format!("it ends at commit {commit}, but {acknowledged} was acknowledged: start again to restore");
            return Err(engine.damaged(why));
        }
        tracing::info!(commit, "the database is open again after an error");
        *self.view.write().unwrap_or_else(PoisonError::into_inner) =
            View { engine: Some(engine.clone()), index, commit, totals };
        Ok(engine)
    }

    /// Writes a draft and shows it to readers once it is on disk.
    fn write(&self, engine: &Engine, commit: u64, draft: Draft, folded: &[u8]) -> Result<(), StoreError> {
        let totals = draft.totals;
        let stamps = self.view().index.stamps.with(&draft.stamps);
        let (mut writes, changes) = draft.finish(folded);
        stamps.write(&mut writes);
        engine.check(&writes)?;
        let written = engine.apply(writes);
        if let Err(error @ StoreError::Gone(_)) = written {
            return Err(error);
        }
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = written {
            view.engine = None;
            drop(view);
            tracing::error!(%error, "a commit failed; opening the database again");
            if let Err(error) = self.engine_for_writing() {
                tracing::error!(%error, "the database does not open; the next commit will try again");
            }
            return Err(error);
        }
        for change in changes {
            view.index.apply(commit, change);
        }
        view.index.stamps.replace(stamps);
        (view.commit, view.totals) = (commit, totals);
        self.mark().write(commit);
        Ok(())
    }

    /// Puts the rows of a partition that stand, save those about to be replaced, into the draft, and
    /// removes the runs they lay in.
    fn fold(&self, engine: &Engine, part: u8, winners: &HashSet<&Owner>, draft: &mut Draft) -> Result<(), StoreError> {
        let view = self.view();
        let index = view.index.part(part);
        for (&commit, &len) in &index.runs {
            let run = engine.read(&RunKey::rows(part, commit), 0, whole(len))?;
            let run = run.ok_or_else(|| engine.damaged("a run of rows is missing"))?;
            for entry in RunReader::new(&run).map_err(|e| engine.damaged(e))? {
                let entry = entry.map_err(|e| engine.damaged(e))?;
                if stands(index, &entry.owner, commit, entry.offset) && !winners.contains(&entry.owner) {
                    draft.row(&entry.owner, entry.version, entry.bytes).map_err(|e| engine.damaged(e))?;
                }
            }
            draft.remove_rows(part, commit, len);
        }
        Ok(())
    }

    /// Rows read while no commit runs: none can move.
    fn load_settled(&self, engine: &Engine, owners: &[&Owner]) -> Result<Vec<Option<Row>>, StoreError> {
        let read = |owner: &Owner| {
            let Some(place) = self.view().index.place(owner) else { return Ok(None) };
            let row = reading::read_row(engine, owner, place)?;
            row.map(Some).ok_or_else(|| engine.damaged(format!("the row of {owner} is missing")))
        };
        owners.iter().map(|owner| read(owner)).collect()
    }
}

impl Store for SledStore {
    fn load(&self, owners: &[Owner]) -> Result<Vec<Option<Row>>, StoreError> {
        let mut rows = Vec::with_capacity(owners.len());
        let mut moved = Vec::new();
        {
            // Never held while waiting for the writer's lock, which is taken first where both are.
            let _reading = self.reading();
            let (engine, places) = {
                let view = self.view();
                (view.engine()?, owners.iter().map(|owner| view.index.place(owner)).collect::<Vec<_>>())
            };
            for (number, (owner, place)) in owners.iter().zip(places).enumerate() {
                let row = place.map_or(Ok(None), |place| reading::read_row(&engine, owner, place))?;
                if place.is_some() && row.is_none() {
                    moved.push(number);
                }
                rows.push(row);
            }
        }
        if !moved.is_empty() {
            // A commit moved them between look-up and reading: wait for it, then look again.
            let _alone = self.write_alone();
            let engine = self.engine_for_writing()?;
            let owners: Vec<&Owner> = moved.iter().map(|&number| &owners[number]).collect();
            for (number, row) in moved.iter().zip(self.load_settled(&engine, &owners)?) {
                rows[*number] = row;
            }
        }
        Ok(rows)
    }

    fn commit(&self, commits: Vec<OwnerCommit>) -> Result<Vec<Outcome>, StoreError> {
        check_commits(&commits)?;
        let _alone = self.write_alone();
        let engine = self.engine_for_writing()?;
        let (won, number, totals) = {
            let view = self.view();
            let stands = |owner| view.index.place(owner).map_or(0, |place| place.version);
            let won: Vec<bool> = commits.iter().map(|commit| stands(&commit.owner) == commit.expect).collect();
            (won, view.commit + 1, view.totals)
        };
        let winners = || commits.iter().zip(&won).filter(|(_, won)| **won).map(|(commit, _)| commit);
        if winners().next().is_some() {
            let mut draft = Draft::new(number, totals);
            let owners: HashSet<&Owner> = winners().map(|commit| &commit.owner).collect();
            let parts: HashSet<u8> = owners.iter().map(|owner| owner.part()).collect();
            let folded =
                if self.images.load(Ordering::SeqCst) == 0 { self.view().index.due(parts.into_iter()) } else { vec![] };
            for &part in &folded {
                self.fold(&engine, part, &owners, &mut draft)?;
            }
            fill(&mut draft, winners()).map_err(|error| StoreError::Failed(error.0))?;
            documents::fill(&engine, &mut draft, winners().flat_map(|commit| &commit.documents))?;
            self.write(&engine, number, draft, &folded)?;
        }
        let losers: Vec<&Owner> = commits.iter().zip(&won).filter(|(_, won)| !**won).map(|(c, _)| &c.owner).collect();
        let mut losers = self.load_settled(&engine, &losers)?.into_iter();
        Ok(won.iter().map(|&won| if won { Outcome::Won } else { Outcome::Lost(losers.next().flatten()) }).collect())
    }

    fn scan(&self, parts: Range<u8>, each: &mut dyn FnMut(Row)) -> Result<(), StoreError> {
        for part in parts.start..parts.end.min(PARTS) {
            let read = {
                let _reading = self.reading();
                let (engine, index) = {
                    let view = self.view();
                    (view.engine()?, view.index.part(part).clone())
                };
                reading::read_part(&engine, part, &index)?
            };
            let rows = match read {
                Some(rows) => rows,
                None => {
                    let _alone = self.write_alone();
                    let engine = self.engine_for_writing()?;
                    let rows = reading::read_part(&engine, part, self.view().index.part(part))?;
                    rows.ok_or_else(|| engine.damaged("a run of rows is missing"))?
                }
            };
            rows.into_iter().for_each(&mut *each);
        }
        Ok(())
    }

    fn history(&self, query: &HistoryQuery, each: &mut dyn FnMut(HistoryEntry)) -> Result<(), StoreError> {
        let _reading = self.reading();
        let (engine, until) = {
            let view = self.view();
            (view.engine()?, view.commit)
        };
        let owners: Option<HashSet<&Owner>> = query.owners.as_ref().map(|owners| owners.iter().collect());
        let mut parts: Vec<u8> = match &owners {
            Some(owners) => owners.iter().map(|owner| owner.part()).collect(),
            None => (0..PARTS).collect(),
        };
        parts.sort_unstable();
        parts.dedup();
        for part in parts {
            reading::read_history(&engine, part, &query.hours, until, &mut |entry| {
                if owners.as_ref().is_none_or(|owners| owners.contains(&entry.owner)) {
                    each(entry);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn stamps(&self, part: u8, days: Range<i32>) -> Result<Vec<u128>, StoreError> {
        Ok(self.view().index.stamps.of(part, days))
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn durability(&self) -> Durability {
        Durability {
            engine: "sled",
            survives_crash: true,
            survives_power_loss: true,
            words: "acknowledged means written and fsynced on this machine's disk; one machine, no replica",
        }
    }

    fn put_documents(&self, documents: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        check_documents(&documents)?;
        // Of a name that comes twice the last one counts.
        let documents = documents.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect();
        documents::batches(documents).into_iter().try_for_each(|batch| self.put_batch(&batch))
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        // Waits for a running commit: what it puts is not acknowledged yet.
        let _alone = self.write_alone();
        reading::read_document(&*self.engine_for_writing()?, name)
    }

    fn documents(&self, from: &str, until: &str, each: &mut dyn FnMut(String, Vec<u8>)) -> Result<(), StoreError> {
        self.each_document(from, until, each)
    }

    fn commit_number(&self) -> u64 {
        self.view().commit
    }

    fn image(&self, each: &mut dyn FnMut(ImageItem) -> Result<(), StoreError>) -> Result<u64, StoreError> {
        // While it counts, the database is not made anew.
        let _guard = ImageGuard::new(&self.images);
        let standing = {
            let _alone = self.write_alone();
            self.standing()?
        };
        self.each_item(&standing, each)?;
        Ok(standing.commit)
    }

    fn tidy(&self) -> Result<(), StoreError> {
        self.renew_if_needless()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if let Ok(engine) = self.view().engine() {
            engine.close();
        }
    }
}

/// Counts an image for as long as it is being written.
struct ImageGuard<'a>(&'a AtomicUsize);

impl<'a> ImageGuard<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for ImageGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Puts rows and postings of the winners into the draft.
fn fill<'a>(draft: &mut Draft, winners: impl Iterator<Item = &'a OwnerCommit>) -> Result<(), RunError> {
    for commit in winners {
        draft.row(&commit.owner, commit.next, &commit.row)?;
        let totals = &mut draft.totals;
        totals.rows += u64::from(commit.expect == 0);
        totals.versions = totals.versions.wrapping_add(commit.next - commit.expect);
        totals.postings += commit.history.len() as u64;
        for (hour, bytes) in &commit.history {
            draft.posting(&commit.owner, *hour, commit.next, bytes)?;
        }
    }
    Ok(())
}
