//! What every engine must do, as one suite that runs on each of them.
//!
//! It panics where an engine breaks a rule. Each case gets a store of its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use meter::{Owner, PARTS};

use crate::port::{
    HistoryEntry, HistoryQuery, ImageItem, Outcome, OwnerCommit, ROW_MAX, Row, Store, StoreError, posting_stamp,
};

type Case = (&'static str, fn(&dyn Store) -> Result<(), StoreError>);

const CASES: [Case; 14] = [
    ("an empty store holds nothing", an_empty_store_holds_nothing),
    ("what was committed is read back", what_was_committed_is_read_back),
    ("a stale commit loses, writes nothing and learns the row", a_stale_commit_loses),
    ("winners are written beside losers", winners_are_written_beside_losers),
    ("a commit that breaks the rules writes nothing", a_bad_commit_writes_nothing),
    ("two writers never both win", two_writers_never_both_win),
    ("row and postings change together", row_and_postings_change_together),
    ("history is found by hour and owner", history_is_found_by_hour_and_owner),
    ("a day's digest tells of every posting", a_days_digest_tells_of_every_posting),
    ("documents are kept whole", documents_are_kept_whole),
    ("documents are listed by name", documents_are_listed_by_name),
    ("documents of a commit are written with its rows or not at all", documents_go_with_their_rows),
    ("a random walk agrees with a plain map", a_random_walk_agrees_with_a_plain_map),
    ("an image is of one commit", an_image_is_of_one_commit),
];

/// Runs every case on a new empty store from `make`.
///
/// # Panics
/// If the engine breaks a rule; the message names the case.
pub fn suite(make: impl Fn() -> Box<dyn Store>) {
    for (name, case) in CASES {
        let store = make();
        if let Err(error) = case(&*store) {
            panic!("{name}: {error}");
        }
    }
}

/// The host `n<number>`.
///
/// # Errors
/// Never for a number; it saves callers an `expect`.
pub fn host(number: usize) -> Result<Owner, StoreError> {
    Owner::host(&format!("n{number}")).map_err(|error| StoreError::Failed(error.to_string()))
}

/// A commit from `expect` to the next version, with one posting to `hour` if any.
#[must_use]
pub fn step(owner: &Owner, expect: u64, row: &[u8], hour: Option<i32>) -> OwnerCommit {
    let history = hour.into_iter().map(|hour| (hour, format!("posting {}", expect + 1).into_bytes())).collect();
    OwnerCommit { owner: owner.clone(), expect, next: expect + 1, row: row.into(), history, documents: vec![] }
}

fn one(store: &dyn Store, commit: OwnerCommit) -> Result<Outcome, StoreError> {
    Ok(store.commit(vec![commit])?.remove(0))
}

fn load(store: &dyn Store, owner: &Owner) -> Result<Option<Row>, StoreError> {
    Ok(store.load(std::slice::from_ref(owner))?.remove(0))
}

fn history(store: &dyn Store, owners: Option<Vec<Owner>>, hours: Range<i32>) -> Result<Vec<HistoryEntry>, StoreError> {
    let mut entries = Vec::new();
    store.history(&HistoryQuery { owners, hours }, &mut |entry| entries.push(entry))?;
    Ok(entries)
}

fn scan(store: &dyn Store, parts: Range<u8>) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    store.scan(parts, &mut |row| rows.push(row))?;
    Ok(rows)
}

fn an_empty_store_holds_nothing(store: &dyn Store) -> Result<(), StoreError> {
    assert_eq!(load(store, &host(1)?)?, None);
    assert_eq!(scan(store, 0..PARTS)?, []);
    assert_eq!(history(store, None, i32::MIN..i32::MAX)?, []);
    assert_eq!(store.document("inventory")?, None);
    assert_eq!(store.commit(vec![])?, []);
    assert_eq!(store.commit_number(), 0);
    assert!(!store.durability().words.is_empty());
    Ok(())
}

fn what_was_committed_is_read_back(store: &dyn Store) -> Result<(), StoreError> {
    let (a, b) = (host(1)?, host(2)?);
    // Longer than any chunk an engine may cut values into; and empty.
    let long: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(store.commit(vec![step(&a, 0, &long, Some(7)), step(&b, 0, b"", None)])?, [Outcome::Won, Outcome::Won]);
    let rows = store.load(&[b.clone(), host(3)?, a.clone(), b.clone()])?;
    let (row_a, row_b) = (Row { owner: a, version: 1, bytes: long }, Row { owner: b, version: 1, bytes: Vec::new() });
    assert_eq!(rows, [Some(row_b.clone()), None, Some(row_a), Some(row_b)]);
    assert_eq!(store.commit_number(), 1);
    Ok(())
}

fn a_stale_commit_loses(store: &dyn Store) -> Result<(), StoreError> {
    let owner = host(1)?;
    // Versions may skip: a restore or another engine numbers as it likes.
    let first = OwnerCommit { next: 41, ..step(&owner, 0, b"first", Some(1)) };
    assert_eq!(one(store, first)?, Outcome::Won);
    let standing = Row { owner: owner.clone(), version: 41, bytes: b"first".to_vec() };
    for expect in [0, 40, 42, u64::MAX - 1] {
        let outcome = one(store, step(&owner, expect, b"stale", Some(2)))?;
        assert_eq!(outcome, Outcome::Lost(Some(standing.clone())), "expecting {expect}");
    }
    let unknown = host(2)?;
    assert_eq!(one(store, step(&unknown, 3, b"from nowhere", Some(2)))?, Outcome::Lost(None));
    assert_eq!((load(store, &owner)?, load(store, &unknown)?), (Some(standing), None));
    assert_eq!(history(store, None, 0..9)?.len(), 1, "a loser's postings are not written");
    Ok(())
}

fn winners_are_written_beside_losers(store: &dyn Store) -> Result<(), StoreError> {
    let owners: Vec<Owner> = (0..100).map(host).collect::<Result<_, _>>()?;
    store.commit(owners.iter().step_by(2).map(|owner| step(owner, 0, b"1", None)).collect())?;
    // All claim that there is no row yet: only the odd ones are right.
    let outcomes = store.commit(owners.iter().map(|owner| step(owner, 0, b"2", Some(5))).collect())?;
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Won => assert_eq!(number % 2, 1),
            Outcome::Lost(row) => {
                assert_eq!(row.as_ref().map(|row| (&row.owner, &row.bytes[..])), Some((&owners[number], &b"1"[..])));
                assert_eq!(number % 2, 0);
            }
        }
    }
    let rows = store.load(&owners)?;
    for (number, row) in rows.into_iter().enumerate() {
        assert_eq!(row.map(|row| row.bytes), Some(if number % 2 == 1 { b"2".to_vec() } else { b"1".to_vec() }));
    }
    assert_eq!(history(store, None, 5..6)?.len(), 50);
    Ok(())
}

fn a_bad_commit_writes_nothing(store: &dyn Store) -> Result<(), StoreError> {
    let (a, b) = (host(1)?, host(2)?);
    let refused = |commits: Vec<OwnerCommit>| {
        assert!(matches!(store.commit(commits), Err(StoreError::BadCommit { .. })));
    };
    refused(vec![step(&b, 0, b"b", None), step(&a, 0, b"1", None), step(&a, 0, b"2", None)]);
    refused(vec![step(&b, 0, b"b", None), OwnerCommit { next: 5, ..step(&a, 5, b"1", None) }]);
    refused(vec![step(&b, 0, b"b", None), step(&a, 0, &vec![0; ROW_MAX + 1], None)]);
    assert_eq!((scan(store, 0..PARTS)?, store.commit_number()), (vec![], 0));
    assert!(matches!(store.put_document("", b"x"), Err(StoreError::BadDocument { .. })));
    assert!(matches!(store.put_document("a\0b", b"x"), Err(StoreError::BadDocument { .. })));
    Ok(())
}

fn two_writers_never_both_win(store: &dyn Store) -> Result<(), StoreError> {
    const ROUNDS: u64 = 150;
    let owners: Vec<Owner> = (0..5).map(host).collect::<Result<_, _>>()?;
    // Each adds one to each counter `ROUNDS` times, taking the other's figure wherever it lost.
    let count = || -> Result<(), StoreError> {
        let mut known: BTreeMap<&Owner, (u64, u64)> = owners.iter().map(|owner| (owner, (0, 0))).collect();
        let mut left: BTreeMap<&Owner, u64> = owners.iter().map(|owner| (owner, ROUNDS)).collect();
        while left.values().any(|&left| left > 0) {
            let due: Vec<&Owner> = left.iter().filter(|(_, left)| **left > 0).map(|(owner, _)| *owner).collect();
            let add = |owner: &&Owner| step(owner, known[owner].0, &(known[owner].1 + 1).to_le_bytes(), Some(0));
            let outcomes = store.commit(due.iter().map(add).collect())?;
            for (owner, outcome) in due.into_iter().zip(outcomes) {
                let (version, value) = known[owner];
                let now = match outcome {
                    Outcome::Won => {
                        left.entry(owner).and_modify(|left| *left -= 1);
                        (version + 1, value + 1)
                    }
                    Outcome::Lost(row) => row.map_or((0, 0), |row| (row.version, number(&row.bytes))),
                };
                known.insert(owner, now);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let writers = [scope.spawn(count), scope.spawn(count)];
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().unwrap_or_else(|_| Err(StoreError::Failed("panic".into()))))
    })?;
    for owner in &owners {
        let row = load(store, owner)?;
        assert_eq!(row.map(|row| (row.version, number(&row.bytes))), Some((2 * ROUNDS, 2 * ROUNDS)));
    }
    assert_eq!(history(store, None, 0..1)?.len() as u64, 2 * ROUNDS * owners.len() as u64);
    Ok(())
}

fn row_and_postings_change_together(store: &dyn Store) -> Result<(), StoreError> {
    let owner = host(1)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<(), StoreError> {
        let writer = scope.spawn(|| {
            let written = (0..200).try_for_each(|version| {
                assert_eq!(one(store, step(&owner, version, &[7; 3_000], Some(version as i32)))?, Outcome::Won);
                Ok(())
            });
            done.store(true, Ordering::SeqCst);
            written
        });
        let mut last = 0;
        while !done.load(Ordering::SeqCst) {
            let version = load(store, &owner)?.map_or(0, |row| row.version);
            assert!(version >= last, "a row stepped back from {last} to {version}");
            last = version;
            let postings = history(store, None, 0..1_000)?;
            let known = postings.iter().filter(|entry| entry.version <= version).count();
            assert_eq!(known as u64, version, "postings that a row of this version has");
            assert!(scan(store, 0..PARTS)?.iter().all(|row| row.version >= version && row.bytes == [7; 3_000]));
        }
        writer.join().unwrap_or_else(|_| Err(StoreError::Failed("the writer panicked".into())))
    })
}

fn history_is_found_by_hour_and_owner(store: &dyn Store) -> Result<(), StoreError> {
    let owners: Vec<Owner> = (0..200).map(host).collect::<Result<_, _>>()?;
    let hours = [-3, -1, 0, 1, 490_000];
    let all = |version: u64| {
        let history = hours.iter().map(|hour| (*hour, format!("{version}@{hour}").into_bytes())).collect::<Vec<_>>();
        let commit = |owner: &Owner| OwnerCommit { history: history.clone(), ..step(owner, version, b"row", None) };
        owners.iter().map(commit).collect::<Vec<_>>()
    };
    store.commit(all(0))?;
    store.commit(all(1))?;
    assert_eq!(history(store, None, -1..2)?.len(), 200 * 3 * 2);
    assert_eq!(history(store, None, 2..2)?, []);
    #[expect(clippy::reversed_empty_ranges, reason = "what a caller with a wrong window may pass")]
    let reversed = 5..2;
    assert_eq!(history(store, None, reversed)?, []);
    let few = vec![owners[3].clone(), owners[150].clone(), host(999)?];
    let found = history(store, Some(few.clone()), -3..490_001)?;
    assert_eq!(found.len(), 2 * hours.len() * 2);
    for owner in &few[..2] {
        let mine: Vec<_> = found.iter().filter(|entry| entry.owner == *owner).collect();
        let expected: Vec<_> = hours.iter().flat_map(|hour| [(*hour, 1), (*hour, 2)]).collect();
        assert_eq!(mine.iter().map(|entry| (entry.hour, entry.version)).collect::<Vec<_>>(), expected);
        assert!(mine.iter().all(|e| e.bytes == format!("{}@{}", e.version - 1, e.hour).into_bytes()));
    }
    let parts: Vec<u8> = history(store, None, 0..1)?.iter().map(|entry| entry.owner.part()).collect();
    assert!(parts.is_sorted());
    Ok(())
}

fn a_days_digest_tells_of_every_posting(store: &dyn Store) -> Result<(), StoreError> {
    let owner = host(1)?;
    let stamps = || store.stamps(owner.part(), -1..3);
    assert_eq!(stamps()?, [0; 4]);
    let mut seen = vec![stamps()?];
    for (version, hour) in [-1, 24, 47, 24].into_iter().enumerate() {
        one(store, step(&owner, version as u64, b"row", Some(hour)))?;
        let (now, before) = (stamps()?, seen[version].clone());
        let changed: Vec<usize> = (0..4).filter(|day| now[*day] != before[*day]).collect();
        assert_eq!(changed, [if hour < 0 { 0 } else { 2 }], "only the day of hour {hour}");
        seen.push(now);
    }
    let entries = history(store, None, 24..48)?;
    let sum = entries.iter().map(|e| posting_stamp(&e.owner, e.hour, e.version, &e.bytes)).fold(0, u128::wrapping_add);
    assert_eq!((entries.len(), stamps()?[2]), (3, sum));
    assert_eq!(store.stamps((owner.part() + 1) % PARTS, -1..3)?, [0; 4], "another partition");
    Ok(())
}

fn documents_are_kept_whole(store: &dyn Store) -> Result<(), StoreError> {
    for bytes in [&[1; 300_000][..], &[2; 10], &[3; 20_000], &[]] {
        store.put_document("inventory", bytes)?;
        store.put_document("inventory.csv", b"another one")?;
        assert_eq!(store.document("inventory")?.as_deref(), Some(bytes));
    }
    assert_eq!(store.document("inventory.csv")?.as_deref(), Some(&b"another one"[..]));
    assert_eq!(store.document("invent")?, None);
    Ok(())
}

fn documents(store: &dyn Store, from: &str, until: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let mut found = Vec::new();
    store.documents(from, until, &mut |name, bytes| found.push((name, bytes)))?;
    Ok(found)
}

fn documents_are_listed_by_name(store: &dyn Store) -> Result<(), StoreError> {
    // More than any page or batch; some longer than a chunk.
    let hold =
        |n: usize| (format!("hold/{n:05}"), vec![(n % 251) as u8; if n.is_multiple_of(500) { 12_000 } else { n % 7 }]);
    let all: Vec<_> = (0..2_500).map(hold).collect();
    store.put_documents(all.iter().rev().cloned().collect())?;
    store.put_documents(["hold", "hold0", "hole", "a/b", "a.b", "a"].map(|name| (name.into(), vec![9])).to_vec())?;
    assert!(documents(store, "hold/", "hold0")? == all, "in the names' order, and nothing else");
    assert!(documents(store, "hold/00499", "hold/01001")? == all[499..1001]);
    let names: Vec<_> = documents(store, "", "hold")?.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "a.b", "a/b"]);
    assert_eq!(documents(store, "hold/", "hold/")?, []);
    assert_eq!(documents(store, "z", "a")?, []);
    // Of a name that comes twice the last one counts, also where it is the shorter one.
    store.put_documents(vec![("hold/00500".into(), vec![1; 20_000]), ("hold/00500".into(), vec![2])])?;
    assert_eq!(documents(store, "hold/00500", "hold/00501")?, [("hold/00500".to_owned(), vec![2])]);
    let bad = store.put_documents(vec![("good".into(), vec![]), (String::new(), vec![])]);
    assert!(matches!(bad, Err(StoreError::BadDocument { .. })) && store.document("good")?.is_none());
    Ok(())
}

fn documents_go_with_their_rows(store: &dyn Store) -> Result<(), StoreError> {
    let (a, b) = (host(1)?, host(2)?);
    let with = |commit: OwnerCommit, names: &[&str]| OwnerCommit {
        documents: names.iter().map(|name| ((*name).into(), commit.row.clone())).collect(),
        ..commit
    };
    let commits = vec![with(step(&a, 0, b"1", Some(1)), &["hold/a"]), with(step(&b, 7, b"stale", None), &["hold/b"])];
    assert_eq!(store.commit(commits)?, [Outcome::Won, Outcome::Lost(None)]);
    assert_eq!(documents(store, "", "z")?, [("hold/a".to_owned(), b"1".to_vec())], "a loser's are not written");
    assert_eq!(one(store, with(step(&a, 1, b"22", None), &["hold/a", "hold/c"]))?, Outcome::Won);
    assert_eq!(store.document("hold/a")?.as_deref(), Some(&b"22"[..]));
    let refused = store.commit(vec![with(step(&a, 2, b"3", None), &[""])]);
    assert!(matches!(refused, Err(StoreError::BadDocument { .. })));
    assert_eq!(load(store, &a)?.map(|row| row.version), Some(2));
    let mut images = 0;
    store.image(&mut |item| {
        images += usize::from(matches!(item, ImageItem::Document { .. }));
        Ok(())
    })?;
    assert_eq!(images, 2);
    Ok(())
}

fn a_random_walk_agrees_with_a_plain_map(store: &dyn Store) -> Result<(), StoreError> {
    let owners: Vec<Owner> = (0..300).map(host).collect::<Result<_, _>>()?;
    let mut random = 88_172_645_463_325_252_u64;
    let mut draw = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut rows: BTreeMap<&Owner, (u64, Vec<u8>)> = BTreeMap::new();
    let mut postings = 0;
    for _ in 0..120 {
        let mut commits = Vec::new();
        let mut expected = Vec::new();
        for owner in &owners {
            if draw(3) > 0 {
                continue;
            }
            let version = rows.get(owner).map_or(0, |row| row.0);
            let expect = if draw(10) == 0 { version + 1 } else { version };
            let bytes = vec![draw(256) as u8; draw(3_000) as usize];
            let hour = Some(draw(20) as i32).filter(|hour| *hour < 5);
            commits.push(step(owner, expect, &bytes, hour));
            expected.push(expect == version);
            if expect == version {
                rows.insert(owner, (version + 1, bytes));
                postings += usize::from(hour.is_some());
            }
        }
        let outcomes = store.commit(commits)?;
        assert_eq!(outcomes.iter().map(|o| *o == Outcome::Won).collect::<Vec<_>>(), expected);
    }
    let found = store.load(&owners)?;
    for (owner, row) in owners.iter().zip(&found) {
        assert_eq!(row.as_ref().map(|row| (row.version, &row.bytes)), rows.get(owner).map(|row| (row.0, &row.1)));
    }
    let mut scanned: Vec<Row> = Vec::new();
    for part in 0..PARTS {
        let rows = scan(store, part..part + 1)?;
        assert!(rows.iter().all(|row| row.owner.part() == part));
        scanned.extend(rows);
    }
    scanned.sort_by(|a, b| a.owner.cmp(&b.owner));
    let mut found: Vec<Row> = found.into_iter().flatten().collect();
    found.sort_by(|a, b| a.owner.cmp(&b.owner));
    assert!(scanned == found, "a scan shows every row once");
    assert_eq!(history(store, None, 0..5)?.len(), postings);
    Ok(())
}

fn an_image_is_of_one_commit(store: &dyn Store) -> Result<(), StoreError> {
    let owners: Vec<Owner> = (0..64).map(host).collect::<Result<_, _>>()?;
    store.put_document("rates", &[9; 9_000])?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<(), StoreError> {
        let writer = scope.spawn(|| {
            let written = (0..100).try_for_each(|version| {
                // Every row of a commit has the same version: a mixture shows.
                store
                    .commit(owners.iter().map(|owner| step(owner, version, &[1; 2_000], Some(0))).collect())
                    .map(|_| ())
            });
            done.store(true, Ordering::SeqCst);
            written
        });
        while !done.load(Ordering::SeqCst) {
            let (mut versions, mut postings, mut documents) = (Vec::new(), 0, 0);
            let number = store.image(&mut |item| {
                match item {
                    ImageItem::Row(row) => versions.push(row.version),
                    ImageItem::History(_) => postings += 1,
                    ImageItem::Document { name, bytes } => {
                        assert_eq!((&name[..], bytes.len()), ("rates", 9_000));
                        documents += 1;
                    }
                }
                Ok(())
            })?;
            let version = versions.first().copied().unwrap_or(0);
            assert!(versions.iter().all(|other| *other == version), "rows of different commits: {versions:?}");
            // The document was commit 1, so version v is commit v + 1; each posted one entry per row.
            assert_eq!((number, postings, documents), (version + 1, version * versions.len() as u64, 1));
        }
        writer.join().unwrap_or_else(|_| Err(StoreError::Failed("the writer panicked".into())))
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
