//! What the state file says: which stream the segments are, and where it begins.

use meter::{Id, Position};

/// The version of the state file.
const STATE: u8 = 1;

/// The identity of a spool's stream.
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

impl State {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let seq = self.start.seq.to_le_bytes();
        let parts: [&[u8]; 6] =
            [&[STATE], &self.stream, &self.fingerprint, &self.segment.to_le_bytes(), &seq, &self.start.digest];
        parts.concat()
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
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
