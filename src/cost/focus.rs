//! The answer as FOCUS 1.2: the FinOps Open Cost and Usage Specification's billing data, as CSV.
//!
//! One row per group, charge period and currency. `BilledCost` adds up to the answer's printed total,
//! `x_EnergyMicrojoules` to its energy. Energy that no rate was in force for is a row of its own in the
//! currency `XXX` (ISO 4217: no currency), so that it never looks like energy that was free; its
//! quantity is in `x_UnpricedKwh`, too. What belongs to a group rather than to a currency (coverage,
//! quality, carbon) stands on the group's first row only, so that every column can be summed.
//!
//! What became known of a closed month falls due in the next open one, as rows of the class
//! `Correction`: their charge period is the month that they correct, their billing period the one in
//! which they are billed.

use jiff::tz::TimeZone;
use meter::{SECOND_NS, Utc};
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::closing::Adjustment;
use crate::error::CostError;
use crate::selector::is_label;
use crate::sheet::harmless;
use crate::statement::{Answer, Cost, QualityFigures, Row, Status};
use crate::window::{month_around, stamp};

/// The ISO 4217 code of what has no currency.
const NO_CURRENCY: &str = "XXX";

/// Microjoules in a kWh.
const KWH_UJ: i128 = 3_600_000_000_000;

/// Decimals of a kWh: less than two microjoules.
const KWH_DECIMALS: u32 = 12;

/// FOCUS' own columns, then ours, in the order of the file.
pub const COLUMNS: [&str; 56] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
    "x_CarbonLocationGrams",
    "x_CarbonWithoutFactorKwh",
    "x_CostDemand",
    "x_CostEnergy",
    "x_CostFixed",
    "x_CostPueOverhead",
    "x_CounterJoules",
    "x_CoveredSeconds",
    "x_EnergyMicrojoules",
    "x_EstimatedJoules",
    "x_ExpectedSeconds",
    "x_FacilityKwh",
    "x_IntegratedJoules",
    "x_MeteredJoules",
    "x_OriginalPeriod",
    "x_OriginalStatementId",
    "x_OriginalStatementVersion",
    "x_Status",
    "x_SummedJoules",
    "x_UnpricedKwh",
];

/// What every row says of who bills whom.
#[derive(Clone, Copy)]
pub struct Issuer<'a> {
    /// The name under which energy is billed: provider, publisher and invoice issuer.
    pub name: &'a str,
    /// The billing account: the ledger.
    pub account: &'a str,
    /// The zone that decides the months of a site (empty: hosts that name none).
    pub zone_of: &'a dyn Fn(&str) -> TimeZone,
    /// The statement that a site's rows are of, once its month is closed.
    pub invoice_of: &'a dyn Fn(&str) -> Option<String>,
}

/// What a row is about, whatever its currency.
struct Charge<'a> {
    answer: &'a Answer,
    row: &'a Row,
    issuer: &'a Issuer<'a>,
    /// The adjustment that it is, if it is one.
    corrects: Option<&'a Adjustment>,
}

/// The part of a charge that is in one currency.
struct Part<'a> {
    cost: Option<&'a Cost>,
    energy_uj: i128,
    /// Whether it carries what belongs to the whole group.
    is_first: bool,
}

/// The answer as FOCUS 1.2 CSV text.
///
/// # Errors
/// [`CostError::Write`] if the text cannot be written.
pub fn to_focus(answer: &Answer, issuer: &Issuer<'_>) -> Result<String, CostError> {
    let failed = |error: String| CostError::Write(error);
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(COLUMNS).map_err(|error| failed(error.to_string()))?;
    for row in &answer.rows {
        let charge = Charge { answer, row, issuer, corrects: None };
        for part in parts(&row.cost, row.energy_uj) {
            out.write_record(charge.cells(&part)).map_err(|error| failed(error.to_string()))?;
        }
    }
    for adjustment in &answer.adjustments {
        let row = row_of(adjustment);
        let charge = Charge { answer, row: &row, issuer, corrects: Some(adjustment) };
        for part in parts(&row.cost, row.energy_uj) {
            out.write_record(charge.cells(&part)).map_err(|error| failed(error.to_string()))?;
        }
    }
    let bytes = out.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// An adjustment in the form of a row; it says nothing of time and of the boundary.
fn row_of(adjustment: &Adjustment) -> Row {
    let sum = adjustment.sum.clone();
    Row {
        by: Some(adjustment.by.clone()),
        start: adjustment.start,
        end: adjustment.end,
        energy_uj: sum.energy_uj,
        energy_kwh: sum.energy_kwh,
        facility_kwh: sum.facility_kwh,
        quality: QualityFigures {
            counter_joules: adjustment.counter_joules,
            integrated_joules: adjustment.integrated_joules,
            estimated_joules: adjustment.estimated_joules,
            ..QualityFigures::default()
        },
        cost: sum.cost,
        unpriced_kwh: sum.unpriced_kwh,
        carbon: sum.carbon,
        ..Row::default()
    }
}

/// A row cut by currency; what has no price comes last, and alone where nothing has one.
fn parts(costs: &[Cost], energy_uj: i128) -> Vec<Part<'_>> {
    let priced: i128 = costs.iter().map(|cost| cost.energy_uj).sum();
    let pieces = costs.iter().enumerate();
    let mut parts: Vec<Part<'_>> = pieces
        .map(|(index, cost)| Part { cost: Some(cost), energy_uj: cost.energy_uj, is_first: index == 0 })
        .collect();
    if parts.is_empty() || energy_uj != priced {
        parts.push(Part { cost: None, energy_uj: energy_uj - priced, is_first: parts.is_empty() });
    }
    parts
}

impl Charge<'_> {
    /// The cells in the order of [`COLUMNS`]; an empty one is null.
    fn cells(&self, part: &Part<'_>) -> Vec<String> {
        let mut cells = self.focus(part);
        cells.extend(self.ours(part));
        cells
    }

    fn focus(&self, part: &Part<'_>) -> Vec<String> {
        let (row, issuer) = (self.row, self.issuer);
        let amount = part.cost.map_or(Decimal::ZERO, |cost| cost.amount).to_string();
        let site = row.value("site");
        // A correction is billed in the month that was asked for: two days into it is that month in every zone.
        let asked = Utc(self.answer.window.start.0 + 2 * 86_400 * SECOND_NS);
        let billed = if self.corrects.is_some() { asked } else { row.start };
        let (period_start, period_end) = month_around(billed, &(issuer.zone_of)(site));
        let quantity = kwh(part.energy_uj);
        let resource = self.resource();
        let account = self.account();
        vec![
            amount.clone(),
            text(issuer.account),
            text(issuer.name),
            part.cost.map_or_else(|| NO_CURRENCY.to_owned(), |cost| cost.currency.to_string()),
            stamp(period_end),
            stamp(period_start),
            "Usage".to_owned(),
            self.corrects.map_or_else(String::new, |_| "Correction".to_owned()),
            self.description(part),
            "Usage-Based".to_owned(),
            stamp(row.end),
            stamp(row.start),
            quantity.clone(),
            "kWh".to_owned(),
            amount.clone(),
            amount.clone(),
            (issuer.invoice_of)(site).unwrap_or_default(),
            text(issuer.name),
            amount,
            if part.cost.is_some() { "Standard" } else { "Other" }.to_owned(),
            quantity,
            "kWh".to_owned(),
            text(issuer.name),
            text(issuer.name),
            text(site),
            text(site),
            resource.0,
            resource.1,
            resource.2.to_owned(),
            "Compute".to_owned(),
            "Electrical energy".to_owned(),
            "Other (Compute)".to_owned(),
            account.0.clone(),
            account.0,
            account.1,
            tags(&self.answer.by, |key| row.value(key)),
        ]
    }

    fn ours(&self, part: &Part<'_>) -> Vec<String> {
        let (row, quality) = (self.row, &self.row.quality);
        let once = |figure: String| if part.is_first { figure } else { String::new() };
        let time = |figure: f64| if self.corrects.is_none() { once(figure.to_string()) } else { String::new() };
        let corrected = |of: fn(&Adjustment) -> String| self.corrects.map_or_else(String::new, of);
        let cost = |of: fn(&Cost) -> Decimal| part.cost.map_or_else(String::new, |cost| of(cost).to_string());
        let status = if self.answer.status == Status::Closed { "closed" } else { "provisional" };
        vec![
            once(row.carbon.location_grams.map_or_else(String::new, |grams| grams.to_string())),
            once(row.carbon.without_factor_kwh.to_string()),
            cost(|cost| cost.parts.demand),
            cost(|cost| cost.parts.energy),
            cost(|cost| cost.parts.fixed),
            cost(|cost| cost.parts.pue_overhead),
            once(quality.counter_joules.to_string()),
            time(quality.covered_seconds),
            part.energy_uj.to_string(),
            once(quality.estimated_joules.to_string()),
            time(quality.expected_seconds),
            once(row.facility_kwh.to_string()),
            once(quality.integrated_joules.to_string()),
            time(quality.metered_joules),
            corrected(|one| one.original.period.clone()),
            corrected(|one| one.original.id.clone()),
            corrected(|one| one.original.version.to_string()),
            status.to_owned(),
            time(quality.summed_joules),
            if part.cost.is_some() { "0".to_owned() } else { kwh(part.energy_uj) },
        ]
    }

    fn description(&self, part: &Part<'_>) -> String {
        let group: Vec<String> = self.answer.by.iter().map(|key| format!("{key}={}", self.row.value(key))).collect();
        let of = if group.is_empty() { "all hosts".to_owned() } else { group.join(", ") };
        let what = if part.cost.is_some() { "Electrical energy of" } else { "Unpriced electrical energy (no rate) of" };
        let corrects = self.corrects.map(|one| format!(", correction of {}", one.original.period));
        format!("{what} {of}{}", corrects.unwrap_or_default())
    }

    /// Identifier, name and kind of the machine that a row is about, if it is about one.
    fn resource(&self) -> (String, String, &'static str) {
        resource(&self.answer.by, |key| self.row.value(key))
    }

    /// The value of the first label that rows are grouped by, and its key.
    fn account(&self) -> (String, String) {
        account(&self.answer.by, |key| self.row.value(key))
    }
}

/// Identifier, name and kind of the machine that a group is, if it is one.
fn resource<'a>(by: &'a [String], value: impl Fn(&'a str) -> &'a str) -> (String, String, &'static str) {
    let of = |key: &'static str| by.iter().find(|known| *known == key).map(|key| value(key)).filter(|v| !v.is_empty());
    let kinds = [("device", "Device"), ("host", "Host"), ("chassis", "Chassis")];
    let Some((name, kind)) = kinds.into_iter().find_map(|(key, kind)| Some((of(key)?, kind))) else {
        return (String::new(), String::new(), "");
    };
    let within = match kind {
        "Device" => vec![of("cluster"), of("host")],
        _ => vec![of("cluster")],
    };
    let path: Vec<&str> = within.into_iter().flatten().chain([name]).collect();
    (text(&path.join("/")), text(name), kind)
}

fn account<'a>(by: &'a [String], value: impl Fn(&'a str) -> &'a str) -> (String, String) {
    let says_who = |key: &str| (is_label(key) && key != "site") || key.starts_with("job.");
    let key = by.iter().find(|key| says_who(key) && !value(key).is_empty());
    key.map_or_else(Default::default, |key| (text(value(key)), text(key)))
}

/// Labels as they are, our own keys with a prefix, as FOCUS asks of what a provider adds.
fn tags<'a>(by: &'a [String], value: impl Fn(&'a str) -> &'a str) -> String {
    let mut tags = Map::new();
    for key in by.iter().filter(|key| !value(key).is_empty()) {
        let name = if is_label(key) { key.clone() } else { format!("wattledger/{key}") };
        tags.insert(name, Value::String(value(key).to_owned()));
    }
    Value::Object(tags).to_string()
}

/// Text that no spreadsheet takes for a formula.
fn text(value: &str) -> String {
    harmless(value).into_owned()
}

/// Microjoules as a decimal of kWh without exponent.
fn kwh(energy_uj: i128) -> String {
    let units = energy_uj * 10_i128.pow(KWH_DECIMALS);
    let (floor, rest) = (units.div_euclid(KWH_UJ), units.rem_euclid(KWH_UJ));
    let rounded = floor + i128::from(2 * rest >= KWH_UJ);
    Decimal::try_from_i128_with_scale(rounded, KWH_DECIMALS)
        .map_or_else(|_| rounded.to_string(), |kwh| kwh.normalize().to_string())
}
