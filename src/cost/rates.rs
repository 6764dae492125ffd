//! Rate cards: what a kilowatt hour costs, where and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use meter::{Labels, Slot, Utc};

use crate::currency::Currency;
use crate::error::CostError;
use crate::window::Window;

mod calendar;
mod card_file;
mod figure;
pub mod outlook;
mod period_file;
mod schedule;
mod series;
mod series_file;
mod values;

pub use figure::Figure;
pub use schedule::Schedule;
pub use series::Series;

/// One rate: what the hosts with certain labels pay in a span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What it is called by programs, if the card says so.
    pub id: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// Which version of it this is.
    pub version: Option<String>,
    /// The labels that a host must have; none for every host without a rate of its own.
    pub labels: BTreeMap<String, String>,
    /// The currency.
    pub currency: Currency,
    /// The price in billionths of the currency per kWh.
    pub price: Figure,
    /// Facility energy per energy of the machines, in millionths: at least a million.
    pub pue: Figure,
    /// Grams of CO₂ equivalent per kWh at the facility, in thousandths, if known.
    pub carbon: Option<Figure>,
    /// The demand charge in billionths of the currency per month and kW of the site's peak quarter-hour.
    pub demand_nano: i64,
    /// What is due each month whatever is used, in billionths of the currency.
    pub fixed_nano: i64,
    /// A surcharge on what energy costs, in millionths of that.
    pub overhead_micro: i64,
    /// The zone of its dates, hours and months.
    pub tz: TimeZone,
    /// Whether the card says so; it is UTC where it does not.
    pub states_zone: bool,
    /// In force from the start of this slot; nothing for always.
    pub valid_from: Option<Slot>,
    /// No longer in force from the start of this slot on.
    pub valid_to: Option<Slot>,
    /// The line of the file it begins at.
    pub line: usize,
}

/// A card of rates, in the order of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateCard {
    rates: Arc<[Rate]>,
    /// The rates by precedence: of two that are for a host and in force, the former counts.
    ranked: Arc<[u32]>,
}

/// What one slot's energy is priced by: a rate of the card, and the figures in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tariff {
    /// The index of the rate in [`RateCard::rates`].
    pub rate: u32,
    /// The price in billionths of the currency per kWh; nothing where the rate's series has none.
    pub price_nano: Option<i64>,
    /// Facility energy per energy of the machines, in millionths.
    pub pue_micro: i64,
    /// Milligrams of CO₂ equivalent per kWh at the facility, if known.
    pub carbon_milligrams: Option<i64>,
}

impl Rate {
    /// Since when it is in force.
    #[must_use]
    pub fn since(&self) -> Option<Utc> {
        self.valid_from.map(Slot::start)
    }

    /// Whether it is for a host with these labels.
    #[must_use]
    pub fn is_for(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Whether it is in force in a slot.
    #[must_use]
    pub fn holds_in(&self, slot: Slot) -> bool {
        self.valid_from.is_none_or(|from| from <= slot) && self.valid_to.is_none_or(|to| slot < to)
    }

    fn tariff(&self, rate: u32, slot: Slot) -> Tariff {
        Tariff {
            rate,
            price_nano: self.price.at(slot),
            pue_micro: self.pue.at(slot).unwrap_or(crate::money::MICRO),
            carbon_milligrams: self.carbon.as_ref().and_then(|carbon| carbon.at(slot)),
        }
    }
}

impl RateCard {
    /// Reads a card that names no files from TOML text.
    ///
    /// # Errors
    /// [`CostError::Rates`] with every fault, its line and key.
    pub fn parse(text: &str) -> Result<Self, CostError> {
        Self::read(text, &mut |file| Err(format!("{file:?} cannot be read here")))
    }

    /// Reads a card from TOML text; `files` gives the text of each file that it names.
    ///
    /// # Errors
    /// [`CostError::Rates`] with every fault of the card and its files, with line and key.
    pub fn read(text: &str, files: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Self, CostError> {
        let rates = card_file::read(text, files).map_err(CostError::Rates)?;
        let mut ranked: Vec<u32> = (0..).take(rates.len()).collect();
        ranked.sort_by_key(|&index| rank(&rates, index as usize));
        Ok(Self { rates: rates.into(), ranked: ranked.into() })
    }

    /// Whether this is the same card, not only an equal one: clones of it are.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rates, &other.rates)
    }

    /// The zone that decides the months of a site (empty: hosts that name none): that of its rate that began
    /// last, if the card states one; nothing if it does not.
    #[must_use]
    pub fn zone_of(&self, site: &str) -> Option<&TimeZone> {
        let labels = (!site.is_empty()).then(|| ("site".to_owned(), site.to_owned())).into_iter().collect();
        let stated = self.rates.iter().filter(|rate| rate.states_zone && rate.is_for(&labels));
        stated.max_by_key(|rate| (rate.labels.len(), rate.valid_from)).map(|rate| &rate.tz)
    }

    /// The rates, in the order of the file.
    #[must_use]
    pub fn rates(&self) -> &[Rate] {
        &self.rates
    }

    /// The rate in force for a host with these labels in a slot: of those that are for it and in force,
    /// the one with the most labels; among equals one with `site`, else the first of the file; among
    /// those for the same labels the one that began last. Nothing: energy of that slot has no price.
    #[must_use]
    pub fn at(&self, labels: &Labels, slot: Slot) -> Option<&Rate> {
        self.rates.get(self.in_force(&self.chain(labels), slot)? as usize)
    }

    /// The figures in force for a host with these labels in a slot.
    #[must_use]
    pub fn tariff_at(&self, labels: &Labels, slot: Slot) -> Option<Tariff> {
        let rate = self.in_force(&self.chain(labels), slot)?;
        Some(self.rates.get(rate as usize)?.tariff(rate, slot))
    }

    /// The prices of a host with these labels over a window: each holds from its slot to the next one's.
    /// The first begins with the window.
    #[must_use]
    pub fn tariffs(&self, labels: &Labels, window: Window) -> Vec<(Slot, Option<Tariff>)> {
        self.chain_tariffs(&self.chain(labels), window)
    }

    /// The rates that are for a host with these labels, the former before the latter.
    pub(crate) fn chain(&self, labels: &Labels) -> Vec<u32> {
        let is_for = |index: &u32| self.rates.get(*index as usize).is_some_and(|rate| rate.is_for(labels));
        self.ranked.iter().copied().filter(is_for).collect()
    }

    fn in_force(&self, chain: &[u32], slot: Slot) -> Option<u32> {
        chain.iter().copied().find(|&index| self.rates.get(index as usize).is_some_and(|rate| rate.holds_in(slot)))
    }

    /// Which rate of a chain holds from which slot on.
    pub(crate) fn stretches(&self, chain: &[u32], window: Window) -> Vec<(Slot, Option<u32>)> {
        let rates = chain.iter().filter_map(|&index| self.rates.get(index as usize));
        let edges = rates.flat_map(|rate| [rate.valid_from, rate.valid_to]).flatten();
        let borders: BTreeSet<Slot> = edges.filter(|&slot| window.holds(slot)).chain([window.first()]).collect();
        let mut stretches: Vec<(Slot, Option<u32>)> = Vec::new();
        for slot in borders {
            let rate = self.in_force(chain, slot);
            if stretches.last().is_none_or(|(_, before)| *before != rate) {
                stretches.push((slot, rate));
            }
        }
        stretches
    }

    pub(crate) fn chain_tariffs(&self, chain: &[u32], window: Window) -> Vec<(Slot, Option<Tariff>)> {
        let mut tariffs: Vec<(Slot, Option<Tariff>)> = Vec::new();
        let stretches = self.stretches(chain, window);
        let ends = stretches.iter().skip(1).map(|next| next.0).chain([window.until()]);
        for (&(from, index), until) in stretches.iter().zip(ends) {
            let rate = index.and_then(|index| Some((index, self.rates.get(index as usize)?)));
            let span = Window::of_slots(from, until);
            let pieces = rate.map_or_else(|| vec![(from, None)], |(index, rate)| merged(rate, index, span));
            for piece in pieces {
                if tariffs.last().is_none_or(|(_, before)| *before != piece.1) {
                    tariffs.push(piece);
                }
            }
        }
        tariffs
    }
}

/// The less, the sooner it counts.
fn rank(rates: &[Rate], index: usize) -> (std::cmp::Reverse<usize>, bool, usize, std::cmp::Reverse<Option<Slot>>) {
    let rate = &rates[index];
    let first = rates.iter().position(|other| other.labels == rate.labels).unwrap_or(index);
    let (count, has_site) = (rate.labels.len(), rate.labels.contains_key("site"));
    (std::cmp::Reverse(count), !has_site, first, std::cmp::Reverse(rate.valid_from))
}

/// A rate's price, PUE and carbon over a window, cut wherever one of them changes.
fn merged(rate: &Rate, index: u32, window: Window) -> Vec<(Slot, Option<Tariff>)> {
    let none = || vec![(window.first(), None)];
    let columns = [
        rate.price.pieces(window),
        rate.pue.pieces(window),
        rate.carbon.as_ref().map_or_else(none, |c| c.pieces(window)),
    ];
    let mut at = [0; 3];
    let mut pieces = Vec::with_capacity(columns.iter().map(Vec::len).max().unwrap_or(0));
    let mut slot = window.first();
    loop {
        let value = |column: usize| columns[column].get(at[column]).and_then(|piece| piece.1);
        let tariff = Tariff {
            rate: index,
            price_nano: value(0),
            pue_micro: value(1).unwrap_or(crate::money::MICRO),
            carbon_milligrams: value(2),
        };
        pieces.push((slot, Some(tariff)));
        let next = columns.iter().zip(at).filter_map(|(column, at)| column.get(at + 1)).map(|piece| piece.0).min();
        let Some(next) = next else { return pieces };
        for (column, at) in columns.iter().zip(&mut at) {
            *at += usize::from(column.get(*at + 1).is_some_and(|piece| piece.0 <= next));
        }
        slot = next;
    }
}
