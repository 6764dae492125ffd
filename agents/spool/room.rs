//! Room in a spool: what goes first when it is full, and what comes back to disk when the disk does.

use std::collections::BTreeSet;
use std::sync::Arc;

use energy::Policy;
use meter::{Mutant, Position, Record, mutant};

use super::coalesce::Coalescer;
use super::disk::{Medium, Memory};
use super::segment::{Frames, Kind, frame_bytes, put_frame};
use super::{Segment, Spool, SpoolError};

/// How long a summary may be, in nanoseconds, each time records are coalesced further: a minute keeps
/// the curve, a quarter of an hour is a ledger's slot, and a day is the last thing before dropping.
const SPANS_NS: [u64; 3] = [60_000_000_000, 900_000_000_000, 86_400_000_000_000];

/// Most segments that are coalesced at once.
const GROUP: usize = 8;

impl Spool {
    /// Makes room for `needed` bytes. What the ledger has on disk goes first; then the oldest of the rest
    /// is coalesced, further each time; only then is the oldest dropped, which leaves a hole in the ledger
    /// that says so.
    pub(super) fn make_room(&mut self, needed: u64) {
        let before = self.segments.len();
        while self.bytes() + needed > self.max_bytes {
            let end = self.segments.get(1).map_or(self.head, |second| second.start);
            let is_acknowledged = end.seq <= self.acknowledged || mutant(Mutant::DropUnacknowledged);
            if !is_acknowledged && self.coalesce_some() {
                continue;
            }
            if !self.drop_oldest() {
                break;
            }
        }
        if self.segments.len() < before {
            let used: BTreeSet<u64> = self.segments.iter().flat_map(|segment| &segment.contexts).copied().collect();
            self.contexts.retain(|id, _| used.contains(id));
            self.newest.retain(|id, _| used.contains(id));
        }
    }

    /// Lets the oldest segment go, if there is one.
    fn drop_oldest(&mut self) -> bool {
        let end = self.segments.get(1).map_or(self.head, |second| second.start);
        if end.seq > self.acknowledged && [1, 2].into_iter().any(|count| self.keep_marks(count)) {
            return true;
        }
        let Some(oldest) = self.segments.pop_front() else { return false };
        let end = self.start();
        self.note_dropped(end.seq.saturating_sub(oldest.start.seq.max(self.acknowledged)));
        // In this order a crash in between leaves a segment too much, never one too few.
        if let Err(error) = self.write_state() {
            tracing::error!(%error, "the spool's state cannot be written");
        }
        self.remove(&oldest);
        true
    }

    fn note_dropped(&mut self, lost: u64) {
        if lost > 0 {
            self.dropped += lost;
            tracing::error!(
                records = lost,
                "the spool is full: the oldest records are dropped, the ledger will show a hole; raise spool.max_mib"
            );
        }
    }

    /// Leaves of the oldest segments nothing but their marks: who runs what is small, and tells whose the
    /// time is that is left. At most a quarter of the spool. Whether that made room.
    fn keep_marks(&mut self, count: usize) -> bool {
        if self.segments.len() <= count {
            return false;
        }
        let Ok((marks, lost, old_bytes)) = self.marks_of(count) else { return false };
        let mut rewriter = Rewriter::default();
        rewriter.put(marks, self);
        // All that will stand there: what only seems to make room would be tried forever.
        let bytes = (rewriter.bytes.len() + self.replaces_bytes()) as u64;
        if rewriter.bytes.is_empty() || bytes >= old_bytes || bytes > self.max_bytes / 4 {
            return false;
        }
        match self.swap(0, count, &rewriter.bytes, SPANS_NS.len() as u8) {
            Ok(()) => self.note_dropped(lost),
            Err(error) => {
                tracing::error!(%error, "marks cannot be kept");
                return false;
            }
        }
        true
    }

    /// The marks of the oldest segments, how many other records were not delivered, and all their bytes.
    fn marks_of(&self, count: usize) -> Result<(Vec<Record>, u64, u64), SpoolError> {
        let (mut marks, mut lost, mut bytes) = (Vec::new(), 0, 0);
        for segment in self.segments.iter().take(count) {
            let mut seq = segment.start.seq;
            bytes += segment.bytes;
            let mut frames = Frames::new(&*segment.medium, 0, segment.bytes);
            while let Some((kind, frame)) = frames.next().map_err(|error| self.failed(error))? {
                if kind != Kind::Record {
                    continue;
                }
                seq += 1;
                match wire::decode_record(frame) {
                    Ok(record) if record.mark.is_some() => marks.push(record),
                    _ => lost += u64::from(seq > self.acknowledged),
                }
            }
        }
        Ok((marks, lost, bytes))
    }

    fn remove(&self, segment: &Segment) {
        if let Some(disk) = &self.disk
            && segment.medium.outlives_process()
            && let Err(error) = disk.remove(segment.number)
        {
            tracing::error!(%error, "a spool segment cannot be deleted");
        }
    }

    /// Coalesces the oldest segments that were coalesced least; whether that made room.
    fn coalesce_some(&mut self) -> bool {
        for (level, span_max_ns) in SPANS_NS.into_iter().enumerate() {
            let level = level as u8;
            // Also what lies behind segments that gain nothing: they are long summaries already, as all may be
            // after a restart, which forgets the levels.
            while let Some(place) = self.segments.iter().position(|segment| segment.level == level) {
                let run = self.segments.iter().skip(place).take_while(|segment| segment.level == level);
                let count = run.count().min(GROUP);
                match self.coalesce(place, count, span_max_ns, level + 1) {
                    Ok(true) => return true,
                    // Nothing gained: the next time it is tried with longer summaries.
                    Ok(false) => self.segments.iter_mut().skip(place).take(count).for_each(|s| s.level = level + 1),
                    Err(error) => {
                        tracing::error!(%error, "spool segments cannot be coalesced");
                        return false;
                    }
                }
            }
        }
        false
    }

    /// Replaces segments by what they come to, under a new identity: no ledger knows the new records, and
    /// what it has of the old ones its coverage keeps from being booked twice.
    fn coalesce(&mut self, place: usize, count: usize, span_max_ns: u64, level: u8) -> Result<bool, SpoolError> {
        let mut rewriter = Rewriter::default();
        let mut coalescer = Coalescer::new(Policy::default(), span_max_ns);
        let (mut taken, mut old_bytes) = (0, 0);
        for segment in self.segments.iter().skip(place).take(count) {
            let mut seq = segment.start.seq;
            let mut frames = Frames::new(&*segment.medium, 0, segment.bytes);
            while let Some((kind, bytes)) = frames.next().map_err(|error| self.failed(error))? {
                if kind != Kind::Record {
                    continue;
                }
                seq += 1;
                let Ok(record) = wire::decode_record(bytes) else { return Ok(false) };
                let Some(context) = self.contexts.get(&record.context) else { return Ok(false) };
                rewriter.put(coalescer.push(record, context), self);
                if self.sent.contains(&seq) && !mutant(Mutant::CoalesceOverPosts) {
                    // A ledger may have got a post that ended here: no summary lies over that.
                    rewriter.put(coalescer.finish(), self);
                    put_frame(Kind::Sent, &0_u64.to_le_bytes(), &mut rewriter.bytes);
                }
            }
            (taken, old_bytes) = (taken + 1, old_bytes + segment.bytes);
            if rewriter.bytes.len() as u64 >= self.segment_bytes() {
                break;
            }
        }
        rewriter.put(coalescer.finish(), self);
        if rewriter.bytes.len() as u64 > old_bytes / 4 * 3 {
            return Ok(false);
        }
        tracing::warn!(
            bytes = old_bytes,
            to = rewriter.bytes.len(),
            "the spool is full: its oldest records are coalesced, their energy is kept, how it lay in time is not"
        );
        self.swap(place, taken, &rewriter.bytes, level)?;
        Ok(true)
    }

    /// How many bytes say what a segment stands for that takes the place of others.
    const fn replaces_bytes(&self) -> usize {
        if self.disk.is_some() { frame_bytes(size_of::<u64>()) } else { 0 }
    }

    /// Puts one segment in the place of several.
    fn swap(&mut self, place: usize, count: usize, bytes: &[u8], level: u8) -> Result<(), SpoolError> {
        // The new identity first: a crash in between leaves the old records under it, which is as good. If
        // it cannot be saved, the old one with other records is found out by its digests.
        self.stream = self.ids.next()?;
        self.acknowledged = 0;
        if let Err(error) = self.write_state_from(Position::default()) {
            self.degrade(&error);
        }
        let (first, number) = (self.segments[place].number, self.segments[place + count - 1].number);
        let mut whole = Vec::with_capacity(bytes.len() + self.replaces_bytes());
        if self.disk.is_some() {
            // A crash, or a power loss after which deleted names are there again, leaves old segments beside
            // it. Coalesced once more they would lie across what is covered, and lose their energy.
            put_frame(Kind::Replaces, &first.to_le_bytes(), &mut whole);
        }
        whole.extend_from_slice(bytes);
        let mut medium: Box<dyn Medium> = Box::new(Memory::default());
        medium.append(&whole, 0).map_err(|error| self.failed(error))?;
        let old: Vec<Segment> = self.segments.drain(place..place + count).collect();
        let on_disk = self.disk.as_ref().map(|disk| disk.replace(number, &whole));
        match on_disk {
            Some(Ok(replaced)) => {
                medium = replaced;
                old.iter().filter(|segment| segment.number != number).for_each(|segment| self.remove(segment));
            }
            Some(Err(error)) => {
                // A full disk: without the old segments there is room to write the new one.
                self.degrade(&error);
                old.iter().for_each(|segment| self.remove(segment));
            }
            None => {}
        }
        let start = self.segments.get(place).map_or(self.head, |next| next.start);
        self.segments.insert(place, Segment { level, ..Segment::empty(number, start, medium) });
        self.index(Position::default()).map_err(|error| self.failed(error))
    }

    /// Brings to disk what had to be held in memory, as far as the disk takes it.
    pub(super) fn mend(&mut self) {
        self.return_home();
        let Some(disk) = &self.disk else { return };
        if !self.degraded {
            return;
        }
        for segment in self.segments.iter_mut().filter(|segment| !segment.medium.outlives_process()) {
            let mut bytes = vec![0; usize::try_from(segment.bytes).unwrap_or(usize::MAX)];
            let moved = segment.medium.read_at(0, &mut bytes).is_ok();
            match disk.replace(segment.number, &bytes) {
                Ok(medium) if moved => segment.medium = medium,
                _ => return,
            }
        }
        if self.write_state().is_ok() {
            self.degraded = false;
            tracing::info!("the spool can be written again: what was held in memory is on disk");
        }
    }

    /// Opens the folder that could not be opened at the start. What it holds is older than what was
    /// sampled since: it goes in front.
    fn return_home(&mut self) {
        let Some(home) = self.home.clone() else { return };
        let Ok(mut opened) = Self::open(&home, self.fingerprint, self.max_bytes) else { return };
        let next = opened.segments.back().map_or(0, |last| last.number + 1);
        for (number, mut segment) in (next..).zip(self.segments.drain(..)) {
            segment.number = number;
            opened.segments.push_back(segment);
        }
        for (id, context) in &self.contexts {
            opened.contexts.entry(*id).or_insert_with(|| Arc::clone(context));
        }
        opened.degraded = true;
        std::mem::swap(&mut opened.ids, &mut self.ids);
        std::mem::swap(&mut opened.newest, &mut self.newest);
        *self = opened;
        if let Err(error) = self.mint() {
            tracing::error!(%error, "the spool's identity cannot be saved");
        }
    }
}

/// What coalesced segments become.
#[derive(Default)]
struct Rewriter {
    bytes: Vec<u8>,
    declared: BTreeSet<u64>,
    record: Vec<u8>,
}

impl Rewriter {
    fn put(&mut self, records: Vec<Record>, spool: &Spool) {
        for record in records {
            if self.declared.insert(record.context)
                && let Some(context) = spool.contexts.get(&record.context)
            {
                put_frame(Kind::Context, &wire::encode_context(context), &mut self.bytes);
            }
            self.record.clear();
            wire::encode_record_into(&record, &mut self.record);
            put_frame(Kind::Record, &self.record, &mut self.bytes);
        }
    }
}
