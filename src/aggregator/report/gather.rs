//! Asks the ledger what a report needs: the same window and hosts, in several groupings and steps.

use std::collections::BTreeSet;
use std::sync::Arc;

use billing::Figures;
use cost::{Answer, Axis, By, RateCard, Step};

use super::Report;
use super::rates::in_force;
use crate::http::problem::Problem;
use crate::load::read_of;
use crate::query::{CostQuery, cost_problem};

/// Slots of a day.
const DAY: usize = 96;
/// Up to so many days are drawn one by one; months beyond.
const DAYS_MAX: usize = 100;
/// Up to so many slots are drawn one by one; hours beyond.
const QUARTERS_MAX: usize = 2 * DAY;
/// The load of longer windows is not read: a profile of more than a year says little.
const LOAD_MAX: usize = 400 * DAY;

/// What a report is asked of.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The ledger's figures.
    pub figures: Figures<'a>,
    /// The prices.
    pub card: &'a RateCard,
    /// Every key there is.
    pub labels: &'a BTreeSet<String>,
    /// The axes of attribution.
    pub axes: &'a [Arc<Axis>],
}

impl Source<'_> {
    /// Asks about the same window and hosts, by other keys and in other steps.
    fn ask(&self, query: &CostQuery, by: &str, step: Option<Step>) -> Result<Answer, Problem> {
        let by = self.by(by)?;
        CostQuery { by, step, ..query.clone() }.answer(&self.figures, self.card)
    }

    /// The keys of a text.
    ///
    /// # Errors
    /// A problem that lists the known ones.
    pub fn by(&self, text: &str) -> Result<By, Problem> {
        let by = By::parse(text, self.labels).map_err(|error| cost_problem(&error))?;
        Ok(by.with_axes(self.axes))
    }
}

/// The report on a question whose answer is at hand. Blocks while the store is read.
///
/// # Errors
/// A problem if the store fails or an answer grows too large.
pub fn gather(source: &Source<'_>, query: &CostQuery, answer: Answer) -> Result<Report, Problem> {
    let ask = |by: &str, step| source.ask(query, by, step);
    let key = grouping(query, source.labels);
    let sites = source.labels.contains("site").then(|| ask("site", None)).transpose()?;
    let names: Vec<String> = match &sites {
        Some(sites) => sites.rows.iter().map(|row| row.value("site").to_owned()).collect(),
        None => vec![String::new()],
    };
    let (days, load) = charts(source, query, &key)?;
    Ok(Report {
        answer,
        days,
        load,
        read: read_of(&source.figures, &query.select),
        teams: Some(ask(&key, None)?),
        sites,
        rates: in_force(source.card, &names, query.window, &query.zone.name),
        key,
        filter: String::new(),
        issuer: String::new(),
        statements: Vec::new(),
    })
}

/// Days by a key, or months where there are many; and the load.
///
/// # Errors
/// As [`gather`].
pub fn charts(source: &Source<'_>, query: &CostQuery, key: &str) -> Result<(Option<Answer>, Option<Answer>), Problem> {
    let ask = |by: &str, step| source.ask(query, by, step);
    let slots = query.window.len();
    let days = if slots > DAYS_MAX * DAY { Step::Month } else { Step::Day };
    let load = if slots > QUARTERS_MAX { Step::Hour } else { Step::Quarter };
    let load = if slots > LOAD_MAX { None } else { Some(ask("", Some(load))?) };
    Ok((Some(ask(key, Some(days))?), load))
}

/// What groups the charts: the first label asked for, else that of teams.
fn grouping(query: &CostQuery, labels: &BTreeSet<String>) -> String {
    let names = query.by.names();
    let asked = names.iter().find(|key| cost::selector::is_label(key) && *key != "site" && labels.contains(*key));
    asked.cloned().unwrap_or_else(|| default_grouping(labels))
}

/// What people group by if nothing is said: `team` where hosts have one, else `site`, else the host.
#[must_use]
pub fn default_grouping(labels: &BTreeSet<String>) -> String {
    ["team", "site"].into_iter().find(|key| labels.contains(*key)).unwrap_or("host").to_owned()
}
