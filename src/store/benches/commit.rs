//! What a commit costs, from encoded rows to acknowledged: owners with 10 accounts each.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up fails")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use energy::{Account, Cell, Count, Edge, HourBlock, HourCell, OpenSlot, OwnerState, Stream};
use meter::{AccountKey, ByQuality, Energy, Microjoules, Milliwatts, Position, Quality, Scope, Slot, Utc};
use store::conformance::host;
use store::{OwnerCommit, SledStore, Store, open_or_restore, records};

const NOW: i64 = 1_793_491_200_000_000_000;

/// A host with 10 GPUs in the middle of a slot.
fn state(number: usize) -> OwnerState {
    let edge = Edge {
        at: Utc(NOW),
        mono: 86_400_000_000_000,
        boot: 0x1234_5678_9abc_def0,
        power: Some(Milliwatts(412_500)),
        counter: Some(Count { value: Microjoules(123_456_789_012), epoch: 7 }),
    };
    let account = Account {
        lifetime: ByQuality::of(Quality::Counter, Energy(9_876_543_210_123_456_789)),
        covered_ns: 86_400_000_000_000,
        first: edge,
        frontier: edge,
        shown: edge.power.map(|power| (edge.at, power)),
        rare: None,
    };
    let cell =
        Cell { energy: ByQuality::of(Quality::Counter, Energy(4_000_000_000_000_000)), covered_ns: 123_000_000_000 };
    let key = |device| AccountKey::new(Scope::Gpu, &format!("GPU-{device:036x}")).expect("a good device");
    let mut state = OwnerState::new(host(number).expect("a host"));
    state.keys = Arc::new((0..10).map(|device| key(number * 10 + device)).collect());
    state.accounts = vec![account; 10];
    state.open = vec![OpenSlot { slot: Slot(1), cells: vec![cell; 10], cuts: vec![] }; 2];
    let position = Position { seq: 12_345, digest: [7; 16] };
    state.streams = vec![Stream { id: [9; 16], position, last_seen: Utc(NOW), answers: Vec::new() }];
    state.last_seen = Utc(NOW);
    state
}

fn posting() -> Vec<u8> {
    let cell =
        Cell { energy: ByQuality::of(Quality::Counter, Energy(742_500_000_000_000_000)), covered_ns: 900_000_000_000 };
    let cells = (0..10).map(|account| HourCell { quarter: 0, account, cell }).collect();
    records::encode_hour(&HourBlock { hour: 0, cells, cuts: vec![] })
}

fn commits(rows: &[OwnerState], versions: &mut [u64], with_history: bool) -> Vec<OwnerCommit> {
    let history = || if with_history { vec![(1, posting())] } else { Vec::new() };
    let commit = |(state, version): (&OwnerState, &mut u64)| {
        *version += 1;
        let row = records::encode_row(state);
        OwnerCommit {
            owner: state.owner.clone(),
            expect: *version - 1,
            next: *version,
            row,
            history: history(),
            documents: vec![],
        }
    };
    rows.iter().zip(versions).map(commit).collect()
}

fn open(root: &tempfile::TempDir) -> SledStore {
    open_or_restore(root.path(), &root.path().join("exports"), 1).expect("opens").store
}

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(10);
    // How many owners a commit changes, of a fleet of how many.
    for (changed, fleet) in [(100, 100), (1_000, 1_000), (100, 10_000), (1_000, 10_000)] {
        let root = tempfile::tempdir().expect("a directory");
        let store = open(&root);
        let rows: Vec<OwnerState> = (0..fleet).map(state).collect();
        let mut versions = vec![0; fleet];
        store.commit(commits(&rows, &mut versions, false)).expect("commits");
        let mut first = 0;
        group.throughput(Throughput::Elements(changed as u64));
        group.bench_function(BenchmarkId::new(format!("{changed} owners of"), fleet), |bench| {
            bench.iter(|| {
                let range = first..first + changed;
                first = (first + changed) % fleet;
                let next = commits(&rows[range.clone()], &mut versions[range], false);
                black_box(store.commit(next).expect("commits"));
            });
        });
    }
    group.finish();
    let state = state(1);
    criterion
        .bench_function("encode a row of 10 accounts", |bench| bench.iter(|| records::encode_row(black_box(&state))));
    let row = records::encode_row(&state);
    criterion.bench_function("decode a row of 10 accounts", |bench| {
        bench.iter(|| records::decode_row(&state.owner, black_box(&row)));
    });
    criterion.bench_function("encode a posting of 10 accounts", |bench| bench.iter(posting));
}

criterion_group!(benches, commit);
criterion_main!(benches);
