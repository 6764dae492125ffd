//! Rate cards: what a file may say, what is wrong with one, which rate is in force.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use cost::window::read_instant;
use cost::{CostError, Fault, RateCard, Window};
use meter::{Labels, Slot};
use proptest::prelude::*;

/// The labels of a host of a site; empty for one that names none.
fn at_site(site: &str) -> Labels {
    [("site", site)].into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn price_at(card: &RateCard, site: &str, slot: Slot) -> Option<i64> {
    card.tariff_at(&at_site(site), slot)?.price_nano
}

fn slot(text: &str) -> Slot {
    read_instant(text).expect(text).slot()
}

fn faults(text: &str) -> Vec<Fault> {
    match RateCard::parse(text) {
        Err(CostError::Rates(faults)) => faults,
        other => panic!("faults were expected, not {other:?}"),
    }
}

const FLAT: &str = r#"
[[rate]]
currency = "EUR"
price_per_kwh = "0.22"

[[rate]]
site = "virginia"
currency = "USD"
price_per_kwh = "0.1200"
valid_from = "2025-01-01"
timezone = "America/New_York"

[[rate]]
site = "virginia"
currency = "USD"
price_per_kwh = "0.1275"
valid_from = "2026-10-01"
timezone = "America/New_York"
"#;

#[test]
fn the_rate_that_began_last_is_in_force_and_the_sites_own_before_the_general_one() {
    let card = RateCard::parse(FLAT).expect("a card");
    let price = |site, at| {
        let rate = card.at(&at_site(site), slot(at)).expect("a rate");
        (rate.currency.to_string(), price_at(&card, site, slot(at)).expect("a price"))
    };
    let usd = |price| ("USD".to_owned(), price);
    let eur = ("EUR".to_owned(), 220_000_000);
    assert_eq!(price("par1", "2026-01-01T00:00:00Z"), eur);
    assert_eq!(price("", "1999-01-01T00:00:00Z"), eur);
    // 1 October in New York begins at 04:00 UTC.
    assert_eq!(price("virginia", "2026-10-01T03:45:00Z"), usd(120_000_000));
    assert_eq!(price("virginia", "2026-10-01T04:00:00Z"), usd(127_500_000));
    assert_eq!(price("virginia", "2024-12-31T23:45:00Z"), eur, "before its own rates, the general one");
}

#[test]
fn the_rate_with_more_labels_counts_before_the_one_that_began_last() {
    let rate = |what: &str, price: &str| format!("[[rate]]\n{what}\ncurrency = \"EUR\"\nprice_per_kwh = \"{price}\"\n");
    let text = rate("valid_from = 2026-06-01", "1")
        + &rate("match = { room = \"r1\" }", "2")
        + &rate("site = \"a\"", "3")
        + &rate("match = { site = \"a\", room = \"r1\" }\nvalid_to = 2026-03-01", "4")
        + &rate("site = \"a\"\nvalid_from = 2026-02-01\nvalid_to = 2026-02-02", "5");
    let card = RateCard::parse(&text).expect("a card");
    let price = |labels: &[(&str, &str)], day: &str| {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        card.tariff_at(&labels, slot(&format!("{day}T12:00:00Z")))
            .and_then(|tariff| tariff.price_nano)
            .map(|nano| nano / 1_000_000_000)
    };
    let both = [("site", "a"), ("room", "r1"), ("team", "x")];
    assert_eq!(price(&both, "2026-01-01"), Some(4));
    assert_eq!(price(&both, "2026-03-01"), Some(3), "of two with one label the one with a site");
    assert_eq!(price(&[("room", "r1"), ("site", "b")], "2026-03-01"), Some(2));
    assert_eq!(price(&[("site", "a")], "2026-02-01"), Some(5));
    assert_eq!(price(&[("site", "a")], "2026-02-02"), Some(3), "the former is in force again");
    assert_eq!(price(&[], "2026-05-31"), None);
    assert_eq!(price(&[("site", "c")], "2026-06-01"), Some(1));
}

#[test]
fn the_shipped_card_is_a_good_one_and_so_is_what_it_shows_in_comments() {
    let shipped = include_str!("../../../configs/rates.toml");
    let card = RateCard::parse(shipped).expect("the shipped card");
    let paris: Labels = [("site", "par1"), ("room", "r2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let price =
        |at| card.tariff_at(&paris, slot(at)).and_then(|tariff| tariff.price_nano).map(|nano| nano / 10_000_000);
    // Paris, summer: night from 20:00 UTC; a Sunday; Bastille Day is a Tuesday.
    assert_eq!(
        [price("2026-07-15T20:00:00Z"), price("2026-07-12T10:00:00Z"), price("2026-07-14T10:00:00Z")],
        [Some(11), Some(13), Some(13)]
    );
    assert_eq!(
        [price("2026-01-14T10:00:00Z"), price("2026-01-14T12:00:00Z")],
        [Some(29), Some(18)],
        "11:00 and 13:00 in January"
    );
    assert_eq!(price_at(&card, "elsewhere", slot("2026-01-14T12:00:00Z")), Some(220_000_000));

    let (_, commented) = shipped.split_once("# [[rate]]\n").expect("the example with a file");
    let (example, table) = commented.split_once("# A file with other columns").expect("the other example");
    let example: String =
        example.lines().map(|line| format!("{}\n", line.trim_start_matches('#').trim_start())).collect();
    let mut files = |name: &str| match name {
        "carbon-de.csv" => Ok("start,carbon_g_per_kwh\n2026-10-25T00:00Z,381.5\n".to_owned()),
        _ => Ok("start,price_per_mwh\n2026-10-25 02:00,81.5\n2026-10-25 02:00,-3\n".to_owned()),
    };
    let card = RateCard::read(&format!("[[rate]]\n{example}"), &mut files).expect("the example");
    assert_eq!(price_at(&card, "fra1", slot("2026-10-25T01:00:00Z")), Some(38_000_000), "-0.003 + 0.041");
    let table = table.lines().find_map(|line| line.strip_prefix("# series = ")).expect("a table");
    let mut spot = |_: &str| Ok("begin,DE-LU\n2026-10-25T00:00Z,1\n2026-10-25T02:00Z,1\n".to_owned());
    RateCard::read(&format!("[[rate]]\ncurrency = \"EUR\"\nseries = {table}"), &mut spot).expect("the other example");
}

#[test]
fn no_card_is_no_price() {
    assert!(RateCard::default().at(&at_site("par1"), Slot(0)).is_none());
    let card = RateCard::parse("[[rate]]\nsite=\"a\"\ncurrency=\"EUR\"\nprice_per_kwh=\"0\"").expect("a card");
    assert!(card.at(&at_site("b"), Slot(0)).is_none());
    assert_eq!(price_at(&card, "a", Slot(0)), Some(0), "free by contract is a price");
}

#[test]
fn tariffs_change_where_a_rate_begins() {
    let card = RateCard::parse(FLAT).expect("a card");
    let window = Window::of_slots(slot("2026-09-30T00:00:00Z"), slot("2026-10-02T00:00:00Z"));
    let prices = |site| {
        let tariffs = card.tariffs(&at_site(site), window);
        tariffs
            .into_iter()
            .map(|(from, tariff)| (from, tariff.and_then(|tariff| tariff.price_nano)))
            .collect::<Vec<_>>()
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
    for (key, value) in [
        ("price_per_kwh", "-1000001"),
        ("price_per_kwh", "1000001"),
        ("price_per_kwh", "NaN"),
        ("price_per_kwh", "1e-3"),
    ] {
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

#[test]
fn the_months_of_a_site_are_those_of_the_zone_that_its_rate_states() {
    let rate =
        |site: &str, more: &str| format!("[[rate]]\n{site}currency = \"EUR\"\nprice_per_kwh = \"0.2\"\n{more}\n");
    let text = rate("", "")
        + &rate("site = \"par1\"\n", "timezone = \"Europe/Paris\"")
        + &rate("site = \"par1\"\n", "valid_from = \"2026-01-01\"\ntimezone = \"Europe/Madrid\"");
    let card = RateCard::parse(&text).expect("a card");
    let name = |site: &str| card.zone_of(site).and_then(|tz| tz.iana_name()).map(str::to_owned);
    assert_eq!((name("par1").as_deref(), name("moon"), name("")), (Some("Europe/Madrid"), None, None));
}

#[test]
fn a_file_without_any_rate_is_no_card() {
    for text in ["", "\n", "# price_per_kwh = \"0.20\"\n", "rate = []\n"] {
        let fault = RateCard::parse(text).expect_err(text).to_string();
        assert!(fault.starts_with("no [[rate]]") && fault.contains("files.rates"), "{text:?}: {fault}");
    }
}
