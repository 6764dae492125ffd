//! Marks in a spool that is too small: coalesced over by nothing, and last to go.

use energy::Cell;
use meter::{Allocation, Mark};

use super::room_tests::*;
use super::*;

fn mark(at: u64, mark: Mark) -> Record {
    Record { context: wire::context_id(&clock()), at, mark: Some(Box::new(mark)), ..Record::default() }
}

/// The clock of the readings, and no device.
fn clock() -> Arc<Context> {
    Arc::new(Context { clock: meter::Clock::Utc, wall_offset_ns: 0, devices: vec![] })
}

fn start(id: u64) -> Mark {
    Mark::Start(Arc::new(Allocation { id: id.to_string().into(), ..Allocation::default() }))
}

/// Every mark from the beginning on.
fn marks(spool: &mut Spool) -> Vec<Record> {
    let (mut at, mut marks) = (spool.start(), Vec::new());
    loop {
        let batch = spool.read(at, Room { bytes: 20_000, samples: 1 << 18, until: u64::MAX }).expect("reads");
        if batch.records.is_empty() {
            return marks;
        }
        marks.extend(batch.records.into_iter().filter(|record| record.mark.is_some()));
        at = batch.end;
    }
}

#[test]
fn nothing_is_coalesced_over_a_mark_and_none_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = Spool::open(&folder.path().join("spool"), MACHINE, 64 << 10).expect("opens");
    let last = 8 * 3600;
    // Half a second after 00:07:13, and then every quarter of an hour.
    let cut = |number: u64| T0 + (433 + number * 900) * S + S / 2;
    let told: Vec<Record> = (0..32).map(|number| mark(cut(number), start(number))).collect();
    let mut next = told.iter().peekable();
    for second in 0..=last {
        while let Some(mark) = next.next_if(|mark| mark.at < T0 + second * S) {
            spool.append(&clock(), mark);
        }
        fill(&mut spool, second..=second);
    }
    assert_eq!((spool.dropped(), spool.bytes() <= 64 << 10), (0, true));
    assert_eq!(marks(&mut spool), told);
    let state = booked(&mut spool);
    assert_exact(&state, last);
    assert_eq!((state.holds.len(), state.cuts.len()), (32, 32));
    // The energy before the first one: trapezoids, and half a second of a line.
    let open = state.open.iter().find(|open| open.slot.start().0 == T0 as i64).expect("the first slot");
    let before = |name: &str| -> Cell {
        let place = state.keys.iter().position(|key| &*key.device == name).expect("an account");
        open.cuts[0].cells[place].expect("told in time")
    };
    let (from, to) = (i128::from(watts(433)), i128::from(watts(434)));
    // In eighths of a joule: 2·(area) = 2·from·½ + (to − from)·¼ over half a second.
    let half_second = (4 * from + (to - from)) * 1_000_000_000_000 / 4;
    assert_eq!(before("power").energy.total().0, twice_joules(0..433) * 1_000_000_000_000 + half_second);
    assert_eq!(before("counter").energy.total().0, (433 * 2 + 1) * 250 * 1_000_000_000_000);
    assert_eq!(before("power").covered_ns, 433 * S + S / 2);
}

#[test]
fn where_time_is_dropped_the_marks_in_it_are_kept() {
    where_time_is_dropped(&mut Spool::in_memory(16 << 10).expect("opens"));
    let folder = tempfile::tempdir().expect("a folder");
    // On disk a segment says which ones it replaces: these bytes must not look like room that was made.
    where_time_is_dropped(&mut Spool::open(&folder.path().join("spool"), MACHINE, 16 << 10).expect("opens"));
}

fn where_time_is_dropped(spool: &mut Spool) {
    let mut told = Vec::new();
    // A minute a day for a year; in the first forty days a job begins.
    for day in 0..365 {
        fill(spool, day * 86_400..=day * 86_400 + 60);
        if day < 40 {
            told.push(mark(T0 + (day * 86_400 + 61) * S, start(day)));
            spool.append(&clock(), told.last().expect("one"));
        }
    }
    assert!(spool.dropped() > 500 && spool.bytes() <= 16 << 10, "{} dropped", spool.dropped());
    assert_eq!(marks(spool), told);
}
