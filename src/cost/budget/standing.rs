//! Where budgets stand, as it is told.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Basis;

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No threshold is reached, and the forecast stays below all of it.
    Ok,
    /// A threshold is reached, or the forecast reaches all of it.
    Warning,
    /// All of it is used.
    Exceeded,
}

/// All budgets at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Standings {
    /// When the figures were taken, in RFC 3339.
    pub as_of: String,
    /// Why the file as it is now is not in force, if it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file_problem: Option<String>,
    /// In the order of the file.
    pub budgets: Vec<Standing>,
    /// Whether budgets of money are left out, as the aggregator is configured; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost_hidden: bool,
}

/// One budget in one month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// What counts.
    #[serde(rename = "where")]
    pub filter: String,
    /// The month, such as `2026-10`.
    pub month: String,
    /// The zone that decides it.
    pub tz: String,
    /// `kWh`, or a currency.
    pub unit: String,
    /// How much it may use.
    pub limit: Decimal,
    /// How much it has used.
    pub used: Decimal,
    /// The share of the limit, to a millionth.
    pub used_share: Decimal,
    /// What it will have used at the end of the month; nothing as long as too little is known.
    pub forecast: Option<Decimal>,
    /// The share of the limit.
    pub forecast_share: Option<Decimal>,
    /// On what the forecast rests.
    pub basis: Option<Basis>,
    /// How it stands.
    pub state: State,
    /// Its thresholds, ascending.
    pub thresholds: Vec<Threshold>,
    /// When the forecast first reached all of it, if it did.
    pub forecast_reached_at: Option<String>,
    /// How much of this month, so far, readings cover, in host-seconds.
    pub covered_seconds: f64,
    /// For how long there should be readings.
    pub expected_seconds: f64,
    /// Energy that no rate is in force for, in kWh: it is not in `used` of a budget of money.
    pub unpriced_kwh: f64,
    /// Who is told, if anybody is.
    pub webhook: Option<Delivery>,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Threshold {
    /// In percent of the limit.
    pub percent: u32,
    /// Whether that much is used now.
    pub crossed: bool,
    /// When it was first seen to be, in RFC 3339.
    pub at: Option<String>,
}

/// What became of the messages of this month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Messages that arrived.
    pub delivered: usize,
    /// Messages that are tried again.
    pub pending: usize,
    /// Messages that were given up.
    pub given_up: usize,
    /// What was wrong last, if anything.
    pub last_problem: Option<String>,
}
