//! What a closed month says of something, beside what the ledger says of it today.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Original, Sum};
use crate::currency::Currency;

/// What closed months say of a figure of today.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClosedFigure {
    /// The statements whose months share time with the window.
    pub statements: Vec<Original>,
    /// Whether the window lies in their months, one for each site: no part of it is open.
    pub is_closed: bool,
    /// What they have for it; nothing where the window is not all of their month.
    pub total: Option<Sum>,
    /// Whether today's energy or amounts are others, which then are due as adjustments in a later month; nothing where
    /// there is nothing to compare.
    pub differs: Option<bool>,
}

impl ClosedFigure {
    /// What statements have, if the window is their month, beside what the ledger has today.
    #[must_use]
    pub fn new(statements: Vec<Original>, is_closed: bool, total: Option<Sum>, today: &Sum) -> Self {
        let differs =
            total.as_ref().map(|closed| closed.energy_uj != today.energy_uj || amounts(closed) != amounts(today));
        Self { statements, is_closed, total, differs }
    }
}

/// Amounts by currency; none of nothing.
fn amounts(sum: &Sum) -> BTreeMap<Currency, Decimal> {
    let some = sum.cost.iter().filter(|cost| !cost.amount.is_zero());
    some.map(|cost| (cost.currency, cost.amount)).collect()
}
