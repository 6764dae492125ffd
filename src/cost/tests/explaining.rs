//! An explained host's slots, with every kind of charge, against figures worked out by hand.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::sync::Arc;

use cost::explain::priced;
use cost::money::KWH;
use cost::statement::Question;
use cost::step::intervals;
use cost::window::read_instant;
use cost::{Answer, By, HostInfo, HostSlot, HostTime, Line, RateCard, Rollup, Status, Step, Where, Window, zone};
use meter::{ByQuality, Energy, Labels, Slot};
use rust_decimal::Decimal;

const CARD: &str = r#"
[[rate]]
currency = "EUR"
price_per_kwh = "0.20"
pue = "1.5"
overhead_share = "0.1"
demand_per_kw = "12"
fixed_per_month = "31"
"#;

/// 1 kWh at noon and 2 kWh a quarter of an hour later, all that the month has.
fn feed(rollup: &mut Rollup<'_>, noon: Slot) {
    let labels = Labels::new();
    let info = HostInfo { cluster: "default", name: "node-1", chassis: None, labels: &labels };
    let (id, device) = (rollup.host(&info).expect("selected"), rollup.device(""));
    for (slot, kwh) in [(noon, 1), (noon.next(), 2)] {
        let energy = ByQuality([Energy(KWH * kwh), Energy::ZERO, Energy::ZERO]);
        let line = Line { scope: None, device, energy, metered: Energy::ZERO, covered_ns: 0, metered_ns: 0 };
        rollup.add(&HostSlot::new(id, slot, HostTime::new(0, 0), &[line])).expect("added");
    }
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect(text)
}

#[test]
fn every_charge_is_in_the_slot_that_bears_it_and_the_slots_are_the_total() {
    let card = RateCard::parse(CARD).expect("a card");
    let noon = read_instant("2026-10-14T12:00:00Z").expect("an instant").slot();
    let window = Window::of_slots(noon, Slot(noon.0 + 2));
    let months = card.charged_window(window).expect("charges");
    let mut loads = Rollup::of_loads(&card, months);
    feed(&mut loads, noon);
    let charges = Arc::new(loads.charges());

    let utc = zone("UTC").expect("a zone");
    let spans = intervals(window, Some(Step::Quarter), &utc).expect("intervals");
    let mut rollup = Rollup::new(&card, By::default(), Where::default(), spans).with_charges(Arc::clone(&charges));
    feed(&mut rollup, noon);
    let (step, as_of, status) = (Some(Step::Quarter), window.end(), Status::Provisional);
    let answer = Answer::new(&Question { window, step, tz: "UTC", as_of, status }, rollup);

    let labels = Labels::new();
    let told = priced(&answer.rows, &[(window, &labels)], &card, &charges);
    let [first, second] = &told.slots[..] else { panic!("two slots: {told:?}") };
    // 1 kWh: 0.20, its overhead 0.10, 10 % of both 0.03, and a third of the month's 31.
    let parts = first.parts.clone().expect("priced");
    assert_eq!([parts.energy, parts.pue_overhead, parts.demand], ["0.2", "0.1", "0"].map(decimal));
    assert!((parts.fixed - (decimal("0.03") + decimal("31") / decimal("3"))).abs() < decimal("0.000001"), "{parts:?}");
    // 2 kWh at a PUE of 1.5 are 12 kW over a quarter of an hour: 144, besides twice the rest.
    let parts = second.parts.clone().expect("priced");
    assert_eq!([parts.energy, parts.pue_overhead, parts.demand], ["0.4", "0.2", "144"].map(decimal));
    assert_eq!((first.demand_per_kwh, second.demand_per_kwh), (None, Some(decimal("48"))), "12 per kW × 4 per hour");
    assert_eq!((second.surcharge, second.rate_line), (Some(decimal("0.1")), Some(2)));

    // 0.60 + 0.30 + 0.09 + 31 + 144.
    let cost = &answer.total.cost[0];
    assert_eq!(cost.amount, decimal("175.99"));
    let exact = told.exact[&cost.currency];
    assert_eq!(exact.round_dp(2), cost.amount, "{exact}");
    let slots: Decimal = told.slots.iter().filter_map(|slot| slot.amount).sum();
    assert!((slots - exact).abs() < decimal("0.00000000001"), "{slots} {exact}");
}
