//! Real recorded fleets come out with the energy that their publishers printed.
//!
//! Each run is replayed into an aggregator of its own and rolled up; the table says what was
//! published, what we count, and the deviation. Where the integral of the readings is known exactly
//! (worked out here in integers, apart from the product), ours equals it to the microjoule.

use std::path::Path;

use crate::harness::{
    Home, Point, Row, Server, agent, joined, recorded, reference, rows, samples, slots_around, watts,
};

/// Joules in a kilowatt hour.
const KWH: f64 = 3.6e6;
/// The wall-meter runs: the publisher takes the plain mean of the same samples.
const WALL_METER: f64 = 0.000_6;
/// The 116 s runs of 64 hosts: gaps of up to 18 s, and hosts that end early.
const SHORT_RUNS: f64 = 0.01;
/// A day at one reading a minute, 9 % of them missing.
const DAY: f64 = 0.000_3;

/// A line of the table, in joules.
struct Line {
    run: String,
    published: f64,
    ours: f64,
    tolerance: f64,
}

impl Line {
    fn deviation(&self) -> f64 {
        self.ours / self.published - 1.0
    }
}

#[test]
fn the_published_table() {
    let mut table = wall_meter();
    for current in ["ac", "dc"] {
        table.extend(short_runs(&format!("fleet-64xH100-llama2-{current}")));
    }
    table.extend(day());
    if table.is_empty() {
        return;
    }
    println!("{:<34} {:>16} {:>16} {:>10} {:>9}", "run", "published kWh", "ours kWh", "deviation", "allowed");
    for line in &table {
        let Line { run, published, ours, tolerance } = line;
        let (published, ours, allowed) = (published / KWH, ours / KWH, tolerance * 100.0);
        let deviation = line.deviation() * 100.0;
        println!("{run:<34} {published:>16.6} {ours:>16.6} {deviation:>+9.4}% {allowed:>8.2}%");
    }
    for line in &table {
        assert!(line.deviation().abs() <= line.tolerance, "{}: {:+.5} %", line.run, line.deviation() * 100.0);
    }
}

/// Replays `file` and fails unless all of it became durable.
fn replay(home: &Home, server: &Server, file: &Path, more: &[&str]) {
    let mut arguments = vec!["replay", file.to_str().expect("a plain path"), "--server", &server.url, "--speed", "max"];
    arguments.extend(more);
    agent(home, &arguments).ok();
}

fn joules(rows: &[Row]) -> f64 {
    rows.iter().map(|row| row.energy_uj).sum::<i128>() as f64 / 1e6
}

/// 16 MLPerf runs: published average power × window. The window is no whole number of slots, so the
/// file that is replayed holds what lies in it, with a straight line's value at both edges.
fn wall_meter() -> Vec<Line> {
    let Some(folder) = recorded("mlperf-inference-wallmeter") else { return Vec::new() };
    let samples = samples(&folder, "run");
    let (home, mut table) = (Home::new(), Vec::new());
    let server = home.start();
    let mut published = csv::Reader::from_path(folder.join("published.csv")).expect("the published figures");
    let header = published.headers().expect("a header").clone();
    for row in published.records() {
        let row = row.expect("a row");
        let field = |name: &str| &row[header.iter().position(|one| one == name).expect("a known column")];
        let number = |name: &str| field(name).parse::<f64>().expect("a number");
        let edge = |name: &str| field(name).parse::<i64>().expect("milliseconds");
        let (run, begin, end) = (field("run"), edge("window_begin_ms"), edge("window_end_ms"));

        let mut text = String::from("run,ts_ms,device,watts\n");
        let mut exact = 0;
        for ((_, device), points) in samples.iter().filter(|((of, _), _)| of == run) {
            let points = cropped(points, begin, end);
            for (ms, power) in &points {
                text += &format!("{run},{ms},{device},{}\n", power.map(watts).unwrap_or_default());
            }
            if device == "wall" {
                exact = joined(&points, 10_000).0;
            }
        }
        let file = home.write(&format!("{run}.csv"), text);
        replay(&home, &server, &file, &["--host", run, "--where", &format!("run={run}")]);

        let rows = rows(&server.url, &format!("window={}&by=host&where=host={run}", slots_around(begin, end)));
        assert_eq!(rows.len(), 1, "{run}: parts of the wall meter belong to its host: {rows:?}");
        assert_eq!(rows[0].energy_uj, exact / 2, "{run}: the integral of the readings, to the microjoule");
        let independent = number("trap_skip_J");
        let ours = joules(&rows);
        assert!((ours / independent - 1.0).abs() < 1e-6, "{run}: {ours} J, another program found {independent} J");
        table.push(Line { run: run.to_owned(), published: number("ref_energy_J"), ours, tolerance: WALL_METER });
    }
    assert_eq!(table.len(), 16, "all published runs were replayed");
    table
}

/// The valid readings between two instants, and at both what lies on the line through its neighbours.
fn cropped(points: &[Point], begin: i64, end: i64) -> Vec<Point> {
    let valid: Vec<(i64, i64)> =
        points.iter().filter_map(|(ms, power)| power.filter(|power| *power > 0).map(|power| (*ms, power))).collect();
    let at = |edge: i64| -> Option<Point> {
        let after = valid.iter().position(|(ms, _)| *ms >= edge)?;
        let (right_ms, right) = valid[after];
        if right_ms == edge {
            return None;
        }
        let (left_ms, left) = *valid.get(after.checked_sub(1)?)?;
        let share = (edge - left_ms) as f64 / (right_ms - left_ms) as f64;
        Some((edge, Some((left as f64 + (right - left) as f64 * share).round() as i64)))
    };
    let inside = valid.iter().filter(|(ms, _)| (begin..=end).contains(ms)).map(|(ms, power)| (*ms, Some(*power)));
    at(begin).into_iter().chain(inside).chain(at(end)).collect()
}

/// Two runs of 64 hosts with 8 GPUs each, as their owner added them up.
fn short_runs(set: &str) -> Vec<Line> {
    let Some(folder) = recorded(set) else { return Vec::new() };
    let mut table = Vec::new();
    for run in reference(&folder)["runs"].as_array().expect("runs") {
        let name = run["run"].as_str().expect("a name");
        let home = Home::new();
        let server = home.start();
        replay(&home, &server, &folder.join("samples.csv.gz"), &["--where", &format!("run={name}")]);
        let edge = |name: &str| run[name].as_i64().expect("milliseconds");
        let rows =
            rows(&server.url, &format!("window={}&by=host", slots_around(edge("run_start_ms"), edge("run_stop_ms"))));
        assert_eq!(rows.len(), 64, "{set} {name}: the other run's readings were left out");
        for row in &rows {
            let host = &row.by["host"];
            let independent = run["per_host"][host]["trap_J"].as_f64().expect("the host's figure");
            let ours = row.energy_uj as f64 / 1e6;
            assert!((ours / independent - 1.0).abs() < 1e-6, "{set} {name} {host}: {ours} J against {independent} J");
        }
        let text = run["published_total"].as_str().expect("the owner's line");
        let kwh: f64 = text.split(' ').find_map(|word| word.parse().ok()).expect("a figure in kWh");
        table.push(Line {
            run: format!("{set} {name}"),
            published: kwh * KWH,
            ours: joules(&rows),
            tolerance: SHORT_RUNS,
        });
    }
    table
}

/// 32 hosts over a day: published averages × span. A missing reading is no reading, not 0 W, and a
/// gap of two minutes is none for a source that speaks once a minute.
fn day() -> Vec<Line> {
    let Some(folder) = recorded("fleet-32xHaswell-24h") else { return Vec::new() };
    let samples = samples(&folder, "host");
    let (first, last) = samples
        .values()
        .fold((i64::MAX, 0), |(first, last), points| (first.min(points[0].0), last.max(points[points.len() - 1].0)));
    let home = Home::new();
    let server = home.start();
    replay(&home, &server, &folder.join("samples.csv.gz"), &[]);
    let reference = reference(&folder);
    let rows = rows(&server.url, &format!("window={}&by=host", slots_around(first, last)));
    assert_eq!(rows.len(), 32);
    for row in &rows {
        let host = &row.by["host"];
        let (exact, time) = joined(&samples[&(host.clone(), "cpu".to_owned())], 180_000);
        assert_eq!(row.energy_uj, exact / 2, "{host}: the integral of the readings, to the microjoule");
        assert!((row.covered_seconds - time as f64 / 1e3).abs() < 1.0, "{host}: {} s covered", row.covered_seconds);
        let published = reference["per_host"][host]["published_avg_x_span_J"].as_f64().expect("the host's figure");
        let deviation = row.energy_uj as f64 / 1e6 / published - 1.0;
        assert!(deviation.abs() < 0.001, "{host}: {:+.4} %", deviation * 100.0);
    }
    let published = reference["fleet_kWh"]["published_avg_x_span_J"].as_f64().expect("the fleet's figure") * KWH;
    let run = "fleet-32xHaswell-24h".to_owned();
    vec![Line { run, published, ours: joules(&rows), tolerance: DAY }]
}
