//! Power and energy as integers, and the one place where decimal text becomes one.

use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use rust_decimal::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Refusal;

/// Electrical power in milliwatts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Milliwatts(pub u64);

/// A hardware counter's value in microjoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Microjoules(pub u64);

/// Half picojoules in a microjoule.
pub const MICROJOULE: i128 = 2_000_000;

/// An amount of energy in half picojoules.
///
/// `(w1 + w2) · dt` with milliwatts and nanoseconds is exactly twice the trapezoid's area in
/// picojoules (1 mW · 1 ns = 1 pJ), so nothing is ever rounded in storage. Signed, because what a
/// meter saw less what its components explain may be negative; registers only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Energy(pub i128);

impl Milliwatts {
    /// Reads decimal text in watts (`412.5`, `1.2e3`), rounded half-even to a milliwatt.
    ///
    /// # Errors
    /// The [`Refusal`] that says why such text is no power: not a number, not finite, negative.
    pub fn from_watts_text(text: &str) -> Result<Self, Refusal> {
        scaled(text, 3, Refusal::PowerNotFinite, Refusal::PowerNegative).map(Self)
    }

    /// The power in watts, for people.
    #[must_use]
    pub fn watts(self) -> Decimal {
        Decimal::from(self.0) / Decimal::ONE_THOUSAND
    }
}

impl Microjoules {
    /// Reads decimal text in joules, rounded half-even to a microjoule.
    ///
    /// # Errors
    /// The [`Refusal`] that says why such text is no counter value.
    pub fn from_joules_text(text: &str) -> Result<Self, Refusal> {
        scaled(text, 6, Refusal::CounterNotFinite, Refusal::CounterNegative).map(Self)
    }
}

/// Decimal text times 10^`places` as a whole number: exact where an `f64` would not be.
fn scaled(text: &str, places: u32, junk: Refusal, negative: Refusal) -> Result<u64, Refusal> {
    let text = text.trim();
    let value = Decimal::from_str(text).or_else(|_| Decimal::from_scientific(text)).map_err(|_| junk)?;
    if value.is_sign_negative() && !value.is_zero() {
        return Err(negative);
    }
    let scale = Decimal::from(10_u64.pow(places));
    if is_sentinel(value) {
        return Err(Refusal::Sentinel);
    }
    let whole = value.checked_mul(scale).ok_or(junk)?.round();
    whole.to_u64().ok_or(junk)
}

/// Whether a number is a "no value" mark rather than a value: DCGM's blanks end at 2^63 - 1,
/// registers full of ones are 2^64 - 1 and 2^32 - 1, the latter also read as milli- or micro-units
/// (Linux hwmon prints 4294967295000 µW).
fn is_sentinel(value: Decimal) -> bool {
    let blanks = Decimal::from(i64::MAX - 31)..=Decimal::from(i64::MAX);
    let ones = Decimal::from(u32::MAX);
    blanks.contains(&value)
        || value == Decimal::from(u64::MAX)
        || [0, 3].iter().any(|&scale| value == ones / Decimal::from(10_u32.pow(scale)))
}

impl Energy {
    /// No energy.
    pub const ZERO: Self = Self(0);

    /// A whole number of microjoules.
    #[must_use]
    pub const fn from_microjoules(uj: u64) -> Self {
        Self(uj as i128 * MICROJOULE)
    }

    /// Whole microjoules, rounded down: a printed figure never exceeds what was measured.
    #[must_use]
    pub const fn microjoules(self) -> i128 {
        self.0.div_euclid(MICROJOULE)
    }

    /// Joules as a float, for people and gauges only: nothing may be computed from it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "presentation only")]
    pub fn joules(self) -> f64 {
        self.microjoules() as f64 / 1e6
    }

    /// Kilowatt hours as a float, for people only.
    #[must_use]
    pub fn kwh(self) -> f64 {
        self.joules() / 3.6e6
    }

    /// The area of a trapezoid: the sum of two powers in milliwatts, over `ns` nanoseconds.
    #[must_use]
    pub const fn of_power_sum(mw: u64, ns: u64) -> Self {
        // 2^127 half picojoules are 8.5e25 J, hundreds of thousands of years of the world's electricity:
        // nothing that passed a ceiling reaches the sign bit.
        Self((mw as u128 * ns as u128) as i128)
    }

    /// The energy of constant power `mw` over `ns` nanoseconds.
    #[must_use]
    pub const fn of_constant(mw: Milliwatts, ns: u64) -> Self {
        Self::of_power_sum(2 * mw.0, ns)
    }
}

impl Add for Energy {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Energy {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Energy {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl AddAssign for Energy {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl SubAssign for Energy {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl std::iter::Sum for Energy {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        Self(parts.map(|e| e.0).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_becomes_exact_integers() {
        for (text, mw) in [
            ("412.5", 412_500),
            ("2382.900000", 2_382_900),
            ("0", 0),
            ("-0.0", 0),
            ("1e3", 1_000_000),
            (" 0.0005 ", 0),
            ("0.0015", 2),
            ("9e-1", 900),
        ] {
            assert_eq!(Milliwatts::from_watts_text(text), Ok(Milliwatts(mw)), "{text}");
        }
        // 2^53 µJ + 1: an f64 could not hold it.
        assert_eq!(Microjoules::from_joules_text("9007199254.740993"), Ok(Microjoules(9_007_199_254_740_993)));
    }

    #[test]
    fn what_is_no_number_is_refused_and_never_zero() {
        for text in ["", "NaN", "inf", "-inf", "[N/A]", "1e400", "0x10", "1,5", "99999999999999999999999999999999"] {
            assert_eq!(Milliwatts::from_watts_text(text), Err(Refusal::PowerNotFinite), "{text:?}");
        }
        assert_eq!(Milliwatts::from_watts_text("-1"), Err(Refusal::PowerNegative));
        for text in ["9223372036854775794", "9223372036854775807", "18446744073709551615", "4294967295", "4294967.295"]
        {
            assert_eq!(Milliwatts::from_watts_text(text), Err(Refusal::Sentinel), "{text:?}");
        }
        assert_eq!(Microjoules::from_joules_text("-0.1"), Err(Refusal::CounterNegative));
    }

    #[test]
    fn microjoules_round_down_also_below_zero() {
        assert_eq!(Energy(2_999_999).microjoules(), 1);
        assert_eq!(Energy(-1).microjoules(), -1);
        assert_eq!(Energy::of_constant(Milliwatts(1000), 1_000_000_000).joules(), 1.0);
    }
}
