//! Opening a data directory: as it is, or from an export if the database is lost or damaged.

use std::fs;
use std::path::{Path, PathBuf};

use meter::Id;

use crate::directory::{self, DirectoryLock, io_error};
use crate::export::{ImageFile, exports_in, position_of};
use crate::port::{Identity, Store, StoreError};
use crate::sled_store::{Loader, MAKING, SledStore, create, remove};

/// The database within the data directory.
const LEDGER: &str = "ledger";

/// Whole images of the database.
const EXPORTS: &str = "exports";

/// What a database that was set aside is called, before the time.
const QUARANTINE: &str = "quarantine-";

/// How a store came to be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// There was none: it is new and empty.
    Fresh,
    /// It was there.
    Existing,
    /// The database was missing or damaged, and the generation is a new one.
    Restored {
        /// The export it was restored from, or the database itself if it lost its end and is still the
        /// newest image there is; nothing if there was no good one, and the store is empty.
        from: Option<PathBuf>,
        /// Where the damaged database lies now, for who wants to look into it.
        quarantined: Option<PathBuf>,
        /// What was wrong with the database and with the exports that were passed over.
        why: Vec<String>,
    },
}

/// An open store, and how it came to be.
pub struct Opened {
    /// The store.
    pub store: SledStore,
    /// How it came to be open: to be told to a person if it was restored.
    pub how: How,
}

/// Opens the store in the data directory `data`, or makes one. A database that will not open is set
/// aside, and the newest good export in `exports` is restored in its place with a new generation;
/// agents send again what came after it.
///
/// `now_ms` is Unix time in milliseconds.
///
/// # Errors
/// [`StoreError::Locked`] if another process holds the directory, [`StoreError::Unsafe`] if others
/// could change it, [`StoreError::Io`] and [`StoreError::Failed`] for what a restore cannot mend: a
/// full disk, missing permission, a database of a newer program.
pub fn open_or_restore(data: &Path, exports: &Path, now_ms: u64) -> Result<Opened, StoreError> {
    directory::prepare(data)?;
    let lock = DirectoryLock::take(data)?;
    let ledger = data.join(LEDGER);
    directory::refuse_links(data)?;
    let mut why = Vec::new();
    if ledger.exists() {
        match open_existing(&ledger, exports, now_ms) {
            Ok((store, how)) => {
                // What a killed process was making, or had replaced.
                remove(&data.join(MAKING))?;
                return Ok(Opened { store: store.hold(lock), how });
            }
            Err(StoreError::Damaged { path, why: what }) => why.push(format!("{} is damaged: {what}", path.display())),
            Err(error) => return Err(error),
        }
    }
    // The replacement is made first: if that fails, all is as it was.
    let from = restore_newest(data, exports, now_ms, &mut why)?;
    if from.is_none() {
        make(data, |making| create(making, Identity { ledger: random_id()?, generation: now_ms }))?;
    }
    if ledger.exists() {
        quarantine(data, &ledger, now_ms)?;
    }
    settle(data)?;
    // Also one of an earlier start that did not get further than that.
    let quarantined = newest_quarantine(data)?;
    let is_fresh = from.is_none() && quarantined.is_none();
    let how = if is_fresh { How::Fresh } else { How::Restored { from, quarantined, why } };
    let (store, _) = SledStore::open(&ledger)?;
    Ok(Opened { store: store.hold(lock), how })
}

fn open_existing(ledger: &Path, exports: &Path, now_ms: u64) -> Result<(SledStore, How), StoreError> {
    let (mut store, acknowledged) = SledStore::open(ledger)?;
    match judge(&store, acknowledged, exports)? {
        Verdict::Sound => Ok((store, How::Existing)),
        Verdict::Behind(why) => Err(StoreError::Damaged { path: ledger.into(), why }),
        Verdict::SteppedBack(why) => {
            store.begin_generation(store.identity().restored(now_ms).generation)?;
            Ok((store, How::Restored { from: Some(ledger.into()), quarantined: None, why: vec![why] }))
        }
    }
}

/// What to do with a database that opened.
enum Verdict {
    /// It is as it was acknowledged.
    Sound,
    /// It lost its end, and is still the newest image there is.
    SteppedBack(String),
    /// It lost its end, and an export holds more.
    Behind(String),
}

/// Compares the database with what was acknowledged, and with the exports of its generation.
fn judge(store: &SledStore, acknowledged: u64, exports: &Path) -> Result<Verdict, StoreError> {
    let (generation, commit) = (store.identity().generation, store.commit_number());
    for export in exports_in(exports)? {
        let is_ahead = position_of(&export).is_some_and(|(of, exported)| of == generation && exported > commit);
        // Opening it verifies it: a damaged one is no reason to give up a database.
        if is_ahead && ImageFile::open(&export).is_ok() {
            return Ok(Verdict::Behind(format!("it ends at commit {commit}, {} holds more", export.display())));
        }
    }
    if acknowledged > commit {
        let why = format!("the database ends at commit {commit}, but {acknowledged} was acknowledged");
        return Ok(Verdict::SteppedBack(why));
    }
    Ok(Verdict::Sound)
}

/// Fills the empty data directory `data` with one export, under a new generation.
///
/// # Errors
/// [`StoreError::Damaged`] naming the export if it is cut short or changed; [`StoreError::Unsafe`]
/// if the directory already holds a store; nothing is left behind in either case.
pub fn import(data: &Path, export: &Path, now_ms: u64) -> Result<(), StoreError> {
    directory::prepare(data)?;
    let _lock = DirectoryLock::take(data)?;
    directory::refuse_links(data)?;
    let ledger = data.join(LEDGER);
    if ledger.exists() {
        return Err(StoreError::Unsafe {
            path: ledger,
            why: "there is a ledger already: import into an empty directory",
        });
    }
    make_from(data, export, now_ms)?;
    settle(data)
}

/// A ledger that no aggregator works on.
pub struct Stopped {
    /// The ledger as it is: nothing was restored or set aside.
    pub store: SledStore,
    /// The commit that was acknowledged last, as far as that is noted; a sound ledger is not behind it.
    pub acknowledged: u64,
}

/// Opens the ledger in `data` to look at it. Nothing is made or restored. The engine does what it does
/// at every start: it drops what a killed process left half-written at the end of its log, and
/// permissions are tightened.
///
/// # Errors
/// [`StoreError::Locked`] if an aggregator works there, [`StoreError::Absent`] if there is no ledger,
/// [`StoreError::Damaged`] if it does not open.
pub fn open_stopped(data: &Path) -> Result<Stopped, StoreError> {
    let absent = |path: &Path, why| Err(StoreError::Absent { path: path.into(), why });
    if !data.is_dir() {
        return absent(data, "there is no such directory: name the data directory with --data-dir");
    }
    let ledger = data.join(LEDGER);
    if !ledger.exists() {
        return absent(data, "there is no ledger in this directory: name the data directory with --data-dir");
    }
    // As at a start: who does not own it would leave files that its owner cannot open.
    directory::prepare(data)?;
    let lock = DirectoryLock::take(data)?;
    directory::refuse_links(data)?;
    let (store, acknowledged) = SledStore::open(&ledger)?;
    Ok(Stopped { store: store.hold(lock), acknowledged })
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The new generation.
    pub generation: u64,
    /// Where the ledger that was there lies now, with its exports.
    pub aside: Option<PathBuf>,
}

/// Puts the ledger of an image into `data` under a new generation. What is there is set aside, with its
/// exports, and never deleted.
///
/// `now_ms` is Unix time in milliseconds.
///
/// # Errors
/// [`StoreError::Locked`] if an aggregator works there, [`StoreError::Damaged`] if the image is none or
/// not whole; then everything is as it was.
pub fn restore(data: &Path, image: &Path, now_ms: u64) -> Result<Restored, StoreError> {
    directory::prepare(data)?;
    let _lock = DirectoryLock::take(data)?;
    directory::refuse_links(data)?;
    let (ledger, exports) = (data.join(LEDGER), data.join(EXPORTS));
    let kept = exports_in(&exports)?;
    // Greater than any there was: exports order by it.
    let newest = kept.iter().filter_map(|export| position_of(export)).map(|(generation, _)| generation + 1).max();
    let generation = make_from(data, image, now_ms.max(newest.unwrap_or(0)))?;
    let mut aside = None;
    if ledger.exists() {
        aside = Some(quarantine(data, &ledger, now_ms)?);
    }
    settle(data)?;
    // Exports of the past that was left: in place they would be pruned, or restored by a later mishap.
    if !kept.is_empty() {
        let to = match &aside {
            Some(aside) => aside.clone(),
            None => free_quarantine(data, now_ms),
        };
        directory::prepare(&to)?;
        fs::rename(&exports, to.join(EXPORTS)).map_err(io_error(&exports))?;
        directory::sync_directory(&to)?;
        directory::sync_directory(data)?;
        aside = Some(to);
    }
    Ok(Restored { generation, aside })
}

fn restore_newest(
    data: &Path,
    exports: &Path,
    now_ms: u64,
    why: &mut Vec<String>,
) -> Result<Option<PathBuf>, StoreError> {
    for export in exports_in(exports)? {
        match make_from(data, &export, now_ms) {
            Ok(_) => return Ok(Some(export)),
            Err(error @ StoreError::Damaged { .. }) => why.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Makes a database of an image; returns its generation.
fn make_from(data: &Path, export: &Path, now_ms: u64) -> Result<u64, StoreError> {
    let image = ImageFile::open(export)?;
    let (identity, commit) = (image.identity.restored(now_ms), image.commit);
    make(data, |making| {
        let mut loader = Loader::new(making, identity)?;
        image.read(|item| loader.add(&item))?;
        loader.finish(commit)
    })?;
    Ok(identity.generation)
}

/// Makes a database beside its final place.
fn make(data: &Path, fill: impl FnOnce(&Path) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let making = data.join(MAKING);
    remove(&making)?;
    fill(&making)?;
    directory::sync_tree(&making)
}

/// Moves a database that was made to its place.
fn settle(data: &Path) -> Result<(), StoreError> {
    fs::rename(data.join(MAKING), data.join(LEDGER)).map_err(io_error(&data.join(LEDGER)))?;
    directory::sync_directory(data)
}

/// Sets a database aside; returns where it lies.
fn quarantine(data: &Path, ledger: &Path, now_ms: u64) -> Result<PathBuf, StoreError> {
    let aside = free_quarantine(data, now_ms);
    fs::rename(ledger, &aside).map_err(io_error(ledger))?;
    directory::sync_directory(data)?;
    Ok(aside)
}

fn free_quarantine(data: &Path, now_ms: u64) -> PathBuf {
    // A second one in the same millisecond takes the next name.
    let mut names = (now_ms..).map(|ms| data.join(format!("{QUARANTINE}{ms:013}")));
    names.find(|path| !path.exists()).unwrap_or_else(|| data.join(QUARANTINE))
}

fn newest_quarantine(data: &Path) -> Result<Option<PathBuf>, StoreError> {
    let is_one = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(QUARANTINE));
    Ok(directory::entries(data)?.into_iter().filter(is_one).max())
}

fn random_id() -> Result<Id, StoreError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Failed(format!("no random numbers: {error}")))?;
    Ok(id)
}
