//! Rate cards: what a kilowatt hour costs, where and since when.

use std::collections::BTreeSet;

use meter::{Slot, Utc};
use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::error::CostError;
use crate::rates_file;
use crate::window::Window;

/// One rate: a flat price of a site (or of every site without its own), from an instant on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The value of the label `site` it is for; nothing for every site without a rate of its own.
    pub site: Option<String>,
    /// The currency.
    pub currency: Currency,
    /// The price in billionths of the currency per kWh.
    pub price_nano: i64,
    /// Facility energy per energy of the machines, in millionths: at least a million.
    pub pue_micro: i64,
    /// Grams of CO₂ equivalent per kWh at the facility, in thousandths, if known.
    pub carbon_milligrams: Option<i64>,
    /// In force from the start of this slot; nothing for always.
    pub valid_from: Option<Slot>,
    /// The line of the file it begins at.
    pub line: usize,
}

/// A card of rates, in the order of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateCard {
    rates: Vec<Rate>,
}

/// What one slot's energy is priced by: a rate of the card, and the price in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tariff {
    /// The index of the rate in [`RateCard::rates`].
    pub rate: u32,
    /// Its price in that slot, in billionths of the currency per kWh.
    pub price_nano: i64,
}

impl Rate {
    /// The price per kWh, for people.
    #[must_use]
    pub fn price(&self) -> Decimal {
        Decimal::new(self.price_nano, 9).normalize()
    }

    /// The PUE, for people.
    #[must_use]
    pub fn pue(&self) -> Decimal {
        Decimal::new(self.pue_micro, 6).normalize()
    }

    /// Since when it is in force.
    #[must_use]
    pub fn since(&self) -> Option<Utc> {
        self.valid_from.map(Slot::start)
    }

    fn is_for(&self, site: &str) -> bool {
        self.site.as_deref() == Some(site)
    }

    fn began_by(&self, slot: Slot) -> bool {
        self.valid_from.is_none_or(|from| from <= slot)
    }
}

impl RateCard {
    /// Reads a card from TOML text.
    ///
    /// # Errors
    /// [`CostError::Rates`] with every fault, its line and key.
    pub fn parse(text: &str) -> Result<Self, CostError> {
        let rates = rates_file::read(text).map_err(CostError::Rates)?;
        Ok(Self { rates })
    }

    /// The rates, in the order of the file.
    #[must_use]
    pub fn rates(&self) -> &[Rate] {
        &self.rates
    }

    /// The rate in force for a site (empty: the host names none) in a slot: the site's own that began
    /// last, else the general one that began last. Nothing: energy of that slot has no price.
    #[must_use]
    pub fn at(&self, site: &str, slot: Slot) -> Option<&Rate> {
        self.index_at(site, slot).and_then(|index| self.rates.get(index))
    }

    /// The prices of a site over a window: each holds from its slot to the next one's. The first
    /// begins with the window.
    #[must_use]
    pub fn tariffs(&self, site: &str, window: Window) -> Vec<(Slot, Option<Tariff>)> {
        let begins = self.rates.iter().filter_map(|rate| rate.valid_from).filter(|&slot| window.holds(slot));
        let borders: BTreeSet<Slot> = begins.chain([window.first()]).collect();
        let mut tariffs: Vec<(Slot, Option<Tariff>)> = Vec::new();
        for slot in borders {
            let tariff = self.index_at(site, slot).map(|index| Tariff {
                rate: u32::try_from(index).unwrap_or(u32::MAX),
                price_nano: self.rates[index].price_nano,
            });
            if tariffs.last().is_none_or(|(_, before)| *before != tariff) {
                tariffs.push((slot, tariff));
            }
        }
        tariffs
    }

    fn index_at(&self, site: &str, slot: Slot) -> Option<usize> {
        let latest = |is_meant: &dyn Fn(&Rate) -> bool| {
            let candidates = self.rates.iter().enumerate().filter(|(_, rate)| is_meant(rate) && rate.began_by(slot));
            candidates.max_by_key(|(_, rate)| rate.valid_from).map(|(index, _)| index)
        };
        latest(&|rate| !site.is_empty() && rate.is_for(site)).or_else(|| latest(&|rate| rate.site.is_none()))
    }
}
