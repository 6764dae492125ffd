//! CPU per sample of the core: one append of 10 devices × 10 ticks, by number of hosts in the ledger.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use energy::{Append, Hello, Ledger, Policy};
use meter::{AccountKey, Clock, Context, DeviceDecl, Milliwatts, Owner, Position, Record, Sample, Scope, Utc};

const S: u64 = 1_000_000_000;
const T0: u64 = 1_793_491_200 * S;
const DEVICES: u16 = 10;
const TICKS: u64 = 10;

fn context() -> Context {
    let device = |index| DeviceDecl {
        key: AccountKey { scope: Scope::Gpu, device: format!("GPU-{index}").into() },
        period_ns: S,
        limit: Milliwatts(700_000),
        modulus: None,
        epoch: 0,
    };
    Context { clock: Clock::Utc, wall_offset_ns: 0, devices: (0..DEVICES).map(device).collect() }
}

fn append(host: usize, round: u64) -> Append {
    let record = |tick: u64| Record {
        context: 1,
        at: T0 + (round * TICKS + tick) * S,
        samples: (0..DEVICES)
            .map(|device| Sample { device, power: Some(Milliwatts(400_000 + tick * 3)), ..Sample::default() })
            .collect(),
        ..Record::default()
    };
    let position = |seq: u64| Position { seq, digest: [0; 16] };
    Append {
        stream: [1; 16],
        owner: Owner {
            cluster: "default".into(),
            kind: meter::OwnerKind::Host,
            name: format!("node-{host:05}").into(),
        },
        hello: (round == 0).then(|| Hello { contexts: vec![(1, context())], ..Hello::default() }),
        base: position(round * TICKS),
        end: position((round + 1) * TICKS),
        import: true,
        sent: None,
        records: (0..TICKS).map(record).collect(),
        live: vec![],
    }
}

fn integrate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("integrate");
    for hosts in [1, 1_000, 10_000] {
        group.throughput(Throughput::Elements(TICKS * u64::from(DEVICES)));
        group.bench_with_input(BenchmarkId::new("append", hosts), &hosts, |bencher, &hosts| {
            let mut ledger = Ledger::new(Policy::default());
            let now = Utc(i64::MAX / 2);
            let mut appends: Vec<_> = (0..hosts).map(|host| append(host, 0)).collect();
            for append in &appends {
                ledger.append(append, now);
            }
            let (mut round, mut host) = (1, 0);
            bencher.iter(|| {
                let next = &mut appends[host];
                next.hello = None;
                (next.base, next.end) =
                    (Position { seq: round * TICKS, ..next.base }, Position { seq: (round + 1) * TICKS, ..next.end });
                for (tick, record) in (0..).zip(&mut next.records) {
                    record.at = T0 + (round * TICKS + tick) * S;
                }
                let outcome = ledger.append(next, now);
                host += 1;
                if host == hosts {
                    (host, round) = (0, round + 1);
                    if round % 90 == 0 {
                        ledger.take_commit();
                    }
                }
                outcome
            });
        });
    }
    group.finish();
}

criterion_group!(benches, integrate);
criterion_main!(benches);
