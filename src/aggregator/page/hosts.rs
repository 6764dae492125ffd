//! The page's table of hosts.

use std::collections::HashMap;

use cost::Row;
use meter::{ByQuality, Labels, Milliwatts, Owner, SECOND_NS, Utc};

use super::words::{self, Figure};
use super::{cost_of, width};
use crate::hosts_view::{HostState, host_flags};
use crate::published::Snapshot;
use crate::summary::Summary;
use crate::topology::Topology;
use crate::whole::Whole;

/// Most labels shown of one host.
const LABELS_MAX: usize = 4;

/// One host as the table shows it.
pub struct HostRow {
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) words: String,
    pub(super) seen: String,
    pub(super) labels: Vec<String>,
    pub(super) more_labels: usize,
    pub(super) flags: Vec<&'static str>,
    pub(super) watts: Option<Figure>,
    pub(super) today: Figure,
    pub(super) cost: String,
    pub(super) lifetime: Figure,
    pub(super) coverage: String,
    pub(super) bar: String,
    pub(super) is_thin: bool,
}

/// Every host, the largest consumer first.
pub(super) struct Table<'a> {
    pub(super) rows: Vec<Host<'a>>,
    /// What all of them draw, where anything is known of it.
    pub(super) watts: Option<Milliwatts>,
    /// How many say that they are no live machines.
    pub(super) simulated: usize,
    today: HashMap<(String, String), &'a Row>,
    now: Utc,
}

pub(super) struct Host<'a> {
    owner: &'a Owner,
    how: HostState,
    labels: std::sync::Arc<Labels>,
    watts: Option<Milliwatts>,
    newest: Option<Utc>,
    lifetime: ByQuality,
    flags: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, topology: &'a Topology, summary: &'a Summary, now: Utc) -> Self {
        let host = |whole: Whole<'a>| Host {
            owner: whole.owner,
            how: whole.state(),
            labels: topology.labels(whole.owner, now, whole.own.map_or(&[], |state| &state.labels)),
            watts: whole.watts(),
            newest: whole.newest(),
            lifetime: whole.lifetime(),
            flags: [host_flags(&whole, topology), summary.flags_of(whole.owner, topology, now)].concat(),
        };
        let mut rows: Vec<Host<'a>> = Whole::all(snapshot, topology, now).map(host).collect();
        rows.sort_by(|a, b| b.watts.cmp(&a.watts).then_with(|| a.owner.cmp(b.owner)));
        let watts = rows.iter().filter_map(|host| host.watts).map(|power| power.0).reduce(u64::saturating_add);
        let is_simulated = |host: &&Host<'_>| {
            ["simulated", "replayed"].iter().any(|key| host.labels.get(*key).is_some_and(|value| value == "true"))
        };
        let simulated = rows.iter().filter(is_simulated).count();
        let key = |row: &Row| (row.value("cluster").to_owned(), row.value("host").to_owned());
        let today = summary.today.rows.iter().map(|row| (key(row), row)).collect();
        Self { rows, watts: watts.map(Milliwatts), simulated, today, now }
    }

    /// The first rows, in words.
    pub(super) fn shown(&self, most: usize) -> Vec<HostRow> {
        self.rows.iter().take(most).map(|host| self.row(host)).collect()
    }

    fn row(&self, host: &Host<'_>) -> HostRow {
        let today = self.today.get(&(host.owner.cluster.to_string(), host.owner.name.to_string()));
        let (covered, expected) =
            today.map_or((0.0, 0.0), |row| (row.quality.covered_seconds, row.quality.expected_seconds));
        let seen = host.newest.map(|at| self.now.since(at) / SECOND_NS.unsigned_abs());
        let is_default = &*host.owner.cluster == "default";
        let name = &host.owner.name;
        // What hardware says of itself is for joining it, not for telling hosts apart.
        let labels = host.labels.iter().filter(|(key, _)| !key.starts_with("hw."));
        let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
        HostRow {
            name: if is_default { name.to_string() } else { format!("{}/{name}", host.owner.cluster) },
            state: host.how.word(),
            words: host.how.word().replace('_', " "),
            seen: seen.map_or_else(String::new, |seconds| format!("{} ago", words::ago(seconds))),
            more_labels: labels.len().saturating_sub(LABELS_MAX),
            labels: labels.into_iter().take(LABELS_MAX).collect(),
            flags: host.flags.clone(),
            watts: host.watts.map(crate::hosts_view::watts).map(words::power),
            today: words::energy(today.map_or(0.0, |row| row.energy_kwh)),
            cost: today.map_or_else(String::new, |row| cost_of(row)),
            lifetime: words::energy(host.lifetime.total().kwh()),
            coverage: words::percent(covered, expected),
            bar: width(covered, expected),
            is_thin: expected > 0.0 && covered < 0.99 * expected,
        }
    }
}
