//! Answers without money, for where it is not to be shown: energy, carbon and coverage stay. Energy without a price
//! goes with the prices: it would say nothing beside none.

use crate::budget::Standings;
use crate::closing::{ClosedFigure, Head, Sum};
use crate::explain::Explanation;
use crate::reconcile::Reconciliation;
use crate::statement::{Answer, Row};

impl Row {
    /// Takes out what it costs.
    pub fn hide_money(&mut self) {
        (self.cost, self.unpriced_kwh) = (Vec::new(), 0.0);
    }
}

impl Sum {
    /// Takes out what it costs.
    pub fn hide_money(&mut self) {
        (self.cost, self.unpriced_kwh) = (Vec::new(), 0.0);
    }
}

impl Head {
    /// Takes out what the month costs.
    pub fn hide_money(&mut self) {
        [&mut self.total, &mut self.adjustments_total, &mut self.bill].into_iter().for_each(Sum::hide_money);
    }
}

impl ClosedFigure {
    fn hide_money(&mut self) {
        self.total.iter_mut().for_each(Sum::hide_money);
    }
}

impl Answer {
    /// The answer where money is hidden: without any.
    #[must_use]
    pub fn without_money(mut self) -> Self {
        self.rows.iter_mut().chain([&mut self.total]).for_each(Row::hide_money);
        let sums = self.adjustments.iter_mut().map(|adjustment| &mut adjustment.sum);
        sums.chain(&mut self.adjustments_total).chain(&mut self.bill).for_each(Sum::hide_money);
        self.cost_hidden = true;
        self
    }
}

impl Explanation {
    /// The same without prices and amounts.
    #[must_use]
    pub fn without_money(mut self) -> Self {
        self.total.hide_money();
        self.closed.iter_mut().for_each(ClosedFigure::hide_money);
        self.rates.clear();
        self.exact.clear();
        for slot in &mut self.slots {
            (slot.rate_line, slot.price_per_kwh, slot.surcharge) = (None, None, None);
            (slot.fixed_per_kwh, slot.demand_per_kwh) = (None, None);
            (slot.currency, slot.amount, slot.parts) = (None, None, None);
        }
        self.cost_hidden = true;
        self
    }
}

impl Reconciliation {
    /// The same without what closed months cost, and without an invoice's amount.
    #[must_use]
    pub fn without_money(mut self) -> Self {
        for site in &mut self.sites {
            site.closed.iter_mut().for_each(ClosedFigure::hide_money);
            if let Some(check) = &mut site.invoice {
                (check.amount, check.currency) = (None, None);
            }
        }
        self.cost_hidden = true;
        self
    }
}

impl Standings {
    /// The budgets of energy alone.
    #[must_use]
    pub fn without_money(mut self) -> Self {
        self.budgets.retain(|budget| budget.unit == "kWh");
        self.budgets.iter_mut().for_each(|budget| budget.unpriced_kwh = 0.0);
        self.cost_hidden = true;
        self
    }
}
