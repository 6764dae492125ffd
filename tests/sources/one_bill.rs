//! One host seen by many sources is billed once.

use serde_json::{Value, json};

use crate::harness::{Home, Server, get, post_json, slot_ago_ms, slots_around, wattledger};

const GPUS: [&str; 2] = ["GPU-5a1c0000-1234-abcd-ef00-000000000001", "GPU-5a1c0000-1234-abcd-ef00-000000000002"];

/// Seconds of readings, one every 10 s.
const LENGTH: i64 = 7200;

/// A program that reports one owner.
struct Collector<'a> {
    server: &'a str,
    stream: String,
    owner: (&'a str, &'a str),
    seq: u64,
}

impl<'a> Collector<'a> {
    fn new(server: &'a Server, number: u8, owner: (&'a str, &'a str)) -> Self {
        let stream = format!("0000000{number}-0000-4000-8000-000000000000");
        Self { server: &server.url, stream, owner, seq: 0 }
    }

    /// Reports `reading` at each of these seconds after `start`.
    fn reports(&mut self, start: i64, seconds: impl Iterator<Item = i64>, reading: impl Fn(i64) -> Value) {
        let readings: Vec<Value> = seconds
            .map(|second| {
                let mut reading = reading(second);
                reading["at_ms"] = json!(start + second * 1000);
                reading
            })
            .collect();
        for readings in readings.chunks(500) {
            self.seq += 1;
            let (kind, name) = self.owner;
            let body = json!({"stream": self.stream, "seq": self.seq, kind: name, "readings": readings});
            let answer = post_json(self.server, &body);
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.json()["refused"], json!([]), "{}", answer.body);
        }
    }

    /// Constant power, but for the seconds that are missed.
    fn draws(&mut self, start: i64, (scope, device, watts): (&str, &str, i64), missed: &[std::ops::Range<i64>]) {
        let is_read = |second: &i64| !missed.iter().any(|missed| missed.start < *second && *second < missed.end);
        let seconds = (0..=LENGTH).step_by(10).filter(is_read);
        self.reports(
            start,
            seconds,
            |_| json!({"scope": scope, "device": device, "watts": watts, "period_ms": 10_000}),
        );
    }

    /// A counter of constant power.
    fn counts(&mut self, start: i64, (scope, device, watts): (&str, &str, i64)) {
        self.reports(start, (0..=LENGTH).step_by(10), |second| {
            let joules = 1_000_000 + watts * second;
            json!({"scope": scope, "device": device, "joules": joules, "epoch": "boot-1", "period_ms": 10_000})
        });
    }
}

fn serve(home: &Home, inventory: &str) -> Server {
    let inventory = home.write("inventory.csv", inventory);
    let config = home.write("wattledger.toml", format!("[files]\ninventory = '{}'\n", inventory.display()));
    home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")])
}

/// An answer's microjoules by the values of a key, and in all.
fn microjoules(server: &Server, window: &str, by: &str) -> (Vec<(String, i128)>, i128) {
    let answer = get(&format!("{}/api/v1/rollup?window={window}&by={by}", server.url)).json();
    let whole = |row: &Value| -> i128 { row["energy_uj"].as_str().expect("text").parse().expect("a number") };
    let rows = answer["rows"].as_array().expect("rows").iter();
    let rows = rows.map(|row| (row["by"][by].as_str().expect("a key").to_owned(), whole(row)));
    (rows.collect(), whole(&answer["total"]))
}

fn total(server: &Server, window: &str) -> Value {
    get(&format!("{}/api/v1/rollup?window={window}", server.url)).json()["total"].clone()
}

const JOULE: i128 = 1_000_000;

#[test]
fn a_host_with_every_source_is_billed_what_its_bmc_saw_also_over_its_holes() {
    let home = Home::new();
    let server = serve(&home, "host,chassis\nnode-1,bmc-1\n");
    let start = slot_ago_ms(5);
    // The node's own agent: NVML and RAPL, 800 W together.
    let mut agent = Collector::new(&server, 1, ("host", "node-1"));
    for gpu in GPUS {
        agent.counts(start, ("gpu", gpu, 300));
    }
    agent.counts(start, ("cpu", "package-0", 150));
    agent.counts(start, ("dram", "package-0", 50));
    // The same hardware scraped: node_exporter gives sums over packages too, dcgm-exporter the same boards.
    let mut scraped = Collector::new(&server, 2, ("host", "node-1"));
    scraped.counts(start, ("cpu", "package-0", 150));
    scraped.draws(start, ("cpu", "packages", 150), &[]);
    scraped.draws(start, ("gpu", GPUS[0], 301), &[]);
    // And under another name, by somebody who does not know better.
    let mut stray = Collector::new(&server, 3, ("host", "node-1-dcgm"));
    stray.draws(start, ("gpu", GPUS[0], 302), &[]);
    // The BMC sees 1000 W. It misses a minute, and later 20 minutes, over which no line is drawn.
    let mut bmc = Collector::new(&server, 4, ("chassis", "bmc-1"));
    bmc.draws(start, ("chassis", "bmc", 1000), &[1900..1960, 3600..4800]);
    bmc.draws(start, ("chassis", "bmc/psu-1", 510), &[1900..1960, 3600..4800]);
    bmc.draws(start, ("chassis", "bmc/psu-2", 510), &[1900..1960, 3600..4800]);

    let window = slots_around(start, start + LENGTH * 1000 - 1);
    let energy = 1000 * i128::from(LENGTH) * JOULE;
    let (hosts, all) = microjoules(&server, &window, "host");
    assert_eq!(all, energy, "{hosts:?}");
    assert_eq!(hosts, [("node-1".to_owned(), energy), ("node-1-dcgm".to_owned(), 0)]);
    let (scopes, all) = microjoules(&server, &window, "scope");
    let of = |watts: i128| watts * i128::from(LENGTH) * JOULE;
    let expected = [("cpu", of(150)), ("dram", of(50)), ("gpu", of(600)), ("unattributed", of(200))];
    assert_eq!((scopes, all), (expected.map(|(scope, uj)| (scope.to_owned(), uj)).to_vec(), energy));

    let total = total(&server, &window);
    let quality = |key: &str| total["quality"][key].as_f64().expect("a figure");
    assert_eq!(quality("estimated_joules"), 1_260_000.0, "21 minutes of 1000 W: {total}");
    assert_eq!((quality("metered_seconds"), quality("ratio_seconds")), (5940.0, 1260.0), "{total}");
    assert_eq!(total["methods"], json!(["meter", "component-ratio"]));
    assert_eq!(total["flags"], json!({"same-device-elsewhere": 16}), "8 slots of two hosts");

    let told = wattledger(&home, &["report", "--server", &server.url, "--window", &window, "--by", "host"]).ok().out;
    for words in
        ["meters missed 21 min of host time", "read at several hosts, and is billed at one: node-1, node-1-dcgm"]
    {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
}

#[test]
fn four_sleds_in_one_enclosure_are_billed_once_and_the_split_is_named() {
    let home = Home::new();
    let server = serve(&home, "host,chassis\n\"sled-[1-4]\",enc-1\n");
    let start = slot_ago_ms(5);
    let names = ["sled-1", "sled-2", "sled-3", "sled-4"];
    for (number, name) in (1..).zip(names) {
        let mut sled = Collector::new(&server, number, ("host", name));
        sled.counts(start, ("cpu", "package-0", 70 * i64::from(number)));
    }
    let mut enclosure = Collector::new(&server, 9, ("chassis", "enc-1"));
    enclosure.draws(start, ("chassis", "bmc/psu-1", 500), &[]);
    enclosure.draws(start, ("chassis", "bmc/psu-2", 501), &[]);

    let window = slots_around(start, start + LENGTH * 1000 - 1);
    let energy = 1001 * i128::from(LENGTH) * JOULE;
    let (hosts, all) = microjoules(&server, &window, "host");
    assert_eq!((all, hosts.iter().map(|(_, uj)| uj).sum()), (energy, energy));
    for (number, (name, uj)) in (1..).zip(&hosts) {
        assert_eq!(name, names[number as usize - 1]);
        let exact = energy * number / 10;
        assert!((uj - exact).abs() <= 1, "{name}: {uj} of {exact}");
    }
    for by in ["scope", "chassis", "device"] {
        let (rows, all) = microjoules(&server, &window, by);
        assert_eq!((rows.iter().map(|(_, uj)| uj).sum::<i128>(), all), (energy, energy), "by={by}");
    }
    let total = total(&server, &window);
    assert_eq!(total["methods"], json!(["shared-chassis/component-energy"]));
    let told = wattledger(&home, &["report", "--server", &server.url, "--window", &window, "--format", "csv"]).ok().out;
    assert!(told.contains("shared-chassis/component-energy"), "{told}");
}
