//! Closing a month: what must hold, and what is frozen.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use actix_web::http::StatusCode;
use billing::topology::Topology;
use cost::closing::{Closed, Closing, Correction, Fact, Facts, Head, Original};
use cost::statement::Edges;
use cost::{By, Where, Window};
use meter::Utc;
use serde::Serialize;
use serde_json::json;

use super::corrections::is_month;
use super::unpriced::require_prices;
use super::{Entry, Moment, Statements, failed, month_before, month_window, next_month, read_facts, zone_of};
use crate::http::problem::Problem;
use crate::query::{CostQuery, HeldQuery, Zone, rfc3339};
use crate::report::gather::{charts, default_grouping};
use crate::report::rates::in_force;

/// Most hosts that a refusal names.
const NAMED_MAX: usize = 20;

/// What is to be closed.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The month, `2026-10`.
    pub period: String,
    /// One site only; nothing for all.
    pub site: Option<String>,
    /// Close it although too little is known of it.
    pub allow_incomplete: bool,
    /// Put a new version in place of one that is closed.
    pub restate: bool,
    /// Who closes it, by their own word.
    pub by: String,
    /// The least coverage in percent.
    pub coverage_min_percent: u32,
}

/// A host of which readings are missing.
#[derive(Clone, Debug, Serialize)]
struct Missing {
    site: String,
    cluster: String,
    host: String,
    missing_hours: f64,
    expected_hours: f64,
}

/// A site's month before it is frozen.
struct Draft {
    site: String,
    window: Window,
    zone: Zone,
    facts: Facts,
    /// The version that it replaces.
    before: Option<Entry>,
}

impl Statements {
    /// Closes a month; on disk when this returns. Blocks while the store is read. `noted` is told what will be
    /// closed, and has the last word.
    ///
    /// # Errors
    /// A problem that says why it does not close: not over, closed already, or too little known, with the
    /// hosts that lack most.
    pub fn close(
        &self,
        moment: &Moment<'_>,
        topology: &Arc<Topology>,
        order: &Order,
        noted: &dyn Fn(&[Closed]) -> Result<(), Problem>,
    ) -> Result<Vec<Head>, Problem> {
        let _one = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_month(&order.period, moment.zone) {
            let detail = format!("{:?} is no month such as 2026-10", shortened(&order.period));
            return Err(Problem::bad_request("bad-period", detail).with("parameter", json!("period")));
        }
        if order.restate && order.site.is_none() {
            let detail = "restate needs a site: one statement is put in place of another";
            return Err(Problem::bad_request("missing-parameter", detail).with("parameter", json!("site")));
        }
        let (all, known) = (self.list(), self.sites(moment, order)?);
        let drafts = self.drafts(moment, &all, &known, order)?;
        if !order.allow_incomplete {
            require_coverage(&drafts, order.coverage_min_percent)?;
        }
        let statements = drafts.into_iter().map(|draft| self.freeze(moment, topology, &all, order, draft));
        let statements = statements.collect::<Result<Vec<Closed>, _>>()?;
        if !order.allow_incomplete {
            require_prices(statements.iter().map(|closed| &closed.head), !moment.card.rates().is_empty())?;
        }
        noted(&statements)?;
        let is_closed = |site: &String| {
            let mut sites = all.iter().filter(|entry| entry.head.period == order.period).map(|entry| &entry.head.site);
            sites.any(|closed| closed == site) || statements.iter().any(|closed| closed.head.site == *site)
        };
        let is_whole = known.iter().all(is_closed).then_some(order.period.as_str());
        let put = self.shelf.put(&statements, is_whole).map_err(|error| {
            tracing::error!("failed to keep a statement: {error}");
            Problem::come_again("store-failed", "the statement could not be kept; the month is open, ask again")
        })?;
        self.late.watch(put.iter().map(|entry| entry.head.window.end));
        Ok(put.into_iter().map(|entry| entry.head).collect())
    }

    /// What there is to close: every site with hosts in the month that is not closed.
    fn drafts(
        &self,
        moment: &Moment<'_>,
        all: &[Entry],
        known: &[String],
        order: &Order,
    ) -> Result<Vec<Draft>, Problem> {
        let sites = order.site.as_ref().map_or_else(|| known.to_vec(), |site| vec![site.clone()]);
        // What has the same window and zone is read together.
        let mut windows: BTreeMap<_, (Window, Zone, Vec<String>)> = BTreeMap::new();
        for site in sites {
            let zone = zone_of(&site, moment.card, moment.zone);
            let window = self.window(&order.period, &site, &zone).ok_or_else(|| nothing(order))?;
            let key = (window.first().0, window.until().0, zone.name.clone());
            windows.entry(key).or_insert_with(|| (window, zone, Vec::new())).2.push(site);
        }
        let mut drafts = Vec::new();
        for (window, zone, sites) in windows.into_values() {
            require_over(window, moment.figures.now, &order.period)?;
            let facts = whole_facts(moment, window, order.site.as_deref())?;
            for site in sites {
                let newest = self.shelf.newest(&order.period).into_iter().find(|entry| entry.head.site == site);
                let facts = facts.of_site(&site);
                if let Some(entry) = &newest {
                    if order.site.is_none() {
                        continue;
                    }
                    self.require_restatable(all, order, entry)?;
                } else if facts.lines().iter().chain(facts.hosts()).all(Fact::is_empty) {
                    continue;
                }
                drafts.push(Draft { site, window, zone: zone.clone(), facts, before: newest });
            }
        }
        if drafts.is_empty() { Err(self.nothing_left(order)) } else { Ok(drafts) }
    }

    /// The month of a site: that of its zone, but for edges that were billed in another zone. It begins where the
    /// statement of the month before ends, ends where that of the next one begins, and stays as it was closed. So
    /// each hour is billed once, whenever a card moves a site to another zone.
    fn window(&self, period: &str, site: &str, zone: &Zone) -> Option<Window> {
        let month = month_window(period, zone)?;
        let billed = |period: Option<String>| {
            let newest = self.shelf.newest(&period?).into_iter().find(|entry| entry.head.site == site)?;
            Some(newest.head.window)
        };
        if let Some(same) = billed(Some(period.to_owned())) {
            return Some(Window::of_slots(same.start.slot(), same.end.slot()));
        }
        let start = billed(month_before(period)).map_or(month.first(), |before| before.end.slot());
        let until = billed(next_month(period)).map_or(month.until(), |next| next.start.slot());
        (start < until).then(|| Window::of_slots(start, until))
    }

    /// The sites with hosts in a month of the server's zone.
    pub(super) fn sites(&self, moment: &Moment<'_>, order: &Order) -> Result<Vec<String>, Problem> {
        let window = month_window(&order.period, moment.zone).ok_or_else(|| nothing(order))?;
        require_over(window, moment.figures.now, &order.period)?;
        let by = By::default().and("site", moment.labels);
        let facts = read_facts(moment, window, by, &Where::default())?;
        Ok(facts.iter().filter(|fact| !fact.is_empty()).map(|fact| fact.value("site").to_owned()).collect())
    }

    fn require_restatable(&self, all: &[Entry], order: &Order, entry: &Entry) -> Result<(), Problem> {
        if !order.restate {
            return Err(is_closed(order, &[entry]));
        }
        let holders = self.holders(all, &entry.head.site, &order.period)?;
        if holders.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "what changed in {} since it was closed is billed in {} already: it cannot be restated any more",
            order.period,
            holders.join(", ")
        );
        Err(Problem::conflict("already-adjusted", detail))
    }

    /// Why a month without a site that is open does not close.
    fn nothing_left(&self, order: &Order) -> Problem {
        let closed = self.shelf.newest(&order.period);
        if closed.is_empty() { nothing(order) } else { is_closed(order, &closed.iter().collect::<Vec<_>>()) }
    }

    fn freeze(
        &self,
        moment: &Moment<'_>,
        topology: &Arc<Topology>,
        all: &[Entry],
        order: &Order,
        draft: Draft,
    ) -> Result<Closed, Problem> {
        let Draft { site, window, zone, facts, before } = draft;
        // A new version bills the same adjustments of earlier months as the one before.
        let corrections: Vec<Correction> = match &before {
            Some(entry) => self.read(entry).map_err(|error| failed(&error))?.corrections(),
            None => {
                let due = self.due(moment, topology, all, &order.period, Some(&site))?;
                due.iter().map(|correction| (**correction).clone()).collect()
            }
        };
        let version = before.map_or(1, |entry| entry.head.version + 1);
        let (covered, expected) = time_of(&facts);
        let key = default_grouping(moment.labels);
        let select = Where::site(&site);
        let held = HeldQuery::default();
        let query = CostQuery { window, by: By::default(), select, step: None, zone: zone.clone(), held };
        let (days, load) = charts(&moment.source(), &query, &key)?;
        Ok(Closed::new(Closing {
            original: Original {
                id: id(&order.period, &site, version),
                period: order.period.clone(),
                site: site.clone(),
                version,
            },
            window: Edges { start: window.start(), end: window.end() },
            tz: zone.name.clone(),
            closed: (whole_second(moment.figures.now), order.by.clone()),
            incomplete: !is_covered(covered, expected, order.coverage_min_percent),
            facts,
            corrections,
            days,
            load,
            rates: in_force(moment.card, &[site], window, &zone.name),
            chart_key: key,
        }))
    }
}

/// The facts of a month at each grain.
fn whole_facts(moment: &Moment<'_>, window: Window, site: Option<&str>) -> Result<Facts, Problem> {
    let select = site.map_or_else(Where::default, Where::site);
    let axes = moment.axis_names();
    let read = |without: &[&str]| read_facts(moment, window, moment.grain().without(without), &select);
    let unheld = |without: &[&str]| read(&[without, &axes].concat());
    let facts = Facts::new(read(&[])?, unheld(&["device"])?, unheld(&["scope", "device"])?);
    if axes.is_empty() {
        return Ok(facts);
    }
    let names = axes.iter().map(|&name| name.to_owned()).collect();
    Ok(facts.held_by(names, read(&["device"])?, read(&["scope", "device"])?))
}

fn require_over(window: Window, now: Utc, period: &str) -> Result<(), Problem> {
    if window.end() <= now {
        return Ok(());
    }
    let detail = format!("{period} is not over: it ends at {}", rfc3339(window.end()));
    Err(Problem::conflict("month-not-over", detail))
}

fn is_closed(order: &Order, entries: &[&Entry]) -> Problem {
    let name = |entry: &&Entry| {
        let site = if entry.head.site.is_empty() { "(none)" } else { &entry.head.site };
        format!("site {site} with version {} at {}", entry.head.version, rfc3339(entry.head.closed_at))
    };
    let names: Vec<String> = entries.iter().map(name).collect();
    let detail = format!(
        "{} is closed: {}. What changed since falls due in the next open month; a site named together with \
         `restate` gets a new version instead",
        order.period,
        names.join("; ")
    );
    Problem::conflict("already-closed", detail)
}

fn nothing(order: &Order) -> Problem {
    let site = order.site.as_ref().map_or_else(String::new, |site| format!(" at the site {:?}", shortened(site)));
    Problem::conflict("nothing-to-close", format!("no host was in service in {}{site}", order.period))
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Covered and expected host-time.
fn time_of(facts: &Facts) -> (u128, u128) {
    facts.hosts().iter().map(Fact::time_ns).fold((0, 0), |sum, time| (sum.0 + time.0, sum.1 + time.1))
}

fn is_covered(covered: u128, expected: u128, percent: u32) -> bool {
    covered * 100 >= expected * u128::from(percent)
}

fn require_coverage(drafts: &[Draft], percent: u32) -> Result<(), Problem> {
    let is_thin = |draft: &&Draft| {
        let (covered, expected) = time_of(&draft.facts);
        !is_covered(covered, expected, percent)
    };
    let thin: Vec<&Draft> = drafts.iter().filter(is_thin).collect();
    if thin.is_empty() {
        return Ok(());
    }
    let mut hosts: Vec<Missing> = thin.iter().flat_map(|draft| missing(draft)).collect();
    hosts.sort_by(|a, b| b.missing_hours.total_cmp(&a.missing_hours));
    let named = |host: &Missing| format!("{} {:.1} h of {:.1} h", host.host, host.missing_hours, host.expected_hours);
    let names: Vec<String> = hosts.iter().take(3).map(named).collect();
    let more = hosts.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let sites: Vec<String> = thin.iter().map(|draft| thin_site(draft)).collect();
    let detail = format!(
        "readings cover less than {percent} % of the month at {}; missing: {}{more}. Wait for them, or close it with \
         `allow_incomplete` (--allow-incomplete)",
        sites.join(", "),
        names.join(", ")
    );
    hosts.truncate(NAMED_MAX);
    Err(Problem::new(StatusCode::CONFLICT, "coverage-too-low", detail).with("hosts", json!(hosts)))
}

fn thin_site(draft: &Draft) -> String {
    let (covered, expected) = time_of(&draft.facts);
    // Rounded down: what is too little must not read as enough.
    let tenths = covered * 1000 / expected.max(1);
    let site = if draft.site.is_empty() { "hosts without a site" } else { &draft.site };
    format!("{site} ({}.{} %)", tenths / 10, tenths % 10)
}

/// The hosts of a draft that lack readings; hours for people.
#[expect(clippy::cast_precision_loss, reason = "presentation only")]
fn missing(draft: &Draft) -> Vec<Missing> {
    let mut hosts: BTreeMap<(&str, &str), (u128, u128)> = BTreeMap::new();
    for fact in draft.facts.hosts() {
        let time = hosts.entry((fact.value("cluster"), fact.value("host"))).or_default();
        let (covered, expected) = fact.time_ns();
        (time.0, time.1) = (time.0 + covered, time.1 + expected);
    }
    let hours = |ns: u128| (ns as f64 / 3.6e12 * 1e3).round() / 1e3;
    let lacking = hosts.into_iter().filter(|(_, (covered, expected))| covered < expected);
    let missing = lacking.map(|((cluster, host), (covered, expected))| Missing {
        site: draft.site.clone(),
        cluster: cluster.to_owned(),
        host: host.to_owned(),
        missing_hours: hours(expected - covered),
        expected_hours: hours(expected),
    });
    missing.collect()
}

fn whole_second(at: Utc) -> Utc {
    Utc(at.0 - at.0.rem_euclid(meter::SECOND_NS))
}

/// A statement's identifier: the same for the same month, site and version.
fn id(period: &str, site: &str, version: u32) -> String {
    let hash = blake3::hash(format!("{period}\n{version}\n{site}").as_bytes()).to_hex();
    format!("{period}-{}-v{version}", hash.as_str().get(..12).unwrap_or_default())
}
