//! The report of months that are closed: made of their statements alone, so that it is the same for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost::closing::{Closed, Facts};
use cost::{Answer, Row};
use meter::Utc;

use super::{Named, Report};

/// The report on statements of one month, whose answer is at hand.
#[must_use]
pub fn of_statements(statements: &[Arc<Closed>], answer: Answer) -> Option<Report> {
    let first = statements.first()?;
    let mut facts = Facts::default();
    statements.iter().for_each(|closed| facts.extend(closed.facts()));
    let ask = |key: &str| facts.answer(&[key.to_owned()], answer.window, &answer.tz, answer.as_of);
    let named = |closed: &Arc<Closed>| Named {
        period: closed.head.period.clone(),
        id: closed.head.id.clone(),
        version: closed.head.version,
    };
    Some(Report {
        days: side_by_side(statements.iter().filter_map(|closed| closed.days())),
        load: together(statements.iter().filter_map(|closed| closed.load())),
        // A statement says of no quarter when in it the readings began.
        read: answer.window.start..answer.window.end,
        teams: Some(ask(&first.chart_key)),
        sites: Some(ask("site")),
        key: first.chart_key.clone(),
        filter: String::new(),
        rates: statements.iter().flat_map(|closed| closed.rates.clone()).collect(),
        issuer: String::new(),
        statements: statements.iter().map(named).collect(),
        answer,
    })
}

/// The rows of all, by time.
fn side_by_side(answers: impl Iterator<Item = Answer>) -> Option<Answer> {
    let mut all = answers.reduce(|mut all, next| {
        all.rows.extend(next.rows);
        let mut costs = all.total.cost.clone();
        for cost in next.total.cost {
            match costs.iter_mut().find(|mine| mine.currency == cost.currency) {
                Some(mine) => mine.add(&cost),
                None => costs.push(cost),
            }
        }
        all.total.cost = costs;
        all
    })?;
    all.rows.sort_by_key(|row| row.start);
    Some(all)
}

/// The rows of all, added up where they begin together.
fn together(answers: impl Iterator<Item = Answer>) -> Option<Answer> {
    let mut all = answers.reduce(|mut all, next| {
        all.rows.extend(next.rows);
        all
    })?;
    let mut rows: BTreeMap<Utc, Row> = BTreeMap::new();
    for row in all.rows {
        match rows.get_mut(&row.start) {
            Some(sum) => {
                sum.energy_joules += row.energy_joules;
                sum.quality.covered_seconds += row.quality.covered_seconds;
            }
            None => drop(rows.insert(row.start, row)),
        }
    }
    all.rows = rows.into_values().collect();
    Some(all)
}
