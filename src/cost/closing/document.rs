//! A statement as it is kept and served: written once, never again.

use std::collections::BTreeSet;

use meter::Utc;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Correction, Fact, Facts, Original, Sum};
use crate::error::CostError;
use crate::rows::Sums;
use crate::statement::{Answer, Edges, Row, Status, stamp};

/// The version of a statement's form.
const FORM: u32 = 1;

/// What a list of statements says of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Head {
    /// Its identifier.
    pub id: String,
    /// Its month, `2026-10`.
    pub period: String,
    /// Its site; empty for hosts that name none.
    pub site: String,
    /// 1 for the first; each restatement counts one up.
    pub version: u32,
    /// Its window: the month in its zone.
    pub window: Edges,
    /// The IANA zone that decides the month.
    pub tz: String,
    /// When it was closed.
    #[serde(with = "stamp")]
    #[schema(value_type = String, format = DateTime)]
    pub closed_at: Utc,
    /// By whom, by their own word.
    pub closed_by: String,
    /// How much of the month was known.
    pub coverage: Coverage,
    /// The month's own energy and cost.
    pub total: Sum,
    /// Adjustments of earlier months that fall due in it.
    pub adjustments_total: Sum,
    /// Both together: what is to be paid.
    pub bill: Sum,
}

/// How much of a month was known when it closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// Host-seconds with readings.
    pub covered_seconds: f64,
    /// Host-seconds that there should be readings for.
    pub expected_seconds: f64,
    /// Whether it was closed although too little was known.
    pub incomplete: bool,
}

/// A price that was in force, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateLine {
    /// The site; empty for hosts that name none.
    pub site: String,
    /// The price per kWh, or the least and the most.
    pub price: String,
    /// What the plant adds, and what the energy emits.
    pub more: String,
    /// Since when.
    pub since: String,
}

/// What a statement is made of.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Identifier, period, site and version.
    pub original: Original,
    /// The month.
    pub window: Edges,
    /// The zone that decides it.
    pub tz: String,
    /// When, and by whom.
    pub closed: (Utc, String),
    /// Whether it was closed although too little was known.
    pub incomplete: bool,
    /// Its facts.
    pub facts: Facts,
    /// Corrections of earlier statements that fall due in it.
    pub corrections: Vec<Correction>,
    /// Its days, for charts: printed rows by [`Closed::chart_key`].
    pub days: Option<Answer>,
    /// Its load, for charts.
    pub load: Option<Answer>,
    /// What groups the days.
    pub chart_key: String,
    /// The prices in force.
    pub rates: Vec<RateLine>,
}

/// A statement.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Closed {
    form: u32,
    /// What the list says of it.
    #[serde(flatten)]
    pub head: Head,
    /// The prices in force.
    pub rates: Vec<RateLine>,
    /// What groups the chart of days.
    pub chart_key: String,
    #[schema(value_type = Option<Object>)]
    days: Option<Chart>,
    #[schema(value_type = Option<Object>)]
    load: Option<Chart>,
    #[schema(value_type = Vec<Object>)]
    corrections: Vec<CorrectionText>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    axes: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    held_hosts: Vec<Fact>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    held_scopes: Vec<Fact>,
    #[schema(value_type = Vec<Object>)]
    hosts: Vec<Fact>,
    #[schema(value_type = Vec<Object>)]
    scopes: Vec<Fact>,
    #[schema(value_type = Vec<Object>)]
    lines: Vec<Fact>,
}

/// Printed rows for a chart.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Chart {
    by: Vec<String>,
    step: Option<String>,
    rows: Vec<Row>,
    total: Row,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CorrectionText {
    original: Original,
    window: Edges,
    /// What was billed of it before.
    before: Fact,
    lines: Vec<Fact>,
}

impl Closed {
    /// Freezes a month.
    #[must_use]
    pub fn new(closing: Closing) -> Self {
        let Closing { original, window, tz, closed, incomplete, facts, corrections, .. } = closing;
        let answer = facts.answer(&[], window, &tz, closed.0).with_corrections(&corrections);
        let quality = &answer.total.quality;
        let head = Head {
            id: original.id,
            period: original.period,
            site: original.site,
            version: original.version,
            window,
            tz,
            closed_at: closed.0,
            closed_by: closed.1,
            coverage: Coverage {
                covered_seconds: quality.covered_seconds,
                expected_seconds: quality.expected_seconds,
                incomplete,
            },
            total: Sum::of(&answer.total),
            adjustments_total: answer.adjustments_total.clone().unwrap_or_default(),
            bill: answer.bill.clone().unwrap_or_else(|| Sum::of(&answer.total)),
        };
        let correction = |of: Correction| CorrectionText {
            before: Fact { key: Default::default(), sums: of.before },
            original: of.original,
            window: of.window,
            lines: of.lines,
        };
        let chart = |answer: Answer| Chart { by: answer.by, step: answer.step, rows: answer.rows, total: answer.total };
        Self {
            form: FORM,
            head,
            rates: closing.rates,
            chart_key: closing.chart_key,
            days: closing.days.map(chart),
            load: closing.load.map(chart),
            corrections: corrections.into_iter().map(correction).collect(),
            axes: facts.axes,
            held_hosts: facts.held_hosts,
            held_scopes: facts.held_scopes,
            hosts: facts.hosts,
            scopes: facts.scopes,
            lines: facts.lines,
        }
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// [`CostError::Statement`] if it is none, or one of a later version.
    pub fn read(text: &[u8]) -> Result<Self, CostError> {
        let told = |why: String| CostError::Statement(why);
        let closed: Self = serde_json::from_slice(text).map_err(|error| told(error.to_string()))?;
        if closed.form != FORM {
            return Err(told(format!("form {} is one this program does not know", closed.form)));
        }
        Ok(closed)
    }

    /// The text to keep and to serve.
    ///
    /// # Errors
    /// [`CostError::Write`] if a figure cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>, CostError> {
        serde_json::to_vec(self).map_err(|error| CostError::Write(error.to_string()))
    }

    /// Its name, as adjustments give it.
    #[must_use]
    pub fn original(&self) -> Original {
        self.head.original()
    }

    /// Its facts.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let facts = Facts::new(self.lines.clone(), self.scopes.clone(), self.hosts.clone());
        facts.held_by(self.axes.clone(), self.held_scopes.clone(), self.held_hosts.clone())
    }

    /// The facts of one host, but for who held its energy.
    #[must_use]
    pub fn facts_of_host(&self, cluster: &str, host: &str) -> Facts {
        let is_its = |fact: &&Fact| fact.value("cluster") == cluster && fact.value("host") == host;
        let its = |facts: &[Fact]| facts.iter().filter(is_its).cloned().collect();
        Facts::new(its(&self.lines), its(&self.scopes), its(&self.hosts))
    }

    /// Energy and money, by line.
    #[must_use]
    pub fn lines(&self) -> &[Fact] {
        &self.lines
    }

    /// The axes of attribution that it can be grouped by.
    #[must_use]
    pub const fn axes(&self) -> &BTreeSet<String> {
        &self.axes
    }

    /// Every key that it can be grouped by.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<&str> {
        let fixed = ["cluster", "host", "chassis", "scope", "device", "site"];
        let facts = self.hosts.iter().chain(&self.lines);
        let corrected = self.corrections.iter().flat_map(|of| &of.lines);
        let keys = facts.chain(corrected).flat_map(|fact| fact.key.keys().map(String::as_str));
        keys.chain(fixed).chain([self.chart_key.as_str()]).collect()
    }

    /// The corrections of earlier statements that fall due in it.
    #[must_use]
    pub fn corrections(&self) -> Vec<Correction> {
        let of = |text: &CorrectionText| Correction {
            original: text.original.clone(),
            window: text.window,
            before: Sums::clone(&text.before.sums),
            lines: text.lines.clone(),
        };
        self.corrections.iter().map(of).collect()
    }

    /// The lines of its corrections of one month.
    pub fn corrected<'a>(&'a self, period: &'a str) -> impl Iterator<Item = &'a Fact> {
        self.corrections.iter().filter(move |of| of.original.period == period).flat_map(|of| &of.lines)
    }

    /// The answer by these keys, with its adjustments.
    #[must_use]
    pub fn answer(&self, by: &[String]) -> Answer {
        let head = &self.head;
        let answer = self.facts().answer(by, head.window, &head.tz, head.closed_at);
        Answer { statements: vec![head.original()], ..answer.with_corrections(&self.corrections()) }
    }

    /// The days for a chart.
    #[must_use]
    pub fn days(&self) -> Option<Answer> {
        self.days.as_ref().map(|chart| self.charted(chart))
    }

    /// The load for a chart.
    #[must_use]
    pub fn load(&self) -> Option<Answer> {
        self.load.as_ref().map(|chart| self.charted(chart))
    }

    fn charted(&self, chart: &Chart) -> Answer {
        Answer {
            window: self.head.window,
            as_of: self.head.closed_at,
            status: Status::Closed,
            by: chart.by.clone(),
            step: chart.step.clone(),
            tz: self.head.tz.clone(),
            rows: chart.rows.clone(),
            total: chart.total.clone(),
            ..Answer::default()
        }
    }
}

impl Head {
    /// Its name, as adjustments give it.
    #[must_use]
    pub fn original(&self) -> Original {
        Original { period: self.period.clone(), site: self.site.clone(), id: self.id.clone(), version: self.version }
    }
}
