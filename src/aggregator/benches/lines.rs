//! What a question of cost takes from postings on disk to rows: 200 hosts, each with a meter, 8 GPUs and 2 CPU
//! packages, over a month and over a day.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::path::Path;
use std::sync::Arc;

use aggregator::lines::Figures;
use aggregator::published::Snapshot;
use aggregator::query::{CostQuery, Zone, label_keys};
use aggregator::topology::Topology;
use cost::{By, RateCard, Where, Window};
use criterion::{Criterion, criterion_group, criterion_main};
use energy::boundary::Ratio;
use energy::{Account, Cell, Edge, Hole, HourBlock, HourCell, LabelsSince, OwnerState, Rare};
use meter::{AccountKey, ByQuality, Energy, Milliwatts, Owner, Quality, SECOND_NS, Scope, Slot, Utc};
use store::{OwnerCommit, SledStore, Store, records};

const HOSTS: u64 = 200;
const GPUS: u16 = 8;
/// 2026-10-01T00:00:00Z.
const START: i32 = 1_790_812_800 / 3600;
const HOURS: i32 = 31 * 24;
const FULL_NS: u64 = 900_000_000_000;

fn keys(host: u64) -> Vec<AccountKey> {
    let gpus = (0..GPUS).map(|n| (Scope::Gpu, format!("GPU-5a1c0000-0000-0000-{host:04}-0000000000{n:02}")));
    let cpus = (0..2).map(|n| (Scope::Cpu, format!("package-{n}")));
    let all = [(Scope::Chassis, "bmc".to_owned())].into_iter().chain(gpus).chain(cpus);
    all.map(|(scope, device)| AccountKey::new(scope, &device).expect("a good device")).collect()
}

/// A row whose accounts were read from the first hour to the last.
fn row(host: u64) -> OwnerState {
    let mut state = OwnerState::new(Owner::host(&format!("node-{host:04}")).expect("a name"));
    state.keys = Arc::new(keys(host));
    let edge = |hour: i32| Edge { at: Slot(hour * 4).start(), power: Some(Milliwatts(500_000)), ..Edge::default() };
    let account = Account { first: edge(START), frontier: edge(START + HOURS), ..Account::default() };
    state.accounts = vec![account; state.keys.len()];
    if host.is_multiple_of(10) {
        let holes = (0..HOURS / 24).map(|day| hole(START + day * 24 + 7)).collect();
        state.accounts[0].rare = Some(Box::new(Rare { holes, ..Rare::default() }));
    }
    let labels = [("team".to_owned(), format!("team-{}", host % 7))];
    state.labels = vec![LabelsSince { from: edge(START).at, labels: Arc::new(labels.into()) }];
    state
}

/// The minute that is missed in an hour's third slot.
fn hole(hour: i32) -> Hole {
    let edge = |second: i64| Edge { at: Utc(Slot(hour * 4 + 2).start().0 + second * SECOND_NS), ..Edge::default() };
    Hole { start: edge(300), end: edge(360), estimate: None }
}

/// An hour of a host: the meter sees 5 kW, of which its devices explain 4. Every tenth host's meter misses a
/// minute a day.
fn hour(host: u64, hour: i32) -> Vec<u8> {
    let mut cells = Vec::new();
    for quarter in 0..4 {
        let misses = host.is_multiple_of(10) && hour % 24 == 7 && quarter == 2;
        for account in 0..GPUS + 3 {
            let covered_ns = if misses && account == 0 { FULL_NS / 900 * 840 } else { FULL_NS };
            let mw = if account == 0 { 5_000_000 } else { 400_000 + (host * 31 + u64::from(account) * 7) % 1000 };
            let energy = ByQuality::of(Quality::Integrated, Energy::of_constant(Milliwatts(mw), covered_ns));
            cells.push(HourCell { quarter, account, cell: Cell { energy, covered_ns } });
        }
    }
    records::encode_hour(&HourBlock { hour, cells })
}

fn ledger(directory: &Path) -> (SledStore, Snapshot) {
    let store = store::open_or_restore(&directory.join("data"), &directory.join("exports"), 0).expect("a store").store;
    let mut snapshot = Snapshot::empty(store.identity().generation, Slot((START + HOURS) * 4).start());
    let rows: Vec<OwnerState> = (0..HOSTS).map(row).collect();
    for day in 0..HOURS / 24 {
        let commit = |(host, state): (usize, &OwnerState)| OwnerCommit {
            owner: state.owner.clone(),
            expect: day as u64,
            next: day as u64 + 1,
            row: records::encode_row(state),
            history: (0..24).map(|h| START + day * 24 + h).map(|h| (h, hour(host as u64, h))).collect(),
        };
        store.commit(rows.iter().enumerate().map(commit).collect()).expect("a commit");
    }
    rows.into_iter().for_each(|state| snapshot.put(Arc::new(state), HOURS as u64 / 24));
    (store, snapshot)
}

fn lines(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, snapshot) = ledger(directory.path());
    let topology = Topology::default();
    let labels = label_keys(&snapshot, &topology.inventory);
    let (card, now, factor) = (RateCard::default(), snapshot.as_of, Ratio::default());
    let mut group = c.benchmark_group("lines");
    group.sample_size(20);
    for (name, hours, by) in [
        ("a month by team", START..START + HOURS, "team"),
        ("a month by scope", START..START + HOURS, "scope"),
        ("the last day by team", START + HOURS - 24..START + HOURS, "team"),
    ] {
        let query = CostQuery {
            window: Window::of_slots(Slot(hours.start * 4), Slot(hours.end * 4)),
            by: By::parse(by, &labels).expect("keys"),
            select: Where::default(),
            step: None,
            zone: Zone::of("UTC").expect("a zone"),
        };
        let figures = Figures { snapshot: &snapshot, store: &store, topology: &topology, now, factor };
        group.bench_function(name, |b| b.iter(|| query.answer(&figures, &card).expect("an answer").rows.len()));
    }
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
