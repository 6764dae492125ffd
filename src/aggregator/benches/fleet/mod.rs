//! A ledger to be asked: hosts with a meter, 8 GPUs and 2 CPU packages each, for a month, or for as many days before it
//! as `FLEET_DAYS_BEFORE` says.

use std::path::Path;
use std::sync::Arc;

use billing::published::Snapshot;
use energy::{Account, Cell, Edge, Hole, HourBlock, HourCell, LabelsSince, OwnerState, Rare};
use meter::{AccountKey, ByQuality, Energy, Milliwatts, Owner, Quality, SECOND_NS, Scope, Slot, Utc};
use store::{OwnerCommit, SledStore, Store, records};

const GPUS: u16 = 8;
/// 2026-10-01T00:00:00Z.
pub(crate) const START: i32 = 1_790_812_800 / 3600;
pub(crate) const HOURS: i32 = 31 * 24;
const FULL_NS: u64 = 900_000_000_000;

/// The hour of the first reading.
fn first() -> i32 {
    let days = std::env::var("FLEET_DAYS_BEFORE").ok().and_then(|days| days.parse::<i32>().ok());
    START - days.unwrap_or(0) * 24
}

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
    let account = Account { first: edge(first()), frontier: edge(START + HOURS), ..Account::default() };
    state.accounts = vec![account; state.keys.len()];
    if host.is_multiple_of(10) {
        let holes = (first() / 24..(START + HOURS) / 24).map(|day| hole(day * 24 + 7)).collect();
        state.accounts[0].rare = Some(Box::new(Rare { holes, ..Rare::default() }));
    }
    let labels = [("team".to_owned(), format!("team-{}", host % 7))];
    state.labels = vec![LabelsSince { from: edge(first()).at, labels: Arc::new(labels.into()) }];
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
    records::encode_hour(&HourBlock { hour, cells, cuts: vec![] })
}

/// The ledger of a fleet in a directory, made if it is not there, and opened anew.
pub(crate) fn ledger(directory: &Path, hosts: u64) -> (SledStore, Snapshot) {
    let open =
        || store::open_or_restore(&directory.join("data"), &directory.join("exports"), 0).expect("a store").store;
    let store = open();
    let rows: Vec<OwnerState> = (0..hosts).map(row).collect();
    if store.commit_number() == 0 {
        fill(&store, &rows);
    }
    drop(store);
    let store = open();
    let mut snapshot = Snapshot::empty(store.identity().generation, Slot((START + HOURS) * 4).start());
    let commits = (START + HOURS - first()) as u64 / 24;
    rows.into_iter().for_each(|state| snapshot.put(Arc::new(state), commits));
    (store, snapshot)
}

fn fill(store: &SledStore, rows: &[OwnerState]) {
    for day in 0..(START + HOURS - first()) / 24 {
        let commit = |(host, state): (usize, &OwnerState)| OwnerCommit {
            owner: state.owner.clone(),
            expect: day as u64,
            next: day as u64 + 1,
            row: records::encode_row(state),
            history: (0..24).map(|h| first() + day * 24 + h).map(|h| (h, hour(host as u64, h))).collect(),
            documents: vec![],
        };
        store.commit(rows.iter().enumerate().map(commit).collect()).expect("a commit");
    }
}
