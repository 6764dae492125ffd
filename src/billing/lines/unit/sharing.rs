//! A unit that gets shares of chassis that several hosts sit in.

use cost::{Rollup, Window};
use energy::boundary::{JOIN_NS, part_of};
use energy::{Account, Boundary, Cell};
use meter::{AccountKey, Method, Scope, Slot};

use super::{SLOT, Unit};
use crate::figures::Figures;
use crate::lines::elsewhere;
use crate::lines::ground::{Ground, Weight};
use crate::lines::missed::Meters;

impl<'a> Unit<'a> {
    /// An owner that gets shares of chassis.
    pub(in crate::lines) fn sharing(
        figures: &Figures<'a>,
        window: Window,
        ground: Ground<'a>,
        meters: Meters,
        rollup: &mut Rollup<'_>,
    ) -> Self {
        let share = AccountKey { scope: Scope::Chassis, device: "".into() };
        let own = ground.view.map_or(&[][..], |view| &view.state.keys);
        let boundary = Boundary::new(own, std::slice::from_ref(&share));
        let accounts: Vec<&Account> = ground.view.into_iter().flat_map(|view| &view.state.accounts).collect();
        let keys: Vec<&AccountKey> = own.iter().chain([&share]).collect();
        let mut unit = Self::with(figures, window, ground, None, boundary);
        unit.meters = meters;
        unit.make_lines(&keys, &accounts, rollup);
        unit
    }

    /// What a slot that waits says of its share of a chassis that covers so much of it.
    pub(in crate::lines) fn weigh(&mut self, slot: Slot, chassis_ns: u64) -> Weight {
        let own = self.own();
        let cells = self.waiting.get_mut(slot);
        elsewhere::leave_out(&self.contests, slot, cells);
        let own = own.min(cells.len());
        self.boundary.survey(&cells[..own], SLOT, &mut self.billed);
        let meter = self.billed.survey.meter;
        // As the boundary decides between two meters: the owner's own counts if it covers nearly as much.
        if meter.is_some_and(|meter| meter.covered_ns > 0 && meter.covered_ns.saturating_add(JOIN_NS) >= chassis_ns) {
            let missed = self.missed(slot);
            self.billed.settle(&missed);
            // For the seconds that the chassis saw.
            let own_ns = self.billed.covered_ns;
            let seen_ns = if chassis_ns.saturating_add(JOIN_NS) >= own_ns { own_ns } else { chassis_ns };
            return Weight::Meter(part_of(&self.billed.energy(), seen_ns, own_ns));
        }
        Weight::Components(self.billed.survey.components.total())
    }

    /// Its share of a chassis in one slot; `on_top` of its own meter, or in place of one.
    pub(in crate::lines) fn put_share(&mut self, slot: Slot, share: Cell, method: Method, on_top: bool) {
        if !on_top {
            self.waiting.put(slot, self.own(), &share);
        }
        self.shared.push_back((slot, method, on_top.then_some(share.energy)));
    }

    /// Adds what comes on top of its own meter, and names the way in which a chassis was shared out.
    pub(super) fn take_share(&mut self, slot: Slot) {
        while let Some((of, method, on_top)) = self.shared.pop_front_if(|(shared, ..)| *shared <= slot) {
            let is_linked = self.billed.survey.meter.is_some_and(|meter| meter.linked);
            if of < slot {
                // Before the window, and not billed.
            } else if let Some(rest) = on_top {
                self.billed.lines.iter_mut().filter(|line| line.account.is_none()).for_each(|line| line.energy += rest);
                self.billed.methods.insert(method);
            } else if is_linked {
                self.billed.methods.remove(Method::Meter);
                self.billed.methods.insert(method);
            }
        }
    }
}
