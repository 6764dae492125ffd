//! FOCUS 1.2 files keep the specification's rules and say the same as the answer they are made of.
#![cfg(test)]

mod validator;

use cost::statement::Question;
use cost::step::intervals;
use cost::window::read_instant;
use cost::{
    Answer, By, HostInfo, HostSlot, HostTime, Issuer, Line, RateCard, Rollup, Status, Step, Where, Window, to_focus,
    zone,
};
use meter::{ByQuality, Energy, Labels, Scope, Slot};
use rust_decimal::Decimal;
use validator::{Record, read, sum};

const CARD: &str = r#"
[[rate]]
site = "par1"
currency = "EUR"
price_per_kwh = "0.187654321"
pue = "1.234567"
carbon_g_per_kwh = "55"

[[rate]]
site = "tyo1"
currency = "JPY"
price_per_kwh = "31.7"
"#;

/// Name, site, team. The third has no price, and a team that a spreadsheet would run.
const HOSTS: [(&str, &str, &str); 4] =
    [("node1", "par1", "nlp"), ("node2", "tyo1", "nlp"), ("node3", "moon", "=cmd|'/c calc'!A1"), ("node4", "par1", "")];

/// Three days of October and one of November in Paris, on one of which clocks go back.
fn window() -> Window {
    let edge = |text| read_instant(text).expect(text).slot();
    Window::of_slots(edge("2026-10-29T23:00:00Z"), edge("2026-11-01T23:00:00Z"))
}

fn answer(by: &str) -> Answer {
    let known = ["site", "team"].map(str::to_owned).into();
    let card = RateCard::parse(CARD).expect("a card");
    let tz = zone("Europe/Paris").expect("a zone");
    let cut = intervals(window(), Some(Step::Day), &tz).expect("intervals");
    let mut rollup = Rollup::new(&card, By::parse(by, &known).expect(by), Where::default(), cut);
    for (number, (name, site, team)) in HOSTS.into_iter().enumerate() {
        let labels: Labels = [("site", site), ("team", team)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let host = rollup.host(&HostInfo { cluster: "default", name, chassis: None, labels: &labels }).expect("all");
        for slot in (0..window().len() as i32).step_by(7) {
            let energy = [1_234_567_890_123_457 * (number as i128 + 1), 987_654_321 * i128::from(slot), -77_777];
            let gpu = Line {
                scope: Some(Scope::Gpu),
                device: rollup.device("GPU-1"),
                energy: ByQuality(energy.map(Energy)),
                metered: Energy(energy[0]),
                covered_ns: 900_000_000_000,
                metered_ns: 0,
            };
            // What the meter saw less than the components: negative.
            let rest =
                Line { scope: None, device: rollup.device(""), energy: ByQuality([Energy(-5_000_001); 3]), ..gpu };
            let slot = Slot(window().first().0 + slot);
            let time = HostTime::new(900_000_000_000, 900_000_000_000);
            rollup.add(&HostSlot::new(host, slot, time, &[gpu, rest])).expect("added");
        }
    }
    let question = Question {
        window: window(),
        step: Some(Step::Day),
        tz: "Europe/Paris",
        as_of: window().end(),
        status: Status::Provisional,
    };
    Answer::new(&question, rollup)
}

fn written(answer: &Answer) -> Vec<Record> {
    let zone_of = |_: &str| zone("Europe/Paris").expect("a zone");
    let issuer = Issuer { name: "IT Energy", account: "wattledger:1", zone_of: &zone_of, invoice_of: &|_| None };
    let text = to_focus(answer, &issuer).expect("text");
    read(&text).unwrap_or_else(|faults| panic!("{}", faults.join("\n")))
}

#[test]
fn every_grouping_keeps_the_rules_and_adds_up_to_the_printed_total() {
    for by in ["", "site", "team", "team,site", "cluster,host,site", "host,scope,device,team"] {
        let answer = answer(by);
        let records = written(&answer);
        assert_eq!(answer.total.cost.len(), 2, "euros and yen");
        for cost in &answer.total.cost {
            let is_it = |record: &Record| record["BillingCurrency"] == cost.currency.to_string();
            for column in ["BilledCost", "EffectiveCost", "ListCost", "ContractedCost"] {
                assert_eq!(sum(&records, column, is_it), cost.amount, "{column} by {by}");
            }
            let parts = ["x_CostEnergy", "x_CostPueOverhead", "x_CostDemand", "x_CostFixed"];
            let parts: Decimal = parts.iter().map(|column| sum(&records, column, is_it)).sum();
            assert_eq!(parts, cost.amount, "by {by}");
            // Split by currency row by row: to the rounding of each.
            let off = sum(&records, "x_EnergyMicrojoules", is_it) - Decimal::from(cost.energy_uj);
            assert!(off.abs() <= Decimal::from(records.len()), "by {by}: {off}");
        }
        let energy = sum(&records, "x_EnergyMicrojoules", |_| true);
        assert_eq!(energy.to_string(), answer.total.energy_uj.to_string(), "by {by}");
        let covered = sum(&records, "x_CoveredSeconds", |_| true);
        if !by.contains("scope") {
            let total = Decimal::try_from(answer.total.quality.covered_seconds).expect("seconds");
            assert_eq!(covered.normalize(), total.normalize(), "by {by}");
        }
    }
}

#[test]
fn energy_without_a_price_has_no_currency_and_is_told() {
    let records = written(&answer("site"));
    let moon = |record: &Record| record.get("RegionId").is_some_and(|site| site == "moon");
    let rows: Vec<&Record> = records.iter().filter(|record| moon(record)).collect();
    assert_eq!(rows.len(), 3, "a row a day");
    for row in rows {
        assert_eq!((row["BillingCurrency"].as_str(), row["BilledCost"].as_str()), ("XXX", "0"));
        assert_eq!(row["PricingCategory"], "Other");
        assert!(row["ChargeDescription"].contains("Unpriced"));
        assert_eq!(row["x_UnpricedKwh"], row["PricingQuantity"]);
    }
    let unpriced = sum(&records, "x_UnpricedKwh", |_| true);
    let total = Decimal::try_from(answer("site").total.unpriced_kwh).expect("energy");
    assert!((unpriced - total).abs() < Decimal::new(1, 8), "{unpriced} and {total}");
}

#[test]
fn billing_periods_are_months_of_the_sites_zone() {
    let records = written(&answer("site"));
    let periods: std::collections::BTreeSet<_> =
        records.iter().map(|row| (row["BillingPeriodStart"].as_str(), row["BillingPeriodEnd"].as_str())).collect();
    let october = ("2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z");
    let november = ("2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z");
    assert_eq!(periods.into_iter().collect::<Vec<_>>(), [october, november]);
}

#[test]
fn a_label_that_is_a_formula_stays_text() {
    let records = written(&answer("team"));
    let hostile = records.iter().find(|row| row["Tags"].contains("=cmd")).expect("the third team");
    assert_eq!(hostile["SubAccountId"], "'=cmd|'/c calc'!A1");
    assert!(!hostile["ChargeDescription"].starts_with('='));
    let tags: serde_json::Value = serde_json::from_str(&hostile["Tags"]).expect("JSON");
    assert_eq!(tags["team"], "=cmd|'/c calc'!A1", "JSON is no formula");
}
