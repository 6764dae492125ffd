//! Encoding and decoding per sample: a post of ten devices and ten ticks, as an agent sends it.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meter::{Milliwatts, Owner, Position, Record, Sample};
use wire::{Append, Post, SentAt};

const DEVICES: u16 = 10;
const TICKS: u64 = 10;

fn post() -> Result<Post, meter::NameError> {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut record = |tick: u64| {
        let at = 86_400_000_000_000 + tick * 1_000_000_000 + random(6_000_000);
        let mut power = |device: u16| Some(Milliwatts(296_000 + 40_000 * u64::from(device) + random(8000)));
        let samples = (0..DEVICES).map(|device| Sample { device, power: power(device), ..Sample::default() }).collect();
        Record { context: 1, at, samples, ..Record::default() }
    };
    let append = Append {
        stream: [1; 16],
        owner: Owner::host("node-0017")?,
        hello: None,
        base: Position { seq: 4711, digest: [2; 16] },
        import: false,
        records: (0..TICKS).map(&mut record).collect(),
        live: vec![],
    };
    let sent = Some(SentAt { boot: [3; 16], boot_ns: 86_400_000_000_000, wall_ns: 1_793_491_200_000_000_000 });
    Ok(Post { sent, appends: vec![append] })
}

fn codec(criterion: &mut Criterion) {
    let Ok(post) = post() else { return };
    let Ok(bytes) = wire::encode_post(&post) else { return };
    let mut group = criterion.benchmark_group(format!("post of 10 x 10 samples, {} bytes", bytes.len()));
    group.throughput(Throughput::Elements(u64::from(DEVICES) * TICKS));
    group.bench_function("encode", |bench| bench.iter(|| wire::encode_post(black_box(&post))));
    group.bench_function("decode", |bench| bench.iter(|| wire::decode_post(black_box(&bytes))));
    let append = &post.appends[0];
    group.bench_function("digest", |bench| bench.iter(|| wire::advance(black_box(append.base), &append.records)));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
