//! The answer as CSV: one row per group and interval, columns that depend only on the keys asked for
//! and the currencies that occur. There is no total row: a sum over a column is the total.

use std::borrow::Cow;

use crate::closing::Adjustment;
use crate::currency::Currency;
use crate::error::CostError;
use crate::statement::{Answer, Cost, Row};
use crate::window::stamp;

const FIGURES: [&str; 16] = [
    "energy_uj",
    "energy_kwh",
    "facility_kwh",
    "counter_joules",
    "integrated_joules",
    "estimated_joules",
    "metered_joules",
    "summed_joules",
    "apportioned_joules",
    "covered_seconds",
    "metered_seconds",
    "summed_seconds",
    "ratio_seconds",
    "expected_seconds",
    "unpriced_kwh",
    "carbon_location_grams",
];

const PARTS: [&str; 4] = ["energy", "pue_overhead", "demand", "fixed"];

/// The answer as CSV text: `start,end`, the keys, the figures, for each currency `cost_EUR`,
/// `cost_EUR_energy` and so on, `methods` and `flags`, several of them separated by blanks, `line`:
/// what a row is that is no job's (`idle`, `unattributed`), and last `kind` (`usage`, or `adjustment`
/// of a closed month, whose rows come last) and `adjusts`: that month. A sum over a column of all rows
/// is the bill, over the rows of usage the total.
///
/// # Errors
/// [`CostError::Write`] if the text cannot be written.
pub fn to_csv(answer: &Answer) -> Result<String, CostError> {
    let failed = |error: String| CostError::Write(error);
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(header(answer)).map_err(|error| failed(error.to_string()))?;
    for row in &answer.rows {
        out.write_record(record(answer, row)).map_err(|error| failed(error.to_string()))?;
    }
    for adjustment in &answer.adjustments {
        out.write_record(adjusted(answer, adjustment)).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = out.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

fn header(answer: &Answer) -> Vec<String> {
    let mut cells = vec!["start".to_owned(), "end".to_owned()];
    cells.extend(answer.by.iter().cloned());
    cells.extend(FIGURES.map(str::to_owned));
    for currency in answer.currencies() {
        cells.push(format!("cost_{currency}"));
        cells.extend(PARTS.map(|part| format!("cost_{currency}_{part}")));
    }
    cells.extend(["methods", "flags", "line", "kind", "adjusts"].map(str::to_owned));
    cells
}

fn record(answer: &Answer, row: &Row) -> Vec<String> {
    let quality = &row.quality;
    let mut cells = vec![stamp(row.start), stamp(row.end)];
    cells.extend(answer.by.iter().map(|key| harmless(row.value(key)).into_owned()));
    cells.push(row.energy_uj.to_string());
    let figures = [
        row.energy_kwh,
        row.facility_kwh,
        quality.counter_joules,
        quality.integrated_joules,
        quality.estimated_joules,
        quality.metered_joules,
        quality.summed_joules,
        quality.apportioned_joules,
        quality.covered_seconds,
        quality.metered_seconds,
        quality.summed_seconds,
        quality.ratio_seconds,
        quality.expected_seconds,
        row.unpriced_kwh,
    ];
    cells.extend(figures.map(|figure| figure.to_string()));
    cells.push(row.carbon.location_grams.map_or_else(String::new, |grams| grams.to_string()));
    cells.extend(costs(answer, |currency| row.cost_in(currency)));
    cells.push(row.methods.join(" "));
    cells.push(row.flags.iter().map(|(flag, slots)| format!("{flag}={slots}")).collect::<Vec<_>>().join(" "));
    cells.push(row.line.as_deref().unwrap_or_default().to_owned());
    cells.extend(["usage".to_owned(), String::new()]);
    cells
}

/// The cells of each currency.
fn costs<'a>(answer: &Answer, of: impl Fn(Currency) -> Option<&'a Cost>) -> Vec<String> {
    let mut cells = Vec::new();
    for currency in answer.currencies() {
        // No cost in a currency is an empty cell, which sums as nothing.
        let cost = of(currency);
        let part = |text: Option<String>| text.unwrap_or_default();
        cells.push(part(cost.map(|cost| cost.amount.to_string())));
        cells.push(part(cost.map(|cost| cost.parts.energy.to_string())));
        cells.push(part(cost.map(|cost| cost.parts.pue_overhead.to_string())));
        cells.push(part(cost.map(|cost| cost.parts.demand.to_string())));
        cells.push(part(cost.map(|cost| cost.parts.fixed.to_string())));
    }
    cells
}

/// An adjustment; what is not adjusted (time, the boundary) is an empty cell.
fn adjusted(answer: &Answer, adjustment: &Adjustment) -> Vec<String> {
    let sum = &adjustment.sum;
    let mut cells = vec![stamp(adjustment.start), stamp(adjustment.end)];
    let value = |key: &String| adjustment.by.get(key).map_or("", String::as_str);
    cells.extend(answer.by.iter().map(|key| harmless(value(key)).into_owned()));
    cells.push(sum.energy_uj.to_string());
    let (known, none) = (|figure: f64| figure.to_string(), String::new);
    cells.extend([
        known(sum.energy_kwh),
        known(sum.facility_kwh),
        known(adjustment.counter_joules),
        known(adjustment.integrated_joules),
        known(adjustment.estimated_joules),
    ]);
    cells.extend(std::iter::repeat_with(none).take(8));
    cells.push(known(sum.unpriced_kwh));
    cells.push(sum.carbon.location_grams.map_or_else(none, known));
    cells.extend(costs(answer, |currency| sum.cost.iter().find(|cost| cost.currency == currency)));
    cells.extend([none(), none(), none(), "adjustment".to_owned(), adjustment.original.period.clone()]);
    cells
}

/// Text that a spreadsheet would run as a formula gets an apostrophe before it; plain numbers stay.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit()) && unsigned.parse::<f64>().is_ok();
    if is_formula && !is_number { format!("'{text}").into() } else { text.into() }
}
