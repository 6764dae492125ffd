//! Segments: append-only runs of checksummed frames.
//!
//! Format of a frame: length of what follows the checksum (4 bytes, little-endian), its CRC-32
//! (4 bytes), one byte of kind, the payload. A frame that is cut, or whose checksum does not match,
//! ends its segment: nothing behind it can be trusted to be where it should.

use std::io;

use super::disk::Medium;

/// Bytes in front of a frame's kind and payload.
const HEAD: usize = 8;

/// Longest kind and payload: a context of 512 devices with the longest names is 77 KiB.
const FRAME_MAX: usize = 1 << 18;

/// Bytes read ahead while walking a segment.
const CHUNK: usize = 1 << 16;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A context, in canonical bytes.
    Context = 1,
    /// A record, in canonical bytes.
    Record = 2,
    /// What stream this is; in the state file only.
    State = 3,
    /// How many records before this place a post ended that was sent (8 bytes, little-endian).
    Sent = 4,
    /// The first of the segments that this one stands for (8 bytes, little-endian): from there up to its
    /// own number. At the beginning only.
    Replaces = 5,
}

/// How long a frame is that holds so many bytes.
pub(crate) const fn frame_bytes(payload: usize) -> usize {
    HEAD + 1 + payload
}

/// Appends one frame to a buffer.
pub(crate) fn put_frame(kind: Kind, payload: &[u8], into: &mut Vec<u8>) {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&[kind as u8]);
    checksum.update(payload);
    into.extend_from_slice(&(payload.len() as u32 + 1).to_le_bytes());
    into.extend_from_slice(&checksum.finalize().to_le_bytes());
    into.push(kind as u8);
    into.extend_from_slice(payload);
}

/// Walks the intact frames of a segment.
pub(crate) struct Frames<'a> {
    medium: &'a dyn Medium,
    at: u64,
    end: u64,
    held: Vec<u8>,
    held_from: u64,
}

impl<'a> Frames<'a> {
    /// Walks from the offset `at` to `end`.
    pub(crate) fn new(medium: &'a dyn Medium, at: u64, end: u64) -> Self {
        Self { medium, at, end, held: Vec::new(), held_from: 0 }
    }

    /// The offset behind the last intact frame.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// The next frame, or nothing where the segment ends or is damaged.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Kind, &[u8])>> {
        let Some(head) = self.window(HEAD)? else { return Ok(None) };
        let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let (length, checksum) = (number(&head[..4]) as usize, number(&head[4..8]));
        if length == 0 || length > FRAME_MAX {
            return Ok(None);
        }
        let start = self.at;
        let Some(frame) = self.window(HEAD + length)? else { return Ok(None) };
        if crc32fast::hash(&frame[HEAD..]) != checksum {
            return Ok(None);
        }
        let kind = match frame[HEAD] {
            1 => Kind::Context,
            2 => Kind::Record,
            3 => Kind::State,
            4 => Kind::Sent,
            5 => Kind::Replaces,
            _ => return Ok(None),
        };
        self.at += (HEAD + length) as u64;
        let from = (start - self.held_from) as usize + HEAD + 1;
        Ok(Some((kind, &self.held[from..from + length - 1])))
    }

    /// The next `length` bytes, if there are as many.
    fn window(&mut self, length: usize) -> io::Result<Option<&[u8]>> {
        let until = self.at + length as u64;
        if until > self.end {
            return Ok(None);
        }
        if self.at < self.held_from || until > self.held_from + self.held.len() as u64 {
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            self.held.resize(CHUNK.max(length).min(left), 0);
            self.medium.read_at(self.at, &mut self.held)?;
            self.held_from = self.at;
        }
        let from = (self.at - self.held_from) as usize;
        Ok(Some(&self.held[from..from + length]))
    }
}

/// The first segment that this one stands for, if it was written in the place of others.
pub(crate) fn replaces(medium: &dyn Medium) -> io::Result<Option<u64>> {
    Ok(match Frames::new(medium, 0, medium.len()?).next()? {
        Some((Kind::Replaces, bytes)) => bytes.try_into().ok().map(u64::from_le_bytes),
        _ => None,
    })
}
