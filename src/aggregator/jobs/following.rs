//! What measures a machine from outside is cut where the machine is: its BMC's meter has a stream of its own, in which
//! nobody tells of jobs.
//!
//! An agent's marks come with its readings, so this looks now and then for cuts that a machine's row has and its
//! chassis' row lacks. A chassis that was read beyond a cut meanwhile is apportioned there, and said to be so.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::time::Duration;

use actix_web::web;
use billing::published::Snapshot;
use billing::topology::Topology;
use meter::{Mark, Owner, SECOND_NS, Utc};

use super::telling::cut;
use crate::app::App;

/// How often it is looked for: BMCs are read every 10 s at most.
const EVERY: Duration = Duration::from_secs(2);
/// Cuts older than this are not followed any more.
const RECENT_NS: u64 = 3600 * SECOND_NS as u64;
/// Cuts that are sent at a time.
const AT_ONCE: usize = 1000;

/// Follows for as long as it is let.
pub async fn follow(app: web::Data<App>) {
    let mut tried: HashSet<(Owner, Utc)> = HashSet::new();
    loop {
        actix_rt::time::sleep(EVERY).await;
        let now = (app.books.now)();
        tried.retain(|(_, at)| now.since(*at) <= RECENT_NS);
        let (snapshot, topology, _) = app.books.moment();
        let missing = missing(&snapshot, &topology, now, &tried);
        tried.extend(missing.iter().cloned());
        let cuts = missing.into_iter().map(|(owner, at)| (owner, at, Mark::Cut)).collect();
        if let Err(problem) = cut(&app, cuts).await {
            tracing::warn!("chassis are not cut where their machines are: {problem}");
        }
    }
}

/// Chassis, and instants at which a machine in them was cut of late and they were not, but for what was tried.
#[must_use]
pub fn missing<S: BuildHasher>(
    snapshot: &Snapshot,
    topology: &Topology,
    now: Utc,
    tried: &HashSet<(Owner, Utc), S>,
) -> Vec<(Owner, Utc)> {
    let mut missing = Vec::new();
    for host in topology.linked_hosts() {
        let Some(cuts) = snapshot.owner(host).map(|view| &view.state.cuts).filter(|cuts| !cuts.is_empty()) else {
            continue;
        };
        let Some(chassis) = topology.chassis_at(host, now) else { continue };
        let Some(theirs) = snapshot.owner(chassis).map(|view| &view.state.cuts) else { continue };
        for at in cuts.iter().map(|cut| cut.at).filter(|at| now.since(*at) <= RECENT_NS) {
            let is_there = theirs.binary_search_by_key(&at, |cut| cut.at).is_ok();
            let one = (chassis.clone(), at);
            if !is_there && !tried.contains(&one) && missing.len() < AT_ONCE {
                missing.push(one);
            }
        }
    }
    missing
}
