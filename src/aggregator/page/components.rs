//! What each kind of component of an owner used.

use std::collections::BTreeMap;

use cost::Row;
use cost::selector::UNATTRIBUTED;

use super::words::{self, Figure};
use super::{costs_of, width};
use crate::answers::ViewAnswer;

/// What one kind of component used.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) energy: Figure,
    pub(super) costs: Vec<String>,
    pub(super) share: String,
    pub(super) bar: String,
}

/// What each kind of component used, and what none explains.
pub(super) fn parts(answer: &ViewAnswer, is_priced: bool) -> Vec<Part> {
    let mut by_scope: BTreeMap<&str, (f64, Vec<&Row>)> = BTreeMap::new();
    for row in &answer.rows.rows {
        let part = by_scope.entry(row.value("scope")).or_default();
        part.0 += row.energy_kwh;
        part.1.push(row);
    }
    let mut parts: Vec<(&str, (f64, Vec<&Row>))> =
        by_scope.into_iter().filter(|(_, (_, rows))| rows.iter().any(|row| words::used(row).is_some())).collect();
    parts.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let (whole, largest) = (answer.rows.total.energy_kwh, parts.first().map_or(0.0, |part| part.1.0));
    let part = |(scope, (kwh, rows)): &(&str, (f64, Vec<&Row>))| Part {
        name: if *scope == UNATTRIBUTED { "unattributed".into() } else { (*scope).to_owned() },
        energy: words::energy(*kwh),
        costs: if is_priced { summed_costs(rows) } else { Vec::new() },
        share: words::percent(*kwh, whole),
        bar: width(*kwh, largest),
    };
    parts.iter().map(part).collect()
}

/// The costs of rows together: amounts that were printed add up as printed.
fn summed_costs(rows: &[&Row]) -> Vec<String> {
    let mut sum = Row::default();
    for row in rows {
        sum.unpriced_kwh += row.unpriced_kwh;
        for cost in &row.cost {
            match sum.cost.iter_mut().find(|known| known.currency == cost.currency) {
                Some(known) => known.amount += cost.amount,
                None => sum.cost.push(cost.clone()),
            }
        }
    }
    costs_of(&sum)
}
