//! What a rollup costs per line: 200 hosts × 10 devices, a day of slots (192,000 lines).

use std::hint::black_box;

use cost::step::intervals;
use cost::{By, HostInfo, HostSlot, HostTime, Line, RateCard, Rollup, Step, Where, Window, zone};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use meter::{ByQuality, Energy, Labels, Scope, Slot};

const HOSTS: usize = 200;
const DEVICES: usize = 10;
const SLOTS: i32 = 96;

fn fleet() -> Vec<(String, Labels)> {
    (0..HOSTS)
        .map(|host| {
            let team = format!("team-{}", host % 7);
            (format!("node{host:03}"), [("team".to_owned(), team)].into())
        })
        .collect()
}

fn roll(card: &RateCard, fleet: &[(String, Labels)], by: &str, step: Option<Step>) -> usize {
    let window = Window::of_slots(Slot(1_992_768), Slot(1_992_768 + SLOTS));
    let (Ok(by), Ok(tz)) = (By::parse(by, &["team".to_owned()].into()), zone("UTC")) else { return 0 };
    let Ok(spans) = intervals(window, step, &tz) else { return 0 };
    let mut rollup = Rollup::new(card, by, Where::default(), spans);
    let devices: Vec<_> = (0..DEVICES).map(|device| rollup.device(&format!("GPU-{device}"))).collect();
    for (name, labels) in fleet {
        let Some(host) = rollup.host(&HostInfo { cluster: "default", name, chassis: None, labels }) else { continue };
        for slot in window.first().0..window.until().0 {
            let energy = ByQuality([Energy(i128::from(slot) * 720_000_000_000), Energy(1), Energy(0)]);
            let metered = energy.total();
            let line = |&device| Line {
                scope: Some(Scope::Gpu),
                device,
                energy,
                metered,
                covered_ns: 900_000_000_000,
                metered_ns: 0,
            };
            let mut lines = [line(&devices[0]); DEVICES];
            lines.iter_mut().zip(&devices).for_each(|(slot, device)| *slot = line(device));
            let time = 900_000_000_000;
            let usage = HostSlot::new(host, Slot(slot), HostTime::new(time, time), &lines);
            if rollup.add(black_box(&usage)).is_err() {
                return 0;
            }
        }
    }
    rollup.finish().0.len()
}

fn rollup(criterion: &mut Criterion) {
    let fleet = fleet();
    let Ok(card) = RateCard::parse("[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.22\"\npue = \"1.2\"") else {
        return;
    };
    let mut group = criterion.benchmark_group("rollup");
    group.throughput(Throughput::Elements((HOSTS * DEVICES) as u64 * SLOTS as u64)).sample_size(20);
    for (by, step) in [("team", None), ("team", Some(Step::Hour)), ("scope", None), ("host,device", Some(Step::Day))] {
        let name = format!("by {by}, step {}", step.map_or("none", Step::word));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| roll(&card, &fleet, by, step));
        });
    }
    group.finish();
}

/// A month of hourly prices against a flat one: 200 hosts, a line for each hour.
fn hourly(criterion: &mut Criterion) {
    const HOURS: i32 = 720;
    let window = Window::of_slots(Slot(1_992_768), Slot(1_992_768 + HOURS * 4));
    let rows = (0..HOURS)
        .map(|hour| format!("{},{}.5\n", window.first().start().0 / 1_000_000_000 + i64::from(hour) * 3600, hour % 90));
    let sheet = "start,price_per_mwh\n".to_owned() + &rows.collect::<String>();
    let series = "[[rate]]\ncurrency = \"EUR\"\nseries = \"a.csv\"\npue = \"1.2\"";
    let flat = "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.22\"\npue = \"1.2\"";
    let mut group = criterion.benchmark_group("a month of prices");
    group.throughput(Throughput::Elements((HOSTS as u64) * HOURS as u64)).sample_size(20);
    for (name, card) in [("flat", flat), ("hourly", series)] {
        let Ok(card) = RateCard::read(card, &mut |_| Ok(sheet.clone())) else { return };
        let fleet = fleet();
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let Ok(by) = By::parse("team", &["team".to_owned()].into()) else { return 0 };
                let mut rollup = Rollup::new(&card, by, Where::default(), vec![window]);
                let device = rollup.device("");
                for (name, labels) in &fleet {
                    let info = HostInfo { cluster: "default", name, chassis: None, labels };
                    let Some(host) = rollup.host(&info) else { continue };
                    for hour in 0..HOURS {
                        let energy = ByQuality([Energy(i128::from(hour) * 720_000_000_000), Energy(1), Energy(0)]);
                        let metered = energy.total();
                        let line = Line { scope: None, device, energy, metered, covered_ns: 0, metered_ns: 0 };
                        let slot = Slot(window.first().0 + hour * 4);
                        let usage = HostSlot::new(host, slot, HostTime::new(0, 0), std::slice::from_ref(&line));
                        if rollup.add(black_box(&usage)).is_err() {
                            return 0;
                        }
                    }
                }
                rollup.finish().0.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rollup, hourly);
criterion_main!(benches);
