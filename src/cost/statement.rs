//! The answer to a question about cost, as it is written and read: the twin of the contract's JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use meter::Utc;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::closing::{Adjustment, Correction, Original, Sum};
use crate::currency::Currency;
use crate::error::CostError;
use crate::rollup::Rollup;
use crate::selector::By;
use crate::step::Step;
use crate::window::Window;

/// An answer: rows by group and interval, and their total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// The window used: that of the question, moved outward to slot borders.
    pub window: Edges,
    /// When the figures were taken.
    #[serde(with = "stamp")]
    #[schema(value_type = String, format = DateTime)]
    pub as_of: Utc,
    /// Whether they can still change.
    pub status: Status,
    /// The keys of the groups, in the order asked for.
    pub by: Vec<String>,
    /// The step, or none for one interval.
    pub step: Option<String>,
    /// The IANA zone that decides days and months.
    pub tz: String,
    /// The rows, by time, then by key.
    pub rows: Vec<Row>,
    /// The total over all rows.
    pub total: Row,
    /// The hosts that people should look at before they believe the figures, the worst first; at most
    /// [`FLAGGED_MAX`].
    #[serde(default)]
    pub flagged: Vec<FlaggedHost>,
    /// How many there are in all.
    #[serde(default)]
    pub flagged_hosts: u64,
    /// The statements that the figures are of, if their month is closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Original>,
    /// Statements of other spans of time, or of more than was asked for, that share time with the window: the figures
    /// are those of today, not theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlapped_statements: Vec<Original>,
    /// What became known of closed months after they were closed, where it falls due in this window; not
    /// in `rows` and `total`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<Adjustment>,
    /// The total over all adjustments, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjustments_total: Option<Sum>,
    /// What is to be paid: the total and the adjustments, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<Sum>,
    /// Whether money is left out, as the aggregator is configured; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost_hidden: bool,
    /// How many hosts that can count here are no live machines: simulated, or replayed recordings. Absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_up_hosts: Option<u64>,
}

/// Most hosts of an answer that are named because of a flag: more than anybody reads at a time.
pub const FLAGGED_MAX: usize = 100;

/// A host that people should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlaggedHost {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub host: String,
    /// Why, and in how many slots; see [`meter::Doubt`].
    pub flags: BTreeMap<Cow<'static, str>, u64>,
}

/// Start and end of a span of time, `end` exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Edges {
    /// Where it begins.
    #[serde(with = "stamp")]
    #[schema(value_type = String, format = DateTime)]
    pub start: Utc,
    /// Where it ends.
    #[serde(with = "stamp")]
    #[schema(value_type = String, format = DateTime)]
    pub end: Utc,
}

/// Whether figures can still change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    /// They can: late readings, corrected labels and prices count.
    Provisional,
    /// They cannot: the month is closed.
    Closed,
}

/// One group in one interval; without `by`, the total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Row {
    /// The group: key to value, empty where the host lacks the label.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<BTreeMap<String, String>>,
    /// What the row is, if it is no job's: `idle` (energy of machines that run jobs, held by nobody) or
    /// `unattributed` (that of what runs none). Only where `by` has a key of jobs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<Cow<'static, str>>,
    /// Where the interval begins.
    #[serde(with = "stamp")]
    #[schema(value_type = String, format = DateTime)]
    pub start: Utc,
    /// Where it ends, exclusive.
    #[serde(with = "stamp")]
    #[schema(value_type = String, format = DateTime)]
    pub end: Utc,
    /// Energy in joules, from `energy_uj`.
    pub energy_joules: f64,
    /// Energy in whole microjoules: those of the rows add up to the total's, whatever the grouping.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub energy_uj: i128,
    /// Energy in kWh.
    pub energy_kwh: f64,
    /// Energy times the PUE in force, in kWh; energy without a rate counts once.
    pub facility_kwh: f64,
    /// How the energy came to be known.
    pub quality: QualityFigures,
    /// The rules by which it is billed; see [`meter::Method`].
    #[serde(default)]
    pub methods: Vec<Cow<'static, str>>,
    /// What people should look at, and in how many slots of hosts; see [`meter::Doubt`].
    #[serde(default)]
    pub flags: BTreeMap<Cow<'static, str>, u64>,
    /// What it costs, per currency.
    pub cost: Vec<Cost>,
    /// Energy that no rate was in force for, in kWh.
    pub unpriced_kwh: f64,
    /// What it emitted.
    pub carbon: Carbon,
}

/// How a row's energy came to be known. The first three add up to the energy, and so do the next two;
/// metered and summed seconds add up to the covered ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QualityFigures {
    /// From hardware counters, in joules.
    pub counter_joules: f64,
    /// From power joined between readings, in joules.
    pub integrated_joules: f64,
    /// From gaps filled by a stated rule, in joules.
    pub estimated_joules: f64,
    /// Billed at the hosts' outermost meters, with what was estimated for seconds that they missed, in joules.
    pub metered_joules: f64,
    /// Summed from components, in joules.
    pub summed_joules: f64,
    /// Energy whose holder was told too late, or only by number of devices: divided by time or number, not by
    /// readings at the instant, in joules. Zero where nobody asked for jobs.
    #[serde(default)]
    pub apportioned_joules: f64,
    /// Host-seconds with readings (device-seconds where grouped by device).
    pub covered_seconds: f64,
    /// Of these, with readings of the meter that is billed.
    #[serde(default)]
    pub metered_seconds: f64,
    /// Of these, summed from components.
    #[serde(default)]
    pub summed_seconds: f64,
    /// Uncovered seconds that the meter missed, billed as components times their usual ratio: their energy
    /// is in `estimated_joules`.
    #[serde(default)]
    pub ratio_seconds: f64,
    /// Host-seconds that there should be readings for.
    pub expected_seconds: f64,
}

/// An amount in one currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    /// The currency.
    pub currency: Currency,
    /// The energy that is priced in it, in whole microjoules: a row's are part of its energy; over rows they add
    /// up to the rounding of each.
    #[serde(with = "whole", default)]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub energy_uj: i128,
    /// The amount, rounded once to the currency's minor unit; the parts add up to it.
    pub amount: Decimal,
    /// What it is made of.
    pub parts: CostParts,
}

/// What an amount is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostParts {
    /// The machines' energy.
    pub energy: Decimal,
    /// What the plant around them adds.
    pub pue_overhead: Decimal,
    /// Demand charges.
    pub demand: Decimal,
    /// Fixed charges.
    pub fixed: Decimal,
}

/// Emissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Carbon {
    /// Grams of CO₂ equivalent of the facility's energy by the grid's location; nothing where no
    /// factor is known for any of it.
    pub location_grams: Option<f64>,
    /// Energy without a carbon factor, in kWh: not in `location_grams`.
    #[serde(default)]
    pub without_factor_kwh: f64,
}

/// What an answer says about its question.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The window used.
    pub window: Window,
    /// The step.
    pub step: Option<Step>,
    /// The zone's name.
    pub tz: &'a str,
    /// When the figures were taken.
    pub as_of: Utc,
    /// Whether they can still change.
    pub status: Status,
}

impl Answer {
    /// The answer from what a rollup has summed.
    #[must_use]
    pub fn new(question: &Question<'_>, rollup: Rollup<'_>) -> Self {
        let by = By::names(&rollup.by);
        let (flagged, flagged_hosts) = rollup.flagged(FLAGGED_MAX);
        let (rows, total) = rollup.finish();
        Self {
            window: Edges { start: question.window.start(), end: question.window.end() },
            as_of: question.as_of,
            status: question.status,
            by,
            step: question.step.map(|step| step.word().to_owned()),
            tz: question.tz.to_owned(),
            rows,
            total,
            flagged,
            flagged_hosts,
            ..Self::default()
        }
    }

    /// With the adjustments of what is corrected, by the same keys.
    #[must_use]
    pub fn with_corrections(self, corrections: &[Correction]) -> Self {
        let adjustments = corrections.iter().flat_map(|correction| correction.adjustments(&self.by)).collect();
        self.with_adjustments(adjustments)
    }

    /// With adjustments, their total, and the bill of both.
    #[must_use]
    pub fn with_adjustments(mut self, adjustments: Vec<Adjustment>) -> Self {
        if adjustments.is_empty() {
            return self;
        }
        let mut all = Sum::default();
        adjustments.iter().for_each(|one| all.add(&one.sum));
        let mut bill = Sum::of(&self.total);
        bill.add(&all);
        (self.adjustments, self.adjustments_total, self.bill) = (adjustments, Some(all), Some(bill));
        self
    }

    /// The answer as JSON.
    ///
    /// # Errors
    /// [`CostError::Write`] if a figure cannot be written.
    pub fn to_json(&self) -> Result<String, CostError> {
        serde_json::to_string(self).map_err(|error| CostError::Write(error.to_string()))
    }

    /// The currencies that occur, in the order of their codes.
    pub fn currencies(&self) -> impl Iterator<Item = Currency> {
        let billed = self.bill.as_ref().map_or(&self.total.cost, |bill| &bill.cost);
        billed.iter().map(|cost| cost.currency)
    }
}

impl Cost {
    /// Adds another of the same currency.
    pub fn add(&mut self, other: &Self) {
        self.energy_uj += other.energy_uj;
        self.amount += other.amount;
        self.parts.energy += other.parts.energy;
        self.parts.pue_overhead += other.parts.pue_overhead;
        self.parts.demand += other.parts.demand;
        self.parts.fixed += other.parts.fixed;
    }
}

impl Row {
    /// The cost in one currency, if it has any.
    #[must_use]
    pub fn cost_in(&self, currency: Currency) -> Option<&Cost> {
        self.cost.iter().find(|cost| cost.currency == currency)
    }

    /// The group's value of a key; empty where it has none.
    #[must_use]
    pub fn value(&self, key: &str) -> &str {
        self.by.as_ref().and_then(|by| by.get(key)).map_or("", String::as_str)
    }
}

/// Instants as RFC 3339 text in UTC.
pub(crate) mod stamp {
    use meter::Utc;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    pub(crate) fn serialize<S: Serializer>(at: &Utc, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&crate::window::stamp(*at))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Utc, D::Error> {
        let text = String::deserialize(input)?;
        crate::window::read_instant(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no instant")))
    }
}

/// Whole numbers as text: beyond 2⁵³ a JSON number is not exact for everyone.
pub(crate) mod whole {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &i128, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<i128, D::Error> {
        let text = String::deserialize(input)?;
        text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no whole number")))
    }
}
