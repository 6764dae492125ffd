//! Exact amounts, and the one rounding when a figure is printed.
//!
//! Energy is a whole number of ½ pJ, a price of billionths per kWh, a factor (PUE) of millionths, so
//! a cost is a whole number of 10⁻¹⁵ of the currency plus a fraction whose denominator is the ½ pJ of
//! one kWh. Both parts are kept, and sums carry from one to the other: nothing is rounded until
//! [`Amount::rounded`] and [`apportion`].

use std::ops::{Add, AddAssign, Neg};

mod wide;

use meter::Energy;

pub(crate) use wide::Wide;

/// Half picojoules in a kilowatt hour.
pub const KWH: i128 = 7_200_000_000_000_000_000;

/// Billionths: the grain of prices.
pub const NANO: i64 = 1_000_000_000;

/// Millionths: the grain of factors.
pub const MICRO: i64 = 1_000_000;

/// An exact amount of money. Holds up to 10²³ units of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    /// Whole 10⁻¹⁵ of the currency, rounded down.
    femto: i128,
    /// What is above that, in `KWH`-ths of 10⁻¹⁵: from zero up to `KWH`.
    rest: i128,
}

/// A part of a printed total before rounding: its floor in printed units, and how far above it is.
pub type Share = (i128, Amount);

impl Amount {
    /// `energy` at `price_nano` billionths per kWh, times `factor_micro` millionths.
    #[must_use]
    pub const fn of(energy: Energy, price_nano: i64, factor_micro: i64) -> Self {
        let (price, factor) = (price_nano as i128, factor_micro as i128);
        // Whole kWh and the rest apart: one product would not fit 128 bits for a large fleet's year.
        let (whole, part) = (energy.0.div_euclid(KWH), energy.0.rem_euclid(KWH));
        let part = part * price;
        let fine = part.rem_euclid(KWH) * factor;
        Self {
            femto: whole * price * factor + part.div_euclid(KWH) * factor + fine.div_euclid(KWH),
            rest: fine.rem_euclid(KWH),
        }
    }

    /// Whole 10⁻¹⁵ of the currency, rounded down, and the [`KWH`]-ths of one above them: for keeping.
    #[must_use]
    pub const fn into_parts(self) -> (i128, i128) {
        (self.femto, self.rest)
    }

    /// The amount of [`Amount::into_parts`]; nothing if the second is not between zero and [`KWH`].
    #[must_use]
    pub fn from_parts(femto: i128, rest: i128) -> Option<Self> {
        (0..KWH).contains(&rest).then_some(Self { femto, rest })
    }

    /// The amount for people; no more than 15 digits are right.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "presentation only")]
    pub fn to_f64(self) -> f64 {
        self.femto as f64 / 1e15
    }

    /// The amount in whole units of 10^-`digits`, rounded down, and what is above that.
    #[must_use]
    pub const fn floor(self, digits: u32) -> Share {
        let unit = 10_i128.pow(15 - digits);
        (self.femto.div_euclid(unit), Self { femto: self.femto.rem_euclid(unit), rest: self.rest })
    }

    /// The amount in whole units of 10^-`digits`, rounded half to even.
    #[must_use]
    pub fn rounded(self, digits: u32) -> i128 {
        let (floor, above) = self.floor(digits);
        let half = Self { femto: 10_i128.pow(15 - digits) / 2, rest: 0 };
        match above.cmp(&half) {
            std::cmp::Ordering::Less => floor,
            std::cmp::Ordering::Equal => floor + floor.rem_euclid(2),
            std::cmp::Ordering::Greater => floor + 1,
        }
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let rest = self.rest + other.rest;
        let carry = i128::from(rest >= KWH);
        Self { femto: self.femto + other.femto + carry, rest: rest - carry * KWH }
    }
}

impl Neg for Amount {
    type Output = Self;
    fn neg(self) -> Self {
        let borrow = i128::from(self.rest > 0);
        Self { femto: -self.femto - borrow, rest: borrow * KWH - self.rest }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// Printed parts that add up to the printed `total`: each the floor of its share, and one more for
/// as many as are missing, those with the largest remainder first; among equals the earlier first.
///
/// With `total` between the floor and the ceiling of the exact sum, each part is within one unit of
/// its exact value.
#[must_use]
pub fn apportion<R: Ord>(total: i128, shares: &[(i128, R)]) -> Vec<i128> {
    let mut parts: Vec<i128> = shares.iter().map(|share| share.0).collect();
    let missing = total - parts.iter().sum::<i128>();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].1.cmp(&shares[a].1));
    // More rounds than one only if the total is further off than rounding can explain.
    let rounds = i128::try_from(shares.len()).unwrap_or(i128::MAX).max(1);
    for (rank, &index) in order.iter().enumerate() {
        let rank = rank as i128;
        parts[index] += missing.div_euclid(rounds) + i128::from(rank < missing.rem_euclid(rounds));
    }
    parts
}

/// A table of printed parts: each row adds up to its printed amount (`rows`), each column to its
/// printed total (`columns`), where both sets of sums agree. `shares[column][row]` are the exact values.
///
/// Column by column by largest remainder; the last column is what each row then lacks. No cell
/// changes sign for the sake of rounding as long as another can give way.
#[must_use]
pub fn apportion_table(rows: &[i128], columns: &[i128], shares: &[Vec<Share>]) -> Vec<Vec<i128>> {
    let mut left = rows.to_vec();
    let mut table = Vec::with_capacity(columns.len());
    for (column, total) in shares.iter().zip(columns).take(columns.len().saturating_sub(1)) {
        let mut cells: Vec<i128> = column
            .iter()
            .zip(&left)
            .map(|(share, &left)| if left >= 0 { share.0.min(left) } else { share.0 })
            .collect();
        let mut order: Vec<usize> = (0..cells.len()).collect();
        order.sort_by(|&a, &b| column[b].1.cmp(&column[a].1));
        let mut missing = total - cells.iter().sum::<i128>();
        while missing > 0 {
            let before = missing;
            for &row in &order {
                if missing > 0 && cells[row] < left[row] {
                    cells[row] += 1;
                    missing -= 1;
                }
            }
            if missing == before {
                break;
            }
        }
        // Rows that owe nothing could not take it: the largest remainders must.
        for &row in order.iter().cycle().take(usize::try_from(missing).unwrap_or(0)) {
            cells[row] += 1;
        }
        for (left, cell) in left.iter_mut().zip(&cells) {
            *left -= cell;
        }
        table.push(cells);
    }
    table.push(left);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilowatt_hour_costs_its_price() {
        // 277.777… kWh = 10⁹ J at 0.22, and at 0.22 with a PUE of 1.2: 61.111… and 73.333….
        let energy = Energy::from_microjoules(1_000_000_000_000_000);
        assert_eq!(Amount::of(Energy(KWH), 220_000_000, MICRO).rounded(9), 220_000_000);
        assert_eq!(Amount::of(energy, 220_000_000, MICRO).rounded(6), 61_111_111);
        assert_eq!(Amount::of(energy, 220_000_000, 1_200_000).rounded(2), 7_333);
        assert_eq!(Amount::of(-energy, 220_000_000, MICRO).rounded(2), -6_111);
    }

    #[test]
    fn a_thousand_large_fleet_years_fit() {
        // 10¹² kWh at 3000 per kWh (dong) with the largest factor: 3·10¹⁶, exactly.
        let year = Energy(KWH * 1_000_000_000_000);
        assert_eq!(Amount::of(year, 3_000 * NANO, 10 * MICRO).rounded(0), 30_000_000_000_000_000);
    }

    #[test]
    fn a_sum_of_parts_is_the_whole_exactly() {
        let price = 123_456_789;
        let whole = Energy(KWH * 3 + 1);
        let parts: Amount = [Energy(1), Energy(KWH - 1), Energy(KWH + 7), Energy(KWH - 6)]
            .into_iter()
            .map(|energy| Amount::of(energy, price, 1_234_567))
            .sum();
        assert_eq!(parts, Amount::of(whole, price, 1_234_567));
    }

    #[test]
    fn an_amount_and_its_opposite_are_nothing_and_parts_read_back() {
        for energy in [Energy(1), Energy(KWH - 1), Energy(-3 * KWH), Energy(-7)] {
            let amount = Amount::of(energy, 123_456_789, 1_234_567);
            assert_eq!(amount + -amount, Amount::default());
            let (femto, rest) = amount.into_parts();
            assert_eq!(Amount::from_parts(femto, rest), Some(amount));
        }
        assert_eq!((Amount::from_parts(0, KWH), Amount::from_parts(0, -1)), (None, None));
    }

    #[test]
    fn halves_round_to_even() {
        let half = |cents: i64| Amount::of(Energy(KWH), cents * 10_000_000 + 5_000_000, MICRO).rounded(2);
        assert_eq!([half(0), half(1), half(2), half(-1)], [0, 2, 2, 0]);
    }

    #[test]
    fn the_largest_remainder_gets_the_missing_unit() {
        // The classic: 10 seats, votes in tenths 4.7 1.6 1.6 1.2 0.6 0.3 (Hamilton's method: 5 2 1 1 1 0 …).
        let shares = [(4, 7), (1, 6), (1, 6), (1, 2), (0, 6), (0, 3)];
        assert_eq!(apportion(10, &shares), [5, 2, 2, 1, 0, 0]);
        assert_eq!(apportion(7, &shares), [4, 1, 1, 1, 0, 0]);
        assert_eq!(apportion(0, &[] as &[(i128, i32)]), [] as [i128; 0]);
        assert_eq!(apportion(-3, &[(-2, 9), (-2, 1)]), [-1, -2]);
    }
}
