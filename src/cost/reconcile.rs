//! Reconciliation: what meters at several levels say of the same energy, compared over the time that both saw.
//!
//! From the building inwards: facility ▸ PDU ▸ chassis (what is billed) ▸ components. Levels are compared slot by
//! slot, and a slot counts only where both were read for the same time: the mean covered time per meter, and per
//! host, may differ by the tolerance's share of a slot, at least [`SLACK_MIN_NS`], at most [`SLACK_MAX_NS`]. What
//! only one of them saw is left out of both sums and shown beside them.
//!
//! A ratio is judged where it should be one: a PDU against the machines behind it; a facility's meter against
//! what is inside it times the PUE that is billed. Components may explain less than their meter saw, for power
//! supplies and fans have no sensor; more than it they may not.

use meter::{Energy, MICROJOULE};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::closing::ClosedFigure;
use crate::statement::{Edges, Status, whole};

mod invoice;
mod levels;

pub use invoice::{Compared, Invoice, InvoiceCheck, Ours};
pub use levels::{Common, Level, SLACK_MAX_NS, SLACK_MIN_NS, Seen, common};

/// Where energy is measured, from the building inwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The building's meters.
    Facility,
    /// Power distribution units.
    Pdu,
    /// The hosts as they are billed: at their outermost meters, else summed from components.
    Chassis,
    /// What is inside them.
    Components,
}

/// Whether a comparison holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Within the tolerance.
    Within,
    /// It cannot be told.
    Unknown,
    /// Beyond the tolerance.
    Beyond,
}

/// A level as it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LevelFigures {
    /// Which one.
    pub level: Place,
    /// The most meters, or hosts, that there should be readings of at a time.
    pub members: u64,
    /// All that it showed in the window, in whole microjoules.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub energy_uj: i128,
    /// The same in kWh.
    pub energy_kwh: f64,
    /// How much of it is estimated, in kWh.
    pub estimated_kwh: f64,
    /// For how long it was covered, added up over the members, in seconds.
    pub covered_seconds: f64,
    /// For how long it should be, in seconds.
    pub expected_seconds: f64,
    /// From the first to the last slot with readings.
    pub read: Option<Edges>,
}

/// Two levels side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The outer level.
    pub upper: Place,
    /// The inner level.
    pub lower: Place,
    /// Whether their ratio is as it should be.
    pub verdict: Verdict,
    /// Why the verdict is what it is, in a sentence.
    pub why: String,
    /// Slots that are compared…
    pub slots: u64,
    /// …of them, those that both saw for the same part only.
    pub partial_slots: u64,
    /// Where the comparison is host by host: the hosts compared, and those left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hosts: Option<(u64, u64)>,
    /// What the outer level showed there, in whole microjoules.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub upper_uj: i128,
    /// What the inner level showed there.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub lower_uj: i128,
    /// What the outer level should show by that: the inner level times the PUE that is billed, or the inner level.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub expected_uj: i128,
    /// Outer less inner.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub difference_uj: i128,
    /// The outer level's energy in kWh.
    pub upper_kwh: f64,
    /// The inner level's.
    pub lower_kwh: f64,
    /// Their difference.
    pub difference_kwh: f64,
    /// Outer ÷ inner, to a millionth; nothing where the inner level showed nothing.
    pub ratio: Option<Decimal>,
    /// What is not compared, because only one of them saw it.
    pub left_out: LeftOut,
}

/// What is not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeftOut {
    /// Slots in which the two saw different times.
    pub slots: u64,
    /// What the outer level showed in them, in kWh.
    pub upper_kwh: f64,
    /// What the inner level showed in them, in kWh.
    pub lower_kwh: f64,
}

/// Power usage effectiveness: facility ÷ IT energy (ISO/IEC 30134-2), IT measured at the machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pue {
    /// By the meters, over the slots compared.
    pub implied: Decimal,
    /// What the rate cards bill there.
    pub billed: Decimal,
    /// How many slots that is.
    pub slots: u64,
}

/// One site's meters, or the whole fleet's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Site {
    /// The site; nothing for the whole fleet.
    pub site: Option<String>,
    /// The worst verdict of its comparisons; unknown if there is nothing to compare.
    pub verdict: Verdict,
    /// The levels that were read, from the building inwards.
    pub levels: Vec<LevelFigures>,
    /// Each level beside the next one.
    pub steps: Vec<Step>,
    /// The PUE by the facility's meter, if there is one.
    pub pue: Option<Pue>,
    /// The invoice beside what was measured.
    pub invoice: Option<InvoiceCheck>,
    /// What the closed month has for its hosts, if the window lies in one.
    #[serde(default)]
    pub closed: Option<ClosedFigure>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// A reconciliation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reconciliation {
    /// The window used: that of the question, moved outward to slot borders.
    pub window: Edges,
    /// When the figures were taken, in RFC 3339.
    pub as_of: String,
    /// Whether what is billed can still change; these figures are today's all the same.
    pub status: Status,
    /// The zone that decides days and months.
    pub tz: String,
    /// How far a ratio may be off, as a share.
    pub tolerance: Decimal,
    /// The worst verdict of all sites.
    pub verdict: Verdict,
    /// Site by site.
    pub sites: Vec<Site>,
    /// Whether money is left out, as the aggregator is configured; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost_hidden: bool,
}

impl Place {
    /// The word used everywhere outside.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Facility => "facility",
            Self::Pdu => "pdu",
            Self::Chassis => "chassis",
            Self::Components => "components",
        }
    }
}

impl Verdict {
    /// The worst of several; unknown if there are none.
    #[must_use]
    pub fn of(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().max().unwrap_or(Self::Unknown)
    }
}

impl LevelFigures {
    /// The share of the time that is covered, for people.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        if self.expected_seconds > 0.0 { (self.covered_seconds / self.expected_seconds).min(1.0) } else { 0.0 }
    }
}

impl Step {
    /// Two energies side by side that nobody has judged yet.
    #[must_use]
    pub fn new(upper: Place, lower: Place, upper_uj: i128, lower_uj: i128) -> Self {
        Self {
            upper,
            lower,
            verdict: Verdict::Unknown,
            why: String::new(),
            slots: 0,
            partial_slots: 0,
            hosts: None,
            upper_uj,
            lower_uj,
            expected_uj: lower_uj,
            difference_uj: upper_uj - lower_uj,
            upper_kwh: kwh(upper_uj),
            lower_kwh: kwh(lower_uj),
            difference_kwh: kwh(upper_uj - lower_uj),
            ratio: ratio(upper_uj, lower_uj),
            left_out: LeftOut::default(),
        }
    }

    /// Judges components against their hosts' meters: they may explain less, not more.
    #[must_use]
    pub fn judge_components(mut self, tolerance: Decimal) -> Self {
        (self.verdict, self.why) = if self.lower_uj <= self.upper_uj {
            (Verdict::Within, "the rest is what no component explains: power supplies, fans, conversion".into())
        } else {
            judged(self.upper_uj, self.lower_uj, tolerance)
        };
        self
    }
}

/// Whether a figure is what it should be, and that in words.
pub(crate) fn judged(figure: i128, expected: i128, tolerance: Decimal) -> (Verdict, String) {
    if expected <= 0 {
        return (Verdict::Unknown, "there is nothing to compare with".into());
    }
    // Exact: both sides in whole billionths of the expected figure.
    let off = (figure - expected).unsigned_abs();
    let allowed = times(expected, tolerance).unsigned_abs();
    let percent = ratio(figure, expected).map_or(Decimal::ZERO, |ratio| (ratio - Decimal::ONE) * Decimal::ONE_HUNDRED);
    let sign = if percent.is_sign_negative() { "" } else { "+" };
    let told = format!("{sign}{} % against what is expected", percent.normalize());
    (if off <= allowed { Verdict::Within } else { Verdict::Beyond }, told)
}

/// `amount` times a decimal, rounded to a whole number.
pub(crate) fn times(amount: i128, factor: Decimal) -> i128 {
    // To a billionth, and whole parts apart, so that no product leaves 128 bits.
    let factor = factor.round_dp(9);
    let (mantissa, scale) = (factor.mantissa(), 10_i128.pow(factor.scale()));
    let (whole, part) = (amount.div_euclid(scale), amount.rem_euclid(scale));
    whole * mantissa + (part * mantissa + scale / 2).div_euclid(scale)
}

/// A quotient to a millionth, rounded half up.
#[must_use]
pub fn ratio(upper: i128, lower: i128) -> Option<Decimal> {
    if lower == 0 {
        return None;
    }
    let (upper, lower) = if lower < 0 { (-upper, -lower) } else { (upper, lower) };
    let millionths = upper / lower * 1_000_000 + (upper % lower * 1_000_000 + lower / 2).div_euclid(lower);
    Decimal::try_from_i128_with_scale(millionths, 6).ok().map(|ratio| ratio.normalize())
}

/// Microjoules as kWh, for people.
#[expect(clippy::cast_precision_loss, reason = "presentation only")]
pub(crate) fn kwh(uj: i128) -> f64 {
    (uj as f64 / 3.6e12 * 1e9).round() / 1e9 + 0.0
}

/// Nanoseconds as seconds, for people.
#[expect(clippy::cast_precision_loss, reason = "presentation only")]
fn seconds(ns: u128) -> f64 {
    (ns as f64 / 1e9 * 1e3).round() / 1e3
}

/// The energy of this many whole microjoules.
#[must_use]
pub const fn energy_of(uj: i128) -> Energy {
    Energy(uj * MICROJOULE)
}
