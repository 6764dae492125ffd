//! The rules of accounting, against figures worked out by hand: each story is one that some meter
//! software got wrong.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::harness::{
    Home, Point, Readings, Writer, agent, counter, get, joined, power, rollup, rows, series, slot_ago_ms, slots_around,
};

/// Points at these seconds after `start`, in whole watts.
fn points(start: i64, all: &[(i64, i64)]) -> Vec<Point> {
    all.iter().map(|(second, watts)| (start + second * 1000, Some(watts * 1000))).collect()
}

#[test]
fn closed_forms_come_out_to_the_microjoule() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(5);
    let constant: Vec<(i64, i64)> = (0..=60).map(|n| (n * 30, 250)).collect();
    let ramp: Vec<(i64, i64)> = (0..=60).map(|n| (n * 30, 10 * n)).collect();
    let step = [(0, 100), (600, 100), (600, 400), (1200, 400)];
    // A step is two readings at one instant. 600 s is beyond what a source of 30 s is joined over, so
    // it declares its own cadence.
    for (number, (host, readings, period_ms, joules)) in [
        ("constant", &constant[..], 30_000, 250 * 1800),
        ("ramp", &ramp[..], 30_000, 600 * 1800 / 2),
        ("step", &step[..], 600_000, 100 * 600 + 400 * 600),
    ]
    .into_iter()
    .enumerate()
    {
        Writer::new(&server.url, number as u64, host).power("chassis", "wall", &points(start, readings), period_ms);
        let row = rollup(&server.url, &slots_around(start, start + 1_800_000), &format!("host={host}"));
        assert_eq!(row.energy_uj, joules * 1_000_000, "{host}");
    }
}

#[test]
fn any_batching_and_any_interleaving_give_the_same_energy() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(8);
    let case = (
        prop::collection::vec((1_i64..20_000, 0_i64..900_000), 2..40),
        prop::collection::vec((1_i64..20_000, 0_i64..900_000), 2..40),
        prop::collection::vec(1_usize..12, 80),
    );
    let number = Cell::new(100);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&case, |(first, second, sizes)| {
        number.set(number.get() + 1);
        let number = number.get();
        let host = format!("case-{number}");
        let mut all: Vec<(&str, Point)> = Vec::new();
        let mut expected = 0;
        for (device, steps) in [("GPU-a", first), ("GPU-b", second)] {
            let mut at = start;
            let points: Vec<Point> = steps
                .iter()
                .map(|(step, mw)| {
                    at += step;
                    (at, Some(*mw))
                })
                .collect();
            expected += joined(&points, 60_000).0;
            all.extend(points.into_iter().map(|point| (device, point)));
        }
        // By time, then cut into batches of any size: the accounts interleave.
        all.sort_by_key(|(_, point)| point.0);
        let mut writer = Writer::new(&server.url, number, &host);
        let mut rest = &all[..];
        for size in sizes {
            let (now, later) = rest.split_at(size.min(rest.len()));
            if !now.is_empty() {
                let readings: Vec<_> = now.iter().map(|(device, point)| power("gpu", device, *point, 20_000)).collect();
                writer.send(&readings).json();
            }
            rest = later;
        }
        let row = rollup(&server.url, &slots_around(start, start + 900_000), &format!("host={host}"));
        prop_assert_eq!(row.energy_uj, expected / 2);
        Ok(())
    });
    outcome.unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn a_file_sent_twice_under_different_streams_books_once() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let readings = points(start, &[(0, 300), (30, 500), (60, 100), (90, 900)]);
    let window = slots_around(start, start + 90_000);
    for number in 1..=3 {
        Writer::new(&server.url, number, "node-1").power("chassis", "wall", &readings, 30_000);
        assert_eq!(rollup(&server.url, &window, "").energy_uj, joined(&readings, 90_000).0 / 2, "stream {number}");
    }
    let counted = joined(&readings, 90_000).0 as f64 / 2e6;
    let fenced = counter(&server.url, "wattledger_fenced_joules_total", "");
    assert!((fenced - 2.0 * counted).abs() < 1e-6, "what was not booked is counted: {fenced}");

    let file = home.write("readings.csv", Readings::default().add("node-2", "chassis", "wall", &readings).csv());
    for _ in 0..2 {
        agent(&home, &["replay", file.to_str().expect("a plain path"), "--server", &server.url]).ok();
        let row = rollup(&server.url, &window, "host=node-2");
        assert_eq!(row.energy_uj, joined(&readings, 90_000).0 / 2);
    }
}

#[test]
fn no_reading_is_not_zero_watts() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let readings = [(start, Some(100_000)), (start + 30_000, None), (start + 60_000, Some(100_000))];
    Writer::new(&server.url, 1, "node-1").power("gpu", "GPU-a", &readings, 30_000);
    let row = rollup(&server.url, &slots_around(start, start + 60_000), "");
    assert_eq!(row.energy_uj, 6_000_000_000, "100 W for 60 s; as 0 W it would be half of that");
    assert_eq!(row.covered_seconds, 60.0);
}

#[test]
fn an_outage_of_eight_hours_is_not_billed() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(12);
    let back = 8 * 3600;
    let readings = points(start, &[(0, 700), (10, 700), (back, 50), (back + 10, 50)]);
    Writer::new(&server.url, 1, "node-1").power("chassis", "wall", &readings, 10_000);
    let row = rollup(&server.url, &slots_around(start, start + back * 1000), "");
    assert_eq!(row.integrated_joules, 7000.0 + 500.0, "10 s at 700 W and 10 s at 50 W");
    // At most a quarter of an hour may be estimated; holding 700 W for 8 h would bill 20 MJ.
    assert!(row.estimated_joules <= 900.0 * 700.0, "{row:?}");
    assert!(row.covered_seconds <= 21.0 && row.expected_seconds >= 8.0 * 3600.0, "the hole shows: {row:?}");
}

#[test]
fn a_gap_beyond_the_join_is_marked_as_estimated() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let readings = points(start, &[(0, 100), (10, 100), (310, 300), (320, 300)]);
    Writer::new(&server.url, 1, "node-1").power("chassis", "wall", &readings, 10_000);
    let row = rollup(&server.url, &slots_around(start, start + 320_000), "");
    assert_eq!(row.integrated_joules, 1000.0 + 3000.0);
    assert_eq!(row.estimated_joules, 200.0 * 300.0, "a straight line across five minutes");
    assert_eq!(row.covered_seconds, 20.0, "estimated time is not covered");
}

#[test]
fn a_rack_of_132_kilowatts_is_not_clipped() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let readings = points(start, &[(0, 132_000), (60, 132_000)]);
    Writer::new(&server.url, 1, "nvl72").power("chassis", "rack", &readings, 60_000);
    let row = rollup(&server.url, &slots_around(start, start + 60_000), "");
    assert_eq!(row.energy_uj, 132_000 * 60 * 1_000_000);
}

#[test]
fn two_sockets_are_two_accounts() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let mut writer = Writer::new(&server.url, 1, "node-1");
    for second in (0..=300).step_by(60) {
        let at = start + second * 1000;
        let both = [
            power("cpu", "package-0", (at, Some(200_000)), 60_000),
            power("cpu", "package-1", (at, Some(150_000)), 60_000),
        ];
        writer.send(&both).json();
    }
    let window = slots_around(start, start + 300_000);
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 105_000_000_000, "(200 + 150) W for 300 s");
    let by_device: Vec<(String, i128)> = rows(&server.url, &format!("window={window}&by=device"))
        .iter()
        .map(|row| (row.by["device"].clone(), row.energy_uj))
        .collect();
    assert!(by_device.contains(&("package-0".into(), 60_000_000_000)), "{by_device:?}");
    assert!(by_device.contains(&("package-1".into(), 45_000_000_000)), "{by_device:?}");
}

#[test]
fn a_slow_source_is_joined_at_its_own_cadence() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    // A ramp at one reading a minute: holding the last value would lose a tenth.
    let readings = points(start, &(0..=10).map(|n| (n * 60, n * 100)).collect::<Vec<_>>());
    Writer::new(&server.url, 1, "node-1").power("chassis", "wall", &readings, 60_000);
    let row = rollup(&server.url, &slots_around(start, start + 600_000), "");
    assert_eq!(row.energy_uj, 1000 * 600 / 2 * 1_000_000);
    assert_eq!(row.estimated_joules, 0.0);
}

#[test]
fn a_vanished_device_keeps_its_register_and_labels() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let mut writer = Writer::new(&server.url, 1, "node-1").labelled(json!({ "team": "nlp" }));
    for (device, until) in [("GPU-stays", 10), ("GPU-leaves", 5)] {
        let readings = points(start, &(0..=until).map(|n| (n * 30, 400)).collect::<Vec<_>>());
        writer.power("gpu", device, &readings, 30_000);
    }
    let energy = |url: &str| {
        let mut all = series(url, "wattledger_energy_joules_total");
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let before = energy(&server.url);
    assert_eq!(before.len(), 2, "{before:?}");
    server.kill();

    // After a restart, before any device has said anything, all are there as they were.
    let server = home.start();
    assert_eq!(energy(&server.url), before, "same labels, same figures");
    let listed = get(&format!("{}/api/v1/devices", server.url)).json();
    let devices: BTreeSet<&str> =
        listed["devices"].as_array().expect("a list").iter().filter_map(|one| one["device"].as_str()).collect();
    assert_eq!(devices, BTreeSet::from(["GPU-leaves", "GPU-stays"]));
    let window = slots_around(start, start + 300_000);
    let rows = rows(&server.url, &format!("window={window}&by=team"));
    assert_eq!((rows[0].by["team"].as_str(), rows[0].energy_uj), ("nlp", 400 * 450 * 1_000_000));
}

#[test]
fn what_overlaps_is_billed_once_and_every_grouping_sums_to_the_same() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    for (number, (host, team)) in [("node-1", "nlp"), ("node-2", "nlp"), ("node-3", "vision")].into_iter().enumerate() {
        let mut writer = Writer::new(&server.url, number as u64, host).labelled(json!({ "team": team }));
        let watts = 1000 + 7 * number as i64;
        for (scope, device, watts) in [("chassis", "wall", watts), ("gpu", "GPU-a", 301), ("cpu", "package-0", 97)] {
            let readings = points(start, &(0..=59).map(|n| (n * 30, watts + n % 3)).collect::<Vec<_>>());
            writer.power(scope, device, &readings, 30_000);
        }
        // The wall meter's own channels are parts of it.
        writer.power("chassis", "wall/ch1", &points(start, &[(0, 500), (30, 500)]), 30_000);
    }
    let window = slots_around(start, start + 1_770_000);
    let wall: i128 = (0..3)
        .map(|number| {
            let watts = |n: i64| 1000 + 7 * number + n % 3;
            joined(&points(start, &(0..=59).map(|n| (n * 30, watts(n))).collect::<Vec<_>>()), 90_000).0
        })
        .sum();
    for by in ["host", "team", "cluster", "scope", "device", "host,scope", "team,scope", "scope,device"] {
        let rows = rows(&server.url, &format!("window={window}&by={by}"));
        let sum: i128 = rows.iter().map(|row| row.energy_uj).sum();
        assert_eq!(sum, wall / 2, "by={by}: what the outermost meters saw, once");
    }
    let scopes: BTreeSet<String> =
        rows(&server.url, &format!("window={window}&by=scope")).iter().map(|row| row.by["scope"].clone()).collect();
    assert!(scopes.contains("unattributed"), "what no component explains is shown: {scopes:?}");
}

#[test]
fn a_host_without_a_gpu_has_no_row_and_no_time_under_scope_gpu() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let readings = points(start, &[(0, 100), (30, 100), (60, 100)]);
    Writer::new(&server.url, 1, "with").power("gpu", "GPU-a", &readings, 30_000);
    Writer::new(&server.url, 2, "without").power("chassis", "wall", &readings, 30_000);
    let window = slots_around(start, start + 60_000);
    let answer = get(&format!("{}/api/v1/rollup?window={window}&by=host&where=scope%3Dgpu", server.url)).json();
    let rows = answer["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 1, "{answer}");
    assert_eq!(rows[0]["by"]["host"], "with");
    assert_eq!(answer["total"]["quality"]["covered_seconds"], 60.0);
    assert_eq!(answer["total"]["quality"]["expected_seconds"], rows[0]["quality"]["expected_seconds"]);
}
