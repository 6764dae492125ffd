//! From sums of energy times price to what they cost and emit.

use crate::cells::Cell;
use crate::money::{Amount, MICRO, Wide};
use crate::priced::{Priced, Prices};
use crate::rows::Sums;
use crate::tenant::Class;

impl Sums {
    /// What a cell adds up to, with what it costs.
    pub(crate) fn of(cell: &Cell, class: Class, prices: &Prices<'_>) -> Self {
        let Cell { energy, metered, apportioned, coverage, methods, doubts, .. } = *cell;
        let mut sums = Self { class, energy, metered, apportioned, coverage, methods, doubts, ..Self::default() };
        for priced in &cell.priced {
            sums.price(priced, prices);
        }
        sums
    }

    /// Adds what energy under the same terms costs and emits.
    pub(crate) fn price(&mut self, priced: &Priced, prices: &Prices<'_>) {
        let energy = priced.energy;
        let terms = prices.terms(priced.terms);
        let Some((terms, rate)) = terms.and_then(|terms| Some((terms, prices.card.rates().get(terms.rate as usize)?)))
        else {
            self.facility += energy.0 * i128::from(MICRO);
            self.unpriced += energy;
            self.without_factor += energy;
            return;
        };
        self.facility += energy.0 * i128::from(terms.pue_micro);
        if terms.has_carbon {
            // Milligrams stand where money has billionths: the sum is in tonnes.
            *self.carbon.get_or_insert_default() += priced.carbon.amount(terms.pue_micro);
        } else {
            self.without_factor += energy;
        }
        if let Some((price, factor)) = terms.fixed {
            self.costs.entry(rate.currency).or_default().fixed += Amount::of(energy, price, factor);
        }
        if priced.demand != Wide::default() {
            self.costs.entry(rate.currency).or_default().demand += priced.demand.amount(terms.pue_micro);
        }
        if terms.is_priced {
            let parts = self.costs.entry(rate.currency).or_default();
            parts.priced += energy;
            parts.energy += priced.value.amount(MICRO);
            parts.pue_overhead += priced.value.amount(terms.pue_micro - MICRO);
            parts.fixed += priced.value.amount(surcharge(rate.overhead_micro, terms.pue_micro));
        } else {
            self.unpriced += energy;
        }
    }
}

/// A surcharge on the facility's energy, per energy of the machines, in millionths.
fn surcharge(overhead_micro: i64, pue_micro: i64) -> i64 {
    let micro = i128::from(MICRO);
    let product = i128::from(overhead_micro) * i128::from(pue_micro);
    i64::try_from((product + micro / 2) / micro).unwrap_or(i64::MAX)
}
