//! A recorded day of 32 machines at a flat price, against the cost that another program computed.
//!
//! The recording lies in the folder that `WATTLEDGER_TEST_DATA` names; without it the test says that
//! it did not run.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "the crate is pure; its test reads the recording from a file and says when it cannot"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cost::step::intervals;
use cost::{By, HostInfo, HostSlot, HostTime, Line, RateCard, Rollup, Step, Where, Window, zone};
use meter::{ByQuality, Energy, Labels, Milliwatts, Quality, SLOT_NS, Scope, Slot, Utc};

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("WATTLEDGER_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: WATTLEDGER_TEST_DATA is not set, the recorded day was not priced");
    }
    folder
}

/// Valid samples per host: instant and power.
fn samples(folder: &Path) -> BTreeMap<String, Vec<(Utc, Milliwatts)>> {
    let file = std::fs::File::open(folder.join("fleet-32xHaswell-24h/samples.csv.gz")).expect("the recording");
    let mut sheet = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let mut hosts: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for row in sheet.records() {
        let row = row.expect("a row");
        if !row[3].is_empty() {
            let at = Utc::from_ms(row[0].parse().expect("milliseconds")).expect("an instant");
            let power = Milliwatts::from_watts_text(&row[3]).expect("watts");
            hosts.entry(row[1].to_owned()).or_default().push((at, power));
        }
    }
    hosts
}

/// Energy per slot by trapezoids that are split exactly at slot borders, in rational arithmetic of
/// the test's own: the energy from `a` to any instant is a whole number of ½ pJ over the span.
fn per_slot(samples: &[(Utc, Milliwatts)]) -> BTreeMap<Slot, i128> {
    let mut slots = BTreeMap::new();
    for pair in samples.windows(2) {
        let ((a, from), (b, to)) = (pair[0], pair[1]);
        let span = i128::from(b.0 - a.0);
        let until = |at: i64| {
            let dt = i128::from(at - a.0);
            let (p, q) = (i128::from(from.0), i128::from(to.0));
            2 * p * dt + (q - p) * dt * dt / span
        };
        let mut here = a.0;
        while here < b.0 {
            let border = (here.div_euclid(SLOT_NS) + 1) * SLOT_NS;
            let next = border.min(b.0);
            *slots.entry(Utc(here).slot()).or_insert(0) += until(next) - until(here);
            here = next;
        }
    }
    slots
}

#[test]
fn the_recorded_day_costs_what_the_reference_says() {
    let Some(folder) = data() else { return };
    let text = std::fs::read_to_string(folder.join("tariffs/cost_reference.json")).expect("the reference");
    let reference: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let reference = &reference["open/fleet-32xHaswell-24h"];
    let card = RateCard::parse("[[rate]]\ncurrency = \"USD\"\nprice_per_kwh = \"0.12\"").expect("a card");

    let hosts = samples(&folder);
    assert_eq!(hosts.len(), 32);
    let edges = |pick: fn(&[(Utc, Milliwatts)]) -> Utc| hosts.values().map(move |samples| pick(samples));
    let start = edges(|samples| samples[0].0).min().expect("samples");
    let end = edges(|samples| samples[samples.len() - 1].0).max().expect("samples");
    let window = Window::around(start, end).expect("a window");
    let hours = intervals(window, Some(Step::Hour), &zone("UTC").expect("UTC")).expect("hours");
    assert_eq!(Some(hours.len() as u64), reference["hours"].as_u64());

    let by = By::parse("host", &std::collections::BTreeSet::new()).expect("a key");
    let mut rollup = Rollup::new(&card, by, Where::default(), hours);
    let device = rollup.device("");
    let labels = Labels::new();
    for (name, samples) in &hosts {
        let host = rollup.host(&HostInfo { cluster: "default", name, chassis: None, labels: &labels }).expect("a host");
        for (slot, energy) in per_slot(samples) {
            let energy = ByQuality::of(Quality::Integrated, Energy(energy));
            let line =
                Line { scope: Some(Scope::Cpu), device, energy, metered: Energy::ZERO, covered_ns: 0, metered_ns: 0 };
            rollup.add(&HostSlot::new(host, slot, HostTime::new(0, 0), &[line])).expect("added");
        }
    }
    let (rows, total) = rollup.finish();
    assert!(rows.len() > 32 * 23);

    let kwh = reference["energy_kWh"].as_f64().expect("a figure");
    assert!((total.energy_kwh / kwh - 1.0).abs() < 1e-8, "{} {kwh}", total.energy_kwh);
    let usd = reference["flat_0_12_usd"].as_f64().expect("a figure");
    assert_eq!(total.cost[0].amount.to_string(), format!("{usd:.2}"));
    let cents: rust_decimal::Decimal = rows.iter().map(|row| row.cost[0].amount).sum();
    assert_eq!(cents, total.cost[0].amount);
    eprintln!("recorded day: {:.6} kWh (reference {kwh:.6}), {} USD (reference {usd:.6})", total.energy_kwh, cents);
}
