//! What is frozen when a month closes, and how later figures differ from it.
//!
//! A month is frozen as [`Facts`]: exact sums at the finest grain there is without jobs (host under
//! one set of labels, chassis, scope, device), so that every grouping can be answered from them for
//! ever. What is found out later is a [`Correction`]: the exact difference, fact by fact, to what was
//! closed and to the corrections that later statements already hold.
//!
//! Printed figures telescope: a correction prints what the month prints now less what it printed
//! before, so that the statement and its corrections add up to the month's figure of today.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use meter::{DoubtCounts, Utc};

use crate::rollup::Rollup;
use crate::rows::{Exact, Sums, flags, print};
use crate::statement::{Answer, Edges, FLAGGED_MAX, FlaggedHost, Status};
use crate::tenant::Class;

mod adjustment;
mod document;
mod figure;
mod text;

pub use adjustment::{Adjustment, Correction, Original, Sum};
pub use document::{Closed, Closing, Coverage, Head, RateLine};
pub use figure::ClosedFigure;

/// Keys with a value, as one fact has them.
pub type Key = BTreeMap<String, String>;

/// Exact sums under one key.
#[derive(Clone, Debug)]
pub struct Fact {
    pub(crate) key: Key,
    pub(crate) sums: Sums,
}

/// A month, exactly: energy and money by line; time, methods and doubts also by scope and by host,
/// because they do not add up over lines, and where there are axes of attribution with and without them.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub(crate) axes: BTreeSet<String>,
    pub(crate) lines: Vec<Fact>,
    pub(crate) scopes: Vec<Fact>,
    pub(crate) hosts: Vec<Fact>,
    pub(crate) held_scopes: Vec<Fact>,
    pub(crate) held_hosts: Vec<Fact>,
}

/// The facts of a rollup, by its keys; such without a value are left out.
#[must_use]
pub fn facts(rollup: Rollup<'_>) -> Vec<Fact> {
    let (names, rows, _) = rollup.exact();
    let fact = |row: Exact| {
        let key = names.iter().cloned().zip(row.key).filter(|(_, value)| !value.is_empty()).collect();
        Fact { key, sums: row.sums }
    };
    rows.into_iter().map(fact).collect()
}

impl Fact {
    /// The value of a key; empty where it has none.
    #[must_use]
    pub fn value(&self, key: &str) -> &str {
        self.key.get(key).map_or("", String::as_str)
    }

    /// What it is the fact of.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Covered and expected time in nanoseconds.
    #[must_use]
    pub fn time_ns(&self) -> (u128, u128) {
        (self.sums.coverage.covered_ns, self.sums.coverage.expected_ns)
    }

    /// Whether it says anything at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_nothing() && self.sums.coverage.expected_ns == 0
    }

    fn group(&self, by: &[String]) -> Vec<String> {
        by.iter().map(|key| self.value(key).to_owned()).collect()
    }
}

impl Facts {
    /// From rollups of one window: by the whole grain with all axes, and without axes by it less the device, and
    /// less the scope, too.
    #[must_use]
    pub fn new(lines: Vec<Fact>, scopes: Vec<Fact>, hosts: Vec<Fact>) -> Self {
        Self { lines, scopes, hosts, ..Self::default() }
    }

    /// With axes of attribution, and the same two with them.
    #[must_use]
    pub fn held_by(self, axes: BTreeSet<String>, held_scopes: Vec<Fact>, held_hosts: Vec<Fact>) -> Self {
        Self { axes, held_scopes, held_hosts, ..self }
    }

    /// The facts of one site.
    #[must_use]
    pub fn of_site(&self, site: &str) -> Self {
        let at = |facts: &[Fact]| facts.iter().filter(|fact| fact.value("site") == site).cloned().collect();
        Self {
            axes: self.axes.clone(),
            lines: at(&self.lines),
            scopes: at(&self.scopes),
            hosts: at(&self.hosts),
            held_scopes: at(&self.held_scopes),
            held_hosts: at(&self.held_hosts),
        }
    }

    /// The axes of attribution that it can be grouped by.
    #[must_use]
    pub fn axes(&self) -> &BTreeSet<String> {
        &self.axes
    }

    /// By line.
    #[must_use]
    pub fn lines(&self) -> &[Fact] {
        &self.lines
    }

    /// By host and set of labels: its time.
    #[must_use]
    pub fn hosts(&self) -> &[Fact] {
        &self.hosts
    }

    /// Both together.
    pub fn extend(&mut self, other: Self) {
        self.axes.extend(other.axes);
        self.held_scopes.extend(other.held_scopes);
        self.held_hosts.extend(other.held_hosts);
        self.lines.extend(other.lines);
        self.scopes.extend(other.scopes);
        self.hosts.extend(other.hosts);
    }

    /// The answer by these keys.
    #[must_use]
    pub fn answer(&self, by: &[String], window: Edges, tz: &str, closed_at: Utc) -> Answer {
        let span = (window.start, window.end);
        let asks = |name: &str| by.iter().any(|key| key == name);
        let is_held = by.iter().any(|key| self.axes.contains(key));
        let times = match (asks("device"), asks("scope"), is_held) {
            (true, ..) => &self.lines,
            (false, true, false) => &self.scopes,
            (false, true, true) => &self.held_scopes,
            (false, false, true) => &self.held_hosts,
            (false, false, false) => &self.hosts,
        };
        let mut groups: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
        for fact in &self.lines {
            let class = if is_held { fact.sums.class } else { Class::Held };
            let group = groups.entry(fact.group(by)).or_insert_with(|| Sums { class, ..Sums::default() });
            group.add(&fact.sums);
        }
        for fact in times {
            groups.entry(fact.group(by)).or_default().add_time(&fact.sums);
        }
        let mut whole = Exact { span, key: Vec::new(), sums: sum(&self.lines) };
        self.hosts.iter().for_each(|fact| whole.sums.add_time(&fact.sums));
        let rows: Vec<Exact> = groups.into_iter().map(|(key, sums)| Exact { span, key, sums }).collect();
        let (rows, total) = print(by, &rows, &whole);
        let (flagged, flagged_hosts) = self.flagged();
        Answer {
            window,
            as_of: closed_at,
            status: Status::Closed,
            by: by.to_vec(),
            step: None,
            tz: tz.to_owned(),
            rows,
            total,
            flagged,
            flagged_hosts,
            ..Answer::default()
        }
    }

    fn flagged(&self) -> (Vec<FlaggedHost>, u64) {
        let mut hosts: BTreeMap<(&str, &str), DoubtCounts> = BTreeMap::new();
        for fact in self.hosts.iter().filter(|fact| !fact.sums.doubts.is_empty()) {
            hosts.entry((fact.value("cluster"), fact.value("host"))).or_default().add(&fact.sums.doubts);
        }
        let mut all: Vec<_> = hosts.into_iter().collect();
        all.sort_by_key(|(name, counts)| (std::cmp::Reverse(counts.0.iter().max().copied()), *name));
        let flagged = all.iter().take(FLAGGED_MAX).map(|((cluster, host), counts)| FlaggedHost {
            cluster: (*cluster).to_owned(),
            host: (*host).to_owned(),
            flags: flags(counts),
        });
        (flagged.collect(), all.len() as u64)
    }
}

/// Energy and money of all facts.
pub(crate) fn sum<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Sums {
    let mut whole = Sums::default();
    facts.into_iter().for_each(|fact| whole.add(&fact.sums));
    whole
}

/// What `now` has beyond `before`, fact by fact; facts without a difference are left out.
#[must_use]
pub fn difference<'a>(now: &'a [Fact], before: impl IntoIterator<Item = &'a Fact>) -> Vec<Fact> {
    let mut sums: HashMap<&Key, Sums> = HashMap::with_capacity(now.len());
    for fact in now {
        sums.entry(&fact.key).or_default().add(&fact.sums);
    }
    for fact in before {
        sums.entry(&fact.key).or_default().add(&fact.sums.negated());
    }
    let changed = sums.into_iter().filter(|(_, sums)| !sums.is_nothing());
    let mut changed: Vec<Fact> = changed.map(|(key, sums)| Fact { key: key.clone(), sums }).collect();
    changed.sort_by(|a, b| a.key.cmp(&b.key));
    changed
}
