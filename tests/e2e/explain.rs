//! An explanation is added up again, from its JSON, with integers of the test's own.

use serde_json::Value;

use crate::harness::{Home, Point, Server, Writer, get, slot_ago_ms, slots_around, wattledger};

/// Two prices, the second from the middle of the window on; 1.1 as PUE makes amounts that no cent divides.
fn rates(changes_at: &str) -> String {
    format!(
        "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.2137\"\npue = \"1.1\"\n\n\
         [[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.3391\"\npue = \"1.25\"\nvalid_from = \"{changes_at}\"\n"
    )
}

/// A host with a meter that misses ten minutes, and two GPUs of which one is read at last three slots in. Three hours
/// from a slot on, with a load that is no round number.
fn machine(home: &Home, card: fn(&str) -> String) -> (Server, i64, String) {
    let start = slot_ago_ms(16);
    let changes = jiff_stamp(start + 6 * 900_000);
    home.write("rates.toml", card(&changes));
    home.write("inventory.csv", "host,team\nnode-1,nlp\nnode-2,cv\n");
    let files = format!(
        "[files]\nrates = \"{}\"\ninventory = \"{}\"\n",
        home.path("rates.toml").display(),
        home.path("inventory.csv").display()
    );
    let config = home.write("wattledger.toml", files);
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    let load = |n: i64, base: i64| Some(base + (n * n * 7919) % 333_333);
    let points =
        |from: i64, base: i64| -> Vec<Point> { (from..=180).map(|n| (start + n * 60_000, load(n, base))).collect() };
    let mut writer = Writer::new(&server.url, 1, "node-1");
    let wall: Vec<Point> = points(0, 2_345_678)
        .into_iter()
        .filter(|(ms, _)| {
            let minute = (ms - start) / 60_000;
            !(61..=70).contains(&minute)
        })
        .collect();
    writer.power("chassis", "wall", &wall, 60_000);
    writer.power("gpu", "GPU-a", &points(0, 700_123), 60_000);
    writer.power("gpu", "GPU-b", &points(45, 650_987), 60_000);
    Writer::new(&server.url, 2, "node-2").power("chassis", "wall", &points(0, 999_999), 60_000);
    (server, start, changes)
}

/// An instant in RFC 3339.
fn jiff_stamp(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Civil from days: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z")
}

fn uj(value: &Value) -> i128 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no whole number"))
}

/// A decimal text in billionths.
fn nano(value: &Value) -> i128 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no decimal text"));
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    assert!(rest.len() <= 9, "{text}");
    format!("{whole}{rest:0<9}").parse().expect("digits")
}

#[test]
fn a_figure_can_be_added_up_again_by_hand() {
    let home = Home::new();
    let (server, start, changes) = machine(&home, rates);
    let window = slots_around(start, start + 10_800_000 - 1);
    let told = get(&format!("{}/api/v1/explain?host=node-1&window={window}", server.url)).json();
    let slots = told["slots"].as_array().expect("slots");
    assert_eq!(slots.len(), 12, "three hours: {told}");

    // Energy: the slots, and the lines of the boundary, are the total, and the total is the rollup's.
    let energy: i128 = slots.iter().map(|slot| uj(&slot["energy_uj"])).sum();
    let lines = told["boundary"]["lines"].as_array().expect("lines");
    let billed: i128 = lines.iter().map(|line| uj(&line["energy_uj"])).sum();
    let rollup = get(&format!("{}/api/v1/rollup?window={window}&by=host&where=host=node-1", server.url)).json();
    let row = &rollup["rows"][0];
    assert_eq!((energy, billed), (uj(&row["energy_uj"]), uj(&row["energy_uj"])), "{told}");
    assert_eq!(uj(&told["total"]["energy_uj"]), energy);

    // Money: µJ × price × PUE over 3.6·10¹² µJ per kWh, in 10⁻¹⁸ of the currency; one rounding at the end.
    let mut sum = 0_i128;
    for slot in slots {
        let (price, pue) = (nano(&slot["price_per_kwh"]), nano(&slot["pue"]));
        let is_later = slot["start"].as_str().expect("an instant") >= changes.as_str();
        let expected = if is_later { (339_100_000, 1_250_000_000) } else { (213_700_000, 1_100_000_000) };
        assert_eq!((price, pue), expected, "{slot}");
        // The card's lines, as a person finds them in the file.
        assert_eq!(slot["rate_line"], if is_later { 6 } else { 1 }, "{slot}");
        let exact = uj(&slot["energy_uj"]) * price / 1_000_000 * pue / 3_600_000_000;
        sum += exact;
        let shown = slot["amount"].as_str().expect("an amount");
        let (whole, rest) = shown.split_once('.').expect("decimals");
        let shown: i128 = format!("{whole}{rest:0<15}").parse().expect("digits");
        assert!((shown - exact).abs() <= 1_000, "to 10⁻¹²: {slot} is {exact}");
    }
    let cents = (sum + 5_000_000_000_000) / 10_000_000_000_000;
    let amount = row["cost"][0]["amount"].as_str().expect("an amount").replace('.', "");
    assert_eq!(amount.parse::<i128>().expect("cents"), cents, "{row}");
    assert_eq!(told["total"]["cost"][0]["amount"], row["cost"][0]["amount"]);
}

#[test]
fn charges_of_the_month_are_in_the_slots_that_bear_them() {
    let card = |_: &str| {
        "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.2137\"\npue = \"1.1\"\noverhead_share = \"0.07\"\n\
         demand_per_kw = \"11.5\"\nfixed_per_month = \"250\"\n"
            .to_owned()
    };
    let home = Home::new();
    let (server, start, _) = machine(&home, card);
    let window = slots_around(start, start + 10_800_000 - 1);
    let told = get(&format!("{}/api/v1/explain?host=node-1&window={window}", server.url)).json();
    let slots = told["slots"].as_array().expect("slots");
    // 10⁻¹² of the currency.
    let pico = |text: &Value| -> i128 {
        let (whole, rest) = text.as_str().and_then(|text| text.split_once('.')).expect("a decimal");
        format!("{whole}{rest:0<12}").parse().expect("digits")
    };
    let part = |name: &str| slots.iter().map(|slot| pico(&slot["parts"][name])).sum::<i128>();
    let cost = &told["total"]["cost"][0];
    for name in ["energy", "pue_overhead", "demand", "fixed"] {
        assert!((part(name) - pico(&cost["parts"][name])).abs() <= 10_000_000_000, "to the cent: {name} of {cost}");
    }
    let sum: i128 = slots.iter().map(|slot| pico(&slot["amount"])).sum();
    assert_eq!((sum + 5_000_000_000) / 10_000_000_000 * 10_000_000_000, pico(&cost["amount"]), "{cost}");
    // One slot is the site's peak, for all its hosts: kWh × 1.1 × 4 × 11.5.
    let peaks: Vec<&Value> = slots.iter().filter(|slot| slot["demand_per_kwh"].is_string()).collect();
    // Two, if the window lies over the end of a month.
    assert!((1..=2).contains(&peaks.len()), "{told}");
    for peak in peaks {
        let by_hand = uj(&peak["energy_uj"]) * 506 / 36;
        assert!((pico(&peak["parts"]["demand"]) - by_hand).abs() <= 100, "{peak}: {by_hand}");
    }
}

#[test]
fn accounts_holes_labels_and_the_billed_meter_are_told() {
    let home = Home::new();
    let (server, start, _) = machine(&home, rates);
    let window = slots_around(start, start + 10_800_000 - 1);
    let told = get(&format!("{}/api/v1/explain?host=node-1&window={window}", server.url)).json();
    let accounts = told["accounts"].as_array().expect("accounts");
    let account = |device: &str| accounts.iter().find(|one| one["device"] == device).expect("an account");
    let wall = account("wall");
    assert_eq!((wall["role"].as_str(), wall["billed_slots"].as_u64()), (Some("meter"), Some(12)), "{wall}");
    let hole = &wall["holes"][0];
    // From minute 60 to 71 between two readings, and the straight line between them is booked.
    let load = |n: i64| i128::from(2_345_678 + (n * n * 7919) % 333_333);
    assert_eq!(uj(&hole["estimated_uj"]), (load(60) + load(71)) * 660_000 / 2, "mW × ms = µJ: {hole}");
    assert_eq!(hole["from"]["watts"].as_str().map(|watts| watts.replace('.', "")), Some(load(60).to_string()));
    let late = account("GPU-b");
    assert_eq!((late["role"].as_str(), late["covered_seconds"].as_f64()), (Some("component"), Some(8100.0)), "{late}");
    assert_eq!(told["labels"][0]["labels"]["team"], "nlp", "{told}");
    // What the meter missed is told from components.
    let methods = told["boundary"]["methods"].as_array().expect("methods");
    assert!(methods.iter().any(|method| method == "component-ratio"), "{told}");

    let table = wattledger(&home, &["explain", "--host", "node-1", "--window", &window, "--server", &server.url]).ok();
    let amount = told["total"]["cost"][0]["amount"].as_str().expect("an amount");
    for text in ["chassis:wall", "hole in chassis:wall", "unattributed", "team=nlp", &format!("{amount} EUR")] {
        assert!(table.out.contains(text), "{text} is not in\n{}", table.out);
    }
    let nobody = wattledger(&home, &["explain", "--host", "node-9", "--window", "24h", "--server", &server.url]);
    assert_eq!(nobody.status.code(), Some(1), "{}", nobody.err);
    let no_window = wattledger(&home, &["explain", "--host", "node-1", "--window", "soon", "--server", &server.url]);
    assert_eq!(no_window.status.code(), Some(2), "{}", no_window.err);
}
