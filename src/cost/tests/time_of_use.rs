//! Prices by season, day and hour: which holds when, also where clocks change; gaps and overlaps.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use cost::window::read_instant;
use cost::{CostError, Fault, RateCard, Tariff, Window};
use meter::{Labels, Slot};
use proptest::prelude::*;

const CARD: &str = r#"
[[rate]]
id = "tou"
currency = "EUR"
timezone = "ZONE"
pue = "1.2"
holidays = ["12-25", 2026-04-06]

[[rate.period]]
name = "night"
hours = "22:00-06:00"
price_per_kwh = "0.10"

[[rate.period]]
name = "summer peak"
months = "jun-aug"
weekdays = "mon-fri"
hours = "06:00-22:00"
price_per_kwh = "0.40"

[[rate.period]]
name = "day"
months = "sep-may"
weekdays = "mon-fri"
hours = ["06:00-22:00"]
price_per_kwh = "0.30"

[[rate.period]]
name = "weekend"
weekdays = "sat, sun, holiday"
hours = "6-22"
price_per_kwh = "0.20"

[[rate.pue_period]]
months = "jun-aug"
pue = "1.4"
"#;

fn slot(text: &str) -> Slot {
    read_instant(text).expect(text).slot()
}

fn card(zone: &str) -> RateCard {
    RateCard::parse(&CARD.replace("ZONE", zone)).expect("a card")
}

fn cents(card: &RateCard, at: &str) -> i64 {
    card.tariff_at(&Labels::new(), slot(at)).and_then(|tariff| tariff.price_nano).expect("a price") / 10_000_000
}

fn faults(text: &str) -> Vec<Fault> {
    match RateCard::parse(text) {
        Err(CostError::Rates(faults)) => faults,
        other => panic!("faults were expected, not {other:?}"),
    }
}

/// What every answer over a window is made of, against a look at every single slot.
fn agrees(card: &RateCard, window: Window) {
    let none = Labels::new();
    let pieces = card.tariffs(&none, window);
    assert_eq!(pieces.first().map(|piece| piece.0), Some(window.first()));
    let mut at = 0;
    for number in window.first().0..window.until().0 {
        let slot = Slot(number);
        at += usize::from(pieces.get(at + 1).is_some_and(|piece| piece.0 <= slot));
        let naive: Option<Tariff> = card.tariff_at(&none, slot);
        assert_eq!(pieces[at].1, naive, "{}", cost::window::stamp(slot.start()));
    }
    assert!(pieces.windows(2).all(|pair| pair[0].1 != pair[1].1), "neighbours differ");
}

#[test]
fn each_hour_has_the_price_of_its_season_day_and_hour() {
    let card = card("Europe/Berlin");
    // Wednesday, 15 July: 12:00 in Berlin is 10:00 UTC.
    assert_eq!(cents(&card, "2026-07-15T10:00:00Z"), 40);
    assert_eq!(cents(&card, "2026-07-15T03:45:00Z"), 10, "05:45");
    assert_eq!(cents(&card, "2026-07-15T04:00:00Z"), 40, "06:00");
    assert_eq!(cents(&card, "2026-07-15T19:45:00Z"), 40, "21:45");
    assert_eq!(cents(&card, "2026-07-15T20:00:00Z"), 10, "22:00");
    assert_eq!(cents(&card, "2026-01-14T11:00:00Z"), 30);
    assert_eq!(cents(&card, "2026-07-18T10:00:00Z"), 20, "a Saturday");
    assert_eq!(cents(&card, "2026-12-25T10:00:00Z"), 20, "a Friday, but a holiday");
    assert_eq!(cents(&card, "2025-12-25T10:00:00Z"), 20, "each year");
    assert_eq!(cents(&card, "2026-04-06T10:00:00Z"), 20, "Easter Monday");
    assert_eq!(cents(&card, "2027-04-05T10:00:00Z"), 30, "a Monday of another year");
    let pue = |at| card.tariff_at(&Labels::new(), slot(at)).map(|tariff| tariff.pue_micro);
    assert_eq!((pue("2026-07-15T10:00:00Z"), pue("2026-05-31T21:45:00Z")), (Some(1_400_000), Some(1_200_000)));
}

#[test]
fn where_clocks_change_the_hour_on_the_clock_counts() {
    // Berlin, 29 March 2026: 02:00 becomes 03:00, so that the night has 7 hours until 06:00 CEST = 04:00 UTC.
    let berlin = card("Europe/Berlin");
    assert_eq!([cents(&berlin, "2026-03-29T03:45:00Z"), cents(&berlin, "2026-03-29T04:00:00Z")], [10, 20]);
    // 25 October: 03:00 becomes 02:00; 06:00 CET = 05:00 UTC.
    assert_eq!([cents(&berlin, "2026-10-25T04:45:00Z"), cents(&berlin, "2026-10-25T05:00:00Z")], [10, 20]);
    // Sydney changes the other way round: on 5 April 2026 03:00 becomes 02:00; 06:00 AEST = 20:00 UTC of the day before.
    let sydney = card("Australia/Sydney");
    assert_eq!([cents(&sydney, "2026-04-04T19:45:00Z"), cents(&sydney, "2026-04-04T20:00:00Z")], [10, 20]);
    // 4 October: 02:00 becomes 03:00; 06:00 AEDT = 19:00 UTC of the day before.
    assert_eq!([cents(&sydney, "2026-10-03T18:45:00Z"), cents(&sydney, "2026-10-03T19:00:00Z")], [10, 20]);
    // Lord Howe moves by half an hour; Kathmandu is 5:45 ahead.
    for zone in
        ["Europe/Berlin", "Australia/Sydney", "Australia/Lord_Howe", "Asia/Kathmandu", "America/New_York", "UTC"]
    {
        agrees(&card(zone), Window::of_slots(slot("2026-03-01T00:00:00Z"), slot("2026-04-10T00:00:00Z")));
        agrees(&card(zone), Window::of_slots(slot("2026-09-28T00:00:00Z"), slot("2026-11-09T00:00:00Z")));
    }
    agrees(&berlin, Window::of_slots(slot("2023-12-20T00:00:00Z"), slot("2025-01-10T00:00:00Z")));
}

#[test]
fn an_hour_without_a_price_is_named() {
    let text = CARD.replace("ZONE", "UTC").replace("weekdays = \"sat, sun, holiday\"", "weekdays = \"sat, sun\"");
    let found = faults(&text);
    assert_eq!((found.len(), found[0].line, &*found[0].key), (1, 2, "period"), "{found:?}");
    let problem = &found[0].problem;
    assert!(problem.contains("06:00–22:00 on holiday from 01-01 to 12-31"), "{problem}");

    let text = CARD.replace("ZONE", "UTC").replace("months = \"sep-may\"", "months = \"oct-may\"");
    let problem = &faults(&text)[0].problem;
    assert!(problem.contains("06:00–22:00 on mon, tue, wed, thu, fri from 09-01 to 09-30"), "{problem}");
    let filled = text.replacen("pue = ", "price_per_kwh = \"0.35\"\npue = ", 1);
    let card = RateCard::parse(&filled).expect("a stated default fills it");
    assert_eq!(cents(&card, "2026-09-15T12:00:00Z"), 35);
}

#[test]
fn an_hour_with_two_prices_is_named() {
    let text = CARD.replace("ZONE", "UTC").replace("hours = \"22:00-06:00\"", "hours = \"21:00-06:00\"");
    let found = faults(&text);
    let summer = found.iter().find(|fault| fault.line == 14).expect("the summer's");
    assert!(summer.problem.contains("\"night\"") && summer.problem.contains("mon 21:00–22:00 on 06-01"), "{summer}");
}

#[test]
fn what_no_period_can_say_is_refused_with_line_and_key() {
    for (rule, key) in [
        ("months = \"june\"", "months"),
        ("months = 13", "months"),
        ("weekdays = \"fri-holiday\"", "weekdays"),
        ("hours = \"7-7\"", "hours"),
        ("hours = \"07:10-08:00\"", "hours"),
        ("hours = \"22:00-25:00\"", "hours"),
        ("dates = \"02-30\"", "dates"),
        ("months = 1\ndates = \"01-01\"", "dates"),
        ("season = \"summer\"", "season"),
        ("weekdays = 1.5", "weekdays"),
    ] {
        let head = "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"1\"\n[[rate.period]]\nprice_per_kwh = \"2\"\n";
        let found = faults(&format!("{head}{rule}\n"));
        assert!(found.iter().any(|fault| fault.key == key && fault.line >= 4), "{rule}: {found:?}");
    }
}

#[test]
fn spans_may_go_over_the_turn_of_the_year_and_of_the_week() {
    let text = "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"1\"\n\
                [[rate.period]]\ndates = \"11-15..02-29\"\nweekdays = \"fri-mon\"\nprice_per_kwh = \"-2\"\n";
    let card = RateCard::parse(text).expect("a card");
    let units = |at| cents(&card, at) / 100;
    // 2026-11-15 is a Sunday, 2027-03-01 a Monday, 2028-02-29 a Tuesday.
    assert_eq!(units("2026-11-14T12:00:00Z"), 1);
    assert_eq!(units("2026-11-15T12:00:00Z"), -2);
    assert_eq!(units("2026-11-17T12:00:00Z"), 1, "a Tuesday");
    assert_eq!(units("2027-02-28T12:00:00Z"), -2);
    assert_eq!(units("2027-03-01T12:00:00Z"), 1);
    agrees(&card, Window::of_slots(slot("2027-10-01T00:00:00Z"), slot("2028-04-01T00:00:00Z")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pieces_are_what_a_look_at_each_slot_finds(
        zone in prop::sample::select(vec!["Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Asia/Tehran"]),
        start in 700_000..2_300_000_i32,
        days in 1..40_i32,
    ) {
        agrees(&card(zone), Window::of_slots(Slot(start), Slot(start + days * 96)));
    }
}
