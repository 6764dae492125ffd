//! Cuts: what of a slot lies before an instant, against closed forms.

use crate::support::*;
use std::collections::BTreeMap;

use energy::{Cell, CutCount, HourBlock, Ledger, MarkOutcome, OwnerState, Policy};
use meter::{ByQuality, Energy, Mark, Quality, Record, Slot, Utc};
use proptest::prelude::*;

/// 10:07:13 on the first day.
const CUT: u64 = T0 + (10 * 3600 + 7 * 60 + 13) * S;
/// 10:00:00.
const TEN: u64 = T0 + 36_000 * S;

fn mark(at: u64, mark: Mark) -> Record {
    Record { context: 1, at, mark: Some(Box::new(mark)), ..Record::default() }
}

/// Everything that row and postings hold: cells by slot and account, and what lies before each cut.
#[derive(Debug, Default, PartialEq)]
struct Held {
    cells: BTreeMap<(i32, u16), Cell>,
    before: BTreeMap<(i64, u16), Cell>,
}

impl Held {
    fn post(&mut self, blocks: &[HourBlock]) {
        for block in blocks {
            for cell in &block.cells {
                let slot = block.hour * 4 + i32::from(cell.quarter);
                self.cells.entry((slot, cell.account)).or_default().add(&cell.cell);
            }
            for cut in &block.cuts {
                assert_eq!(cut.at.slot().hour().0, block.hour);
                self.before.entry((cut.at.0, cut.account)).or_default().add(&cut.cell);
            }
        }
    }

    /// With what is still in the row.
    fn with(mut self, state: &OwnerState) -> Self {
        for open in &state.open {
            for (account, cell) in (0..).zip(&open.cells).filter(|(_, cell)| **cell != Cell::default()) {
                self.cells.entry((open.slot.0, account)).or_default().add(cell);
            }
            for cut in &open.cuts {
                for (account, cell) in (0..).zip(&cut.cells) {
                    let Some(cell) = cell else { continue };
                    self.before.entry((cut.at.0, account)).or_default().add(cell);
                }
            }
        }
        self
    }

    fn before(&self, at: u64, account: u16) -> Option<Cell> {
        self.before.get(&(at as i64, account)).copied()
    }
}

/// Books in batches of `batch`, with a commit after every `commit` batches and the row stored and loaded again.
fn held(context: meter::Context, records: &[Record], batch: usize, commit: usize) -> Held {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", context);
    let mut held = Held::default();
    for (number, chunk) in records.chunks(batch).enumerate() {
        agent.send(&mut ledger, chunk);
        if (number + 1) % commit == 0 {
            for dirty in ledger.take_commit() {
                held.post(&dirty.settled);
                ledger.insert((*dirty.state).clone(), dirty.next);
            }
        }
    }
    held.with(agent.state(&ledger))
}

fn all(context: meter::Context, records: &[Record]) -> Held {
    held(context, records, usize::MAX, 1)
}

#[test]
fn a_ramp_is_cut_where_the_straight_line_is() {
    // Read once a minute, from 600 W at 10:00 up by 60 W a minute.
    let read = |minute: u64| power(TEN + minute * 60 * S, 0, 600_000 + minute * 60_000);
    let mut records: Vec<_> = (0..=20).map(read).collect();
    records.insert(8, mark(CUT, Mark::Cut));
    let held = all(recorded(vec![gpu("a", 60)]), &records);
    // Power at t seconds is 600 + t W: 600 t + t²/2 J up to 433 s.
    let before = held.before(CUT, 0).expect("told in time");
    let half_joules = 2 * 600 * 433 + 433 * 433;
    assert_eq!(before.energy[Quality::Integrated], Energy(half_joules * 1_000_000_000_000));
    assert_eq!((before.energy.total(), before.covered_ns), (before.energy[Quality::Integrated], 433 * S));
    // The slot is what it is without the cut.
    let plain: Vec<_> = records.iter().filter(|record| record.mark.is_none()).cloned().collect();
    assert_eq!(held.cells, all(recorded(vec![gpu("a", 60)]), &plain).cells);
}

#[test]
fn a_counter_is_cut_evenly_over_its_interval() {
    // 1 kJ from 10:07:00 to 10:08:00: 13 s of 60 are 216.666… J, rounded down to the half picojoule.
    let read = |minute: u64| count(TEN + minute * 60 * S, 0, minute * 1_000_000_000);
    let mut records: Vec<_> = (0..=9).map(read).collect();
    records.insert(8, mark(CUT, Mark::Cut));
    let held = all(recorded(vec![counter("a", 60, 7, None)]), &records);
    let before = held.before(CUT, 0).expect("told in time");
    let even = 1000 * 1_000_000_000_000 * 2 * 13 / 60;
    assert_eq!(before.energy, ByQuality::of(Quality::Counter, Energy(7 * joules(1000).0 + even)));
    assert_eq!(before.covered_ns, 433 * S);
}

#[test]
fn a_hole_is_cut_in_its_estimate_and_again_when_the_truth_comes() {
    let ramp = |second: u64, mw: u64| power(TEN + second * S, 0, mw);
    let live = [
        ramp(0, 300_000),
        ramp(1, 300_000),
        mark(CUT, Mark::Cut),
        // Ten minutes without a reading, then at twice the power.
        ramp(601, 600_000),
        ramp(602, 600_000),
    ];
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![gpu("a", 1)]));
    agent.send(&mut ledger, &live);
    let estimated = Held::default().with(agent.state(&ledger)).before(CUT, 0).expect("told in time");
    // The line from 300 W at 1 s up by 0.5 W/s: 432 s of it, 300 t + t²/4 J.
    assert_eq!(estimated.energy[Quality::Estimated], Energy((2 * 300 * 432 + 432 * 432 / 2) * 1_000_000_000_000));
    assert_eq!(estimated.energy[Quality::Integrated], joules(300));
    assert_eq!(estimated.covered_ns, S);
    // The truth: 450 W all the time, every 2 s, through another stream; the slot left the row meanwhile.
    let mut kept = Held::default();
    agent.send(&mut ledger, &[ramp(901, 600_000)]);
    ledger.take_commit().iter().for_each(|dirty| kept.post(&dirty.settled));
    let mut late = Agent::new(2, "node-1", recorded(vec![gpu("a", 2)]));
    late.send(&mut ledger, &(1..300).map(|n| ramp(1 + 2 * n, 450_000)).collect::<Vec<_>>());
    let healed = kept.with(agent.state(&ledger)).before(CUT, 0).expect("told in time");
    assert_eq!(healed.energy[Quality::Estimated], Energy::ZERO);
    // 1 s at 300 W, 2 s up to 450 W, then 430 s.
    assert_eq!(healed.energy[Quality::Integrated], joules(300 + 750 + 430 * 450));
    assert_eq!(healed.covered_ns, 433 * S);
}

#[test]
fn a_cut_is_late_for_who_booked_beyond_it_and_in_time_for_who_did_not() {
    let read = |second: u64, device: u16| power(TEN + second * S, device, 100_000);
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![gpu("a", 1), gpu("b", 60)]));
    agent.send(&mut ledger, &[read(420, 0), read(420, 1), read(433, 0), read(434, 0)]);
    let told = ledger.mark(&agent.owner, Utc(CUT as i64), &Mark::Cut, Utc(CUT as i64));
    assert_eq!(told, MarkOutcome::Marked(CutCount { exact: 1, late: 1 }));
    agent.send(&mut ledger, &[read(435, 0), read(480, 1), read(480, 0)]);
    let held = Held::default().with(agent.state(&ledger));
    assert_eq!(held.before(CUT, 0), None);
    assert_eq!(held.before(CUT, 1), Some(Cell::of(Quality::Integrated, joules(13 * 100), 13 * S)));
    // Told again nothing changes.
    assert_eq!(ledger.mark(&agent.owner, Utc(CUT as i64), &Mark::Cut, Utc(CUT as i64)), told);
    assert_eq!(Held::default().with(agent.state(&ledger)), held);
    // Too late for all it is not kept.
    let all_late = ledger.mark(&agent.owner, Utc(TEN as i64), &Mark::Cut, Utc(CUT as i64));
    assert_eq!(all_late, MarkOutcome::Marked(CutCount { exact: 0, late: 2 }));
    assert_eq!(agent.state(&ledger).cuts.len(), 1);
}

#[test]
fn a_slot_that_may_have_left_the_row_is_only_cut_for_who_has_nothing_in_it() {
    let read = |second: u64, device: u16| power(TEN + second * S, device, 100_000);
    let context = || recorded(vec![gpu("a", 1), gpu("b", 60), gpu("c", 60)]);
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", context());
    // The second reads at 10:07:00 for the last time, the third before the slot; the first is in the next slot.
    let records: Vec<_> =
        [read(0, 2), read(360, 1), read(420, 1)].into_iter().chain((415..1000).map(|s| read(s, 0))).collect();
    agent.send(&mut ledger, &records);
    let mut held = Held::default();
    ledger.take_commit().iter().for_each(|dirty| held.post(&dirty.settled));
    let told = ledger.mark(&agent.owner, Utc(CUT as i64), &Mark::Cut, Utc(CUT as i64));
    assert_eq!(told, MarkOutcome::Marked(CutCount { exact: 1, late: 2 }));
    agent.send(&mut ledger, &[read(480, 1), read(480, 2)]);
    let held = held.with(agent.state(&ledger));
    // Accounts are numbered by their first readings.
    assert_eq!((held.before(CUT, 0).is_some(), held.before(CUT, 1), held.before(CUT, 2)), (true, None, None));
}

#[test]
fn who_begins_to_read_after_the_cut_has_nothing_before_it_and_says_so() {
    let records = [mark(CUT, Mark::Cut), power(CUT + S, 0, 100_000), power(CUT + 2 * S, 0, 100_000)];
    let held = all(recorded(vec![gpu("a", 1)]), &records);
    assert_eq!(held.before(CUT, 0), Some(Cell::default()));
}

#[test]
fn a_coalesced_span_is_cut_evenly() {
    let reading = |at, mw| meter::Reading { at, power: Some(meter::Milliwatts(mw)), counter: None };
    let span = meter::Span {
        device: 0,
        from: reading(TEN, 100_000),
        to: reading(TEN + 866 * S, 100_000),
        counter: joules(500),
        integrated: joules(1000),
        readings: 867,
    };
    let summary = meter::Summary { spans: vec![span], refused: vec![] };
    let summary = Record { context: 1, at: TEN + 866 * S, summary: Some(Box::new(summary)), ..Record::default() };
    let held = all(recorded(vec![gpu("a", 1)]), &[mark(CUT, Mark::Cut), summary]);
    let before = held.before(CUT, 0).expect("told in time");
    // Half of the time.
    assert_eq!(before.energy.0, [joules(250), joules(500), Energy::ZERO]);
    assert_eq!(before.covered_ns, 433 * S);
}

#[test]
fn cuts_are_bounded_and_what_was_told_exact_stays_exact() {
    let read = |second: u64, device: u16| power(TEN + second * S, device, 100_000);
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![gpu("a", 1), gpu("b", 1)]));
    // The second stays behind for ever, within the first slot; a cut in each second of 4,000.
    agent.send(&mut ledger, &[read(0, 0), read(0, 1), read(1, 1)]);
    let mut held = Held::default();
    for second in 1..4000 {
        agent.send(&mut ledger, &[mark(TEN + second * S + S / 2, Mark::Cut), read(second + 1, 0)]);
        if second % 100 == 0 {
            ledger.take_commit().iter().for_each(|dirty| held.post(&dirty.settled));
        }
    }
    let cuts = agent.state(&ledger).cuts.len();
    assert!(cuts <= 1024, "{cuts} cuts are kept");
    // Ten hours later it is back, with a counter's worth of energy for all that time.
    agent.send(&mut ledger, &[read(36_000, 0)]);
    let held = held.with(agent.state(&ledger));
    let per_slot =
        |slot: i32| held.before.keys().filter(|(at, account)| Utc(*at).slot().0 == slot && *account == 0).count();
    let first = Utc(TEN as i64).slot().0;
    assert_eq!((per_slot(first), per_slot(first + 1)), (256, 256));
    for ((at, account), cell) in held.before.iter().filter(|((_, account), _)| *account == 0) {
        let since = *at as u64 - Utc(*at).slot().start().0 as u64;
        assert_eq!(cell.energy.total(), Energy(2 * 100_000 * i128::from(since)), "{account} at {at}");
    }
}

/// Steps in ms and powers in mW of one device.
fn walk() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let step = prop_oneof![6 => 900_u64..1100, 2 => 1_u64..30_000, 1 => 30_000_u64..2_000_000];
    proptest::collection::vec((step, 0_u64..800_000), 2..120)
}

/// Twice the area in mW·ns of a line from 0 up to `x`, rounded down: the rule of `docs/LEDGER.md`.
fn area(start: u64, end: u64, span: u64, x: u64) -> i128 {
    let (start, end, span, x) = (i128::from(start), i128::from(end), i128::from(span), i128::from(x));
    2 * start * x + ((end - start) * x * x).div_euclid(span)
}

/// What lies before a cut in its slot, by the rule written down a second time.
fn oracle(readings: &[(u64, u64)], cut: u64) -> (i128, i128, u64) {
    let slot = Utc(cut as i64).slot().start().0 as u64;
    let (mut measured, mut estimated, mut covered) = (0, 0, 0);
    for pair in readings.windows(2) {
        let ((from, start), (to, end)) = (pair[0], pair[1]);
        let (left, right) = (from.max(slot), to.min(cut));
        if to - from > 900 * S || left >= right {
            continue;
        }
        let share = area(start, end, to - from, right - from) - area(start, end, to - from, left - from);
        if to - from <= 10 * S {
            measured += share;
            covered += right - left;
        } else {
            estimated += share;
        }
    }
    (measured, estimated, covered)
}

proptest! {
    #[test]
    fn any_batching_gives_the_cuts_of_the_rule_and_the_slots_of_no_cut(
        walk in walk(),
        cuts in proptest::collection::vec((0_usize..120, 0_u64..2_000_000_000_000), 1..12),
        batch in 1_usize..40,
        commit in 1_usize..5,
    ) {
        let mut at = T0;
        let readings: Vec<(u64, u64)> = walk.iter().map(|(step, mw)| { at += step * 1_000_000; (at, *mw) }).collect();
        let mut records: Vec<Record> = readings.iter().map(|(at, mw)| power(*at, 0, *mw)).collect();
        // A cut lies somewhere between a reading and the next: the agent writes both in order.
        let mut instants = Vec::new();
        for (after, ahead) in cuts {
            let after = after % (readings.len() - 1);
            let (from, to) = (readings[after].0, readings[after + 1].0);
            instants.push(from + ahead % (to - from));
        }
        instants.sort_unstable();
        records.extend(instants.iter().map(|at| mark(*at, Mark::Cut)));
        // Marks go behind a reading of the same instant.
        records.sort_by_key(|record| (record.at, record.mark.is_some()));
        let held_so = held(recorded(vec![gpu("a", 1)]), &records, batch, commit);
        for cut in &instants {
            let (measured, estimated, covered) = oracle(&readings, *cut);
            let cell = Cell { energy: ByQuality([Energy::ZERO, Energy(measured), Energy(estimated)]), covered_ns: covered };
            // A slot with nothing in it at all has no cell.
            let found = held_so.before(*cut, 0).unwrap_or_default();
            prop_assert_eq!(found, cell, "cut at {}", cut);
            if held_so.cells.contains_key(&(Utc(*cut as i64).slot().0, 0)) {
                prop_assert!(held_so.before(*cut, 0).is_some());
            }
        }
        let plain: Vec<_> = records.iter().filter(|record| record.mark.is_none()).cloned().collect();
        prop_assert_eq!(&held_so.cells, &all(recorded(vec![gpu("a", 1)]), &plain).cells);
    }

    /// Whatever is filled later and through whatever stream: of a slot at constant power, the part before a cut
    /// that was told first of all is power times the time covered before it.
    #[test]
    fn late_fills_are_cut_in_any_order(
        steps in proptest::collection::vec(1_u64..40_000, 2..80),
        order in proptest::collection::vec((0_usize..80, 1_u8..6), 1..200),
        cut in 0_u64..1_000,
        commit in 1_usize..20,
    ) {
        let mut at = T0;
        let records: Vec<Record> = steps.iter().map(|ms| { at += ms * 1_000_000; power(at, 0, 250_000) }).collect();
        let cut = T0 + (at - T0) * cut / 1000;
        let mut ledger = Ledger::new(Policy::default());
        let mut agents: Vec<_> = (1..6).map(|stream| Agent::new(stream, "node-1", recorded(vec![gpu("a", 1)]))).collect();
        agents[0].send(&mut ledger, &[mark(cut, Mark::Cut)]);
        let (mut kept, mut postings, mut version) = (Held::default(), Vec::new(), 0);
        for (number, (index, stream)) in order.into_iter().enumerate() {
            agents[usize::from(stream) - 1].send(&mut ledger, &records[index % records.len()..=index % records.len()]);
            if number % commit == 0 {
                for dirty in ledger.take_commit() {
                    kept.post(&dirty.settled);
                    version = dirty.next;
                    postings.extend(dirty.settled.into_iter().map(|block| (version, block)));
                }
            }
        }
        let state = agents[0].state(&ledger);
        let held = kept.with(state);
        postings.sort_by_key(|(_, block)| block.hour);
        let audited = energy::audit(state, version.max(1), postings.iter().map(|(version, block)| (*version, block)));
        prop_assert_eq!(audited.discrepancies, vec![]);
        let account = &state.accounts[0];
        // The time before the cut in its slot: the span from the first to the newest reading less the holes.
        let slot = Utc(cut as i64).slot().start();
        let within = |from: Utc, to: Utc| to.min(Utc(cut as i64)).since(from.max(slot));
        let holes = account.rare().map_or(&[][..], |rare| &rare.holes);
        let open: u64 = holes.iter().map(|hole| within(hole.start.at, hole.end.at)).sum();
        let estimated: u64 = holes.iter().filter(|hole| hole.estimate.is_some()).map(|hole| within(hole.start.at, hole.end.at)).sum();
        let covered = within(account.first.at, account.frontier.at) - open;
        let watts = |ns: u64| Energy(2 * 250_000 * i128::from(ns));
        let found = held.before(cut, 0).unwrap_or_default();
        prop_assert_eq!(found.covered_ns, covered);
        prop_assert_eq!(found.energy, ByQuality([Energy::ZERO, watts(covered), watts(estimated)]));
        let known = held.cells.contains_key(&(Slot(Utc(cut as i64).slot().0).0, 0));
        prop_assert!(!known || held.before(cut, 0).is_some());
    }
}
