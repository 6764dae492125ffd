//! The boundary over days and owners: what rollups bill where meters miss time, devices are read twice, and
//! chassis are shared.

use energy::{Account, BootDate, Edge, Hole, Rare};
use meter::{Owner, OwnerKind, Scope, Slot, Utc};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::rollup::{Ask, figures};

const S: i32 = MONDAY.0;
const DAY: i32 = 96;

/// A hole of an account, in seconds after the start of a slot.
fn hole(account: &mut Account, slot: i32, seconds: std::ops::Range<i64>) {
    let edge = |second: i64| Edge { at: Utc(Slot(slot).start().0 + second * 1_000_000_000), ..Edge::default() };
    let hole = Hole { start: edge(seconds.start), end: edge(seconds.end), estimate: None };
    account.rare.get_or_insert_with(|| Box::new(Rare::default())).holes.push(hole);
}

fn chassis(name: &str) -> Owner {
    Owner::new("default", OwnerKind::Chassis, name).expect("a name")
}

/// A host with a BMC and a GPU on two days before Monday, 900 kJ and 720 kJ a slot, and on Monday from 02:00 to
/// 04:00. At 02:15 the BMC misses a minute.
fn metered() -> Fleet {
    let mut fleet = Fleet::new();
    let one = host("node-1");
    fleet.owner(&one, &[(Scope::Chassis, "bmc"), (Scope::Gpu, "a")], Slot(S - 2 * DAY), Slot(S + 15));
    for slot in [S - 2 * DAY, S - DAY, S - DAY + 1, S + 8] {
        fleet.open(&one, Slot(slot), &[cell(kj(900), 900), cell(kj(720), 900)]);
    }
    fleet.open(&one, Slot(S + 9), &[cell(kj(840), 840), cell(kj(720), 900)]);
    for slot in S + 10..S + 16 {
        fleet.open(&one, Slot(slot), &[cell(kj(900), 900), cell(kj(720), 900)]);
    }
    hole(&mut fleet.state(&one).accounts[0], S + 9, 300..360);
    fleet
}

#[test]
fn a_minute_that_the_bmc_missed_is_billed_as_if_it_had_not() {
    let mut fleet = metered();
    fleet.settle_all(Slot(S + 15));
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 16).start());
    for (slots, kilojoules) in [(S + 9..S + 10, 900), (S + 8..S + 16, 7200), (S..S + DAY, 7200)] {
        assert_eq!(ask.kj("host", "", slots), figures(&[("node-1", kilojoules)]));
    }
    assert_eq!(ask.kj("scope", "", S + 9..S + 10), figures(&[("gpu", 720), ("unattributed", 180)]));
    let total = ask.answer("", "", None, S + 8..S + 16).total;
    let quality = total.quality;
    assert_eq!((quality.estimated_joules, quality.integrated_joules), (60_000.0, 7_140_000.0));
    assert_eq!((quality.metered_seconds, quality.summed_seconds, quality.ratio_seconds), (7140.0, 0.0, 60.0));
    assert_eq!(quality.covered_seconds, 7140.0);
    assert_eq!(total.methods, ["meter", "component-ratio"]);
    assert!(total.flags.is_empty());
    assert_eq!(ask.answer("", "", None, S + 8..S + 9).total.methods, ["meter"]);
}

#[test]
fn without_days_before_the_days_own_slots_decide_and_before_them_the_factor() {
    for (first, factor, expected) in
        [(S + 8, 2_000_000, 900), (S + 9, 2_000_000, 840 + 96), (S + 9, 1_000_000, 840 + 48)]
    {
        let mut fleet = Fleet::new();
        let one = host("node-1");
        fleet.owner(&one, &[(Scope::Chassis, "bmc"), (Scope::Gpu, "a")], Slot(first), Slot(S + 15));
        for slot in first..S + 9 {
            fleet.open(&one, Slot(slot), &[cell(kj(900), 900), cell(kj(720), 900)]);
        }
        fleet.open(&one, Slot(S + 9), &[cell(kj(840), 840), cell(kj(720), 900)]);
        hole(&mut fleet.state(&one).accounts[0], S + 9, 300..360);
        let mut ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 16).start());
        ask.factor = energy::boundary::Ratio::from_millionths(factor);
        assert_eq!(ask.kj("host", "", S + 9..S + 10), figures(&[("node-1", expected)]), "{first} {factor}");
    }
}

#[test]
fn a_dead_meter_is_missed_for_a_week_and_then_there_is_none() {
    let mut fleet = Fleet::new();
    let one = host("node-1");
    fleet.owner(&one, &[(Scope::Chassis, "bmc"), (Scope::Gpu, "a")], MONDAY, Slot(S + 10 * DAY));
    fleet.open(&one, MONDAY, &[cell(kj(900), 900), cell(kj(720), 900)]);
    for day in 1..10 {
        fleet.open(&one, Slot(S + day * DAY), &[cell(kj(0), 0), cell(kj(720), 900)]);
    }
    let dead = &mut fleet.state(&one).accounts[0];
    dead.frontier.at = Slot(S + 1).start();
    fleet.settle_all(Slot(S + 20 * DAY));
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 11 * DAY).start());
    for (day, kilojoules) in [(0, 900), (1, 900), (6, 900), (7, 900), (8, 720), (9, 720)] {
        let slots = S + day * DAY..S + (day + 1) * DAY;
        let answer = ask.answer("", "", None, slots.clone()).total;
        assert_eq!(ask.kj("host", "", slots), figures(&[("node-1", kilojoules)]), "day {day}");
        let quality = answer.quality;
        let (metered, summed) = (if day == 0 { 900.0 } else { 0.0 }, if day > 7 { 900.0 } else { 0.0 });
        assert_eq!((quality.metered_seconds, quality.summed_seconds), (metered, summed), "day {day}");
    }
    // Before its first reading nothing was missed, and while more may come nothing is yet.
    let state = fleet.state(&one);
    state.accounts[0].first.at = Slot(S + 9 * DAY).start();
    state.accounts[0].frontier.at = Slot(S + 9 * DAY + 1).start();
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 9 * DAY + 1).end());
    assert_eq!(ask.kj("host", "", S + 5 * DAY..S + 6 * DAY), figures(&[("node-1", 720)]));
}

#[test]
fn a_linked_meter_is_missed_only_while_the_host_sits_in_its_chassis() {
    let mut fleet = Fleet::new();
    let (one, bmc) = (host("node-1"), chassis("bmc-1"));
    fleet.owner(&one, &[(Scope::Gpu, "a")], MONDAY, Slot(S + 7));
    fleet.owner(&bmc, &[(Scope::Chassis, "bmc")], MONDAY, Slot(S + 3));
    for slot in S..S + 8 {
        fleet.open(&one, Slot(slot), &[cell(kj(720), 900)]);
    }
    for slot in S..S + 4 {
        fleet.open(&bmc, Slot(slot), &[cell(kj(900), 900)]);
    }
    fleet.settle_all(Slot(S + 8));
    let csv = "host,chassis,valid_from,valid_to\nnode-1,bmc-1,,2026-10-05T01:30:00Z\n";
    let ask = Ask::of(&fleet, csv, Slot(S + 40).start());
    for (slot, kilojoules) in [(3, 900), (4, 900), (5, 900), (6, 720), (7, 720)] {
        let slots = S + slot..S + slot + 1;
        assert_eq!(ask.kj("host", "", slots), figures(&[("node-1", kilojoules)]), "slot {slot}");
    }
}

#[test]
fn a_slot_of_long_ago_that_is_open_again_is_billed_with_its_history() {
    let mut fleet = Fleet::new();
    let one = host("node-1");
    fleet.owner(&one, &[(Scope::Chassis, "bmc"), (Scope::Gpu, "a")], MONDAY, Slot(S + 20 * DAY + 1));
    fleet.open(&one, Slot(S + DAY), &[cell(kj(800), 800), cell(kj(720), 900)]);
    for slot in [S + 19 * DAY, S + 20 * DAY] {
        fleet.open(&one, Slot(slot), &[cell(kj(900), 900), cell(kj(720), 900)]);
    }
    fleet.settle_all(Slot(S + 30 * DAY));
    // What was late for the second day has just come; the meter misses a minute of the newest slot.
    fleet.open(&one, Slot(S + DAY), &[cell(kj(100), 100), cell(kj(0), 0)]);
    fleet.open(&one, Slot(S + 20 * DAY + 1), &[cell(kj(840), 840), cell(kj(720), 900)]);
    hole(&mut fleet.state(&one).accounts[0], S + 20 * DAY + 1, 300..360);
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 21 * DAY).start());
    assert_eq!(ask.kj("host", "", S..S + 21 * DAY), figures(&[("node-1", 4 * 900)]));
    assert_eq!(ask.kj("host", "", S + DAY..S + 2 * DAY), figures(&[("node-1", 900)]));
}

const UUID: &str = "GPU-5a1c0000-1234-abcd-ef00-00000000beef";

/// One GPU read by node-1's own agent and by a scraper that calls the node node-2. node-1 misses the second slot.
fn read_twice() -> Fleet {
    let mut fleet = Fleet::new();
    let (one, two) = (host("node-1"), host("node-2"));
    fleet.owner(&one, &[(Scope::Cpu, "package-0"), (Scope::Gpu, UUID)], MONDAY, Slot(S + 2));
    fleet.owner(&two, &[(Scope::Gpu, UUID), (Scope::Dram, "d")], MONDAY, Slot(S + 2));
    for slot in S..S + 3 {
        let gpu = if slot == S + 1 { cell(kj(0), 0) } else { cell(kj(500), 900) };
        fleet.open(&one, Slot(slot), &[cell(kj(50), 900), gpu]);
        fleet.open(&two, Slot(slot), &[cell(kj(510), 900), cell(kj(20), 900)]);
    }
    let own = BootDate { boot: [1; 16], mono: 0, utc: Utc(0), own: true };
    fleet.state(&one).boots.push(own);
    hole(&mut fleet.state(&one).accounts[1], S + 1, 0..900);
    fleet
}

#[test]
fn a_gpu_at_two_hosts_is_billed_once_and_both_are_flagged() {
    let fleet = read_twice();
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 3).start());
    let all = S..S + 3;
    let expected = [("node-1", 550), ("node-2", 20)];
    assert_eq!(ask.kj("host", "", S..S + 1), figures(&expected), "in band goes before on behalf");
    assert_eq!(ask.kj("host", "", S + 1..S + 2), figures(&[("node-1", 50), ("node-2", 530)]), "who has it counts");
    assert_eq!(ask.kj("scope", "", all.clone()), figures(&[("gpu", 500 + 510 + 500), ("cpu", 150), ("dram", 60)]));
    assert_eq!(ask.kj("host", "host=node-2", all.clone()), figures(&[("node-2", 570)]), "where does not change it");
    for by in ["", "host", "scope", "device", "host,device"] {
        assert_eq!(ask.answer(by, "", None, all.clone()).total.energy_uj, 1_720_000_000_000, "by={by}");
    }
    let answer = ask.answer("host", "", None, all);
    for row in &answer.rows {
        assert_eq!(row.flags.get("same-device-elsewhere"), Some(&2), "{row:?}");
    }
    assert_eq!((answer.total.flags["same-device-elsewhere"], answer.flagged_hosts), (4, 2));
    let names: Vec<&str> = answer.flagged.iter().map(|host| host.host.as_str()).collect();
    assert_eq!(names, ["node-1", "node-2"]);
    let csv = cost::to_csv(&answer).expect("a table");
    assert!(csv.contains("component-sum,same-device-elsewhere=2"), "{csv}");
}

#[test]
fn a_counter_goes_before_power_and_what_was_first_before_what_came_later() {
    let mut fleet = read_twice();
    fleet.state(&host("node-2")).accounts[0].frontier.counter =
        Some(energy::Count { value: meter::Microjoules(1), epoch: 0 });
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 3).start());
    assert_eq!(ask.kj("host", "", S..S + 1), figures(&[("node-1", 50), ("node-2", 530)]));

    let mut fleet = read_twice();
    fleet.state(&host("node-1")).boots.clear();
    fleet.state(&host("node-1")).accounts[1].first.at = Utc(MONDAY.start().0 + 1);
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 3).start());
    assert_eq!(ask.kj("host", "", S + 2..S + 3), figures(&[("node-1", 50), ("node-2", 530)]));
}

#[test]
fn a_gpu_that_was_moved_is_no_doubt() {
    let mut fleet = Fleet::new();
    for (name, slot) in [("node-1", S), ("node-2", S + 1)] {
        fleet.owner(&host(name), &[(Scope::Gpu, UUID)], Slot(slot), Slot(slot));
        fleet.open(&host(name), Slot(slot), &[cell(kj(500), 900)]);
    }
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 3).start());
    assert_eq!(ask.kj("host", "", S..S + 2), figures(&[("node-1", 500), ("node-2", 500)]));
    assert!(ask.answer("", "", None, S..S + 2).total.flags.is_empty());
}

#[test]
fn a_bmc_that_names_its_hosts_gpu_is_no_second_owner_of_it() {
    let mut fleet = Fleet::new();
    fleet.owner(&host("node-1"), &[(Scope::Gpu, UUID)], MONDAY, MONDAY);
    fleet.owner(&chassis("bmc-1"), &[(Scope::Chassis, "bmc"), (Scope::Gpu, UUID)], MONDAY, MONDAY);
    fleet.open(&host("node-1"), MONDAY, &[cell(kj(500), 900)]);
    fleet.open(&chassis("bmc-1"), MONDAY, &[cell(kj(700), 900), cell(kj(510), 900)]);
    let ask = Ask::of(&fleet, "host,chassis\nnode-1,bmc-1\n", Slot(S + 3).start());
    assert_eq!(ask.kj("scope", "", S..S + 1), figures(&[("gpu", 500), ("unattributed", 200)]));
    assert!(ask.answer("", "", None, S..S + 1).total.flags.is_empty());
}

#[test]
fn a_meter_below_its_components_is_reported_and_rewritten_nowhere() {
    let mut fleet = Fleet::new();
    let one = host("node-1");
    fleet.owner(&one, &[(Scope::Chassis, "bmc"), (Scope::Gpu, "a")], MONDAY, Slot(S + 2));
    for (slot, meter) in [(S, 700), (S + 1, 720), (S + 2, 600)] {
        fleet.open(&one, Slot(slot), &[cell(kj(meter), 900), cell(kj(740), 900)]);
    }
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 3).start());
    assert_eq!(ask.kj("scope", "", S..S + 3), figures(&[("gpu", 3 * 740), ("unattributed", 2020 - 3 * 740)]));
    let answer = ask.answer("host", "", None, S..S + 3);
    assert_eq!(answer.rows[0].flags["meter-below-components"], 2, "700 and 600 of 740 kJ, not 720");
}

#[test]
fn a_reference_meter_of_a_host_changes_neither_energy_nor_time() {
    let mut fleet = Fleet::new();
    let one = host("node-1");
    fleet.owner(&one, &[(Scope::Pdu, "outlet-1"), (Scope::Gpu, "a"), (Scope::Facility, "hall")], MONDAY, Slot(S + 1));
    fleet.open(&one, MONDAY, &[cell(kj(7777), 900), cell(kj(0), 0), cell(kj(9999), 900)]);
    fleet.open(&one, Slot(S + 1), &[cell(kj(7777), 900), cell(kj(5), 900), cell(kj(9999), 900)]);
    fleet.state(&one).accounts[1].first.at = Slot(S + 1).start();
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 2).start());
    assert_eq!(ask.kj("scope,device", "", S..S + 2), figures(&[("gpu,a", 5)]));
    let quality = ask.answer("", "", None, S..S + 2).total.quality;
    assert_eq!((quality.covered_seconds, quality.expected_seconds), (900.0, 900.0));
}

/// Four sleds, of which three have components, in an enclosure with two supplies.
fn sleds() -> Fleet {
    let mut fleet = Fleet::new();
    for (sled, kilojoules) in [(1, 100), (2, 200), (3, 300), (4, 0)] {
        let one = host(&format!("sled-{sled}"));
        fleet.owner(&one, &[(Scope::Cpu, "package-0")], MONDAY, Slot(S + 2));
        for slot in S..S + 3 {
            let seconds = if kilojoules > 0 { 900 } else { 0 };
            fleet.open(&one, Slot(slot), &[cell(kj(kilojoules), seconds)]);
        }
    }
    let enclosure = chassis("enc-1");
    fleet.owner(&enclosure, &[(Scope::Chassis, "psu-1"), (Scope::Chassis, "psu-2")], MONDAY, Slot(S + 2));
    fleet.open(&enclosure, MONDAY, &[cell(kj(350), 900), cell(kj(400), 900)]);
    // It misses a third of the second slot, and is right again in the third.
    fleet.open(&enclosure, Slot(S + 1), &[cell(kj(250), 600), cell(kj(250), 600)]);
    fleet.open(&enclosure, Slot(S + 2), &[cell(kj(375), 900), cell(kj(375), 900)]);
    for account in &mut fleet.state(&enclosure).accounts {
        hole(account, S + 1, 300..600);
    }
    fleet
}

const SLEDS: &str = "host,chassis\n\"sled-[1-4]\",enc-1\n";

#[test]
fn four_sleds_share_an_enclosure_once_and_the_method_is_named() {
    let fleet = sleds();
    let ask = Ask::of(&fleet, SLEDS, Slot(S + 3).start());
    let first = ask.kj("host", "", S..S + 1);
    assert_eq!(first, figures(&[("sled-1", 125), ("sled-2", 250), ("sled-3", 375), ("sled-4", 0)]));
    let answer = ask.answer("host", "", None, S..S + 1);
    assert_eq!(answer.total.energy_uj, 750_000_000_000);
    assert_eq!(answer.total.methods, ["shared-chassis/component-energy"]);
    // Of 100 kJ of components 33 fall on the time that the enclosure missed: 1.25 of them, as the slot before
    // says.
    let second = ask.answer("host", "", None, S + 1..S + 2);
    for (row, kilojoules) in second.rows.iter().zip([125, 250, 375, 0]) {
        let lost = kilojoules * 1_000_000_000 - row.energy_uj;
        assert!((0..=1).contains(&lost), "{row:?}");
    }
    let total = ask.answer("", "", None, S + 1..S + 2).total;
    assert!((749_999_999_990..=750_000_000_000).contains(&total.energy_uj), "{}", total.energy_uj);
    assert_eq!(total.methods, ["component-ratio", "shared-chassis/component-energy"]);
    for by in ["host", "scope", "chassis", "host,device"] {
        for slots in [S..S + 1, S + 1..S + 2, S..S + 3] {
            let whole = ask.answer("", "", None, slots.clone()).total.energy_uj;
            let rows: i128 = ask.answer(by, "", None, slots).rows.iter().map(|row| row.energy_uj).sum();
            assert_eq!(rows, whole, "by={by}");
        }
    }
}

#[test]
fn sleds_without_any_component_share_evenly() {
    let mut fleet = sleds();
    for sled in 1..=4 {
        for open in &mut fleet.state(&host(&format!("sled-{sled}"))).open {
            open.cells = vec![cell(kj(0), 0)];
        }
    }
    let ask = Ask::of(&fleet, SLEDS, Slot(S + 3).start());
    let halves = ask.kj("host", "", S + 2..S + 3);
    assert_eq!(halves, figures(&[("sled-1", 187), ("sled-2", 187), ("sled-3", 187), ("sled-4", 187)]));
    let total = ask.answer("", "", None, S + 2..S + 3).total;
    assert_eq!((total.energy_uj, total.methods), (750_000_000_000, vec!["shared-chassis/even".into()]));
}

#[test]
fn sleds_that_all_meter_themselves_share_what_the_enclosure_draws_besides() {
    let mut fleet = Fleet::new();
    for (sled, kilojoules) in [(1, 100), (2, 300)] {
        let one = host(&format!("sled-{sled}"));
        fleet.owner(&one, &[(Scope::Chassis, "dcmi")], MONDAY, MONDAY);
        fleet.open(&one, MONDAY, &[cell(kj(kilojoules), 900)]);
    }
    fleet.owner(&chassis("enc-1"), &[(Scope::Chassis, "bmc")], MONDAY, MONDAY);
    fleet.open(&chassis("enc-1"), MONDAY, &[cell(kj(440), 900)]);
    let ask = Ask::of(&fleet, "host,chassis\n\"sled-[1-2]\",enc-1\n", Slot(S + 1).start());
    assert_eq!(ask.kj("host", "", S..S + 1), figures(&[("sled-1", 110), ("sled-2", 330)]));
    let total = ask.answer("", "", None, S..S + 1).total;
    assert_eq!(total.methods, ["meter", "shared-chassis/component-energy"]);
}
