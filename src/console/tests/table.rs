//! The cost table as it is read.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use console::render;
use cost::Answer;
use serde_json::{Value, json};

const WIDE: u16 = 200;

fn cost(currency: &str, energy: &str, overhead: &str, amount: &str) -> Value {
    let parts = json!({"energy": energy, "pue_overhead": overhead, "demand": "0.00", "fixed": "0.00"});
    json!({"currency": currency, "amount": amount, "parts": parts})
}

/// A row of `kwh` kilowatt hours, of which `estimated`, with coverage in seconds.
fn row(by: &Value, kwh: f64, estimated: f64, seconds: (f64, f64), cost: &Value) -> Value {
    let joules = |kwh: f64| kwh * 3.6e6;
    let mut row = json!({
        "start": "2026-10-01T00:00:00Z", "end": "2026-11-01T00:00:00Z",
        "energy_joules": joules(kwh), "energy_uj": format!("{:.0}", kwh * 3.6e12), "energy_kwh": kwh,
        "facility_kwh": kwh * 1.2,
        "quality": {"counter_joules": joules(kwh - estimated), "integrated_joules": 0.0,
            "estimated_joules": joules(estimated), "metered_joules": joules(kwh), "summed_joules": 0.0,
            "covered_seconds": seconds.0, "expected_seconds": seconds.1},
        "cost": cost, "unpriced_kwh": 0.0, "carbon": {"location_grams": 15_277.8, "without_factor_kwh": 0.0}});
    if !by.is_null() {
        row["by"] = by.clone();
    }
    row
}

fn envelope(by: &[&str], step: Option<&str>, tz: &str, rows: &[Value], total: &Value) -> Value {
    json!({"window": {"start": "2026-10-01T00:00:00Z", "end": "2026-11-01T00:00:00Z"},
        "as_of": "2026-11-02T09:14:31Z", "status": "provisional",
        "by": by, "step": step, "tz": tz, "rows": rows, "total": total})
}

fn answer(value: Value) -> Answer {
    serde_json::from_value(value).expect("an answer")
}

fn fleet() -> Value {
    let eur = |energy, overhead, amount| json!([cost("EUR", energy, overhead, amount)]);
    let rows = [
        row(&json!({"team": ""}), -1.5, 0.0, (0.0, 0.0), &eur("-0.28", "-0.05", "-0.33")),
        row(&json!({"team": "nlp"}), 1234.56, 12.0, (2_678_000.0, 2_678_400.0), &eur("226.00", "45.60", "271.60")),
        row(&json!({"team": "vision"}), 1000.0, 200.0, (1_000_000.0, 2_678_400.0), &json!([])),
    ];
    let total = row(&Value::Null, 2233.06, 212.0, (3_678_000.0, 5_356_800.0), &eur("225.72", "45.55", "271.27"));
    envelope(&["team"], None, "UTC", &rows, &total)
}

#[test]
fn a_person_can_read_it() {
    let mut fleet = fleet();
    fleet["total"]["unpriced_kwh"] = json!(1000.0);
    let wanted = "\
 team         kWh     share  cost EUR  coverage  estimated
───────────────────────────────────────────────────────────
 (none)      -1.5    -0.1 %     -0.33         –          –
 nlp      1,234.6    55.3 %    271.60    99.9 %      1.0 %
 vision   1,000.0    44.8 %         –    37.3 %     20.0 %
───────────────────────────────────────────────────────────
 total    2,233.1   100.0 %    271.27    68.6 %      9.5 %

 2026-10-01 00:00 to 2026-11-01 00:00 UTC · as of 2026-11-02 09:14 · provisional
 EUR: 225.72 for the machines' energy, 45.55 for the plant's (PUE)
 not priced: 1,000 kWh, for which there is no rate, or a gap in its file
 carbon: 15.28 kg CO2e, location-based
 not covered: 19 d 10 h of host time had no readings
";
    let table = render(&answer(fleet), WIDE, false);
    assert_eq!(squeezed(&table), squeezed(wanted), "\n{table}");
}

/// Runs of blanks and rules as one: the test is about figures and order, not about padding.
fn squeezed(text: &str) -> Vec<String> {
    let words = |line: &str| line.replace('─', "").split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

#[test]
fn figures_stand_under_each_other() {
    let table = render(&answer(fleet()), WIDE, false);
    let ends = |text: &str| -> Vec<usize> {
        table.lines().filter_map(|line| Some(line[..line.find(text)? + text.len()].chars().count())).collect()
    };
    assert_eq!([ends("kWh")[0], ends("-1.5")[0], ends("1,234.6")[0], ends("2,233.1")[0]], [ends("1,000.0")[0]; 4]);
    assert!(table.lines().all(|line| !line.ends_with(' ')));
}

#[test]
fn a_narrow_terminal_gets_whole_lines_and_is_told_what_is_missing() {
    let mut fleet = fleet();
    fleet["rows"][1]["by"]["team"] = json!("natural-language-processing-and-understanding");
    let fleet = answer(fleet);
    for width in [40, 50, 60, 80] {
        let table = render(&fleet, width, false);
        let body: Vec<&str> = table.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(body.len(), 7, "{width}\n{table}");
        assert!(body.iter().all(|line| line.chars().count() <= usize::from(width)), "{width}\n{table}");
        assert!(table.contains("1,234.6") && table.contains("271.60"), "{width}\n{table}");
        assert!(!table.contains("understanding") && table.contains("natur"), "{width}\n{table}");
    }
    assert!(render(&fleet, 80, false).contains("estimated"), "names give way before figures do");
    assert!(render(&fleet, 40, false).contains("left out for the terminal's width: estimated, share, coverage"));
    assert!(!render(&fleet, WIDE, false).contains("left out"));
}

#[test]
fn colour_only_where_it_is_welcome() {
    assert!(!render(&answer(fleet()), WIDE, false).contains('\u{1b}'));
    let coloured = render(&answer(fleet()), WIDE, true);
    assert!(coloured.contains('\u{1b}'));
    assert!(coloured.lines().any(|line| line.contains("total") && line.contains("\u{1b}[1m")), "{coloured}");
}

#[test]
fn each_currency_has_its_column() {
    let both = json!([cost("EUR", "1.00", "0.20", "1.20"), cost("USD", "3.00", "0.00", "3.00")]);
    let usd = json!([cost("USD", "3.00", "0.00", "3.00")]);
    let eur = json!([cost("EUR", "1.00", "0.20", "1.20")]);
    let rows = [
        row(&json!({"site": "par1"}), 1.0, 0.0, (1.0, 1.0), &eur),
        row(&json!({"site": "va1"}), 2.0, 0.0, (1.0, 1.0), &usd),
    ];
    let total = row(&Value::Null, 3.0, 0.0, (2.0, 2.0), &both);
    let table = render(&answer(envelope(&["site"], None, "UTC", &rows, &total)), WIDE, false);
    let lines = squeezed(&table);
    assert_eq!(lines[0], "site kWh share cost EUR cost USD coverage estimated");
    assert_eq!(lines[2], "par1 1.0000 33.3 % 1.20 – 100.0 % 0.0 %");
    assert_eq!(lines[5], "total 3.0000 100.0 % 1.20 3.00 100.0 % 0.0 %");
    assert!(!table.contains("USD: "), "no word about a PUE of 1");
}

#[test]
fn the_parts_of_a_cost_are_all_named_and_add_up_to_it() {
    let mut eur = cost("EUR", "21.71", "5.67", "90.44");
    (eur["parts"]["demand"], eur["parts"]["fixed"]) = (json!("45.00"), json!("18.06"));
    let mut usd = cost("USD", "3.00", "0.00", "3.50");
    usd["parts"]["fixed"] = json!("0.50");
    let total = row(&Value::Null, 3.0, 0.0, (2.0, 2.0), &json!([eur, usd]));
    let table = render(&answer(envelope(&[], None, "UTC", std::slice::from_ref(&total), &total)), WIDE, false);
    // 21.71 + 5.67 + 45.00 + 18.06 = 90.44, and 3.00 + 0.50 = 3.50.
    for line in [
        "EUR: 21.71 for the machines' energy, 5.67 for the plant's (PUE), 45.00 for demand, 18.06 for fixed charges and \
         overhead share",
        "USD: 3.00 for the machines' energy, 0.50 for fixed charges and overhead share",
    ] {
        assert!(table.lines().any(|shown| shown.trim() == line), "{line:?} is not in\n{table}");
    }
}

#[test]
fn steps_show_when_in_the_zone_asked_for() {
    let mut rows = [
        row(&json!({"team": "nlp"}), 1.0, 0.0, (1.0, 1.0), &json!([])),
        row(&json!({"team": "nlp"}), 1.0, 0.0, (1.0, 1.0), &json!([])),
    ];
    // The hour that Berlin has twice.
    rows[0]["start"] = json!("2026-10-25T00:00:00Z");
    rows[1]["start"] = json!("2026-10-25T01:00:00Z");
    let total = row(&Value::Null, 2.0, 0.0, (2.0, 2.0), &json!([]));
    let table = |step, tz| render(&answer(envelope(&["team"], Some(step), tz, &rows, &total)), WIDE, false);
    let hours = table("1h", "Europe/Berlin");
    assert!(hours.contains("2026-10-25 02:00 +02:00") && hours.contains("2026-10-25 02:00 +01:00"), "{hours}");
    assert!(table("1d", "Europe/Berlin").contains(" 2026-10-25  "));
    assert!(table("1mo", "UTC").contains(" 2026-10  "));
    assert!(hours.contains("2026-10-01 02:00 to 2026-11-01 01:00 Europe/Berlin"), "{hours}");
}

#[test]
fn no_rows_are_said_in_words() {
    let total = row(&Value::Null, 0.0, 0.0, (0.0, 0.0), &json!([]));
    let table = render(&answer(envelope(&["team"], None, "UTC", &[], &total)), 80, false);
    assert!(table.contains("no host was in service") && table.contains("provisional"), "{table}");
}

#[test]
fn without_keys_there_is_one_line_for_all() {
    let total = row(&Value::Null, 5.0, 0.0, (1.0, 1.0), &json!([]));
    let rows = [row(&json!({}), 5.0, 0.0, (1.0, 1.0), &json!([]))];
    let lines = squeezed(&render(&answer(envelope(&[], None, "UTC", &rows, &total)), 80, false));
    assert_eq!(lines[2], "all 5.0000 100.0 % 100.0 % 0.0 %");
}

#[test]
fn what_the_energy_rests_on_and_whom_to_look_at_stand_below() {
    let mut fleet = fleet();
    assert!(!render(&answer(fleet.clone()), WIDE, false).contains("component"), "an older server says nothing of it");
    let quality = &mut fleet["total"]["quality"];
    quality["metered_seconds"] = json!(3_000_000.0);
    quality["summed_seconds"] = json!(678_000.0);
    quality["ratio_seconds"] = json!(5400.0);
    fleet["total"]["methods"] =
        json!(["meter", "component-sum", "component-ratio", "shared-chassis/component-energy", "from-the-future"]);
    fleet["total"]["flags"] = json!({"meter-below-components": 9, "new-flag": 1});
    let host = |n: u32| {
        let flags = if n == 1 { json!({"new-flag": 1}) } else { json!({"meter-below-components": 1}) };
        json!({"cluster": "default", "host": format!("n{n}\u{1b}[31m"), "flags": flags})
    };
    fleet["flagged"] = (1..=8).map(host).collect();
    fleet["flagged_hosts"] = json!(8);
    let table = render(&answer(fleet.clone()), WIDE, false);
    for line in [
        "billed at meters for 81.5 % of the covered time, else summed from components",
        "meters missed 1 h 30 min of host time: components times their usual ratio, as estimated",
        "shared chassis are split by the energy of components",
        "the meter shows less than the components inside it: n2\u{fffd}[31m, n3\u{fffd}[31m, n4\u{fffd}[31m, n5\u{fffd}[31m, n6\u{fffd}[31m, and 2 more",
        "new-flag: n1\u{fffd}[31m",
    ] {
        assert!(table.lines().any(|shown| shown.trim() == line), "{line:?} is not in\n{table}");
    }
    fleet["flagged_hosts"] = json!(500);
    assert!(render(&answer(fleet), WIDE, false).contains("n6\u{fffd}[31m, and more"));
}

#[test]
fn where_money_is_hidden_there_is_none() {
    let mut fleet = fleet();
    fleet["total"]["unpriced_kwh"] = json!(1000.0);
    fleet["cost_hidden"] = json!(true);
    let fleet = answer(fleet);
    assert!(fleet.cost_hidden);
    let table = render(&fleet.without_money(), WIDE, false);
    assert!(table.contains("1,234.6"), "energy stays\n{table}");
    for money in ["EUR", "cost", "271.60", "priced"] {
        assert!(!table.contains(money), "{money}\n{table}");
    }
}
