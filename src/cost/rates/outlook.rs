//! What applies now, until when, and what comes next: a rate card as people want to see it.

use std::collections::{BTreeMap, BTreeSet};

use meter::{Labels, SECOND_NS, Slot, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Figure, Rate, RateCard, Series, Tariff};
use crate::currency::Currency;
use crate::window::{Window, stamp};

/// How far ahead changes are looked for: a year, in slots.
const AHEAD: i32 = 366 * 96;
/// Changes that are told.
const NEXT_MAX: usize = 3;
/// Most gaps of a file that are told.
const GAPS_MAX: usize = 20;

/// A rate card at one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Outlook {
    /// The instant.
    pub as_of: String,
    /// The file in force; nothing if none is configured.
    #[serde(default)]
    pub file: Option<String>,
    /// Why the newest version of the file is not in force, if it is not.
    #[serde(default)]
    pub failure: Option<String>,
    /// What applies, by the labels of hosts.
    pub prices: Vec<SitePrice>,
    /// Where the next page of prices begins; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// The files of slots that the card names.
    pub series: Vec<SeriesState>,
}

/// What applies to hosts with certain labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SitePrice {
    /// The labels; none for hosts that name no site.
    pub labels: BTreeMap<String, String>,
    /// What applies now; nothing where energy has no price.
    pub now: Option<Terms>,
    /// Until when nothing of that changes; nothing if it does not within a year.
    pub until: Option<String>,
    /// The next changes.
    pub next: Vec<Change>,
}

/// A change of what applies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// When.
    pub from: String,
    /// What applies then.
    pub terms: Option<Terms>,
}

/// What energy is priced by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Terms {
    /// The rate's name, or its id.
    pub rate: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The line of the file it begins at.
    pub line: usize,
    /// The currency.
    pub currency: Currency,
    /// The price per kWh; nothing where its series has none.
    pub price_per_kwh: Option<Decimal>,
    /// The name of the period of the day or year.
    pub period: Option<String>,
    /// Facility energy per energy of the machines.
    pub pue: Decimal,
    /// Grams of CO₂ equivalent per kWh, if known.
    pub carbon_g_per_kwh: Option<Decimal>,
    /// Per month and kW of the peak quarter-hour.
    pub demand_per_kw: Option<Decimal>,
    /// Per month.
    pub fixed_per_month: Option<Decimal>,
    /// Surcharge on what energy costs.
    pub overhead_share: Option<Decimal>,
    /// The zone of its hours and months.
    pub timezone: String,
}

/// A file of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeriesState {
    /// The file.
    pub file: String,
    /// The line of the rate that names it.
    pub line: usize,
    /// `price` or `carbon`.
    pub figure: String,
    /// Its first slot.
    pub from: String,
    /// The end of its last slot; after that there is no figure.
    pub to: String,
    /// How many gaps it has.
    pub gaps: usize,
    /// The first of them, from and to.
    pub first_gaps: Vec<(String, String)>,
}

impl Outlook {
    /// What a card says at `now`, before any price is told.
    #[must_use]
    pub fn of(card: &RateCard, now: Utc) -> Self {
        Self {
            as_of: stamp(Utc(now.0 - now.0.rem_euclid(SECOND_NS))),
            file: None,
            failure: None,
            prices: Vec::new(),
            next_cursor: None,
            series: card.rates().iter().flat_map(states).collect(),
        }
    }
}

/// The labels that prices are told for: of hosts of these sites, and those that a card names itself.
#[must_use]
pub fn labels(card: &RateCard, sites: impl IntoIterator<Item = String>) -> BTreeSet<Labels> {
    let named = card.rates().iter().map(|rate| rate.labels.clone());
    let hosts = sites.into_iter().map(|site| Some(("site".to_owned(), site)).filter(|s| !s.1.is_empty()));
    named.chain(hosts.map(|site| site.into_iter().collect())).collect()
}

impl SitePrice {
    /// What a card says in the slot of `now` and after it for hosts with these labels.
    #[must_use]
    pub fn of(card: &RateCard, labels: Labels, now: Slot) -> Self {
        let tariffs = card.tariffs(&labels, Window::of_slots(now, Slot(now.0.saturating_add(AHEAD))));
        let terms = |(slot, tariff): (Slot, Option<Tariff>)| {
            let tariff = tariff?;
            Some(Terms::of(card.rates().get(tariff.rate as usize)?, &tariff, slot))
        };
        let mut changes = tariffs.iter().map(|&piece| (stamp(piece.0.start()), terms(piece)));
        let now = changes.next().and_then(|(_, terms)| terms);
        let next: Vec<Change> = changes.take(NEXT_MAX).map(|(from, terms)| Change { from, terms }).collect();
        Self { labels, now, until: next.first().map(|change| change.from.clone()), next }
    }
}

impl Terms {
    fn of(rate: &Rate, tariff: &Tariff, slot: Slot) -> Self {
        let decimal = |figure: i64, digits: u32| Decimal::new(figure, digits).normalize();
        let charge = |figure: i64, digits: u32| Some(decimal(figure, digits)).filter(|_| figure != 0);
        let period = match &rate.price {
            Figure::Schedule(schedule) => schedule.name_at(slot).map(str::to_owned),
            _ => None,
        };
        Self {
            rate: rate.name.clone().or_else(|| rate.id.clone()),
            version: rate.version.clone(),
            line: rate.line,
            currency: rate.currency,
            price_per_kwh: tariff.price_nano.map(|price| decimal(price, 9)),
            period,
            pue: decimal(tariff.pue_micro, 6),
            carbon_g_per_kwh: tariff.carbon_milligrams.map(|grams| decimal(grams, 3)),
            demand_per_kw: charge(rate.demand_nano, 9),
            fixed_per_month: charge(rate.fixed_nano, 9),
            overhead_share: charge(rate.overhead_micro, 6),
            timezone: rate.tz.iana_name().unwrap_or("UTC").to_owned(),
        }
    }
}

fn states(rate: &Rate) -> Vec<SeriesState> {
    let figures = [("price", Some(&rate.price)), ("carbon", rate.carbon.as_ref())];
    let series = figures.into_iter().filter_map(|(figure, of)| match of {
        Some(Figure::Series(series)) => Some((figure, series)),
        _ => None,
    });
    series.map(|(figure, series)| SeriesState::of(series, rate.line, figure)).collect()
}

impl SeriesState {
    fn of(series: &Series, line: usize, figure: &str) -> Self {
        let (span, gaps) = (series.span(), series.gaps());
        let edges = |window: &Window| (stamp(window.start()), stamp(window.end()));
        let (from, to) = edges(&span);
        Self {
            file: series.file().to_owned(),
            line,
            figure: figure.to_owned(),
            from,
            to,
            gaps: gaps.len(),
            first_gaps: gaps.iter().take(GAPS_MAX).map(edges).collect(),
        }
    }
}
