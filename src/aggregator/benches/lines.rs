//! What a question of cost takes from postings on disk to rows: 200 hosts, each with a meter, 8 GPUs and 2 CPU
//! packages, over a month and over a day.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod fleet;

use aggregator::query::{CostQuery, HeldQuery, Zone, label_keys};
use billing::Figures;
use billing::topology::Topology;
use cost::{By, RateCard, Where, Window};
use criterion::{Criterion, criterion_group, criterion_main};
use energy::boundary::Ratio;
use meter::Slot;

use fleet::{HOURS, START, ledger};

const HOSTS: u64 = 200;

fn lines(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, snapshot) = ledger(directory.path(), HOSTS);
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
            held: HeldQuery::default(),
        };
        let figures = Figures { snapshot: &snapshot, store: &store, topology: &topology, now, factor, days: None };
        group.bench_function(name, |b| b.iter(|| query.answer(&figures, &card).expect("an answer").rows.len()));
    }
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
