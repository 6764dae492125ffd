//! Months of sites in other time zones: each hour is billed once, and each site closes by its own.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Home, get, wait_for, wattledger};
use crate::page;
use crate::statements::{INVENTORY, RATES, ask, book, close, month_ago, start, statement};

#[test]
fn a_site_whose_zone_changes_is_billed_for_each_hour_once() {
    for (before, after) in [("America/New_York", "Europe/Paris"), ("Europe/Paris", "America/New_York")] {
        let home = Home::new();
        let server = start(&home);
        // Both over in every zone, also on the first of a month.
        let (older, last) = (month_ago(3), month_ago(2));
        // A day more at both ends: the zones' months lie within.
        book(&server, 1, "node-1", older.start_ms - 86_400_000, older.hours + last.hours + 48, 1);
        let rates = |zone: &str| format!("{RATES}timezone = \"{zone}\"\n");
        let in_force = |zone: &str| {
            home.write("rates.toml", rates(zone));
            wait_for("the card", Duration::from_secs(30), || {
                let shown = get(&format!("{}/api/v1/rates", server.url)).body;
                shown.contains(zone).then_some(())
            });
        };
        in_force(before);
        close(&home, &server, &[&older.period]).ok();
        in_force(after);
        close(&home, &server, &[&last.period]).ok();
        let closed = [&older, &last]
            .map(|month| -> Value { serde_json::from_str(&statement(&server, &month.period)).expect("a statement") });
        let edge = |of: &Value, edge: &str| -> Timestamp {
            of["window"][edge].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{of}"))
        };
        assert_eq!(edge(&closed[1], "start"), edge(&closed[0], "end"), "{before} to {after}");
        let energy = |of: &Value| of["total"]["energy_uj"].as_str().and_then(|uj| uj.parse::<i128>().ok());
        let seconds = edge(&closed[1], "end").as_second() - edge(&closed[0], "start").as_second();
        let billed = energy(&closed[0]).zip(energy(&closed[1])).map(|(older, last)| older + last);
        // 1 kW for as long as the two statements last: every hour once.
        assert_eq!(billed, Some(i128::from(seconds) * 1_000_000_000), "{before} to {after}");
        // Nothing is due for it, and what is closed again stays where it was.
        for open in [&*month_ago(1).period, "month"] {
            let answer = ask(&server, &format!("rollup?window={open}"));
            assert!(answer["adjustments"].as_array().is_none_or(Vec::is_empty), "{answer}");
        }
        close(&home, &server, &[&older.period, "--site", "par1", "--restate"]).ok();
        let again: Value = serde_json::from_str(&statement(&server, &older.period)).expect("a statement");
        assert_eq!(again["window"], closed[0]["window"]);
    }
}

#[test]
fn a_fleet_in_two_zones_is_told_that_its_sites_are_closed_each_by_its_own_month() {
    let home = Home::new();
    let server = start(&home);
    // Over in every zone.
    let month = month_ago(2);
    home.write("inventory.csv", INVENTORY.replace("vision,par1,r2", "vision,iad2,r2"));
    let rate = |site: &str, zone: &str| {
        format!("[[rate]]\nsite = \"{site}\"\ncurrency = \"EUR\"\nprice_per_kwh = \"0.20\"\ntimezone = \"{zone}\"\n")
    };
    home.write("rates.toml", rate("par1", "Europe/Paris") + &rate("iad2", "America/New_York"));
    wait_for("the card", Duration::from_secs(30), || {
        get(&format!("{}/api/v1/rates", server.url)).body.contains("New_York").then_some(())
    });
    for (number, host) in [(1, "node-1"), (2, "node-2")] {
        book(&server, number, host, month.start_ms - 86_400_000, month.hours + 48, 1);
    }
    wait_for("the other site", Duration::from_secs(30), || {
        let sites = ask(&server, &format!("rollup?by=site&window={}", month.period));
        sites["rows"].as_array().filter(|rows| rows.len() == 2).map(drop)
    });
    close(&home, &server, &[&month.period]).ok();

    let sites = |of: &Value| -> Vec<String> {
        let all = of.as_array().into_iter().flatten();
        all.map(|one| one["site"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let fleet = ask(&server, &format!("rollup?window={}", month.period));
    assert_eq!(fleet["status"], "provisional", "its month in UTC is no site's month");
    assert_eq!(sites(&fleet["overlapped_statements"]), ["iad2", "par1"], "{fleet}");
    let told = wattledger(&home, &["report", "--window", &month.period, "--server", &server.url]).ok().out;
    let words =
        format!("closed in part, and these figures are those of today, not of statements: {} at iad2", month.period);
    assert!(told.contains(&words), "{told}");
    let page = page::read(&get(&format!("{}/api/v1/report?window={}&format=html", server.url, month.period)).body);
    assert!(page.text.contains(&format!("{} is closed", month.period)), "{}", page.text);
    let reconciled = ask(&server, &format!("reconcile?window={}", month.period));
    let closed = &reconciled["sites"][0]["closed"];
    assert_eq!(
        (sites(&closed["statements"]), &closed["is_closed"]),
        (vec!["iad2".into(), "par1".into()], &json!(false))
    );
    assert_eq!((&reconciled["status"], &closed["total"]), (&json!("provisional"), &Value::Null));

    // Its first hour lies in par1's month, and is still that of the month before at iad2, which is open.
    let first = month.start_ms / 1000;
    let hour = ask(&server, &format!("reconcile?window={first},{}", first + 3600));
    let closed = &hour["sites"][0]["closed"];
    assert_eq!((sites(&closed["statements"]), &closed["is_closed"]), (vec!["par1".into()], &json!(false)), "{hour}");
    let middle = first + 15 * 86_400;
    let hour = ask(&server, &format!("reconcile?window={middle},{}", middle + 3600));
    assert_eq!((&hour["status"], &hour["sites"][0]["closed"]["is_closed"]), (&json!("closed"), &json!(true)), "{hour}");

    let one = ask(&server, &format!("rollup?window={}&where=site=iad2&tz=America/New_York", month.period));
    assert_eq!((&one["status"], one.get("overlapped_statements")), (&json!("closed"), None), "{one}");
    assert_eq!(sites(&one["statements"]), ["iad2"]);
}
