//! What became known of a closed month after it was closed.

use std::collections::BTreeMap;

use meter::Utc;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Fact, sum};
use crate::rows::{Exact, Sums, Totals, print_as};
use crate::selector::Where;
use crate::statement::{Carbon, Cost, Edges, Row, stamp, whole};

/// Which statement is adjusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Original {
    /// Its month, `2026-10`.
    pub period: String,
    /// Its site; empty for hosts that name none.
    pub site: String,
    /// Its identifier.
    pub id: String,
    /// Its version.
    pub version: u32,
}

/// A difference to a closed month, of one group. Time is not adjusted: coverage belongs to the month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Adjustment {
    /// The statement that it adjusts.
    #[serde(flatten)]
    pub original: Original,
    /// The group, as in the rows beside it.
    pub by: BTreeMap<String, String>,
    /// Where the original period begins.
    #[serde(with = "stamp")]
    #[schema(value_type = String, format = DateTime)]
    pub start: Utc,
    /// Where it ends, exclusive.
    #[serde(with = "stamp")]
    #[schema(value_type = String, format = DateTime)]
    pub end: Utc,
    /// The difference.
    #[serde(flatten)]
    pub sum: Sum,
    /// Of the energy: from hardware counters, in joules.
    pub counter_joules: f64,
    /// From power joined between readings, in joules.
    pub integrated_joules: f64,
    /// From gaps filled by a stated rule, in joules.
    pub estimated_joules: f64,
}

/// Energy, money and carbon; what adds up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sum {
    /// Energy in whole microjoules.
    #[serde(with = "whole")]
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    pub energy_uj: i128,
    /// Energy in kWh.
    pub energy_kwh: f64,
    /// Energy times the PUE in force, in kWh.
    pub facility_kwh: f64,
    /// What it costs, per currency.
    pub cost: Vec<Cost>,
    /// Energy that no rate was in force for, in kWh.
    pub unpriced_kwh: f64,
    /// What it emitted.
    pub carbon: Carbon,
}

impl Sum {
    /// Of a row.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        Self {
            energy_uj: row.energy_uj,
            energy_kwh: row.energy_kwh,
            facility_kwh: row.facility_kwh,
            cost: row.cost.clone(),
            unpriced_kwh: row.unpriced_kwh,
            carbon: row.carbon,
        }
    }

    /// Adds another: printed figures, so the sum of what is printed is printed.
    pub fn add(&mut self, other: &Self) {
        self.energy_uj += other.energy_uj;
        self.energy_kwh += other.energy_kwh;
        self.facility_kwh += other.facility_kwh;
        self.unpriced_kwh += other.unpriced_kwh;
        self.carbon.without_factor_kwh += other.carbon.without_factor_kwh;
        if let Some(grams) = other.carbon.location_grams {
            *self.carbon.location_grams.get_or_insert(0.0) += grams;
        }
        for cost in &other.cost {
            match self.cost.iter_mut().find(|mine| mine.currency == cost.currency) {
                Some(mine) => mine.add(cost),
                None => self.cost.push(cost.clone()),
            }
        }
        self.cost.sort_by_key(|cost| cost.currency);
    }
}

/// The difference to one statement that falls due in another month: exact.
#[derive(Clone, Debug)]
pub struct Correction {
    /// The statement.
    pub original: Original,
    /// Its window.
    pub window: Edges,
    /// What was billed of it before, in all.
    pub(crate) before: Sums,
    /// The differences.
    pub(crate) lines: Vec<Fact>,
}

impl Correction {
    /// The differences to what was billed before, nothing if there are none.
    pub fn new<'a>(
        original: Original,
        window: Edges,
        before: impl IntoIterator<Item = &'a Fact>,
        lines: Vec<Fact>,
    ) -> Option<Self> {
        (!lines.is_empty()).then(|| Self { original, window, before: sum(before), lines })
    }

    /// The differences, by line.
    #[must_use]
    pub fn lines(&self) -> &[Fact] {
        &self.lines
    }

    /// The adjustments by these keys, of everything.
    #[must_use]
    pub fn adjustments(&self, by: &[String]) -> Vec<Adjustment> {
        self.printed(by, self.lines.iter(), &self.before)
    }

    /// The adjustments by these keys of what is selected; `before` are the facts that were billed before.
    #[must_use]
    pub fn selected<'a>(
        &self,
        by: &[String],
        select: &Where,
        before: impl Iterator<Item = &'a Fact>,
    ) -> Vec<Adjustment> {
        let lines = self.lines.iter().filter(|fact| select.selects_key(&fact.key));
        self.printed(by, lines, &sum(before.filter(|fact| select.selects_key(&fact.key))))
    }

    fn printed<'a>(&'a self, by: &[String], lines: impl Iterator<Item = &'a Fact>, before: &Sums) -> Vec<Adjustment> {
        let span = (self.window.start, self.window.end);
        let mut groups: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
        for fact in lines {
            groups.entry(fact.group(by)).or_default().add(&fact.sums);
        }
        groups.retain(|_, sums| !sums.is_nothing());
        let rows: Vec<Exact> = groups.into_iter().map(|(key, sums)| Exact { span, key, sums }).collect();
        let mut whole = Sums::default();
        rows.iter().for_each(|row| whole.add(&row.sums));
        let mut after = before.clone();
        after.add(&whole);
        let totals = Totals::of(&after).less(&Totals::of(before));
        let (rows, _) = print_as(by, &rows, &Exact { span, key: Vec::new(), sums: whole }, &totals);
        rows.into_iter().map(|row| self.adjustment(row)).collect()
    }

    fn adjustment(&self, row: Row) -> Adjustment {
        Adjustment {
            original: self.original.clone(),
            start: row.start,
            end: row.end,
            sum: Sum::of(&row),
            counter_joules: row.quality.counter_joules,
            integrated_joules: row.quality.integrated_joules,
            estimated_joules: row.quality.estimated_joules,
            by: row.by.unwrap_or_default(),
        }
    }
}
