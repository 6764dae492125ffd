//! Levels compared slot by slot, against figures worked out by hand.

#![expect(clippy::expect_used, reason = "tests")]

use std::str::FromStr;

use cost::reconcile::{Invoice, Level, Ours, Place, Verdict, common, energy_of, ratio};
use meter::{ByQuality, Quality, SLOT_NS, Slot};
use rust_decimal::Decimal;

const SLOT: u64 = SLOT_NS as u64;

fn level(members: u64, slots: &[(i32, i128, u64)]) -> Level {
    let mut level = Level::default();
    for &(slot, uj, covered_ns) in slots {
        level.add(Slot(slot), ByQuality::of(Quality::Integrated, energy_of(uj)), covered_ns);
    }
    level.count_members(Slot(0)..Slot(10), members);
    level
}

fn decimal(text: &str) -> Decimal {
    Decimal::from_str(text).expect("a decimal")
}

#[test]
fn a_slot_counts_where_both_saw_the_same_time() {
    let outer = level(1, &[(0, 110, SLOT), (1, 110, SLOT), (2, 110, SLOT / 2), (3, 7, SLOT)]);
    // Two members: covered time is compared per member. Slot 1: one of them is missing.
    let inner = level(2, &[(0, 100, 2 * SLOT), (1, 50, SLOT), (2, 100, SLOT), (4, 9, 2 * SLOT)]);
    let both = common(&outer, &inner, decimal("0.02"));
    assert_eq!((both.slots.as_slice(), both.partial), (&[Slot(0), Slot(2)][..], 1));
    let step = both.step((Place::Pdu, Place::Chassis), Decimal::ONE, decimal("0.1"));
    assert_eq!((step.upper_uj, step.lower_uj, step.difference_uj, step.left_out.slots), (220, 200, 20, 3));
    assert_eq!((step.ratio, step.verdict), (Some(decimal("1.1")), Verdict::Within));
    let strict = both.step((Place::Pdu, Place::Chassis), Decimal::ONE, decimal("0.09"));
    assert_eq!(strict.verdict, Verdict::Beyond);
}

#[test]
fn ten_seconds_are_no_difference_and_more_is_one_unless_the_tolerance_says_so() {
    let outer = level(1, &[(0, 100, SLOT)]);
    let short = |seconds: u64| level(1, &[(0, 100, SLOT - seconds * 1_000_000_000)]);
    let compared = |seconds, tolerance| common(&outer, &short(seconds), decimal(tolerance)).slots.len();
    assert_eq!([compared(10, "0"), compared(11, "0")], [1, 0]);
    // 5 % of 900 s are 45 s; a tenth of a slot is the most.
    assert_eq!([compared(45, "0.05"), compared(46, "0.05")], [1, 0]);
    assert_eq!([compared(90, "0.9"), compared(91, "0.9")], [1, 0]);
}

#[test]
fn levels_that_never_met_are_not_compared() {
    let both = common(&level(1, &[(0, 100, SLOT)]), &level(1, &[(1, 100, SLOT)]), decimal("0.5"));
    let step = both.step((Place::Facility, Place::Pdu), Decimal::ONE, decimal("0.5"));
    assert_eq!((step.verdict, step.upper_uj, step.left_out.slots), (Verdict::Unknown, 0, 2));
}

#[test]
fn a_facility_is_judged_by_the_pue_that_is_billed() {
    let both = common(&level(1, &[(0, 1_500_000, SLOT)]), &level(1, &[(0, 1_000_000, SLOT)]), decimal("0.02"));
    let judged = |pue: &str| both.step((Place::Facility, Place::Chassis), decimal(pue), decimal("0.02"));
    let verdicts = ["1.5", "1.48", "1.45", "1"].map(|pue| judged(pue).verdict);
    assert_eq!(verdicts, [Verdict::Within, Verdict::Within, Verdict::Beyond, Verdict::Beyond]);
    assert_eq!(judged("1.5").expected_uj, 1_500_000);
}

#[test]
fn an_invoice_is_read_strictly() {
    let invoice: Invoice = "kwh=12.5, amount=3.40,currency=EUR".parse().expect("an invoice");
    assert_eq!((invoice.kwh, invoice.amount), (Some(decimal("12.5")), Some(decimal("3.40"))));
    for bad in
        ["", "currency=EUR", "kwh", "kwh=x", "kwh=1,currency=euro", "watts=3", "kwh=1e99", "kwh=1,kwh=2", "kwh=-1"]
    {
        assert!(bad.parse::<Invoice>().is_err(), "{bad}");
    }
}

#[test]
fn an_invoice_beside_a_facility() {
    // 10 kWh at the meter for 2.00 EUR; the supplier bills 10.3 kWh and 2.00 EUR.
    let eur = cost::Currency::new("EUR").expect("a code");
    let ours =
        Ours { basis: Place::Facility, energy_uj: 36_000_000_000_000, coverage: 1.0, costs: vec![(eur, decimal("2"))] };
    let check = "kwh=10.3,amount=2.00".parse::<Invoice>().expect("an invoice").check(&ours, decimal("0.02"));
    let check = check.expect("one currency");
    let kwh = check.kwh.clone().expect("compared");
    assert_eq!((kwh.difference, kwh.ratio, kwh.verdict), (decimal("0.3"), Some(decimal("1.03")), Verdict::Beyond));
    assert_eq!(check.amount.as_ref().map(|amount| amount.verdict), Some(Verdict::Within));
    assert_eq!((check.verdict(), check.complete), (Verdict::Beyond, true));
    let usd = cost::Currency::new("USD").expect("a code");
    let several = Ours { costs: vec![(eur, decimal("2")), (usd, decimal("1"))], ..ours };
    let named: Invoice = "amount=2".parse().expect("an invoice");
    assert!(named.check(&several, decimal("0.02")).expect_err("which one?").contains("EUR, USD"));
}

#[test]
fn ratios_are_exact_to_a_millionth() {
    assert_eq!(ratio(20_989_613_914_000, 20_560_072_005_000), Some(decimal("1.020892")));
    assert_eq!(
        [ratio(1, 3), ratio(-1, 3), ratio(0, 5)],
        ["0.333333", "-0.333333", "0"].map(|text| Some(decimal(text)))
    );
    assert_eq!(ratio(1, 0), None);
    // A large fleet's decade: no overflow.
    assert_eq!(ratio(i128::from(u64::MAX) * 1_000_000, i128::from(u64::MAX) * 1_000_000), Some(Decimal::ONE));
}
