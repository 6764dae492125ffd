use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use meter::{AccountKey, Clock, DeviceDecl, Milliwatts, Sample, Scope};
use tempfile::TempDir;

use super::*;

const MACHINE: Id = [7; 16];
const ROOM: Room = Room { bytes: 1 << 20, samples: 1 << 18, until: u64::MAX };

fn context(epoch: u64) -> Arc<Context> {
    let key = AccountKey::new(Scope::Gpu, "GPU-1").expect("a good name");
    let device = DeviceDecl { key, period_ns: 1, limit: Milliwatts(0), modulus: None, epoch };
    Arc::new(Context { clock: Clock::Boot([1; 16]), wall_offset_ns: 0, devices: vec![device] })
}

fn record(context: &Context, at: u64) -> Record {
    let sample = Sample { power: Some(Milliwatts(at)), ..Sample::default() };
    Record { context: wire::context_id(context), at, samples: vec![sample], ..Record::default() }
}

/// Appends the records `range` and returns where the stream stands, by the wire's own reckoning.
fn fill(spool: &mut Spool, range: std::ops::RangeInclusive<u64>) -> Position {
    let context = context(1);
    let records: Vec<Record> = range.map(|at| record(&context, at)).collect();
    let expected = wire::advance(spool.head(), &records);
    records.iter().for_each(|record| spool.append(&context, record));
    assert_eq!(spool.head(), expected);
    expected
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state/spool");
    (folder, path)
}

fn open(path: &Path) -> Spool {
    Spool::open(path, MACHINE, 1 << 20).expect("opens")
}

/// The instants of everything behind a position.
fn behind(spool: &mut Spool, position: Position) -> Vec<u64> {
    let mut instants = Vec::new();
    let mut at = position;
    loop {
        let batch = spool.read(at, Room { bytes: 500, ..ROOM }).expect("reads");
        if batch.records.is_empty() {
            return instants;
        }
        assert_eq!(batch.end, wire::advance(at, &batch.records));
        assert!(batch.records.iter().all(|record| batch.contexts.contains_key(&record.context)));
        instants.extend(batch.records.iter().map(|record| record.at));
        at = batch.end;
    }
}

fn only_segment(path: &Path) -> PathBuf {
    path.join("0000000000000000.segment")
}

#[test]
fn a_restart_resumes_the_same_stream() {
    let (_folder, path) = folder();
    let mut spool = open(&path);
    let (stream, head) = (spool.stream(), fill(&mut spool, 1..=300));
    drop(spool);
    let mut spool = open(&path);
    assert_eq!((spool.stream(), spool.head()), (stream, head));
    fill(&mut spool, 301..=310);
    assert_eq!(behind(&mut spool, Position::default()), (1..=310).collect::<Vec<_>>());
    assert_eq!(behind(&mut spool, head), (301..=310).collect::<Vec<_>>());
}

#[test]
fn any_position_held_is_known_with_its_digest() {
    let mut spool = Spool::in_memory(1 << 20).expect("opens");
    let context = context(1);
    let records: Vec<Record> = (1..=500).map(|at| record(&context, at)).collect();
    records.iter().for_each(|record| spool.append(&context, record));
    for seq in [0, 1, 77, 499, 500] {
        let expected = wire::advance(Position::default(), &records[..seq]);
        assert_eq!(spool.digest_at(seq as u64), Some(expected.digest), "{seq}");
    }
    assert_eq!(spool.digest_at(501), None);
}

#[test]
fn a_spool_cut_at_any_byte_keeps_every_whole_record() {
    let (_folder, path) = folder();
    let mut spool = open(&path);
    fill(&mut spool, 1..=6);
    let stream = spool.stream();
    drop(spool);
    let whole = fs::read(only_segment(&path)).expect("a segment");
    let mut counts = BTreeSet::new();
    for length in 0..=whole.len() {
        fs::write(only_segment(&path), &whole[..length]).expect("writes");
        let mut spool = open(&path);
        let kept = spool.head().seq;
        assert_eq!(behind(&mut spool, Position::default()), (1..=kept).collect::<Vec<_>>(), "cut at {length}");
        // What follows a cut is found again after the next start.
        fill(&mut spool, 100..=101);
        drop(spool);
        let mut spool = open(&path);
        let expected: Vec<u64> = (1..=kept).chain(100..=101).collect();
        assert_eq!((spool.stream(), behind(&mut spool, Position::default())), (stream, expected));
        counts.insert(kept);
    }
    assert_eq!(counts, (0..=6).collect());
}

#[test]
fn a_flipped_bit_cuts_there_and_no_wrong_record_is_read() {
    let (_folder, path) = folder();
    let mut spool = open(&path);
    let context = context(1);
    fill(&mut spool, 1..=6);
    drop(spool);
    let whole = fs::read(only_segment(&path)).expect("a segment");
    let originals: Vec<Record> = (1..=6).map(|at| record(&context, at)).collect();
    // Every byte, and over eight neighbours every bit.
    for bit in (0..whole.len() * 8).step_by(7) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(only_segment(&path), &flipped).expect("writes");
        let mut spool = open(&path);
        let kept = spool.read(Position::default(), ROOM).expect("reads").records;
        assert!(kept.len() < 6 && kept == originals[..kept.len()], "bit {bit}");
    }
}

#[test]
fn damage_that_appears_while_running_is_cut_out_and_reported() {
    let (_folder, path) = folder();
    let mut spool = open(&path);
    fill(&mut spool, 1..=20);
    let bytes = fs::read(only_segment(&path)).expect("a segment");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(only_segment(&path), &flipped).expect("writes");
    assert_eq!(spool.read(Position::default(), ROOM).expect_err("damaged"), Unreadable);
    let kept = spool.head().seq;
    assert!((1..20).contains(&kept));
    assert_eq!(behind(&mut spool, Position::default()), (1..=kept).collect::<Vec<_>>());
    fill(&mut spool, 21..=22);
    assert_eq!(spool.head().seq, kept + 2);
}

#[test]
fn a_lost_state_file_makes_a_new_stream_of_the_same_records() {
    let (_folder, path) = folder();
    let mut spool = open(&path);
    let (stream, head) = (spool.stream(), fill(&mut spool, 1..=9));
    drop(spool);
    fs::remove_file(path.join("state")).expect("a file");
    let spool = open(&path);
    assert!(spool.stream() != stream && spool.head() == head);
}

#[test]
fn a_full_spool_lets_the_oldest_go_within_its_bound() {
    let (_folder, path) = folder();
    let max_bytes = 64 << 10;
    let mut spool = Spool::open(&path, MACHINE, max_bytes).expect("opens");
    for round in 0..40 {
        fill(&mut spool, round * 100 + 1..=round * 100 + 100);
        // Everything but the last 100 records is on the ledger's disk.
        spool.acknowledge(round * 100);
        let on_disk: u64 = fs::read_dir(&path)
            .expect("a folder")
            .map(|e| e.expect("an entry").metadata().expect("a file").len())
            .sum();
        assert!(on_disk <= max_bytes + 512, "{on_disk}");
    }
    assert_eq!(spool.dropped(), 0, "only acknowledged records went");
    let start = spool.start();
    assert!(start.seq > 0 && start.seq < 3900, "{start:?}");
    assert_eq!(behind(&mut spool, start), (start.seq + 1..=4000).collect::<Vec<_>>());
    assert_eq!(spool.read(Position::default(), ROOM).expect_err("dropped"), Unreadable);
    let head = spool.head();
    drop(spool);
    let spool = Spool::open(&path, MACHINE, max_bytes).expect("opens");
    assert_eq!((spool.start(), spool.head()), (start, head), "numbers and digests survive the dropping");
}

#[test]
fn a_new_identity_numbers_the_retained_records_from_one() {
    let (_folder, path) = folder();
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    for hundred in 0..40 {
        fill(&mut spool, hundred * 100 + 1..=hundred * 100 + 100);
        spool.acknowledge(hundred * 100);
    }
    let (stream, first) = (spool.stream(), spool.start().seq + 1);
    spool.mint().expect("mints");
    assert!(spool.stream() != stream);
    assert_eq!(behind(&mut spool, Position::default()), (first..=4000).collect::<Vec<_>>());
    let (stream, head) = (spool.stream(), spool.head());
    assert_eq!(head.seq, 4000 - first + 1);
    drop(spool);
    let spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    assert_eq!((spool.stream(), spool.head()), (stream, head));
}

#[test]
fn contexts_come_with_the_records_that_need_them() {
    let (_folder, path) = folder();
    let mut spool = open(&path);
    for epoch in 0..200 {
        let context = context(epoch % 100);
        spool.append(&context, &record(&context, epoch + 1));
    }
    drop(spool);
    let mut spool = open(&path);
    let batch = spool.read(Position::default(), ROOM).expect("reads");
    assert_eq!((batch.records.len(), batch.contexts.len()), (wire::CONTEXTS_MAX, wire::CONTEXTS_MAX));
    assert_eq!(*batch.contexts[&batch.records[63].context], *context(63));
    assert_eq!(behind(&mut spool, Position::default()).len(), 200);
}

#[test]
fn a_context_that_comes_when_room_is_made_is_not_forgotten_with_the_old_ones() {
    let mut spool = Spool::in_memory(64 << 10).expect("opens");
    for epoch in 0..4000 {
        // Each record has a context of its own, and only the last ones are held.
        let context = context(epoch);
        spool.append(&context, &record(&context, epoch + 1));
        spool.acknowledge(epoch + 1);
    }
    let start = spool.start();
    assert!(start.seq > 0, "nothing went: the test shows nothing");
    assert_eq!(behind(&mut spool, start), (start.seq + 1..=4000).collect::<Vec<_>>());
}

#[test]
fn a_second_agent_is_refused() {
    let (_folder, path) = folder();
    let first = open(&path);
    let error = Spool::open(&path, MACHINE, 1 << 20).expect_err("locked");
    assert!(
        matches!(error, SpoolError::Locked(_)) && error.to_string().contains("another wattledger-agent"),
        "{error}"
    );
    drop(first);
    let _ = open(&path);
}

#[test]
fn nothing_is_followed_and_nobody_else_may_look() {
    let (folder, path) = folder();
    drop(open(&path));
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o700, 0o700));
    for entry in fs::read_dir(&path).expect("a folder") {
        assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
    }
    let (elsewhere, link) = (folder.path().join("elsewhere"), folder.path().join("link"));
    fs::create_dir(&elsewhere).expect("a folder");
    symlink(&elsewhere, &link).expect("a link");
    assert!(matches!(Spool::open(&link, MACHINE, 1 << 20), Err(SpoolError::Link(_))));
    symlink(elsewhere.join("x"), path.join("0000000000000000.segment")).expect("a link");
    assert!(matches!(Spool::open(&path, MACHINE, 1 << 20), Err(SpoolError::Link(_))));
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o777)).expect("permissions");
    assert!(matches!(Spool::open(&elsewhere, MACHINE, 1 << 20), Err(SpoolError::Open(_, 0o777))));
}

#[test]
fn a_cloned_disk_is_a_new_stream_and_loses_nothing() {
    let (_folder, path) = folder();
    let mut spool = open(&path);
    let head = fill(&mut spool, 1..=5);
    let stream = spool.stream();
    drop(spool);
    let spool = Spool::open(&path, [8; 16], 1 << 20).expect("opens");
    assert!(spool.stream() != stream && spool.head() == head);
}

#[test]
fn a_folder_that_vanishes_moves_the_spool_to_memory() {
    let (_folder, path) = folder();
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    fill(&mut spool, 1..=50);
    fs::remove_dir_all(&path).expect("removes");
    fill(&mut spool, 51..=400);
    assert!(spool.degraded());
    let start = spool.start();
    assert_eq!(behind(&mut spool, start), (start.seq + 1..=400).collect::<Vec<_>>());
}
