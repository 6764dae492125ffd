//! How a spool comes to be: in memory, in a folder, from what a run before left behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use meter::{Id, Position};

use super::disk::Disk;
use super::folder::Folder;
use super::segment::{Frames, Kind, replaces};
use super::state::State;
use super::{Ids, Segment, Spool, SpoolError, random_id};

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
    /// A folder that can be read but not written is opened, too, and what is new is held in memory until it
    /// can be. Would newer records be sent before those in it, a ledger might join the readings on either
    /// side of these, and they would come too late to be booked.
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
        spool.write_state_or_degrade();
        Ok(spool)
    }

    /// Takes the ids of new streams from elsewhere: for simulations, which have to be repeatable.
    ///
    /// # Errors
    /// [`SpoolError`] if there is no id.
    pub fn with_ids(mut self, ids: Box<dyn FnMut() -> Result<Id, SpoolError> + Send>) -> Result<Self, SpoolError> {
        self.ids = Ids(ids);
        if self.head.seq == 0 {
            self.stream = self.ids.next()?;
            self.write_state_or_degrade();
        }
        Ok(self)
    }

    /// Walks all segments: where each begins, what it declares; cuts each at its first damage.
    pub(super) fn index(&mut self, start: Position) -> io::Result<()> {
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

    /// Without the state on disk the records there are a stream nobody knows, or the one they were: both lose
    /// and double nothing. So it can wait until the disk is mended.
    fn write_state_or_degrade(&mut self) {
        if let Err(error) = self.write_state() {
            self.degrade(&error);
        }
    }

    pub(super) fn write_state(&self) -> Result<(), SpoolError> {
        self.write_state_from(self.start())
    }

    pub(super) fn write_state_from(&self, start: Position) -> Result<(), SpoolError> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let segment = self.segments.front().map_or(0, |segment| segment.number);
        let state = State { stream: self.stream, fingerprint: self.fingerprint, segment, start };
        disk.set_state(&state.bytes())
    }
}
