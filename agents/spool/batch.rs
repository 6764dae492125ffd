//! Reading from the spool: batches to send, and the digests that positions are compared by.

use std::collections::BTreeMap;
use std::sync::Arc;

use meter::{Context, Digest, Position, Record};

use super::segment::{Frames, Kind};
use super::{Cursor, Spool};

/// Records read for sending.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records, in order.
    pub records: Vec<Record>,
    /// The contexts they refer to.
    pub contexts: BTreeMap<u64, Arc<Context>>,
    /// Where the stream stands behind them.
    pub end: Position,
    /// Canonical bytes of the records.
    pub bytes: usize,
    /// Samples of the records.
    pub samples: usize,
}

/// How much a batch may still hold.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Canonical bytes of records.
    pub bytes: usize,
    /// Samples.
    pub samples: usize,
    /// The last record it may hold.
    pub until: u64,
}

/// What was to be read is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spool does not hold what was to be sent")]
pub struct Unreadable;

impl Spool {
    /// The digest of the stream at `seq`, if that lies within what is held.
    #[must_use]
    pub fn digest_at(&self, seq: u64) -> Option<Digest> {
        for known in [Some(self.head), self.cursor.map(|cursor| cursor.position)].into_iter().flatten() {
            if known.seq == seq {
                return Some(known.digest);
            }
        }
        let place = self.segments.iter().rposition(|segment| segment.start.seq <= seq)?;
        (seq < self.head.seq).then(|| self.seek(place, seq)).flatten().map(|cursor| cursor.position.digest)
    }

    /// Finds the end of record `seq` by walking the segment at `place`.
    fn seek(&self, place: usize, seq: u64) -> Option<Cursor> {
        let segment = &self.segments[place];
        let mut frames = Frames::new(&*segment.medium, 0, segment.bytes);
        let mut position = segment.start;
        while position.seq < seq {
            if let (Kind::Record, bytes) = frames.next().ok()?? {
                position = Position { seq: position.seq + 1, digest: wire::chain(&position.digest, bytes) };
            }
        }
        Some(Cursor { position, segment: segment.number, offset: frames.at() })
    }

    /// Reads what follows `after`, as much as there is room for and at least one record.
    ///
    /// # Errors
    /// [`Unreadable`] if `after` is no position of this stream (any more), or what follows it turned
    /// out damaged: the damage was cut out, and the ledger has to be asked where it stands.
    pub fn read(&mut self, after: Position, room: Room) -> Result<Batch, Unreadable> {
        let read = self.try_read(after, room);
        if read.is_err() {
            self.cursor = None;
            if let Err(error) = self.index(self.start()) {
                tracing::error!(%error, "the spool cannot be read");
            }
        }
        read
    }

    fn try_read(&mut self, after: Position, room: Room) -> Result<Batch, Unreadable> {
        let mut batch = Batch { end: after, ..Batch::default() };
        if after == self.head {
            return Ok(batch);
        }
        let known = self.cursor.filter(|cursor| cursor.position == after);
        let place = self.segments.iter().rposition(|segment| segment.start.seq <= after.seq);
        let found = known.or_else(|| place.and_then(|place| self.seek(place, after.seq)));
        let mut cursor = found.filter(|cursor| cursor.position == after).ok_or(Unreadable)?;
        let first = cursor.segment;
        for segment in self.segments.iter().skip_while(|segment| segment.number < first) {
            if segment.number != cursor.segment {
                cursor = Cursor { position: batch.end, segment: segment.number, offset: 0 };
            }
            let mut frames = Frames::new(&*segment.medium, cursor.offset, segment.bytes);
            let mut full = false;
            while let Some((kind, bytes)) = frames.next().map_err(|_| Unreadable)? {
                if kind == Kind::Record && !batch.take(bytes, room, &self.contexts)? {
                    full = true;
                    break;
                }
                cursor.offset = frames.at();
            }
            cursor.position = batch.end;
            if full {
                break;
            }
            if frames.at() < segment.bytes {
                return Err(Unreadable);
            }
        }
        self.cursor = Some(cursor);
        Ok(batch)
    }
}

impl Batch {
    /// Adds a record if there is room for it.
    fn take(&mut self, bytes: &[u8], room: Room, contexts: &BTreeMap<u64, Arc<Context>>) -> Result<bool, Unreadable> {
        let record = wire::decode_record(bytes).map_err(|_| Unreadable)?;
        let known = self.contexts.contains_key(&record.context);
        let full = self.bytes + bytes.len() > room.bytes
            || self.samples + wire::weight(&record) > room.samples
            || self.records.len() == wire::RECORDS_MAX
            || (!known && self.contexts.len() == wire::CONTEXTS_MAX);
        if self.end.seq >= room.until || (full && !self.records.is_empty()) {
            return Ok(false);
        }
        if let Some(context) = contexts.get(&record.context).filter(|_| !known) {
            self.contexts.insert(record.context, Arc::clone(context));
        }
        self.bytes += bytes.len();
        self.samples += wire::weight(&record);
        self.end = Position { seq: self.end.seq + 1, digest: wire::chain(&self.end.digest, bytes) };
        self.records.push(record);
        Ok(true)
    }
}
