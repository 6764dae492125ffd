//! What a rollup adds up from rows and postings, against figures worked out on paper.

use std::collections::BTreeMap;

use aggregator::query::{CostQuery, HeldQuery, Zone, label_keys};
use billing::Figures;
use billing::daybook::DayBook;
use billing::inventory::read::inventory;
use billing::published::Snapshot;
use billing::topology::Topology;
use cost::{Answer, By, RateCard, Step, Where, Window};
use energy::boundary::Ratio;
use meter::{ByQuality, Energy, Owner, OwnerKind, Quality, Scope, Slot, Utc};
use store::Store;

use crate::fleet::{Fleet, MONDAY, cell, host, kj};

pub(crate) struct Ask<'a> {
    fleet: &'a Fleet,
    pub(crate) snapshot: Snapshot,
    pub(crate) topology: Topology,
    now: Utc,
    pub(crate) factor: Ratio,
    pub(crate) days: Option<&'a DayBook>,
    pub(crate) card: RateCard,
}

impl<'a> Ask<'a> {
    pub(crate) fn of(fleet: &'a Fleet, csv: &str, now: Utc) -> Self {
        let inventory = inventory("inventory.csv", csv.as_bytes()).expect("a good inventory");
        let topology = Topology::new(inventory.into(), fleet.snapshot(now).hardware());
        Self {
            fleet,
            snapshot: fleet.snapshot(now),
            topology,
            now,
            factor: Ratio::default(),
            days: None,
            card: RateCard::default(),
        }
    }

    pub(crate) fn answer(&self, by: &str, select: &str, step: Option<Step>, slots: std::ops::Range<i32>) -> Answer {
        let labels = label_keys(&self.snapshot, &self.topology.inventory);
        let query = CostQuery {
            window: Window::of_slots(Slot(slots.start), Slot(slots.end)),
            by: By::parse(by, &labels).expect("keys"),
            select: Where::parse(select, &labels).expect("a filter"),
            step,
            zone: Zone::of("UTC").expect("a zone"),
            held: HeldQuery::default(),
        };
        query.answer(&self.figures(), &self.card).expect("an answer")
    }

    pub(crate) fn figures(&self) -> Figures<'_> {
        let (store, topology): (&dyn Store, _) = (&*self.fleet.store, &self.topology);
        let (now, factor, days) = (self.now, self.factor, self.days);
        Figures { snapshot: &self.snapshot, store, topology, now, factor, days }
    }

    /// Kilojoules by the values of `by`.
    pub(crate) fn kj(&self, by: &str, select: &str, slots: std::ops::Range<i32>) -> BTreeMap<String, i128> {
        let answer = self.answer(by, select, None, slots);
        let name = |row: &cost::Row| by.split(',').map(|key| row.value(key)).collect::<Vec<_>>().join(",");
        let rows: BTreeMap<String, i128> =
            answer.rows.iter().map(|row| (name(row), row.energy_uj / 1_000_000_000)).collect();
        assert_eq!(answer.rows.iter().map(|row| row.energy_uj).sum::<i128>(), answer.total.energy_uj, "by={by}");
        rows
    }
}

pub(crate) fn figures(pairs: &[(&str, i128)]) -> BTreeMap<String, i128> {
    pairs.iter().map(|(name, kj)| ((*name).to_owned(), *kj)).collect()
}

const S: i32 = MONDAY.0;

/// Two hosts, a reference meter, a chassis of its own; two slots, of which the second is open.
///
/// node-1 has an outer meter: 900 kJ, then 450 kJ for half the slot, in which its GPU drew 500 kJ, so
/// that 250 kJ are estimated for the other half. node-2 has components only: 150 kJ and 30 kJ.
fn two_hosts() -> Fleet {
    let mut fleet = Fleet::new();
    let (one, two) = (host("node-1"), host("node-2"));
    fleet.owner(&one, &[(Scope::Chassis, ""), (Scope::Gpu, "a")], MONDAY, Slot(S + 1));
    fleet.label(&one, MONDAY.start(), &[("team", "nlp"), ("rack", "r1")]);
    fleet.open(&one, MONDAY, &[cell(kj(900), 900), cell(kj(600), 900)]);
    fleet.open(&one, Slot(S + 1), &[cell(kj(450), 450), cell(kj(500), 900)]);
    fleet.owner(&two, &[(Scope::Gpu, "b"), (Scope::Cpu, "package-0")], MONDAY, Slot(S + 1));
    fleet.label(&two, MONDAY.start(), &[("team", "wrong")]);
    fleet.open(&two, MONDAY, &[cell(kj(100), 900), cell(kj(50), 900)]);
    fleet.open(&two, Slot(S + 1), &[cell(kj(20), 600), cell(kj(10), 900)]);
    let pdu = Owner::new("default", OwnerKind::Meter, "pdu-1").expect("a name");
    fleet.owner(&pdu, &[(Scope::Pdu, "outlet-1")], MONDAY, Slot(S + 1));
    fleet.open(&pdu, MONDAY, &[cell(kj(7777), 900)]);
    let bmc = Owner::new("default", OwnerKind::Chassis, "bmc-9").expect("a name");
    fleet.owner(&bmc, &[(Scope::Chassis, "")], MONDAY, Slot(S + 1));
    fleet.open(&bmc, MONDAY, &[cell(kj(40), 900)]);
    fleet.settle_all(Slot(S + 1));
    fleet
}

/// node-2 belongs to cv in the first slot and to nlp in the second, whatever its agent says.
const TEAMS: &str = "host,valid_from,valid_to,team\n\
    node-2,,2026-10-05T00:15:00Z,cv\n\
    node-2,2026-10-05T00:15:00Z,,nlp\n";

#[test]
fn energy_is_what_was_worked_out_on_paper_under_every_grouping() {
    let fleet = two_hosts();
    let ask = Ask::of(&fleet, TEAMS, Slot(S + 2).start());
    let both = S..S + 2;
    assert_eq!(ask.kj("host", "", both.clone()), figures(&[("node-1", 1600), ("node-2", 180), ("bmc-9", 40)]));
    assert_eq!(ask.kj("team", "", both.clone()), figures(&[("nlp", 1630), ("cv", 150), ("", 40)]));
    assert_eq!(
        ask.kj("scope", "", both.clone()),
        // The meters saw 1600 kJ of node-1 and its GPU explains 1100; bmc-9 has no component at all.
        figures(&[("gpu", 1220), ("cpu", 60), ("unattributed", 540)])
    );
    assert_eq!(
        ask.kj("host,device", "host=node-2", both.clone()),
        figures(&[("node-2,b", 120), ("node-2,package-0", 60)])
    );
    assert_eq!(ask.kj("host", "team=nlp", both.clone()), figures(&[("node-1", 1600), ("node-2", 30)]));
    assert_eq!(ask.kj("host", "rack=r1", both), figures(&[("node-1", 1600)]));
    assert_eq!(ask.kj("host", "", S..S + 1), figures(&[("node-1", 900), ("node-2", 150), ("bmc-9", 40)]));
    assert_eq!(ask.kj("host", "host=node-1", S + 1..S + 2), figures(&[("node-1", 700)]));
}

#[test]
fn every_grouping_sums_to_the_same_integer() {
    let fleet = two_hosts();
    let ask = Ask::of(&fleet, TEAMS, Slot(S + 2).start());
    for select in ["", "team=nlp", "team!=nlp", "host=node-*"] {
        let total = |by: &str, step| ask.answer(by, select, step, S - 3..S + 5).total.energy_uj;
        let all = total("", None);
        for by in ["host", "team", "cluster,rack", "scope", "device", "host,scope,device", "chassis"] {
            for step in [None, Some(Step::Quarter), Some(Step::Hour), Some(Step::Day)] {
                assert_eq!(total(by, step), all, "by={by} where={select} step={step:?}");
            }
        }
    }
}

#[test]
fn quality_tells_metered_from_summed_and_measured_from_estimated() {
    let fleet = two_hosts();
    let ask = Ask::of(&fleet, TEAMS, Slot(S + 2).start());
    let quality = ask.answer("", "host=node-1", None, S..S + 2).total.quality;
    assert_eq!((quality.integrated_joules, quality.estimated_joules), (1_350_000.0, 250_000.0));
    assert_eq!((quality.metered_joules, quality.summed_joules), (1_600_000.0, 0.0));
    assert_eq!((quality.covered_seconds, quality.expected_seconds), (1350.0, 1800.0));
    let quality = ask.answer("", "host=node-2", None, S..S + 2).total.quality;
    assert_eq!((quality.metered_joules, quality.summed_joules), (0.0, 180_000.0));
}

#[test]
fn expected_time_runs_from_the_first_reading_to_retirement_or_now() {
    let fleet = two_hosts();
    let expected = |csv: &str, now: i32, slots: std::ops::Range<i32>| {
        let ask = Ask::of(&fleet, csv, Slot(S + now).start());
        let quality = ask.answer("", "host=node-2", None, slots).total.quality;
        (quality.covered_seconds, quality.expected_seconds)
    };
    // Nothing is expected before the first reading; silence afterwards is missing time, also in
    // slots that have neither posting nor cell.
    assert_eq!(expected("host\nnode-2\n", 6, S - 8..S + 12), (1800.0, 6.0 * 900.0));
    assert_eq!(expected("host,in_service\nnode-2,2026-10-04T23:00:00Z\n", 6, S - 8..S + 12), (1800.0, 10.0 * 900.0));
    assert_eq!(expected("host,retired\nnode-2,2026-10-05T00:45:00Z\n", 6, S - 8..S + 12), (1800.0, 3.0 * 900.0));
    assert_eq!(expected("host\nnode-2\n", 6, S + 4..S + 5), (0.0, 900.0));
    // What still comes in after retirement is energy, but covers no time that anybody expected.
    assert_eq!(expected("host,retired\nnode-2,2026-10-05T00:20:00Z\n", 6, S - 8..S + 12), (1200.0, 1200.0));
}

#[test]
fn a_posting_newer_than_the_row_is_left_out_so_nothing_counts_twice() {
    let mut fleet = two_hosts();
    let two = host("node-2");
    // A reader holds this snapshot while the next commit moves the open slot to the history.
    let held = fleet.snapshot(Slot(S + 2).start());
    fleet.settle(&two, Slot(S + 2));
    let later = Ask::of(&fleet, "host\nnode-2\n", Slot(S + 2).start());
    let before = Ask { snapshot: held, ..Ask::of(&fleet, "host\nnode-2\n", Slot(S + 2).start()) };
    for ask in [&before, &later] {
        assert_eq!(ask.kj("host", "host=node-2", S..S + 2), figures(&[("node-2", 180)]));
    }
    // The case must bite: both the open slot and its posting are there for the older reader.
    assert_eq!(before.snapshot.owner(&two).expect("the host").state.open.len(), 1);
    let mut postings = 0;
    let query = store::HistoryQuery { owners: Some(vec![two]), hours: i32::MIN..i32::MAX };
    fleet.store.history(&query, &mut |_| postings += 1).expect("a store in memory");
    assert_eq!(postings, 2);
}

#[test]
fn late_postings_of_one_hour_add_up_and_reversals_take_away() {
    let mut fleet = two_hosts();
    let one = host("node-1");
    let take_back = ByQuality::of(Quality::Estimated, -Energy::from_microjoules(1_000_000_000));
    fleet.open(&one, MONDAY, &[cell(kj(3), 0), cell(take_back, 0)]);
    fleet.settle(&one, Slot(S + 1));
    let ask = Ask::of(&fleet, "host\nnode-1\n", Slot(S + 2).start());
    assert_eq!(ask.kj("scope", "host=node-1", S..S + 1), figures(&[("gpu", 599), ("unattributed", 304)]));
}

#[test]
fn a_chassis_with_one_host_is_its_outer_meter_and_counts_once() {
    let mut fleet = two_hosts();
    let bmc = Owner::new("default", OwnerKind::Chassis, "bmc-2").expect("a name");
    fleet.owner(&bmc, &[(Scope::Chassis, "")], MONDAY, Slot(S + 1));
    fleet.open(&bmc, MONDAY, &[cell(kj(210), 900)]);
    fleet.open(&bmc, Slot(S + 1), &[cell(kj(90), 900)]);
    fleet.settle(&bmc, Slot(S + 1));
    let ask = Ask::of(&fleet, "host,chassis,team\nnode-2,bmc-2,cv\n", Slot(S + 2).start());
    assert_eq!(ask.kj("host", "host=node-2", S..S + 2), figures(&[("node-2", 300)]));
    assert_eq!(ask.kj("scope", "host=node-2", S..S + 2), figures(&[("gpu", 120), ("cpu", 60), ("unattributed", 120)]));
    assert_eq!(ask.kj("chassis", "team=cv", S..S + 2), figures(&[("bmc-2", 300)]));
    // A host that meters itself keeps its own meter; where that misses half of a slot, the chassis counts.
    let ask = Ask::of(&fleet, "host,chassis\nnode-1,bmc-2\n", Slot(S + 2).start());
    assert_eq!(ask.kj("host", "host=node-1", S..S + 1), figures(&[("node-1", 900)]));
    assert_eq!(ask.kj("host", "host=node-1", S + 1..S + 2), figures(&[("node-1", 90)]));
}

#[test]
fn a_chassis_whose_host_never_reported_is_billed_to_that_host() {
    let fleet = two_hosts();
    let ask = Ask::of(&fleet, "host,chassis,team\nnode-9,bmc-9,sys\n", Slot(S + 2).start());
    assert_eq!(ask.kj("team,host", "team=sys", S..S + 2), figures(&[("sys,node-9", 40)]));
}

#[test]
fn an_alias_is_shown_under_the_name_it_stands_for() {
    let fleet = two_hosts();
    let ask = Ask::of(&fleet, "host,alias_of,team\nnode-2,node-1,\nnode-1,,one\n", Slot(S + 40).start());
    assert_eq!(ask.kj("host,team", "host=node-1", S..S + 2), figures(&[("node-1,one", 1780)]));
    // Nothing is expected under the old name after its last reading.
    let quality = ask.answer("", "host=node-1", None, S..S + 40).total.quality;
    assert_eq!(quality.expected_seconds, (40 + 2) as f64 * 900.0);
}

/// An enclosure of two hosts with components only: 300 kJ in the first slot, 90 kJ in the second.
fn enclosure() -> Fleet {
    let mut fleet = two_hosts();
    let three = host("node-3");
    fleet.owner(&three, &[(Scope::Gpu, "c")], MONDAY, Slot(S + 1));
    fleet.open(&three, MONDAY, &[cell(kj(50), 900)]);
    let shared = Owner::new("default", OwnerKind::Chassis, "enc-1").expect("a name");
    fleet.owner(&shared, &[(Scope::Chassis, "psu-1"), (Scope::Chassis, "psu-2")], MONDAY, Slot(S + 1));
    fleet.open(&shared, MONDAY, &[cell(kj(100), 900), cell(kj(200), 900)]);
    fleet.open(&shared, Slot(S + 1), &[cell(kj(60), 900), cell(kj(30), 900)]);
    fleet.settle(&three, Slot(S + 1));
    fleet.settle(&shared, Slot(S + 1));
    fleet
}

#[test]
fn a_shared_chassis_is_counted_once_and_split_by_the_energy_of_components() {
    let fleet = enclosure();
    let ask = Ask::of(&fleet, "host,chassis,team\nnode-2,enc-1,a\nnode-3,enc-1,b\n", Slot(S + 2).start());
    // 150 : 50 in the first slot; in the second node-3 has no reading, so node-2 has all of it.
    let both = S..S + 2;
    assert_eq!(ask.kj("team", "chassis=enc-1", both.clone()), figures(&[("a", 225 + 90), ("b", 75)]));
    assert_eq!(
        ask.kj("scope", "chassis=enc-1", both.clone()),
        figures(&[("gpu", 120 + 50), ("cpu", 60), ("unattributed", 390 - 230)])
    );
    assert_eq!(ask.kj("host", "team=b", both.clone()), figures(&[("node-3", 75)]), "where does not change shares");
    // The whole fleet: what it was, less the components, plus the enclosure.
    assert_eq!(ask.answer("", "", None, both).total.energy_uj, (1600 + 40 + 390) * 1_000_000_000);
    let quality = ask.answer("", "host=node-3", None, S..S + 2).total.quality;
    assert_eq!((quality.metered_joules, quality.covered_seconds), (75_000.0, 1800.0));
}

#[test]
fn a_host_that_meters_itself_takes_its_own_out_of_the_shared_chassis() {
    let fleet = enclosure();
    let ask = Ask::of(&fleet, "host,chassis\nnode-1,enc-1\nnode-3,enc-1\n", Slot(S + 2).start());
    // node-1 measures 900 kJ itself: more than the enclosure, which shows as a negative rest. In the second
    // slot its meter misses half, so it takes a share like the others: all of it, as node-3 has no reading.
    let shares = ask.kj("host", "chassis=enc-1", S..S + 2);
    assert_eq!(shares, figures(&[("node-1", 900 + 90), ("node-3", 300 - 900)]));
}

#[test]
fn a_host_that_moves_between_chassis_is_split_by_date() {
    let fleet = enclosure();
    let csv = "host,chassis,valid_from,valid_to\n\
        node-2,enc-1,,2026-10-05T00:15:00Z\nnode-2,bmc-9,2026-10-05T00:15:00Z,\nnode-3,enc-1,,\n";
    let ask = Ask::of(&fleet, csv, Slot(S + 2).start());
    // First slot: 225 of enc-1. Second: bmc-9 read nothing, so its 30 kJ of components stand; enc-1's 90
    // are node-3's. bmc-9's 40 kJ of the first slot have no other host to go to.
    assert_eq!(
        ask.kj("host,chassis", "host=node-2|node-3", S..S + 2),
        figures(&[("node-2,enc-1", 225 + 40), ("node-2,bmc-9", 30), ("node-3,enc-1", 75 + 90)])
    );
}

#[test]
fn an_alias_does_not_count_its_hosts_chassis_again() {
    let fleet = two_hosts();
    let ask = Ask::of(&fleet, "host,alias_of,chassis\nnode-2,node-9,\nnode-9,,bmc-9\n", Slot(S + 2).start());
    assert_eq!(ask.kj("host", "host=node-9", S..S + 2), figures(&[("node-9", 180 + 40)]));
}
