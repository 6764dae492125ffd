//! Figures as people read them: three digits that matter, a unit that fits, grouped thousands.

/// Separates thousands; does not break lines.
const NARROW_SPACE: char = '\u{202f}';

/// A figure and its unit, set apart so that the page can give them different sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The number.
    pub number: String,
    /// The unit.
    pub unit: &'static str,
}

/// Power: `412 W`, `12.3 kW`.
#[must_use]
pub fn power(watts: f64) -> Figure {
    scaled(watts, &[("W", 1.0), ("kW", 1e3), ("MW", 1e6), ("GW", 1e9)])
}

/// Energy: `950 Wh`, `12.3 kWh`.
#[must_use]
pub fn energy(kwh: f64) -> Figure {
    scaled(kwh, &[("Wh", 1e-3), ("kWh", 1.0), ("MWh", 1e3), ("GWh", 1e6)])
}

/// Energy of a row; nothing where nothing was read or estimated: that is not zero.
#[must_use]
pub fn used(row: &cost::Row) -> Option<Figure> {
    let quality = &row.quality;
    let is_known = row.energy_uj != 0 || quality.covered_seconds + quality.ratio_seconds > 0.0;
    is_known.then(|| energy(row.energy_kwh))
}

/// Mass: `950 g`, `12.3 kg`, `1.20 t`.
#[must_use]
pub fn mass(grams: f64) -> Figure {
    scaled(grams, &[("g", 1.0), ("kg", 1e3), ("t", 1e6), ("kt", 1e9)])
}

/// A share: `99.8 %`. What is not quite all never reads 100 %, and not quite nothing never 0 %.
#[must_use]
pub fn percent(part: f64, whole: f64) -> String {
    if whole <= 0.0 {
        return "–".into();
    }
    let share = 100.0 * part / whole;
    let tenths = (share * 10.0).round() / 10.0;
    // Sums of the same figures in another order differ by a hair.
    let is_all = share > 100.0 - 1e-9;
    let text = if !is_all && tenths >= 100.0 {
        ">99.9".into()
    } else if share > 0.0 && tenths <= 0.0 {
        "<0.1".into()
    } else if tenths.fract() == 0.0 {
        format!("{tenths:.0}")
    } else {
        format!("{tenths:.1}")
    };
    format!("{text}{NARROW_SPACE}%")
}

/// A whole number with grouped thousands.
#[must_use]
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// A decimal number with its whole part grouped: `12 345.60`.
#[must_use]
pub fn grouped(decimal: &str) -> String {
    let (sign, digits) = decimal.strip_prefix('-').map_or(("", decimal), |rest| ("−", rest));
    let (whole, rest) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && whole.len() > 4 {
            out.push(NARROW_SPACE);
        }
        out.push(digit);
    }
    if let Some(rest) = rest {
        out.push('.');
        out.push_str(rest);
    }
    out
}

/// How long ago: `12 s`, `5 min`, `3 h`, `12 d`.
#[must_use]
pub fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}{NARROW_SPACE}s"),
        120..7_200 => format!("{}{NARROW_SPACE}min", seconds / 60),
        7_200..172_800 => format!("{}{NARROW_SPACE}h", seconds / 3_600),
        _ => format!("{}{NARROW_SPACE}d", seconds / 86_400),
    }
}

fn scaled(value: f64, units: &[(&'static str, f64)]) -> Figure {
    // 999.6 W is 1.00 kW: the unit is chosen by the rounded figure.
    let fits = |(_, size): &&(&str, f64)| value.abs() / size >= 0.9995;
    let (unit, size) = units.iter().rev().find(fits).or(units.first()).copied().unwrap_or(("", 1.0));
    let value = value / size;
    let digits = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    Figure { number: grouped(&format!("{:.digits$}", value + 0.0)), unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_that_matter() {
        let read = |figure: Figure| format!("{} {}", figure.number, figure.unit);
        for (watts, text) in [
            (0.0, "0 W"),
            (0.5, "0.50 W"),
            (412.4, "412 W"),
            (999.4, "999 W"),
            (999.6, "1.00 kW"),
            (12_345.0, "12.3 kW"),
            (99_960.0, "100 kW"),
            (5_000_000.0, "5.00 MW"),
            (12_345_678_901_234.0, "12\u{202f}346 GW"),
        ] {
            assert_eq!(read(power(watts)), text);
        }
        assert_eq!(read(energy(0.0123)), "12.3 Wh");
        assert_eq!(read(energy(-1234.0)), "−1.23 MWh");
    }

    #[test]
    fn shares_never_round_to_all_or_nothing() {
        assert_eq!(percent(99.99, 100.0), ">99.9\u{202f}%");
        assert_eq!(percent(0.01, 100.0), "<0.1\u{202f}%");
        assert_eq!(percent(1.0, 1.0), "100\u{202f}%");
        assert_eq!(percent(0.1 + 0.2, 0.3 + f64::EPSILON), "100\u{202f}%");
        assert_eq!(percent(1.0, 3.0), "33.3\u{202f}%");
        assert_eq!(percent(0.0, 0.0), "–");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(count(1234), "1234");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped("-12345.60"), "−12\u{202f}345.60");
    }

    #[test]
    fn time_ago_is_in_the_unit_that_fits() {
        assert_eq!(
            [5, 119, 120, 7_199, 7_200, 172_799, 172_800].map(ago),
            ["5 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"].map(|text| text.replace(' ', "\u{202f}"))
        );
    }
}
