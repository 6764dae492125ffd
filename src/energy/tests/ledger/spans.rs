//! Coalesced readings: the same energy as the readings one by one, once, whenever they come.

use energy::{Count, Edge, Ledger, OwnerState, Policy, Register};
use meter::{ByQuality, DeviceDecl, Energy, Microjoules, Milliwatts, Quality, Reading, Record, Span, Summary, Utc};
use proptest::prelude::*;

use crate::support::{Agent, S, T0, chassis, counter, gpu, joules, power, recorded, slot_sums};

/// A reading: seconds after T0, milliwatts, microjoules.
type Point = (u64, Option<u64>, Option<u64>);

fn look((second, mw, uj): Point) -> Record {
    let mut record = power(T0 + second * S, 0, mw.unwrap_or(0));
    record.samples[0].power = mw.map(Milliwatts);
    record.samples[0].counter = uj.map(Microjoules);
    record
}

/// What an agent makes of a run of readings: spans, by the register that it shares with the ledger.
fn coalesced(points: &[Point], device: &DeviceDecl) -> Record {
    let rules = Policy::default().rules(device.key.scope, device.period_ns, device.limit, device.modulus);
    let mut runs: Vec<Register> = Vec::new();
    for (second, mw, uj) in points {
        let at = T0 + second * S;
        let counter = uj.map(|uj| Count { value: Microjoules(uj), epoch: device.epoch });
        let edge = Edge { at: Utc(at as i64), mono: at, boot: 0, power: mw.map(Milliwatts), counter };
        let next = Register::open(edge);
        if !runs.last_mut().is_some_and(|run| run.extend(&next, &rules)) {
            runs.push(next);
        }
    }
    let reading = |edge: &Edge| Reading { at: edge.mono, power: edge.power, counter: edge.counter.map(|c| c.value) };
    let spans = runs.iter().map(|run| Span {
        device: 0,
        from: reading(&run.from),
        to: reading(&run.to),
        counter: run.energy[Quality::Counter],
        integrated: run.energy[Quality::Integrated],
        readings: run.readings,
    });
    let summary = Summary { spans: spans.collect(), refused: vec![] };
    let at = T0 + points.last().map_or(0, |point| point.0) * S;
    Record { context: 1, at, summary: Some(Box::new(summary)), ..Record::default() }
}

fn booked(device: &DeviceDecl, records: &[Record]) -> OwnerState {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![device.clone()]));
    records.chunks(3).for_each(|chunk| drop(agent.send(&mut ledger, chunk)));
    let state = agent.state(&ledger).clone();
    assert_eq!(energy::audit(&state, 1, []).discrepancies, [], "the row agrees with itself");
    state
}

/// The same by one stream, and then everything once more by another.
fn booked_twice(device: &DeviceDecl, records: &[Record], again: &[Record]) -> OwnerState {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![device.clone()]));
    records.chunks(3).for_each(|chunk| drop(agent.send(&mut ledger, chunk)));
    let mut other = Agent::new(2, "node-1", recorded(vec![device.clone()]));
    again.chunks(5).for_each(|chunk| drop(other.send(&mut ledger, chunk)));
    agent.state(&ledger).clone()
}

fn figures(state: &OwnerState) -> (ByQuality, u64) {
    (state.accounts[0].lifetime, state.accounts[0].covered_ns)
}

#[test]
fn a_minute_of_a_ramp_is_its_trapezoids() {
    // 1 s apart from 100 W in steps of 2 W: (100 + 220) / 2 W × 60 s = 9600 J.
    let points: Vec<Point> = (0..=60).map(|s| (s, Some(100_000 + 2000 * s), None)).collect();
    let state = booked(&gpu("a", 1), &[coalesced(&points, &gpu("a", 1))]);
    assert_eq!(figures(&state), (ByQuality::of(Quality::Integrated, joules(9600)), 60 * S));
    assert_eq!(slot_sums(&state), (joules(9600), 60 * S));
    assert_eq!(state.readings, 61);
    assert_eq!(state.accounts[0].shown, Some((Utc((T0 + 60 * S) as i64), Milliwatts(220_000))));
}

#[test]
fn it_joins_its_neighbours_and_books_nothing_twice() {
    let points: Vec<Point> = (0..=100).map(|s| (s, Some(400_000), None)).collect();
    let raw = |range: std::ops::Range<usize>| points[range].iter().map(|point| look(*point)).collect::<Vec<_>>();
    let span = |range: std::ops::Range<usize>| coalesced(&points[range], &chassis(1));
    let records = [raw(0..20), vec![span(20..60), span(60..80)], raw(80..101)].concat();
    assert_eq!(figures(&booked(&chassis(1), &records)), (ByQuality::of(Quality::Integrated, joules(40_000)), 100 * S));

    // The same again in a new stream, whole, in halves and one by one: all of it is fenced.
    let mut ledger = Ledger::new(Policy::default());
    let device = recorded(vec![chassis(1)]);
    Agent::new(1, "node-1", device.clone()).send(&mut ledger, &records);
    let mut again = Agent::new(2, "node-1", device);
    for records in [vec![span(0..101)], vec![span(0..40), span(40..101)], raw(0..101)] {
        let tally = again.send(&mut ledger, &records);
        assert_eq!((tally.booked, tally.fenced, tally.refused.len()), (0, 101, 0));
    }
    let state = again.state(&ledger);
    assert_eq!(figures(state), (ByQuality::of(Quality::Integrated, joules(40_000)), 100 * S));
    // Fenced: 100 s as one span, 39 s + 60 s as two, 100 s by readings (the first has none before it).
    assert_eq!(state.accounts[0].rare().expect("fenced").fenced, joules(400 * (100 + 99 + 100)));
}

#[test]
fn it_fills_a_hole_and_takes_back_exactly_that_part_of_the_estimate() {
    // 200 W at 0 s and at 600 s: estimated at 200 W. The truth of 100 s to 300 s is 500 W.
    let ends = [look((0, Some(200_000), None)), look((600, Some(200_000), None))];
    let truth: Vec<Point> = (100..=300).map(|s| (s, Some(500_000), None)).collect();
    let state = booked(&gpu("a", 1), &[&ends[..], &[coalesced(&truth, &gpu("a", 1))]].concat());
    let mut expected = ByQuality::of(Quality::Integrated, joules(500 * 200));
    expected[Quality::Estimated] = joules(200 * 400);
    assert_eq!(figures(&state), (expected, 200 * S));
    assert_eq!(state.accounts[0].rare().expect("holes").holes.len(), 2);
    assert_eq!(slot_sums(&state).0, expected.total());
}

#[test]
fn before_the_first_reading_it_is_booked_too() {
    let late = look((61, Some(100_000), None));
    let early: Vec<Point> = (0..=60).map(|s| (s, Some(100_000), None)).collect();
    let state = booked(&gpu("a", 1), &[late, coalesced(&early, &gpu("a", 1))]);
    assert_eq!(figures(&state), (ByQuality::of(Quality::Integrated, joules(6100)), 61 * S));
}

#[test]
fn partly_covered_a_counter_is_still_exact_and_power_is_not_guessed() {
    // Covered up to 50 s; the span goes from 0 s to 100 s, uneven within.
    let watts = |s: u64| if s < 50 { 100 } else { 900 };
    let mut uj = 0;
    let points: Vec<Point> = (0..=100)
        .map(|s| {
            uj += if s == 0 { 0 } else { watts(s - 1) * 1_000_000 };
            (s, None, Some(uj))
        })
        .collect();
    let device = counter("a", 1, 7, None);
    let raw: Vec<Record> = points[..=50].iter().map(|point| look(*point)).collect();
    let state = booked(&device, &[&raw[..], &[coalesced(&points, &device)]].concat());
    assert_eq!(figures(&state), (ByQuality::of(Quality::Counter, joules(100 * 50 + 900 * 50)), 100 * S));

    let points: Vec<Point> = (0..=1000).map(|s| (s, Some(watts(s) * 1000), None)).collect();
    let raw: Vec<Record> = points[..=50].iter().map(|point| look(*point)).collect();
    let state = booked(&gpu("a", 1), &[&raw[..], &[coalesced(&points, &gpu("a", 1))]].concat());
    // 100 W up to 49 s, then a step within a second to 900 W; from 50 s on nothing measured.
    let measured = joules(100 * 49 + 500);
    assert_eq!((figures(&state).0.measured(), figures(&state).1), (measured, 50 * S), "no share was guessed");
}

#[test]
fn a_counter_that_is_missing_now_and_then_still_bridges() {
    // 300 W by the counter, read at 0 s, 9 s, 10 s, …; power in between is shown only. One span begins
    // where the counter is missing.
    let device = counter("a", 1, 7, None);
    let uj = |s: u64| (s == 0 || s >= 9).then_some(s * 300_000_000);
    let points: Vec<Point> = (0..=60).map(|s| (s, Some(290_000), uj(s))).collect();
    for cut in 1..60 {
        let records = [coalesced(&points[..cut], &device), coalesced(&points[cut..], &device)];
        let state = booked(&device, &records);
        assert_eq!(figures(&state), (ByQuality::of(Quality::Counter, joules(300 * 60)), 60 * S), "cut at {cut}");
    }
}

#[test]
fn more_than_the_device_can_draw_is_refused() {
    let points: Vec<Point> = (0..=60).map(|s| (s, Some(100_000), None)).collect();
    let mut record = coalesced(&points, &gpu("a", 1));
    let spans = &mut record.summary.as_mut().expect("a summary").spans;
    spans[0].integrated = Energy::of_constant(Milliwatts(3_000_000), 60 * S) + Energy(1);
    let state = booked(&gpu("a", 1), &[record]);
    assert_eq!(state.refused, [(meter::Refusal::AboveCeiling, 61)]);
    assert!(state.accounts.is_empty());
}

#[test]
fn a_single_reading_above_the_ceiling_is_refused_as_it_would_be_uncoalesced() {
    // A gigawatt from a GPU, once beside a good counter. The span is that one reading.
    for (device, uj) in [(gpu("a", 1), None), (counter("a", 1, 7, None), Some(400_000_000))] {
        let before: Vec<Point> = (0..=4).map(|s| (s, Some(100_000), uj.map(|_| s * 90_000_000))).collect();
        let odd = (5, Some(1_000_000_000_000), uj);
        let raw: Vec<Record> = before.iter().copied().chain([odd]).map(look).collect();
        let spans = [coalesced(&before, &device), coalesced(&[odd], &device)];
        let (one_by_one, spans) = (booked(&device, &raw), booked(&device, &spans));
        assert_eq!((figures(&one_by_one), one_by_one.refused), (figures(&spans), spans.refused));
        assert_eq!(one_by_one.accounts[0].lifetime.total(), joules(400));
    }
}

/// Readings of power or of a counter (with power now and then): steps of a second, some gaps that join
/// and some that do not, resets, glitches; also counters that are missing now and then, if asked for (a
/// glitch beside a missing counter is coalesced more kindly than it is booked one by one).
fn history(counters_missing: bool) -> impl Strategy<Value = Vec<Point>> {
    let step = prop_oneof![12 => Just(1_u64), 2 => 2..9_u64, 1 => 30..100_u64, 1 => 2000..3000_u64];
    let values = (50_000..700_000_u64, prop::bool::weighted(0.9), 0..40_u32);
    (any::<bool>(), prop::collection::vec((step, values), 2..120)).prop_map(move |(has_counter, steps)| {
        let (mut at, mut uj) = (0, 5_000_000_000_u64);
        let point = |(step, (mw, has_power, odd)): (u64, (u64, bool, u32))| {
            at += step;
            uj += step * mw * 1000;
            match odd {
                0 => uj = 1000,
                1 if has_counter => return (at, Some(mw), Some(uj + 10_000_000_000_000_000)),
                2 | 3 if has_counter && counters_missing => return (at, Some(mw), None),
                _ => {}
            }
            (at, (has_power || !has_counter).then_some(mw), has_counter.then_some(uj))
        };
        steps.into_iter().map(point).collect()
    })
}

proptest! {
    #[test]
    fn what_is_sent_again_changes_nothing(points in history(true), cut in 0..100_usize) {
        let device = DeviceDecl { epoch: 7, ..gpu("a", 1) };
        let raw: Vec<Record> = points.iter().map(|point| look(*point)).collect();
        let (before, behind) = points.split_at(cut.min(points.len()));
        let coalesced = [before, behind].into_iter().filter(|part| !part.is_empty()).map(|part| coalesced(part, &device));
        let again = [raw.clone(), coalesced.collect()];
        for again in again {
            let (once, twice) = (booked(&device, &raw), booked_twice(&device, &raw, &again));
            prop_assert_eq!(figures(&once), figures(&twice));
            prop_assert_eq!(slot_sums(&once), slot_sums(&twice));
        }
    }

    #[test]
    fn any_part_may_be_coalesced(points in history(false), cuts in prop::collection::vec(any::<(u8, bool)>(), 0..12)) {
        let device = DeviceDecl { epoch: 7, ..gpu("a", 1) };
        let raw: Vec<Record> = points.iter().map(|point| look(*point)).collect();
        let mut ends: Vec<(usize, bool)> =
            cuts.iter().map(|(at, whole)| (usize::from(*at) % points.len(), *whole)).collect();
        ends.sort_unstable();
        ends.push((points.len(), true));
        let (mut mixed, mut from) = (Vec::new(), 0);
        for (end, whole) in ends {
            if from < end {
                let part = &points[from..end];
                if whole { mixed.push(coalesced(part, &device)) } else { mixed.extend(part.iter().map(|p| look(*p))) }
                from = end;
            }
        }
        let (one_by_one, mixed) = (booked(&device, &raw), booked(&device, &mixed));
        prop_assert_eq!(figures(&one_by_one), figures(&mixed));
        prop_assert_eq!(slot_sums(&one_by_one), slot_sums(&mixed));
        prop_assert_eq!(one_by_one.readings, mixed.readings);
    }

    /// Readings and spans of the same time, over each other and in any order: what is booked is for
    /// coverage to decide, that it adds up is checked where it is booked.
    #[test]
    fn spans_and_readings_in_any_order_leave_a_sound_row(
        points in history(true),
        parts in prop::collection::vec((any::<u8>(), 1_usize..40, any::<bool>(), any::<u16>()), 1..12),
    ) {
        let device = DeviceDecl { epoch: 7, ..gpu("a", 1) };
        let mut parts = parts;
        parts.sort_by_key(|part| part.3);
        let records = parts.into_iter().flat_map(|(from, length, whole, _)| {
            let from = usize::from(from) % points.len();
            let part = &points[from..points.len().min(from + length)];
            if whole { vec![coalesced(part, &device)] } else { part.iter().map(|p| look(*p)).collect() }
        });
        booked(&device, &records.collect::<Vec<_>>());
    }
}
