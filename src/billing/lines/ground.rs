//! What is known of a billed owner before its slots are added up.

use std::ops::Range;

use cost::{HostId, HostInfo, Rollup, Window};
use energy::boundary::Place;
use meter::{ByQuality, Energy, Owner, OwnerKind, Slot, Utc};

use super::elsewhere::{Contest, Contests};
use super::held::{Attribution, Tenants};
use crate::figures::{Figures, expected, first_slot};
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
    /// Who holds it.
    pub(super) tenants: Tenants,
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

    /// Whose.
    pub(super) const fn owner(&self) -> &'a Owner {
        self.owner
    }

    /// Where the owner sat within a span of time, as far as that is told.
    pub(super) fn within(&self, span: &Range<Utc>) -> impl Iterator<Item = (Range<Utc>, &'a Owner)> {
        let within = |valid: &Range<Utc>| valid.start.max(span.start)..valid.end.min(span.end);
        let links = self.topology.links_of(self.owner).iter();
        links.map(move |link| (within(&link.valid), &link.chassis)).filter(|(valid, _)| valid.start < valid.end)
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

/// What is known of an owner beforehand.
pub(super) fn ground<'a>(
    figures: &Figures<'a>,
    owner: &'a Owner,
    view: Option<&'a OwnerView>,
    window: Window,
    contests: &mut Contests<'a>,
    rollup: &mut Rollup<'_>,
) -> Ground<'a> {
    let stretches = stretches(figures, owner, view, window, rollup);
    let contests = contests.remove(owner).unwrap_or_default();
    let tenants = Tenants::default();
    Ground { owner, view, expected: expected(figures, owner, view), stretches, contests, tenants }
}

/// Who holds an owner's lines. What jobs are told of is the name that a machine has now.
pub(super) fn tenants(figures: &Figures<'_>, attribution: Option<&Attribution>, owner: &Owner) -> Tenants {
    let shown = figures.topology.inventory.canonical(owner);
    attribution.map_or_else(Tenants::default, |attribution| attribution.of(owner, shown))
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
