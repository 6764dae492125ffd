//! The table of the grouping asked for, with everything a figure rests on.

use cost::closing::{Adjustment, Sum};
use cost::money::apportion;
use cost::{Answer, Cost, Currency, Row};
use rust_decimal::Decimal;

use super::charts::shown;
use super::notices::is_thin;
use super::when::Zone;
use crate::page::words;

/// Most rows of the table: a page is to be read. The CSV has them all.
const ROWS_MAX: usize = 1000;
/// Microjoules in a kWh.
const KWH_UJ: i128 = 3_600_000_000_000;

/// The table.
#[derive(Debug)]
pub struct Table {
    /// Titles of the columns that name a row.
    pub(super) names: Vec<String>,
    /// Titles of its figures.
    pub(super) figures: Vec<String>,
    pub(super) rows: Vec<TableRow>,
    pub(super) total: TableRow,
    pub(super) more: usize,
    pub(super) has_flags: bool,
}

/// A row of it.
#[derive(Debug)]
pub struct TableRow {
    pub(super) names: Vec<String>,
    pub(super) figures: Vec<String>,
    pub(super) coverage: String,
    pub(super) is_thin: bool,
    pub(super) estimated: String,
    pub(super) flags: Vec<String>,
}

/// What became known of closed months, and the bill of all.
#[derive(Debug)]
pub struct Adjusted {
    pub(super) keys: Vec<String>,
    pub(super) currencies: Vec<String>,
    pub(super) rows: Vec<AdjustedRow>,
    pub(super) more: usize,
    pub(super) total: AdjustedRow,
    pub(super) bill: AdjustedRow,
}

/// A row of it.
#[derive(Debug)]
pub struct AdjustedRow {
    pub(super) names: Vec<String>,
    pub(super) energy: String,
    pub(super) costs: Vec<String>,
}

impl Adjusted {
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let (total, bill) = answer.adjustments_total.as_ref().zip(answer.bill.as_ref())?;
        // As fine as the largest of them asks for.
        let largest = answer.adjustments.iter().map(|one| one.sum.energy_uj.abs()).max().unwrap_or(0);
        let decimals = decimals(largest / KWH_UJ);
        let row = |names: Vec<String>, sum: &Sum| AdjustedRow {
            names,
            energy: energies(&[], sum.energy_uj, decimals).1,
            costs: bill.cost.iter().map(|of| amount_in(sum, of.currency)).collect(),
        };
        let named = |one: &Adjustment| {
            let value = |key: &String| shown(one.by.get(key).map_or("", String::as_str)).to_owned();
            let first = [one.original.period.clone(), shown(&one.original.site).to_owned()];
            row(first.into_iter().chain(answer.by.iter().map(value)).collect(), &one.sum)
        };
        Some(Self {
            keys: answer.by.clone(),
            currencies: bill.cost.iter().map(|cost| cost.currency.to_string()).collect(),
            rows: answer.adjustments.iter().take(ROWS_MAX).map(named).collect(),
            more: answer.adjustments.len().saturating_sub(ROWS_MAX),
            total: row(Vec::new(), total),
            bill: row(Vec::new(), bill),
        })
    }
}

fn amount_in(sum: &Sum, currency: Currency) -> String {
    let cost = sum.cost.iter().find(|cost| cost.currency == currency);
    cost.map_or_else(|| "–".to_owned(), |cost| words::grouped(&cost.amount.to_string()))
}

/// A figure of a cost.
type Part = fn(&Cost) -> Decimal;

/// Which columns there are: those that say something somewhere.
struct Columns {
    costs: Vec<(Currency, Vec<Part>)>,
    has_unpriced: bool,
    has_carbon: bool,
    /// Decimals of facility energy, the same in all rows.
    decimals: usize,
}

/// The parts of a cost, as they are called.
const PARTS: [(&str, Part); 4] = [
    ("energy", |cost| cost.parts.energy),
    ("overhead", |cost| cost.parts.pue_overhead),
    ("demand", |cost| cost.parts.demand),
    ("fixed", |cost| cost.parts.fixed),
];

impl Table {
    pub(super) fn of(answer: &Answer, zone: &Zone) -> Self {
        let mut rows: Vec<&Row> = answer.rows.iter().collect();
        if answer.step.is_none() {
            rows.sort_by_key(|row| std::cmp::Reverse(row.energy_uj));
        }
        let (columns, titles) = Columns::of(answer);
        let microjoules: Vec<i128> = rows.iter().map(|row| row.energy_uj).collect();
        let (energies, total_energy) =
            energies(&microjoules, answer.total.energy_uj, decimals(answer.total.energy_uj / KWH_UJ));
        let format = match answer.step.as_deref() {
            Some("1mo") => "%b %Y",
            Some("1d") => "%a %e %b %Y",
            _ => "%e %b %Y, %H:%M %Z",
        };
        let row = |(row, energy): (&&Row, String)| {
            let when = answer.step.as_ref().map(|_| zone.text(row.start, format));
            let keys = answer.by.iter().map(|key| shown(row.value(key)).to_owned());
            columns.row(row, when.into_iter().chain(keys).collect(), energy)
        };
        let when = answer.step.as_ref().map(|_| "from".to_owned());
        let names: Vec<String> = when.into_iter().chain(answer.by.iter().cloned()).collect();
        Self {
            total: columns.row(&answer.total, vec!["Total".to_owned()], total_energy),
            rows: rows.iter().zip(energies).take(ROWS_MAX).map(row).collect(),
            more: rows.len().saturating_sub(ROWS_MAX),
            has_flags: rows.iter().take(ROWS_MAX).any(|row| !row.flags.is_empty()),
            figures: titles,
            names,
        }
    }
}

impl Columns {
    fn of(answer: &Answer) -> (Self, Vec<String>) {
        let mut titles = vec!["Energy kWh".to_owned(), "Facility kWh".to_owned()];
        let mut costs = Vec::new();
        for total in &answer.total.cost {
            let of_rows = || answer.rows.iter().filter_map(|row| row.cost_in(total.currency));
            let is_told = |part: Part| of_rows().any(|cost| !part(cost).is_zero());
            let told: Vec<_> = PARTS.into_iter().filter(|(_, part)| is_told(*part)).collect();
            // One part alone is the amount; those of several currencies are more columns than a page has room for.
            let told = if told.len() > 1 && answer.total.cost.len() == 1 { told } else { Vec::new() };
            titles.extend(told.iter().map(|(name, _)| format!("{name} {}", total.currency)));
            titles.push(format!("Cost {}", total.currency));
            costs.push((total.currency, told.into_iter().map(|(_, part)| part).collect()));
        }
        let has_unpriced = answer.rows.iter().any(|row| row.unpriced_kwh != 0.0);
        let has_carbon = answer.total.carbon.location_grams.is_some();
        titles.extend(has_unpriced.then(|| "Unpriced kWh".to_owned()));
        titles.extend(has_carbon.then(|| "CO₂e kg".to_owned()));
        let decimals = decimals(answer.total.facility_kwh as i128) as usize;
        (Self { costs, has_unpriced, has_carbon, decimals }, titles)
    }

    fn kwh(&self, kwh: f64) -> String {
        let digits = self.decimals;
        words::grouped(&format!("{:.digits$}", kwh + 0.0))
    }

    fn row(&self, row: &Row, names: Vec<String>, energy: String) -> TableRow {
        let mut figures = vec![energy, self.kwh(row.facility_kwh)];
        for (currency, parts) in &self.costs {
            let cost = row.cost_in(*currency);
            let print = |of: Part| cost.map_or_else(|| "–".to_owned(), |cost| words::grouped(&of(cost).to_string()));
            figures.extend(parts.iter().map(|part| print(*part)));
            figures.push(print(|cost| cost.amount));
        }
        if self.has_unpriced {
            figures.push(if row.unpriced_kwh == 0.0 { "–".into() } else { self.kwh(row.unpriced_kwh) });
        }
        if self.has_carbon {
            let kilograms = |grams: f64| words::grouped(&format!("{:.2}", grams / 1e3));
            figures.push(row.carbon.location_grams.map_or_else(|| "–".into(), kilograms));
        }
        let quality = &row.quality;
        TableRow {
            names,
            figures,
            coverage: words::percent(quality.covered_seconds, quality.expected_seconds),
            is_thin: is_thin(row),
            estimated: words::percent(quality.estimated_joules, row.energy_joules),
            flags: row.flags.iter().map(|(flag, slots)| format!("{flag} {}", words::count(*slots))).collect(),
        }
    }
}

/// Energies in kWh; the printed rows add up to the printed total.
fn energies(rows: &[i128], total: i128, decimals: u32) -> (Vec<String>, String) {
    let unit = KWH_UJ / 10_i128.pow(decimals);
    let shares: Vec<_> = rows.iter().map(|uj| (uj.div_euclid(unit), uj.rem_euclid(unit))).collect();
    let total = (total + unit / 2).div_euclid(unit);
    let print = |units| {
        let decimal = Decimal::try_from_i128_with_scale(units, decimals).unwrap_or_default();
        words::grouped(&decimal.to_string())
    };
    (apportion(total, &shares).into_iter().map(print).collect(), print(total))
}

const fn decimals(kwh: i128) -> u32 {
    match kwh.unsigned_abs() {
        10_000.. => 0,
        100.. => 1,
        10.. => 2,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_energies_add_up() {
        let third = 50 * KWH_UJ / 3;
        let (rows, total) = energies(&[third, third, third + 2], 50 * KWH_UJ, 2);
        assert_eq!((rows.join(" ").as_str(), total.as_str()), ("16.67 16.66 16.67", "50.00"));
    }
}
