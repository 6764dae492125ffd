//! What hosts' energy is priced by, slot by slot, and sums of it that are exact and small.
//!
//! Prices may change every quarter of an hour. What changes more seldom (rate, PUE, charges of a month)
//! are *terms*; a sum is kept per terms, of energy times price. So a sum is as small with a year of
//! hourly prices as with a flat one.

use std::collections::HashMap;
use std::ops::Sub;
use std::sync::Arc;

use meter::{Energy, Labels, Slot};

use crate::charges::{Bill, BillKey, Charge, Charges, SLOTS_PER_HOUR};
use crate::money::Wide;
use crate::rates::{Rate, RateCard, Tariff};
use crate::spread::portion;
use crate::window::Window;

/// Terms that hold where no rate is in force.
const NO_RATE: u32 = 0;

/// What energy is priced by, but for the price itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    /// The index of the rate in [`RateCard::rates`].
    pub(crate) rate: u32,
    /// Facility energy per energy of the machines, in millionths.
    pub(crate) pue_micro: i64,
    /// Whether there is a price; a series may lack it.
    pub(crate) is_priced: bool,
    /// Whether a carbon factor is known.
    pub(crate) has_carbon: bool,
    /// The number of the month's bill, where anything is due each month.
    pub(crate) bill: Option<u32>,
    /// The month's fixed charge as a price; see [`Charge`](crate::charges::Charge).
    pub(crate) fixed: Option<(i64, i64)>,
}

/// The figures of a host from a slot on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) from: Slot,
    /// The number of its terms.
    pub(crate) terms: u32,
    /// Billionths of the currency per kWh; zero without a price.
    pub(crate) price_nano: i64,
    /// Milligrams of CO₂ equivalent per kWh; zero without a factor.
    carbon_milligrams: i64,
    /// Billionths per kWh at the facility, on top, in the slot that bears the month's demand charge.
    pub(crate) demand_nano: i64,
}

/// The figures of a host over the window, and where it was asked last.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pieces: Arc<[Piece]>,
    at: usize,
}

/// Energy under the same terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Priced {
    /// The number of its terms.
    pub(crate) terms: u32,
    /// All of it.
    pub(crate) energy: Energy,
    /// Energy times price, in billionths.
    pub(crate) value: Wide,
    /// Energy times carbon factor, in milligrams.
    pub(crate) carbon: Wide,
    /// Energy times demand charge, in billionths.
    pub(crate) demand: Wide,
}

/// The rates that are for a host; and its site, where charges are due.
type CourseKey = (Vec<u32>, Option<String>);

/// The prices of one rollup.
#[derive(Debug)]
pub(crate) struct Prices<'a> {
    pub(crate) card: &'a RateCard,
    terms: Vec<Option<Terms>>,
    numbers: HashMap<Terms, u32>,
    /// Hosts for which the same rates count have the same prices; where charges are due, hosts of one site.
    known: HashMap<CourseKey, Arc<[Piece]>>,
    /// What is due each month, if that is known.
    charges: Arc<Charges>,
    pub(crate) bills: Vec<Bill>,
    bill_numbers: HashMap<BillKey, u32>,
}

impl<'a> Prices<'a> {
    pub(crate) fn new(card: &'a RateCard) -> Self {
        Self {
            card,
            terms: vec![None],
            numbers: HashMap::new(),
            known: HashMap::new(),
            charges: Arc::default(),
            bills: Vec::new(),
            bill_numbers: HashMap::new(),
        }
    }

    /// With what is due each month; for hosts that are announced later.
    pub(crate) fn charge(&mut self, charges: Arc<Charges>) {
        self.charges = charges;
    }

    /// The prices of a host with these labels.
    pub(crate) fn course(&mut self, labels: &Labels, window: Window) -> Course {
        let chain = self.card.chain(labels);
        let is_charged = chain.iter().any(|&rate| self.charged(rate).is_some());
        let site = is_charged.then(|| labels.get("site").cloned().unwrap_or_default());
        let key = (chain, site);
        if let Some(known) = self.known.get(&key) {
            return Course { pieces: Arc::clone(known), at: 0 };
        }
        let tariffs = self.card.chain_tariffs(&key.0, window);
        let ends = tariffs.iter().skip(1).map(|next| next.0).chain([window.until()]);
        let mut pieces = Vec::with_capacity(tariffs.len());
        for (&(from, tariff), until) in tariffs.iter().zip(ends) {
            self.add_pieces(Window::of_slots(from, until), tariff, labels, &mut pieces);
        }
        self.count_slots(&pieces, window);
        let pieces: Arc<[Piece]> = pieces.into();
        self.known.insert(key, Arc::clone(&pieces));
        Course { pieces, at: 0 }
    }

    /// A rate with something that is due each month.
    fn charged(&self, rate: u32) -> Option<&'a Rate> {
        self.card.rates().get(rate as usize).filter(|rate| rate.has_charges())
    }

    /// The pieces of slots with one tariff: one, or where charges are due one for each month, with the peak apart.
    fn add_pieces(&mut self, span: Window, tariff: Option<Tariff>, labels: &Labels, pieces: &mut Vec<Piece>) {
        let charged = tariff.and_then(|tariff| Some((tariff, self.charged(tariff.rate)?)));
        let Some((tariff, rate)) = charged else {
            pieces.push(self.piece(span.first(), tariff, (None, Charge::default())));
            return;
        };
        let mut slot = span.first();
        while slot < span.until() {
            let bill = Bill::of(rate, tariff.rate, labels, slot);
            let part = Window::of_slots(slot, bill.month.until().min(span.until()));
            let charge = self.charges.of(&bill.key);
            let number = self.bill(bill);
            let piece = self.piece(slot, Some(tariff), (Some(number), charge));
            if charge.peak != Some(slot) {
                pieces.push(piece);
            }
            if let Some(peak) = charge.peak.filter(|peak| part.holds(*peak)) {
                let demand_nano = rate.demand_nano.saturating_mul(SLOTS_PER_HOUR);
                pieces.push(Piece { from: peak, demand_nano, ..piece });
                if part.holds(peak.next()) {
                    pieces.push(Piece { from: peak.next(), ..piece });
                }
            }
            slot = part.until();
        }
    }

    fn bill(&mut self, bill: Bill) -> u32 {
        *self.bill_numbers.entry(bill.key.clone()).or_insert_with(|| {
            self.bills.push(bill);
            u32::try_from(self.bills.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Counts for how many slots the rates of bills are in force.
    fn count_slots(&mut self, pieces: &[Piece], window: Window) {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        let ends = pieces.iter().skip(1).map(|next| next.from).chain([window.until()]);
        for (piece, until) in pieces.iter().zip(ends) {
            if let Some(bill) = self.terms(piece.terms).and_then(|terms| terms.bill) {
                *counts.entry(bill).or_default() += Window::of_slots(piece.from, until).len();
            }
        }
        for (bill, count) in counts {
            let bill = self.bills.get_mut(bill as usize);
            bill.into_iter().for_each(|bill| bill.in_force = bill.in_force.max(count));
        }
    }

    fn piece(&mut self, from: Slot, tariff: Option<Tariff>, (bill, charge): (Option<u32>, Charge)) -> Piece {
        let Some(tariff) = tariff else { return Piece { from, ..Piece::UNPRICED } };
        let terms = Terms {
            rate: tariff.rate,
            pue_micro: tariff.pue_micro,
            is_priced: tariff.price_nano.is_some(),
            has_carbon: tariff.carbon_milligrams.is_some(),
            bill,
            fixed: charge.fixed,
        };
        Piece {
            from,
            terms: self.number(terms),
            price_nano: tariff.price_nano.unwrap_or(0),
            carbon_milligrams: tariff.carbon_milligrams.unwrap_or(0),
            demand_nano: 0,
        }
    }

    fn number(&mut self, terms: Terms) -> u32 {
        *self.numbers.entry(terms).or_insert_with(|| {
            self.terms.push(Some(terms));
            u32::try_from(self.terms.len() - 1).unwrap_or(NO_RATE)
        })
    }

    /// The terms of a number; nothing where no rate is in force.
    pub(crate) fn terms(&self, number: u32) -> Option<Terms> {
        self.terms.get(number as usize).copied().flatten()
    }
}

impl Piece {
    /// What holds where no rate does.
    pub(crate) const UNPRICED: Self =
        Self { from: Slot(i32::MIN), terms: NO_RATE, price_nano: 0, carbon_milligrams: 0, demand_nano: 0 };
}

impl Course {
    /// What holds in a slot of the window. Slots are asked for in order, as a rule.
    pub(crate) fn at(&mut self, slot: Slot) -> Piece {
        let holds = |at: usize| {
            let next = self.pieces.get(at + 1);
            self.pieces.get(at).is_some_and(|piece| piece.from <= slot) && next.is_none_or(|next| slot < next.from)
        };
        if !holds(self.at) {
            self.at = if holds(self.at + 1) { self.at + 1 } else { self.after(slot).saturating_sub(1) };
        }
        self.pieces.get(self.at).copied().unwrap_or(Piece::UNPRICED)
    }

    /// The first slot after this one in which something else holds.
    pub(crate) fn change_after(&self, slot: Slot) -> Option<Slot> {
        self.pieces.get(self.after(slot)).map(|piece| piece.from)
    }

    fn after(&self, slot: Slot) -> usize {
        self.pieces.partition_point(|piece| piece.from <= slot)
    }
}

impl Priced {
    /// Adds energy of a slot in which `piece` holds to the sum of its terms.
    pub(crate) fn add(sums: &mut Vec<Self>, piece: &Piece, energy: Energy) {
        let sum = Self::of(sums, piece.terms);
        sum.energy += energy;
        sum.value.add_product(energy, piece.price_nano);
        sum.carbon.add_product(energy, piece.carbon_milligrams);
        if piece.demand_nano != 0 {
            sum.demand.add_product(energy, piece.demand_nano);
        }
    }

    /// Adds this to the sum of its terms.
    pub(crate) fn join(self, sums: &mut Vec<Self>) {
        let sum = Self::of(sums, self.terms);
        sum.energy += self.energy;
        sum.value = sum.value + self.value;
        sum.carbon = sum.carbon + self.carbon;
        sum.demand = sum.demand + self.demand;
    }

    fn of(sums: &mut Vec<Self>, terms: u32) -> &mut Self {
        let known = sums.iter().rposition(|sum| sum.terms == terms);
        let index = known.unwrap_or_else(|| {
            let none = Wide::default();
            sums.push(Self { terms, energy: Energy::ZERO, value: none, carbon: none, demand: none });
            sums.len() - 1
        });
        &mut sums[index]
    }

    /// `part / whole` of it, each figure rounded down; differences of such portions add up.
    pub(crate) const fn portion(&self, part: i128, whole: i128) -> Self {
        let energy = Energy(portion(self.energy.0, part, whole));
        let [value, carbon, demand] =
            [self.value.portion(part, whole), self.carbon.portion(part, whole), self.demand.portion(part, whole)];
        Self { terms: self.terms, energy, value, carbon, demand }
    }
}

impl Sub for Priced {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            terms: self.terms,
            energy: self.energy - other.energy,
            value: self.value - other.value,
            carbon: self.carbon - other.carbon,
            demand: self.demand - other.demand,
        }
    }
}
