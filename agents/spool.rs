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
//!   brought to disk. What was on it is read all the same, as far as it can be.
//! - **Identity.** A stream's id changes when the spool was coalesced, came home, or was minted. Whoever
//!   sends from it compares [`Spool::stream`] with the stream that was asked about.

mod batch;
pub mod coalesce;
mod disk;
mod folder;
#[cfg(test)]
mod mark_tests;
mod opening;
mod room;
#[cfg(test)]
mod room_tests;
pub(crate) mod segment;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unwritable_tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use meter::{Context, Id, Mutant, Position, Record, mutant};

pub use batch::{Batch, Room, Unreadable};
use disk::Memory;
pub use disk::{Disk, Medium};
use segment::{Kind, put_frame};

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
        if self.segments.back().is_none_or(|tail| tail.bytes >= self.segment_bytes()) {
            self.rotate(bytes.len() as u64);
        }
        // Only now: to make room the stream may have begun anew, and contexts that no segment holds are gone.
        self.contexts.entry(record.context).or_insert_with(|| Arc::clone(context));
        let digest = wire::chain(&self.head.digest, &bytes);
        if let Err(error) = self.write(record.context, &bytes) {
            self.degrade(&error);
            self.push_segment(Box::new(Memory::default()));
            // Memory takes whatever it is given.
            let _ = self.write(record.context, &bytes);
        }
        self.head = Position { seq: self.head.seq + 1, digest };
        if record.mark.is_none() {
            self.newest.insert(record.context, record.clone());
        }
        self.frame = bytes;
    }

    /// Notes, before it is sent, that a post ends at `seq`: a ledger may apply it although no answer comes
    /// back, and what it has applied must not be coalesced with what it has not. The note, and all records
    /// before it, survive a power loss: a ledger never knows more of the stream than the spool.
    pub fn note_sent(&mut self, seq: u64) {
        self.mark_sent(seq);
        self.save();
    }

    /// The same, but it survives a power loss only after [`Spool::save`]: for many streams in one post.
    pub(crate) fn mark_sent(&mut self, seq: u64) {
        if seq <= self.acknowledged || seq > self.head.seq || !self.sent.insert(seq) {
            return;
        }
        let mut frame = Vec::with_capacity(segment::frame_bytes(size_of::<u64>()));
        put_frame(Kind::Sent, &(self.head.seq - seq).to_le_bytes(), &mut frame);
        if let Some(tail) = self.segments.back_mut()
            && tail.medium.append(&frame, tail.bytes).is_ok()
        {
            tail.bytes += frame.len() as u64;
            self.unsynced = true;
        }
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

    /// Whether everything appended survives a power loss, as far as there is a disk.
    pub(crate) const fn is_safe(&self) -> bool {
        !self.unsynced && !self.degraded && self.home.is_none()
    }

    /// Makes what was appended survive a power loss, if it can be written.
    pub(crate) fn save(&mut self) {
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
}
