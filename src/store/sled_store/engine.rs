//! sled, never bare: every known trap of version 0.34.7 is handled in this file and nowhere else.
//!
//! - `flush` hands pages to the disk (`sync_file_range`) but never waits for its cache: after it we
//!   `fsync` the database file ourselves.
//! - Opening a damaged database may panic: it is opened under `catch_unwind`.
//! - A start that was killed or ran out of disk leaves a half-written snapshot of the page table, which
//!   the next start takes for a whole one and calls corruption: such files are removed first.
//! - After an error the handle is poisoned: later writes fail, and reads show what was never
//!   committed. So an engine that failed is closed for good, and the store opens another.
//! - On a full disk it cannot be opened again, not even for reading: a batch that might not fit is refused
//!   before sled sees it.
//! - It goes on writing to a file that was deleted: whether the file is still in its place is looked at
//!   before and after each batch.
//! - Memory and log space of what a batch replaced come back only through crossbeam's epochs, which
//!   move too slowly behind large batches: they are driven after each commit.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::draft::Writes;
use super::keys::RunKey;
use super::runs::CHUNK;
use crate::directory;
use crate::port::StoreError;

/// Page cache in bytes. Rows are read back only at start and when another aggregator won, so there
/// is little to gain from more.
const CACHE: u64 = 64 << 20;

/// Chunks read under one hold of the handle, so that a long scan does not keep a failed engine open.
const PAGE: usize = 256;

/// Bytes that must be free beside twice those of a batch: sled lays its log out in segments of 512 KiB,
/// and writes a snapshot of its page table when it opens.
const SPARE: u64 = 2 << 20;

/// Longest wait for an engine that was closed; it takes milliseconds.
const LET_GO: Duration = Duration::from_secs(5);

/// An open database.
pub(crate) struct Engine {
    /// Nothing once it failed or was closed.
    db: RwLock<Option<sled::Db>>,
    /// For our own `fsync`.
    file: File,
    directory: PathBuf,
}

impl Engine {
    /// Opens the database in `directory`, or makes one.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let is_new = !directory.join("db").exists();
        directory::refuse_links(directory)?;
        remove_snapshots(directory, |name| name.ends_with(".generating"))?;
        let db = open_when_free(directory).or_else(|error| match error {
            StoreError::Damaged { why, .. } => {
                tracing::warn!(why, "the database did not open; trying without the snapshot of its page table");
                remove_snapshots(directory, |_| true)?;
                open_when_free(directory)
            }
            error => Err(error),
        })?;
        directory::tighten(directory)?;
        let path = directory.join("db");
        let file = File::open(&path).map_err(directory::io_error(&path))?;
        // What a killed process wrote but did not sync is read back from the page cache. Whoever asks is
        // told that it stands, so from here on it must.
        file.sync_all().map_err(directory::io_error(&path))?;
        if is_new {
            // sled syncs none of the files it makes: without this a power cut could leave a database
            // with acknowledged commits but without its settings.
            directory::sync_tree(directory)?;
        }
        Ok(Self { db: RwLock::new(Some(db)), file, directory: directory.into() })
    }

    /// Refuses a batch that could not be kept, while the engine is unharmed: the database is no longer in
    /// its place, or the disk is nearly full.
    pub(crate) fn check(&self, writes: &Writes) -> Result<(), StoreError> {
        self.check_place()?;
        let about =
            rustix::fs::statvfs(&self.directory).map_err(|error| directory::io_error(&self.directory)(error.into()))?;
        let (free, needed) = (about.f_bavail.saturating_mul(about.f_frsize), SPARE + 2 * writes.bytes);
        // Some network file systems do not tell.
        if about.f_blocks > 0 && free < needed {
            let why = format!("the disk is full: {free} bytes are free, {needed} are needed; make room");
            return Err(directory::io_error(&self.directory)(Error::new(ErrorKind::StorageFull, why)));
        }
        Ok(())
    }

    /// Whether the database file is still the one that is open. What is written to a deleted one is lost.
    fn check_place(&self) -> Result<(), StoreError> {
        let path = self.directory.join("db");
        let open = self.file.metadata().map_err(directory::io_error(&path))?;
        match std::fs::symlink_metadata(&path) {
            Ok(found) if (found.dev(), found.ino()) == (open.dev(), open.ino()) => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(directory::io_error(&path)(error)),
            _ => Err(StoreError::Gone(path)),
        }
    }

    /// Writes a batch; returns when it is on disk. Whatever fails, the engine is closed for good; only if
    /// the database is no longer in its place it stays open, so that what it holds can be saved.
    pub(crate) fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        let applied = catch_unwind(AssertUnwindSafe(|| self.with(|db| self.write(db, writes.batch))));
        let result = applied.unwrap_or_else(|_| Err(StoreError::Failed("the engine panicked in a commit".into())));
        if result.as_ref().is_err_and(|error| !matches!(error, StoreError::Gone(_))) {
            self.close();
        }
        drain_epochs(writes.ops);
        result
    }

    fn write(&self, db: &sled::Db, batch: sled::Batch) -> Result<(), StoreError> {
        db.apply_batch(batch).map_err(|error| self.failed("write", &error))?;
        db.flush().map_err(|error| self.failed("flush", &error))?;
        self.file.sync_all().map_err(directory::io_error(&self.directory.join("db")))?;
        self.check_place()
    }

    /// Closes the database; everything after it fails.
    pub(crate) fn close(&self) {
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        // A poisoned handle may panic once more when it goes.
        if catch_unwind(AssertUnwindSafe(move || drop(db))).is_err() {
            tracing::warn!("the engine panicked when it was closed");
        }
    }

    /// One value.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|db| {
            let value = db.get(key).map_err(|error| self.failed("read", &error))?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    /// `len` bytes of a run from `offset`; nothing if it is not there whole.
    pub(crate) fn read(&self, run: &RunKey, offset: usize, len: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let first = offset / CHUNK;
        let mut bytes = Vec::with_capacity(len + CHUNK);
        self.with(|db| {
            for found in db.range(run.chunks(first..(offset + len).div_ceil(CHUNK).max(first + 1))) {
                let (_, chunk) = found.map_err(|error| self.failed("read", &error))?;
                bytes.extend_from_slice(&chunk);
            }
            Ok(())
        })?;
        let start = offset - first * CHUNK;
        if bytes.len() < start + len {
            return Ok(None);
        }
        bytes.truncate(start + len);
        bytes.drain(..start);
        Ok(Some(bytes))
    }

    /// Every whole run within these keys, in their order, if `wanted`.
    pub(crate) fn each_run(
        &self,
        keys: Range<Vec<u8>>,
        wanted: impl Fn(&RunKey) -> bool,
        mut each: impl FnMut(RunKey, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.each_run_while(keys, wanted, |key, run| each(key, run).map(ControlFlow::Continue))
    }

    /// The same, until `each` has enough.
    pub(crate) fn each_run_while(
        &self,
        keys: Range<Vec<u8>>,
        wanted: impl Fn(&RunKey) -> bool,
        mut each: impl FnMut(RunKey, Vec<u8>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut from = keys.start;
        let mut current: Option<(RunKey, Vec<u8>, usize)> = None;
        while from < keys.end {
            let page = self.page(from.clone()..keys.end.clone())?;
            let Some((last, _)) = page.last() else { break };
            // The next possible key.
            from = [last.as_ref(), &[0]].concat();
            for (key, chunk) in page {
                let (run, number) = RunKey::of_chunk(&key).ok_or_else(|| self.damaged("a key of no known form"))?;
                match &mut current {
                    Some((open, bytes, next)) if *open == run => {
                        if number != *next {
                            return Err(self.damaged("a run lacks a chunk"));
                        }
                        bytes.extend_from_slice(&chunk);
                        *next += 1;
                    }
                    _ => {
                        if let Some((run, bytes, _)) = current.take()
                            && each(run, bytes)?.is_break()
                        {
                            return Ok(());
                        }
                        current = wanted(&run).then(|| (run, chunk.to_vec(), number + 1));
                        if current.is_some() && number != 0 {
                            return Err(self.damaged("a run lacks its first chunk"));
                        }
                    }
                }
            }
        }
        current.map_or(Ok(()), |(run, bytes, _)| each(run, bytes).map(|_| ()))
    }

    fn page(&self, keys: Range<Vec<u8>>) -> Result<Vec<(sled::IVec, sled::IVec)>, StoreError> {
        self.with(|db| db.range(keys).take(PAGE).collect::<Result<_, _>>().map_err(|error| self.failed("read", &error)))
    }

    /// What damage looks like to callers.
    pub(crate) fn damaged(&self, why: impl ToString) -> StoreError {
        StoreError::Damaged { path: self.directory.clone(), why: why.to_string() }
    }

    fn with<T>(&self, work: impl FnOnce(&sled::Db) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        work(db.as_ref().ok_or_else(|| StoreError::Failed("the database is closed after an error".into()))?)
    }

    fn failed(&self, doing: &str, error: &sled::Error) -> StoreError {
        match error {
            sled::Error::Corruption { .. } => self.damaged(format!("{error}")),
            error => StoreError::Failed(format!("could not {doing} {}: {error}", self.directory.display())),
        }
    }
}

/// Removes snapshots of the page table: sled makes them of the log when it opens, and makes them again.
fn remove_snapshots(directory: &Path, which: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    if !directory.exists() {
        return Ok(());
    }
    for path in directory::entries(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && which(name) {
            std::fs::remove_file(&path).map_err(directory::io_error(&path))?;
        }
    }
    Ok(())
}

/// Opens the database, waiting for an engine of this process that was just closed: sled's threads
/// keep its file, and the lock on it, for a moment longer.
fn open_when_free(directory: &Path) -> Result<sled::Db, StoreError> {
    let begun = Instant::now();
    loop {
        match open_once(directory) {
            Err(StoreError::Locked(_)) if begun.elapsed() < LET_GO => std::thread::sleep(LET_GO / 500),
            result => return result,
        }
    }
}

fn open_once(directory: &Path) -> Result<sled::Db, StoreError> {
    // A panic's own message goes to standard error by the hook.
    let opened =
        catch_unwind(|| sled::Config::default().path(directory).cache_capacity(CACHE).flush_every_ms(None).open());
    let panicked =
        |_| StoreError::Damaged { path: directory.into(), why: "the engine panicked when it opened it".into() };
    opened.map_err(panicked)?.map_err(|error| open_error(directory, error))
}

/// Drives crossbeam's epochs: sled holds one pin for a whole batch, and the collector by itself frees
/// some 500 objects per 128 pins. Without this, batches of 10,000 keys leak 15 MB of memory and 1 MB
/// of log each. One flush per hundred keys keeps pace with room to spare; it costs microseconds.
/// It must be the very same crate version that sled uses: a test watches memory and disk.
fn drain_epochs(ops: usize) {
    for _ in 0..=ops / 100 {
        crossbeam_epoch::pin().flush();
    }
}

/// Tells damage, which a restore can mend, from a machine that is full or forbids, which it cannot.
fn open_error(directory: &Path, error: sled::Error) -> StoreError {
    let damaged = |why: String| StoreError::Damaged { path: directory.into(), why };
    match error {
        sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => {
            StoreError::Locked(directory.into())
        }
        sled::Error::Io(source) => match source.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => {
                damaged(source.to_string())
            }
            _ => StoreError::Io { path: directory.into(), source },
        },
        error => damaged(error.to_string()),
    }
}
