//! The spool's folder: one agent at a time, nobody else's eyes, no links followed.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::SpoolError;
use super::disk::{Disk, Medium};
use super::segment::{Frames, Kind, put_frame};

/// A folder of our own.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Held for as long as the folder is in use.
    _lock: File,
}

impl Folder {
    /// Opens a folder, making it and the one around it if need be, and locks it. On a read-only file system
    /// what is there can still be read.
    pub(crate) fn open(path: &Path) -> Result<Self, SpoolError> {
        if let Some(around) = path.parent() {
            secure(around)?;
        }
        secure(path)?;
        let lock = open_to_read(&path.join("lock"), true)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(SpoolError::Locked(path.into())),
            Err(TryLockError::Error(error)) => Err(SpoolError::Io(path.into(), error)),
        }
    }

    /// Replaces a file as a whole; on disk when this returns.
    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
        let fresh = path.with_extension("new");
        let at = |error| SpoolError::Io(path.into(), error);
        let mut file = open_file(&fresh, true)?;
        file.set_len(0).map_err(at)?;
        if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
            // A full disk must not stay fuller for the attempt.
            let _ = fs::remove_file(&fresh);
            return Err(at(error));
        }
        fs::rename(&fresh, path).map_err(at)?;
        self.sync()
    }

    /// Makes created, renamed and deleted names survive a power loss.
    fn sync(&self) -> Result<(), SpoolError> {
        sync_folder(&self.path)
    }

    fn name(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.segment"))
    }
}

impl Disk for Folder {
    fn segments(&self) -> Result<Vec<u64>, SpoolError> {
        let at = |error| SpoolError::Io(self.path.clone(), error);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(at)? {
            let name = entry.map_err(at)?.file_name();
            let hex = name.to_str().and_then(|name| name.strip_suffix(".segment")).filter(|hex| hex.len() == 16);
            numbers.extend(hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn segment(&self, number: u64, create: bool) -> Result<Box<dyn Medium>, SpoolError> {
        if !create {
            return Ok(Box::new(open_to_read(&self.name(number), false)?));
        }
        let file = open_file(&self.name(number), true)?;
        self.sync()?;
        Ok(Box::new(file))
    }

    fn replace(&self, number: u64, bytes: &[u8]) -> Result<Box<dyn Medium>, SpoolError> {
        self.put(&self.name(number), bytes)?;
        self.segment(number, false)
    }

    fn remove(&self, number: u64) -> Result<(), SpoolError> {
        let path = self.name(number);
        fs::remove_file(&path).map_err(|error| SpoolError::Io(path, error))?;
        self.sync()
    }

    fn state(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        let path = self.path.join("state");
        if !path.exists() {
            return Ok(None);
        }
        let at = |error| SpoolError::Io(path.clone(), error);
        let file = open_to_read(&path, false)?;
        let mut frames = Frames::new(&file, 0, file.len().map_err(at)?);
        Ok(match frames.next().map_err(at)? {
            Some((Kind::State, payload)) => Some(payload.to_vec()),
            _ => None,
        })
    }

    fn set_state(&self, payload: &[u8]) -> Result<(), SpoolError> {
        let mut bytes = Vec::new();
        put_frame(Kind::State, payload, &mut bytes);
        self.put(&self.path.join("state"), &bytes)
    }
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if let Err(error) = self.write_all(bytes) {
            self.set_len(at)?;
            return Err(error);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|about| about.len())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, at)
    }

    fn outlives_process(&self) -> bool {
        true
    }
}

/// Makes a folder for our eyes only, or sees to it that an existing one is.
fn secure(path: &Path) -> Result<(), SpoolError> {
    let at = |error| SpoolError::Io(path.into(), error);
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(path),
        about => about.map_err(at)?,
    };
    if about.is_symlink() {
        return Err(SpoolError::Link(path.into()));
    }
    if !about.is_dir() {
        return Err(SpoolError::NoFolder(path.into()));
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(SpoolError::Foreign(path.into()));
    }
    match about.mode() & 0o777 {
        mode if mode & 0o022 != 0 => Err(SpoolError::Open(path.into(), mode)),
        mode if mode & 0o077 != 0 => fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(at),
        _ => Ok(()),
    }
}

/// Makes a folder, and those around it that are missing; their names survive a power loss, or what is synced in
/// them would be gone with them.
fn make(path: &Path) -> Result<(), SpoolError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| SpoolError::Io(path.into(), error))?;
    missing.iter().filter_map(|folder| folder.parent()).try_for_each(sync_folder)
}

/// Makes created, renamed and deleted names in a folder survive a power loss.
fn sync_folder(path: &Path) -> Result<(), SpoolError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|error| SpoolError::Io(path.into(), error))
}

/// Opens a file for reading and appending, for our eyes only, never through a link.
fn open_file(path: &Path, create: bool) -> Result<File, SpoolError> {
    open_as(OpenOptions::new().read(true).append(true).create(create), path)
}

/// The same, but what lies on a read-only file system is opened for reading alone: to append to it fails.
fn open_to_read(path: &Path, create: bool) -> Result<File, SpoolError> {
    match open_file(path, create) {
        Err(SpoolError::Io(at, error)) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            open_as(OpenOptions::new().read(true), path).map_err(|_| SpoolError::Io(at, error))
        }
        other => other,
    }
}

fn open_as(options: &mut OpenOptions, path: &Path) -> Result<File, SpoolError> {
    let no_links = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    options.mode(0o600).custom_flags(no_links).open(path).map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => SpoolError::Link(path.into()),
        _ => SpoolError::Io(path.into(), error),
    })
}
