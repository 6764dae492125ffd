//! Amounts before they are rounded to the minor unit of their currency.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::money::Amount;
use crate::rollup::Rollup;
use crate::rows::print;
use crate::statement::Row;

/// Decimals of an amount that is not rounded yet.
const DIGITS: u32 = 12;

impl Rollup<'_> {
    /// The total as it is printed, and its amounts before that: for those that are less than a minor unit.
    #[must_use]
    pub fn total_unrounded(self) -> (Row, BTreeMap<Currency, Decimal>) {
        let (names, rows, whole) = self.exact();
        let amounts = whole.sums.costs.iter().map(|(&currency, parts)| (currency, decimal(parts.amount()))).collect();
        (print(&names, &rows, &whole).1, amounts)
    }
}

/// An amount to 10⁻¹² of its currency.
pub(crate) fn decimal(amount: Amount) -> Decimal {
    Decimal::try_from_i128_with_scale(amount.rounded(DIGITS), DIGITS).unwrap_or(Decimal::MAX)
}
