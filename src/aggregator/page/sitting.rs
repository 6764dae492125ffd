//! The hosts that sit in a chassis: what each draws now and what it used.

use std::collections::BTreeMap;

use cost::{Answer, Row};
use meter::{Milliwatts, Owner, OwnerKind};

use super::words::{self, Figure};
use super::{called, costs_of, host_href, power, width};
use crate::asked::Range;
use crate::board::{Board, BoardHost};
use crate::vitals::HostState;

/// Most hosts that are listed.
const HOSTS_MAX: usize = 200;

/// The hosts that are listed, what used most first, and how many more there are.
pub(super) struct Sitting {
    pub(super) rows: Vec<SittingRow>,
    pub(super) more: usize,
    /// What all of them draw now, where anything is known of it.
    pub(super) watts: Option<Milliwatts>,
}

/// One host.
pub(super) struct SittingRow {
    pub(super) name: String,
    pub(super) href: String,
    /// Nothing of one that sat in it once, and does no more.
    pub(super) state: Option<HostState>,
    pub(super) power: Option<Figure>,
    pub(super) energy: Option<Figure>,
    pub(super) costs: Vec<String>,
    pub(super) share: String,
    pub(super) bar: String,
    pub(super) coverage: String,
    pub(super) is_thin: bool,
    pub(super) flags: Vec<&'static str>,
}

/// What a host used, and how it is now.
type Known<'a> = (Option<&'a Row>, Option<&'a BoardHost>);

impl Sitting {
    /// From an answer by cluster and host of what sits in the chassis, and who sits there now.
    pub(super) fn of(chassis: &Owner, board: &Board, answer: &Answer, is_priced: bool, range: Range) -> Self {
        let here = board.hosts.iter().filter(|host| host.chassis.as_ref() == Some(chassis));
        let here = here.filter(|host| host.owner.kind == OwnerKind::Host && host.owner == host.shown);
        let powers = here.clone().filter_map(|host| host.watts).map(|power| power.0);
        let watts = powers.reduce(u64::saturating_add).map(Milliwatts);
        let mut hosts: BTreeMap<(&str, &str), Known<'_>> =
            here.map(|host| ((&*host.owner.cluster, &*host.owner.name), (None, Some(host)))).collect();
        for row in &answer.rows {
            hosts.entry((row.value("cluster"), row.value("host"))).or_default().0 = Some(row);
        }
        let kwh = |row: Option<&Row>| row.map_or(0.0, |row| row.energy_kwh);
        let mut hosts: Vec<_> = hosts.into_iter().collect();
        // Those alike stay in the order of their names.
        hosts.sort_by(|(_, a), (_, b)| kwh(b.0).total_cmp(&kwh(a.0)));
        let (whole, largest) = (answer.total.energy_kwh, hosts.first().map_or(0.0, |(_, host)| kwh(host.0)));
        let shown = hosts.iter().take(HOSTS_MAX).map(|((cluster, name), (row, now))| {
            let quality = row.map_or_else(Default::default, |row| row.quality);
            SittingRow {
                name: called(cluster, name),
                href: host_href(cluster, name, range),
                state: now.map(|host| host.state),
                power: now.and_then(|host| host.watts).map(power),
                energy: row.and_then(words::used),
                costs: row.filter(|row| is_priced && words::used(row).is_some()).map_or_else(Vec::new, costs_of),
                share: words::percent(kwh(*row), whole),
                bar: width(kwh(*row), largest),
                coverage: words::percent(quality.covered_seconds, quality.expected_seconds),
                is_thin: quality.covered_seconds < 0.99 * quality.expected_seconds,
                flags: now.map_or_else(Vec::new, |host| host.flags.clone()),
            }
        });
        Self { rows: shown.collect(), more: hosts.len().saturating_sub(HOSTS_MAX), watts }
    }
}
