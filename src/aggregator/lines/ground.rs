//! What is known of a billed owner before its slots are added up.

use std::ops::Range;

use cost::HostId;
use energy::boundary::Place;
use meter::{ByQuality, Energy, Owner, Slot, Utc};

use super::elsewhere::Contest;
use crate::published::OwnerView;
use crate::topology::Topology;

/// A stretch of slots under one set of labels; without a host it is left out by `where`.
pub(super) struct Stretch {
    pub(super) from: Slot,
    pub(super) until: Slot,
    pub(super) host: Option<HostId>,
}

/// What is known of an owner beforehand.
pub(super) struct Ground<'a> {
    pub(super) owner: &'a Owner,
    pub(super) view: Option<&'a OwnerView>,
    pub(super) expected: Range<Utc>,
    pub(super) stretches: Vec<Stretch>,
    /// Its devices that other owners have too.
    pub(super) contests: Vec<Contest<'a>>,
}

/// What a slot says of an owner's share of a chassis.
pub(super) enum Weight {
    /// It meters itself: this much of the chassis is its own.
    Meter(ByQuality),
    /// It does not: what its components used.
    Components(Energy),
}

/// Where an owner sat in each slot, as a number.
pub(super) struct Seat<'a> {
    topology: &'a Topology,
    owner: &'a Owner,
    known: Vec<&'a Owner>,
}

impl<'a> Seat<'a> {
    pub(super) fn of(owner: &'a Owner, topology: &'a Topology) -> Self {
        Self { topology, owner, known: Vec::new() }
    }

    /// The chassis that the owner sat in when a slot began.
    pub(super) fn at(&mut self, slot: Slot) -> Option<Place> {
        let chassis = self.topology.chassis_at(self.owner, slot.start())?;
        let place = self.known.iter().position(|known| *known == chassis).unwrap_or_else(|| {
            self.known.push(chassis);
            self.known.len() - 1
        });
        Place::try_from(place).ok()
    }
}

/// For how long two spans of time overlap, in nanoseconds.
pub(super) fn overlap(a: &Range<Utc>, b: Range<Utc>) -> u64 {
    a.end.min(b.end).since(a.start.max(b.start))
}
