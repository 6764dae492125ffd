//! A commit in the making: entries gathered into runs, runs cut into chunks, all in one batch.

use std::collections::BTreeMap;

use meter::Owner;

use super::index::{PartChange, Place};
use super::keys::{self, RunKey};
use super::runs::{CHUNK, RunError, RunWriter};
use super::stamps::Stamps;

/// The version byte before a document's content.
const DOCUMENT_VERSION: u8 = 1;

/// What one commit is going to write.
pub(crate) struct Draft {
    commit: u64,
    /// What the store will hold with it.
    pub totals: Totals,
    /// Digests of the postings in it.
    pub stamps: Stamps,
    rows: BTreeMap<u8, (RunWriter, Vec<(Owner, Place)>)>,
    history: BTreeMap<(u8, i32), RunWriter>,
    writes: Writes,
}

/// How much a store holds. Kept with the commit number, so that rows or postings that went missing
/// are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Rows.
    pub rows: u64,
    /// The sum of their versions, modulo 2^64.
    pub versions: u64,
    /// Postings.
    pub postings: u64,
}

/// Keys and values of one batch.
#[derive(Default)]
pub(crate) struct Writes {
    /// For the engine.
    pub batch: sled::Batch,
    /// How many keys it touches.
    pub ops: usize,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

impl Draft {
    /// An empty commit of this number to a store that holds so much.
    pub(crate) fn new(commit: u64, totals: Totals) -> Self {
        let (rows, history) = (BTreeMap::new(), BTreeMap::new());
        Self { commit, totals, stamps: Stamps::default(), rows, history, writes: Writes::default() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, owner: &Owner, version: u64, bytes: &[u8]) -> Result<(), RunError> {
        let (run, places) = self.rows.entry(owner.part()).or_insert_with(|| (RunWriter::new(), Vec::new()));
        let offset = run.push(owner, version, bytes)?;
        let narrow = |number: usize| u32::try_from(number).map_err(|_| RunError("a run beyond 4 GiB".into()));
        let place = Place { version, commit: self.commit, offset: narrow(offset)?, len: narrow(bytes.len())? };
        places.push((owner.clone(), place));
        Ok(())
    }

    /// Adds a posting.
    pub(crate) fn posting(&mut self, owner: &Owner, hour: i32, version: u64, bytes: &[u8]) -> Result<(), RunError> {
        self.stamps.add(owner, hour, version, bytes);
        let run = self.history.entry((owner.part(), hour)).or_insert_with(RunWriter::new);
        run.push(owner, version, bytes).map(|_| ())
    }

    /// Puts a document in place of one of `before` bytes.
    pub(crate) fn document(&mut self, name: &str, bytes: &[u8], before: Option<usize>) {
        let key = RunKey::document(name);
        if let Some(before) = before {
            self.writes.remove(&key, before + 1);
        }
        self.writes.insert(&key, &[&[DOCUMENT_VERSION], bytes].concat());
    }

    /// Removes a run of rows.
    pub(crate) fn remove_rows(&mut self, part: u8, commit: u64, len: u64) {
        self.writes.remove(&RunKey::rows(part, commit), usize::try_from(len).unwrap_or(usize::MAX));
    }

    /// The batch, and what it changes of the index; `folded` tells the partitions that were rewritten.
    pub(crate) fn finish(mut self, folded: &[u8]) -> (Writes, Vec<PartChange>) {
        let mut changes = Vec::with_capacity(self.rows.len());
        for (part, (run, places)) in self.rows {
            let run = run.into_bytes();
            self.writes.insert(&RunKey::rows(part, self.commit), &run);
            changes.push(PartChange { part, folded: folded.contains(&part), run_len: run.len() as u64, places });
        }
        for ((part, hour), run) in self.history {
            self.writes.insert(&RunKey::history(part, hour, self.commit), &run.into_bytes());
        }
        self.writes.put(keys::COMMIT, &self.totals.encode(self.commit));
        (self.writes, changes)
    }
}

impl Totals {
    /// Number of the last commit, then the totals.
    pub(crate) fn encode(self, commit: u64) -> Vec<u8> {
        [commit, self.rows, self.versions, self.postings].map(u64::to_be_bytes).concat()
    }

    /// Reads what [`Totals::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, Self)> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let &[commit, rows, versions, postings] = numbers else { return None };
        let read = u64::from_be_bytes;
        Some((read(commit), Self { rows: read(rows), versions: read(versions), postings: read(postings) }))
    }
}

impl Writes {
    /// Adds a single value.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.insert(key, value);
        self.ops += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }

    fn insert(&mut self, key: &RunKey, run: &[u8]) {
        for (number, chunk) in run.chunks(CHUNK).enumerate() {
            self.put(&key.chunk(number), chunk);
        }
    }

    fn remove(&mut self, key: &RunKey, len: usize) {
        for number in 0..len.div_ceil(CHUNK) {
            self.batch.remove(key.chunk(number));
            self.ops += 1;
        }
    }
}

/// The content of a stored document.
pub(crate) fn document_content(mut stored: Vec<u8>) -> Result<Vec<u8>, RunError> {
    match stored.first() {
        Some(&DOCUMENT_VERSION) => Ok(stored.split_off(1)),
        first => Err(RunError(format!("a document of version {first:?}, which this program does not know"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_frozen_and_nothing_else_passes_for_them() {
        let totals = Totals { rows: 2, versions: 3, postings: 1 << 40 };
        let bytes = totals.encode(1);
        let golden =
            [[0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 2], [0, 0, 0, 0, 0, 0, 0, 3], [0, 0, 1, 0, 0, 0, 0, 0]];
        assert_eq!(bytes, golden.concat());
        assert_eq!(Totals::decode(&bytes), Some((1, totals)));
        assert_eq!((Totals::decode(&bytes[1..]), Totals::decode(&[&bytes[..], &[0]].concat())), (None, None));
    }
}
