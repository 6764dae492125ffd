//! Who belongs to whom: which host sits in which chassis, and when.
//!
//! The inventory says so. Everybody who asks for a chassis asks here, so that all answers of one moment
//! agree.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use energy::LabelsSince;
use meter::{Labels, Owner, Utc};

use crate::inventory::Inventory;
use crate::published::Snapshot;

/// The fleet's links at one moment, beside the inventory they follow.
#[derive(Debug, Default)]
pub struct Topology {
    /// Labels, service dates and aliases.
    pub inventory: Arc<Inventory>,
    /// By host: ascending and disjoint.
    links: BTreeMap<Owner, Vec<Link>>,
    /// By chassis: the hosts that ever sit in it.
    hosts: BTreeMap<Owner, BTreeSet<Owner>>,
}

/// A stretch of time for which a host sits in a chassis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// When.
    pub valid: Range<Utc>,
    /// Where.
    pub chassis: Owner,
}

impl Topology {
    /// What an inventory says.
    #[must_use]
    pub fn of(inventory: Arc<Inventory>) -> Self {
        let mut topology = Self { inventory, ..Self::default() };
        for (host, entry) in topology.inventory.entries() {
            for span in &entry.spans {
                let Some(chassis) = span.chassis.clone() else { continue };
                topology.hosts.entry(chassis.clone()).or_default().insert(host.clone());
                let links = topology.links.entry(host.clone()).or_default();
                links.push(Link { valid: span.valid.clone(), chassis });
            }
        }
        topology
    }

    /// The chassis that `host`, or what it is an alias of, sits in at one instant.
    #[must_use]
    pub fn chassis_at(&self, host: &Owner, at: Utc) -> Option<&Owner> {
        let links = self.links.get(self.inventory.canonical(host))?;
        links.iter().find(|link| link.valid.contains(&at)).map(|link| &link.chassis)
    }

    /// Every chassis that a host ever sits in, in the order of time. An alias sits in none of its own.
    pub fn chassis_of(&self, host: &Owner) -> impl Iterator<Item = &Owner> {
        self.links.get(host).into_iter().flatten().map(|link| &link.chassis)
    }

    /// The hosts that ever sit in this chassis.
    #[must_use]
    pub fn hosts_of(&self, chassis: &Owner) -> Option<&BTreeSet<Owner>> {
        self.hosts.get(chassis)
    }

    /// The hosts that ever sit in a chassis, in order.
    pub fn linked_hosts(&self) -> impl Iterator<Item = &Owner> {
        self.links.keys()
    }

    /// The labels in force for `owner` over `range`: consecutive intervals that cover it, cut also where
    /// it moves to another chassis. Labels only change where a row's validity begins or ends or where
    /// the agent gave new ones, so a reader of thousands of slots looks them up once.
    #[must_use]
    pub fn intervals(&self, owner: &Owner, range: Range<Utc>, agent: &[LabelsSince]) -> Vec<(Range<Utc>, Arc<Labels>)> {
        let mut borders = self.inventory.borders(owner, agent);
        let links = self.links.get(self.inventory.canonical(owner)).into_iter().flatten();
        borders.extend(links.flat_map(|link| [link.valid.start, link.valid.end]));
        borders.insert(range.start);
        let inside: Vec<Utc> = borders.into_iter().filter(|at| *at >= range.start && *at < range.end).collect();
        let ends = inside.iter().skip(1).copied().chain([range.end]);
        let mut intervals: Vec<(Range<Utc>, Arc<Labels>)> = Vec::with_capacity(inside.len());
        let mut last_chassis = None;
        for (start, end) in inside.iter().copied().zip(ends) {
            let labels = self.inventory.labels(owner, start, agent);
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

/// The topology of late, made anew when what it follows from has changed.
#[derive(Debug, Default)]
pub struct Topologies(Mutex<Arc<Topology>>);

impl Topologies {
    /// The topology that a snapshot and an inventory give.
    #[must_use]
    pub fn of(&self, _snapshot: &Snapshot, inventory: &Arc<Inventory>) -> Arc<Topology> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&newest.inventory, inventory) {
            *newest = Arc::new(Topology::of(Arc::clone(inventory)));
        }
        Arc::clone(&newest)
    }
}
