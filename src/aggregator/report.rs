//! The report as one page for people: printable, complete in itself, readable without a script.
//!
//! It is a pure function of answers: nothing here asks the ledger, so that a closed month's page is
//! the same for ever. Escaped by the template engine; charts are drawn here, as SVG.

use std::ops::Range;

use askama::Template;
use cost::closing::RateLine;
use cost::{Answer, FlaggedHost, Row, Status};
use meter::Utc;

use crate::page::words::{self, Figure};

pub mod bars;
pub mod charts;
pub mod closed;
pub mod gather;
pub mod notices;
pub mod plot;
pub mod rates;
pub mod table;
mod when;

use bars::Bars;
use notices::Notice;
use plot::Plot;
use table::{Adjusted, Table};

/// Most hosts that are named because of a flag.
const FLAGGED_MAX: usize = 25;

/// What a report is made of: one window, asked in several ways.
#[derive(Clone, Debug)]
pub struct Report {
    /// The grouping that was asked for.
    pub answer: Answer,
    /// By day, or by month for long windows; by [`Report::key`] within.
    pub days: Option<Answer>,
    /// By hour, or by quarter of an hour for short windows.
    pub load: Option<Answer>,
    /// From the first reading to the newest: before and after it there is no load to draw.
    pub read: Range<Utc>,
    /// By the key that teams go by.
    pub teams: Option<Answer>,
    /// By site.
    pub sites: Option<Answer>,
    /// What groups the chart of days: a label, or `host`.
    pub key: String,
    /// What was selected; empty for everything.
    pub filter: String,
    /// The prices in force.
    pub rates: Vec<RateLine>,
    /// Who bills.
    pub issuer: String,
    /// The statements it is of, for a closed month.
    pub statements: Vec<Named>,
}

/// A statement's name.
#[derive(Clone, Debug)]
pub struct Named {
    /// The month, `2026-10`.
    pub period: String,
    /// Its identifier.
    pub id: String,
    /// Its version.
    pub version: u32,
}

/// The page.
#[derive(Template)]
#[template(path = "report.html")]
struct View<'a> {
    report: &'a Report,
    title: String,
    version: &'static str,
    span: String,
    as_of: String,
    is_closed: bool,
    amounts: Vec<Amount>,
    energy: Figure,
    facility: String,
    carbon: Option<Figure>,
    carbon_line: String,
    coverage: String,
    coverage_line: String,
    is_thin: bool,
    notices: Vec<Notice>,
    plots: Vec<Plot>,
    bars: Vec<Bars>,
    table: Table,
    adjusted: Option<Adjusted>,
    flagged: Vec<(String, String)>,
    more_flagged: u64,
}

/// What is to be paid in one currency.
struct Amount {
    amount: String,
    currency: String,
    line: String,
}

impl Report {
    /// The same without money.
    #[must_use]
    pub fn without_money(self) -> Self {
        let hidden = |answer: Option<Answer>| answer.map(Answer::without_money);
        Self {
            answer: self.answer.without_money(),
            days: hidden(self.days),
            load: hidden(self.load),
            teams: hidden(self.teams),
            sites: hidden(self.sites),
            rates: Vec::new(),
            ..self
        }
    }

    /// The page as HTML.
    ///
    /// # Errors
    /// [`askama::Error`] if the template cannot be filled in.
    pub fn to_html(&self) -> Result<String, askama::Error> {
        View::new(self).render()
    }
}

impl<'a> View<'a> {
    fn new(report: &'a Report) -> Self {
        let answer = &report.answer;
        let (total, zone) = (&answer.total, when::Zone::of(&answer.tz));
        let quality = &total.quality;
        let flagged = answer.flagged.iter().take(FLAGGED_MAX).map(flag_line);
        Self {
            report,
            title: title(report, &zone),
            version: env!("CARGO_PKG_VERSION"),
            span: zone.span(answer.window.start, answer.window.end),
            as_of: zone.minute(answer.as_of),
            is_closed: answer.status == Status::Closed,
            amounts: amounts(answer),
            energy: words::energy(total.energy_kwh),
            facility: facility_line(total),
            carbon: total.carbon.location_grams.map(words::mass),
            carbon_line: carbon_line(total),
            coverage: words::percent(quality.covered_seconds, quality.expected_seconds),
            coverage_line: format!("of {} host-hours have readings", hours(quality.expected_seconds)),
            is_thin: notices::is_thin(total),
            notices: notices::notices(answer),
            plots: charts::plots(report, &zone),
            bars: [(heading(&report.key), &report.key, &report.teams), ("Sites", &"site".to_owned(), &report.sites)]
                .into_iter()
                .filter_map(|(title, key, answer)| Bars::of(title, key, answer.as_ref()?))
                .collect(),
            table: Table::of(answer, &zone),
            adjusted: Adjusted::of(answer),
            more_flagged: answer.flagged_hosts.saturating_sub(answer.flagged.len().min(FLAGGED_MAX) as u64),
            flagged: flagged.collect(),
        }
    }
}

/// What stands over the bars of a key.
fn heading(key: &str) -> &'static str {
    match key {
        "team" => "Teams",
        "site" => "Sites",
        "host" => "Hosts",
        _ => "Groups",
    }
}

fn title(report: &Report, zone: &when::Zone) -> String {
    let whole_month = zone.whole_month(report.answer.window.start, report.answer.window.end);
    match (report.statements.first(), whole_month) {
        (Some(_), Some(month)) => format!("Energy statement, {month}"),
        (Some(statement), None) => format!("Energy statement {}", statement.period),
        (None, Some(month)) => format!("Energy report, {month}"),
        (None, None) => "Energy report".to_owned(),
    }
}

fn amounts(answer: &Answer) -> Vec<Amount> {
    let amount = |cost: &cost::Cost| {
        let parts = &cost.parts;
        let named = [
            ("energy", parts.energy),
            ("PUE overhead", parts.pue_overhead),
            ("demand", parts.demand),
            ("fixed", parts.fixed),
        ];
        let parts = named.into_iter().filter(|(_, part)| !part.is_zero());
        let parts: Vec<String> =
            parts.map(|(name, part)| format!("{name}\u{a0}{}", words::grouped(&part.to_string()))).collect();
        Amount {
            amount: words::grouped(&cost.amount.to_string()),
            currency: cost.currency.to_string(),
            line: parts.join(" · "),
        }
    };
    answer.total.cost.iter().map(amount).collect()
}

fn facility_line(total: &Row) -> String {
    let facility = words::energy(total.facility_kwh);
    let ratio = if total.energy_kwh > 0.0 { total.facility_kwh / total.energy_kwh } else { 1.0 };
    format!("{}\u{a0}{} at the facility (× {ratio:.2})", facility.number, facility.unit)
}

fn carbon_line(total: &Row) -> String {
    let without = total.carbon.without_factor_kwh;
    match (total.carbon.location_grams, without > 0.0) {
        (None, _) => "no carbon factor is known".to_owned(),
        (Some(_), false) => "CO₂ equivalent, by the grid's location".to_owned(),
        (Some(_), true) => {
            let energy = words::energy(without);
            format!("CO₂ equivalent; {}\u{a0}{} without a factor are not in it", energy.number, energy.unit)
        }
    }
}

fn flag_line(host: &FlaggedHost) -> (String, String) {
    let name = if host.cluster == "default" { host.host.clone() } else { format!("{}/{}", host.cluster, host.host) };
    let slots = |count: u64| format!("{} of its quarter-hours", words::count(count));
    let flags: Vec<String> = host.flags.iter().map(|(flag, count)| format!("{flag} in {}", slots(*count))).collect();
    (name, flags.join(", "))
}

fn hours(seconds: f64) -> String {
    words::grouped(&format!("{:.0}", seconds / 3600.0))
}
