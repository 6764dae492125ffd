//! The dashboard: what the fleet draws, what it costs, who uses it, and how far the figures can be trusted.
//!
//! Rendered whole by the server and escaped by the template engine, so that it can be read without a script and on
//! machines without internet. A small script keeps the number of now alive; everything else is links.

use std::collections::BTreeSet;

use askama::Template;
use cost::Row;
use meter::{Milliwatts, Owner, OwnerKind, Utc};

use crate::app::App;
use crate::asked::{Asked, Range};
use crate::board::Board;
use crate::http::problem::Problem;
use crate::query::Params;
use crate::report::gather::default_grouping;
use crate::statements::desk::Desk;
use crate::summary::Summary;
use crate::vitals::HostState;

mod about;
mod booked;
mod budgets;
pub mod chart;
mod components;
pub mod device;
mod devices;
pub mod frame;
mod graph;
mod groups;
mod look;
pub mod owner;
mod quality;
mod sitting;
mod stack;
mod tiles;
pub mod view;
pub mod waiting;
pub mod words;

use frame::{Frame, Link};
use graph::{Days, Graph};
use groups::{Groups, Now, Selected};
use view::View;
use words::Figure;

/// Most consumers that are listed.
const CONSUMERS_MAX: usize = 8;
/// Sums that are older than power by so much say so.
const OLD_NS: u64 = 5 * meter::SECOND_NS.unsigned_abs();
/// Keys that rows are offered by, where there are any: those that people have, then those that machines have.
const KEYS: [&str; 3] = ["team", "site", "rack"];

/// The page at `/`.
#[derive(Template)]
#[template(path = "page.html")]
pub struct PageView {
    frame: Frame,
    server: String,
    is_empty: bool,
    is_priced: bool,
    view: View,
    power: Option<Figure>,
    hosts_line: String,
    today: tiles::Tile,
    month: tiles::Tile,
    forecast: tiles::Forecasts,
    coverage: tiles::Coverage,
    ranges: Vec<Link>,
    terms: Vec<Link>,
    /// Of when energy and cost are, where that is not of now.
    sums_as_of: Option<String>,
    graph: Option<Graph>,
    days: Option<Days>,
    groups: Groups,
    consumers: Vec<groups::Consumer>,
    budgets: Vec<budgets::BudgetRow>,
    facts: Vec<quality::Fact>,
    look: look::Look,
    downloads: Vec<Link>,
}

impl PageView {
    /// What there is to see now. `server` is the address people reach this page under. Blocks while the store is read.
    ///
    /// # Errors
    /// A problem that names the parameter at fault, or that the store failed.
    pub fn new(app: &App, view: View, server: String) -> Result<Self, Problem> {
        let (board, summary) = (app.boards.of(&app.books)?, app.summaries.lately(&app.books)?);
        let (view, selected, keys) = select(app, view)?;
        let answer = app.answers.of(&app.books, &app.statements, &view.asked(&view.by))?;
        let first =
            app.answers.of(&app.books, &app.statements, &Asked { along: "", ..View::default().asked(&summary.key) })?;
        let money = !app.books.hides_money();
        let now = Now::of(&board, &selected, &view);
        let is_priced = money && !(answer.rows.total.cost.is_empty() && summary.month.total.cost.is_empty());
        Ok(Self {
            frame: Frame::new(app, &board, &summary),
            server,
            is_empty: board.is_empty,
            is_priced,
            power: if view.filter.is_empty() { board.watts } else { now.watts }.map(power),
            hosts_line: if view.filter.is_empty() { Some(board.states) } else { now.states() }
                .map_or_else(String::new, hosts_line),
            today: tiles::Tile::new(&summary.today.total, money),
            month: tiles::Tile::new(&summary.month.total, money),
            forecast: tiles::Forecasts::of(app, &summary, &first.load, board.now, money),
            coverage: tiles::Coverage::of(&answer.rows.total),
            ranges: ranges(view.range, |range| view.over(range).href()),
            terms: view.terms().into_iter().map(|(term, view)| Link::to(term, view.href())).collect(),
            sums_as_of: older(answer.rows.as_of.min(summary.today.as_of), &board, &summary),
            graph: graph::of(app, &view, &answer, &summary.zone, board.now),
            days: graph::days(&summary, money),
            groups: Groups::new(&view, &answer.rows, &now, keys),
            consumers: now.largest(&view, CONSUMERS_MAX),
            budgets: budgets::rows(app, &view, money),
            facts: quality::facts(&board, &summary, &view),
            look: look::Look::of(app, &board, &summary, &view),
            downloads: downloads(&view, if view.by == "host" { "cluster,host" } else { &view.by }, money),
            view,
        })
    }
}

/// When that was, if it is not of now.
fn older(at: Utc, board: &Board, summary: &Summary) -> Option<String> {
    let is_old = board.as_of.since(at) > OLD_NS;
    is_old.then(|| frame::local_time(at, &summary.zone.tz, "%H:%M:%S"))
}

/// The view with the key that rows go by, what it selects, and the keys it could go by; refused if it asks for what there is not.
fn select(app: &App, view: View) -> Result<(View, Selected, Vec<Link>), Problem> {
    let params = Params::of([("window", view.range.word()), ("by", &view.by), ("where", &view.filter)]);
    let desk = Desk::new(&app.books, &app.statements, &params)?;
    let query = desk.read(&params)?;
    let by = match (view.state, view.by.as_str()) {
        (Some(_), "" | "host") => "host".to_owned(),
        (Some(_), _) => {
            let detail = "state selects hosts: it goes with by=host only";
            return Err(Problem::bad_request("bad-parameter", detail));
        }
        (None, "") => default_grouping(&desk.labels),
        (None, by) => by.to_owned(),
    };
    let params = Params::of([("window", view.range.word()), ("by", &by)]);
    let by_query = desk.read(&params)?;
    let view = View { by, ..view };
    let keys = keys(app, &view, &desk.labels);
    Ok((view, Selected { by: by_query.by, select: query.select }, keys))
}

/// The keys that rows can go by.
fn keys(app: &App, view: &View, labels: &BTreeSet<String>) -> Vec<Link> {
    let (_, topology, _) = app.books.moment();
    let mut keys: Vec<&str> = KEYS.into_iter().filter(|key| labels.contains(*key)).collect();
    keys.extend(topology.linked_hosts().next().map(|_| "chassis"));
    keys.extend(["host", "scope"]);
    if !keys.contains(&view.by.as_str()) {
        keys.push(&view.by);
    }
    let link = |key: &&str| {
        let rows = View { state: None, ..view.rows_of(key) };
        Link { name: key_name(key), href: rows.href(), is_here: **key == view.by }
    };
    keys.iter().map(link).collect()
}

/// A key in words.
fn key_name(key: &str) -> String {
    if key == "scope" { "component".into() } else { key.into() }
}

fn ranges(here: Range, href: impl Fn(Range) -> String) -> Vec<Link> {
    let link = |range: Range| Link { name: range.name().into(), href: href(range), is_here: range == here };
    Range::ALL.into_iter().map(link).collect()
}

/// What a view is downloaded as; FOCUS is nothing but money.
fn downloads(view: &View, by: &str, money: bool) -> Vec<Link> {
    let formats = [("CSV", "csv"), ("printable report", "html"), ("FOCUS", "focus"), ("JSON", "json")];
    let shown = formats.into_iter().filter(|(_, format)| money || *format != "focus");
    shown.map(|(name, format)| Link::to(name.into(), view.report(by, format))).collect()
}

/// The cost of a row in words: never empty, because no price is not a price of nothing.
pub(crate) fn cost_of(row: &Row) -> String {
    costs_of(row).join(" + ")
}

/// The same, each currency by itself.
pub(crate) fn costs_of(row: &Row) -> Vec<String> {
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
    all
}

fn hosts_line(counts: [usize; 5]) -> String {
    let words = HostState::ALL.into_iter().zip(counts).filter(|(state, count)| *count > 0 || *state == HostState::Live);
    let words: Vec<String> =
        words.map(|(state, count)| format!("{count} {}", state.words()).replace(' ', "\u{a0}")).collect();
    words.join(" · ")
}

/// How an owner is called: its cluster is named where it is not the only one people have.
fn called(cluster: &str, name: &str) -> String {
    if cluster == "default" { name.to_owned() } else { format!("{cluster}/{name}") }
}

/// The address of a host's page.
fn host_href(cluster: &str, name: &str, range: Range) -> String {
    format!("/hosts/{}/{}{}", view::encoded(cluster), view::encoded(name), range.query())
}

/// The address of a chassis' page.
fn chassis_href(cluster: &str, name: &str, range: Range) -> String {
    format!("/chassis/{}/{}{}", view::encoded(cluster), view::encoded(name), range.query())
}

/// The address of the page of a host or chassis.
fn owner_href(owner: &Owner, range: Range) -> String {
    let href = if owner.kind == OwnerKind::Chassis { chassis_href } else { host_href };
    href(&owner.cluster, &owner.name, range)
}

/// The width of a bar of 100 units.
pub(crate) fn width(value: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1}", (100.0 * value / whole).clamp(0.0, 100.0)) } else { "0".into() }
}

fn power(power: Milliwatts) -> Figure {
    words::power(crate::hosts_view::watts(power))
}

/// How long ago that was.
fn ago(at: Utc, now: Utc) -> String {
    format!("{} ago", words::ago(now.since(at) / meter::SECOND_NS.unsigned_abs()))
}
