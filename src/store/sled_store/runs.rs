//! Runs: many owners' entries as one string of bytes, cut into chunks that the engine likes.
//!
//! **Format.** A version byte, then entries without gaps: owner (its canonical text), row version and
//! bytes, in bincode's varint form. A run is immutable.
//!
//! **Why chunks.** sled writes a leaf of up to some 20 values as one message, and a message of more
//! than 128 KiB as a file of its own, whose directory entry it never syncs. Chunks of 5 KiB keep
//! leaves below that, however long a row is; and few large chunks cost sixty times less than many
//! small values.

use meter::Owner;

use crate::port::ROW_MAX;

/// Longest chunk in bytes; see the head of this file.
pub(crate) const CHUNK: usize = 5 << 10;

/// The version byte of today's runs.
const VERSION: u8 = 1;

/// One owner's entry in a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Whose.
    pub owner: Owner,
    /// Its row version.
    pub version: u64,
    /// Where `bytes` begin in the run.
    pub offset: usize,
    /// A row or a posting.
    pub bytes: &'a [u8],
}

/// A run being written.
pub(crate) struct RunWriter {
    bytes: Vec<u8>,
}

impl RunWriter {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![VERSION] }
    }

    /// Appends an entry and returns where its bytes begin.
    pub(crate) fn push(&mut self, owner: &Owner, version: u64, bytes: &[u8]) -> Result<usize, RunError> {
        let entry = (owner.canonical(), version, bytes);
        bincode::encode_into_std_write(entry, &mut self.bytes, bincode::config::standard())
            .map_err(|error| RunError(error.to_string()))?;
        Ok(self.bytes.len() - bytes.len())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Why a run cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RunError(pub String);

/// The entries of a run, in the order they were written.
pub(crate) struct RunReader<'a> {
    run: &'a [u8],
    offset: usize,
}

impl<'a> RunReader<'a> {
    pub(crate) fn new(run: &'a [u8]) -> Result<Self, RunError> {
        match run.first() {
            Some(&VERSION) => Ok(Self { run, offset: 1 }),
            Some(other) => Err(RunError(format!("a run of version {other}, which this program does not know"))),
            None => Err(RunError("an empty run".into())),
        }
    }

    fn read(&mut self) -> Result<Entry<'a>, RunError> {
        // The limit bounds what a damaged length can make the decoder reserve.
        let config = bincode::config::standard().with_limit::<{ ROW_MAX + 4096 }>();
        let ((owner, version, bytes), used): ((&str, u64, &[u8]), usize) =
            bincode::borrow_decode_from_slice(&self.run[self.offset..], config)
                .map_err(|error| RunError(format!("an entry at byte {} of a run: {error}", self.offset)))?;
        let owner = owner.parse().map_err(|error| RunError(format!("an owner's name in a run: {error}")))?;
        self.offset += used;
        Ok(Entry { owner, version, offset: self.offset - bytes.len(), bytes })
    }
}

impl<'a> Iterator for RunReader<'a> {
    type Item = Result<Entry<'a>, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.run.len() {
            return None;
        }
        let entry = self.read();
        if entry.is_err() {
            // Nothing after a bad entry can be trusted.
            self.offset = self.run.len();
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::host(name).expect("a good name")
    }

    #[test]
    fn a_run_reads_back_and_its_offsets_point_at_the_bytes() {
        let mut run = RunWriter::new();
        let places: Vec<usize> = [("a", 7, &b"row of a"[..]), ("b", 1, b""), ("c", u64::MAX, &[9; 70_000])]
            .map(|(name, version, bytes)| run.push(&owner(name), version, bytes).expect("encodes"))
            .into();
        let bytes = run.into_bytes();
        let entries: Vec<_> = RunReader::new(&bytes).expect("a run").map(|e| e.expect("an entry")).collect();
        assert_eq!(entries.iter().map(|e| e.offset).collect::<Vec<_>>(), places);
        assert_eq!(entries[0], Entry { owner: owner("a"), version: 7, offset: places[0], bytes: b"row of a" });
        assert_eq!(&bytes[places[2]..], [9; 70_000]);
        assert_eq!(entries[2].version, u64::MAX);
    }

    #[test]
    fn the_format_is_frozen() {
        let mut run = RunWriter::new();
        run.push(&owner("n1"), 300, b"xyz").expect("encodes");
        // Version; 15 bytes of text; 300 as a two-byte varint (251, little-endian); 3 bytes.
        let mut golden = vec![1, 15];
        golden.extend(b"default/host/n1");
        golden.extend([251, 44, 1, 3, b'x', b'y', b'z']);
        assert_eq!(run.into_bytes(), golden);
    }

    #[test]
    fn a_damaged_run_is_an_error_and_never_a_panic() {
        let mut run = RunWriter::new();
        run.push(&owner("n1"), 300, &[5; 100]).expect("encodes");
        let good = run.into_bytes();
        for cut in 2..good.len() {
            assert!(RunReader::new(&good[..cut]).expect("a run").any(|e| e.is_err()), "cut at {cut}");
        }
        assert!(RunReader::new(&[]).is_err() && RunReader::new(&[2, 0]).is_err());
        // A length of 2^60 must be refused before anything is reserved for it.
        let bomb = [&[1, 253][..], &(1_u64 << 60).to_le_bytes()].concat();
        assert!(RunReader::new(&bomb).expect("a run").any(|e| e.is_err()));
    }
}
