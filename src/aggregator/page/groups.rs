//! Who uses it: rows by one key with what they draw now and what they used, in pages.

use std::collections::HashMap;

use cost::{Answer, By, Row, Where};
use meter::{Milliwatts, Owner, OwnerKind};

use super::frame::Link;
use super::view::{Sort, View};
use super::words::{self, Figure};
use super::{ago, called, cost_of, key_name, owner_href, power, width};
use crate::board::{Board, BoardHost};
use crate::vitals::HostState;

/// Rows of a page.
pub(super) const ROWS: usize = 50;

/// What a view selects.
pub(super) struct Selected {
    pub(super) by: By,
    pub(super) select: Where,
}

/// What is selected, as it is now.
pub(super) struct Now<'b> {
    board: &'b Board,
    hosts: Vec<&'b BoardHost>,
    /// By group.
    groups: HashMap<String, Group<'b>>,
    /// What all of it draws; nothing where parts of hosts are selected.
    pub(super) watts: Option<Milliwatts>,
    is_whole: bool,
}

#[derive(Default)]
struct Group<'b> {
    watts: Option<u64>,
    live: usize,
    hosts: usize,
    /// Its host, if there is but one.
    only: Option<&'b BoardHost>,
    /// The chassis of its hosts, if that is but one.
    chassis: Option<&'b Owner>,
}

/// The table.
pub(super) struct Groups {
    pub(super) key: String,
    pub(super) is_hosts: bool,
    pub(super) has_power: bool,
    pub(super) keys: Vec<Link>,
    pub(super) sorts: Vec<Link>,
    pub(super) states: Vec<Link>,
    pub(super) rows: Vec<GroupRow>,
    pub(super) line: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) total: Option<GroupRow>,
}

/// One row.
pub(super) struct GroupRow {
    pub(super) name: String,
    pub(super) href: Option<String>,
    pub(super) state: Option<HostState>,
    pub(super) note: String,
    pub(super) power: Option<Figure>,
    /// Nothing where there were no readings.
    pub(super) energy: Option<Figure>,
    pub(super) cost: String,
    pub(super) share: String,
    pub(super) bar: String,
    pub(super) coverage: String,
    pub(super) is_thin: bool,
}

/// One of those that draw most now.
pub(super) struct Consumer {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) power: Figure,
    pub(super) share: String,
    pub(super) bar: String,
}

impl<'b> Now<'b> {
    pub(super) fn of(board: &'b Board, selected: &Selected, view: &View) -> Self {
        let is_whole = !selected.select.splits_hosts();
        let is_wanted = |host: &&BoardHost| {
            is_whole
                && view.state.is_none_or(|state| host.state == state && host.owner.kind == OwnerKind::Host)
                && selected.select.selects_host(&host.info())
        };
        let hosts: Vec<&BoardHost> = board.hosts.iter().filter(is_wanted).collect();
        let mut groups: HashMap<String, Group<'_>> = HashMap::new();
        let dimension = selected.by.dimensions().first().filter(|dimension| !dimension.is_of_line());
        for host in hosts.iter().filter(|_| dimension.is_some()) {
            let value = dimension.map_or("", |dimension| dimension.of_host(&host.info()));
            let key = if view.by == "host" { host_key(&host.shown.cluster, value) } else { value.to_owned() };
            groups.entry(key).or_default().add(host);
        }
        let powers = hosts.iter().filter_map(|host| host.watts).map(|power| power.0);
        let watts = powers.reduce(u64::saturating_add).map(Milliwatts);
        Self { board, groups, watts, is_whole, hosts }
    }

    /// How many of the selected hosts are in each state, in the order of [`HostState::ALL`]; nothing where parts of
    /// hosts are selected.
    pub(super) fn states(&self) -> Option<[usize; 5]> {
        if !self.is_whole {
            return None;
        }
        let mut states = [0; 5];
        for host in self.hosts.iter().filter(|host| host.owner.kind == OwnerKind::Host) {
            states[host.state as usize] += 1;
        }
        Some(states)
    }

    /// The hosts that draw most.
    pub(super) fn largest(&self, view: &View, most: usize) -> Vec<Consumer> {
        let all = self.watts.map_or(0, |watts| watts.0);
        let largest = self.hosts.first().and_then(|host| host.watts).map_or(0, |watts| watts.0);
        let consumer = |host: &&BoardHost| {
            let watts = host.watts?;
            Some(Consumer {
                name: called(&host.owner.cluster, &host.owner.name),
                href: href_of(host, view),
                power: power(watts),
                share: words::percent(float(watts.0), float(all)),
                bar: width(float(watts.0), float(largest)),
            })
        };
        self.hosts.iter().take(most).filter_map(consumer).collect()
    }
}

impl<'b> Group<'b> {
    fn add(&mut self, host: &'b BoardHost) {
        if let Some(watts) = host.watts {
            self.watts = Some(self.watts.unwrap_or(0).saturating_add(watts.0));
        }
        let is_first = self.hosts == 0;
        self.chassis = host.chassis.as_ref().filter(|chassis| is_first || self.chassis == Some(chassis));
        self.hosts += 1;
        self.live += usize::from(host.state == HostState::Live);
        self.only = (self.hosts == 1).then_some(host);
    }
}

/// A row before it is put into words.
struct Merged<'a> {
    key: &'a str,
    row: Option<&'a Row>,
    now: Option<&'a Group<'a>>,
}

impl Merged<'_> {
    fn energy(&self) -> i128 {
        self.row.map_or(0, |row| row.energy_uj)
    }

    fn watts(&self) -> Option<u64> {
        self.now.and_then(|now| now.watts)
    }
}

impl Groups {
    pub(super) fn new(view: &View, answer: &Answer, now: &Now<'_>, keys: Vec<Link>) -> Self {
        let next = next_key(view, &keys);
        let named: Vec<(String, &Row)> = answer.rows.iter().map(|row| (row_key(view, row), row)).collect();
        let mut merged = merge(view, &named, now);
        let sort = |a: &Merged<'_>, b: &Merged<'_>| match view.sort {
            Sort::Energy => b.energy().cmp(&a.energy()).then_with(|| b.watts().cmp(&a.watts())),
            Sort::Power => b.watts().cmp(&a.watts()).then_with(|| b.energy().cmp(&a.energy())),
            Sort::Name => std::cmp::Ordering::Equal,
        };
        merged.sort_by(|a, b| sort(a, b).then_with(|| a.key.cmp(b.key)));
        let pages = merged.len().div_ceil(ROWS).max(1);
        let page = view.page.min(pages);
        let from = (page - 1) * ROWS;
        let whole = answer.total.energy_kwh;
        let largest = answer.rows.iter().map(|row| row.energy_kwh).fold(0.0, f64::max);
        let row = |merged: &Merged<'_>| row_of(view, merged, now, next, (whole, largest));
        let shown: Vec<GroupRow> = merged.iter().skip(from).take(ROWS).map(row).collect();
        let line = match (merged.len(), pages) {
            (_, 1) => String::new(),
            (all, _) => format!(
                "{} to {} of {}",
                words::count(from as u64 + 1),
                words::count((from + shown.len()) as u64),
                words::count(all as u64)
            ),
        };
        Self {
            key: key_name(&view.by),
            is_hosts: view.by == "host",
            has_power: !now.groups.is_empty(),
            keys,
            sorts: sorts(view),
            states: states(view, now.board),
            before: (page > 1).then(|| view.at(page - 1).href()),
            after: (page < pages).then(|| view.at(page + 1).href()),
            total: (merged.len() > 1 && view.state.is_none()).then(|| total(answer, now)),
            rows: shown,
            line,
        }
    }
}

/// Rows with energy, and groups that are there now, by key.
fn merge<'a>(view: &View, named: &'a [(String, &'a Row)], now: &'a Now<'_>) -> Vec<Merged<'a>> {
    let mut rows: HashMap<&str, &Row> = named.iter().map(|(key, row)| (key.as_str(), *row)).collect();
    let mut merged: Vec<Merged<'a>> = now
        .groups
        .iter()
        .map(|(key, group)| Merged { key, row: rows.remove(key.as_str()), now: Some(group) })
        .collect();
    // Hosts of one state are those that are so now, and nothing that is gone.
    if view.state.is_none() {
        merged.extend(rows.into_iter().map(|(key, row)| Merged { key, row: Some(row), now: None }));
    }
    merged
}

fn row_of(view: &View, merged: &Merged<'_>, now: &Now<'_>, next: Option<&str>, of: (f64, f64)) -> GroupRow {
    let host = merged.now.and_then(|group| group.only).filter(|_| view.by == "host");
    let (cluster, name) = if view.by == "host" { split_key(merged.key) } else { ("", merged.key) };
    let kwh = merged.row.map_or(0.0, |row| row.energy_kwh);
    let (covered, expected) =
        merged.row.map_or((0.0, 0.0), |row| (row.quality.covered_seconds, row.quality.expected_seconds));
    let note = match (host, merged.now) {
        (Some(host), _) if host.state != HostState::Live => {
            host.newest.map_or_else(String::new, |at| ago(at, now.board.now))
        }
        (None, Some(group)) if view.by != "host" => format!("{} of {} live", group.live, group.hosts),
        _ => String::new(),
    };
    let name = match (name, merged.row.and_then(|row| row.line.as_deref())) {
        ("", Some(line)) => format!("({line})"),
        ("", None) => "(none)".to_owned(),
        (name, _) => {
            if view.by == "host" {
                called(cluster, name)
            } else {
                name.to_owned()
            }
        }
    };
    GroupRow {
        name,
        href: match (host, merged.now.and_then(|group| group.chassis)) {
            (Some(host), _) => Some(href_of(host, view)),
            (None, Some(chassis)) if view.by == "chassis" => Some(owner_href(chassis, view.range)),
            _ => next.and_then(|next| Some(view.inside(&view.by, merged.key, next)?.href())),
        },
        state: host.map(|host| host.state),
        note,
        power: merged.watts().map(|watts| power(Milliwatts(watts))),
        energy: merged.row.and_then(words::used),
        cost: merged.row.filter(|row| words::used(row).is_some()).map_or_else(|| "–".into(), cost_of),
        share: words::percent(kwh, of.0),
        bar: width(kwh, of.1),
        coverage: words::percent(covered, expected),
        is_thin: expected > 0.0 && covered < 0.99 * expected,
    }
}

fn total(answer: &Answer, now: &Now<'_>) -> GroupRow {
    let (row, quality) = (&answer.total, &answer.total.quality);
    GroupRow {
        name: "Total".into(),
        href: None,
        state: None,
        note: String::new(),
        power: now.watts.map(power),
        energy: words::used(row),
        cost: cost_of(row),
        share: words::percent(row.energy_kwh, row.energy_kwh),
        bar: "0".into(),
        coverage: words::percent(quality.covered_seconds, quality.expected_seconds),
        is_thin: quality.expected_seconds > 0.0 && quality.covered_seconds < 0.99 * quality.expected_seconds,
    }
}

/// What the rows inside a row are: the racks of a site, the chassis of a rack where there are any, else hosts.
fn next_key(view: &View, keys: &[Link]) -> Option<&'static str> {
    let or_hosts = |key: &'static str| Some(if keys.iter().any(|one| one.name == key) { key } else { "host" });
    match view.by.as_str() {
        "host" | "scope" | "device" => None,
        by if by.starts_with("job.") => None,
        "site" => or_hosts("rack"),
        "rack" => or_hosts("chassis"),
        _ => Some("host"),
    }
}

/// Where a host or chassis is shown.
fn href_of(host: &BoardHost, view: &View) -> String {
    owner_href(&host.owner, view.range)
}

fn sorts(view: &View) -> Vec<Link> {
    let link =
        |sort: Sort| Link { name: sort.word().into(), href: view.sorted(sort).href(), is_here: sort == view.sort };
    Sort::ALL.map(link).into()
}

/// The states that hosts are in.
fn states(view: &View, board: &Board) -> Vec<Link> {
    if view.by != "host" {
        return Vec::new();
    }
    let link = |state: Option<HostState>, name: String| {
        let of = View { state, page: 1, ..view.clone() };
        Link { name, href: of.href(), is_here: view.state == state }
    };
    let there = HostState::ALL.into_iter().zip(board.states).filter(|(state, n)| *n > 0 || view.state == Some(*state));
    let words = there.map(|(state, _)| link(Some(state), state.words().into()));
    std::iter::once(link(None, "all".into())).chain(words).collect()
}

/// The key of a row of an answer.
fn row_key(view: &View, row: &Row) -> String {
    if view.by == "host" { host_key(row.value("cluster"), row.value("host")) } else { row.value(&view.by).to_owned() }
}

/// Names have no line ends.
fn host_key(cluster: &str, name: &str) -> String {
    format!("{cluster}\n{name}")
}

fn split_key(key: &str) -> (&str, &str) {
    key.split_once('\n').unwrap_or(("", key))
}

#[expect(clippy::cast_precision_loss, reason = "presentation only")]
fn float(milli: u64) -> f64 {
    milli as f64
}
