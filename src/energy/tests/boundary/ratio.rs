//! Seconds that the meter missed.

use energy::boundary::{History, Ratio, Survey};
use energy::{Billed, Boundary, Cell, Missed};
use meter::{ByQuality, Energy, Quality, Scope, Slot};

use crate::support::{SLOT, bill_of, cells, joules, keys, told};

use Scope::{Chassis, Cpu, Gpu};

const SECOND: u64 = 1_000_000_000;

fn ratio(millionths: u64) -> Missed {
    Missed { ratio: Ratio::from_millionths(millionths), pending_ns: 0, expects_meter: false }
}

/// A meter's cell of measured and estimated joules, beside components.
fn with_line(meter: (u64, u64, u64), components: (u64, u64), missed: &Missed) -> Billed {
    let entries = [(Chassis, "bmc", 0, 0), (Gpu, "a", components.0, components.1)];
    let mut all = cells(&entries);
    let (measured, line, seconds) = meter;
    let energy = ByQuality([Energy::ZERO, joules(measured), joules(line)]);
    all[0] = Cell { energy, covered_ns: seconds * SECOND };
    let mut out = Billed::default();
    Boundary::new(&keys(&entries), &[]).survey(&all, SLOT, &mut out);
    out.settle(missed);
    out
}

#[test]
fn seconds_that_the_meter_missed_are_components_times_its_ratio() {
    // 900 W on the meter, 720 W of components: 1.25 of them.
    let out = bill_of(&[(Chassis, "bmc", 840 * 900, 840), (Gpu, "a", 720 * 900, 900)], &[], &ratio(1_250_000));
    assert_eq!(out.total(), joules(900 * 900), "as if it had not missed the minute");
    let estimated: Energy = out.lines.iter().map(|line| line.energy[Quality::Estimated]).sum();
    assert_eq!(estimated, joules(60 * 900));
    assert_eq!((out.covered_ns, out.ratio_ns, out.metered), (840 * SECOND, 60 * SECOND, true));
    assert_eq!(out.methods.codes().collect::<Vec<_>>(), ["meter", "component-ratio"]);
    // Without anything known, once.
    let out = bill_of(&[(Chassis, "wall", 80, 450), (Gpu, "a", 60, 900)], &[], &Missed::default());
    assert_eq!(out.total(), joules(80 + 30));
}

#[test]
fn the_line_over_a_hole_gives_way_where_components_cover_it() {
    // (measured, line, seconds) of the meter, (joules, seconds) of components: what is billed.
    for (meter, components, expected, why) in [
        ((840 * 900, 60 * 1000, 840), (900 * 720, 900), 900 * 900, "components cover the hole: no line"),
        ((840 * 900, 60 * 1000, 840), (840 * 720, 840), 840 * 900 + 60 * 1000, "they do not: the line stands"),
        ((720 * 900, 180 * 900, 720), (780 * 720, 780), 900 * 900, "they cover a third: two thirds of the line stand"),
        ((0, 900 * 900, 0), (900 * 720, 900), 900 * 900, "a hole as long as the slot"),
        ((240 * 900, 60 * 900, 240), (300 * 720, 300), 300 * 900, "a slot that has just begun"),
        ((840 * 900, 0, 840), (845 * 720, 845), 840 * 900, "seconds are not told apart"),
    ] {
        assert_eq!(with_line(meter, components, &ratio(1_250_000)).total(), joules(expected), "{why}");
    }
}

#[test]
fn time_that_the_meter_may_still_tell_of_is_not_missed() {
    let missed = Missed { pending_ns: 60 * SECOND, ..ratio(1_250_000) };
    let out = with_line((240 * 900, 0, 240), (300 * 720, 300), &missed);
    assert_eq!((out.total(), out.ratio_ns), (joules(240 * 900), 0));
}

#[test]
fn a_slot_without_any_reading_of_the_meter_is_estimated_while_one_is_expected() {
    let components = [(Gpu, "a", 720 * 900, 900), (Chassis, "bmc", 0, 0)];
    let expected = Missed { expects_meter: true, ..ratio(1_250_000) };
    let out = bill_of(&components, &[], &expected);
    assert_eq!((out.total(), out.metered, out.covered_ns, out.ratio_ns), (joules(900 * 900), true, 0, SLOT));
    let all = out.energy();
    assert_eq!(all[Quality::Estimated], all.total(), "none of it was measured at the boundary");
    assert_eq!(out.methods.codes().collect::<Vec<_>>(), ["component-ratio"]);

    let out = bill_of(&components, &[], &ratio(1_250_000));
    assert_eq!(told(&out), (vec![(Some(0), 720 * 900)], 720 * 900, false), "else they are summed");
    assert_eq!(bill_of(&[(Chassis, "bmc", 0, 0)], &[], &expected).total(), Energy::ZERO);
}

const MONDAY: i32 = 20_736 * 96;

fn survey(meter: u64, components: u64, seconds: u64, scope: Scope) -> Survey {
    let mut out = Billed::default();
    let entries = [(Chassis, "bmc", meter, seconds), (scope, "a", components, 900)];
    Boundary::new(&keys(&entries), &[]).survey(&cells(&entries), SLOT, &mut out);
    out.survey
}

/// A history of one slot on each of these days, before Monday, with the ratio as told in percent.
fn history(days: &[(i32, u64)]) -> History {
    let mut history = History::new(Ratio::from_millionths(1_100_000));
    for (day, percent) in days {
        history.note(Slot(MONDAY + day * 96 + 50), &survey(10 * percent, 1000, 900, Gpu), None);
    }
    history
}

const GPU: u16 = 1 << Scope::Gpu as u16;

#[test]
fn the_ratio_is_that_of_the_last_seven_days_with_complete_slots() {
    let percent = |percent: u64| Ratio::from_millionths(percent * 10_000);
    let is = |days: &[(i32, u64)], slot: i32| history(days).ratio(Slot(MONDAY + slot), GPU);
    assert_eq!(is(&[], 0), percent(110), "nothing is known: the configured factor");
    assert_eq!(is(&[(-1, 120)], 0), percent(120));
    assert_eq!(is(&[(-3, 120), (-1, 140)], 0), percent(130), "sums, not the mean of ratios: here the same");
    let eight: Vec<(i32, u64)> = (-8..0).map(|day| (day, if day == -8 { 900 } else { 120 })).collect();
    assert_eq!(is(&eight, 0), percent(120), "the eighth day back does not count");
    assert_eq!(
        is(&eight[..7], 0),
        Ratio::from_millionths((900 + 6 * 120) * 10_000 / 7),
        "unless one of the seven has no complete slot"
    );
    assert_eq!(is(&[(-15, 200)], 0), percent(110), "too long ago");
    assert_eq!(is(&[(-14, 200)], 0), percent(200));
    assert_eq!(is(&[(-14, 200)], 95), percent(200), "the same all day");
    assert_eq!(is(&[(-1, 120), (0, 900)], 60), percent(120), "today does not count");
    assert_eq!(is(&[(0, 130)], 60), percent(130), "unless nothing else is known");
}

#[test]
fn only_complete_slots_with_the_same_kinds_of_component_count() {
    let monday = Slot(MONDAY);
    let mut history = history(&[]);
    history.note(Slot(MONDAY - 20), &survey(5000, 1000, 880, Gpu), None);
    assert_eq!(history.ratio(monday, GPU), Ratio::from_millionths(1_100_000), "20 s are missing");
    history.note(Slot(MONDAY - 19), &survey(5000, 1000, 900, Cpu), None);
    assert_eq!(history.ratio(monday, GPU), Ratio::from_millionths(1_100_000), "a meter over the CPU alone");
    assert_eq!(history.ratio(monday, 1 << Scope::Cpu as u16), Ratio::from_millionths(5_000_000));
    history.note(Slot(MONDAY - 18), &survey(1500, 1000, 900, Gpu), None);
    assert_eq!(history.ratio(monday, GPU), Ratio::from_millionths(1_500_000));
    history.note(Slot(MONDAY - 17), &survey(0, 1000, 900, Gpu), None);
    assert_eq!(history.ratio(monday, GPU), Ratio::from_millionths(750_000), "a meter that shows nothing is a reading");
}

#[test]
fn a_meter_is_expected_for_seven_days_and_where_it_was() {
    let mut history = history(&[]);
    assert!(!history.expects_meter(Slot(MONDAY), None));
    history.note(Slot(MONDAY), &survey(1200, 1000, 1, Gpu), None);
    for (slots, expected) in [(1, true), (672, true), (673, false)] {
        assert_eq!(history.expects_meter(Slot(MONDAY + slots), Some(3)), expected, "{slots} slots later");
    }
    let linked = bill_of(&[(Gpu, "a", 1000, 900)], &[(Chassis, "bmc", 1200, 900)], &Missed::default()).survey;
    history.note(Slot(MONDAY), &linked, Some(3));
    for (place, expected) in [(Some(3), true), (Some(4), false), (None, false)] {
        assert_eq!(history.expects_meter(Slot(MONDAY + 1), place), expected, "{place:?}");
    }
    history.note(Slot(MONDAY), &linked, None);
    assert!(!history.expects_meter(Slot(MONDAY + 1), None), "a chassis that it did not sit in");
}
