//! The spool's folder: one agent at a time, nobody else's eyes, no links followed.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use meter::{Id, Position};

use super::SpoolError;
use super::segment::{Frames, Kind, Medium, put_frame};

/// The version of the state file.
const STATE: u8 = 1;

/// A folder of our own.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Held for as long as the folder is in use.
    _lock: File,
}

/// What the state file says: which stream the segments are, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The stream.
    pub(crate) stream: Id,
    /// The machine that wrote it.
    pub(crate) fingerprint: Id,
    /// The first segment that is kept.
    pub(crate) segment: u64,
    /// Where the stream stood in front of that segment.
    pub(crate) start: Position,
}

impl Folder {
    /// Opens a folder, making it and the one around it if need be, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, SpoolError> {
        if let Some(around) = path.parent() {
            secure(around)?;
        }
        secure(path)?;
        let lock = open_file(&path.join("lock"), true)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(SpoolError::Locked(path.into())),
            Err(TryLockError::Error(error)) => Err(SpoolError::Io(path.into(), error)),
        }
    }

    /// The numbers of the segments in the folder, ascending.
    pub(crate) fn segments(&self) -> Result<Vec<u64>, SpoolError> {
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

    /// Opens a segment, or makes it.
    pub(crate) fn segment(&self, number: u64, create: bool) -> Result<Medium, SpoolError> {
        let medium = Medium::File(open_file(&self.name(number), create)?);
        if create {
            self.sync()?;
        }
        Ok(medium)
    }

    /// Deletes a segment.
    pub(crate) fn remove(&self, number: u64) -> Result<(), SpoolError> {
        let path = self.name(number);
        fs::remove_file(&path).map_err(|error| SpoolError::Io(path, error))
    }

    /// Reads the state file; nothing if there is none or it is damaged.
    pub(crate) fn state(&self) -> Result<Option<State>, SpoolError> {
        let path = self.path.join("state");
        if !path.exists() {
            return Ok(None);
        }
        let at = |error| SpoolError::Io(path.clone(), error);
        let medium = Medium::File(open_file(&path, false)?);
        let mut frames = Frames::new(&medium, 0, medium.len().map_err(at)?);
        Ok(match frames.next().map_err(at)? {
            Some((Kind::State, payload)) => State::read(payload),
            _ => None,
        })
    }

    /// Replaces the state file as a whole.
    pub(crate) fn set_state(&self, state: &State) -> Result<(), SpoolError> {
        let (path, fresh) = (self.path.join("state"), self.path.join("state.new"));
        let at = |error| SpoolError::Io(path.clone(), error);
        let mut bytes = Vec::new();
        put_frame(Kind::State, &state.bytes(), &mut bytes);
        let mut file = open_file(&fresh, true)?;
        file.set_len(0).map_err(at)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(at)?;
        fs::rename(&fresh, &path).map_err(at)?;
        self.sync()
    }

    /// Makes created, renamed and deleted names survive a power loss.
    fn sync(&self) -> Result<(), SpoolError> {
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| SpoolError::Io(self.path.clone(), error))
    }

    fn name(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.segment"))
    }
}

impl State {
    fn bytes(&self) -> Vec<u8> {
        let seq = self.start.seq.to_le_bytes();
        let parts: [&[u8]; 6] =
            [&[STATE], &self.stream, &self.fingerprint, &self.segment.to_le_bytes(), &seq, &self.start.digest];
        parts.concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&STATE, rest) = bytes.split_first()? else { return None };
        let (stream, rest) = rest.split_first_chunk()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let (segment, rest) = rest.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let digest = rest.try_into().ok()?;
        Some(Self {
            stream: *stream,
            fingerprint: *fingerprint,
            segment: u64::from_le_bytes(*segment),
            start: Position { seq: u64::from_le_bytes(*seq), digest },
        })
    }
}

/// Makes a folder for our eyes only, or sees to it that an existing one is.
fn secure(path: &Path) -> Result<(), SpoolError> {
    let at = |error| SpoolError::Io(path.into(), error);
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at);
        }
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

/// Opens a file for reading and appending, for our eyes only, never through a link.
fn open_file(path: &Path, create: bool) -> Result<File, SpoolError> {
    let no_links = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let opened =
        OpenOptions::new().read(true).append(true).create(create).mode(0o600).custom_flags(no_links).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => SpoolError::Link(path.into()),
        _ => SpoolError::Io(path.into(), error),
    })
}
