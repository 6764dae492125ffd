//! One post through decoding, ledger and memory store: 10 devices × 10 samples, without HTTP.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::hint::black_box;

use aggregator::http::{ingest as native, ingest_json};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use energy::{Dirty, Ledger, Policy};
use meter::{AccountKey, Clock, Context, DeviceDecl, Milliwatts, Owner, Position, Record, Sample, Scope, Utc};
use store::{MemoryStore, OwnerCommit, Store, records};
use wire::{Append, Hello, Post};

const DEVICES: u16 = 10;
const LOOKS: u64 = 10;
const START_MS: u64 = 1_793_491_200_000;
const NOW: Utc = Utc(1_793_491_200_000_000_000);

fn post() -> Post {
    let device = |n: u16| DeviceDecl {
        key: AccountKey::new(Scope::Gpu, &format!("GPU-{n}")).expect("a good device"),
        period_ns: 1_000_000_000,
        limit: Milliwatts(700_000),
        modulus: None,
        epoch: 0,
    };
    let context = Context { clock: Clock::Utc, wall_offset_ns: 0, devices: (0..DEVICES).map(device).collect() };
    let id = wire::context_id(&context);
    let record = |look: u64| Record {
        context: id,
        at: (START_MS + look * 1000) * 1_000_000,
        samples: (0..DEVICES).map(|device| sample(device, look)).collect(),
        ..Record::default()
    };
    let append = Append {
        stream: [1; 16],
        owner: Owner::host("node-17").expect("a good name"),
        hello: Some(Hello { contexts: vec![context], agent: "bench/1".into(), ..Hello::default() }),
        base: Position::default(),
        import: false,
        records: (0..LOOKS).map(record).collect(),
        live: vec![],
    };
    Post { sent: None, appends: vec![append] }
}

fn sample(device: u16, look: u64) -> Sample {
    let noise = (look * 7919 + u64::from(device) * 104_729) % 8000;
    Sample { device, power: Some(Milliwatts(400_000 + noise)), ..Sample::default() }
}

fn json() -> String {
    let readings: Vec<_> = (0..LOOKS).flat_map(|look| (0..DEVICES).map(move |device| (look, device))).collect();
    let readings = readings.into_iter().map(|(look, device)| {
        let (at_ms, mw) = (START_MS + look * 1000, 400_000 + (look * 7919 + u64::from(device) * 104_729) % 8000);
        let watts = format!("{}.{:03}", mw / 1000, mw % 1000);
        format!(r#"{{"scope":"gpu","device":"GPU-{device}","at_ms":{at_ms},"watts":{watts},"period_ms":1000}}"#)
    });
    let readings = readings.collect::<Vec<_>>().join(",");
    format!(r#"{{"stream":"bench","seq":1,"host":"node-17","readings":[{readings}]}}"#)
}

fn commit(store: &MemoryStore, dirty: Vec<Dirty>) {
    let commits = dirty.into_iter().map(|dirty| OwnerCommit {
        row: records::encode_row(&dirty.state),
        history: dirty.settled.iter().map(|block| (block.hour, records::encode_hour(block))).collect(),
        documents: vec![],
        owner: dirty.owner,
        expect: dirty.expect,
        next: dirty.next,
    });
    store.commit(commits.collect()).expect("memory takes it");
}

fn ingest(c: &mut Criterion) {
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(u64::from(DEVICES) * LOOKS));
    let bytes = wire::encode_post(&post()).expect("bytes");
    let fresh = || (Ledger::new(Policy::default()), MemoryStore::new([1; 16], 1));
    group.bench_function("a post of 100 samples, bincode", |b| {
        let run = |(mut ledger, store): (Ledger, MemoryStore)| {
            let post = wire::decode_post(black_box(&bytes)).expect("a post");
            for append in native::translate(post) {
                black_box(ledger.append(&append, NOW));
            }
            commit(&store, ledger.take_commit());
            (ledger, store)
        };
        b.iter_batched(fresh, run, BatchSize::SmallInput);
    });
    let text = json();
    group.bench_function("a post of 100 samples, JSON", |b| {
        let run = |(mut ledger, store): (Ledger, MemoryStore)| {
            let post = ingest_json::decode(black_box(text.as_bytes())).expect("a post");
            black_box(ledger.post(&post, NOW));
            commit(&store, ledger.take_commit());
            (ledger, store)
        };
        b.iter_batched(fresh, run, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);
