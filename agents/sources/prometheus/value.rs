//! Values of exporters as integers: exact decimals, in whatever unit they come.

use std::str::FromStr;

use meter::{Microjoules, Milliwatts, Refusal};
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

/// What a metric's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Power in W.
    Watts,
    /// Power in mW.
    Milliwatts,
    /// Power in µW.
    Microwatts,
    /// A counter in J.
    Joules,
    /// A counter in mJ.
    Millijoules,
    /// A counter in µJ.
    Microjoules,
    /// A counter in kWh.
    KilowattHours,
    /// Not a quantity: something that helps to understand others.
    Word,
}

/// A power or a counter, or why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Power.
    Power(Result<Milliwatts, Refusal>),
    /// A hardware energy counter.
    Counter(Result<Microjoules, Refusal>),
}

impl Unit {
    /// Reads a value's text. `Word` has none.
    pub(super) fn read(self, text: &str) -> Option<Value> {
        // What one unit is in mW or µJ.
        let (is_power, factor) = match self {
            Self::Watts => (true, Decimal::ONE_THOUSAND),
            Self::Milliwatts => (true, Decimal::ONE),
            Self::Microwatts => (true, Decimal::new(1, 3)),
            Self::Joules => (false, Decimal::from(1_000_000)),
            Self::Millijoules => (false, Decimal::ONE_THOUSAND),
            Self::Microjoules => (false, Decimal::ONE),
            Self::KilowattHours => (false, Decimal::from(3_600_000_000_000_u64)),
            Self::Word => return None,
        };
        Some(if is_power {
            let whole = whole(text, factor, Refusal::PowerNotFinite, Refusal::PowerNegative, is_no_power);
            Value::Power(whole.map(Milliwatts))
        } else {
            let whole = whole(text, factor, Refusal::CounterNotFinite, Refusal::CounterNegative, is_no_counter);
            Value::Counter(whole.map(Microjoules))
        })
    }
}

impl Value {
    /// Why it is none, if so.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Power(power) => power.err(),
            Self::Counter(counter) => counter.err(),
        }
    }

    /// The sum of two values of one kind; a part that is none makes the sum none.
    pub(super) fn plus(self, other: Self) -> Self {
        let sum = |a: u64, b: u64, junk| a.checked_add(b).ok_or(junk);
        match (self, other) {
            (Self::Power(Ok(a)), Self::Power(Ok(b))) => {
                Self::Power(sum(a.0, b.0, Refusal::PowerNotFinite).map(Milliwatts))
            }
            (Self::Counter(Ok(a)), Self::Counter(Ok(b))) => {
                Self::Counter(sum(a.0, b.0, Refusal::CounterNotFinite).map(Microjoules))
            }
            (one, _) if one.refusal().is_some() => one,
            (_, other) => other,
        }
    }
}

fn whole(
    text: &str,
    factor: Decimal,
    junk: Refusal,
    negative: Refusal,
    is_none: fn(Decimal) -> bool,
) -> Result<u64, Refusal> {
    let value = Decimal::from_str(text).or_else(|_| Decimal::from_scientific(text)).map_err(|_| junk)?;
    if value.is_sign_negative() && !value.is_zero() {
        return Err(negative);
    }
    if is_none(value) {
        return Err(Refusal::Sentinel);
    }
    let scaled = value.checked_mul(factor).ok_or(junk)?;
    scaled.round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven).to_u64().ok_or(junk)
}

/// Whether a number is a mark for "no value", whatever its unit: DCGM's 64-bit blanks (`0x7fffffffffffffF0`
/// and the 15 above it, one for each reason), registers full of ones, and what both become when an exporter
/// passes them through a 64-bit float.
fn is_no_counter(value: Decimal) -> bool {
    const BLANKS: std::ops::RangeInclusive<u64> = 0x7fff_ffff_ffff_fff0..=0x7fff_ffff_ffff_ffff;
    const FLOATS: [u64; 3] = [9_223_372_036_854_775_808, 9_223_372_036_854_776_000, u64::MAX];
    value.to_u64().is_some_and(|value| BLANKS.contains(&value) || FLOATS.contains(&value))
        || value == Decimal::from(18_446_744_073_709_552_000_u128)
}

/// As [`is_no_counter`], and marks that a counter may well pass: all ones in 32 bits (as W, mW or µW, and
/// what hwmon prints of them), DCGM's blanks of 32-bit and of floating-point fields (2^31 − 16 and up, 2^47
/// and up).
fn is_no_power(value: Decimal) -> bool {
    const BLANKS_32: std::ops::RangeInclusive<u64> = 0x7fff_fff0..=0x7fff_ffff;
    const BLANKS_FLOAT: std::ops::RangeInclusive<u64> = 1 << 47..=(1 << 47) + 15;
    let ones = [0, 3, 6].map(|places| Decimal::new(i64::from(u32::MAX), places));
    let marked = |value: u64| BLANKS_32.contains(&value) || BLANKS_FLOAT.contains(&value);
    is_no_counter(value)
        || ones.contains(&value)
        || value == Decimal::from(4_294_967_295_000_u64)
        || value.to_u64().is_some_and(marked) && value.is_integer()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power(unit: Unit, text: &str) -> Result<u64, Refusal> {
        let Some(Value::Power(power)) = unit.read(text) else { panic!("{text} is a power") };
        power.map(|power| power.0)
    }

    fn counter(unit: Unit, text: &str) -> Result<u64, Refusal> {
        let Some(Value::Counter(counter)) = unit.read(text) else { panic!("{text} is a counter") };
        counter.map(|counter| counter.0)
    }

    #[test]
    fn every_unit_becomes_milliwatts_or_microjoules_exactly() {
        for (unit, text, mw) in [
            (Unit::Watts, "572.694", 572_694),
            (Unit::Watts, "68.244000", 68_244),
            (Unit::Watts, "1.2e+03", 1_200_000),
            (Unit::Watts, "+41", 41_000),
            (Unit::Watts, "0", 0),
            (Unit::Watts, "-0", 0),
            (Unit::Milliwatts, "13240", 13_240),
            (Unit::Microwatts, "1.23456789e+08", 123_457),
            (Unit::Microwatts, "500", 0),
            (Unit::Microwatts, "1500", 2),
        ] {
            assert_eq!(power(unit, text), Ok(mw), "{unit:?} {text}");
        }
        for (unit, text, uj) in [
            (Unit::Joules, "240422.366267", 240_422_366_267),
            (Unit::Joules, "7242.184", 7_242_184_000),
            (Unit::Joules, "9007199254.740993", 9_007_199_254_740_993),
            (Unit::Millijoules, "15152422938", 15_152_422_938_000),
            (Unit::Millijoules, "1.5152422938e+10", 15_152_422_938_000),
            (Unit::Microjoules, "1.4e17", 140_000_000_000_000_000),
            (Unit::KilowattHours, "1.5", 5_400_000_000_000),
            (Unit::Millijoules, "2147483632", 2_147_483_632_000),
        ] {
            assert_eq!(counter(unit, text), Ok(uj), "{unit:?} {text}");
        }
        assert_eq!(Unit::Word.read("1"), None);
    }

    #[test]
    fn what_is_no_value_is_refused_by_its_reason() {
        for text in ["NaN", "+Inf", "-Inf", "inf", "{{POWER_0}}", "[N/A]", "N/A", "null", "0x10", "1,5", "1e400", ""] {
            assert_eq!(power(Unit::Watts, text), Err(Refusal::PowerNotFinite), "{text}");
            assert_eq!(counter(Unit::Joules, text), Err(Refusal::CounterNotFinite), "{text}");
        }
        assert_eq!(power(Unit::Watts, "-1"), Err(Refusal::PowerNegative));
        assert_eq!(counter(Unit::Millijoules, "-1"), Err(Refusal::CounterNegative));
        for text in ["9223372036854775794", "9.223372036854776e+18", "18446744073709551615", "1.8446744073709552e+19"] {
            assert_eq!(power(Unit::Watts, text), Err(Refusal::Sentinel), "{text}");
            assert_eq!(counter(Unit::Millijoules, text), Err(Refusal::Sentinel), "{text}");
        }
        for text in ["4294967295", "4294967.295", "4294.967295", "2147483632", "140737488355328", "140737488355330.0"] {
            assert_eq!(power(Unit::Watts, text), Err(Refusal::Sentinel), "{text}");
        }
    }

    #[test]
    fn a_sum_with_a_part_that_is_none_is_none() {
        let of = |text| Unit::Joules.read(text).expect("a counter");
        assert_eq!(of("1").plus(of("2.5")), of("3.5"));
        assert_eq!(of("1").plus(of("NaN")), of("NaN"));
        assert_eq!(of("NaN").plus(of("1")), of("NaN"));
        assert_eq!(of("18000000000000").plus(of("18000000000000")), of("NaN"), "out of range");
    }
}
