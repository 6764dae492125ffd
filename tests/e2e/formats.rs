//! The same window in every format: FOCUS for finance's tools, a page for people.

use std::process::Command;
use std::time::Duration;

use rust_decimal::Decimal;

use crate::cost::fleet;
use crate::focus_validator::{read, sum};
use crate::harness::{Home, Writer, get, output, slot_ago_ms, wattledger};
use crate::page;

/// What DuckDB says of a FOCUS file: billed cost per currency, or nothing and a visible line where it is not
/// installed (`pip install duckdb`).
fn billed_by_duckdb(home: &Home, file: &str) -> Option<String> {
    let script = "import sys, duckdb\n\
        for row in duckdb.sql(f\"SELECT BillingCurrency, CAST(SUM(BilledCost) AS DECIMAL(18,2)) FROM '{sys.argv[1]}' \
        GROUP BY 1 ORDER BY 1\").fetchall():\n    print(*row)\n";
    let probe = Command::new("python3").args(["-c", "import duckdb"]).output();
    if !probe.is_ok_and(|done| done.status.success()) {
        eprintln!("SKIPPED: a FOCUS file in DuckDB: there is no python3 with duckdb (pip install duckdb)");
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-c", script, file]);
    Some(output(home, command, Duration::from_secs(60)).ok().out)
}

#[test]
fn a_focus_file_keeps_the_rules_and_its_billed_cost_is_the_total() {
    let home = Home::new();
    let (server, window) = fleet(&home);
    let file = home.path("focus.csv");
    let path = file.to_str().expect("a plain path");
    let arguments = ["report", "--server", &server.url, "--window", &window, "--by", "team", "--format", "focus"];
    let arguments = [&arguments[..], &["--output", path]].concat();
    wattledger(&home, &arguments).ok();
    let text = std::fs::read_to_string(&file).expect("a file");
    let records = read(&text).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    let total = get(&format!("{}/api/v1/rollup?window={window}", server.url)).json()["total"].clone();
    for cost in total["cost"].as_array().expect("costs") {
        let amount: Decimal = cost["amount"].as_str().and_then(|text| text.parse().ok()).expect("an amount");
        let billed = sum(&records, "BilledCost", |record| cost["currency"] == record["BillingCurrency"].as_str());
        assert_eq!(billed, amount, "{cost}");
    }
    let energy = sum(&records, "x_EnergyMicrojoules", |_| true).to_string();
    assert_eq!(total["energy_uj"], energy.as_str());
    if let Some(told) = billed_by_duckdb(&home, path) {
        assert_eq!(told, "EUR 1.80\nUSD 0.30\nXXX 0.00\n");
    }
}

#[test]
fn a_report_is_a_page_that_is_complete_in_itself() {
    let home = Home::new();
    let (server, window) = fleet(&home);
    let file = home.path("report.html");
    let path = file.to_str().expect("a plain path");
    let arguments = ["report", "--server", &server.url, "--window", &window, "--by", "team", "--format", "html"];
    wattledger(&home, &[&arguments[..], &["--output", path]].concat()).ok();
    let page = page::read(&std::fs::read_to_string(&file).expect("a file"));
    for told in ["Provisional", "1.80", "0.30", "1.20", "14.0", "nlp", "vision", "par1", "iad2", "Rates in force"] {
        assert!(page.text.contains(told), "{told} is not in {}", page.text);
    }
    assert!(page.text.contains("5.00\u{a0}kWh have no price"), "{}", page.text);
    assert!(page.count("svg") >= 2, "the load, and the shares");
}

#[test]
fn a_hostile_label_is_only_text_in_every_format() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(30);
    let hostile = "</style><script>alert(1)</script>=cmd|'/c calc'!A1";
    let points: Vec<_> = (0..=26 * 4).map(|n| (start + n * 900_000, Some(1_000_000))).collect();
    let writer = Writer::new(&server.url, 1, "node-1");
    writer.labelled(serde_json::json!({ "team": hostile })).power("chassis", "wall", &points, 900_000);
    let ask = |format: &str| {
        let answer = get(&format!("{}/api/v1/report?window=2d&by=team&format={format}", server.url));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    let page = page::read(&ask("html"));
    assert!(page.text.contains(hostile), "{}", page.text);
    assert!(page.count("figure") >= 1, "a chart of days");
    assert!(ask("csv").contains("</style>"));
    read(&ask("focus")).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
}
