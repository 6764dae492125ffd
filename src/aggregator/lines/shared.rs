//! Chassis that several hosts sit in, and hosts that sat in several chassis.
//!
//! A shared chassis is counted once. In each slot its energy is split among the hosts that sit in it
//! then, by the energy of their components, evenly where none of them has any. A host that meters
//! itself keeps its own meter, and that much is taken off the chassis before the rest is split. So
//! the hosts' billed energy is the chassis', to the half picojoule.
//!
//! All these owners are read together, for as many hours at a time as memory allows.

use std::collections::{BTreeSet, HashMap};

use cost::{Rollup, Window};
use energy::{Billed, Cell};
use meter::{ByQuality, Energy, Owner, Slot};

use super::unit::{Unit, Weight};
use super::waiting::Waiting;
use super::{Figures, LinesError, expected, read, stretches};
use crate::published::OwnerView;
use crate::topology::Topology;

/// Cells that may wait at a time: 64 MiB at 64 bytes each.
const CELLS_MAX: usize = 1 << 20;

/// Hosts whose chassis are not theirs alone, and those chassis.
pub(super) struct Shared<'a> {
    pub(super) hosts: BTreeSet<&'a Owner>,
    chassis: BTreeSet<&'a Owner>,
}

impl<'a> Shared<'a> {
    pub(super) fn of(topology: &'a Topology) -> Self {
        let mut shared = Self { hosts: BTreeSet::new(), chassis: BTreeSet::new() };
        for host in topology.linked_hosts() {
            let chassis: BTreeSet<&Owner> = topology.chassis_of(host).collect();
            let has_many = |chassis: &&Owner| topology.hosts_of(chassis).is_some_and(|hosts| hosts.len() > 1);
            if chassis.len() > 1 || chassis.iter().any(has_many) {
                shared.hosts.insert(host);
                shared.chassis.extend(chassis);
            }
        }
        shared
    }
}

/// A chassis, and the units of the hosts that ever sit in it.
struct Enclosure<'a> {
    view: &'a OwnerView,
    hosts: Vec<(&'a Owner, usize)>,
    waiting: Waiting,
}

/// Adds the hosts that share chassis.
pub(super) fn add_shared<'a>(
    figures: &Figures<'a>,
    window: Window,
    shared: &Shared<'a>,
    rollup: &mut Rollup<'_>,
) -> Result<(), LinesError> {
    let mut units: Vec<Unit<'a>> = Vec::with_capacity(shared.hosts.len());
    for &host in &shared.hosts {
        let view = figures.snapshot.owner(host).map(|view| &**view);
        let stretches = stretches(figures, host, view, window, rollup);
        units.push(Unit::sharing(view, expected(figures, host, view), stretches, rollup));
    }
    let number: HashMap<&Owner, usize> = shared.hosts.iter().enumerate().map(|(index, &host)| (host, index)).collect();
    let enclosure = |&chassis: &&'a Owner| {
        let view: &OwnerView = figures.snapshot.owner(chassis)?;
        let hosts = figures.topology.hosts_of(chassis)?.iter();
        let mut waiting = Waiting::default();
        waiting.take_open(view, 0);
        Some(Enclosure { view, hosts: hosts.filter_map(|host| Some((host, *number.get(host)?))).collect(), waiting })
    };
    let mut enclosures: Vec<Enclosure<'a>> = shared.chassis.iter().filter_map(enclosure).collect();

    let hosts: Vec<(&OwnerView, usize)> =
        units.iter().enumerate().filter_map(|(index, unit)| Some((unit.view()?, index))).collect();
    let meters = enclosures.iter().enumerate().map(|(index, enclosure)| (enclosure.view, units.len() + index));
    let owners: HashMap<&Owner, usize> =
        hosts.iter().copied().chain(meters).map(|(view, index)| (&view.state.owner, index)).collect();
    let accounts: usize = hosts.iter().map(|(view, _)| view.state.keys.len()).sum();
    let count = units.len();
    for chunk in chunks(window, accounts) {
        read(figures.store, chunk, &owners, |index, version, block| match index.checked_sub(count) {
            None => units[index].take(version, &block),
            Some(meter) => {
                let enclosure = &mut enclosures[meter];
                enclosure.waiting.take(enclosure.view, 0, version, &block);
            }
        })?;
        for enclosure in &mut enclosures {
            enclosure.share_out(chunk.until(), figures.topology, &mut units);
        }
        units.iter_mut().try_for_each(|unit| unit.bill_until(chunk.until(), rollup))?;
    }
    units.iter_mut().try_for_each(|unit| unit.finish(rollup))?;
    Ok(())
}

/// The window in pieces of whole hours, such that the cells of one piece fit in memory.
fn chunks(window: Window, accounts: usize) -> impl Iterator<Item = Window> {
    let hours = (CELLS_MAX / (4 * accounts.max(1))).clamp(1, 24 * 31);
    let slots = 4 * i32::try_from(hours).unwrap_or(1);
    let first = Slot(window.first().hour().0 * 4);
    let pieces = (0..).map(move |piece| Slot(first.0.saturating_add(slots.saturating_mul(piece))));
    pieces.take_while(move |start| *start < window.until()).map(move |start| {
        let until = Slot(start.0.saturating_add(slots)).min(window.until());
        Window::of_slots(start.max(window.first()), until)
    })
}

impl Enclosure<'_> {
    /// Gives the hosts their shares of every slot before `border`.
    fn share_out(&mut self, border: Slot, topology: &Topology, units: &mut [Unit<'_>]) {
        let mut billed = Billed::default();
        while let Some((slot, cells)) = self.waiting.pop_before(border) {
            energy::bill(&self.view.state.keys, &cells, &mut billed);
            self.waiting.give_back(cells);
            let mut rest = ByQuality::default();
            for line in &billed.lines {
                rest += line.energy;
            }
            let owner = &self.view.state.owner;
            let sits = |(host, _): &&(&Owner, usize)| topology.chassis_at(host, slot.start()) == Some(owner);
            let mut there: Vec<usize> = self.hosts.iter().filter(sits).map(|(_, unit)| *unit).collect();
            if there.is_empty() {
                // Its energy must not vanish because a link is dated too narrowly.
                there = self.hosts.iter().map(|(_, unit)| *unit).collect();
            }
            let mut sharers = Vec::with_capacity(there.len());
            for unit in there {
                match units[unit].weigh(slot) {
                    Weight::Meter(own) => rest -= own,
                    Weight::Components(energy) => sharers.push((unit, energy)),
                }
            }
            let weights: Vec<Energy> = sharers.iter().map(|(_, energy)| *energy).collect();
            for ((unit, _), energy) in sharers.iter().zip(split(&rest, &weights)) {
                units[*unit].put_share(slot, &Cell { energy, covered_ns: billed.covered_ns });
            }
        }
    }
}

/// Splits energy by weights, evenly where there are none. The shares add up to it exactly.
fn split(energy: &ByQuality, weights: &[Energy]) -> Vec<ByQuality> {
    // In whole millijoules: a megawatt for a slot squared would not fit 128 bits otherwise.
    let mut weights: Vec<i128> = weights.iter().map(|weight| (weight.microjoules() / 1000).max(0)).collect();
    if weights.iter().all(|weight| *weight == 0) {
        weights.fill(1);
    }
    let whole: i128 = weights.iter().sum();
    let mut before = 0;
    let share = |weight: i128| {
        let after = before + weight;
        // Each share is the difference of two rounded sums, so nothing is lost between them.
        let part = |Energy(all): Energy| Energy((all * after).div_euclid(whole) - (all * before).div_euclid(whole));
        let share = ByQuality(energy.0.map(part));
        before = after;
        share
    };
    weights.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: [i128; 3]) -> ByQuality {
        ByQuality(parts.map(Energy))
    }

    #[test]
    fn shares_follow_the_weights_and_add_up_exactly() {
        let joules = |n: u64| Energy::from_microjoules(n * 1_000_000);
        for (energy, weights) in [
            (of([100, 0, 7]), vec![joules(1), joules(3)]),
            (of([1_000_000_007, -13, 1]), vec![joules(5), joules(0), joules(7), joules(11)]),
            // A megawatt for a slot.
            (of([1_800_000_000_000_000_000_001, 0, 0]), vec![joules(900_000_000), joules(899_999_999)]),
        ] {
            let shares = split(&energy, &weights);
            let mut sum = ByQuality::default();
            shares.iter().for_each(|share| sum += *share);
            assert_eq!(sum, energy);
        }
        let quarters = split(&of([100, 0, 0]), &[joules(1), joules(3)]);
        assert_eq!(quarters, [of([25, 0, 0]), of([75, 0, 0])]);
    }

    #[test]
    fn without_weights_shares_are_even() {
        assert_eq!(split(&of([0, 10, 0]), &[Energy::ZERO, Energy::ZERO]), [of([0, 5, 0]), of([0, 5, 0])]);
        assert!(split(&of([1, 0, 0]), &[]).is_empty());
    }

    #[test]
    fn chunks_tile_the_window_at_hours() {
        let window = Window::of_slots(Slot(7), Slot(41));
        for accounts in [0, 1, 20_000, 1_000_000] {
            let chunks: Vec<Window> = chunks(window, accounts).collect();
            assert_eq!((chunks[0].first(), chunks[chunks.len() - 1].until()), (Slot(7), Slot(41)), "{accounts}");
            assert!(chunks.windows(2).all(|pair| pair[0].until() == pair[1].first() && pair[0].until().0 % 4 == 0));
        }
    }
}
