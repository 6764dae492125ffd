//! The spool: everything sampled, until the ledger has it and for as long as there is room after.
//!
//! - **Limits.** At most so many bytes. When full, the oldest segment goes: acknowledged ones are the
//!   oldest, and only when there is none is unacknowledged data dropped, said aloud and counted.
//! - **Format.** Segments of canonical records, each with the contexts it needs in front of their
//!   first use. The stream's id and where it begins stand beside them in a state file, so that a
//!   stream gets a new identity without a byte of its records being rewritten.
//! - **Operation.** Written record by record, synced every few seconds by its owner and at the end of
//!   a segment. Opening walks all frames and cuts each segment at its first damaged one. A disk that
//!   fails moves the spool to memory, segment by segment, until a later segment can be made on disk.

mod batch;
mod folder;
pub(crate) mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meter::{Context, Id, Position, Record};

pub use batch::{Batch, Room, Unreadable};
use folder::{Folder, State};
use segment::{Frames, Kind, Medium, put_frame};

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The system refused.
    #[error("{}: {_1}", _0.display())]
    Io(PathBuf, io::Error),
    /// A link where a file or folder should be.
    #[error("{} is a symbolic link, which is not followed: remove it or configure the folder itself", _0.display())]
    Link(PathBuf),
    /// Something else where a folder should be.
    #[error("{} is not a folder", _0.display())]
    NoFolder(PathBuf),
    /// The folder is somebody else's.
    #[error("{} belongs to another user: run as its owner or choose another state folder", _0.display())]
    Foreign(PathBuf),
    /// Others may write to the folder.
    #[error("{} may be written to by others (mode {_1:o}): chmod 700 it", _0.display())]
    Open(PathBuf, u32),
    /// Another agent runs on the folder.
    #[error("{} is in use by another wattledger-agent: stop that one or choose another --state-dir", _0.display())]
    Locked(PathBuf),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// One stream's records.
#[derive(Debug)]
pub struct Spool {
    folder: Option<Folder>,
    fingerprint: Id,
    stream: Id,
    max_bytes: u64,
    segments: VecDeque<Segment>,
    head: Position,
    contexts: BTreeMap<u64, Arc<Context>>,
    acknowledged: u64,
    cursor: Option<Cursor>,
    unsynced: bool,
    degraded: bool,
    dropped: u64,
    frame: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Where the stream stood in front of it.
    start: Position,
    bytes: u64,
    /// The contexts declared in it.
    contexts: BTreeSet<u64>,
    medium: Medium,
}

/// Where the last batch ended, so that the next one need not look for it.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    position: Position,
    segment: u64,
    offset: u64,
}

/// 128 random bits.
///
/// # Errors
/// [`SpoolError::Random`] if the system gives none.
pub fn random_id() -> Result<Id, SpoolError> {
    let mut id = Id::default();
    getrandom::fill(&mut id).map_err(SpoolError::Random)?;
    Ok(id)
}

impl Spool {
    /// A spool in memory: for recorded data, and where no folder can be written.
    ///
    /// # Errors
    /// [`SpoolError::Random`].
    pub fn in_memory(max_bytes: u64) -> Result<Self, SpoolError> {
        Ok(Self {
            folder: None,
            fingerprint: Id::default(),
            stream: random_id()?,
            max_bytes,
            segments: VecDeque::new(),
            head: Position::default(),
            contexts: BTreeMap::new(),
            acknowledged: 0,
            cursor: None,
            unsynced: false,
            degraded: false,
            dropped: 0,
            frame: Vec::new(),
        })
    }

    /// Opens the spool in a folder and resumes its stream. A folder written by another machine (a
    /// cloned disk) begins a new stream, empty: its readings are that machine's to deliver.
    ///
    /// # Errors
    /// [`SpoolError`] that says what to do about it.
    pub fn open(path: &Path, fingerprint: Id, max_bytes: u64) -> Result<Self, SpoolError> {
        let folder = Folder::open(path)?;
        let mut spool = Self { fingerprint, ..Self::in_memory(max_bytes)? };
        let mut numbers = folder.segments()?;
        let state = folder.state()?;
        let cloned = state.is_some_and(|state| state.fingerprint != fingerprint);
        if cloned {
            tracing::warn!(folder = %path.display(), "the spool was written by another machine: starting a new one");
        } else if state.is_none() && !numbers.is_empty() {
            tracing::warn!(folder = %path.display(), "the spool's state file is missing or damaged: its records become a new stream");
        }
        let first = if cloned { u64::MAX } else { state.map_or(0, |state| state.segment) };
        for number in numbers.extract_if(.., |number| *number < first) {
            folder.remove(number)?;
        }
        let mut start = Position::default();
        if let Some(state) = state.filter(|_| !cloned) {
            (spool.stream, start) = (state.stream, state.start);
        }
        for number in numbers {
            let medium = folder.segment(number, false)?;
            spool.segments.push_back(Segment { number, start, bytes: 0, contexts: BTreeSet::new(), medium });
        }
        spool.folder = Some(folder);
        spool.index(start).map_err(|error| SpoolError::Io(path.into(), error))?;
        spool.write_state()?;
        Ok(spool)
    }

    /// The stream's id.
    #[must_use]
    pub const fn stream(&self) -> Id {
        self.stream
    }

    /// Where the stream stands with all that was appended.
    #[must_use]
    pub const fn head(&self) -> Position {
        self.head
    }

    /// Where the stream stood in front of the oldest record still held.
    #[must_use]
    pub fn start(&self) -> Position {
        self.segments.front().map_or(self.head, |segment| segment.start)
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Records dropped before they were acknowledged.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether new records are held in memory although there is a folder.
    #[must_use]
    pub const fn degraded(&self) -> bool {
        self.degraded
    }

    /// Appends a record; its context is declared where needed. Never fails: what the disk does not
    /// take is held in memory.
    pub fn append(&mut self, context: &Arc<Context>, record: &Record) {
        let mut bytes = std::mem::take(&mut self.frame);
        bytes.clear();
        wire::encode_record_into(record, &mut bytes);
        let digest = wire::chain(&self.head.digest, &bytes);
        self.contexts.entry(record.context).or_insert_with(|| Arc::clone(context));
        if self.segments.back().is_none_or(|tail| tail.bytes >= self.segment_bytes()) {
            self.rotate(bytes.len() as u64);
        }
        if let Err(error) = self.write(record.context, &bytes) {
            tracing::error!(%error, "the spool cannot be written: new readings are held in memory and would be lost with the process");
            self.degraded = true;
            self.push_segment(Medium::Memory(Vec::new()));
            // Memory takes whatever it is given.
            let _ = self.write(record.context, &bytes);
        }
        self.head = Position { seq: self.head.seq + 1, digest };
        self.frame = bytes;
    }

    fn write(&mut self, context: u64, record: &[u8]) -> io::Result<()> {
        let mut frames = Vec::with_capacity(record.len() + 16);
        let Some(tail) = self.segments.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let undeclared = !tail.contexts.contains(&context);
        if let Some(declared) = self.contexts.get(&context).filter(|_| undeclared) {
            put_frame(Kind::Context, &wire::encode_context(declared), &mut frames);
        }
        put_frame(Kind::Record, record, &mut frames);
        tail.medium.append(&frames, tail.bytes)?;
        tail.bytes += frames.len() as u64;
        tail.contexts.insert(context);
        self.unsynced = true;
        Ok(())
    }

    /// Ends the last segment and begins another, on disk if possible.
    fn rotate(&mut self, needed: u64) {
        self.sync();
        self.make_room(needed + self.segment_bytes());
        let number = self.segments.back().map_or(0, |tail| tail.number + 1);
        let medium = match self.folder.as_ref().map(|folder| folder.segment(number, true)) {
            None => Medium::Memory(Vec::new()),
            Some(Ok(medium)) => {
                if std::mem::take(&mut self.degraded) {
                    tracing::info!("the spool can be written again");
                }
                medium
            }
            Some(Err(error)) => {
                if !std::mem::replace(&mut self.degraded, true) {
                    tracing::error!(%error, "the spool cannot be written: new readings are held in memory and would be lost with the process");
                }
                Medium::Memory(Vec::new())
            }
        };
        self.push_segment(medium);
    }

    fn push_segment(&mut self, medium: Medium) {
        let number = self.segments.back().map_or(0, |tail| tail.number + 1);
        self.segments.push_back(Segment { number, start: self.head, bytes: 0, contexts: BTreeSet::new(), medium });
    }

    /// Lets the oldest segments go until `needed` bytes fit. This is where unacknowledged records
    /// will be coalesced to their registers instead; today they are dropped, which leaves a hole in
    /// the ledger that says so.
    fn make_room(&mut self, needed: u64) {
        let before = self.segments.len();
        while self.bytes() + needed > self.max_bytes {
            let Some(oldest) = self.segments.pop_front() else { break };
            let end = self.start();
            let lost = end.seq.saturating_sub(oldest.start.seq.max(self.acknowledged));
            if lost > 0 {
                self.dropped += lost;
                tracing::error!(
                    records = lost,
                    "the spool is full: the oldest records are dropped, the ledger will show a hole"
                );
            }
            // In this order a crash in between leaves a segment too much, never one too few.
            if let Err(error) = self.write_state() {
                tracing::error!(%error, "the spool's state cannot be written");
            }
            if let (Some(folder), Medium::File(_)) = (&self.folder, &oldest.medium)
                && let Err(error) = folder.remove(oldest.number)
            {
                tracing::error!(%error, "a spool segment cannot be deleted");
            }
        }
        if self.segments.len() < before {
            let used: BTreeSet<u64> = self.segments.iter().flat_map(|segment| &segment.contexts).copied().collect();
            self.contexts.retain(|id, _| used.contains(id));
        }
    }

    /// A sixteenth of the whole, so that dropping one loses little; at most 4 MiB, so that looking
    /// for a record in one stays cheap.
    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 16).clamp(4 << 10, 4 << 20)
    }

    /// Notes that the ledger has everything up to `seq` on disk.
    pub const fn acknowledge(&mut self, seq: u64) {
        self.acknowledged = seq;
    }

    /// Makes what was appended survive a power loss.
    pub fn sync(&mut self) {
        if !std::mem::take(&mut self.unsynced) {
            return;
        }
        if let Some(error) = self.segments.back().and_then(|tail| tail.medium.sync().err()) {
            tracing::error!(%error, "the spool cannot be synced to disk");
        }
    }

    /// Gives the retained records a new identity: they are numbered from 1 in a stream nobody knows.
    ///
    /// # Errors
    /// [`SpoolError`]; the old identity stays.
    pub fn mint(&mut self) -> Result<(), SpoolError> {
        self.stream = random_id()?;
        self.acknowledged = 0;
        self.cursor = None;
        if let Err(error) = self.index(Position::default()) {
            tracing::error!(%error, "the spool cannot be read");
        }
        self.write_state()
    }

    /// Walks all segments: where each begins, what it declares; cuts each at its first damage.
    fn index(&mut self, start: Position) -> io::Result<()> {
        let mut at = start;
        for segment in &mut self.segments {
            let length = segment.medium.len()?;
            let mut frames = Frames::new(&segment.medium, 0, length);
            segment.start = at;
            segment.contexts.clear();
            while let Some((kind, bytes)) = frames.next()? {
                if kind == Kind::Record {
                    at = Position { seq: at.seq + 1, digest: wire::chain(&at.digest, bytes) };
                } else if let Ok(context) = wire::decode_context(bytes) {
                    let id = wire::context_id(&context);
                    segment.contexts.insert(id);
                    self.contexts.entry(id).or_insert_with(|| Arc::new(context));
                }
            }
            segment.bytes = frames.at();
            if segment.bytes < length {
                tracing::warn!(
                    segment = segment.number,
                    bytes = length - segment.bytes,
                    "the end of a spool segment is damaged and was cut off"
                );
                segment.medium.cut(segment.bytes)?;
            }
        }
        self.head = at;
        Ok(())
    }

    fn write_state(&self) -> Result<(), SpoolError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        folder.set_state(&State {
            stream: self.stream,
            fingerprint: self.fingerprint,
            segment: self.segments.front().map_or(0, |segment| segment.number),
            start: self.start(),
        })
    }
}
