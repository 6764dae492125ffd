//! The owners that are billed each by itself, with a chassis of their own at most; by partition.

use std::collections::HashMap;

use cost::{Rollup, Window};
use meter::Owner;

use super::elsewhere::{Contests, contests};
use super::ground::{ground, tenants};
use super::held::Attribution;
use super::shared::Shared;
use super::unit::Unit;
use crate::figures::{Figures, chassis_of, is_billed};

/// The owners that are billed each by itself.
pub(super) struct Plain<'a> {
    figures: Figures<'a>,
    attribution: Option<&'a Attribution>,
    pub(super) shared: Shared<'a>,
    pub(super) contests: Contests<'a>,
    unread: HashMap<usize, Vec<&'a Owner>>,
}

impl<'a> Plain<'a> {
    pub(super) fn new(figures: &Figures<'a>, attribution: Option<&'a Attribution>) -> Self {
        let (shared, contests) = (Shared::of(figures.topology), contests(figures));
        Self { figures: *figures, attribution, shared, contests, unread: unread_hosts(figures) }
    }

    /// Those of one part, as far as `where` selects them.
    pub(super) fn units(&mut self, number: usize, window: Window, rollup: &mut Rollup<'_>) -> Vec<Unit<'a>> {
        let figures = self.figures;
        let (topology, shared) = (figures.topology, &self.shared.hosts);
        let is_plain = |owner: &Owner| is_billed(owner, topology) && !shared.contains(owner);
        let part = &figures.snapshot.parts[number].owners;
        let rows = part.iter().filter(|(owner, _)| is_plain(owner));
        let missing = self.unread.remove(&number).unwrap_or_default().into_iter().filter(|owner| is_plain(owner));
        let owners = rows.map(|(owner, view)| (owner, Some(&**view))).chain(missing.map(|owner| (owner, None)));
        let mut units: Vec<Unit<'_>> = Vec::with_capacity(part.len());
        for (owner, view) in owners {
            let mut ground = ground(&figures, owner, view, window, &mut self.contests, rollup);
            ground.tenants = tenants(&figures, self.attribution, owner);
            if ground.stretches.iter().all(|stretch| stretch.host.is_none()) {
                continue;
            }
            let chassis = chassis_of(&figures, owner);
            if let Some(theirs) = chassis.and_then(|chassis| self.contests.remove(&chassis.state.owner)) {
                let own = view.map_or(0, |view| view.state.keys.len());
                ground.contests.extend(theirs.into_iter().map(|contest| contest.counted_from(own)));
            }
            units.push(Unit::new(&figures, window, ground, chassis, rollup));
        }
        units
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
