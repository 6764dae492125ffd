//! Rate cards: what a file may say, what is wrong with one, which rate is in force.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use cost::window::read_instant;
use cost::{CostError, Fault, RateCard, Window};
use meter::Slot;
use proptest::prelude::*;

fn slot(text: &str) -> Slot {
    read_instant(text).expect(text).slot()
}

fn faults(text: &str) -> Vec<Fault> {
    match RateCard::parse(text) {
        Err(CostError::Rates(faults)) => faults,
        other => panic!("faults were expected, not {other:?}"),
    }
}

#[test]
fn the_shipped_card_is_a_good_one() {
    let card = RateCard::parse(include_str!("../../../configs/rates.toml")).expect("the shipped card");
    let price = |site, at| card.at(site, slot(at)).map(|rate| (rate.currency.to_string(), rate.price().to_string()));
    let usd = |price: &str| Some(("USD".to_owned(), price.to_owned()));
    let eur = Some(("EUR".to_owned(), "0.22".to_owned()));
    assert_eq!(price("par1", "2026-01-01T00:00:00Z"), eur);
    assert_eq!(price("", "1999-01-01T00:00:00Z"), eur);
    // 1 October in New York begins at 04:00 UTC.
    assert_eq!(price("virginia", "2026-10-01T03:45:00Z"), usd("0.12"));
    assert_eq!(price("virginia", "2026-10-01T04:00:00Z"), usd("0.1275"));
    assert_eq!(price("virginia", "2024-12-31T23:45:00Z"), eur, "before its own rates, the general one");
}

#[test]
fn no_card_is_no_price() {
    assert!(RateCard::parse("").expect("an empty card").at("par1", Slot(0)).is_none());
    let card = RateCard::parse("[[rate]]\nsite=\"a\"\ncurrency=\"EUR\"\nprice_per_kwh=\"0\"").expect("a card");
    assert!(card.at("b", Slot(0)).is_none());
    assert_eq!(card.at("a", Slot(0)).map(|rate| rate.price_nano), Some(0), "free by contract is a price");
}

#[test]
fn tariffs_change_where_a_rate_begins() {
    let card = RateCard::parse(include_str!("../../../configs/rates.toml")).expect("the shipped card");
    let window = Window::of_slots(slot("2026-09-30T00:00:00Z"), slot("2026-10-02T00:00:00Z"));
    let prices = |site| {
        let tariffs = card.tariffs(site, window);
        tariffs.into_iter().map(|(from, tariff)| (from, tariff.map(|tariff| tariff.price_nano))).collect::<Vec<_>>()
    };
    let change = slot("2026-10-01T04:00:00Z");
    assert_eq!(prices("virginia"), [(window.first(), Some(120_000_000)), (change, Some(127_500_000))]);
    assert_eq!(prices("par1"), [(window.first(), Some(220_000_000))]);
}

#[test]
fn a_float_is_refused_with_an_explanation() {
    let faults = faults("[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = 0.12\n");
    assert_eq!((faults.len(), faults[0].line, faults[0].key.as_str()), (1, 3, "price_per_kwh"));
    assert!(faults[0].problem.contains("\"0.12\""), "{}", faults[0]);
}

#[test]
fn every_fault_is_named_with_its_line() {
    let text = "\
[[rate]]
site = \"\"
currency = \"euro\"
price_per_kwh = \"0,12\"
pue = \"0.9\"
carbon = \"55\"

[[rate]]
price_per_kwh = \"0.1234567891\"
valid_from = \"2026-01-01T00:07:00Z\"
timezone = \"Mars/Olympus\"

[rats]
";
    let found: Vec<_> = faults(text).into_iter().map(|fault| (fault.line, fault.key)).collect();
    let wanted = [
        (2, "site"),
        (3, "currency"),
        (4, "price_per_kwh"),
        (5, "pue"),
        (6, "carbon"),
        (8, "currency"),
        (9, "price_per_kwh"),
        (10, "valid_from"),
        (11, "timezone"),
        (13, "rats"),
    ];
    let mut found: Vec<_> = found.iter().map(|(line, key)| (*line, key.as_str())).collect();
    found.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn what_is_no_toml_says_where() {
    let faults = faults("[[rate]]\ncurrency = \"EUR\nprice_per_kwh = \"1\"\n");
    assert_eq!(faults[0].line, 2, "{}", faults[0]);
    assert!(!self::faults("rate = 1").is_empty() && !self::faults("[rate]\ncurrency=\"EUR\"").is_empty());
}

#[test]
fn two_rates_for_the_same_time_are_refused() {
    let rate = "[[rate]]\nsite = \"a\"\ncurrency = \"EUR\"\nprice_per_kwh = \"1\"\nvalid_from = 2026-01-01\n";
    let faults = faults(&format!("{rate}{rate}"));
    assert!(faults[0].line == 6 && faults[0].problem.contains("line 1"), "{}", faults[0]);
}

#[test]
fn prices_outside_reason_are_refused() {
    for (key, value) in
        [("price_per_kwh", "-0.1"), ("price_per_kwh", "1000001"), ("price_per_kwh", "NaN"), ("price_per_kwh", "1e-3")]
    {
        let text = format!("[[rate]]\ncurrency = \"EUR\"\n{key} = \"{value}\"\n");
        assert_eq!(faults(&text).len(), 1, "{text}");
    }
    for (key, value) in [("pue", "10.5"), ("pue", "1.0000001"), ("carbon_g_per_kwh", "-1")] {
        let text = format!("[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"1\"\n{key} = \"{value}\"\n");
        assert_eq!(faults(&text)[0].key, key);
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\[\\[rate\\]\\]|[a-z_]{1,8}|=|\"|\n|[0-9.+eT:-]{1,6}|\\PC){0,60}") {
        let _ = RateCard::parse(&text);
    }
}
