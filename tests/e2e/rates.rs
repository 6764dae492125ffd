//! Rate cards as their operators use them: converted, checked, followed, shown; and a recorded day priced by them.

use std::path::Path;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::harness::{
    Home, Server, Writer, agent, get, recorded, samples, series, slot_ago_ms, slots_around, wait_for, wattledger,
};

/// A server with this rate card.
fn priced(home: &Home, card: &str) -> Server {
    let rates = home.write("rates.toml", card);
    let config = home.write("wattledger.toml", format!("[files]\nrates = \"{}\"\n", rates.display()));
    home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")])
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().expect("a decimal string").parse().expect("a decimal")
}

/// The imported card with prices in millionths, so that eight digits of a cost are printed, and nothing else due.
fn in_millionths(card: &str) -> String {
    let line = |line: &str| match line.strip_prefix("price_per_kwh = \"") {
        Some(price) => {
            let price: Decimal = price.trim_end_matches('"').parse().expect("a price");
            format!("price_per_kwh = \"{}\"\n", (price * Decimal::from(1_000_000)).normalize())
        }
        None if line.starts_with("fixed_per_month") => String::new(),
        None => format!("{line}\n"),
    };
    card.lines().map(line).collect()
}

/// What the recorded day costs by host, and in all.
fn cost_of_day(folder: &Path, card: &str, by_host: impl Fn(&str, &Value)) -> Value {
    let samples = samples(folder, "host");
    let edges = samples.values().map(|points| (points[0].0, points[points.len() - 1].0));
    let (first, last) = edges.fold((i64::MAX, 0), |all, one| (all.0.min(one.0), all.1.max(one.1)));
    let home = Home::new();
    let server = priced(&home, card);
    let file = folder.join("samples.csv.gz");
    let arguments = ["replay", file.to_str().expect("a plain path"), "--server", &server.url, "--speed", "max"];
    agent(&home, &arguments).ok();
    let answer = get(&format!("{}/api/v1/rollup?window={}&by=host", server.url, slots_around(first, last))).json();
    let rows = answer["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 32);
    for row in rows {
        assert_eq!(row["cost"].as_array().expect("costs").len(), 1);
        by_host(row["by"]["host"].as_str().expect("a host"), &row["cost"][0]);
    }
    assert_eq!(answer["total"]["unpriced_kwh"].as_f64(), Some(0.0));
    answer["total"]["cost"][0].clone()
}

#[test]
fn the_recorded_day_by_an_imported_tariff_costs_what_the_reference_says() {
    let Some(folder) = recorded("fleet-32xHaswell-24h") else { return };
    let tariffs = folder.with_file_name("tariffs");
    let text = std::fs::read_to_string(tariffs.join("cost_reference.json")).expect("the reference");
    let reference: Value = serde_json::from_str(&text).expect("JSON");
    let reference = &reference["open/fleet-32xHaswell-24h"];
    let figure = |name: &str| reference[name].as_f64().expect("a figure");
    let file = tariffs.join("urdb-virginia-dominion.json");
    let import = |zone: &[&str]| {
        let arguments = ["rates", "import", "urdb", file.to_str().expect("a plain path")];
        wattledger(&Home::new(), &[&arguments[..], zone].concat()).ok()
    };
    let card = import(&["--timezone", "America/New_York"]);
    assert!(card.err.contains("--dated"), "what is not taken over is said: {}", card.err);

    // As it is: to the cent, with what is due for the month.
    let theirs = |host: &str| reference["urdb_new_york_per_host_usd"][host].as_f64().expect("the host's figure");
    let near = |ours: &Value, exact: f64, tolerance: f64, what: &str| {
        let ours: f64 = decimal(ours).to_string().parse().expect("a number");
        assert!((ours - exact).abs() < tolerance, "{what}: {ours}, the reference says {exact}");
    };
    let total = cost_of_day(&folder, &card.out, |host, cost| near(&cost["parts"]["energy"], theirs(host), 0.011, host));
    assert_eq!((total["parts"]["energy"].as_str(), total["parts"]["fixed"].as_str()), (Some("24.31"), Some("2.90")));
    assert_eq!(total["amount"].as_str(), Some("27.21"));

    // In millionths: to eight digits, for each host and in all.
    let day = |card: &str, host: &dyn Fn(&str, &Value)| cost_of_day(&folder, &in_millionths(card), host);
    let total = day(&card.out, &|host, cost| near(&cost["amount"], theirs(host) * 1e6, 0.3, host));
    near(&total["amount"], figure("urdb_new_york_usd") * 1e6, 10.0, "in New York");
    let utc = import(&[]);
    assert!(utc.err.contains("UTC"), "a zone that nobody named is said: {}", utc.err);
    near(&day(&utc.out, &|_, _| ())["amount"], figure("urdb_utc_usd") * 1e6, 10.0, "in UTC");
}

const DAY_AHEAD: &str = r#"
[[rate]]
name = "spot"
currency = "EUR"
series = "spot.csv"
demand_per_kw = "10"
"#;

/// Hourly prices from 8 hours ago on.
fn spot(hours: usize, price: &str) -> String {
    let rows = (0..hours).map(|hour| format!("{},{price}\n", slot_ago_ms(8) / 1000 + hour as i64 * 3600));
    "start,price_per_mwh\n".to_owned() + &rows.collect::<String>()
}

#[test]
fn a_card_and_its_files_come_into_force_together_and_a_bad_one_changes_nothing() {
    let home = Home::new();
    home.write("spot.csv", spot(20, "100"));
    let server = priced(&home, DAY_AHEAD);
    let start = slot_ago_ms(4);
    let points: Vec<_> = (0..=60).map(|n| (start + n * 60_000, Some(2_000_000))).collect();
    Writer::new(&server.url, 1, "node-1").power("chassis", "wall", &points, 60_000);
    let window = slots_around(start, start + 3_600_000 - 1);
    let cost =
        || get(&format!("{}/api/v1/rollup?window={window}&by=host", server.url)).json()["total"]["cost"][0].clone();
    let energy = || cost()["parts"]["energy"].as_str().expect("money").to_owned();
    assert_eq!(energy(), "0.20", "2 kWh at 0.10");
    // 2 kW at 10, borne by one of the quarter-hours; by one in each month around midnight of the first.
    let demand = cost()["parts"]["demand"].as_str().expect("money").to_owned();
    assert!(["20.00", "40.00"].contains(&&*demand), "{demand}");

    home.write("spot.csv", spot(20, "-300.5"));
    wait_for("the new prices", Duration::from_secs(20), || (energy() == "-0.60").then_some(()));
    let shown = || wattledger(&home, &["rates", "show", "--server", &server.url]).ok().out;
    assert!(shown().contains("-0.3005 EUR") && shown().contains("spot.csv"), "{}", shown());

    // An hour is missing: refused, named, and the former prices stay.
    let whole = spot(20, "50");
    let holed: String =
        whole.lines().enumerate().filter(|(n, _)| *n != 7).map(|(_, line)| format!("{line}\n")).collect();
    home.write("spot.csv", holed);
    wait_for("the refusal", Duration::from_secs(20), || shown().contains("NOT IN FORCE").then_some(()));
    assert!(shown().contains("there is no figure from"), "{}", shown());
    assert_eq!(energy(), "-0.60");
    let failed = series(&server.url, "wattledger_file_reload_failed");
    assert!(failed.iter().any(|(labels, value)| labels.contains("rates.toml") && *value == 1.0), "{failed:?}");
    let checked = wattledger(&home, &["check", home.path("rates.toml").to_str().expect("a plain path")]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(checked.out.contains("spot.csv:7: ") && checked.out.contains("1 of 60 min"), "{}", checked.out);

    home.write("rates.toml", DAY_AHEAD.replace("\"spot.csv\"", "{ file = \"spot.csv\", gaps = \"unpriced\" }"));
    wait_for("the card with a gap", Duration::from_secs(20), || (!shown().contains("NOT IN FORCE")).then_some(()));
    assert!(shown().contains("GAP"), "{}", shown());
    assert_eq!(energy(), "0.10");

    // A card without any rate is none: an emptied file must not make everything unpriced.
    home.write("rates.toml", "");
    wait_for("the refusal of an empty card", Duration::from_secs(20), || {
        shown().contains("no [[rate]] in it").then_some(())
    });
    assert_eq!(energy(), "0.10", "the former card stays");
    let failed = series(&server.url, "wattledger_file_reload_failed");
    assert!(failed.iter().any(|(labels, value)| labels.contains("rates.toml") && *value == 1.0), "{failed:?}");
    assert!(server.logged().contains("leave files.rates empty"), "{}", server.logged());
    let other = Home::new();
    let empty = other.write("rates.toml", "# nothing\n");
    let arguments = ["--rates", empty.to_str().expect("a plain path")];
    let refused = other.serve("127.0.0.1:0", &arguments).output().expect("the built aggregator");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("rates.toml: no [[rate]]"), "{said}");
    home.write("rates.toml", DAY_AHEAD.replace("\"spot.csv\"", "{ file = \"spot.csv\", gaps = \"unpriced\" }"));
    wait_for("the card again", Duration::from_secs(20), || (!shown().contains("NOT IN FORCE")).then_some(()));

    // A second machine raises the peak, and what is due for it, at once.
    Writer::new(&server.url, 2, "node-2").power("chassis", "wall", &points, 60_000);
    let demand = cost()["parts"]["demand"].as_str().expect("money").to_owned();
    assert!(["40.00", "80.00"].contains(&&*demand), "{demand}");
}

#[test]
fn check_tells_every_fault_of_every_kind_of_file() {
    let home = Home::new();
    let shipped = ["aggregator.toml", "agent.toml", "rates.toml", "inventory.csv"]
        .map(|name| format!("{}/configs/{name}", env!("CARGO_MANIFEST_DIR")));
    let good = wattledger(&home, &["check", &shipped[0], &shipped[1], &shipped[2], &shipped[3]]).ok();
    assert_eq!(good.out.lines().filter(|line| line.ends_with("no faults")).count(), 4, "{}", good.out);

    std::fs::create_dir(home.path("empty")).expect("a folder");
    let write = |name: &str, text: &str| home.write(name, text).display().to_string();
    let files = [
        write("rates.toml", "[[rate]]\ncurrency = \"euro\"\nprice_per_kwh = 0.2\n"),
        write("node.toml", "[uplink]\ninterval_s = 0\ntimeout_s = 0\nserver = \"x\"\n"),
        write("values.toml", "[uplink]\ninterval_s = 0\ntimeout_s = 0\n"),
        write("server.toml", "[server]\nlisten = 3\n\n[store]\nexport_every_s = 0\n"),
        write("fleet.csv", "host,team\nnode-1,a,b\n"),
        write("empty/rates.toml", "# emptied\n"),
        write("empty/inventory.csv", ""),
        write("empty/budgets.toml", ""),
        write("names.toml", "[server]\nlisten = \"nowhere\"\n[files]\nrates = \"/nowhere/rates.toml\"\n"),
        write("agent.toml", "[agent]\nhost = \"a b\"\n[uplink]\nservers = [\"http://a:1\", \"b:2\"]\n"),
        write("section.toml", "[uplnk]\ninterval_s = 0\n[spool]\nmax_mib = 0\n"),
    ];
    let arguments: Vec<&str> =
        ["check", "--format", "json"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let told = wattledger(&home, &arguments);
    assert_eq!(told.status.code(), Some(2));
    let told: Value = serde_json::from_str(&told.out).expect("JSON");
    let found = |index: usize| -> Vec<(u64, String)> {
        let faults = told["files"][index]["faults"].as_array().expect("faults");
        faults.iter().map(|f| (f["line"].as_u64().unwrap_or(0), f["key"].as_str().expect("a key").to_owned())).collect()
    };
    let of = |all: &[(u64, &str)]| all.iter().map(|(line, key)| (*line, (*key).to_owned())).collect::<Vec<_>>();
    assert_eq!(found(0), of(&[(2, "currency"), (3, "price_per_kwh")]));
    assert_eq!(found(1), of(&[(2, "uplink.interval_s"), (3, "uplink.timeout_s"), (4, "uplink.server")]));
    assert_eq!(found(2), of(&[(2, "uplink.interval_s"), (3, "uplink.timeout_s")]));
    assert_eq!(found(3), of(&[(2, "server.listen"), (5, "store.export_every_s")]));
    assert_eq!(found(4), of(&[(2, "")]));
    (5..8).for_each(|file| assert_eq!(found(file), of(&[(0, "")]), "{file}"));
    assert_eq!(found(8), of(&[(2, "server.listen"), (4, "files.rates")]));
    assert_eq!(found(9), of(&[(2, "agent.host"), (4, "uplink.servers")]));
    assert_eq!(found(10), of(&[(1, "uplnk")]), "values are looked at when all sections are known");

    // A file of nothing but faults is told in as many lines as a person reads.
    let many = home.write("many.csv", format!("host,valid_from\n{}", "node-1,soon\n".repeat(500)));
    let told = wattledger(&home, &["check", many.to_str().expect("a plain path")]).out;
    assert_eq!(told.lines().count(), 101, "{told}");
    let last = told.lines().last().expect("lines");
    assert!(last.ends_with("many.csv: and 400 more; --format json has them all"), "{told}");
}
