//! A host as a whole: itself and the chassis that measures it, as they are now.
//!
//! What is billed in a slot is worked out by `lines`; this is the same rule applied to one moment, and to
//! the lifetime registers, for people. A host with a chassis of its own is billed at the outer meter of
//! either, its own first. A chassis that several sit in is split by what their components draw, evenly
//! where none of them tells; what hosts measure themselves is taken off before.
//!
//! What those who share a chassis have in common is reckoned once for all of them ([`Fleet`]): a chassis may hold a
//! thousand.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use billing::published::Snapshot;
use billing::topology::{Link, Topology};
use energy::boundary::part_of;
use energy::{Account, Billed, Boundary, Cell, OwnerState};
use meter::{ByQuality, Energy, Method, Milliwatts, Owner, OwnerKind, Quality, SECOND_NS, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::vitals::{HostState, flags, fresh_for, fresh_watts, newest_reading, periods};

const SECOND: u64 = SECOND_NS as u64;

/// All owners at one moment.
pub struct Fleet<'a> {
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    now: Utc,
    enclosures: RefCell<HashMap<&'a Owner, Rc<Enclosure<'a>>>>,
}

/// A chassis, and what those who sit in it have in common.
struct Enclosure<'a> {
    owner: &'a Owner,
    state: Option<&'a OwnerState>,
    /// Everybody who sits in it now.
    sharers: OnceCell<Vec<&'a Owner>>,
    pools: [OnceCell<Pool>; 2],
}

/// What a chassis comes to, and what is split among those who do not meter themselves.
struct Pool {
    all: Sum,
    rest: ByQuality,
    weights: u64,
    count: u64,
    /// Whether the components of anybody in it tell anything.
    tells: bool,
}

/// What is added up.
#[derive(Clone, Copy)]
enum Figure {
    /// A second of fresh power.
    Power,
    /// The lifetime registers.
    Lifetime,
}

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
    enclosure: Option<Rc<Enclosure<'a>>>,
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    now: Utc,
}

/// Where a host's energy is billed now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Boundary)]
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

impl<'a> Fleet<'a> {
    /// All of this moment.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, topology: &'a Topology, now: Utc) -> Self {
        Self { snapshot, topology, now, enclosures: RefCell::default() }
    }

    /// A host or chassis as it is now.
    #[must_use]
    pub fn whole(&self, owner: &'a Owner) -> Whole<'a> {
        let &Self { snapshot, topology, now, .. } = self;
        // An alias is a name that a machine once had: the chassis is that of the name it has now.
        let is_host = owner.kind == OwnerKind::Host && topology.inventory.canonical(owner) == owner;
        let link = topology.link_at(owner, now).filter(|_| is_host);
        let enclosure = link.map(|link| self.enclosure(&link.chassis));
        let chassis = enclosure.as_ref().and_then(|enclosure| enclosure.state);
        Whole { owner, own: row(snapshot, owner), link, chassis, enclosure, snapshot, topology, now }
    }

    /// Everything that has a bill of its own: hosts, read or only known, and chassis that measure no host.
    pub fn all(&self) -> impl Iterator<Item = Whole<'a>> {
        let &Self { snapshot, topology, .. } = self;
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
        read.filter(is_billed).chain(unread).map(|owner| self.whole(owner))
    }

    fn enclosure(&self, chassis: &'a Owner) -> Rc<Enclosure<'a>> {
        let mut enclosures = self.enclosures.borrow_mut();
        let enclosure = enclosures.entry(chassis).or_insert_with(|| {
            let state = row(self.snapshot, chassis);
            Rc::new(Enclosure { owner: chassis, state, sharers: OnceCell::new(), pools: Default::default() })
        });
        Rc::clone(enclosure)
    }
}

fn row<'a>(snapshot: &'a Snapshot, owner: &Owner) -> Option<&'a OwnerState> {
    snapshot.owner(owner).map(|view| &*view.state)
}

impl Figure {
    fn cells(self, state: &OwnerState, now: Utc) -> Vec<Cell> {
        match self {
            Self::Power => watt_cells(state, now),
            Self::Lifetime => lifetime_cells(state),
        }
    }

    /// What an owner and a chassis that is its alone come to.
    fn of(self, own: Option<&OwnerState>, chassis: Option<&OwnerState>, now: Utc) -> Sum {
        let keys = |state: Option<&OwnerState>| state.map_or_else(Vec::new, |state| state.keys.to_vec());
        let cells: Vec<Cell> = own.into_iter().chain(chassis).flat_map(|state| self.cells(state, now)).collect();
        let mut billed = Billed::default();
        Boundary::new(&keys(own), &keys(chassis)).bill(&cells, &mut billed);
        Sum {
            energy: billed.energy(),
            components: billed.survey.components.total(),
            meter: billed.survey.meter.map(|meter| meter.linked),
            any: cells.iter().any(|cell| cell.covered_ns > 0),
        }
    }
}

impl<'a> Whole<'a> {
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
        let (sum, any) = self.add_up(Figure::Power);
        any.then(|| Milliwatts(u64::try_from(sum.total().0 / (2 * i128::from(SECOND_NS))).unwrap_or(0)))
    }

    /// Lifetime energy: the boundary rule over the lifetime registers. Who shares a chassis has the share of
    /// its lifetime that the components have of theirs; reports split slot by slot.
    #[must_use]
    pub fn lifetime(&self) -> ByQuality {
        self.add_up(Figure::Lifetime).0
    }

    /// Where it is billed now.
    #[must_use]
    pub fn boundary(&self) -> BoundaryView {
        let chassis = || self.link.map(|link| link.chassis.to_string());
        let sum = self.sum(Figure::Power);
        let (meter, method) = match (sum.meter, self.pool(Figure::Power)) {
            (Some(true), _) => (chassis(), Some(Method::Meter)),
            (Some(false), _) => (Some(self.owner.to_string()), Some(Method::Meter)),
            (None, Some(pool)) if pool.all.meter.is_some() => {
                (chassis(), Some(if pool.tells { Method::SharedByComponents } else { Method::SharedEvenly }))
            }
            (None, _) => (None, sum.any.then_some(Method::ComponentSum)),
        };
        BoundaryView { meter, method: method.map(Method::code) }
    }

    /// The chassis that it shares with others, if that was ever read.
    fn shared(&self) -> Option<&Enclosure<'a>> {
        let enclosure = self.enclosure.as_deref().filter(|enclosure| enclosure.state.is_some())?;
        (enclosure.sharers(self.topology, self.now).len() > 1).then_some(enclosure)
    }

    fn pool(&self, figure: Figure) -> Option<&Pool> {
        self.shared().map(|shared| shared.pool(figure, self.snapshot, self.topology, self.now))
    }

    /// Itself, with the chassis if that is its alone.
    fn sum(&self, figure: Figure) -> Sum {
        figure.of(self.own, self.chassis.filter(|_| self.shared().is_none()), self.now)
    }

    /// What it comes to, and whether anything was told.
    fn add_up(&self, figure: Figure) -> (ByQuality, bool) {
        let own = self.sum(figure);
        match self.pool(figure).filter(|pool| own.meter.is_none() && pool.all.meter.is_some()) {
            None => (own.energy, own.any),
            Some(pool) => {
                let (part, whole) = if pool.weights > 0 { (own.weight(), pool.weights) } else { (1, pool.count) };
                (part_of(&pool.rest, part, whole), true)
            }
        }
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

impl<'a> Enclosure<'a> {
    fn sharers(&self, topology: &'a Topology, now: Utc) -> &[&'a Owner] {
        self.sharers.get_or_init(|| topology.sitting_in(self.owner, now))
    }

    fn pool(&self, figure: Figure, snapshot: &Snapshot, topology: &'a Topology, now: Utc) -> &Pool {
        self.pools[figure as usize].get_or_init(|| {
            let all = figure.of(None, self.state, now);
            let mut pool = Pool { rest: all.energy, all, weights: 0, count: 0, tells: false };
            for sharer in self.sharers(topology, now) {
                let sharer = figure.of(row(snapshot, sharer), None, now);
                pool.tells |= sharer.components > Energy::ZERO;
                match sharer.meter {
                    Some(_) => pool.rest -= sharer.energy,
                    None => {
                        pool.weights = pool.weights.saturating_add(sharer.weight());
                        pool.count += 1;
                    }
                }
            }
            pool
        })
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
