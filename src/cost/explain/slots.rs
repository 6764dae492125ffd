//! Slots with their prices: what each costs, by the same sums that a rollup prices its rows by.

use std::collections::BTreeMap;
use std::sync::Arc;

use meter::{Energy, Labels, Slot};
use rust_decimal::Decimal;

use super::{RateStory, SlotStory};
use crate::charges::Charges;
use crate::currency::Currency;
use crate::money::{Amount, KWH};
use crate::priced::{Course, Piece, Priced, Prices, Terms};
use crate::rates::{Rate, RateCard};
use crate::reconcile::{energy_of, kwh};
use crate::rows::{Parts, Sums};
use crate::statement::{CostParts, Row};
use crate::unrounded::decimal;
use crate::window::{Window, stamp};

/// The slots of a host, the rates that were in force, and what the slots add up to before rounding.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// The slots.
    pub slots: Vec<SlotStory>,
    /// The rates, in the order of their file.
    pub rates: Vec<RateStory>,
    /// The sums, per currency.
    pub exact: BTreeMap<Currency, Decimal>,
}

/// The slots of a host from the rollup's rows, one per slot. Its labels are `labels`, stretch by stretch; `charges` is
/// what is due each month, as the rollup was told.
#[must_use]
pub fn priced(rows: &[Row], labels: &[(Window, &Labels)], card: &RateCard, charges: &Arc<Charges>) -> Slots {
    let mut prices = Prices::new(card);
    prices.charge(Arc::clone(charges));
    let mut courses = courses(labels, &mut prices);
    let (mut told, mut rates) = (Slots::default(), BTreeMap::new());
    let mut sums = BTreeMap::<Currency, Amount>::new();
    for row in rows.iter().filter(|row| row.energy_uj != 0 || row.quality.covered_seconds > 0.0) {
        let at = row.start.slot();
        let piece = courses.iter_mut().find(|(window, _)| window.holds(at)).map(|(_, course)| course.at(at));
        let mut slot = SlotStory::unpriced(row);
        if let Some((piece, terms, rate)) = piece.and_then(|piece| in_force(piece, &prices)) {
            rates.insert(rate.line, rate);
            slot.price(&piece, &terms, rate);
            if let Some(parts) = cost(&piece, rate, energy_of(row.energy_uj), &prices) {
                *sums.entry(rate.currency).or_default() += parts.amount();
                slot.amount = Some(decimal(parts.amount()));
                slot.parts = Some(told_parts(&parts));
            }
        }
        told.slots.push(slot);
    }
    told.rates = rates.into_values().map(RateStory::of).collect();
    told.exact = sums.into_iter().map(|(currency, amount)| (currency, decimal(amount))).collect();
    told
}

/// The prices of each stretch, all over the whole window: hosts of one rate share them.
fn courses(labels: &[(Window, &Labels)], prices: &mut Prices<'_>) -> Vec<(Window, Course)> {
    let edges = labels.first().zip(labels.last());
    let whole = edges.map_or(Window::of_slots(Slot(0), Slot(0)), |((first, _), (last, _))| {
        Window::of_slots(first.first(), last.until())
    });
    labels.iter().map(|(window, labels)| (*window, prices.course(labels, whole))).collect()
}

fn in_force<'c>(piece: Piece, prices: &Prices<'c>) -> Option<(Piece, Terms, &'c Rate)> {
    let terms = prices.terms(piece.terms)?;
    Some((piece, terms, prices.card.rates().get(terms.rate as usize)?))
}

/// What a slot's energy costs, as in a rollup of that slot alone.
fn cost(piece: &Piece, rate: &Rate, energy: Energy, prices: &Prices<'_>) -> Option<Parts> {
    let mut priced = Vec::with_capacity(1);
    Priced::add(&mut priced, piece, energy);
    let mut sums = Sums::default();
    priced.iter().for_each(|priced| sums.price(priced, prices));
    sums.costs.get(&rate.currency).copied()
}

fn told_parts(parts: &Parts) -> CostParts {
    CostParts {
        energy: decimal(parts.energy),
        pue_overhead: decimal(parts.pue_overhead),
        demand: decimal(parts.demand),
        fixed: decimal(parts.fixed),
    }
}

impl SlotStory {
    fn unpriced(row: &Row) -> Self {
        Self {
            start: stamp(row.start),
            energy_uj: row.energy_uj,
            energy_kwh: kwh(row.energy_uj),
            covered_seconds: row.quality.covered_seconds,
            estimated_joules: row.quality.estimated_joules,
            rate_line: None,
            price_per_kwh: None,
            pue: None,
            surcharge: None,
            fixed_per_kwh: None,
            demand_per_kwh: None,
            currency: None,
            amount: None,
            parts: None,
        }
    }

    /// Says by what it is priced.
    fn price(&mut self, piece: &Piece, terms: &Terms, rate: &Rate) {
        let nano = |value: i64| Decimal::new(value, 9).normalize();
        let micro = |value: i64| Decimal::new(value, 6).normalize();
        self.rate_line = Some(rate.line);
        self.currency = Some(rate.currency);
        self.pue = Some(micro(terms.pue_micro));
        self.price_per_kwh = terms.is_priced.then(|| nano(piece.price_nano));
        self.surcharge = (rate.overhead_micro != 0).then(|| micro(rate.overhead_micro));
        let fixed = |(price, factor)| decimal(Amount::of(Energy(KWH), price, factor)).normalize();
        self.fixed_per_kwh = terms.fixed.map(fixed);
        self.demand_per_kwh = (piece.demand_nano != 0).then(|| nano(piece.demand_nano));
    }
}

impl RateStory {
    fn of(rate: &Rate) -> Self {
        let Rate { labels, currency, line, .. } = rate;
        let (site, valid_from) = (labels.get("site").cloned(), rate.since().map(stamp));
        Self { line: *line, site, labels: labels.clone(), currency: *currency, valid_from }
    }
}
