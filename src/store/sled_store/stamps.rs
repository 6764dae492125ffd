//! What the history holds, as a digest per UTC day and partition: kept with every commit, so that whoever derived
//! something from a day can tell at once whether the day is still the same.
//!
//! A digest is the sum of its postings' own digests, so that it does not depend on their order or on how they lie
//! in runs: a database that was made anew or restored has the same ones.

use std::collections::BTreeMap;
use std::ops::Range;

use meter::{Owner, PARTS};

use super::draft::Writes;
use super::engine::Engine;
use super::keys::{self, RunKey};
use super::reading;
use crate::port::{StoreError, posting_stamp};

/// The version byte before a day's digests.
const VERSION: u8 = 1;
/// Bytes of one partition's digest: the sum, and how many postings are in it.
const STAMP: usize = 24;
/// Hours of a day.
const DAY: i32 = 24;

/// The digests of all days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(BTreeMap<i32, Box<Day>>);

type Day = [Stamp; PARTS as usize];

/// The digest of one partition's day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    sum: u128,
    postings: u64,
}

impl Stamps {
    /// Adds a posting.
    pub(crate) fn add(&mut self, owner: &Owner, hour: i32, version: u64, bytes: &[u8]) {
        let day = self.0.entry(hour.div_euclid(DAY)).or_insert_with(empty);
        let stamp = &mut day[usize::from(owner.part())];
        stamp.add(Stamp { sum: posting_stamp(owner, hour, version, bytes), postings: 1 });
    }

    /// Of the days that `more` adds to: what they come to with it.
    pub(crate) fn with(&self, more: &Self) -> Self {
        let mut sums = BTreeMap::new();
        for (day, more) in &more.0 {
            let mut sum = self.0.get(day).cloned().unwrap_or_else(empty);
            sum.iter_mut().zip(more.iter()).for_each(|(mine, more)| mine.add(*more));
            sums.insert(*day, sum);
        }
        Self(sums)
    }

    /// Takes over days in place of those before.
    pub(crate) fn replace(&mut self, days: Self) {
        self.0.extend(days.0);
    }

    /// Puts all of it into a batch.
    pub(crate) fn write(&self, writes: &mut Writes) {
        for (&day, stamps) in &self.0 {
            let mut bytes = Vec::with_capacity(1 + STAMP * stamps.len());
            bytes.push(VERSION);
            for stamp in stamps.iter() {
                bytes.extend(stamp.sum.to_be_bytes());
                bytes.extend(stamp.postings.to_be_bytes());
            }
            writes.put(&RunKey::stamps(day).chunk(0), &bytes);
        }
    }

    /// The digest of each of these days of a partition.
    pub(crate) fn of(&self, part: u8, days: Range<i32>) -> Vec<u128> {
        let of = |day: i32| Some(self.0.get(&day)?.get(usize::from(part))?.sum);
        days.map(|day| of(day).unwrap_or_default()).collect()
    }

    fn postings(&self) -> u64 {
        self.0.values().flat_map(|day| day.iter()).map(|stamp| stamp.postings).sum()
    }
}

impl Stamp {
    fn add(&mut self, other: Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.postings += other.postings;
    }
}

fn empty() -> Box<Day> {
    Box::new([Stamp::default(); PARTS as usize])
}

/// Reads the digests of a database that holds so many postings up to a commit. One that was written by a program
/// without digests is read through once.
pub(crate) fn read(engine: &Engine, commit: u64, postings: u64) -> Result<Stamps, StoreError> {
    let mut stamps = Stamps::default();
    engine.each_run(
        keys::all_stamps(),
        |_| true,
        |key, bytes| {
            let day = key.day().ok_or_else(|| engine.damaged("a key of no known form"))?;
            let read = decode(&bytes).ok_or_else(|| engine.damaged("a day's digests are not what was written"))?;
            stamps.0.insert(day, read);
            Ok(())
        },
    )?;
    if stamps.postings() == postings { Ok(stamps) } else { rebuild(engine, commit) }
}

fn decode(bytes: &[u8]) -> Option<Box<Day>> {
    let (&VERSION, rest) = bytes.split_first()? else { return None };
    let (stamps, []) = rest.as_chunks::<STAMP>() else { return None };
    let mut day = empty();
    for (stamp, bytes) in day.iter_mut().zip(stamps) {
        let (sum, postings) = bytes.split_first_chunk::<16>()?;
        let postings = u64::from_be_bytes(postings.try_into().ok()?);
        *stamp = Stamp { sum: u128::from_be_bytes(*sum), postings };
    }
    (stamps.len() == day.len()).then_some(day)
}

fn rebuild(engine: &Engine, commit: u64) -> Result<Stamps, StoreError> {
    tracing::info!("reading the history once, for digests of its days");
    let mut stamps = Stamps::default();
    for part in 0..PARTS {
        reading::read_history(engine, part, &(i32::MIN..i32::MAX), commit, &mut |entry| {
            stamps.add(&entry.owner, entry.hour, entry.version, &entry.bytes);
            Ok(())
        })?;
    }
    let mut writes = Writes::default();
    stamps.write(&mut writes);
    // On a full disk they stay in memory, until the next start.
    if engine.check(&writes).is_ok() {
        engine.apply(writes)?;
    }
    Ok(stamps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_do_not_depend_on_order_and_read_back() {
        let owner = Owner::host("n1").expect("a good name");
        let postings = [(25, 7, &b"x"[..]), (30, 8, b"y"), (-1, 9, b"z")];
        let (mut one, mut other, mut twice) = (Stamps::default(), Stamps::default(), Stamps::default());
        postings.iter().for_each(|(hour, version, bytes)| one.add(&owner, *hour, *version, bytes));
        postings.iter().rev().for_each(|(hour, version, bytes)| other.add(&owner, *hour, *version, bytes));
        assert_eq!(one, other);
        for (hour, version, bytes) in postings {
            let mut more = Stamps::default();
            more.add(&owner, hour, version, bytes);
            twice.replace(twice.with(&more));
        }
        assert_eq!((twice.postings(), &twice), (3, &one));
        let mut changed = one.clone();
        changed.add(&owner, 26, 10, b"late");
        let of = |stamps: &Stamps| stamps.of(owner.part(), -1..2);
        assert_eq!(of(&changed)[..2], of(&one)[..2]);
        assert_ne!(of(&changed)[2], of(&one)[2]);
        assert_eq!(of(&one)[1], 0, "an empty day");
    }

    #[test]
    fn a_database_without_digests_is_read_through_once() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("ledger");
        let engine = Engine::open(&directory).expect("opens");
        let owner = Owner::host("n1").expect("a good name");
        let mut draft = super::super::draft::Draft::new(3, Default::default());
        draft.posting(&owner, 25, 7, b"x").expect("adds");
        draft.posting(&owner, 49, 7, b"y").expect("adds");
        let expected = draft.stamps.clone();
        engine.apply(draft.finish(&[]).0).expect("writes");
        assert_eq!(read(&engine, 3, 2).expect("reads"), expected, "nothing was kept before");
        let kept = engine.get(&RunKey::stamps(1).chunk(0)).expect("reads");
        assert!(kept.is_some_and(|bytes| bytes.len() == 1 + STAMP * usize::from(PARTS)));
        assert_eq!(read(&engine, 3, 2).expect("reads"), expected);
    }
}
