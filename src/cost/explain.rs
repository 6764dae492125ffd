//! How a figure came about, told such that a person can add it up again: accounts, holes, boundary, slots, prices.
//!
//! The slots' energies add up to the total, to the microjoule. A slot's amount has four parts, to 10⁻¹² of the
//! currency:
//! - energy: kWh × price;
//! - overhead of the plant: kWh × price × (PUE − 1);
//! - fixed: kWh × price × PUE × surcharge, and kWh × the share of the month's fixed charge that a kWh bears;
//! - demand: kWh × PUE × demand charge, in the slot of the site's peak only.
//!
//! Their sum over all slots, rounded once to the minor unit, is the amount that is printed.

use std::collections::BTreeMap;

use meter::Labels;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::closing::ClosedFigure;
use crate::currency::Currency;
use crate::statement::{CostParts, Edges, Row, Status, whole};

mod slots;

pub use slots::{Slots, priced};

/// How a host's figure came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The host's cluster.
    pub cluster: String,
    /// Its name.
    pub host: String,
    /// Names of the machine whose energy is shown under this one.
    pub aliases: Vec<String>,
    /// The window used: that of the question, moved outward to slot borders.
    pub window: Edges,
    /// When the figures were taken, in RFC 3339.
    pub as_of: String,
    /// Whether what is billed can still change; these figures are today's all the same.
    pub status: Status,
    /// What the closed month has for the host, if the window lies in one.
    #[serde(default)]
    pub closed: Option<ClosedFigure>,
    /// The zone that decides days and months.
    pub tz: String,
    /// For which part of the window readings are expected; nothing if for none of it.
    pub expected: Option<Edges>,
    /// The labels in force, in the order of time.
    pub labels: Vec<InForce>,
    /// What was read, account by account: the host's own, then its chassis'.
    pub accounts: Vec<AccountStory>,
    /// What of it is billed.
    pub boundary: BoundaryStory,
    /// The prices that were in force, in the order of their file.
    pub rates: Vec<RateStory>,
    /// Energy, price and amount, slot by slot; slots without energy and without readings are left out.
    pub slots: Vec<SlotStory>,
    /// The total, as `/api/v1/rollup` gives it.
    pub total: Row,
    /// The sums of the slots' amounts, per currency, before rounding.
    pub exact: BTreeMap<Currency, Decimal>,
    /// Whether money is left out, as the aggregator is configured; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost_hidden: bool,
}

/// Labels of a host for a stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InForce {
    /// For how long.
    pub span: Edges,
    /// The chassis that it sits in, if it is known.
    pub chassis: Option<String>,
    /// The labels.
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
}

/// Energy by how it came to be known, in whole microjoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Kinds {
    /// From hardware counters.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub counter_uj: i128,
    /// From power joined between readings.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub integrated_uj: i128,
    /// From gaps filled by a stated rule.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub estimated_uj: i128,
}

/// What an account is to the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An outermost meter: one family of them is billed in each slot.
    Meter,
    /// A component.
    Component,
    /// A reference meter: never billed.
    Reference,
}

/// One account in the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccountStory {
    /// `host` or `chassis`.
    pub owner_kind: String,
    /// Whose account it is.
    pub owner: String,
    /// The scope.
    pub scope: String,
    /// The device.
    pub device: String,
    /// What it is to the bill.
    pub role: Role,
    /// The first reading of all.
    pub first_reading: String,
    /// The newest.
    pub last_reading: String,
    /// All that it ever counted.
    pub lifetime: Kinds,
    /// What it counted in the window.
    pub window: Kinds,
    /// For how long of the window there were readings, in seconds.
    pub covered_seconds: f64,
    /// In how many slots of the window it was the meter that is billed; nothing where meters are shared.
    pub billed_slots: Option<u64>,
    /// Holes that reach into the window.
    pub holes: Vec<HoleStory>,
    /// Older holes of which only their number is kept: their time stays uncovered.
    pub final_holes: u64,
    /// What people should look at.
    pub flags: Vec<String>,
}

/// Time without readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HoleStory {
    /// The reading before it.
    pub from: EdgeStory,
    /// The reading after it.
    pub until: EdgeStory,
    /// What is booked for it as an estimate, in whole microjoules, whatever of it lies in the window.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub estimated_uj: i128,
}

/// A reading at the end of a hole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EdgeStory {
    /// When.
    pub at: String,
    /// The power, in watts.
    pub watts: Option<Decimal>,
    /// The counter, in whole microjoules.
    pub counter_uj: Option<u64>,
}

/// What is billed of what was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BoundaryStory {
    /// By which rules; see [`meter::Method`].
    pub methods: Vec<String>,
    /// The components and the rest, which add up to what is billed.
    pub lines: Vec<LineStory>,
    /// What the meter saw and no component explains, one of the lines, in whole microjoules.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub unattributed_uj: i128,
}

/// One line of what is billed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LineStory {
    /// The scope, or `unattributed`.
    pub scope: String,
    /// The device.
    pub device: String,
    /// Its energy in whole microjoules.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub energy_uj: i128,
}

/// A rate of the card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RateStory {
    /// The line of the file it begins at.
    pub line: usize,
    /// The site it is for; nothing for every site without its own.
    pub site: Option<String>,
    /// All the labels that it asks for.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The currency.
    pub currency: Currency,
    /// Since when it is in force; nothing for always.
    pub valid_from: Option<String>,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlotStory {
    /// Where it begins.
    pub start: String,
    /// The billed energy in whole microjoules.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub energy_uj: i128,
    /// The same in kWh.
    pub energy_kwh: f64,
    /// For how long there were readings, in seconds.
    pub covered_seconds: f64,
    /// How much of the energy is estimated, in joules.
    pub estimated_joules: f64,
    /// The line of the file that the price stands at; nothing for energy without a price.
    pub rate_line: Option<usize>,
    /// The price per kWh; nothing where a series lacks it.
    pub price_per_kwh: Option<Decimal>,
    /// Facility energy per energy of the machines.
    pub pue: Option<Decimal>,
    /// The rate's surcharge on what energy and its overhead cost, as a share.
    #[serde(default)]
    pub surcharge: Option<Decimal>,
    /// The share of the month's fixed charge that each kWh bears.
    #[serde(default)]
    pub fixed_per_kwh: Option<Decimal>,
    /// The demand charge that each kWh at the facility's meter bears in the slot of the site's peak.
    #[serde(default)]
    pub demand_per_kwh: Option<Decimal>,
    /// The currency.
    pub currency: Option<Currency>,
    /// What the slot costs before it is rounded, to 10⁻¹²: the sum of its parts.
    pub amount: Option<Decimal>,
    /// What that is made of.
    #[serde(default)]
    pub parts: Option<CostParts>,
}
