//! Sums of energy times price, exact, added without a division.

use std::ops::{Add, Sub};

use meter::Energy;

use super::{Amount, KWH};

/// A sum of products of ½ pJ and billionths per kWh: `high · 2⁶⁴ + low`.
///
/// A product of one energy and one price need not fit 128 bits, and [`Amount::of`] divides several times;
/// hourly prices need a product for each hour and host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wide {
    high: i128,
    low: u64,
}

impl Wide {
    /// Adds `energy` at `price_nano`.
    pub(crate) const fn add_product(&mut self, energy: Energy, price_nano: i64) {
        let price = price_nano as i128;
        let low = (energy.0 & u64::MAX as i128) * price + self.low as i128;
        self.high += (energy.0 >> 64) * price + (low >> 64);
        self.low = (low & u64::MAX as i128) as u64;
    }

    /// The sum as money, times `factor_micro` millionths, from zero up to a million.
    pub(crate) const fn amount(self, factor_micro: i64) -> Amount {
        let factor = factor_micro as i128;
        // A remainder of KWH has 63 bits, so that it fits with 64 more.
        let (above, rest) = (self.high.div_euclid(KWH), self.high.rem_euclid(KWH));
        let rest = (rest << 64) | self.low as i128;
        let whole = (above << 64) + rest / KWH;
        let fine = (rest % KWH) * factor;
        Amount { femto: whole * factor + fine / KWH, rest: fine % KWH }
    }
}

impl Wide {
    /// `part / whole` of it, rounded down, where `part` is at most `whole` and that at most 2⁶².
    pub(crate) const fn portion(self, part: i128, whole: i128) -> Self {
        let (above, rest) = (self.high.div_euclid(whole), self.high.rem_euclid(whole));
        let rest = (rest << 64) | self.low as i128;
        let low = rest / whole * part + rest % whole * part / whole;
        Self { high: above * part + (low >> 64), low: (low & u64::MAX as i128) as u64 }
    }
}

impl Add for Wide {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        Self { high: self.high + other.high + i128::from(carry), low }
    }
}

impl Sub for Wide {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        Self { high: self.high - other.high - i128::from(borrow), low }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::MICRO;
    use super::*;

    proptest! {
        #[test]
        fn a_sum_is_that_of_the_amounts(
            parts in prop::collection::vec((-KWH * 900..KWH * 9_000_000, -1_000_000_000_000_i64..1_000_000_000_000), 0..40),
            factor in 0..10 * MICRO,
        ) {
            let mut sum = Wide::default();
            let mut amounts = Amount::default();
            for (energy, price) in parts {
                sum.add_product(Energy(energy), price);
                amounts += Amount::of(Energy(energy), price, factor);
            }
            prop_assert_eq!(sum.amount(factor), amounts);
        }

        #[test]
        fn portions_add_up(energy in -KWH * 9_000..KWH * 9_000_000, price in -1_000_000_000_000_i64..1_000_000_000_000,
                           weights in prop::collection::vec(0..1_i128 << 55, 1..20)) {
            let mut all = Wide::default();
            all.add_product(Energy(energy), price);
            let whole = weights.iter().sum::<i128>().max(1);
            let (mut before, mut sum) = (0, Wide::default());
            for weight in weights {
                let share = all.portion(before + weight, whole) - all.portion(before, whole);
                let exact = energy as f64 * price as f64 * weight as f64 / whole as f64;
                let told = share.high as f64 * 2_f64.powi(64) + share.low as f64;
                prop_assert!((told - exact).abs() <= 1e-9 * exact.abs() + 2.0, "{} {}", told, exact);
                (before, sum) = (before + weight, sum + share);
            }
            prop_assert!(before == 0 || sum == all);
        }
    }
}
