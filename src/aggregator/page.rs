//! The page at `/`: what the fleet draws, what it costs, and how far the figures can be trusted.
//!
//! Rendered whole by the server, escaped by the template engine, without scripts or anything from
//! elsewhere: it works in every browser and on machines without internet.

use askama::Template;
use cost::Row;
use meter::{Milliwatts, SECOND_NS, Utc};

use crate::app::App;
use crate::exposition::host_counts;
use crate::hosts_view::HostState;
use crate::summary::Summary;

pub mod chart;
mod hosts;
mod quality;
pub mod words;

pub use hosts::HostRow;
pub use quality::Fact;
use words::Figure;

/// Most hosts in the table: a page is to be read.
const HOSTS_MAX: usize = 200;
/// Most groups in the table of costs.
const GROUPS_MAX: usize = 15;
/// How far back the graph of power goes.
const GRAPH_NS: i64 = 24 * 3600 * SECOND_NS;

/// Everything the template shows.
#[derive(Template)]
#[template(path = "page.html")]
pub struct PageView {
    nonce: String,
    server: String,
    version: &'static str,
    as_of: String,
    zone: String,
    is_empty: bool,
    banners: Vec<String>,
    power: Option<Figure>,
    hosts_line: String,
    today: Tile,
    month: Tile,
    coverage: String,
    coverage_line: String,
    graph: Option<Graph>,
    days: Option<Days>,
    key: String,
    groups: Vec<GroupRow>,
    more_groups: usize,
    facts: Vec<Fact>,
    hosts: Vec<HostRow>,
    more_hosts: usize,
    has_cost: bool,
}

/// Energy and cost of a span of time.
struct Tile {
    energy: Figure,
    cost: String,
}

struct Graph {
    chart: chart::LineChart,
    top: String,
    from: String,
}

struct Days {
    bars: Vec<chart::Bar>,
    top: String,
    from: String,
    until: String,
}

/// One group of this month's cost.
struct GroupRow {
    name: String,
    energy: Figure,
    cost: String,
    share: String,
    bar: String,
}

impl PageView {
    /// What there is to see now. `server` is the address people reach this page under.
    #[must_use]
    pub fn new(app: &App, summary: &Summary, server: String, nonce: String) -> Self {
        let (snapshot, topology, now) = app.moment();
        let table = hosts::Table::new(&snapshot, &topology, summary, now);
        let counts = host_counts(&snapshot, &topology, now);
        let quality = &summary.today.total.quality;
        let (covered, expected) = (quality.covered_seconds, quality.expected_seconds);
        let (groups, more_groups) = groups(summary);
        Self {
            nonce,
            server,
            version: env!("CARGO_PKG_VERSION"),
            as_of: local_time(snapshot.as_of, summary, "%Y-%m-%d %H:%M:%S"),
            zone: summary.zone.name.clone(),
            is_empty: snapshot.owners().next().is_none(),
            banners: banners(app, &table),
            power: table.watts.map(|Milliwatts(mw)| words::power(thousandth(mw))),
            hosts_line: hosts_line(counts),
            today: Tile::new(&summary.today.total),
            month: Tile::new(&summary.month.total),
            coverage: words::percent(covered, expected),
            coverage_line: format!("{} of {} host-hours today", hours(covered), hours(expected)),
            graph: graph(app, summary, now),
            days: days(summary),
            key: summary.key.clone(),
            groups,
            more_groups,
            facts: quality::facts(&snapshot, summary, counts),
            has_cost: !summary.month.total.cost.is_empty() || !summary.today.total.cost.is_empty(),
            more_hosts: table.rows.len().saturating_sub(HOSTS_MAX),
            hosts: table.shown(HOSTS_MAX),
        }
    }
}

impl Tile {
    fn new(total: &Row) -> Self {
        Self { energy: words::energy(total.energy_kwh), cost: cost_of(total) }
    }
}

/// The cost of a row in words: never empty, because no price is not a price of nothing.
pub(crate) fn cost_of(row: &Row) -> String {
    let mut all: Vec<String> = row
        .cost
        .iter()
        .map(|cost| format!("{}\u{a0}{}", words::grouped(&cost.amount.to_string()), cost.currency))
        .collect();
    if row.unpriced_kwh > 0.0 || all.is_empty() {
        let energy = words::energy(row.unpriced_kwh);
        let unpriced = format!("{}\u{a0}{} unpriced", energy.number, energy.unit);
        all.push(if row.cost.is_empty() { "unpriced".into() } else { unpriced });
    }
    all.join(" + ")
}

fn banners(app: &App, table: &hosts::Table) -> Vec<String> {
    let mut banners = Vec::new();
    if table.simulated > 0 {
        let of = table.rows.len();
        banners.push(format!("Simulated or replayed data: {} of {of} hosts are not live machines.", table.simulated));
    }
    let files = [
        ("inventory", app.inventory.path(), app.inventory.failure()),
        ("rates", app.rates.path(), app.rates.failure()),
    ];
    for (what, path, failure) in files {
        if let Some((path, why)) = path.zip(failure) {
            let path = path.display();
            banners.push(format!(
                "The {what} file {path} changed and cannot be used, so the one before stays in force. {why}"
            ));
        }
    }
    let reasons = app.health.reasons();
    if !reasons.is_empty() {
        banners.push(format!(
            "Readings cannot be booked now: {}. Agents keep them and send them later.",
            reasons.join("; ")
        ));
    }
    banners
}

fn hosts_line(counts: [usize; 5]) -> String {
    let words = HostState::ALL.into_iter().zip(counts).filter(|(state, count)| *count > 0 || *state == HostState::Live);
    let words: Vec<String> = words
        .map(|(state, count)| format!("{count} {}", state.word().replace('_', " ")).replace(' ', "\u{a0}"))
        .collect();
    words.join(" · ")
}

fn groups(summary: &Summary) -> (Vec<GroupRow>, usize) {
    let answer = &summary.month;
    let mut rows: Vec<&Row> = answer.rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.energy_uj));
    let largest = rows.first().map_or(0.0, |row| row.energy_kwh);
    let group = |row: &&Row| {
        let name = row.value(&summary.key);
        GroupRow {
            name: if name.is_empty() { "(none)".into() } else { name.to_owned() },
            energy: words::energy(row.energy_kwh),
            cost: cost_of(row),
            share: words::percent(row.energy_kwh, answer.total.energy_kwh),
            bar: width(row.energy_kwh, largest),
        }
    };
    (rows.iter().take(GROUPS_MAX).map(group).collect(), rows.len().saturating_sub(GROUPS_MAX))
}

fn graph(app: &App, summary: &Summary, now: Utc) -> Option<Graph> {
    let points = app.recent.fleet();
    let began = points.iter().position(|(at, power)| power.is_some() && at.0 >= now.0 - GRAPH_NS)?;
    let points = &points[began..];
    let values: Vec<Option<f64>> = points.iter().map(|(_, power)| power.map(|Milliwatts(mw)| thousandth(mw))).collect();
    if values.iter().flatten().count() < 2 {
        return None;
    }
    let top = chart::round_top(values.iter().flatten().copied().fold(0.0, f64::max));
    let Figure { number, unit } = words::power(top);
    let from = local_time(points.first()?.0, summary, "%H:%M");
    Some(Graph { chart: chart::line(&values, top), top: format!("{number}\u{a0}{unit}"), from })
}

fn days(summary: &Summary) -> Option<Days> {
    // Days before the first reading say nothing, and neither does a graph of one bar.
    let rows: Vec<&Row> = summary.days.rows.iter().skip_while(|row| row.energy_uj == 0).collect();
    if rows.len() < 2 {
        return None;
    }
    let top = chart::round_top(rows.iter().map(|row| row.energy_kwh).fold(0.0, f64::max));
    let day = |row: &&Row| local_time(row.start, summary, "%e %b");
    let titled = rows.iter().map(|row| {
        let Figure { number, unit } = words::energy(row.energy_kwh);
        (row.energy_kwh, format!("{}: {number} {unit}, {}", day(row).trim(), cost_of(row)))
    });
    let bars = chart::bars(&titled.collect::<Vec<_>>(), top);
    let Figure { number, unit } = words::energy(top);
    let (from, until) = (day(rows.first()?), day(rows.last()?));
    Some(Days { bars, top: format!("{number}\u{a0}{unit}"), from, until })
}

/// The instant in the page's zone.
fn local_time(at: Utc, summary: &Summary, format: &str) -> String {
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(at.0));
    timestamp.map_or_else(|_| String::new(), |at| at.to_zoned(summary.zone.tz.clone()).strftime(format).to_string())
}

/// The width of a bar of 100 units.
fn width(value: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1}", (100.0 * value / whole).clamp(0.0, 100.0)) } else { "0".into() }
}

fn hours(seconds: f64) -> String {
    words::grouped(&format!("{:.1}", seconds / 3600.0))
}

#[expect(clippy::cast_precision_loss, reason = "presentation only")]
fn thousandth(milli: u64) -> f64 {
    milli as f64 / 1e3
}
