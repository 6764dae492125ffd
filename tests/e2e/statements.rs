//! Months close, stay as they are, and are adjusted in the next open month by exactly what changed.

use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, Zoned};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::focus_validator::{read, sum};
use crate::harness::{Done, Home, Server, await_one_day, get, post, post_json, power, stream, wait_for, wattledger};
use crate::page;

pub(crate) const RATES: &str =
    "[[rate]]\nsite = \"par1\"\ncurrency = \"EUR\"\nprice_per_kwh = \"0.20\"\npue = \"1.50\"\n";
pub(crate) const INVENTORY: &str =
    "host,team,site,rack\nnode-1,nlp,par1,r1\nnode-2,vision,par1,r2\nnode-3,vision,par1,r1\n";

/// A calendar month before this one, in UTC.
pub(crate) struct Month {
    pub(crate) period: String,
    pub(crate) start_ms: i64,
    pub(crate) hours: i64,
}

/// The month so many before this one.
pub(crate) fn month_ago(months: i64) -> Month {
    let this = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month();
    let first = this.saturating_sub(months.months());
    let at = |date: Date| date.to_zoned(jiff::tz::TimeZone::UTC).expect("a date").timestamp().as_millisecond();
    let start_ms = at(first);
    let hours = (at(first.saturating_add(1.month())) - start_ms) / 3_600_000;
    Month { period: first.strftime("%Y-%m").to_string(), start_ms, hours }
}

/// An aggregator with prices and labels that a test may change.
pub(crate) fn start(home: &Home) -> Server {
    await_one_day();
    home.write("rates.toml", RATES);
    home.write("inventory.csv", INVENTORY);
    let (rates, inventory) = (home.path("rates.toml"), home.path("inventory.csv"));
    let files = format!("[files]\nrates = '{}'\ninventory = '{}'\n", rates.display(), inventory.display());
    let config = home.write("wattledger.toml", format!("{files}[server]\ntimezone = \"UTC\"\n"));
    home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")])
}

/// Books a constant power in kilowatts for so many hours, one reading an hour, as recorded data.
pub(crate) fn book(server: &Server, number: u64, host: &str, start_ms: i64, hours: i64, kilowatts: i64) {
    let readings: Vec<Value> = (0..=hours)
        .map(|hour| power("chassis", "wall", (start_ms + hour * 3_600_000, Some(kilowatts * 1_000_000)), 3_600_000))
        .collect();
    let body = json!({ "stream": stream(number), "seq": 1, "host": host, "import": true, "readings": readings });
    let answer = post_json(&server.url, &body).json();
    assert_eq!(answer["booked"], hours + 1, "{answer}");
}

pub(crate) fn close(home: &Home, server: &Server, arguments: &[&str]) -> Done {
    wattledger(home, &[&["close", "--server", &server.url], arguments].concat())
}

pub(crate) fn ask(server: &Server, question: &str) -> Value {
    get(&format!("{}/api/v1/{question}", server.url)).json()
}

pub(crate) fn statement(server: &Server, period: &str) -> String {
    let answer = get(&format!("{}/api/v1/statements/{period}?site=par1", server.url));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no decimal"))
}

/// The amount in euros of something with costs.
fn euros(of: &Value) -> Decimal {
    let costs = of["cost"].as_array().unwrap_or_else(|| panic!("no costs in {of}"));
    costs.iter().find(|cost| cost["currency"] == "EUR").map_or(Decimal::ZERO, |cost| decimal(&cost["amount"]))
}

/// Energy in microjoules of so many kWh.
fn microjoules(kwh: i64) -> String {
    (i128::from(kwh) * 3_600_000_000_000).to_string()
}

/// The adjustments of a question by the value of a key.
fn adjustment<'a>(answer: &'a Value, key: &str, value: &str) -> &'a Value {
    let all = answer["adjustments"].as_array().unwrap_or_else(|| panic!("no adjustments in {answer}"));
    all.iter().find(|one| one["by"][key] == value).unwrap_or_else(|| panic!("none of {key}={value} in {answer}"))
}

#[test]
fn a_price_a_label_and_late_energy_adjust_the_next_month_and_leave_the_statement_as_it_is() {
    let home = Home::new();
    let server = start(&home);
    let (older, last) = (month_ago(2), month_ago(1));
    let hours = older.hours + last.hours;
    book(&server, 1, "node-1", older.start_ms, hours, 1);
    book(&server, 2, "node-2", older.start_ms, hours, 2);
    let closed = close(&home, &server, &[&older.period]).ok();
    assert!(closed.out.contains("version 1") && closed.out.contains("par1"), "{}", closed.out);
    let before = statement(&server, &older.period);
    let total = ask(&server, &format!("rollup?window={}", older.period));
    assert_eq!(
        (&total["status"], &total["total"]["energy_uj"]),
        (&json!("closed"), &json!(microjoules(3 * older.hours)))
    );
    // 3 kW × 1.5 × 0.20 €/kWh.
    let was = euros(&total["total"]);
    assert_eq!(was, Decimal::new(90 * older.hours, 2));

    // A price, a rack, and a host whose readings come late.
    home.write("rates.toml", RATES.replace("0.20", "0.25"));
    home.write("inventory.csv", INVENTORY.replace("vision,par1,r2", "vision,par1,r9"));
    book(&server, 3, "node-3", older.start_ms, older.hours, 4);
    let next = format!("rollup?window={}&by=team", last.period);
    let answer = wait_for("adjustments of all three", Duration::from_secs(30), || {
        let answer = ask(&server, &next);
        let adjusted = euros(&answer["adjustments_total"].as_object().map_or(json!({ "cost": [] }), |all| json!(all)));
        // (3 + 4) kW × 1.5 × 0.25 € instead of 3 kW × 1.5 × 0.20 €.
        (adjusted == Decimal::new(2625 * older.hours, 3) - was).then_some(answer)
    });
    let (nlp, vision) = (adjustment(&answer, "team", "nlp"), adjustment(&answer, "team", "vision"));
    assert_eq!((&nlp["energy_uj"], euros(nlp)), (&json!("0"), Decimal::new(75 * older.hours, 3)));
    assert_eq!(vision["energy_uj"], json!(microjoules(4 * older.hours)));
    assert_eq!((&nlp["period"], &nlp["version"], &nlp["site"]), (&json!(older.period), &json!(1), &json!("par1")));
    let bill = euros(&answer["total"]) + euros(&answer["adjustments_total"]);
    assert_eq!(euros(&answer["bill"]), bill);
    let racks = ask(&server, &format!("rollup?window={}&by=rack", last.period));
    assert_eq!(adjustment(&racks, "rack", "r2")["energy_uj"], json!(format!("-{}", microjoules(2 * older.hours))));
    assert_eq!(adjustment(&racks, "rack", "r9")["energy_uj"], json!(microjoules(2 * older.hours)));
    assert_eq!(euros(&racks["adjustments_total"]), euros(&answer["adjustments_total"]), "by any key");

    assert_eq!(statement(&server, &older.period), before, "the statement is as it was");
    let live = ask(&server, &format!("rollup?window={}&step=1mo", older.period));
    assert_eq!(
        (&live["status"], euros(&live["total"])),
        (&json!("provisional"), was + euros(&answer["adjustments_total"]))
    );
    check_formats(&home, &server, &last.period, bill);
    then_the_next_month_closes(&home, server, &older, &last, &before);
}

/// Every format of a month with adjustments adds up to its bill.
fn check_formats(home: &Home, server: &Server, period: &str, bill: Decimal) {
    let report = |format: &str| {
        let arguments =
            ["report", "--server", &server.url, "--window", period, "--by", "team,host", "--format", format];
        wattledger(home, &arguments).ok().out
    };
    let records = read(&report("focus")).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    assert_eq!(sum(&records, "BilledCost", |_| true), bill);
    let is_correction =
        |row: &crate::focus_validator::Record| row.get("ChargeClass").is_some_and(|class| class == "Correction");
    assert!(records.iter().any(is_correction) && !records.iter().all(is_correction));
    let billed: std::collections::BTreeSet<&String> = records.iter().map(|row| &row["BillingPeriodStart"]).collect();
    assert_eq!(billed.len(), 1, "corrections are billed in the month that is open");
    let csv = report("csv");
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let column = rows.headers().expect("a header").iter().position(|name| name == "cost_EUR").expect("a column");
    let cells = rows.records().map(|row| row.expect("a row")[column].parse::<Decimal>().unwrap_or_default());
    assert_eq!(cells.sum::<Decimal>(), bill);
    let page = page::read(&report("html"));
    assert!(page.text.contains("Adjustments of closed months") && page.text.contains("To be paid"), "{}", page.text);
    assert!(report("table").contains("to be paid, with all adjustments"));
}

/// Adjustments are frozen with the month they fall due in; what is left afterwards is only what is new.
fn then_the_next_month_closes(home: &Home, server: Server, older: &Month, last: &Month, before: &str) {
    // The late host is silent since.
    close(home, &server, &[&last.period, "--allow-incomplete"]).ok();
    let kept = statement(&server, &last.period);
    let head = ask(&server, "statements?site=par1")["statements"][0].clone();
    assert_eq!(head["period"], json!(last.period));
    assert_eq!(euros(&head["bill"]), euros(&head["total"]) + euros(&head["adjustments_total"]));
    let frozen = ask(&server, &format!("rollup?window={}&by=team", last.period));
    assert_eq!((&frozen["status"], euros(&frozen["bill"])), (&json!("closed"), euros(&head["bill"])));
    let none = ask(&server, "rollup?window=month");
    assert!(none.get("adjustments").is_none(), "nothing changed since: {none}");

    home.write("rates.toml", RATES.replace("0.20", "0.26"));
    // 1 cent more for 7 kW of the older month and 3 kW of the last one.
    let due = Decimal::new(105 * older.hours + 45 * last.hours, 3);
    let answer = wait_for("the second adjustment", Duration::from_secs(30), || {
        let answer = ask(&server, "rollup?window=month&by=host");
        answer.get("adjustments_total").filter(|all| euros(all) == due).is_some().then_some(answer)
    });
    let periods: std::collections::BTreeSet<_> =
        answer["adjustments"].as_array().expect("adjustments").iter().map(|one| one["period"].as_str()).collect();
    assert_eq!(periods, [Some(older.period.as_str()), Some(last.period.as_str())].into());
    server.kill();
    let config = home.path("wattledger.toml");
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    assert_eq!((statement(&server, &older.period), statement(&server, &last.period)), (before.to_owned(), kept));
    assert_eq!(euros(&ask(&server, "rollup?window=month")["adjustments_total"]), due, "also after a kill");
}

#[test]
fn what_is_worked_out_anew_names_the_statement_and_says_whether_it_differs() {
    let home = Home::new();
    let server = start(&home);
    let (older, last) = (month_ago(2), month_ago(1));
    book(&server, 1, "node-1", last.start_ms, last.hours, 1);
    book(&server, 2, "node-2", last.start_ms, last.hours, 2);
    close(&home, &server, &[&last.period]).ok();
    let head = ask(&server, "statements?site=par1")["statements"][0].clone();
    let named = json!([{ "period": last.period, "site": "par1", "id": head["id"], "version": 1 }]);
    let explain = format!("explain?host=node-2&window={}", last.period);
    let reconcile = format!("reconcile?window={}&site=par1", last.period);

    let answer = ask(&server, &explain);
    let closed = &answer["closed"];
    assert_eq!(
        (&answer["status"], &closed["statements"], &closed["differs"]),
        (&json!("closed"), &named, &json!(false))
    );
    // Of the statement's three kilowatts two are its own.
    assert_eq!(closed["total"]["energy_uj"], json!(microjoules(2 * last.hours)));
    assert_eq!(euros(&closed["total"]), Decimal::new(60 * last.hours, 2));
    let answer = ask(&server, &reconcile);
    let closed = &answer["sites"][0]["closed"];
    assert_eq!(
        (&answer["status"], &closed["statements"], &closed["differs"]),
        (&json!("closed"), &named, &json!(false))
    );
    assert_eq!(closed["total"]["energy_uj"], json!(microjoules(3 * last.hours)));
    let fleet = ask(&server, &format!("reconcile?window={}", last.period));
    assert_eq!((&fleet["status"], &fleet["sites"][0]["closed"]["differs"]), (&json!("closed"), &json!(false)));
    let day = format!("{}-01T00:00:00Z,{}-02T00:00:00Z", last.period, last.period);
    let part = ask(&server, &format!("explain?host=node-2&window={day}"));
    assert_eq!((&part["status"], &part["closed"]["statements"]), (&json!("closed"), &named));
    assert_eq!((&part["closed"]["total"], &part["closed"]["differs"]), (&Value::Null, &Value::Null), "of a day");
    let open = ask(&server, &format!("explain?host=node-2&window={}", older.period));
    assert_eq!((&open["status"], &open["closed"]), (&json!("provisional"), &Value::Null));

    home.write("rates.toml", RATES.replace("0.20", "0.25"));
    let answer = wait_for("another price", Duration::from_secs(30), || {
        Some(ask(&server, &explain)).filter(|answer| answer["closed"]["differs"] == true)
    });
    assert_eq!(euros(&answer["closed"]["total"]), Decimal::new(60 * last.hours, 2), "as it was closed");
    assert_eq!(euros(&answer["total"]), Decimal::new(75 * last.hours, 2), "as of today");
    assert_eq!(ask(&server, &reconcile)["sites"][0]["closed"]["differs"], true);
    let told =
        wattledger(&home, &["explain", "--server", &server.url, "--host", "node-2", "--window", &last.period]).ok();
    let words = format!(
        "closed: {} at par1 by statement {}, version 1; it has",
        last.period,
        head["id"].as_str().expect("an id")
    );
    assert!(told.out.contains(&words) && told.out.contains("DIFFERS"), "{}", told.out);
}

#[test]
fn a_month_closes_once_when_it_is_over_and_known() {
    let home = Home::new();
    let server = start(&home);
    let last = month_ago(1);
    book(&server, 1, "node-1", last.start_ms, last.hours, 1);
    book(&server, 2, "node-2", last.start_ms, last.hours / 2, 2);
    let now = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).strftime("%Y-%m").to_string();
    let refused = |arguments: &[&str], code: i32, says: &[&str]| {
        let done = close(&home, &server, arguments);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {done:?}");
        says.iter().for_each(|part| assert!(done.err.contains(part), "{part} is not in {}", done.err));
    };
    refused(&[&now], 1, &["month-not-over"]);
    refused(&["October"], 2, &["bad-period"]);
    refused(&[&last.period, "--site", "moon"], 1, &["nothing-to-close", "moon"]);
    refused(&[&last.period], 1, &["coverage-too-low", "node-2", "allow-incomplete"]);
    assert_eq!(ask(&server, "statements")["statements"], json!([]), "nothing was closed");
    let done = close(&home, &server, &[&last.period, "--allow-incomplete"]).ok();
    assert!(done.out.contains("closed incomplete"), "{}", done.out);
    refused(&[&last.period], 1, &["already-closed", "version 1"]);
    refused(&[&last.period, "--restate"], 2, &["--site"]);

    // A new version takes the figures of now; the one before stays.
    let before = statement(&server, &last.period);
    book(&server, 3, "node-3", last.start_ms, last.hours, 4);
    close(&home, &server, &[&last.period, "--site", "par1", "--restate", "--allow-incomplete"]).ok();
    let after: Value = serde_json::from_str(&statement(&server, &last.period)).expect("JSON");
    assert_eq!((&after["version"], &after["total"]["energy_uj"]), (&json!(2), &json!(microjoules(6 * last.hours))));
    let first = get(&format!("{}/api/v1/statements/{}?site=par1&version=1", server.url, last.period)).body;
    assert_eq!(first, before);
    assert!(ask(&server, "rollup?window=month").get("adjustments").is_none(), "it is in the new version");

    // What a statement says in other forms.
    let url = format!("{}/api/v1/statements/{}", server.url, last.period);
    let by_team = get(&format!("{url}?by=team")).json();
    assert_eq!(by_team["rows"].as_array().map(Vec::len), Some(2));
    read(&get(&format!("{url}?format=focus")).body).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    let page = page::read(&get(&format!("{url}?format=html")).body);
    assert!(page.text.contains("Closed") && page.text.contains("version 2"), "{}", page.text);
    assert_eq!(get(&format!("{url}?by=colour")).problem(), "unknown-key");
    assert_eq!(get(&format!("{url}?version=9")).problem(), "no-such-statement");
    let acts = ask(&server, "acts");
    assert_eq!(acts["acts"][0]["act"], json!("close"));
    let foreign = post(&format!("{}/api/v1/statements", server.url), "text/plain", "{}");
    assert_eq!(foreign.problem(), "unsupported-media-type");
}

#[test]
fn energy_without_a_price_is_named_and_a_month_without_any_price_stays_open() {
    let home = Home::new();
    let server = start(&home);
    let last = month_ago(1);
    book(&server, 1, "node-1", last.start_ms, last.hours, 1);
    let put = |card: String, unpriced: i64| {
        home.write("rates.toml", card);
        wait_for("another card", Duration::from_secs(30), || {
            let now = ask(&server, &format!("rollup?window={}&step=1mo", last.period));
            (now["total"]["unpriced_kwh"].as_f64() == Some(unpriced as f64)).then_some(())
        });
    };
    // A card for another site only: nothing of the month has a price.
    put(RATES.replace("par1", "iad2"), last.hours);
    let refused = close(&home, &server, &[&last.period]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let kwh = format!("par1 ({}.000 kWh)", last.hours);
    assert!(refused.err.contains("unpriced") && refused.err.contains(&kwh), "{}", refused.err);
    assert_eq!(ask(&server, "statements")["statements"], json!([]), "nothing was closed");

    // A rate for all but the first twelve hours, of 1 kWh each.
    put(format!("{RATES}valid_from = \"{}-01T12:00:00Z\"\n", last.period), 12);
    let done = close(&home, &server, &[&last.period]).ok();
    assert!(done.out.contains("of which 12.000 kWh have no price"), "{}", done.out);
    assert_eq!(ask(&server, "statements")["statements"][0]["total"]["unpriced_kwh"].as_f64(), Some(12.0));
    put(RATES.replace("par1", "iad2"), last.hours);
    let order = json!({ "period": last.period, "site": "par1", "restate": true, "allow_incomplete": true });
    let answer = post(&format!("{}/api/v1/statements", server.url), "application/json", order.to_string()).json();
    let notice = answer["notices"][0].as_str().expect("a notice");
    assert!(notice.contains(&format!("of {0}.000 kWh {0}.000 kWh have no price", last.hours)), "{notice}");
}
