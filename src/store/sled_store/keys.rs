//! The keys of the one tree: a tag, then the partition, then what orders within it. All numbers are
//! big-endian, so that the engine's order is theirs.
//!
//! ```text
//! I                                     identity and layout version
//! C                                     number of the last commit
//! D name 0 chunk(4)                     documents
//! S day(4) chunk(4)                     digests of a day's history
//! R part(1) commit(8) chunk(4)          rows
//! H part(1) hour(4) commit(8) chunk(4)  history
//! ```

use std::ops::Range;

/// Identity and layout version.
pub(crate) const IDENTITY: &[u8] = b"I";
/// Number of the last commit.
pub(crate) const COMMIT: &[u8] = b"C";

/// A family of keys that hold the chunks of one run: everything but the chunk number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunKey(Vec<u8>);

impl RunKey {
    /// The rows that `commit` wrote in `part`.
    pub(crate) fn rows(part: u8, commit: u64) -> Self {
        Self([&[b'R', part][..], &commit.to_be_bytes()].concat())
    }

    /// The postings to `hour` that `commit` wrote in `part`.
    pub(crate) fn history(part: u8, hour: i32, commit: u64) -> Self {
        Self([&[b'H', part][..], &ordered(hour), &commit.to_be_bytes()].concat())
    }

    /// The digests of a day's history.
    pub(crate) fn stamps(day: i32) -> Self {
        Self([&[b'S'][..], &ordered(day)].concat())
    }

    /// A document.
    pub(crate) fn document(name: &str) -> Self {
        Self([b"D", name.as_bytes(), &[0]].concat())
    }

    /// The key of one chunk.
    pub(crate) fn chunk(&self, number: usize) -> Vec<u8> {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        [&self.0[..], &number.to_be_bytes()].concat()
    }

    /// The keys of some chunks.
    pub(crate) fn chunks(&self, numbers: Range<usize>) -> Range<Vec<u8>> {
        self.chunk(numbers.start)..self.chunk(numbers.end)
    }

    /// The run that a chunk's key belongs to, and the chunk's number.
    pub(crate) fn of_chunk(key: &[u8]) -> Option<(Self, usize)> {
        let (run, number) = key.split_last_chunk::<4>()?;
        Some((Self(run.to_vec()), usize::try_from(u32::from_be_bytes(*number)).ok()?))
    }

    /// The commit that wrote this run of rows or history.
    pub(crate) fn commit(&self) -> Option<u64> {
        self.0.split_last_chunk::<8>().map(|(_, commit)| u64::from_be_bytes(*commit))
    }

    /// The hour of a run of history.
    pub(crate) fn hour(&self) -> Option<i32> {
        let hour = self.0.get(2..6)?.first_chunk::<4>()?;
        Some((u32::from_be_bytes(*hour) ^ SIGN).cast_signed())
    }

    /// The day of digests.
    pub(crate) fn day(&self) -> Option<i32> {
        let day = self.0.strip_prefix(b"S")?.first_chunk::<4>()?;
        Some((u32::from_be_bytes(*day) ^ SIGN).cast_signed())
    }

    /// The name of a document.
    pub(crate) fn document_name(&self) -> Option<&str> {
        std::str::from_utf8(self.0.strip_prefix(b"D")?.strip_suffix(&[0])?).ok()
    }
}

/// All rows of a partition.
pub(crate) fn rows_of(part: u8) -> Range<Vec<u8>> {
    vec![b'R', part]..vec![b'R', part + 1]
}

/// All postings of a partition to some hours.
pub(crate) fn history_of(part: u8, hours: &Range<i32>) -> Range<Vec<u8>> {
    let edge = |hour| [&[b'H', part][..], &ordered(hour)].concat();
    edge(hours.start)..edge(hours.end)
}

/// The digests of all days.
pub(crate) fn all_stamps() -> Range<Vec<u8>> {
    vec![b'S']..vec![b'S' + 1]
}

/// All documents.
pub(crate) fn documents() -> Range<Vec<u8>> {
    vec![b'D']..vec![b'D' + 1]
}

/// The documents with names from `from` to before `until`.
pub(crate) fn documents_from(from: &str, until: &str) -> Range<Vec<u8>> {
    // A name is followed by a zero, which none holds: so the keys' order is that of the names.
    let edge = |name: &str| [b"D", name.as_bytes()].concat();
    edge(from)..edge(until)
}

const SIGN: u32 = 1 << 31;

/// Hours before 1970 come before those after.
fn ordered(hour: i32) -> [u8; 4] {
    (hour.cast_unsigned() ^ SIGN).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_their_numbers_do() {
        let keys: Vec<_> = [(0, -5, 9), (0, -1, 1), (0, 0, 300), (0, 1, 2), (0, 1, 256), (1, -9, 1)]
            .map(|(part, hour, commit)| RunKey::history(part, hour, commit).chunk(0))
            .into();
        assert!(keys.is_sorted());
        let range = history_of(0, &(-1..1));
        assert_eq!(
            keys.iter().map(|key| range.contains(key)).collect::<Vec<_>>(),
            [false, true, true, false, false, false]
        );
    }

    #[test]
    fn a_chunk_key_tells_its_run() {
        let run = RunKey::history(63, -7, 1 << 40);
        let (back, number) = RunKey::of_chunk(&run.chunk(70_000)).expect("a chunk");
        assert_eq!((back.hour(), back.commit(), number), (Some(-7), Some(1 << 40), 70_000));
        assert_eq!(RunKey::document("inventory.csv").document_name(), Some("inventory.csv"));
    }

    #[test]
    fn the_keys_are_frozen() {
        assert_eq!(RunKey::rows(5, 258).chunk(3), [b'R', 5, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]);
        assert_eq!(RunKey::history(5, 1, 2).chunk(0), [b'H', 5, 128, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(RunKey::document("a").chunk(1), [b'D', b'a', 0, 0, 0, 0, 1]);
        assert_eq!(RunKey::stamps(-1).chunk(0), [b'S', 127, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(RunKey::stamps(-1).day(), Some(-1));
    }
}
