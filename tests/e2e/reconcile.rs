//! Reference meters beside what is billed: recorded fleets, and small ones whose figures are worked out by hand.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::harness::{
    Home, Point, Server, Writer, agent, batch, get, power, recorded, reference, slot_ago_ms, slots_around,
};
use crate::harness::{post_json, stream, wattledger};

/// A recording whose hosts become meters of a scope: a side of the same machines as a reference.
fn as_meters(home: &Home, folder: &Path, scope: &str) -> PathBuf {
    let mut text = String::new();
    let file = std::fs::File::open(folder.join("samples.csv.gz")).expect("recorded samples");
    GzDecoder::new(file).read_to_string(&mut text).expect("text");
    let mut lines = text.lines();
    let header = lines.next().expect("a header").replace("host", "meter");
    let rows: Vec<String> = lines.map(|line| format!("{line},{scope}")).collect();
    home.write("meters.csv", format!("{header},scope\n{}\n", rows.join("\n")))
}

fn replay(home: &Home, server: &Server, file: &Path, more: &[&str]) {
    let mut arguments = vec!["replay", file.to_str().expect("a plain path"), "--server", &server.url, "--speed", "max"];
    arguments.extend(more);
    agent(home, &arguments).ok();
}

fn reconciled(server: &Server, query: &str) -> Value {
    get(&format!("{}/api/v1/reconcile?{query}", server.url)).json()
}

fn uj(value: &Value) -> i128 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no whole number"))
}

/// The step between two levels of the only site.
fn step<'a>(answer: &'a Value, upper: &str, lower: &str) -> &'a Value {
    let steps = answer["sites"][0]["steps"].as_array().expect("steps");
    let found = steps.iter().find(|step| step["upper"] == upper && step["lower"] == lower);
    found.unwrap_or_else(|| panic!("no step {upper} ▸ {lower} in {answer}"))
}

#[test]
fn the_ac_side_stands_over_the_dc_side_of_the_same_64_machines() {
    let (Some(ac), Some(dc)) = (recorded("fleet-64xH100-llama2-ac"), recorded("fleet-64xH100-llama2-dc")) else {
        return;
    };
    // A recording of meters without a scope is one of PDUs.
    for (said, scope) in [("pdu", "pdu"), ("facility", "facility"), ("chassis", "pdu")] {
        let home = Home::new();
        let server = home.start();
        replay(&home, &server, &as_meters(&home, &ac, said), &[]);
        replay(&home, &server, &dc.join("samples.csv.gz"), &[]);
        let figure = |set: &Value, run: usize, key: &str| set["runs"][run][key].as_f64().expect("a figure");
        let (ac, dc) = (reference(&ac), reference(&dc));
        let kwh = |set: &Value, run| figure(set, run, "trap_kWh");
        let close = |ours: i128, kwh: f64| (ours as f64 / 3.6e12 / kwh - 1.0).abs() < 1e-6;
        for run in [0, 1] {
            let window = slots_around(figure(&ac, run, "run_start_ms") as i64, figure(&ac, run, "run_stop_ms") as i64);
            let answer = reconciled(&server, &format!("window={window}"));
            let step = step(&answer, scope, "chassis");
            let (upper, lower) = (uj(&step["upper_uj"]), uj(&step["lower_uj"]));
            assert!(close(upper, kwh(&ac, run)) && close(lower, kwh(&dc, run)), "run {run}: {step}");
            let ratio: f64 = step["ratio"].as_str().expect("a ratio").parse().expect("a decimal");
            assert!((ratio - kwh(&ac, run) / kwh(&dc, run)).abs() < 2e-6, "run {run}: {step}");
            assert_eq!(uj(&step["difference_uj"]), upper - lower, "{step}");
            assert_eq!(step["left_out"]["slots"], 0, "{step}");
        }
        // Both together; the gap of a day between them is no part of it.
        let command = |tolerance: &str| {
            let all = ["reconcile", "--window", "2024-05", "--tolerance", tolerance, "--server", &server.url];
            wattledger(&home, &all)
        };
        let done = command("3%").ok();
        let (upper, lower) = (kwh(&ac, 0) + kwh(&ac, 1), kwh(&dc, 0) + kwh(&dc, 1));
        for figure in [format!("{upper:.5}"), format!("{lower:.5}"), format!("{:.6}", upper / lower)] {
            assert!(done.out.contains(&figure), "{figure} is not in\n{}", done.out);
        }
        let beyond = command("1%");
        assert_eq!(beyond.status.code(), Some(1), "{} {}", beyond.out, beyond.err);
        assert!(beyond.out.contains(&format!("{upper:.5}")) && beyond.err.contains("beyond"), "{}", beyond.err);
        assert_eq!(command("much").status.code(), Some(2));
    }
}

/// Constant power over quarters of an hour, as a batch of any owner.
fn constant(
    server: &Server,
    number: u64,
    owner: (&str, &str),
    site: &str,
    (scope, watts): (&str, i64),
    span: (i64, i64),
) {
    let points: Vec<Point> =
        (0..=(span.1 - span.0) / 60_000).map(|n| (span.0 + n * 60_000, Some(watts * 1000))).collect();
    let readings: Vec<Value> = points.iter().map(|point| power(scope, "main", *point, 60_000)).collect();
    let mut body = batch(&stream(number), 1, owner.1, &readings);
    if owner.0 != "host" {
        body[owner.0] = body["host"].take();
        body.as_object_mut().expect("an object").remove("host");
    }
    if !site.is_empty() {
        body["labels"] = serde_json::json!({ "site": site });
    }
    assert_eq!(post_json(&server.url, &body).status, 200, "{body}");
}

const RATES: &str = "[[rate]]\nsite = \"par1\"\ncurrency = \"EUR\"\nprice_per_kwh = \"0.20\"\npue = \"1.50\"\n";

/// One site with a building's meter of 3 kW, a PDU of 2.02 kW and a host of 2 kW with a GPU of 1.5 kW in it, for two
/// hours; the PDU was read in the second hour only. Another site with a host of 7 kW and no meter.
fn site(home: &Home) -> (Server, i64) {
    home.write("rates.toml", RATES);
    let config = home.write("wattledger.toml", format!("[files]\nrates = \"{}\"\n", home.path("rates.toml").display()));
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    let start = slot_ago_ms(12);
    let (hour, end) = (start + 3_600_000, start + 7_200_000);
    constant(&server, 1, ("meter", "building"), "par1", ("facility", 3000), (start, end));
    constant(&server, 2, ("meter", "pdu-a"), "par1", ("pdu", 2020), (hour, end));
    constant(&server, 3, ("host", "node-1"), "par1", ("chassis", 2000), (start, end));
    constant(&server, 4, ("host", "node-1"), "par1", ("gpu", 1500), (start, end));
    constant(&server, 5, ("host", "far-1"), "iad2", ("chassis", 7000), (start, end));
    (server, start)
}

#[test]
fn levels_are_compared_over_the_time_that_both_cover() {
    let home = Home::new();
    let (server, start) = site(&home);
    let answer = reconciled(&server, &format!("window={}&site=par1", slots_around(start, start + 7_199_999)));
    const WH: i128 = 3_600_000_000;
    // The PDU's hour alone: 3000 Wh outside it, 2020 Wh through it, 2000 Wh behind it.
    let outer = step(&answer, "facility", "pdu");
    assert_eq!((uj(&outer["upper_uj"]), uj(&outer["lower_uj"])), (3000 * WH, 2020 * WH), "{outer}");
    assert_eq!((outer["slots"].as_u64(), outer["left_out"]["slots"].as_u64()), (Some(4), Some(4)), "{outer}");
    // 2020 Wh at the billed PUE of 1.5 is 3030 Wh: one per cent off.
    assert_eq!((uj(&outer["expected_uj"]), outer["verdict"].as_str()), (3030 * WH, Some("within")), "{outer}");
    let middle = step(&answer, "pdu", "chassis");
    assert_eq!((middle["ratio"].as_str(), middle["verdict"].as_str()), (Some("1.01"), Some("within")), "{middle}");
    let inner = step(&answer, "chassis", "components");
    assert_eq!((uj(&inner["upper_uj"]), uj(&inner["lower_uj"])), (4000 * WH, 3000 * WH), "both hours: {inner}");
    let pue = &answer["sites"][0]["pue"];
    assert_eq!((pue["implied"].as_str(), pue["billed"].as_str()), (Some("1.5"), Some("1.5")), "6000 / 4000: {pue}");
    let beyond = reconciled(&server, &format!("window={}&tolerance=0.5%", slots_around(start, start + 7_199_999)));
    assert_eq!(step(&beyond, "pdu", "chassis")["verdict"], "beyond", "{beyond}");
    assert_eq!(beyond["verdict"], "beyond", "{beyond}");
}

#[test]
fn an_invoice_is_held_against_the_buildings_meter_and_what_is_charged() {
    let home = Home::new();
    let (server, start) = site(&home);
    let window = slots_around(start, start + 7_199_999);
    // 6 kWh at the building's meter; 4 kWh billed × 1.5 × 0.20 = 1.20.
    let ask = |invoice: &str| {
        let all = ["reconcile", "--window", &window, "--site", "par1", "--server", &server.url, "--invoice", invoice];
        wattledger(&home, &all)
    };
    let done = ask("kwh=6.06,amount=1.20").ok();
    assert!(done.out.contains("EUR: invoice 1.20, ours 1.20"), "{}", done.out);
    assert_eq!(ask("kwh=6.20,amount=1.20").status.code(), Some(1), "6.2 is 3.3 % more than 6");
    assert_eq!(ask("kwh=6,amount=1.20,currency=USD").status.code(), Some(1), "nothing is charged in USD");
    assert_eq!(ask("kwh=lots").status.code(), Some(2));
    // A host without a meter over it: what is billed stands for the building, and no rate card is for that site.
    let far = reconciled(&server, &format!("window={window}&site=iad2&invoice=kwh=14"));
    let check = &far["sites"][0]["invoice"];
    assert_eq!((check["basis"].as_str(), check["kwh"]["ours"].as_str()), (Some("chassis"), Some("14")), "{far}");
    assert_eq!(far["verdict"], "within", "{far}");
}

#[test]
fn a_fleet_without_any_meter_to_compare_is_not_called_reconciled() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(8);
    let points: Vec<Point> = (0..=60).map(|n| (start + n * 60_000, Some(1_000_000))).collect();
    Writer::new(&server.url, 1, "node-1").power("chassis", "wall", &points, 60_000);
    let done = wattledger(&home, &["reconcile", "--window", "24h", "--server", &server.url]);
    assert_eq!(done.status.code(), Some(1), "{}", done.out);
    assert!(done.err.contains("nothing to compare"), "{}", done.err);
}
