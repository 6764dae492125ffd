//! Chassis that several hosts sit in, and hosts that sat in several chassis.
//!
//! A shared chassis is counted once. In each slot its energy is split among the hosts that sit in it
//! then, by the energy of their components, evenly where none of them has any. A host that meters
//! itself keeps its own meter, unless the chassis covers more of the slot, and that much is taken off
//! the chassis before the rest is split; where all meter themselves, what is left is split by what they
//! show. So the hosts' billed energy is the chassis', to the half picojoule.
//! Its share is a host's meter: seconds that the chassis missed are the host's components, times what its
//! shares usually show over them.
//!
//! All these owners are read together, for as many hours at a time as memory allows.

use std::collections::{BTreeSet, HashMap};

use cost::{Rollup, Window};
use energy::boundary::Split;
use energy::{Account, Billed, Boundary, Cell, Missed};
use meter::{Method, Owner, SLOT_NS, Slot};

use super::elsewhere::{self, Contest, Contests};
use super::ground::{Weight, ground, tenants};
use super::held::Attribution;
use super::missed::Meters;
use super::reading::read;
use super::unit::Unit;
use super::waiting::Waiting;
use crate::error::BillingError;
use crate::figures::{Figures, all_chassis_of};
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
    boundary: Boundary,
    contests: Vec<Contest<'a>>,
    hosts: Vec<(&'a Owner, usize)>,
    waiting: Waiting,
}

/// Adds the hosts that share chassis.
pub(super) fn add_shared<'a>(
    figures: &Figures<'a>,
    window: Window,
    attribution: Option<&Attribution>,
    shared: &Shared<'a>,
    contests: &mut Contests<'a>,
    rollup: &mut Rollup<'_>,
) -> Result<(), BillingError> {
    let mut units: Vec<Unit<'a>> = Vec::with_capacity(shared.hosts.len());
    for &host in &shared.hosts {
        let view = figures.snapshot.owner(host).map(|view| &**view);
        let mut ground = ground(figures, host, view, window, contests, rollup);
        ground.tenants = tenants(figures, attribution, host);
        units.push(Unit::sharing(figures, window, ground, shared.meters(figures, host, window), rollup));
    }
    let number: HashMap<&Owner, usize> = shared.hosts.iter().enumerate().map(|(index, &host)| (host, index)).collect();
    let enclosure = |&chassis: &&'a Owner| {
        let view: &OwnerView = figures.snapshot.owner(chassis)?;
        let hosts = figures.topology.hosts_of(chassis)?.iter();
        let mut waiting = Waiting::default();
        waiting.take_open(view, 0);
        let boundary = Boundary::new(&view.state.keys, &[]);
        let contests = contests.remove(chassis).unwrap_or_default();
        let hosts = hosts.filter_map(|host| Some((host, *number.get(host)?))).collect();
        Some(Enclosure { view, boundary, contests, hosts, waiting })
    };
    let enclosures: Vec<Enclosure<'a>> = shared.chassis.iter().filter_map(enclosure).collect();
    // The share of one depends on what the others' meters show, so all look back as far as any has to.
    let since = units.iter().filter_map(Unit::looks_back_to).min();
    if since.is_some() {
        units.iter_mut().for_each(Unit::remember);
    }
    let first = Slot(window.first().hour().0 * 4);
    let before = since.filter(|since| *since < first).map(|since| Window::of_slots(since, first));
    let mut together = Together { figures: *figures, units, enclosures };
    for span in before.into_iter().chain([window]) {
        together.add(span, rollup)?;
    }
    together.units.iter_mut().try_for_each(|unit| unit.finish(rollup))?;
    Ok(())
}

impl<'a> Shared<'a> {
    /// What a host's meter is told by: its own accounts, or those of one of the chassis that it ever sat in. Where
    /// it sits is another matter in each slot, so what any of them misses is looked into.
    fn meters(&self, figures: &Figures<'a>, host: &Owner, window: Window) -> Meters {
        let own = figures.snapshot.owner(host).map(|view| &**view);
        let components = own.map(|view| accounts(view, Boundary::is_component)).unwrap_or_default();
        let components_until = components.iter().map(|account| account.frontier.at).max();
        let sources = own.into_iter().chain(all_chassis_of(figures, host));
        let told = sources.map(|view| {
            let meters = accounts(view, Boundary::is_meter);
            Meters::among(&meters, components_until, window, figures.now)
        });
        told.fold(Meters { components_until, ..Meters::default() }, Meters::or)
    }
}

/// The accounts of an owner that are of a kind and were ever read.
fn accounts(view: &OwnerView, is_wanted: fn(&Boundary, usize) -> bool) -> Vec<&Account> {
    let boundary = Boundary::new(&view.state.keys, &[]);
    let accounts = view.state.accounts.iter().enumerate();
    let wanted = accounts.filter(|(index, account)| is_wanted(&boundary, *index) && !account.is_unread());
    wanted.map(|(_, account)| account).collect()
}

/// Hosts and the chassis that they share.
struct Together<'a> {
    figures: Figures<'a>,
    units: Vec<Unit<'a>>,
    enclosures: Vec<Enclosure<'a>>,
}

impl Together<'_> {
    /// Reads, shares out and bills a span of time.
    fn add(&mut self, span: Window, rollup: &mut Rollup<'_>) -> Result<(), BillingError> {
        let count = self.units.len();
        let views = self.units.iter().enumerate().filter_map(|(index, unit)| Some((unit.view()?, index)));
        let accounts: usize = views.clone().map(|(view, _)| view.state.keys.len()).sum();
        let meters = self.enclosures.iter().enumerate().map(|(index, enclosure)| (enclosure.view, count + index));
        let owners: HashMap<&Owner, usize> =
            views.chain(meters).map(|(view, index)| (&view.state.owner, index)).collect();
        for chunk in chunks(span, accounts) {
            let (units, enclosures) = (&mut self.units, &mut self.enclosures);
            read(self.figures.store, chunk, &owners, |index, version, block| match index.checked_sub(count) {
                None => units[index].take(version, &block),
                Some(meter) => {
                    let enclosure = &mut enclosures[meter];
                    enclosure.waiting.take(enclosure.view, 0, version, &block);
                }
            })?;
            self.share_out(chunk, rollup)?;
        }
        Ok(())
    }

    /// Gives the hosts their shares and bills them. A share may depend on what was billed before it, where the
    /// meter of a host missed something: then it goes slot by slot.
    fn share_out(&mut self, chunk: Window, rollup: &mut Rollup<'_>) -> Result<(), BillingError> {
        let step = if self.units.iter().any(Unit::remembers) { 1 } else { chunk.until().0 - chunk.first().0 };
        let borders = (chunk.first().0..chunk.until().0).step_by(usize::try_from(step.max(1)).unwrap_or(1));
        for border in borders.map(|slot| Slot(slot + step)) {
            for enclosure in &mut self.enclosures {
                enclosure.share_out(border, self.figures.topology, &mut self.units);
            }
            self.units.iter_mut().try_for_each(|unit| unit.bill_until(border, rollup))?;
        }
        Ok(())
    }
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
        while let Some((slot, mut cells)) = self.waiting.pop_before(border) {
            elsewhere::leave_out(&self.contests, slot, &mut cells);
            self.boundary.survey(&cells, SLOT_NS as u64, &mut billed);
            billed.settle(&Missed::default());
            self.waiting.give_back(cells);
            let mut rest = billed.energy();
            let owner = &self.view.state.owner;
            let sits = |(host, _): &&(&Owner, usize)| topology.chassis_at(host, slot.start()) == Some(owner);
            let mut there: Vec<usize> = self.hosts.iter().filter(sits).map(|(_, unit)| *unit).collect();
            if there.is_empty() {
                // Its energy must not vanish because a link is dated too narrowly.
                there = self.hosts.iter().map(|(_, unit)| *unit).collect();
            }
            let (mut sharers, mut metered) = (Vec::with_capacity(there.len()), Vec::new());
            for unit in there {
                match units[unit].weigh(slot, billed.covered_ns) {
                    Weight::Meter(own) => {
                        rest -= own;
                        metered.push((unit, own.total()));
                    }
                    Weight::Components(energy) => sharers.push((unit, energy)),
                }
            }
            // Where all meter themselves, what the chassis draws besides is theirs too.
            let is_rest = sharers.is_empty();
            let sharers = if is_rest { metered } else { sharers };
            let mut split = Split::by(sharers.iter().map(|(_, energy)| *energy));
            let method = if split.is_even() { Method::SharedEvenly } else { Method::SharedByComponents };
            for (unit, weight) in sharers {
                let share = Cell { energy: split.next(&rest, weight), covered_ns: billed.covered_ns };
                units[unit].put_share(slot, share, method, is_rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
