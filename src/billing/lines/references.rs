//! Reference meters: what facilities and PDUs showed, slot by slot. They are never billed.
//!
//! A reference is an account of scope `facility` or `pdu`, whoever owns it, and of scope `chassis` where the owner
//! is a meter: that is what a recording without a scope is read as, and counts as a PDU. It stands over the hosts
//! of the site that its owner's label `site` names, slot by slot. A part (`phase/l1`) counts where its whole is
//! silent.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use cost::reconcile::Level;
use cost::{HostInfo, Where, Window};
use energy::Cell;
use meter::{AccountKey, Owner, OwnerKind, Scope, Slot, Utc};

use super::reading::read;
use super::waiting::Waiting;
use crate::error::BillingError;
use crate::figures::{Figures, all_chassis_of, expected, first_slot, is_billed};
use crate::published::OwnerView;

/// The reference meters of one site.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// The building's meters.
    pub facility: Level,
    /// Power distribution units.
    pub pdu: Level,
}

/// One owner's reference accounts.
struct Meter<'a> {
    view: &'a OwnerView,
    accounts: Vec<Reference>,
    sites: Vec<(Range<Slot>, String)>,
    waiting: Waiting,
}

/// A reference account.
struct Reference {
    index: usize,
    is_facility: bool,
    /// Accounts of which it is a part.
    wholes: Vec<usize>,
    /// In which slots there should be readings.
    expected: Range<Slot>,
}

/// The reference meters by the label `site` of their owners; empty where it has none. Blocks while the store is read.
///
/// # Errors
/// [`BillingError`] if the store fails.
pub fn references(figures: &Figures<'_>, window: Window) -> Result<BTreeMap<String, References>, BillingError> {
    let mut sites = BTreeMap::new();
    for part in &figures.snapshot.parts {
        let meters = part.owners.values().filter_map(|view| Meter::of(figures, view, window));
        let mut meters: Vec<Meter<'_>> = meters.collect();
        meters.iter().for_each(|meter| meter.count_in(&mut sites));
        let owners: HashMap<&Owner, usize> =
            meters.iter().enumerate().map(|(index, meter)| (&meter.view.state.owner, index)).collect();
        let mut hour = i32::MIN;
        read(figures.store, window, &owners, |index, version, block| {
            if block.hour > hour {
                hour = block.hour;
                meters.iter_mut().for_each(|meter| meter.add_until(Slot(hour * 4), window, &mut sites));
            }
            let meter = &mut meters[index];
            meter.waiting.take(meter.view, 0, version, &block);
        })?;
        meters.iter_mut().for_each(|meter| meter.add_until(window.until(), window, &mut sites));
    }
    Ok(sites)
}

impl<'a> Meter<'a> {
    /// The owner's reference accounts that may have readings in the window; nothing if there are none.
    fn of(figures: &Figures<'_>, view: &'a OwnerView, window: Window) -> Option<Self> {
        let owner = &view.state.owner;
        let accounts: Vec<Reference> = reference_accounts(figures, view, window);
        if accounts.is_empty() {
            return None;
        }
        let spans = figures.topology.intervals(owner, window.start()..window.end(), &view.state.labels);
        let site = |(range, labels): (Range<Utc>, std::sync::Arc<meter::Labels>)| {
            let slots = first_slot(range.start)..first_slot(range.end).min(window.until());
            (slots, labels.get("site").cloned().unwrap_or_default())
        };
        let mut waiting = Waiting::default();
        waiting.take_open(view, 0);
        Some(Self { view, accounts, sites: spans.into_iter().map(site).collect(), waiting })
    }

    /// Notes when it should be read. A part is not expected beside its whole.
    fn count_in(&self, sites: &mut BTreeMap<String, References>) {
        for account in self.accounts.iter().filter(|account| account.wholes.is_empty()) {
            for (slots, site) in &self.sites {
                let both = slots.start.max(account.expected.start)..slots.end.min(account.expected.end);
                level(sites, site, account).count_members(both, 1);
            }
        }
    }

    /// Adds what waits of slots before `border`.
    fn add_until(&mut self, border: Slot, window: Window, sites: &mut BTreeMap<String, References>) {
        while let Some((slot, cells)) = self.waiting.pop_before(border) {
            let site = self.sites.iter().find(|(slots, _)| slots.contains(&slot));
            if let Some((_, site)) = site.filter(|_| window.holds(slot)) {
                for account in &self.accounts {
                    if let Some(cell) = account.counts(&cells) {
                        level(sites, site, account).add(slot, cell.energy, cell.covered_ns);
                    }
                }
            }
            self.waiting.give_back(cells);
        }
    }
}

impl Reference {
    /// What it showed, where it counts.
    fn counts<'c>(&self, cells: &'c [Cell]) -> Option<&'c Cell> {
        let is_active = |index: &usize| cells.get(*index).is_some_and(|cell| *cell != Cell::default());
        cells.get(self.index).filter(|_| !self.wholes.iter().any(is_active))
    }
}

fn level<'s>(sites: &'s mut BTreeMap<String, References>, site: &str, account: &Reference) -> &'s mut Level {
    let references = sites.entry(site.to_owned()).or_default();
    if account.is_facility { &mut references.facility } else { &mut references.pdu }
}

fn reference_accounts(figures: &Figures<'_>, view: &OwnerView, window: Window) -> Vec<Reference> {
    let state = &view.state;
    let is_reference = |key: &AccountKey| match key.scope {
        Scope::Facility | Scope::Pdu => true,
        Scope::Chassis => state.owner.kind == OwnerKind::Meter,
        _ => false,
    };
    let inventory = &figures.topology.inventory;
    let in_service = inventory.entry(&state.owner).and_then(|entry| entry.in_service);
    let end = inventory.retired(&state.owner).map_or(figures.now, |retired| retired.min(figures.now));
    // Expected for all of the window, also before its first reading: what a meter did not see then is missing from
    // its level's sum.
    let slots =
        in_service.map_or(window.first(), |from| from.slot().max(window.first()))..first_slot(end).min(window.until());
    let keys = || state.keys.iter().enumerate().filter(|(_, key)| is_reference(key));
    let of = |(index, key): (usize, &AccountKey)| {
        let account = state.accounts.get(index).filter(|account| !account.is_unread())?;
        let is_there = account.first.at < window.end() && account.frontier.at > window.start();
        let wholes = keys().filter(|(_, whole)| key.is_part_of(whole)).map(|(whole, _)| whole).collect();
        let (is_facility, expected) = (key.scope == Scope::Facility, slots.clone());
        is_there.then_some(Reference { index, is_facility, wholes, expected })
    };
    keys().filter_map(of).collect()
}

/// The slots of the window in which each billed owner that `select` keeps is expected to be read.
pub fn expected_slots(figures: &Figures<'_>, window: Window, select: &Where, mut each: impl FnMut(Range<Slot>)) {
    let topology = figures.topology;
    let unread = topology
        .linked_hosts()
        .filter(|host| figures.snapshot.owner(host).is_none() && all_chassis_of(figures, host).next().is_some());
    let read = figures.snapshot.owners().map(|view| (&view.state.owner, Some(&**view)));
    let billed = read.chain(unread.map(|owner| (owner, None))).filter(|(owner, _)| is_billed(owner, topology));
    for (owner, view) in billed {
        let expected = expected(figures, owner, view);
        let slots = expected.start.slot().max(window.first())..first_slot(expected.end).min(window.until());
        if slots.start >= slots.end {
            continue;
        }
        let shown = topology.inventory.canonical(owner);
        let agent = view.map_or(&[][..], |view| &view.state.labels);
        for (range, labels) in topology.intervals(owner, window.start()..window.end(), agent) {
            let chassis =
                if owner.kind == OwnerKind::Chassis { Some(owner) } else { topology.chassis_at(shown, range.start) };
            let chassis = chassis.map(|chassis| &*chassis.name);
            let info = HostInfo { cluster: &shown.cluster, name: &shown.name, chassis, labels: &labels };
            if select.selects_host(&info) {
                each(slots.start.max(first_slot(range.start))..slots.end.min(first_slot(range.end)));
            }
        }
    }
}
