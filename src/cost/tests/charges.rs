//! Demand and fixed charges: hand-worked figures, and that every part adds up whatever is asked.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::collections::BTreeSet;
use std::sync::Arc;

use cost::money::KWH;
use cost::statement::Question;
use cost::step::intervals;
use cost::window::read_instant;
use cost::{
    Answer, By, CostParts, HostInfo, HostSlot, HostTime, Line, RateCard, Rollup, Status, Step, Where, Window, zone,
};
use meter::{ByQuality, Energy, Labels, Scope, Slot, Utc};
use proptest::prelude::*;
use rust_decimal::Decimal;

/// October in Berlin has 31 · 24 + 1 hours.
const OCTOBER: (&str, &str) = ("2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z");

const CARD: &str = r#"
[[rate]]
currency = "EUR"
price_per_kwh = "0.10"
timezone = "Europe/Berlin"
pue = "1.5"
demand_per_kw = "12"
fixed_per_month = "100"

[[rate]]
site = "b"
currency = "USD"
price_per_kwh = "-0.05"
overhead_share = "0.2"
fixed_per_month = "7.77"
timezone = "Europe/Berlin"

[[rate]]
site = "b"
currency = "USD"
price_per_kwh = "0.05"
demand_per_kw = "3"
timezone = "Europe/Berlin"
valid_from = "2026-10-11"
"#;

#[derive(Clone, Debug)]
struct Used {
    host: usize,
    slot: Slot,
    scope: Scope,
    energy: i128,
}

/// Hosts by site and team.
type Hosts = Vec<(&'static str, &'static str)>;

fn slot(text: &str) -> Slot {
    read_instant(text).expect(text).slot()
}

fn october() -> Window {
    Window::of_slots(slot(OCTOBER.0), slot(OCTOBER.1))
}

fn feed(rollup: &mut Rollup<'_>, hosts: &Hosts, used: &[Used], window: Window) {
    for (index, (site, team)) in hosts.iter().enumerate() {
        let labels: Labels = [("site", *site), ("team", *team)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let name = format!("node{index}");
        let info = HostInfo { cluster: "default", name: &name, chassis: None, labels: &labels };
        let Some(id) = rollup.host(&info) else { continue };
        let device = rollup.device("");
        let mut mine: Vec<&Used> = used.iter().filter(|used| used.host == index && window.holds(used.slot)).collect();
        mine.sort_by_key(|used| used.slot);
        for slot in mine.chunk_by(|a, b| a.slot == b.slot) {
            let line = |used: &&Used| Line {
                scope: Some(used.scope),
                device,
                energy: ByQuality([Energy(used.energy), Energy::ZERO, Energy::ZERO]),
                metered: Energy::ZERO,
                covered_ns: 0,
                metered_ns: 0,
            };
            let lines: Vec<Line> = slot.iter().map(line).collect();
            rollup.add(&HostSlot::new(id, slot[0].slot, HostTime::new(0, 0), &lines)).expect("added");
        }
    }
}

fn ask(
    card: &RateCard,
    hosts: &Hosts,
    used: &[Used],
    window: Window,
    by: &str,
    filter: &str,
    step: Option<Step>,
) -> Answer {
    let known: BTreeSet<String> = ["site", "team"].map(str::to_owned).into();
    let tz = zone("Europe/Berlin").expect("a zone");
    let months = card.charged_window(window).expect("charges");
    let mut loads = Rollup::of_loads(card, months);
    feed(&mut loads, hosts, used, months);
    let charges = Arc::new(loads.charges());
    let (by, filter) = (By::parse(by, &known).expect(by), Where::parse(filter, &known).expect(filter));
    let spans = intervals(window, step, &tz).expect("intervals");
    let mut rollup = Rollup::new(card, by, filter, spans).with_charges(charges);
    feed(&mut rollup, hosts, used, window);
    let question = Question { window, step, tz: "Europe/Berlin", as_of: Utc(1), status: Status::Provisional };
    Answer::new(&question, rollup)
}

fn parts(answer: &Answer, currency: &str) -> [String; 5] {
    let cost = answer.total.cost.iter().find(|cost| cost.currency.code() == currency).expect("a cost");
    let CostParts { energy, pue_overhead, demand, fixed } = &cost.parts;
    [energy, pue_overhead, demand, fixed, &cost.amount].map(Decimal::to_string)
}

fn used(host: usize, at: &str, kwh: i128) -> Used {
    Used { host, slot: slot(at), scope: Scope::Gpu, energy: kwh * KWH }
}

#[test]
fn the_peak_slot_bears_the_demand_charge_and_all_energy_the_fixed_one() {
    let card = RateCard::parse(CARD).expect("a card");
    let hosts = vec![("a", "x"), ("a", "y"), ("c", "x")];
    // Site a: 30 kWh at 10:00 by both, 25 kWh at 11:00 by one. Site c has a bill of its own.
    let all = [
        used(0, "2026-10-05T10:00:00Z", 10),
        used(1, "2026-10-05T10:00:00Z", 20),
        used(1, "2026-10-05T11:00:00Z", 25),
        used(2, "2026-10-06T11:00:00Z", 45),
    ];
    let whole = |window, by, filter| ask(&card, &hosts, &all, window, by, filter, None);
    // Site a: 55 kWh · 0.10 = 5.50, half of it again for the plant; the peak is 30 · 4 · 1.5 = 180 kW.
    let a = whole(october(), "", "site=a");
    assert_eq!(parts(&a, "EUR"), ["5.50", "2.75", "2160.00", "100.00", "2268.25"]);
    // Of it team x has 10 of the peak's 30 kWh, and 10 of 55 kWh.
    let x = whole(october(), "", "site=a,team=x");
    assert_eq!(parts(&x, "EUR"), ["1.00", "0.50", "720.00", "18.18", "739.68"]);
    let noon = Window::of_slots(slot("2026-10-05T11:00:00Z"), slot("2026-10-05T12:00:00Z"));
    assert_eq!(parts(&whole(noon, "", "site=a"), "EUR"), ["2.50", "1.25", "0.00", "45.45", "49.20"], "not its peak");
    // Site c: 45 · 4 · 1.5 · 12 = 3240.
    assert_eq!(parts(&whole(october(), "", "site=c"), "EUR"), ["4.50", "2.25", "3240.00", "100.00", "3346.75"]);
    assert_eq!(parts(&whole(october(), "", ""), "EUR"), ["10.00", "5.00", "5400.00", "200.00", "5615.00"]);
    let february = Window::of_slots(slot("2027-02-01T00:00:00Z"), slot("2027-02-02T00:00:00Z"));
    assert!(whole(february, "", "").total.cost.is_empty(), "nothing was used that could bear a charge");
}

#[test]
fn versions_within_a_month_share_its_peak_and_its_days() {
    let card = RateCard::parse(CARD).expect("a card");
    let hosts = vec![("b", "x")];
    let all = [
        used(0, "2026-10-05T10:00:00Z", 100),
        used(0, "2026-10-20T10:00:00Z", 40),
        used(0, "2026-10-21T10:00:00Z", 30),
    ];
    let answer = ask(&card, &hosts, &all, october(), "", "", None);
    // −5 + 3.50 for energy. Until 11 October there is no demand charge: the peak is 40 · 4 = 160 kW at 3. The fixed
    // charge is due for 10 of 31 days, 960 of 2980 quarter-hours: 2.503…; and a fifth of −5 and 0 of 3.50 on top.
    assert_eq!(parts(&answer, "USD"), ["-1.50", "0.00", "480.00", "1.50", "480.00"]);
}

#[test]
fn no_charges_no_second_look() {
    let card = RateCard::parse("[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"1\"").expect("a card");
    assert_eq!(card.charged_window(october()), None);
    let card = RateCard::parse(CARD).expect("a card");
    let day = Window::of_slots(slot("2026-10-05T00:00:00Z"), slot("2026-10-06T00:00:00Z"));
    assert_eq!(card.charged_window(day), Some(october()));
}

fn usage() -> impl Strategy<Value = (Hosts, Vec<Used>)> {
    let site = prop::sample::select(vec!["", "a", "b"]);
    let team = prop::sample::select(vec!["", "x", "y"]);
    prop::collection::vec((site, team), 1..5).prop_flat_map(|hosts| {
        let scope = prop::sample::select(vec![Scope::Gpu, Scope::Cpu]);
        let one = (0..hosts.len(), 0..2980_i32, scope, -KWH / 100..KWH * 3);
        prop::collection::vec(one, 1..80).prop_map(move |all| {
            let used = all.into_iter().map(|(host, slot, scope, energy)| Used {
                host,
                slot: Slot(october().first().0 + slot),
                scope,
                energy,
            });
            (hosts.clone(), used.collect())
        })
    })
}

/// Every part by currency.
fn sums(answer: &Answer) -> Vec<(String, [Decimal; 5])> {
    let figures = |parts: &CostParts, amount| [parts.energy, parts.pue_overhead, parts.demand, parts.fixed, amount];
    answer.total.cost.iter().map(|cost| (cost.currency.to_string(), figures(&cost.parts, cost.amount))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_grouping_and_step_adds_up_to_the_same_parts((hosts, used) in usage()) {
        let card = RateCard::parse(CARD).expect("a card");
        let whole = ask(&card, &hosts, &used, october(), "", "", None);
        for (by, step) in [("site", None), ("team", Some(Step::Day)), ("host,scope", Some(Step::Hour)), ("scope", Some(Step::Month))] {
            let answer = ask(&card, &hosts, &used, october(), by, "", step);
            prop_assert_eq!(sums(&answer), sums(&whole), "{} {:?}", by, step);
            for cost in &answer.total.cost {
                let rows = || answer.rows.iter().filter_map(|row| row.cost_in(cost.currency));
                prop_assert_eq!(rows().map(|row| row.amount).sum::<Decimal>(), cost.amount);
                for part in [|p: &CostParts| p.energy, |p: &CostParts| p.pue_overhead, |p: &CostParts| p.demand, |p: &CostParts| p.fixed] {
                    prop_assert_eq!(rows().map(|row| part(&row.parts)).sum::<Decimal>(), part(&cost.parts));
                }
                let total = |p: &CostParts| p.energy + p.pue_overhead + p.demand + p.fixed;
                let is_whole = rows().all(|row| total(&row.parts) == row.amount);
                prop_assert!(is_whole);
            }
        }
    }

    #[test]
    fn selections_and_days_part_the_whole((hosts, used) in usage()) {
        let card = RateCard::parse(CARD).expect("a card");
        let whole = sums(&ask(&card, &hosts, &used, october(), "", "", None));
        let middle = slot("2026-10-17T22:00:00Z");
        let halves = [Window::of_slots(october().first(), middle), Window::of_slots(middle, october().until())];
        let parted = [
            vec![(october(), "team=x"), (october(), "team!=x")],
            vec![(october(), "scope=gpu"), (october(), "scope!=gpu")],
            halves.map(|half| (half, "")).to_vec(),
        ];
        for pieces in parted {
            let answers: Vec<_> = pieces.iter().map(|(w, filter)| sums(&ask(&card, &hosts, &used, *w, "", filter, None))).collect();
            for (currency, parts) in &whole {
                let of = |answer: &Vec<(String, [Decimal; 5])>| answer.iter().find(|one| one.0 == *currency).map(|one| one.1);
                for (place, figure) in parts.iter().enumerate() {
                    let sum: Decimal = answers.iter().filter_map(of).map(|figures| figures[place]).sum();
                    prop_assert!((sum - figure).abs() <= Decimal::new(3, 2), "{} {}: {} {}", currency, place, sum, figure);
                }
            }
        }
    }

    /// The month's charges from the definition, in floats.
    #[test]
    fn what_is_due_is_what_the_rule_says((hosts, used) in usage()) {
        let card = RateCard::parse(CARD).expect("a card");
        let answer = ask(&card, &hosts, &used, october(), "site", "", None);
        for row in &answer.rows {
            let site = row.value("site");
            let mut slots = std::collections::BTreeMap::new();
            used.iter().filter(|used| hosts[used.host].0 == site).for_each(|used| {
                *slots.entry(used.slot).or_insert(0.0) += used.energy as f64 / KWH as f64;
            });
            let change = slot("2026-10-10T22:00:00Z");
            let demanded = |at: &Slot| site != "b" || *at >= change;
            let peak = slots.iter().filter(|(at, _)| demanded(at)).map(|(_, kwh)| *kwh).fold(0.0, f64::max);
            let before: f64 = slots.iter().filter(|(at, _)| **at < change).map(|(_, kwh)| *kwh).sum();
            let (demand, fixed, surcharge) = if site == "b" {
                (peak * 4.0 * 3.0, if before > 1e-6 { 7.77 * 960.0 / 2980.0 } else { 0.0 }, -before * 0.05 * 0.2)
            } else {
                (peak * 4.0 * 1.5 * 12.0, if slots.values().sum::<f64>() > 1e-6 { 100.0 } else { 0.0 }, 0.0)
            };
            let cost = &row.cost[0];
            let near = |ours: Decimal, theirs: f64| (ours.to_string().parse::<f64>().expect("a number") - theirs).abs() < 0.011;
            prop_assert!(near(cost.parts.demand, demand), "{} {}", cost.parts.demand, demand);
            prop_assert!(near(cost.parts.fixed, fixed + surcharge), "{} {} {}", cost.parts.fixed, fixed, surcharge);
        }
    }
}
