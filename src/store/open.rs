//! Opening a data directory: as it is, or from an export if the database is lost or damaged.

use std::fs;
use std::path::{Path, PathBuf};

use meter::Id;

use crate::directory::{self, DirectoryLock, io_error};
use crate::export::{ImageFile, exports_in, position_of};
use crate::port::{Identity, Store, StoreError};
use crate::sled_store::{Loader, SledStore, create};

/// The database within the data directory.
const LEDGER: &str = "ledger";
/// The database while it is being made.
const MAKING: &str = "ledger.partial";

/// What a database that would not open is called, before the time.
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
            Ok((store, how)) => return Ok(Opened { store: store.hold(lock), how }),
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
            store.begin_generation(now_ms.max(store.identity().generation + 1))?;
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
    restore(data, export, now_ms)?;
    settle(data)
}

fn restore_newest(
    data: &Path,
    exports: &Path,
    now_ms: u64,
    why: &mut Vec<String>,
) -> Result<Option<PathBuf>, StoreError> {
    for export in exports_in(exports)? {
        match restore(data, &export, now_ms) {
            Ok(()) => return Ok(Some(export)),
            Err(error @ StoreError::Damaged { .. }) => why.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn restore(data: &Path, export: &Path, now_ms: u64) -> Result<(), StoreError> {
    let image = ImageFile::open(export)?;
    // A clock that was set back must not repeat a generation: counters may step back between two.
    let generation = now_ms.max(image.identity.generation + 1);
    let (identity, commit) = (Identity { generation, ..image.identity }, image.commit);
    make(data, |making| {
        let mut loader = Loader::new(making, identity)?;
        image.read(|item| loader.add(&item))?;
        loader.finish(commit)
    })
}

/// Makes a database beside its final place.
fn make(data: &Path, fill: impl FnOnce(&Path) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let making = data.join(MAKING);
    if making.exists() {
        fs::remove_dir_all(&making).map_err(io_error(&making))?;
    }
    fill(&making)?;
    directory::sync_tree(&making)
}

/// Moves a database that was made to its place.
fn settle(data: &Path) -> Result<(), StoreError> {
    fs::rename(data.join(MAKING), data.join(LEDGER)).map_err(io_error(&data.join(LEDGER)))?;
    directory::sync_directory(data)
}

fn quarantine(data: &Path, ledger: &Path, now_ms: u64) -> Result<(), StoreError> {
    // A second one in the same millisecond takes the next name.
    let mut names = (now_ms..).map(|ms| data.join(format!("{QUARANTINE}{ms:013}")));
    let aside = names.find(|path| !path.exists()).unwrap_or_else(|| data.join(QUARANTINE));
    fs::rename(ledger, &aside).map_err(io_error(ledger))?;
    directory::sync_directory(data)
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
