//! Figures as people read them.

use std::borrow::Cow;

use cost::money::apportion;
use meter::Utc;
use rust_decimal::Decimal;

/// Microjoules in a kWh.
const KWH_UJ: i128 = 3_600_000_000_000;

/// What stands where there is no figure.
pub(crate) const NOTHING: &str = "–";

/// Energies of rows and of their total in kWh, with decimals as the total's size asks for, such that
/// the printed rows add up to the printed total.
pub(crate) fn kwh(rows: &[i128], total: i128) -> (Vec<String>, String) {
    let decimals = match total.abs() / (KWH_UJ / 10) {
        10_000.. => 1,
        100.. => 2,
        1.. => 4,
        _ => 6,
    };
    kwh_to(decimals, rows, total)
}

/// Energies of rows and of their total in kWh with two decimals more: for those who compare meters.
pub(crate) fn fine_kwh(rows: &[i128], total: i128) -> (Vec<String>, String) {
    let decimals = match total.abs() / KWH_UJ {
        1_000_000.. => 1,
        1000.. => 3,
        1.. => 5,
        _ => 7,
    };
    kwh_to(decimals, rows, total)
}

fn kwh_to(decimals: u32, rows: &[i128], total: i128) -> (Vec<String>, String) {
    let unit = KWH_UJ / 10_i128.pow(decimals);
    let shares: Vec<_> = rows.iter().map(|uj| (uj.div_euclid(unit), uj.rem_euclid(unit))).collect();
    let total = (total + unit / 2).div_euclid(unit);
    let print = |units| grouped(Decimal::try_from_i128_with_scale(units, decimals).unwrap_or_default());
    (apportion(total, &shares).into_iter().map(print).collect(), print(total))
}

/// Shares of a total in percent with one decimal, adding up to 100.0; a dash where there is no total.
pub(crate) fn shares(rows: &[i128], total: i128) -> Vec<String> {
    if total <= 0 {
        return vec![NOTHING.to_owned(); rows.len()];
    }
    let shares: Vec<_> = rows.iter().map(|uj| ((uj * 1000).div_euclid(total), (uj * 1000).rem_euclid(total))).collect();
    apportion(1000, &shares).into_iter().map(|tenths| format!("{} %", Decimal::new(tenths as i64, 1))).collect()
}

/// A part of a whole in percent. Rounded away from the comfortable end: what is not quite all is
/// never printed as 100.0, and with `up` what is not quite nothing never as 0.0.
pub(crate) fn percent(part: f64, whole: f64, up: bool) -> String {
    if whole <= 0.0 {
        return NOTHING.to_owned();
    }
    let tenths = part / whole * 1000.0;
    // A hair of slack, so that a float a bit below a whole tenth is that tenth.
    let tenths = if up { (tenths - 1e-9).ceil() } else { (tenths + 1e-9).floor() };
    format!("{:.1} %", tenths / 10.0 + 0.0)
}

/// A decimal with its thousands separated by commas.
pub(crate) fn grouped(value: Decimal) -> String {
    let text = value.abs().to_string();
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::from(if value.is_sign_negative() && !value.is_zero() { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// An amount as it is printed everywhere; one of fewer than two digits that count has two, from what it was
/// before it was rounded.
pub(crate) fn amount(printed: Decimal, exact: Option<Decimal>) -> String {
    let is_small = printed.mantissa().abs() < 10;
    let fine = exact.filter(|exact| is_small && !exact.is_zero()).and_then(|exact| exact.round_sf(2));
    grouped(fine.unwrap_or(printed))
}

/// A span of time in its two largest units.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 59.5 {
        return format!("{seconds:.0} s");
    }
    let minutes = (seconds / 60.0).round() as i64;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{} d {hours} h", grouped(days.into())),
    }
}

/// A mass in grams, kilograms or tonnes.
pub(crate) fn mass(grams: f64) -> String {
    match grams.abs() {
        1e6.. => format!("{:.2} t", grams / 1e6),
        1e3.. => format!("{:.2} kg", grams / 1e3),
        _ => format!("{grams:.1} g"),
    }
}

/// An instant in a zone, as this strftime format says; in UTC where the zone is not known here.
pub(crate) fn instant(at: Utc, tz: &str, format: &str) -> String {
    let zone = cost::zone(tz).unwrap_or(jiff::tz::TimeZone::UTC);
    let at = jiff::Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or_default();
    at.to_zoned(zone).strftime(format).to_string()
}

/// Text without what a terminal would obey: the answer came over a network.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (value, text) in [
            ("0", "0"),
            ("999.50", "999.50"),
            ("1000", "1,000"),
            ("-1234567.8", "-1,234,567.8"),
            ("-0.00", "0.00"),
            ("100000.00", "100,000.00"),
        ] {
            assert_eq!(grouped(value.parse().expect(value)), text);
        }
    }

    #[test]
    fn a_small_amount_has_two_digits_that_count() {
        for (printed, exact, text) in [
            ("0.00", "0.004217000000", "0.0042"),
            ("0.00", "-0.000000317200", "-0.00000032"),
            ("0.04", "0.041600000000", "0.042"),
            ("0.10", "0.096400000000", "0.10"),
            ("0.12", "0.123400000000", "0.12"),
            ("1234.50", "1234.496000000000", "1,234.50"),
            ("4", "4.230000000000", "4.2"),
            ("0.00", "0.000000000000", "0.00"),
        ] {
            assert_eq!(amount(printed.parse().expect(printed), exact.parse().ok()), text, "{exact}");
        }
        assert_eq!(amount(Decimal::new(3, 2), None), "0.03", "an older aggregator");
    }

    #[test]
    fn printed_rows_add_up_to_the_printed_total() {
        // Three thirds of 100 kWh: 33.34 + 33.33 + 33.33.
        let third = 100 * KWH_UJ / 3;
        let (rows, total) = kwh(&[third + 1, third, third], 3 * third + 1);
        assert_eq!((rows.join(" ").as_str(), total.as_str()), ("33.34 33.33 33.33", "100.00"));
        assert_eq!(shares(&[third + 1, third, third], 3 * third + 1), ["33.4 %", "33.3 %", "33.3 %"]);
    }

    #[test]
    fn decimals_follow_the_size() {
        let one = |uj| kwh(&[], uj).1;
        assert_eq!(one(12_345_678 * KWH_UJ / 10), "1,234,567.8");
        assert_eq!(one(50 * KWH_UJ), "50.00");
        assert_eq!(one(KWH_UJ), "1.0000");
        assert_eq!(one(3_600_000), "0.000001");
        assert_eq!(one(0), "0.000000");
        assert_eq!(one(-KWH_UJ), "-1.0000");
    }

    #[test]
    fn percentages_never_flatter() {
        assert_eq!(percent(9999.0, 10_000.0, false), "99.9 %");
        assert_eq!(percent(1.0, 1.0, false), "100.0 %");
        assert_eq!(percent(0.0001, 10_000.0, true), "0.1 %");
        assert_eq!(percent(0.0, 1.0, true), "0.0 %");
        assert_eq!(percent(0.3, 1.0, true), "30.0 %");
        assert_eq!(percent(0.0, 0.0, false), NOTHING);
    }

    #[test]
    fn a_terminal_gets_no_orders_from_a_label() {
        assert_eq!(plain("\u{1b}[31mnlp\u{7}"), "\u{fffd}[31mnlp\u{fffd}");
        assert_eq!(plain("équipe"), "équipe");
    }

    #[test]
    fn spans_and_masses_read_well() {
        assert_eq!([duration(42.0), duration(3000.0), duration(19_200.0)], ["42 s", "50 min", "5 h 20 min"]);
        assert_eq!(duration(90_000_000.0), "1,041 d 16 h");
        assert_eq!([mass(12.34), mass(15_277.8), mass(2_500_000.0)], ["12.3 g", "15.28 kg", "2.50 t"]);
    }
}
