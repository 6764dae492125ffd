//! The spool: everything sampled, until the ledger has it and for as long as there is room after.
//!
//! - **Limits.** At most so many bytes. When full, acknowledged segments go first; then the oldest of the
//!   others are coalesced ([`coalesce`]); only then is unacknowledged data dropped, said aloud and counted.
//! - **Format.** Segments of canonical records, each with the contexts it needs in front of their
//!   first use. The stream's id and where it begins stand beside them in a state file, so that a
//!   stream gets a new identity without a byte of its records being rewritten.
//! - **Operation.** Written record by record, synced every few seconds by its owner and at the end of
//!   a segment. Opening walks all frames and cuts each segment at its first damaged one. A disk that
//!   fails moves the spool to memory; with each sync it is tried again, and what was held in memory is
//!   brought to disk.
//! - **Identity.** A stream's id changes when the spool was coalesced, came home, or was minted. Whoever
//!   sends from it compares [`Spool::stream`] with the stream that was asked about.

mod batch;
pub mod coalesce;
mod disk;
mod folder;
mod room;
#[cfg(test)]
mod room_tests;
pub(crate) mod segment;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meter::{Context, Id, Mutant, Position, Record, mutant};

pub use batch::{Batch, Room, Unreadable};
use disk::Memory;
pub use disk::{Disk, Medium};
use folder::Folder;
use segment::{Frames, Kind, put_frame, replaces};
use state::State;

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
    disk: Option<Box<dyn Disk>>,
    /// The folder that could not be opened: tried again with each sync.
    home: Option<PathBuf>,
    fingerprint: Id,
    stream: Id,
    ids: Ids,
    max_bytes: u64,
    segments: VecDeque<Segment>,
    head: Position,
    contexts: BTreeMap<u64, Arc<Context>>,
    /// The newest record of each context.
    newest: BTreeMap<u64, Record>,
    acknowledged: u64,
    /// The ends of posts that were sent and may have been applied.
    sent: BTreeSet<u64>,
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
    /// How often it was coalesced.
    level: u8,
    medium: Box<dyn Medium>,
}

impl Segment {
    fn empty(number: u64, start: Position, medium: Box<dyn Medium>) -> Self {
        Self { number, start, bytes: 0, contexts: BTreeSet::new(), level: 0, medium }
    }
}

/// Where the ids of new streams come from.
struct Ids(Box<dyn FnMut() -> Result<Id, SpoolError> + Send>);

impl Ids {
    fn next(&mut self) -> Result<Id, SpoolError> {
        (self.0)()
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
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
            disk: None,
            home: None,
            fingerprint: Id::default(),
            stream: random_id()?,
            ids: Ids(Box::new(random_id)),
            max_bytes,
            segments: VecDeque::new(),
            head: Position::default(),
            contexts: BTreeMap::new(),
            newest: BTreeMap::new(),
            acknowledged: 0,
            sent: BTreeSet::new(),
            cursor: None,
            unsynced: false,
            degraded: false,
            dropped: 0,
            frame: Vec::new(),
        })
    }

    /// A spool in memory that moves to its folder as soon as that can be opened.
    ///
    /// # Errors
    /// [`SpoolError::Random`].
    pub fn in_memory_until(path: &Path, fingerprint: Id, max_bytes: u64) -> Result<Self, SpoolError> {
        Ok(Self { home: Some(path.into()), fingerprint, degraded: true, ..Self::in_memory(max_bytes)? })
    }

    /// Opens the spool in a folder and resumes its stream. The records of a folder written by another
    /// machine (a cloned disk) become a new stream: should they be this owner's after all, none is lost,
    /// and none is booked twice.
    ///
    /// # Errors
    /// [`SpoolError`] that says what to do about it.
    pub fn open(path: &Path, fingerprint: Id, max_bytes: u64) -> Result<Self, SpoolError> {
        Self::open_on(Box::new(Folder::open(path)?), fingerprint, max_bytes)
    }

    /// The same on any disk.
    ///
    /// # Errors
    /// [`SpoolError`] that says what to do about it.
    pub fn open_on(disk: Box<dyn Disk>, fingerprint: Id, max_bytes: u64) -> Result<Self, SpoolError> {
        let mut spool = Self { fingerprint, ..Self::in_memory(max_bytes)? };
        let mut numbers = disk.segments()?;
        let state = disk.state()?.and_then(|payload| State::read(&payload));
        let cloned = state.is_some_and(|state| !meter::same_machine(&state.fingerprint, &fingerprint));
        if let Some(state) = state.filter(|_| !cloned) {
            spool.fingerprint = meter::machine::learn(&state.fingerprint, &fingerprint);
        }
        if cloned {
            tracing::warn!(disk = ?disk, "the spool was written by another machine (a cloned disk?): its records are sent as a new stream");
        } else if state.is_none() && !numbers.is_empty() {
            tracing::warn!(disk = ?disk, "the spool's state file is missing or damaged: its records become a new stream");
        }
        let first = state.map_or(0, |state| state.segment);
        for number in numbers.extract_if(.., |number| *number < first) {
            disk.remove(number)?;
        }
        let mut start = Position::default();
        if let Some(state) = state.filter(|_| !cloned) {
            (spool.stream, start) = (state.stream, state.start);
        }
        let mut replaced_from = u64::MAX;
        for number in numbers.into_iter().rev() {
            if number >= replaced_from {
                disk.remove(number)?;
                continue;
            }
            let medium = disk.segment(number, false)?;
            let replaces = replaces(&*medium).map_err(|error| SpoolError::Io(format!("{disk:?}").into(), error))?;
            replaced_from = replaces.unwrap_or(replaced_from);
            spool.segments.push_front(Segment::empty(number, start, medium));
        }
        spool.disk = Some(disk);
        spool.index(start).map_err(|error| spool.failed(error))?;
        spool.write_state()?;
        Ok(spool)
    }

    /// Takes the ids of new streams from elsewhere: for simulations, which have to be repeatable.
    ///
    /// # Errors
    /// [`SpoolError`] if the identity cannot be saved.
    pub fn with_ids(mut self, ids: Box<dyn FnMut() -> Result<Id, SpoolError> + Send>) -> Result<Self, SpoolError> {
        self.ids = Ids(ids);
        if self.head.seq == 0 {
            self.stream = self.ids.next()?;
            self.write_state()?;
        }
        Ok(self)
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
        self.contexts.entry(record.context).or_insert_with(|| Arc::clone(context));
        if self.segments.back().is_none_or(|tail| tail.bytes >= self.segment_bytes()) {
            self.rotate(bytes.len() as u64);
        }
        // Only now: to make room the stream may have begun anew.
        let digest = wire::chain(&self.head.digest, &bytes);
        if let Err(error) = self.write(record.context, &bytes) {
            self.degrade(&error);
            self.push_segment(Box::new(Memory::default()));
            // Memory takes whatever it is given.
            let _ = self.write(record.context, &bytes);
        }
        self.head = Position { seq: self.head.seq + 1, digest };
        self.newest.insert(record.context, record.clone());
        self.frame = bytes;
    }

    /// Notes, before it is sent, that a post ends at `seq`: a ledger may apply it although no answer comes
    /// back, and what it has applied must not be coalesced with what it has not. The note, and all records
    /// before it, survive a power loss: a ledger never knows more of the stream than the spool.
    pub fn note_sent(&mut self, seq: u64) {
        if seq <= self.acknowledged || seq > self.head.seq || !self.sent.insert(seq) {
            return;
        }
        let mut frame = Vec::with_capacity(17);
        put_frame(Kind::Sent, &(self.head.seq - seq).to_le_bytes(), &mut frame);
        if let Some(tail) = self.segments.back_mut()
            && tail.medium.append(&frame, tail.bytes).is_ok()
        {
            tail.bytes += frame.len() as u64;
            self.unsynced = true;
        }
        self.save();
    }

    /// The newest record of each source, with its context.
    pub fn newest(&self) -> impl Iterator<Item = (&Record, &Arc<Context>)> {
        self.newest.values().filter_map(|record| Some((record, self.contexts.get(&record.context)?)))
    }

    fn degrade(&mut self, error: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.degraded, true) {
            tracing::error!(%error, "the spool cannot be written: new readings are held in memory and would be lost with the process; free the disk, it is tried again every few seconds");
        }
    }

    fn failed(&self, error: io::Error) -> SpoolError {
        SpoolError::Io(format!("{:?}", self.disk).into(), error)
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
        let medium = match self.disk.as_ref().map(|disk| disk.segment(number, true)) {
            None => Box::new(Memory::default()),
            Some(Ok(medium)) => medium,
            Some(Err(error)) => {
                self.degrade(&error);
                Box::new(Memory::default())
            }
        };
        self.push_segment(medium);
    }

    fn push_segment(&mut self, medium: Box<dyn Medium>) {
        let number = self.segments.back().map_or(0, |tail| tail.number + 1);
        self.segments.push_back(Segment::empty(number, self.head, medium));
    }

    /// A sixteenth of the whole, so that dropping one loses little; at most 4 MiB, so that looking
    /// for a record in one stays cheap.
    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 16).clamp(1 << 10, 4 << 20)
    }

    /// Notes that the ledger has everything up to `seq` on disk; less than before, if it lost some.
    pub fn acknowledge(&mut self, seq: u64) {
        if seq < self.acknowledged
            && let Err(error) = self.index(self.start())
        {
            tracing::error!(%error, "the spool cannot be read");
        }
        self.acknowledged = seq;
        // What lies wholly before goes before anything is coalesced. Where it ends within a segment, what
        // follows may be; and a restored ledger may stand at an earlier end than this one.
        let settled = self.segments.iter().rfind(|segment| segment.start.seq <= seq);
        self.sent = self.sent.split_off(&settled.map_or(0, |segment| segment.start.seq));
        self.sent.insert(seq);
    }

    /// Makes what was appended survive a power loss. What could not be written is tried again.
    pub fn sync(&mut self) {
        self.mend();
        self.save();
    }

    fn save(&mut self) {
        if !std::mem::take(&mut self.unsynced) {
            return;
        }
        if let Some(error) = self.segments.back().and_then(|tail| tail.medium.sync().err()) {
            tracing::error!(%error, "the spool cannot be synced to disk: the last seconds would not survive a power loss");
        }
    }

    /// Gives the retained records a new identity: they are numbered from 1 in a stream nobody knows.
    ///
    /// # Errors
    /// [`SpoolError`]; the old identity stays.
    pub fn mint(&mut self) -> Result<(), SpoolError> {
        if !mutant(Mutant::KeepStreamId) {
            self.stream = self.ids.next()?;
        }
        self.acknowledged = 0;
        if let Err(error) = self.index(Position::default()) {
            tracing::error!(%error, "the spool cannot be read");
        }
        self.write_state()
    }

    /// Walks all segments: where each begins, what it declares; cuts each at its first damage.
    fn index(&mut self, start: Position) -> io::Result<()> {
        let mut at = start;
        self.cursor = None;
        self.sent.clear();
        for segment in &mut self.segments {
            let length = segment.medium.len()?;
            let mut frames = Frames::new(&*segment.medium, 0, length);
            segment.start = at;
            segment.contexts.clear();
            while let Some((kind, bytes)) = frames.next()? {
                match kind {
                    Kind::Record => {
                        at = Position { seq: at.seq + 1, digest: wire::chain(&at.digest, bytes) };
                    }
                    Kind::Sent => {
                        let back = bytes.try_into().map_or(0, u64::from_le_bytes);
                        self.sent.insert(at.seq.saturating_sub(back));
                    }
                    Kind::State | Kind::Replaces => {}
                    Kind::Context => {
                        let Ok(context) = wire::decode_context(bytes) else { continue };
                        let id = wire::context_id(&context);
                        segment.contexts.insert(id);
                        self.contexts.entry(id).or_insert_with(|| Arc::new(context));
                    }
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
        self.write_state_from(self.start())
    }

    fn write_state_from(&self, start: Position) -> Result<(), SpoolError> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let segment = self.segments.front().map_or(0, |segment| segment.number);
        let state = State { stream: self.stream, fingerprint: self.fingerprint, segment, start };
        disk.set_state(&state.bytes())
    }
}
