//! A spool that is too small: energy before curve, curve before nothing.

use std::fs;
use std::path::Path;

use energy::{Append, AppendOutcome, Hello, Ledger, OwnerState, Policy};
use meter::{AccountKey, Clock, DeviceDecl, Microjoules, Milliwatts, Owner, Sample, Scope, Utc};

use super::*;

pub(super) const MACHINE: Id = [7; 16];
pub(super) const S: u64 = 1_000_000_000;
pub(super) const T0: u64 = 1_793_491_200 * S;

/// A meter of power, a counter, and a sensor that never has a value: each read every second.
pub(super) fn context() -> Arc<Context> {
    let device = |name, epoch| DeviceDecl {
        key: AccountKey::new(Scope::Gpu, name).expect("a good name"),
        period_ns: S,
        limit: Milliwatts(0),
        modulus: None,
        epoch,
    };
    let devices = vec![device("power", 0), device("counter", 9), device("broken", 0)];
    Arc::new(Context { clock: Clock::Utc, wall_offset_ns: 0, devices })
}

pub(super) fn watts(second: u64) -> u64 {
    100 + second * second / 7 % 613
}

pub(super) fn record(second: u64) -> Record {
    let samples = vec![
        Sample { power: Some(Milliwatts(watts(second) * 1000)), ..Sample::default() },
        Sample { device: 1, counter: Some(Microjoules(second * 250_000_000)), ..Sample::default() },
        Sample { device: 2, refused: Some(meter::Refusal::Sentinel), ..Sample::default() },
    ];
    Record { context: wire::context_id(&context()), at: T0 + second * S, samples, ..Record::default() }
}

/// Twice the energy of the meter in joules: the trapezoids, by hand.
pub(super) fn twice_joules(seconds: std::ops::Range<u64>) -> i128 {
    seconds.map(|second| i128::from(watts(second) + watts(second + 1))).sum()
}

pub(super) fn fill(spool: &mut Spool, seconds: std::ops::RangeInclusive<u64>) {
    let context = context();
    seconds.for_each(|second| spool.append(&context, &record(second)));
}

/// Books everything in a spool from `after` on.
pub(super) fn deliver(spool: &mut Spool, after: Position, ledger: &mut Ledger) {
    let mut at = after;
    loop {
        let batch = spool.read(at, Room { bytes: 20_000, samples: 1 << 18, until: u64::MAX }).expect("reads");
        if batch.records.is_empty() {
            return;
        }
        let contexts = batch.contexts.iter().map(|(id, context)| (*id, Context::clone(context))).collect();
        let append = Append {
            stream: spool.stream(),
            owner: Owner::host("n").expect("a good name"),
            hello: Some(Hello { contexts, ..Hello::default() }),
            base: at,
            end: batch.end,
            import: true,
            sent: None,
            records: batch.records,
            live: vec![],
        };
        let outcome = ledger.append(&append, Utc(i64::try_from(T0).expect("in time") + 86_400_000_000_000 * 400));
        assert!(matches!(outcome, AppendOutcome::Applied { .. }), "{outcome:?}");
        at = batch.end;
    }
}

pub(super) fn booked(spool: &mut Spool) -> OwnerState {
    let mut ledger = Ledger::new(Policy::default());
    let start = spool.start();
    assert_eq!(start, Position::default(), "a stream of its own begins at nothing");
    deliver(spool, start, &mut ledger);
    OwnerState::clone(ledger.state(&Owner::host("n").expect("a good name")).expect("booked"))
}

/// Energy and covered time of meter and counter are those of `0..=last`, exactly.
pub(super) fn assert_exact(state: &OwnerState, last: u64) {
    let account = |name: &str| {
        let place = state.keys.iter().position(|key| &*key.device == name).expect("an account");
        (state.accounts[place].lifetime.measured().0, state.accounts[place].covered_ns)
    };
    // A joule is 2e12 half picojoules.
    assert_eq!(account("power"), (twice_joules(0..last) * 1_000_000_000_000, last * S));
    assert_eq!(account("counter"), (i128::from(last) * 250 * 2_000_000_000_000, last * S));
    assert_eq!(state.refused, [(meter::Refusal::Sentinel, last + 1)]);
}

#[test]
fn eight_hours_in_a_spool_for_half_an_hour_keep_every_joule() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    // A record takes some 40 bytes: 64 KiB hold less than half an hour of them.
    let last = 8 * 3600;
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    let stream = spool.stream();
    fill(&mut spool, 0..=last);
    assert!(spool.bytes() <= 64 << 10, "{}", spool.bytes());
    assert_eq!(spool.dropped(), 0);
    assert!(spool.stream() != stream, "coalesced records are a stream of their own");
    assert_exact(&booked(&mut spool), last);
    let (stream, head) = (spool.stream(), spool.head());
    drop(spool);
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    assert_eq!((spool.stream(), spool.head()), (stream, head));
    assert_exact(&booked(&mut spool), last);
}

#[test]
fn far_too_small_what_is_dropped_is_what_is_uncovered() {
    // 16 KiB: some hundred records, or as many summaries of the longest kind. A year.
    let last: u64 = 365 * 86_400;
    let mut spool = Spool::in_memory(16 << 10).expect("opens");
    let context = context();
    // A minute a day, so that nothing joins over the nights.
    let seconds = || (0..=last).filter(|second| second % 86_400 < 60);
    seconds().for_each(|second| spool.append(&context, &record(second)));
    assert!(spool.dropped() > 0);
    let mut ledger = Ledger::new(Policy::default());
    // Whatever of it was dropped last, the rest is a stream that begins at nothing.
    spool.mint().expect("mints");
    deliver(&mut spool, Position::default(), &mut ledger);
    let state = ledger.state(&Owner::host("n").expect("a good name")).expect("booked");
    let first = u64::try_from(state.accounts[0].first.at.0).expect("after 1970") / S - T0 / S;
    assert!(first > 0);
    let kept: Vec<u64> = seconds().filter(|second| *second >= first).collect();
    let joined: Vec<u64> = kept.windows(2).filter(|pair| pair[1] - pair[0] == 1).map(|pair| pair[0]).collect();
    let twice: i128 = joined.iter().map(|second| twice_joules(*second..second + 1)).sum();
    let place = state.keys.iter().position(|key| &*key.device == "power").expect("an account");
    let account = &state.accounts[place];
    assert_eq!(account.lifetime.measured().0, twice * 1_000_000_000_000);
    assert_eq!(account.covered_ns, joined.len() as u64 * S, "to the second");
}

#[test]
fn a_post_that_may_have_arrived_is_never_coalesced_with_what_follows() {
    for answered in [false, true] {
        let mut spool = Spool::in_memory(64 << 10).expect("opens");
        let mut ledger = Ledger::new(Policy::default());
        fill(&mut spool, 0..=99);
        // Applied, but its answer was lost. The end is noted before it is sent.
        spool.note_sent(spool.head().seq);
        if !answered {
            deliver(&mut spool, Position::default(), &mut ledger);
        }
        fill(&mut spool, 100..=4000);
        assert_eq!(spool.dropped(), 0);
        deliver(&mut spool, Position::default(), &mut ledger);
        let state = ledger.state(&Owner::host("n").expect("a good name")).expect("booked");
        let account = &state.accounts[0];
        assert_eq!(
            (account.lifetime.measured().0, account.covered_ns),
            (twice_joules(0..4000) * 1_000_000_000_000, 4000 * S)
        );
    }
}

/// What the ledger has ends within a segment: what follows is no part of the same summary. Also where
/// the ledger turns out to stand at an earlier end, as after a restore.
#[test]
fn what_is_acknowledged_is_never_coalesced_with_what_follows() {
    for stands in [30, 50] {
        let mut spool = Spool::in_memory(64 << 10).expect("opens");
        let mut ledger = Ledger::new(Policy::default());
        fill(&mut spool, 0..=29);
        spool.note_sent(30);
        if stands == 30 {
            deliver(&mut spool, Position::default(), &mut ledger);
        }
        spool.acknowledge(30);
        fill(&mut spool, 30..=49);
        spool.note_sent(50);
        if stands == 50 {
            deliver(&mut spool, Position::default(), &mut ledger);
        }
        spool.acknowledge(50);
        fill(&mut spool, 50..=4000);
        assert_eq!(spool.dropped(), 0);
        deliver(&mut spool, Position::default(), &mut ledger);
        let state = ledger.state(&Owner::host("n").expect("a good name")).expect("booked");
        let account = &state.accounts[0];
        let expected = (twice_joules(0..4000) * 1_000_000_000_000, 4000 * S);
        assert_eq!((account.lifetime.measured().0, account.covered_ns), expected, "stands at {stands}");
    }
}

#[test]
fn what_the_ledger_has_is_never_coalesced_with_what_it_has_not() {
    // 130 of the records are acknowledged, in the middle of a segment, when the aggregator goes away.
    let mut spool = Spool::in_memory(64 << 10).expect("opens");
    let mut ledger = Ledger::new(Policy::default());
    fill(&mut spool, 0..=129);
    spool.note_sent(spool.head().seq);
    deliver(&mut spool, Position::default(), &mut ledger);
    spool.acknowledge(130);
    fill(&mut spool, 130..=4000);
    assert_eq!(spool.dropped(), 0);
    deliver(&mut spool, Position::default(), &mut ledger);
    let state = ledger.state(&Owner::host("n").expect("a good name")).expect("booked");
    let account = &state.accounts[0];
    let expected = (twice_joules(0..4000) * 1_000_000_000_000, 4000 * S);
    assert_eq!((account.lifetime.measured().0, account.covered_ns), expected);
}

#[test]
fn ends_of_posts_are_known_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    fill(&mut spool, 0..=99);
    spool.note_sent(40);
    fill(&mut spool, 100..=120);
    drop(spool);
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    assert_eq!(spool.sent, BTreeSet::from([40]));
    let mut ledger = Ledger::new(Policy::default());
    let batch = spool.read(Position::default(), Room { bytes: 1 << 20, samples: 1 << 18, until: 40 }).expect("reads");
    assert_eq!(batch.end.seq, 40);
    fill(&mut spool, 121..=4000);
    deliver(&mut spool, Position::default(), &mut ledger);
    // A summary ends with record 40: it is the first instant of none and the last of one.
    let at = T0 + 39 * S;
    let mut ends = BTreeSet::new();
    let all =
        spool.read(Position::default(), Room { bytes: 1 << 20, samples: 1 << 18, until: u64::MAX }).expect("reads");
    for span in all.records.iter().filter_map(|record| record.summary.as_ref()).flat_map(|summary| &summary.spans) {
        assert!(!(span.from.at <= at && at < span.to.at) || span.from.at == span.to.at, "{span:?} lies over the end");
        ends.insert(span.to.at);
    }
    assert!(ends.contains(&at), "{ends:?}");
}

/// The segments in a folder.
fn segments(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
    let segments = entries.filter(|path| path.extension().is_some_and(|end| end == "segment"));
    segments.map(|path| (path.clone(), fs::read(path).expect("a segment"))).collect()
}

#[test]
fn segments_left_beside_what_they_were_coalesced_to_are_not_booked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    let (last, mut brought_back) = (8 * 3600, 0);
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    let mut after = BTreeMap::new();
    for second in (0..=last).step_by(20) {
        fill(&mut spool, second..=last.min(second + 19));
        let before = std::mem::replace(&mut after, segments(&path));
        let gone: Vec<_> = before.iter().filter(|(path, _)| !after.contains_key(*path)).collect();
        if gone.is_empty() {
            continue;
        }
        // The power went before the disk had forgotten their names.
        drop(spool);
        gone.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("a segment"));
        brought_back += gone.len();
        spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    }
    assert!(brought_back > 20, "only {brought_back}: the test shows nothing");
    assert_eq!(spool.dropped(), 0);
    assert_exact(&booked(&mut spool), last);
}

#[test]
fn a_restart_of_a_coalesced_spool_drops_nothing_while_something_can_be_coalesced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    let last = 24 * 3600;
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    for second in (0..=last).step_by(600) {
        fill(&mut spool, second..=last.min(second + 599));
        drop(spool);
        spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
        assert_eq!(spool.start(), Position::default(), "after {second} s");
    }
    assert_exact(&booked(&mut spool), last);
}
