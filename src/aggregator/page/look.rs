//! Hosts that somebody should look at: silent ones, flagged ones, names under which another machine is refused.

use meter::OwnerKind;

use super::view::View;
use super::{ago, called, host_href};
use crate::app::App;
use crate::board::{Board, BoardHost};
use crate::hosts_view::MACHINE_REFUSED;
use crate::summary::Summary;
use crate::vitals::HostState;

/// Most hosts that are named.
const HOSTS_MAX: usize = 10;

/// The hosts, and how many more there are.
pub(super) struct Look {
    pub(super) rows: Vec<LookRow>,
    pub(super) more: usize,
}

/// A host, and why.
pub(super) struct LookRow {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) why: Vec<String>,
}

impl Look {
    pub(super) fn of(app: &App, board: &Board, summary: &Summary, view: &View) -> Self {
        let (_, topology, now) = app.books.moment();
        // Most fleets have neither, and 10,000 hosts are many names to look up.
        let (has_doubts, has_refused) = (summary.has_flags(), !app.refused.is_empty());
        let flags = |host: &BoardHost| {
            let mut flags = host.flags.clone();
            if has_doubts {
                flags.extend(summary.flags_of(&host.owner, &topology, now));
            }
            if has_refused {
                flags.extend(app.refused.machine(&host.owner).map(|_| MACHINE_REFUSED));
            }
            flags
        };
        let is_host = |host: &&BoardHost| host.owner.kind == OwnerKind::Host;
        let (mut rows, mut all) = (Vec::new(), 0);
        // Those that are flagged are few; those that are silent may be a whole fleet, and the oldest tell most.
        let mut doubtful: Vec<(Vec<&'static str>, &BoardHost)> = Vec::new();
        for host in board.hosts.iter().filter(is_host) {
            let flags = flags(host);
            if !flags.is_empty() || host.state == HostState::Silent {
                all += 1;
                doubtful.push((flags, host));
            }
        }
        doubtful.sort_by_key(|(flags, host)| (flags.is_empty(), std::cmp::Reverse(host.newest)));
        for (flags, host) in doubtful.into_iter().take(HOSTS_MAX) {
            let mut why: Vec<String> = flags.into_iter().map(str::to_owned).collect();
            if host.state == HostState::Silent {
                why.insert(
                    0,
                    host.newest.map_or_else(|| "silent".into(), |at| format!("silent, last {}", ago(at, now))),
                );
            }
            rows.push(LookRow {
                name: called(&host.owner.cluster, &host.owner.name),
                href: host_href(&host.owner.cluster, &host.owner.name, view.range),
                why,
            });
        }
        Self { more: all - rows.len(), rows }
    }
}
