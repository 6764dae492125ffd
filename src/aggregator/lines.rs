//! From the ledger's cells to the lines that a rollup adds: who is billed for what in which slot.
//!
//! Part by part, hour by hour: the history's postings and the snapshot's open slots of an hour are
//! added up per owner, slot and account; [`energy::bill`] says what of it is billed; consecutive slots
//! are summed for as long as neither label nor price changes. So memory holds a few hours of one
//! part's owners, whatever the window.
//!
//! A posting of a later version than the snapshot's row is left out: its energy is still in the open
//! slots of that row. That is what keeps a slot from counting twice, or not at all, while a commit
//! moves it.
//!
//! Billed are hosts, and chassis that no host sits in. A chassis with one host is billed together with it,
//! as [`energy::boundary`] decides between their meters; a chassis with several is split among them
//! (`lines/shared.rs`). A device at several owners is billed at one (`lines/elsewhere.rs`). Meters are
//! references and never billed.
//!
//! What a meter missed depends on days before the window; they are read first, for owners that need it
//! (`lines/missed.rs`).

use std::collections::HashMap;
use std::ops::Range;

use cost::{CostError, HostInfo, Rollup, Window};
use energy::HourBlock;
use energy::boundary::Ratio;
use meter::{Owner, OwnerKind, Scope, Slot, Utc};
use store::{HistoryEntry, HistoryQuery, Store, StoreError};

use crate::published::{OwnerView, Snapshot};
use crate::topology::Topology;

mod elsewhere;
mod ground;
mod missed;
mod shared;
mod unit;
mod waiting;

use elsewhere::{Contests, contests};
use ground::{Ground, Stretch};
use shared::{Shared, add_shared};
use unit::Unit;

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
}

/// Why a rollup could not be fed.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The history could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A posting is not what was written.
    #[error("a posting cannot be read: {0}")]
    Record(#[from] store::records::RecordError),
    /// The question cannot be answered.
    #[error(transparent)]
    Cost(#[from] CostError),
}

/// Adds everything that is billed in `window` to `rollup`. Blocks while the store is read.
///
/// # Errors
/// [`LinesError`] if the store fails or the answer grows too large; what was added stays added.
pub fn add_up(figures: &Figures<'_>, window: Window, rollup: &mut Rollup<'_>) -> Result<(), LinesError> {
    if window.is_empty() {
        return Ok(());
    }
    let mut contests = contests(figures);
    let shared = Shared::of(figures.topology);
    if !shared.hosts.is_empty() {
        add_shared(figures, window, &shared, &mut contests, rollup)?;
    }
    let mut unread = unread_hosts(figures);
    for (number, part) in figures.snapshot.parts.iter().enumerate() {
        let is_plain = |owner: &Owner| is_billed(owner, figures.topology) && !shared.hosts.contains(owner);
        let rows = part.owners.iter().filter(|(owner, _)| is_plain(owner));
        let mut units: Vec<Unit<'_>> = Vec::with_capacity(part.owners.len());
        let missing = unread.remove(&number).unwrap_or_default().into_iter().filter(|owner| is_plain(owner));
        let owners = rows.map(|(owner, view)| (owner, Some(&**view))).chain(missing.map(|owner| (owner, None)));
        for (owner, view) in owners {
            let mut ground = ground(figures, owner, view, window, &mut contests, rollup);
            if ground.stretches.iter().all(|stretch| stretch.host.is_none()) {
                continue;
            }
            let chassis = chassis_of(figures, owner);
            if let Some(theirs) = chassis.and_then(|chassis| contests.remove(&chassis.state.owner)) {
                let own = view.map_or(0, |view| view.state.keys.len());
                ground.contests.extend(theirs.into_iter().map(|contest| contest.counted_from(own)));
            }
            units.push(Unit::new(figures, window, ground, chassis, rollup));
        }
        add_part(figures.store, window, &mut units, rollup)?;
    }
    Ok(())
}

/// What is known of an owner beforehand.
fn ground<'a>(
    figures: &Figures<'a>,
    owner: &'a Owner,
    view: Option<&'a OwnerView>,
    window: Window,
    contests: &mut Contests<'a>,
    rollup: &mut Rollup<'_>,
) -> Ground<'a> {
    let stretches = stretches(figures, owner, view, window, rollup);
    let contests = contests.remove(owner).unwrap_or_default();
    Ground { owner, view, expected: expected(figures, owner, view), stretches, contests }
}

/// Whether an owner has lines of its own.
fn is_billed(owner: &Owner, topology: &Topology) -> bool {
    match owner.kind {
        OwnerKind::Host => true,
        OwnerKind::Chassis => topology.hosts_of(owner).is_none(),
        OwnerKind::Meter => false,
    }
}

/// Hosts that have no readings of their own, but a chassis that has; by partition.
fn unread_hosts<'a>(figures: &Figures<'a>) -> HashMap<usize, Vec<&'a Owner>> {
    let mut unread: HashMap<usize, Vec<&Owner>> = HashMap::new();
    for owner in figures.topology.linked_hosts() {
        if figures.snapshot.owner(owner).is_none() && chassis_of(figures, owner).is_some() {
            unread.entry(usize::from(owner.part())).or_default().push(owner);
        }
    }
    unread
}

/// The chassis that a host ever sat in, with readings. Of a host that shares none it is one.
fn chassis_of<'a>(figures: &Figures<'a>, host: &Owner) -> Option<&'a OwnerView> {
    all_chassis_of(figures, host).next()
}

fn all_chassis_of<'a>(figures: &Figures<'a>, host: &Owner) -> impl Iterator<Item = &'a OwnerView> {
    figures.topology.chassis_of(host).filter_map(|chassis| figures.snapshot.owner(chassis)).map(|view| &**view)
}

/// When readings are expected of an owner.
fn expected(figures: &Figures<'_>, owner: &Owner, view: Option<&OwnerView>) -> Range<Utc> {
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

/// The window, cut where the owner's labels or chassis change.
fn stretches(
    figures: &Figures<'_>,
    owner: &Owner,
    view: Option<&OwnerView>,
    window: Window,
    rollup: &mut Rollup<'_>,
) -> Vec<Stretch> {
    let topology = figures.topology;
    let shown = topology.inventory.canonical(owner);
    let agent = view.map_or(&[][..], |view| &view.state.labels);
    let mut stretches: Vec<Stretch> = Vec::new();
    for (range, labels) in topology.intervals(owner, window.start()..window.end(), agent) {
        let chassis =
            if owner.kind == OwnerKind::Chassis { Some(owner) } else { topology.chassis_at(shown, range.start) };
        let name = &*shown.name;
        let info = HostInfo { cluster: &shown.cluster, name, chassis: chassis.map(|c| &*c.name), labels: &labels };
        // The labels in force where a slot begins hold for all of it.
        let from = first_slot(range.start).max(stretches.last().map_or(window.first(), |before| before.until));
        let until = first_slot(range.end).min(window.until());
        if from < until {
            stretches.push(Stretch { from, until, host: rollup.host(&info) });
        }
    }
    stretches
}

/// The first slot that begins at `at` or after it.
fn first_slot(at: Utc) -> Slot {
    let slot = at.slot();
    if slot.start() == at { slot } else { slot.next() }
}

/// Adds one part's owners.
fn add_part<'a>(
    store: &dyn Store,
    window: Window,
    units: &mut [Unit<'a>],
    rollup: &mut Rollup<'_>,
) -> Result<(), LinesError> {
    // Up to the hour in which the window begins: that one is read with it.
    let until = Slot(window.first().hour().0 * 4);
    if let Some(since) = units.iter().filter_map(Unit::looks_back_to).min().filter(|since| *since < until) {
        read_part(store, Window::of_slots(since, until), units, Unit::remembers, rollup)?;
    }
    read_part(store, window, units, |_| true, rollup)?;
    units.iter_mut().try_for_each(|unit| unit.finish(rollup))?;
    Ok(())
}

/// Reads the postings of some of the units and bills them hour by hour.
fn read_part<'a>(
    store: &dyn Store,
    window: Window,
    units: &mut [Unit<'a>],
    is_wanted: impl Fn(&Unit<'a>) -> bool + Copy,
    rollup: &mut Rollup<'_>,
) -> Result<(), LinesError> {
    // A chassis may lie in another part than its host, so it is read beforehand: it has an account or two.
    let chassis = by_owner(units, |unit| unit.chassis().filter(|_| is_wanted(unit)));
    read(store, window, &chassis, |index, entry_version, block| units[index].take_chassis(entry_version, &block))?;
    let own = by_owner(units, |unit| unit.view().filter(|_| is_wanted(unit)));
    let mut hour = i32::MIN;
    let mut failed = None;
    read(store, window, &own, |index, entry_version, block| {
        if block.hour > hour {
            hour = block.hour;
            let before = Slot(hour * 4);
            let mut wanted = units.iter_mut().filter(|unit| is_wanted(unit));
            failed = failed.take().or_else(|| wanted.try_for_each(|unit| unit.bill_until(before, rollup)).err());
        }
        units[index].take(entry_version, &block);
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    // Here a window ends at an hour, unless it is the one that was asked for.
    let until = Slot(window.until().0.div_euclid(4) * 4);
    units.iter_mut().filter(|unit| is_wanted(unit)).try_for_each(|unit| unit.bill_until(until, rollup))?;
    Ok(())
}

/// Which unit each owner's postings belong to.
fn by_owner<'a>(units: &[Unit<'a>], of: impl Fn(&Unit<'a>) -> Option<&'a OwnerView>) -> HashMap<&'a Owner, usize> {
    units.iter().enumerate().filter_map(|(index, unit)| Some((&of(unit)?.state.owner, index))).collect()
}

/// Reads the postings of these owners in the window: unit, version, hour.
fn read(
    store: &dyn Store,
    window: Window,
    owners: &HashMap<&Owner, usize>,
    mut each: impl FnMut(usize, u64, HourBlock),
) -> Result<(), LinesError> {
    if owners.is_empty() || window.is_empty() {
        return Ok(());
    }
    let hours = window.first().hour().0..window.until().0.div_euclid(4) + i32::from(window.until().0.rem_euclid(4) > 0);
    let query = HistoryQuery { owners: Some(owners.keys().map(|&owner| owner.clone()).collect()), hours };
    let mut failed = None;
    store.history(&query, &mut |entry: HistoryEntry| {
        let Some(&index) = owners.get(&entry.owner) else { return };
        match store::records::decode_hour(entry.hour, &entry.bytes) {
            Ok(block) => each(index, entry.version, block),
            Err(error) => failed = Some(error),
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
