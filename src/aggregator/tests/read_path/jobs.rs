//! Whose energy a machine's is: rows with holds and cuts, against the rule worked out on paper.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use aggregator::jobs::following::missing;
use aggregator::query::{CostQuery, HeldQuery, Zone, label_keys};
use cost::{Answer, By, Policies, Policy, RateCard, Step, Where, Window};
use energy::{Cell, Cut, CutCells};
use meter::{Allocation, ByQuality, Energy, Hold, Owner, OwnerKind, Quality, Scope, Slot, Utc};
use proptest::prelude::*;
use store::{Store, records};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::rollup::Ask;

const S: i32 = MONDAY.0;
const SECOND: i64 = 1_000_000_000;

/// A second after the first slot's beginning.
fn at(second: i64) -> Utc {
    Utc(MONDAY.start().0 + second * SECOND)
}

fn job(id: &str, user: &str, devices: &[&str], cores: u32) -> Allocation {
    let devices = devices.iter().map(|name| Arc::from(*name)).collect();
    let user = user.into();
    Allocation { id: id.into(), user, account: "phys".into(), devices, cores, cores_of: 64, ..Allocation::default() }
}

fn hold(fleet: &mut Fleet, owner: &Owner, job: Allocation, from: i64, until: Option<i64>) {
    let hold = Hold { from: at(from), until: until.map(at), allocation: job.into() };
    match records::encode_hold(owner, &hold) {
        Some((name, bytes)) => fleet.store.put_document(&name, &bytes).expect("a store in memory"),
        None => fleet.state(owner).holds.push(hold),
    }
}

/// A machine with a meter, two GPUs and a CPU, in two slots: 900, 300, 200 and 160 kJ in each.
const ACCOUNTS: [(Scope, &str); 4] =
    [(Scope::Chassis, "wall"), (Scope::Gpu, "GPU-0"), (Scope::Gpu, "GPU-1"), (Scope::Cpu, "package-0")];

fn machine(fleet: &mut Fleet, name: &str) -> Owner {
    let owner = host(name);
    fleet.owner(&owner, &ACCOUNTS, MONDAY, Slot(S + 1));
    for slot in [MONDAY, Slot(S + 1)] {
        fleet.open(&owner, slot, &[900, 300, 200, 160].map(|joules| cell(kj(joules), 900)));
    }
    owner
}

/// What the accounts had used of the first slot before an instant in it; nothing where it is not known.
fn cut(fleet: &mut Fleet, owner: &Owner, second: i64, known: [Option<u64>; 4]) {
    let cells = known.map(|known| known.map(|joules| cell(kj(joules), second as u64))).to_vec();
    fleet.state(owner).open[0].cuts.push(CutCells { at: at(second), cells });
}

fn ask(fleet: &Fleet, by: &str, select: &str, held: HeldQuery) -> Answer {
    let ask = Ask::of(fleet, "host,team\nnode-1,nlp\nnode-2,cv\n", Slot(S + 2).start());
    let mut labels = label_keys(&ask.snapshot, &ask.topology.inventory);
    labels.insert("job.partition".into());
    let query = CostQuery {
        window: Window::of_slots(MONDAY, Slot(S + 2)),
        by: By::parse(by, &labels).expect("keys"),
        select: Where::parse(select, &labels).expect("a filter"),
        step: None::<Step>,
        zone: Zone::of("UTC").expect("a zone"),
        held,
    };
    query.answer(&ask.figures(), &RateCard::default()).expect("an answer")
}

/// Kilojoules by the values of `by`, and how many of them were apportioned.
fn told(fleet: &Fleet, by: &str, select: &str) -> BTreeMap<String, (i128, f64)> {
    let answer = ask(fleet, by, select, HeldQuery::default());
    let name = |row: &cost::Row| by.split(',').map(|key| row.value(key)).collect::<Vec<_>>().join(" ");
    let figures = |row: &cost::Row| (row.energy_uj / 1_000_000_000, row.quality.apportioned_joules / 1000.0);
    answer.rows.iter().map(|row| (name(row), figures(row))).collect()
}

fn map<const N: usize>(rows: [(&str, (i128, f64)); N]) -> BTreeMap<String, (i128, f64)> {
    rows.map(|(name, figures)| (name.to_owned(), figures)).into()
}

#[test]
fn a_job_has_its_devices_and_its_share_of_the_rest_to_the_joule() {
    let mut fleet = Fleet::new();
    let node = machine(&mut fleet, "node-1");
    machine(&mut fleet, "node-2");
    // From second 300 on: GPU-0 and a quarter of the cores. Told in time, also of the meter.
    hold(&mut fleet, &node, job("7", "ann", &["GPU-0"], 16), 300, None);
    cut(&mut fleet, &node, 300, [Some(400), Some(20), Some(180), Some(100)]);
    fleet.settle_all(MONDAY);
    // GPU-0: 280 + 300. CPU: (60 + 160) / 4 = 55. Unexplained: (900-660) - (400-300) = 140, and 240: 380 / 4 = 95.
    assert_eq!(
        told(&fleet, "job.id", "host=node-1"),
        map([("7", (580 + 55 + 95, 0.0)), ("(idle)", (1800 - 730, 0.0))])
    );
    assert_eq!(
        told(&fleet, "scope,job.user", "host=node-1,job.id=7"),
        map([("gpu ann", (580, 0.0)), ("cpu ann", (55, 0.0)), ("unattributed ann", (95, 0.0))])
    );
    assert_eq!(
        told(&fleet, "job.user", "scope=gpu,device=GPU-1"),
        map([("(idle)", (400, 0.0)), ("(unattributed)", (400, 0.0))])
    );
    assert_eq!(told(&fleet, "host,job.account", "")["node-2 (unattributed)"], (1800, 0.0), "never told of a job");
}

#[test]
fn what_was_told_late_is_apportioned_within_its_edge_slots() {
    let mut fleet = Fleet::new();
    let node = machine(&mut fleet, "node-1");
    // A third of the first slot lies before it. Nothing is cut.
    hold(&mut fleet, &node, job("7", "ann", &["GPU-0"], 32), 300, Some(1800));
    fleet.settle_all(MONDAY);
    // GPU-0 200 + 300, CPU (160 × 2/3 + 160) / 2, unexplained (240 × 2/3 + 240) / 2.
    let rows = told(&fleet, "job.id", "");
    let (energy, apportioned) = rows["7"];
    assert_eq!(energy, 500 + 133 + 200);
    assert!((apportioned - (200.0 + 160.0 / 3.0 + 80.0)).abs() < 1e-6, "what lies in the first slot: {apportioned}");
    assert_eq!(energy + rows["(idle)"].0, 1800 - 1, "two rows share a rounding");
    // Readings that begin later leave nothing to apportion.
    fleet.state(&node).accounts.iter_mut().for_each(|account| account.first.at = at(300));
    assert_eq!(told(&fleet, "job.id", "")["7"], (600 + 160 + 240, 0.0));
}

#[test]
fn jobs_on_one_device_share_it_and_who_is_alone_on_a_node_has_it() {
    let mut fleet = Fleet::new();
    let (one, two) = (machine(&mut fleet, "node-1"), machine(&mut fleet, "node-2"));
    hold(&mut fleet, &one, job("1", "ann", &["GPU-0"], 64), 0, Some(1800));
    hold(&mut fleet, &one, job("2", "bob", &["GPU-0"], 64), 900, Some(1800));
    hold(&mut fleet, &two, Allocation { cores_of: 0, ..job("3", "eve", &[], 0) }, -86_400, Some(900));
    fleet.settle_all(Slot(S + 2));
    // GPU-0 300 + 150 and 150; the other 400 of CPU and unexplained: all, then half each.
    let rows = told(&fleet, "job.id", "");
    assert_eq!((rows["1"], rows["2"]), ((300 + 150 + 400 + 200, 0.0), (150 + 200, 0.0)));
    assert_eq!(rows["3"], (900, 0.0));
    assert_eq!(rows["(idle)"], (400 + 900, 0.0));
}

#[test]
fn only_the_time_asked_for_counts() {
    let mut fleet = Fleet::new();
    let node = machine(&mut fleet, "node-1");
    cut(&mut fleet, &node, 300, [Some(400), Some(20), Some(180), Some(100)]);
    fleet.settle_all(MONDAY);
    let within = |from: i64, until: i64| HeldQuery { within: Some(at(from)..at(until)), ..HeldQuery::default() };
    let kilojoules = |answer: &Answer| answer.total.energy_uj / 1_000_000_000;
    let exact = ask(&fleet, "", "", within(300, 1800));
    assert_eq!((kilojoules(&exact), exact.total.quality.apportioned_joules), (500 + 900, 0.0));
    assert_eq!((exact.total.quality.covered_seconds, exact.total.quality.expected_seconds), (1500.0, 1500.0));
    let scope = ask(&fleet, "scope", "scope=gpu", within(0, 300));
    assert_eq!((kilojoules(&scope), scope.total.quality.covered_seconds), (200, 300.0));
    let late = ask(&fleet, "", "", within(900, 1350));
    assert_eq!((kilojoules(&late), late.total.quality.expected_seconds), (450, 450.0));
    assert!((late.total.quality.apportioned_joules - 450_000.0).abs() < 1e-6);
    assert_eq!(kilojoules(&ask(&fleet, "", "", within(1800, 9000))), 0);
}

#[test]
fn a_chassis_is_cut_where_its_machine_is() {
    let mut fleet = Fleet::new();
    let node = machine(&mut fleet, "node-1");
    let bmc = Owner::new("default", OwnerKind::Chassis, "bmc-1").expect("a name");
    fleet.owner(&bmc, &[(Scope::Chassis, "bmc")], MONDAY, Slot(S + 1));
    let cut_at = |second: i64| Cut { at: at(second), late: Vec::new() };
    fleet.state(&node).cuts = [-7200, 300, 400, 500].map(cut_at).to_vec();
    fleet.state(&bmc).cuts = vec![cut_at(400)];
    let ask = Ask::of(&fleet, "host,chassis\nnode-1,bmc-1\n", at(1800));
    let missing = |tried: &[(Owner, Utc)]| {
        let tried: HashSet<(Owner, Utc)> = tried.iter().cloned().collect();
        missing(&ask.snapshot, &ask.topology, at(1800), &tried)
    };
    let both = [(bmc.clone(), at(300)), (bmc, at(500))];
    assert_eq!(missing(&[]), both);
    assert_eq!(missing(&both[..1]), both[1..], "what was tried is not tried again");
}

/// A hold: host, start, length, GPUs, cores, whether it is still running.
type Random = (usize, i64, i64, Vec<usize>, u32, bool);

fn random_hold() -> impl Strategy<Value = Random> {
    (0..2_usize, -200..1900_i64, 1..1500_i64, prop::collection::vec(0..2_usize, 0..2), 0..65_u32, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is held, cut and asked: jobs, idle and unattributed are what is billed.
    #[test]
    fn jobs_and_idle_are_what_is_billed(
        holds in prop::collection::vec(random_hold(), 0..7),
        cuts in prop::collection::vec((1..900_i64, prop::collection::vec(any::<bool>(), 4)), 0..5),
    ) {
        let mut fleet = Fleet::new();
        let nodes = ["node-1", "node-2"].map(|name| machine(&mut fleet, name));
        machine(&mut fleet, "node-3");
        // An odd amount that no share divides.
        let odd = ByQuality::of(Quality::Counter, Energy(12_345_678_901_234_567));
        fleet.state(&nodes[0]).open[0].cells[0].energy += odd;
        let mut ends: BTreeMap<i64, Vec<bool>> = cuts.into_iter().collect();
        for (number, (node, from, length, gpus, cores, runs)) in holds.into_iter().enumerate() {
            let names: Vec<String> = gpus.iter().map(|n| format!("GPU-{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let job = job(&number.to_string(), if number % 2 == 0 { "ann" } else { "bob" }, &names, cores);
            hold(&mut fleet, &nodes[node], job, from, (!runs).then_some(from + length));
            if (1..900).contains(&from) {
                ends.entry(from).or_insert_with(|| vec![true; 4]);
            }
        }
        for (second, known) in ends {
            let used = [900, 300, 200, 160].map(|joules| joules * second as u64 / 900);
            let cells: Vec<Option<Cell>> =
                used.iter().zip(known).map(|(used, known)| known.then(|| cell(kj(*used), second as u64))).collect();
            fleet.state(&nodes[0]).open[0].cuts.push(CutCells { at: at(second), cells });
        }
        fleet.settle_all(MONDAY);
        let whole = ask(&fleet, "", "", HeldQuery::default()).total.energy_uj;
        for by in ["job.id", "job.user,host", "job.account,scope", "host,scope,device,job.id", "host"] {
            for idle in [Policy::Separate, Policy::Owner, Policy::Proportional] {
                let policies = Policies { idle, shared: idle };
                let answer = ask(&fleet, by, "", HeldQuery { policies, within: None });
                prop_assert_eq!(answer.total.energy_uj, whole, "{}", by);
                prop_assert_eq!(answer.rows.iter().map(|row| row.energy_uj).sum::<i128>(), whole, "{}", by);
            }
        }
        let parts = ["job.user=ann", "job.user!=ann"].map(|select| ask(&fleet, "host", select, HeldQuery::default()));
        let parts = parts.iter().map(|answer| answer.total.energy_uj).sum::<i128>();
        prop_assert!((parts..=parts + 1).contains(&whole));
        let spans = [(0, 451), (451, 1800)].map(|(from, until)| {
            ask(&fleet, "", "", HeldQuery { within: Some(at(from)..at(until)), ..HeldQuery::default() }).total.energy_uj
        });
        prop_assert!((spans[0] + spans[1]..=spans[0] + spans[1] + 1).contains(&whole));
    }
}
