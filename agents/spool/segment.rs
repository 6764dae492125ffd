//! Segments: append-only runs of checksummed frames, on disk or in memory.
//!
//! Format of a frame: length of what follows the checksum (4 bytes, little-endian), its CRC-32
//! (4 bytes), one byte of kind, the payload. A frame that is cut, or whose checksum does not match,
//! ends its segment: nothing behind it can be trusted to be where it should.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

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

/// Where a segment's bytes are.
#[derive(Debug)]
pub(crate) enum Medium {
    /// A file, open for reading and appending.
    File(File),
    /// Memory: survives nothing, but sampling goes on.
    Memory(Vec<u8>),
}

impl Medium {
    /// Appends bytes; what was written of a failed attempt is cut off again.
    pub(crate) fn append(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self {
            Self::Memory(held) => held.extend_from_slice(bytes),
            Self::File(file) => {
                if let Err(error) = file.write_all(bytes) {
                    file.set_len(at)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Memory(held) => Ok(held.len() as u64),
            Self::File(file) => file.metadata().map(|about| about.len()),
        }
    }

    /// Cuts off everything from `len` on.
    pub(crate) fn cut(&mut self, len: u64) -> io::Result<()> {
        match self {
            Self::Memory(held) => held.truncate(usize::try_from(len).unwrap_or(usize::MAX)),
            Self::File(file) => file.set_len(len)?,
        }
        Ok(())
    }

    /// Makes the bytes survive a power loss.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.sync_data(),
        }
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(into, at),
            Self::Memory(held) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                let found = held.get(start..start.saturating_add(into.len()));
                into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// Walks the intact frames of a segment.
pub(crate) struct Frames<'a> {
    medium: &'a Medium,
    at: u64,
    end: u64,
    held: Vec<u8>,
    held_from: u64,
}

impl<'a> Frames<'a> {
    /// Walks from the offset `at` to `end`.
    pub(crate) const fn new(medium: &'a Medium, at: u64, end: u64) -> Self {
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
