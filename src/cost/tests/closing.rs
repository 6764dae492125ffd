//! A closed month answers like the ledger did, reads back to the last bit, and is corrected by exactly
//! what changed.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};

use cost::closing::{Closed, Closing, Correction, Fact, Facts, Original, difference, facts};
use cost::statement::{Edges, Question};
use cost::window::read_instant;
use cost::{Answer, By, HostInfo, HostSlot, HostTime, Line, RateCard, Rollup, Status, Where, Window, to_csv};
use meter::{ByQuality, Energy, Labels, Scope, Slot};
use rust_decimal::Decimal;

const CARD: &str = r#"
[[rate]]
currency = "EUR"
price_per_kwh = "0.187654321"
pue = "1.234567"
carbon_g_per_kwh = "55.3"
[[rate]]
site = "tyo1"
currency = "JPY"
price_per_kwh = "31.7"
"#;

/// Host, team, site, and thousandths that its energy is off by.
type Fleet = Vec<(&'static str, &'static str, &'static str, i128)>;

fn fleet() -> Fleet {
    vec![("n1", "nlp", "par1", 0), ("n2", "vision", "par1", 0), ("n3", "", "tyo1", 0), ("n4", "nlp", "", 0)]
}

fn window() -> Window {
    let edge = |text| read_instant(text).expect(text).slot();
    Window::of_slots(edge("2026-10-01T00:00:00Z"), edge("2026-10-03T00:00:00Z"))
}

fn labels() -> BTreeSet<String> {
    ["site", "team"].map(str::to_owned).into()
}

/// A rollup of a fleet whose energies are no round figures.
fn rollup<'a>(card: &'a RateCard, fleet: &Fleet, by: By, select: Where) -> Rollup<'a> {
    let mut rollup = Rollup::new(card, by, select, vec![window()]);
    for (number, (name, team, site, off)) in fleet.iter().enumerate() {
        let given = [("team", *team), ("site", *site)].into_iter().filter(|(_, value)| !value.is_empty());
        let labels: Labels = given.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let info = HostInfo { cluster: "default", name, chassis: Some("c1"), labels: &labels };
        let Some(host) = rollup.host(&info) else { continue };
        for slot in 0..i32::try_from(window().len()).expect("days") {
            let base = 777_777_777_777_777 * (number as i128 + 1) + 987_654_321 * i128::from(slot);
            let gpu = Line {
                scope: Some(Scope::Gpu),
                device: rollup.device("GPU-1"),
                energy: ByQuality([Energy(base + base * off / 1000), Energy(31), Energy(7)]),
                metered: Energy(base / 2),
                covered_ns: 800_000_000_000,
                metered_ns: 0,
            };
            let rest = Line { scope: None, device: rollup.device(""), energy: ByQuality([Energy(-3); 3]), ..gpu };
            let slot = Slot(window().first().0 + slot);
            let time = HostTime::new(850_000_000_000, 900_000_000_000);
            rollup.add(&HostSlot::new(host, slot, time, &[gpu, rest])).expect("added");
        }
    }
    rollup
}

fn card() -> RateCard {
    RateCard::parse(CARD).expect("a card")
}

fn live(card: &RateCard, fleet: &Fleet, by: &str, select: &str) -> Answer {
    let by = By::parse(by, &labels()).expect(by);
    let select = Where::parse(select, &labels()).expect(select);
    let question = Question { window: window(), step: None, tz: "UTC", as_of: window().end(), status: Status::Closed };
    Answer::new(&question, rollup(card, fleet, by, select))
}

fn frozen(card: &RateCard, fleet: &Fleet) -> Facts {
    let of = |without: &[&str]| facts(rollup(card, fleet, By::grain(&labels()).without(without), Where::default()));
    Facts::new(of(&[]), of(&["device"]), of(&["scope", "device"]))
}

fn edges() -> Edges {
    Edges { start: window().start(), end: window().end() }
}

fn original() -> Original {
    Original { period: "2026-10".into(), site: String::new(), id: "1".into(), version: 1 }
}

fn closed(facts: Facts, corrections: Vec<Correction>) -> Closed {
    Closed::new(Closing {
        original: original(),
        window: edges(),
        tz: "UTC".into(),
        closed: (window().end(), "a test".into()),
        incomplete: false,
        facts,
        corrections,
        days: None,
        load: None,
        chart_key: "team".into(),
        rates: Vec::new(),
    })
}

fn keys(by: &str) -> Vec<String> {
    by.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_closed_month_answers_every_grouping_as_the_ledger_did() {
    let card = card();
    let written = closed(frozen(&card, &fleet()), Vec::new()).to_json().expect("text");
    let read = Closed::read(&written).expect("a statement");
    assert_eq!(read.to_json().expect("text"), written, "byte for byte");
    for by in ["", "team", "site,team", "host", "chassis,scope", "scope", "device", "cluster,host,scope,device,team"] {
        let (answer, expected) = (read.answer(&keys(by)), live(&card, &fleet(), by, ""));
        assert_eq!(answer.rows, expected.rows, "by {by}");
        assert_eq!(answer.total, expected.total, "by {by}");
        assert!(answer.adjustments.is_empty() && answer.bill.is_none());
    }
}

/// Printed amounts by currency, and printed microjoules.
fn printed(answer: &Answer) -> (BTreeMap<String, Decimal>, i128) {
    let amounts = answer.total.cost.iter().map(|cost| (cost.currency.to_string(), cost.amount));
    (amounts.collect(), answer.total.energy_uj)
}

#[test]
fn corrections_are_exactly_what_is_printed_now_less_what_was_printed_before() {
    let (before_card, fleet_before) = (card(), fleet());
    // A price, a label and late energy: all of a kind that changes no figure by a round amount.
    let now_card = RateCard::parse(&CARD.replace("0.187654321", "0.191111111")).expect("a card");
    let mut fleet_now = fleet_before.clone();
    fleet_now[0].1 = "vision";
    fleet_now[3].3 = 13;
    let (before, now) = (frozen(&before_card, &fleet_before), frozen(&now_card, &fleet_now));
    let lines = difference(now.lines(), before.lines());
    let correction = Correction::new(original(), edges(), before.lines(), lines).expect("a difference");
    for select in ["", "site=par1", "team=nlp", "scope=gpu,host!=n2"] {
        let was = printed(&live(&before_card, &fleet_before, "", select));
        let is = printed(&live(&now_card, &fleet_now, "", select));
        let filter = Where::parse(select, &labels()).expect(select);
        for by in ["", "team", "host", "scope,device", "team,site"] {
            let adjustments = correction.selected(&keys(by), &filter, before.lines().iter());
            let energy: i128 = adjustments.iter().map(|one| one.sum.energy_uj).sum();
            assert_eq!(energy, is.1 - was.1, "where {select} by {by}");
            for (currency, amount) in &is.0 {
                let costs = adjustments.iter().flat_map(|one| &one.sum.cost);
                let sum: Decimal = costs.filter(|cost| cost.currency.code() == currency).map(|cost| cost.amount).sum();
                assert_eq!(sum, amount - was.0[currency], "where {select} by {by} in {currency}");
            }
        }
    }
    let by_team = correction.adjustments(&keys("team"));
    let team = |name: &str| by_team.iter().find(|one| one.by["team"] == name).expect(name);
    assert!(team("nlp").sum.energy_uj < 0 && team("vision").sum.energy_uj > 0, "the host moved");
    assert!(by_team.iter().all(|one| one.original == original()));
}

#[test]
fn a_second_correction_is_what_the_first_left() {
    let card = card();
    let change = |thousandths| {
        let mut fleet = fleet();
        fleet[1].3 = thousandths;
        frozen(&card, &fleet)
    };
    let (first, second, third) = (change(0), change(17), change(29));
    let statement = closed(first.clone(), Vec::new());
    let one = Correction::new(original(), edges(), first.lines(), difference(second.lines(), first.lines()));
    let november = closed(second.of_site("nowhere"), one.into_iter().collect());
    let november = Closed::read(&november.to_json().expect("text")).expect("a statement");
    let billed: Vec<Fact> = statement.lines().iter().chain(november.corrected("2026-10")).cloned().collect();
    assert!(difference(second.lines(), &billed).is_empty(), "nothing is left of the first");
    let two = Correction::new(original(), edges(), &billed, difference(third.lines(), &billed)).expect("the second");
    let answer = november.answer(&keys("host"));
    assert_eq!(answer.rows, [], "November has nothing of its own");
    let bill = answer.bill.expect("a bill");
    let late = two.adjustments(&keys("host"));
    let sum = |of: &Answer| printed(of);
    let mut fleet_third = fleet();
    fleet_third[1].3 = 29;
    let (was, is) = (sum(&live(&card, &fleet(), "", "")), sum(&live(&card, &fleet_third, "", "")));
    assert_eq!(was.1 + bill.energy_uj + late.iter().map(|one| one.sum.energy_uj).sum::<i128>(), is.1);
    let eur = |costs: &[cost::Cost]| costs.iter().find(|cost| cost.currency.code() == "EUR").map(|cost| cost.amount);
    let late_eur: Decimal = late.iter().filter_map(|one| eur(&one.sum.cost)).sum();
    assert_eq!(was.0["EUR"] + eur(&bill.cost).expect("euros") + late_eur, is.0["EUR"]);
}

#[test]
fn the_csv_of_a_month_with_adjustments_adds_up_to_the_bill() {
    let card = card();
    let mut later = fleet();
    later[0].3 = -41;
    let (before, now) = (frozen(&card, &fleet()), frozen(&card, &later));
    let correction =
        Correction::new(original(), edges(), before.lines(), difference(now.lines(), before.lines())).expect("one");
    let answer = closed(before, vec![correction]).answer(&keys("team,host"));
    let text = to_csv(&answer).expect("text");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let header = rows.headers().expect("a header").clone();
    let column = |name: &str| header.iter().position(|one| one == name).expect(name);
    let records: Vec<_> = rows.records().map(|row| row.expect("a row")).collect();
    let sum = |name: &str, kind: &str| -> Decimal {
        let rows = records.iter().filter(|row| kind.is_empty() || &row[column("kind")] == kind);
        rows.filter_map(|row| row[column(name)].parse::<Decimal>().ok()).sum()
    };
    let bill = answer.bill.as_ref().expect("a bill");
    let (total, adjusted) = (&answer.total, answer.adjustments_total.as_ref().expect("a total"));
    for currency in ["EUR", "JPY"] {
        let of = |costs: &[cost::Cost]| {
            let amount = costs.iter().find(|cost| cost.currency.code() == currency).map(|cost| cost.amount);
            amount.unwrap_or_default()
        };
        let name = format!("cost_{currency}");
        assert_eq!(sum(&name, ""), of(&bill.cost));
        assert_eq!((sum(&name, "usage"), sum(&name, "adjustment")), (of(&total.cost), of(&adjusted.cost)));
    }
    assert_eq!(sum("energy_uj", "").to_string(), bill.energy_uj.to_string());
    assert!(records.iter().any(|row| &row[column("adjusts")] == "2026-10"));
}
