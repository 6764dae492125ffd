//! A host as a whole: itself and the chassis that measures it, as they are now.
//!
//! What is billed in a slot is worked out by `lines`; this is the same rule applied to one moment, and to
//! the lifetime registers, for people. A host with a chassis of its own is billed at the outer meter of
//! either, its own first. A chassis that several sit in is split by what their components draw, evenly
//! where none of them tells; what hosts measure themselves is taken off before.

use energy::boundary::part_of;
use energy::{Account, Billed, Boundary, Cell, OwnerState};
use meter::{ByQuality, Energy, Method, Milliwatts, Owner, OwnerKind, Quality, SECOND_NS, Utc};
use serde::Serialize;

use crate::hosts_view::{HostState, flags, fresh_for, fresh_watts, newest_reading, periods};
use crate::published::Snapshot;
use crate::topology::{Link, Topology};

const SECOND: u64 = SECOND_NS as u64;

/// A host, or a chassis that measures no host, with what belongs to it.
pub struct Whole<'a> {
    /// Whose.
    pub owner: &'a Owner,
    /// Its own row.
    pub own: Option<&'a OwnerState>,
    /// How it is joined to a chassis.
    pub link: Option<&'a Link>,
    /// The row of the chassis that bills it.
    pub chassis: Option<&'a OwnerState>,
    /// Everybody who sits in that chassis now, itself among them.
    sharers: Vec<&'a Owner>,
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    now: Utc,
}

/// Where a host's energy is billed now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoundaryView {
    /// The owner of the meter, `cluster/kind/name`; absent where components are summed.
    pub meter: Option<String>,
    /// By which rule: the word of a [`Method`]; absent where nothing is read now.
    pub method: Option<&'static str>,
}

/// What one owner, or two that belong together, come to.
struct Sum {
    energy: ByQuality,
    components: Energy,
    /// Whether an outer meter bills; then whether it is the chassis'.
    meter: Option<bool>,
    any: bool,
}

/// What accounts come to, each by its own cells.
type Cells<'c> = &'c dyn Fn(&OwnerState) -> Vec<Cell>;

impl<'a> Whole<'a> {
    /// A host or chassis as it is now.
    #[must_use]
    pub fn new(owner: &'a Owner, snapshot: &'a Snapshot, topology: &'a Topology, now: Utc) -> Self {
        let row = |owner: &Owner| snapshot.owner(owner).map(|view| &*view.state);
        // An alias is a name that a machine once had: the chassis is that of the name it has now.
        let is_host = owner.kind == OwnerKind::Host && topology.inventory.canonical(owner) == owner;
        let link = topology.link_at(owner, now).filter(|_| is_host);
        let sharers = link.map_or_else(Vec::new, |link| topology.sitting_in(&link.chassis, now));
        let chassis = link.and_then(|link| row(&link.chassis));
        Self { owner, own: row(owner), link, chassis, sharers, snapshot, topology, now }
    }

    /// Everything that has a bill of its own: hosts, read or only known, and chassis that measure no host.
    pub fn all(snapshot: &'a Snapshot, topology: &'a Topology, now: Utc) -> impl Iterator<Item = Self> {
        let read = snapshot.owners().map(|view| &view.state.owner);
        let is_billed = move |owner: &&Owner| match owner.kind {
            OwnerKind::Host => true,
            OwnerKind::Chassis => topology.hosts_of(owner).is_none(),
            OwnerKind::Meter => false,
        };
        let unread = topology
            .hosts()
            .into_iter()
            .filter(move |owner| snapshot.owner(owner).is_none() && topology.inventory.canonical(owner) == *owner);
        read.filter(is_billed).chain(unread).map(move |owner| Self::new(owner, snapshot, topology, now))
    }

    /// How it is.
    ///
    /// A machine whose agent still reports is on, whatever its BMC said last. Where it has none, what the
    /// chassis reports tells.
    #[must_use]
    pub fn state(&self) -> HostState {
        if self.topology.inventory.retired(self.owner).is_some_and(|retired| retired <= self.now) {
            return HostState::Retired;
        }
        let is_fresh = |state: &OwnerState| {
            let slowest = periods(state).into_iter().max().unwrap_or(0);
            newest_reading(state).is_some_and(|newest| self.now.since(newest) <= fresh_for(slowest))
        };
        let own = self.own.filter(|state| newest_reading(state).is_some());
        match (own, self.chassis.filter(|state| newest_reading(state).is_some())) {
            (Some(own), _) if is_fresh(own) => HostState::Live,
            (own, chassis) if self.is_off() && own.or(chassis).is_some() => HostState::Off,
            (Some(_), _) => HostState::Silent,
            (None, Some(chassis)) if is_fresh(chassis) => HostState::Live,
            (None, Some(_)) => HostState::Silent,
            (None, None) => HostState::NeverSeen,
        }
    }

    /// Whether its BMC says that it is switched off.
    fn is_off(&self) -> bool {
        let bmc = self.topology.bmc_at(self.owner, self.now).filter(|_| self.link.is_some());
        let row = bmc.and_then(|bmc| self.snapshot.owner(bmc));
        let labels = row.and_then(|view| view.state.labels_at(self.now));
        labels.and_then(|labels| labels.get("hw.power")).is_some_and(|power| power == "off")
    }

    /// Watts at the boundary, while readings are fresh.
    #[must_use]
    pub fn watts(&self) -> Option<Milliwatts> {
        let (sum, any) = self.add_up(&|state| watt_cells(state, self.now));
        any.then(|| Milliwatts(u64::try_from(sum.total().0 / (2 * i128::from(SECOND_NS))).unwrap_or(0)))
    }

    /// Lifetime energy: the boundary rule over the lifetime registers. Who shares a chassis has the share of
    /// its lifetime that the components have of theirs; reports split slot by slot.
    #[must_use]
    pub fn lifetime(&self) -> ByQuality {
        self.add_up(&lifetime_cells).0
    }

    /// Where it is billed now.
    #[must_use]
    pub fn boundary(&self) -> BoundaryView {
        let cells: Cells<'_> = &|state| watt_cells(state, self.now);
        let chassis = || self.link.map(|link| link.chassis.to_string());
        let sum = self.sum(cells);
        let (meter, method) = match sum.meter {
            Some(true) => (chassis(), Some(Method::Meter)),
            Some(false) => (Some(self.owner.to_string()), Some(Method::Meter)),
            None if self.is_shared() && of(None, self.chassis, cells).meter.is_some() => {
                let tells = self.sharers().any(|state| of(state, None, cells).components > Energy::ZERO);
                (chassis(), Some(if tells { Method::SharedByComponents } else { Method::SharedEvenly }))
            }
            None => (None, sum.any.then_some(Method::ComponentSum)),
        };
        BoundaryView { meter, method: method.map(Method::code) }
    }

    fn is_shared(&self) -> bool {
        self.sharers.len() > 1 && self.chassis.is_some()
    }

    fn sharers(&self) -> impl Iterator<Item = Option<&'a OwnerState>> + Clone {
        self.sharers.iter().map(|owner| self.snapshot.owner(owner).map(|view| &*view.state))
    }

    /// Itself, with the chassis if that is its alone.
    fn sum(&self, cells: Cells<'_>) -> Sum {
        of(self.own, self.chassis.filter(|_| !self.is_shared()), cells)
    }

    /// What it comes to by `cells`, and whether anything was told.
    fn add_up(&self, cells: Cells<'_>) -> (ByQuality, bool) {
        let own = self.sum(cells);
        let all = of(None, self.chassis.filter(|_| self.is_shared()), cells);
        if own.meter.is_some() || all.meter.is_none() {
            return (own.energy, own.any);
        }
        let (mut rest, mut weights, mut count) = (all.energy, 0_u64, 0);
        for sharer in self.sharers().map(|state| of(state, None, cells)) {
            match sharer.meter {
                Some(_) => rest -= sharer.energy,
                None => (weights, count) = (weights.saturating_add(sharer.weight()), count + 1),
            }
        }
        let (part, whole) = if weights > 0 { (own.weight(), weights) } else { (1, count) };
        (part_of(&rest, part, whole), true)
    }

    /// The newest reading: its own, or where it has none, that of its chassis.
    #[must_use]
    pub fn newest(&self) -> Option<Utc> {
        self.own.and_then(newest_reading).or_else(|| self.chassis.and_then(newest_reading))
    }

    /// What people should look at, over its accounts and those of its chassis.
    #[must_use]
    pub fn flags(&self) -> Vec<&'static str> {
        let accounts: Vec<&Account> =
            self.own.into_iter().chain(self.chassis).flat_map(|state| &state.accounts).collect();
        flags(accounts)
    }
}

impl Sum {
    /// What it weighs among those that share a chassis, in millijoules.
    fn weight(&self) -> u64 {
        u64::try_from(self.components.microjoules() / 1000).unwrap_or(0)
    }
}

/// What an owner and a chassis that is its alone come to.
fn of(own: Option<&OwnerState>, chassis: Option<&OwnerState>, cells_of: Cells<'_>) -> Sum {
    let keys = |state: Option<&OwnerState>| state.map_or_else(Vec::new, |state| state.keys.to_vec());
    let mut cells = own.map_or_else(Vec::new, cells_of);
    cells.extend(chassis.map_or_else(Vec::new, cells_of));
    let mut billed = Billed::default();
    Boundary::new(&keys(own), &keys(chassis)).bill(&cells, &mut billed);
    Sum {
        energy: billed.energy(),
        components: billed.survey.components.total(),
        meter: billed.survey.meter.map(|meter| meter.linked),
        any: cells.iter().any(|cell| cell.covered_ns > 0),
    }
}

/// A second of fresh power.
fn watt_cells(state: &OwnerState, now: Utc) -> Vec<Cell> {
    let cell = |power: Option<Milliwatts>| {
        power.map_or_else(Cell::default, |power| Cell {
            energy: ByQuality::of(Quality::Integrated, Energy::of_constant(power, SECOND)),
            covered_ns: SECOND,
        })
    };
    fresh_watts(state, now).into_iter().map(cell).collect()
}

fn lifetime_cells(state: &OwnerState) -> Vec<Cell> {
    let cell = |account: &Account| Cell { energy: account.lifetime, covered_ns: account.covered_ns };
    state.accounts.iter().map(cell).collect()
}
