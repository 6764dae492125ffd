//! Which outermost meter is billed, and what it is split into.

use energy::{Billed, Boundary, Cell, Missed};
use meter::{ByQuality, Doubt, Energy, Method, Milliwatts, Quality, Scope};

use crate::support::{Entry, SLOT, bill_of, billed, cells, keys, told};

use Scope::{Chassis, Cpu, Dram, Facility, Gpu, Pdu};

#[test]
fn without_a_meter_components_are_summed() {
    let components = [(Gpu, "a", 5, 900), (Gpu, "b", 7, 900), (Cpu, "package-0", 1, 900)];
    let (_, total, metered) = billed(&components);
    assert_eq!((total, metered), (13, false));
    let out = bill_of(&components, &[], &Missed::default());
    assert_eq!((out.covered_ns, out.methods.codes().collect::<Vec<_>>()), (SLOT, vec!["component-sum"]));
}

#[test]
fn a_meter_is_billed_once_and_split_into_components_and_the_rest() {
    let (lines, total, metered) = billed(&[(Gpu, "a", 50, 900), (Chassis, "wall", 80, 900), (Dram, "d", 5, 900)]);
    assert_eq!(lines, [(Some(0), 50), (Some(2), 5), (None, 25)]);
    assert_eq!((total, metered), (80, true));
}

#[test]
fn parts_count_only_where_the_whole_does_not() {
    let parts = [(Chassis, "wall/ch1", 30, 900), (Chassis, "wall/ch2", 50, 900)];
    assert_eq!(billed(&[&[(Chassis, "wall", 81, 900)], &parts[..]].concat()).1, 81);
    assert_eq!(billed(&[&[(Chassis, "wall", 0, 0)], &parts[..]].concat()).1, 80);
    assert_eq!(billed(&[(Cpu, "package-0", 9, 900), (Cpu, "package-0/core", 7, 900)]).1, 9);
    let mig = [(Gpu, "GPU-1", 9, 900), (Gpu, "MIG-GPU-1/3/0", 9, 900), (Gpu, "MIG-GPU-1/5/0", 9, 900)];
    assert_eq!(billed(&mig).1, 9, "a MIG instance is a part of its board");
    assert_eq!(billed(&[(Gpu, "GPU-1", 9, 900), (Gpu, "MIG-GPU-11/5/0", 4, 900)]).1, 13);
}

/// Meters of one machine in one slot, the chassis' after the owner's, and which is billed.
type Choice<'a> = (&'a [Entry<'a>], &'a [Entry<'a>], i128);

#[test]
fn of_meters_that_see_the_same_power_the_first_in_order_counts() {
    let order: [Choice<'_>; 11] = [
        (&[(Chassis, "dcmi", 2, 900), (Chassis, "bmc", 1, 900)], &[], 1),
        (&[(Chassis, "pm-counters", 3, 900), (Chassis, "dcmi", 2, 900)], &[], 2),
        (&[(Chassis, "psu-1", 2, 900), (Chassis, "psu-2", 2, 900), (Chassis, "pm-counters", 3, 900)], &[], 3),
        (&[(Chassis, "psu-1", 2, 900), (Chassis, "psu-2", 2, 900), (Chassis, "acpi-power-meter", 5, 900)], &[], 4),
        (&[(Chassis, "ear-dc", 6, 900), (Chassis, "acpi-power-meter", 5, 900)], &[], 5),
        (&[(Chassis, "acpi-power-meter-1", 5, 900), (Chassis, "acpi-power-meter-2", 5, 900)], &[], 10),
        (&[(Chassis, "bmc/psu-1", 20, 900), (Chassis, "bmc/psu-2", 20, 900), (Chassis, "dcmi", 2, 900)], &[], 40),
        (&[(Chassis, "bmc/psu-1", 20, 900), (Chassis, "bmc", 1, 900)], &[], 1),
        // The operator's own go before all, and add up.
        (&[(Chassis, "bmc", 1, 900), (Chassis, "feed-a", 7, 900), (Chassis, "feed-b", 8, 900)], &[], 15),
        // The chassis' BMC goes before the host's IPMI; the host's own BMC before the chassis'.
        (&[(Chassis, "dcmi", 2, 900)], &[(Chassis, "bmc", 1, 900)], 1),
        (&[(Chassis, "bmc", 9, 900)], &[(Chassis, "bmc", 1, 900)], 9),
    ];
    for (own, linked, expected) in order {
        let (_, total, metered) = told(&bill_of(own, linked, &Missed::default()));
        assert_eq!((total, metered), (expected, true), "{own:?} {linked:?}");
    }
}

#[test]
fn the_meter_that_covers_most_counts_unless_it_is_a_matter_of_seconds() {
    let choices: [Choice<'_>; 6] = [
        (&[(Chassis, "bmc", 1, 900), (Chassis, "dcmi", 2, 900)], &[], 1),
        (&[(Chassis, "bmc", 1, 890), (Chassis, "dcmi", 2, 900)], &[], 1),
        (&[(Chassis, "bmc", 1, 889), (Chassis, "dcmi", 2, 900)], &[], 2),
        (&[(Chassis, "wall", 1, 300), (Chassis, "bmc", 2, 840), (Chassis, "dcmi", 3, 845)], &[], 2),
        // The whole has a long hole that its parts do not have.
        (&[(Chassis, "bmc", 1, 300), (Chassis, "bmc/psu-1", 4, 900), (Chassis, "bmc/psu-2", 5, 900)], &[], 9),
        (&[(Chassis, "bmc", 1, 450)], &[(Chassis, "bmc", 2, 900)], 2),
    ];
    for (own, linked, expected) in choices {
        assert_eq!(told(&bill_of(own, linked, &Missed::default())).1, expected, "{own:?} {linked:?}");
    }
}

#[test]
fn nothing_is_twice_where_owner_and_chassis_report_the_same_components() {
    let own = [(Gpu, "GPU-1", 30, 900), (Gpu, "GPU-2", 31, 900)];
    let linked =
        [(Chassis, "bmc", 100, 900), (Gpu, "slot-1", 33, 900), (Gpu, "slot-2", 34, 900), (Cpu, "CPU1", 9, 900)];
    let (lines, total, _) = told(&bill_of(&own, &linked, &Missed::default()));
    assert_eq!(lines, [(Some(0), 30), (Some(1), 31), (Some(5), 9), (None, 30)]);
    assert_eq!(total, 100);
    // Where the host's own agent was away for a while the chassis tells more.
    let own = [(Gpu, "GPU-1", 10, 300), (Gpu, "GPU-2", 10, 300)];
    let (lines, ..) = told(&bill_of(&own, &linked, &Missed::default()));
    assert_eq!(lines, [(Some(3), 33), (Some(4), 34), (Some(5), 9), (None, 24)]);
}

#[test]
fn a_meter_below_its_components_shows_a_negative_rest_and_more_than_5_percent_are_flagged() {
    for (meter, seconds, flagged) in
        [(40, 900, true), (47, 900, true), (48, 900, false), (40, 880, false), (60, 900, false)]
    {
        let out = bill_of(&[(Chassis, "bmc", meter, seconds), (Gpu, "a", 50, seconds)], &[], &Missed::default());
        let rest = i128::from(meter) - 50;
        assert_eq!(told(&out), (vec![(Some(1), 50), (None, rest)], i128::from(meter), true));
        assert_eq!(out.doubts.contains(Doubt::MeterBelowComponents), flagged, "{meter} J over {seconds} s");
    }
}

#[test]
fn reference_meters_are_never_billed_nor_do_they_explain_anything() {
    let references = [(Pdu, "outlet-1", 40, 900), (Facility, "main", 50, 900)];
    assert_eq!(billed(&references), (vec![], 0, false));
    let all = [&references[..], &[(Chassis, "bmc", 30, 900), (Gpu, "a", 20, 900)]].concat();
    assert_eq!(billed(&all), (vec![(Some(3), 20), (None, 10)], 30, true));
    let summed = [&references[..], &[(Gpu, "a", 20, 900)]].concat();
    assert_eq!(billed(&summed), (vec![(Some(2), 20)], 20, false));
}

#[test]
fn a_slot_may_have_fewer_cells_than_there_are_accounts() {
    let entries = [(Gpu, "a", 5, 900), (Chassis, "bmc", 80, 900)];
    let mut out = Billed::default();
    Boundary::new(&keys(&entries), &[]).bill(&cells(&entries)[..1], &mut out);
    assert_eq!(told(&out), (vec![(Some(0), 5)], 5, false));
    assert!(out.methods.contains(Method::ComponentSum));
}

#[test]
fn lifetimes_of_a_megawatt_for_decades_are_billed_without_overflow() {
    let years = 30 * 365 * 86_400_u64;
    let megawatt = |seconds: u64| Energy::of_constant(Milliwatts(1_000_000_000), seconds * 1_000_000_000);
    let energy = ByQuality([Energy(0), megawatt(years), megawatt(86_400)]);
    let covered_ns = years * 1_000_000_000;
    let entries = [(Chassis, "bmc", 0, 0), (Gpu, "a", 0, 0)];
    let meter = Cell { energy, covered_ns: covered_ns - 86_400_000_000_000 };
    let mut out = Billed::default();
    Boundary::new(&keys(&entries), &[]).bill(&[meter, Cell { energy, covered_ns }], &mut out);
    assert!(out.total() > megawatt(years));
    assert_eq!(out.lines[1].energy[Quality::Integrated], Energy::ZERO);
}
