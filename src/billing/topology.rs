//! Who belongs to whom: which host sits in which chassis, and when.
//!
//! The inventory says so, and the hardware of itself (`topology/joins.rs` has the rules). Everybody who
//! asks for a chassis asks here, so that all answers of one moment agree.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use energy::LabelsSince;
use meter::{Labels, Owner, OwnerKind, Utc};

use crate::hardware::Hardware;
use crate::inventory::Inventory;
use crate::published::Snapshot;

mod enclosures;
mod joins;
pub mod unmatched;

use joins::Joined;
use unmatched::{Reason, Unmatched};

/// The fleet's links at one moment, beside the inventory they follow.
#[derive(Debug, Default)]
pub struct Topology {
    /// Labels, service dates and aliases.
    pub inventory: Arc<Inventory>,
    /// What it follows from besides.
    hardware: Hardware,
    retired: Arc<BTreeMap<Owner, Utc>>,
    joined: Joined,
}

/// A stretch of time for which a host sits in a chassis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// When.
    pub valid: Range<Utc>,
    /// Where: the outermost chassis that bills it.
    pub chassis: Owner,
    /// Its own BMC, where that is another chassis within.
    pub bmc: Option<Owner>,
    /// By what.
    pub by: By,
}

/// By what a host and a chassis are joined; the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// The inventory's link.
    Inventory,
    /// `hw.host`: the configuration of the agent that reads the BMC.
    Configuration,
    /// The SMBIOS UUID.
    Uuid,
    /// The serial number.
    Serial,
}

impl By {
    /// The stable word for answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["inventory", "configuration", "uuid", "serial"][self as usize]
    }
}

impl Link {
    fn is_to_the_same(&self, other: &Self) -> bool {
        self.chassis == other.chassis && self.bmc == other.bmc && self.by == other.by
    }
}

impl Topology {
    /// What follows from an inventory and from what hardware says of itself.
    #[must_use]
    pub fn new(inventory: Arc<Inventory>, hardware: Hardware) -> Self {
        let retired = inventory.retirements();
        let joined = joins::join(&inventory, &hardware);
        Self { inventory, hardware, retired, joined }
    }

    /// The link of `host`, or of what it is an alias of, at one instant.
    #[must_use]
    pub fn link_at(&self, host: &Owner, at: Utc) -> Option<&Link> {
        let links = self.joined.links.get(self.inventory.canonical(host))?;
        links.iter().find(|link| link.valid.contains(&at))
    }

    /// The chassis that `host`, or what it is an alias of, sits in at one instant.
    #[must_use]
    pub fn chassis_at(&self, host: &Owner, at: Utc) -> Option<&Owner> {
        self.link_at(host, at).map(|link| &link.chassis)
    }

    /// A host's own BMC at one instant: the chassis that it sits in, or one within that.
    #[must_use]
    pub fn bmc_at(&self, host: &Owner, at: Utc) -> Option<&Owner> {
        self.link_at(host, at).map(|link| link.bmc.as_ref().unwrap_or(&link.chassis))
    }

    /// All links of `host`, or of what it is an alias of, in the order of time.
    #[must_use]
    pub fn links_of(&self, host: &Owner) -> &[Link] {
        self.joined.links.get(self.inventory.canonical(host)).map_or(&[], Vec::as_slice)
    }

    /// Every chassis that a host ever sits in, in the order of time. An alias sits in none of its own.
    pub fn chassis_of(&self, host: &Owner) -> impl Iterator<Item = &Owner> {
        self.joined.links.get(host).into_iter().flatten().map(|link| &link.chassis)
    }

    /// The hosts that this chassis ever measures. It is billed through them, never by itself.
    #[must_use]
    pub fn hosts_of(&self, chassis: &Owner) -> Option<&BTreeSet<Owner>> {
        self.joined.hosts.get(chassis)
    }

    /// The chassis that hosts ever sit in, in order; some may never have reported.
    pub fn linked_chassis(&self) -> impl Iterator<Item = &Owner> {
        self.joined.hosts.keys()
    }

    /// The hosts that ever sit in a chassis, in order; some may never have reported.
    pub fn linked_hosts(&self) -> impl Iterator<Item = &Owner> {
        self.joined.links.keys()
    }

    /// The hosts that sit in a chassis at one instant, in order.
    #[must_use]
    pub fn sitting_in(&self, chassis: &Owner, at: Utc) -> Vec<&Owner> {
        let ever = self.joined.hosts.get(chassis).into_iter().flatten();
        ever.filter(|host| self.chassis_at(host, at) == Some(chassis)).collect()
    }

    /// Every host that the inventory or a BMC names or that has reported, aliases included, in order.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<&Owner> {
        let reported = self.hardware.iter().map(|(owner, _)| owner);
        let named = self.inventory.entries().map(|(owner, _)| owner).chain(self.linked_hosts());
        named.chain(reported).filter(|owner| owner.kind == OwnerKind::Host).collect()
    }

    /// What is joined to nothing at one instant: by owner, and by reason.
    #[must_use]
    pub fn unmatched(&self, at: Utc) -> Vec<Unmatched> {
        let known = self.joined.unmatched.iter().filter(|(valid, _)| valid.contains(&at));
        let mut all: Vec<Unmatched> = known.map(|(_, unmatched)| unmatched.clone()).collect();
        let mut candidates: BTreeMap<&Owner, Vec<Owner>> = BTreeMap::new();
        for unmatched in &all {
            for host in unmatched.candidates.iter().filter(|owner| owner.kind == OwnerKind::Host) {
                candidates.entry(host).or_default().push(unmatched.owner.clone());
            }
        }
        let hosts = self.hosts();
        let is_alone = |host: &&&Owner| {
            self.inventory.canonical(host) == **host
                && self.inventory.retired(host).is_none_or(|retired| retired > at)
                && self.link_at(host, at).is_none()
        };
        let alone: Vec<Unmatched> = hosts
            .iter()
            .filter(is_alone)
            .map(|&host| {
                let candidates = candidates.get(host).cloned().unwrap_or_default();
                Unmatched { owner: host.clone(), reason: Reason::NoBmc, candidates, named: None }
            })
            .collect();
        all.extend(alone);
        all.sort_by(|a, b| (&a.owner, a.reason).cmp(&(&b.owner, b.reason)));
        all
    }

    /// The labels in force for `owner` at one instant: the inventory's, then its agent's; where both are silent a
    /// host stands where its BMC does, or the enclosure.
    #[must_use]
    pub fn labels(&self, owner: &Owner, at: Utc, agent: &[LabelsSince]) -> Arc<Labels> {
        let known = self.inventory.labels(owner, at, agent);
        let Some(link) = self.link_at(owner, at) else { return known };
        let said = [link.bmc.as_ref(), Some(&link.chassis)].into_iter().flatten();
        let places = said.filter_map(|chassis| Some(&self.hardware.get(chassis)?.at(at).place));
        let missing: Labels = places
            .rev()
            .flatten()
            .filter(|(key, _)| !known.contains_key(*key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if missing.is_empty() {
            return known;
        }
        Arc::new(known.iter().map(|(key, value)| (key.clone(), value.clone())).chain(missing).collect())
    }

    /// When labels of a host may change because its chassis says something else.
    fn moves_of(&self, owner: &Owner) -> impl Iterator<Item = Utc> {
        let links = self.joined.links.get(self.inventory.canonical(owner)).into_iter().flatten();
        links.flat_map(|link| {
            let said = [Some(&link.chassis), link.bmc.as_ref()].into_iter().flatten();
            let said = said.filter_map(|chassis| self.hardware.get(chassis)).flat_map(|said| said.changes());
            [link.valid.start, link.valid.end].into_iter().chain(said)
        })
    }

    /// The labels in force for `owner` over `range`: consecutive intervals that cover it, cut also where
    /// it moves to another chassis. Labels only change where a row's validity begins or ends or where
    /// the agent gave new ones, so a reader of thousands of slots looks them up once.
    #[must_use]
    pub fn intervals(&self, owner: &Owner, range: Range<Utc>, agent: &[LabelsSince]) -> Vec<(Range<Utc>, Arc<Labels>)> {
        let mut borders = self.inventory.borders(owner, agent);
        borders.extend(self.moves_of(owner));
        borders.insert(range.start);
        let inside: Vec<Utc> = borders.into_iter().filter(|at| *at >= range.start && *at < range.end).collect();
        let ends = inside.iter().skip(1).copied().chain([range.end]);
        let mut intervals: Vec<(Range<Utc>, Arc<Labels>)> = Vec::with_capacity(inside.len());
        let mut last_chassis = None;
        for (start, end) in inside.iter().copied().zip(ends) {
            let labels = self.labels(owner, start, agent);
            let chassis = self.chassis_at(owner, start);
            let moved = last_chassis.replace(chassis).is_some_and(|before| before != chassis);
            match intervals.last_mut() {
                Some((before, same)) if *same == labels && !moved => before.end = end,
                _ => intervals.push((start..end, labels)),
            }
        }
        intervals
    }
}

/// The topology of late, made anew when something that it follows from has changed.
#[derive(Debug, Default)]
pub struct Topologies(Mutex<Arc<Topology>>);

impl Topologies {
    /// The topology that a snapshot and an inventory give.
    #[must_use]
    pub fn of(&self, snapshot: &Snapshot, inventory: &Arc<Inventory>) -> Arc<Topology> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hardware = snapshot.hardware();
        let is_same = Arc::ptr_eq(&newest.inventory, inventory)
            && Arc::ptr_eq(&newest.retired, &inventory.retirements())
            && newest.hardware.is(&hardware);
        if !is_same {
            *newest = Arc::new(Topology::new(Arc::clone(inventory), hardware));
        }
        Arc::clone(&newest)
    }
}
