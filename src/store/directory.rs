//! The data directory: who may enter it, and one writer at a time.
//!
//! ```text
//! <data>/lock                     held by the one process that writes
//! <data>/ledger/                  the database
//! <data>/exports/                 whole images, the newest few
//! <data>/quarantine-<unix ms>/    a database that would not open
//! ```
//! Directories are 0700 and files 0600. A link in place of any of them is refused: it would let
//! whoever made it choose where the ledger is written.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::port::StoreError;

/// Holds a data directory until dropped.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    /// The lock goes with the handle, also when the process is killed.
    _file: File,
}

impl DirectoryLock {
    /// Takes the directory for this process.
    pub(crate) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("lock");
        let file = open_for_writing(&path, false)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(directory.into())),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
        }
    }
}

/// Makes the directory if it is missing, refuses it if others could write to it, tightens it if
/// others could read it.
pub(crate) fn prepare(directory: &Path) -> Result<(), StoreError> {
    let refuse = |why| Err(StoreError::Unsafe { path: directory.into(), why });
    let Some(found) = metadata(directory)? else {
        // Also those around it that are missing: what is synced in them would be gone with them.
        let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io_error(directory))?;
        let around = missing.iter().filter_map(|path| path.parent());
        return around
            .map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path })
            .try_for_each(sync_directory);
    };
    if found.is_symlink() {
        return refuse("it is a symbolic link: name the directory itself");
    }
    if !found.is_dir() {
        return refuse("it is not a directory");
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return refuse("it belongs to another user: give it to the user that runs wattledger (chown)");
    }
    if found.mode() & 0o002 != 0 {
        return refuse("everybody may write to it: restrict it (chmod 700)");
    }
    restrict(directory, found.mode(), 0o700)
}

/// Refuses links in a directory and at its own place.
pub(crate) fn refuse_links(directory: &Path) -> Result<(), StoreError> {
    let check = |path: &Path| match metadata(path)? {
        Some(found) if found.is_symlink() => {
            Err(StoreError::Unsafe { path: path.into(), why: "it is a symbolic link" })
        }
        found => Ok(found),
    };
    if check(directory)?.is_some_and(|found| found.is_dir()) {
        entries(directory)?.iter().try_for_each(|path| check(path).map(|_| ()))?;
    }
    Ok(())
}

/// Takes reading and writing from everybody else, for a directory and what is in it.
pub(crate) fn tighten(directory: &Path) -> Result<(), StoreError> {
    for path in entries(directory)?.iter().map(PathBuf::as_path).chain([directory]) {
        if let Some(found) = metadata(path)? {
            restrict(path, found.mode(), if found.is_dir() { 0o700 } else { 0o600 })?;
        }
    }
    Ok(())
}

/// Syncs a directory, everything in it, and its entry in its parent.
pub(crate) fn sync_tree(directory: &Path) -> Result<(), StoreError> {
    for path in entries(directory)? {
        if metadata(&path)?.is_some_and(|found| found.is_dir()) {
            sync_tree(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(io_error(&path))?;
        }
    }
    sync_directory(directory)?;
    directory.parent().map_or(Ok(()), sync_directory)
}

/// Syncs the entries of a directory: a rename is on disk only after this.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(io_error(directory))
}

/// Opens a file of ours for writing, without following a link.
pub(crate) fn open_for_writing(path: &Path, truncate: bool) -> Result<File, StoreError> {
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(truncate).mode(0o600).custom_flags(no_follow);
    let file = options.open(path).map_err(|source| match metadata(path) {
        Ok(Some(found)) if found.is_symlink() => StoreError::Unsafe { path: path.into(), why: "it is a symbolic link" },
        _ => StoreError::Io { path: path.into(), source },
    })?;
    let mode = file.metadata().map_err(io_error(path))?.mode();
    restrict(path, mode, 0o600)?;
    Ok(file)
}

/// What lies in a directory.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = fs::read_dir(directory).map_err(io_error(directory))?;
    read.map(|entry| entry.map(|entry| entry.path()).map_err(io_error(directory))).collect()
}

/// An i/o error with the path that it concerns.
pub(crate) fn io_error(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io { path: path.into(), source }
}

/// What is at a path itself, not at the end of a link.
fn metadata(path: &Path) -> Result<Option<fs::Metadata>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path)(error)),
    }
}

fn restrict(path: &Path, mode: u32, to: u32) -> Result<(), StoreError> {
    if mode & 0o7777 & !to == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(to)).map_err(io_error(path))
}
