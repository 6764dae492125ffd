//! What was billed since somebody began to look, or pressed `R`.
//!
//! A rollup knows whole slots. So the same window, from the slot in which the session began, is asked for at
//! the beginning and ever after; the session is the difference. Sessions that follow each other therefore add up
//! to the rollup: nothing lies in two of them and nothing between them. The ledger keeps the figures, so the
//! aggregator may be restarted meanwhile. What is read late counts when it is booked, unless it is dated before that slot.
//!
//! A figure never goes back: where the ledger corrects one below what was shown, what was shown stays until the
//! bill has caught up, and [`Session::corrected`] says so.

use std::collections::{BTreeMap, HashMap};

use cost::Currency;
use jiff::Timestamp;
use rust_decimal::Decimal;

use super::answers::{Bill, Billed, Key};

/// Energy and what it costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Whole microjoules.
    pub(super) uj: i128,
    /// Microjoules with a price, and what they cost, by currency.
    pub(super) costs: BTreeMap<Currency, (i128, Decimal)>,
}

/// A session: where it began, and what was billed since.
#[derive(Debug)]
pub(super) struct Session {
    /// When it began, by the aggregator's clock.
    pub(super) since: Timestamp,
    /// The moment of the newest figures.
    pub(super) as_of: Timestamp,
    base: HashMap<Key, Figures>,
    base_total: Figures,
    rows: BTreeMap<Key, Figures>,
    total: Figures,
    newest_total: i128,
}

impl Figures {
    fn of(billed: &Billed) -> Self {
        let cost =
            |one: &super::answers::Priced| (one.currency, (one.energy_uj, one.parts.energy + one.parts.pue_overhead));
        Self { uj: billed.energy_uj, costs: billed.cost.iter().map(cost).collect() }
    }

    fn less(mut self, base: &Self) -> Self {
        self.uj -= base.uj;
        for (currency, (uj, amount)) in &base.costs {
            let mine = self.costs.entry(*currency).or_default();
            *mine = (mine.0 - uj, mine.1 - amount);
        }
        self
    }

    /// Each figure no lower than before.
    fn raise(&mut self, newer: &Self) {
        self.uj = self.uj.max(newer.uj);
        for (currency, (uj, amount)) in &newer.costs {
            let mine = self.costs.entry(*currency).or_default();
            *mine = (mine.0.max(*uj), mine.1.max(*amount));
        }
    }

    /// Adds what another one has.
    pub(super) fn add(&mut self, other: &Self) {
        self.uj += other.uj;
        for (currency, (uj, amount)) in &other.costs {
            let mine = self.costs.entry(*currency).or_default();
            *mine = (mine.0 + uj, mine.1 + amount);
        }
    }

    /// Microjoules without a price.
    pub(super) fn unpriced_uj(&self) -> i128 {
        self.uj - self.costs.values().map(|(uj, _)| uj).sum::<i128>()
    }
}

impl Session {
    /// A session that begins with this bill.
    pub(super) fn begin(bill: &Bill) -> Self {
        let mut session = Self {
            since: bill.as_of,
            as_of: bill.as_of,
            base: bill.rows.iter().map(|row| (row.by.clone(), Figures::of(&row.billed))).collect(),
            base_total: Figures::of(&bill.total),
            rows: BTreeMap::new(),
            total: Figures::default(),
            newest_total: 0,
        };
        session.hear(bill);
        session
    }

    /// Takes a newer bill of the same window.
    pub(super) fn hear(&mut self, bill: &Bill) {
        self.as_of = bill.as_of;
        let none = Figures::default();
        for row in &bill.rows {
            let newer = Figures::of(&row.billed).less(self.base.get(&row.by).unwrap_or(&none));
            self.rows.entry(row.by.clone()).or_default().raise(&newer);
        }
        let newer = Figures::of(&bill.total).less(&self.base_total);
        self.newest_total = newer.uj;
        self.total.raise(&newer);
    }

    /// Of all.
    pub(super) const fn total(&self) -> &Figures {
        &self.total
    }

    /// By row of the API.
    pub(super) const fn rows(&self) -> &BTreeMap<Key, Figures> {
        &self.rows
    }

    /// What the ledger says now, in microjoules, if it is less than what is shown.
    pub(super) fn corrected(&self) -> Option<i128> {
        (self.newest_total < self.total.uj).then_some(self.newest_total)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bill(rows: &[(&str, i64, &str)], minute: u8) -> Bill {
        let cost = |uj: i64, amount: &str| {
            json!([{"currency": "USD", "energy_uj": uj.to_string(), "amount": "99.00",
                    "parts": {"energy": amount, "pue_overhead": "0.01", "demand": "7.00", "fixed": "5.00"}}])
        };
        let row = |(host, uj, amount): &(&str, i64, &str)| json!({"by": {"cluster": "c", "chassis": "", "host": host}, "energy_uj": uj.to_string(), "cost": cost(*uj, amount)});
        let total: i64 = rows.iter().map(|(_, uj, _)| uj).sum();
        let amount: Decimal = rows.iter().map(|(_, _, amount)| amount.parse::<Decimal>().expect("an amount")).sum();
        let all: Vec<Value> = rows.iter().map(row).collect();
        let bill = json!({"as_of": format!("2026-11-01T10:{minute:02}:00Z"), "rows": all,
            "total": {"energy_uj": total.to_string(), "cost": cost(total, &amount.to_string())}});
        serde_json::from_value(bill).expect("a bill")
    }

    fn usd(figures: &Figures) -> Decimal {
        figures.costs[&Currency::new("USD").expect("a currency")].1
    }

    #[test]
    fn a_session_is_what_was_billed_since_it_began() {
        let mut session = Session::begin(&bill(&[("a", 100, "0.10"), ("b", 50, "0.05")], 7));
        assert_eq!((session.total().uj, usd(session.total())), (0, Decimal::ZERO));
        session.hear(&bill(&[("a", 130, "0.13"), ("b", 50, "0.05"), ("new", 7, "0.02")], 9));
        let rows: Vec<_> = session.rows().iter().map(|(key, figures)| (key.host.as_str(), figures.uj)).collect();
        assert_eq!(rows, [("a", 30), ("b", 0), ("new", 7)]);
        assert_eq!(session.total().uj, 37);
        assert_eq!(usd(session.total()).to_string(), "0.05", "neither demand nor fixed charges are a session's");
    }

    #[test]
    fn sessions_that_follow_each_other_add_up() {
        let bills = [bill(&[("a", 100, "0.10")], 0), bill(&[("a", 130, "0.13")], 1), bill(&[("a", 190, "0.19")], 2)];
        let of = |from: usize, to: usize| {
            let mut session = Session::begin(&bills[from]);
            session.hear(&bills[to]);
            session.total().uj
        };
        assert_eq!(of(0, 1) + of(1, 2), of(0, 2));
    }

    #[test]
    fn a_figure_never_goes_back_and_says_when_it_should_have() {
        let mut session = Session::begin(&bill(&[("a", 100, "0.10")], 0));
        session.hear(&bill(&[("a", 150, "0.15")], 1));
        assert_eq!(session.corrected(), None);
        session.hear(&bill(&[("a", 140, "0.14")], 2));
        assert_eq!((session.total().uj, session.corrected()), (50, Some(40)));
        assert_eq!(usd(session.total()).to_string(), "0.05");
        session.hear(&bill(&[("a", 170, "0.17")], 3));
        assert_eq!((session.total().uj, session.corrected()), (70, None));
    }

    #[test]
    fn energy_without_a_price_is_told_apart() {
        let mut later = bill(&[("a", 150, "0.15")], 1);
        later.total.energy_uj += 25;
        let mut session = Session::begin(&bill(&[("a", 100, "0.10")], 0));
        session.hear(&later);
        assert_eq!((session.total().uj, session.total().unpriced_uj()), (75, 25));
    }
}
