//! What every figure is worked out from, and what follows from it for one owner.

use std::ops::Range;

use energy::boundary::Ratio;
use meter::{Owner, OwnerKind, Scope, Slot, Utc};
use store::Store;

use crate::daybook::DayBook;
use crate::published::{OwnerView, Snapshot};
use crate::topology::Topology;

/// What the figures of a query are made of: all of one moment.
#[derive(Clone, Copy)]
pub struct Figures<'a> {
    /// The rows.
    pub snapshot: &'a Snapshot,
    /// The history behind them.
    pub store: &'a dyn Store,
    /// Labels, links and service dates.
    pub topology: &'a Topology,
    /// Expected time ends here.
    pub now: Utc,
    /// What a meter shows over its components where nothing is known of the host's own.
    pub factor: Ratio,
    /// What was billed on days that are over, if that is kept.
    pub days: Option<&'a DayBook>,
}

/// Whether an owner has lines of its own.
pub fn is_billed(owner: &Owner, topology: &Topology) -> bool {
    match owner.kind {
        OwnerKind::Host => true,
        OwnerKind::Chassis => topology.hosts_of(owner).is_none(),
        OwnerKind::Meter => false,
    }
}

/// The chassis that a host ever sat in, with readings. Of a host that shares none it is one.
pub(crate) fn chassis_of<'a>(figures: &Figures<'a>, host: &Owner) -> Option<&'a OwnerView> {
    all_chassis_of(figures, host).next()
}

/// The chassis that a host ever sat in, those with readings.
pub fn all_chassis_of<'a>(figures: &Figures<'a>, host: &Owner) -> impl Iterator<Item = &'a OwnerView> {
    figures.topology.chassis_of(host).filter_map(|chassis| figures.snapshot.owner(chassis)).map(|view| &**view)
}

/// When readings are expected of an owner.
pub fn expected(figures: &Figures<'_>, owner: &Owner, view: Option<&OwnerView>) -> Range<Utc> {
    let entry = figures.topology.inventory.entry(figures.topology.inventory.canonical(owner));
    let views = || view.into_iter().chain(all_chassis_of(figures, owner)).map(|view| &view.state);
    // A reference meter is no reading of the owner.
    let is_own = |scope: Scope| !matches!(scope, Scope::Pdu | Scope::Facility);
    let accounts = || {
        let pairs = views().flat_map(|state| state.keys.iter().zip(&state.accounts));
        pairs.filter(|(key, _)| is_own(key.scope)).map(|(_, account)| account)
    };
    let first = accounts().map(|account| account.first.at).min();
    let start = entry.and_then(|entry| entry.in_service).or(first).unwrap_or(figures.now);
    // An alias is a name that a machine once had: nothing is expected under it any more.
    let is_alias = figures.topology.inventory.canonical(owner) != owner;
    let last = accounts().map(|account| account.frontier.at).max().filter(|_| is_alias);
    let end = figures.topology.inventory.retired(owner).into_iter().chain(last).fold(figures.now, Utc::min);
    start..end.max(start)
}

/// The first slot that begins at `at` or after it.
pub(crate) fn first_slot(at: Utc) -> Slot {
    let slot = at.slot();
    if slot.start() == at { slot } else { slot.next() }
}
