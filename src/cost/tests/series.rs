//! Prices from files of slots: units, steps, gaps, and hours that local clocks skip or show twice.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use cost::window::read_instant;
use cost::{CostError, Fault, Figure, RateCard, Window};
use meter::{Labels, Slot};

fn slot(text: &str) -> Slot {
    read_instant(text).expect(text).slot()
}

fn read(rate: &str, sheet: &str) -> Result<RateCard, Vec<Fault>> {
    let card = format!("[[rate]]\ncurrency = \"EUR\"\n{rate}\n");
    let mut files =
        |name: &str| if name == "a.csv" { Ok(sheet.to_owned()) } else { Err("there is no such file".into()) };
    match RateCard::read(&card, &mut files) {
        Err(CostError::Rates(faults)) => Err(faults),
        Err(other) => panic!("{other}"),
        Ok(card) => Ok(card),
    }
}

fn price(card: &RateCard, at: &str) -> Option<i64> {
    card.tariff_at(&Labels::new(), slot(at)).expect("a rate").price_nano
}

#[test]
fn a_row_holds_for_its_step_and_may_be_negative() {
    let sheet = "start,price_per_mwh\n2026-01-01T00:00Z,100.5\n2026-01-01T01:00Z,-3.25\n2026-01-01T02:00Z,0\n";
    let card = read("series = \"a.csv\"\nadder_per_kwh = \"0.05\"", sheet).expect("a card");
    assert_eq!(price(&card, "2026-01-01T00:45:00Z"), Some(150_500_000), "0.1005 + 0.05 per kWh");
    assert_eq!(price(&card, "2026-01-01T01:00:00Z"), Some(46_750_000));
    assert_eq!(price(&card, "2026-01-01T02:45:00Z"), Some(50_000_000));
    assert_eq!(price(&card, "2026-01-01T03:00:00Z"), None, "after the last row there is no price");
    assert_eq!(price(&card, "2025-12-31T23:45:00Z"), None, "nor before the first");
    let window = Window::of_slots(slot("2025-12-31T23:00:00Z"), slot("2026-01-01T04:00:00Z"));
    let pieces = card.tariffs(&Labels::new(), window);
    let pieces: Vec<_> =
        pieces.iter().map(|(from, t)| (from.0 - window.first().0, t.and_then(|t| t.price_nano))).collect();
    let nano = |millionths: i64| Some(millionths * 1000);
    assert_eq!(pieces, [(0, None), (4, nano(150_500)), (8, nano(46_750)), (12, nano(50_000)), (16, None)]);
}

#[test]
fn quarters_and_other_columns_can_be_named() {
    let sheet = "when,de\n2026-01-01T00:00+01:00,10\n2026-01-01T00:15+01:00,20\n";
    let rate = "series = { file = \"a.csv\", start = \"when\", value = \"de\", per = \"MWh\" }";
    let card = read(rate, sheet).expect("a card");
    assert_eq!(price(&card, "2025-12-31T23:15:00Z"), Some(20_000_000));
    let unstated = "series = { file = \"a.csv\", start = \"when\", value = \"de\" }";
    assert!(read(unstated, sheet).expect_err("no unit")[0].problem.contains("unit"));
}

#[test]
fn a_missing_hour_is_named_and_is_never_a_price_of_zero() {
    let sheet = "start,price_per_kwh\n2026-01-01T00:00Z,1\n2026-01-01T01:00Z,1\n2026-01-01T04:00Z,1\n2026-01-01T05:00Z,\n2026-01-01T06:00Z,1\n";
    let faults = read("series = \"a.csv\"", sheet).expect_err("gaps");
    let told: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert_eq!(faults.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("a.csv: line 3: ")
            && told[0].contains("from 2026-01-01T02:00:00Z to 2026-01-01T04:00:00Z (2 of 60 min"),
        "{told:?}"
    );
    assert!(told[1].contains("from 2026-01-01T05:00:00Z to 2026-01-01T06:00:00Z (1 of 60 min"), "{told:?}");

    let card = read("series = { file = \"a.csv\", gaps = \"unpriced\" }\npue = \"1.5\"", sheet).expect("as asked for");
    assert_eq!(price(&card, "2026-01-01T03:00:00Z"), None);
    let Figure::Series(series) = &card.rates()[0].price else { panic!("no series") };
    assert_eq!(series.gaps().iter().map(Window::len).collect::<Vec<_>>(), [8, 4]);
    assert_eq!(card.tariff_at(&Labels::new(), slot("2026-01-01T03:00:00Z")).map(|t| t.pue_micro), Some(1_500_000));
}

#[test]
fn a_skipped_hour_has_no_row_and_a_doubled_one_has_two() {
    // Berlin: 29 March 2026 02:00 → 03:00, 25 October 03:00 → 02:00.
    let zone = "series = \"a.csv\"\ntimezone = \"Europe/Berlin\"";
    let spring = "start,price_per_kwh\n2026-03-29 00:00,0.1\n2026-03-29 01:00,0.2\n2026-03-29 03:00,0.3\n";
    let card = read(zone, spring).expect("no gap: 01:00 CET is followed by 03:00 CEST");
    assert_eq!(
        [price(&card, "2026-03-29T00:00:00Z"), price(&card, "2026-03-29T01:00:00Z")],
        [Some(200_000_000), Some(300_000_000)]
    );
    let invented = spring.replace("01:00,0.2\n", "01:00,0.2\n2026-03-29 02:00,9\n");
    assert!(read(zone, &invented).expect_err("there is no 02:00")[0].problem.contains("does not exist"));
    assert!(read(zone, &invented.replace(",9", ",")).is_ok(), "an empty cell says nothing");

    let autumn =
        "start,price_per_kwh\n2026-10-25 01:00,0.1\n2026-10-25 02:00,0.2\n2026-10-25 02:00,0.3\n2026-10-25 03:00,0.4\n";
    let card = read(zone, autumn).expect("02:00 CEST and 02:00 CET");
    assert_eq!(
        [price(&card, "2026-10-25T00:00:00Z"), price(&card, "2026-10-25T01:00:00Z")],
        [Some(200_000_000), Some(300_000_000)]
    );
    let once = autumn.replacen("2026-10-25 02:00,0.3\n", "", 1);
    let fault = &read(zone, &once).expect_err("the second is missing")[0];
    assert!(fault.problem.contains("from 2026-10-25T01:00:00Z to 2026-10-25T02:00:00Z"), "{fault}");
    let thrice = autumn.replace("02:00,0.2\n", "02:00,0.2\n2026-10-25 02:00,0.2\n");
    assert!(read(zone, &thrice).expect_err("three")[0].problem.contains("already"));

    // The southern hemisphere in quarters: Sydney, 5 April 2026 03:00 → 02:00.
    let quarters = ["02:00", "02:15", "02:30", "02:45"];
    let rows: String =
        quarters.iter().chain(&quarters).enumerate().map(|(n, at)| format!("2026-04-05T{at},{n}\n")).collect();
    let sydney = "series = \"a.csv\"\ntimezone = \"Australia/Sydney\"";
    let card = read(sydney, &format!("start,price_per_kwh\n{rows}2026-04-05T03:00,8\n")).expect("nine quarters");
    assert_eq!(price(&card, "2026-04-04T15:45:00Z"), Some(3_000_000_000), "02:45 AEDT");
    assert_eq!(price(&card, "2026-04-04T16:00:00Z"), Some(4_000_000_000), "02:00 AEST");
    assert_eq!(price(&card, "2026-04-04T17:00:00Z"), Some(8_000_000_000), "03:00 AEST");
}

#[test]
fn every_fault_of_a_file_is_named_with_its_line() {
    let sheet = "start,price_per_kwh\n2026-01-01T00:00Z,one\n2026-01-01T01:07Z,1\nyesterday,1\n2026-01-01T03:00,1\n2026-01-01T04:00Z,1\n2026-01-01T04:00Z,2\n";
    let faults = read("series = \"a.csv\"", sheet).expect_err("rubbish");
    let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 7], "{faults:?}");
    assert!(faults[3].problem.contains("timezone"), "a local time needs a zone: {}", faults[3]);
    assert!(faults.iter().all(|fault| fault.file.as_deref() == Some("a.csv")));
    for (sheet, word) in [
        ("at,price_per_kwh\n", "start"),
        ("start,price\n2026-01-01T00:00Z,1\n", "price_per_mwh"),
        ("start,price_per_kwh\n", "no rows"),
        ("start,price_per_kwh\n2026-01-01T00:00Z,1\n2026-01-01T02:00Z,1\n", "120 min"),
        (
            "start,price_per_kwh\n2026-01-01T00:00Z,1\n2026-01-01T00:30Z,1\n2026-01-01T00:45Z,1\n",
            "from 2026-01-01T00:15:00Z",
        ),
        ("", "start"),
    ] {
        let faults = read("series = \"a.csv\"", sheet).expect_err(sheet);
        assert!(faults[0].to_string().contains(word), "{sheet}: {}", faults[0]);
    }
    let faults = read("series = \"b.csv\"", "").expect_err("no file");
    assert_eq!((faults[0].line, &*faults[0].key, &*faults[0].problem), (3, "series", "there is no such file"));
}

#[test]
fn carbon_may_be_a_series_too() {
    let sheet = "start,carbon_g_per_kwh\n2026-01-01T00:00Z,55.5\n2026-01-01T01:00Z,400\n";
    let card = read("price_per_kwh = \"1\"\ncarbon_series = \"a.csv\"", sheet).expect("a card");
    let carbon = |at| card.tariff_at(&Labels::new(), slot(at)).and_then(|tariff| tariff.carbon_milligrams);
    assert_eq!(carbon("2026-01-01T00:30:00Z"), Some(55_500));
    assert_eq!(carbon("2026-01-01T01:30:00Z"), Some(400_000));
    assert_eq!(carbon("2026-01-01T02:00:00Z"), None, "unknown, not zero");
}
