//! A recorded NVIDIA H200: its counter is booked to the millijoule, and what its power readings alone would
//! have given at coarser periods is what docs/ACCURACY.md says.

use std::fmt::Write;
use std::io::Read;

use crate::harness::{Home, agent, rollup, rows, slots_around};

/// Looks per second.
const RATE: usize = 20;

/// One look: Unix ms, average and instant power in mW, counter in mJ.
#[derive(Clone, Copy)]
struct Look {
    ms: i64,
    average: i64,
    instant: i64,
    counter: i64,
}

fn recording() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/agents/recordings/h200.csv.gz")
}

fn looks() -> Vec<Look> {
    let mut text = String::new();
    let file = std::fs::File::open(recording()).expect("the recording");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("text");
    let thousandths = |text: &str| text.replace('.', "").parse().expect("three decimals");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows = reader.records().map(|row| {
        let row = row.expect("a row");
        let [ms, average, instant, counter] = [0, 5, 6, 7].map(|column| &row[column]);
        let [average, instant, counter] = [average, instant, counter].map(thousandths);
        Look { ms: ms.parse().expect("milliseconds"), average, instant, counter }
    });
    rows.collect()
}

#[test]
fn the_counter_of_a_recorded_gpu_is_booked_to_the_millijoule() {
    let looks = looks();
    let (first, last) = (looks[0], looks[looks.len() - 1]);
    let home = Home::new();
    let server = home.start();
    agent(&home, &["replay", recording(), "--server", &server.url]).ok();
    let row = rollup(&server.url, &slots_around(first.ms, last.ms), "host=h200");
    assert_eq!(row.energy_uj, i128::from(last.counter - first.counter) * 1000);
    assert_eq!((row.integrated_joules, row.estimated_joules), (0.0, 0.0), "all of it is the counter's");
    assert!((row.covered_seconds - (last.ms - first.ms) as f64 / 1e3).abs() < 1e-6, "{}", row.covered_seconds);
}

/// Looks at every `step`-th from `phase` on.
fn thinned(looks: &[Look], step: usize, phase: usize) -> impl Iterator<Item = &Look> {
    looks.iter().skip(phase).step_by(step)
}

#[test]
fn power_readings_alone_differ_from_the_counter_by_what_the_documentation_says() {
    let looks = looks();
    // Tenths of a second; phases at a quarter of the step each.
    let steps = [1, 10, 50, 150].map(|tenths| tenths * RATE / 10);
    let mut csv = String::from("ts_ms,host,scope,device,period_ms,watts\n");
    for (step, quarter) in steps.into_iter().flat_map(|step| (0..4).map(move |quarter| (step, quarter))) {
        for look in thinned(&looks, step, quarter * step / 4) {
            for (kind, milliwatts) in [("average", look.average), ("instant", look.instant)] {
                let (ms, period) = (look.ms, step * 1000 / RATE);
                let (watts, rest) = (milliwatts / 1000, milliwatts % 1000);
                writeln!(csv, "{ms},thinned,gpu,{kind}-{step}-{quarter},{period},{watts}.{rest:03}").expect("memory");
            }
        }
    }
    let home = Home::new();
    let server = home.start();
    let file = home.write("thinned.csv", csv);
    agent(&home, &["replay", file.to_str().expect("a plain path"), "--server", &server.url]).ok();
    let window = slots_around(looks[0].ms, looks[looks.len() - 1].ms);
    let rows = rows(&server.url, &format!("window={window}&by=device"));

    // (step, kind) → mean and greatest deviation over the phases, in percent.
    let deviations = |step: usize, kind: &str| {
        let of_phase = |quarter: usize| {
            let counters: Vec<i64> = thinned(&looks, step, quarter * step / 4).map(|look| look.counter).collect();
            let counted = (counters[counters.len() - 1] - counters[0]) as f64 / 1e3;
            let device = format!("{kind}-{step}-{quarter}");
            let row = rows.iter().find(|row| row.by["device"] == device).unwrap_or_else(|| panic!("no {device}"));
            (row.energy_uj as f64 / 1e6 / counted - 1.0) * 100.0
        };
        let all: Vec<f64> = (0..4).map(of_phase).collect();
        (all.iter().sum::<f64>() / 4.0, all.iter().fold(0.0_f64, |worst, one| worst.max(one.abs())))
    };
    println!("{:>6} {:>22} {:>22}", "step", "average: mean, worst", "instant: mean, worst");
    for (step, worst) in steps.into_iter().zip([(0.1, 0.3), (0.2, 8.0), (1.0, 10.0), (12.0, 20.0)]) {
        let (average, instant) = (deviations(step, "average"), deviations(step, "instant"));
        let seconds = step as f64 / RATE as f64;
        println!("{seconds:>5}s {:>+11.2}% {:>8.2}% {:>+11.2}% {:>8.2}%", average.0, average.1, instant.0, instant.1);
        assert!(average.1 < worst.0, "average power at {seconds} s: {average:?}");
        assert!(instant.1 < worst.1, "instant power at {seconds} s: {instant:?}");
        // At 15 s both are a matter of luck.
        assert!(seconds > 5.0 || average.1 < instant.1, "a value averaged over a second misses less than an instant's");
    }
}
