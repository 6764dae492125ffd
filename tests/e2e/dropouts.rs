//! Real meters that failed: negative watts, outages of up to ten minutes. No bad value is booked, and
//! coverage says for how long the meter was there.

use crate::harness::{Home, agent, joined, recorded, reference, refused, rollup, samples, slots_around};

#[test]
fn the_meter_dropouts() {
    let Some(folder) = recorded("meter-dropouts") else { return };
    let samples = samples(&folder, "run");
    println!(
        "{:<4} {:>5} {:>14} {:>14} {:>10} {:>14} {:>9} {:>9}",
        "run", "bad", "reference J", "ours J", "deviation", "estimated J", "valid s", "covered s"
    );
    for run in reference(&folder).as_array().expect("runs") {
        let (name, bad) = (run["run"].as_str().expect("a name"), run["bad"].as_u64().expect("a count"));
        let points = &samples[&(name.to_owned(), "wall".to_owned())];
        // One reading a second: neighbours of up to ten seconds are joined, the rest is an outage.
        let (energy, time) = joined(points, 10_000);
        let (energy, valid_seconds) = (energy as f64 / 2e6, time as f64 / 1e3);
        let outages = outages(points, 10_000);

        let home = Home::new();
        let server = home.start();
        let file = folder.join("samples.csv.gz");
        let file = file.to_str().expect("a plain path");
        let filter = format!("run={name}");
        agent(&home, &["replay", file, "--server", &server.url, "--where", &filter, "--host", name]).ok();

        let window = slots_around(points[0].0, points[points.len() - 1].0);
        let row = rollup(&server.url, &window, &format!("host={name}"));
        let measured = row.integrated_joules + row.counter_joules;
        let deviation = measured / energy - 1.0;
        println!(
            "{name:<4} {bad:>5} {energy:>14.3} {measured:>14.3} {:>+9.4}% {:>14.3} {valid_seconds:>9.1} {:>9.1}",
            deviation * 100.0,
            row.estimated_joules,
            row.covered_seconds
        );
        assert_eq!(refused(&server.url, "power-negative"), bad, "{name}: each bad value is counted by its reason");
        assert!(deviation.abs() < 0.001, "{name}: {measured} J over valid spans, {energy} J by the rule");
        let slack = 2.0 * (outages as f64).max(1.0);
        let difference = row.covered_seconds - valid_seconds;
        assert!(difference.abs() <= slack, "{name}: {} s covered, {valid_seconds} s valid", row.covered_seconds);
        // What was not measured is at most a straight line between the outage's ends, and says so.
        let across = run["skip_trap_J"].as_f64().expect("the reference across outages");
        assert!(row.energy_uj as f64 / 1e6 <= across * 1.001, "{name}: more than a line across the outages");
        if outages == 0 {
            assert!((measured / across - 1.0).abs() < 0.001 && row.estimated_joules == 0.0, "{name}: no outage");
        }
    }
}

/// How many pairs of neighbouring valid readings lie further apart than `longest_ms`.
fn outages(points: &[crate::harness::Point], longest_ms: i64) -> usize {
    let valid: Vec<i64> = points.iter().filter(|point| point.1.is_some()).map(|point| point.0).collect();
    valid.windows(2).filter(|pair| pair[1] - pair[0] > longest_ms).count()
}
