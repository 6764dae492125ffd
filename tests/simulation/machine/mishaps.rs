//! What befalls machines: ends, power cuts, state directories set aside or copied, snapshots.

use meter::Id;

use super::{Machine, Place};
use crate::disk::{SimDisk, fingerprint};
use crate::plan::S;
use crate::world::{Event, World};

impl World {
    /// The process ends; what it held in memory only is gone.
    pub(crate) fn stop_agent(&mut self, number: u8) {
        let machine = &mut self.machines[usize::from(number)];
        machine.agent = None;
        machine.run += 1;
        if std::mem::take(&mut machine.degraded) {
            self.forget_memory(number);
        }
    }

    /// Gives up what is on no disk of this machine.
    fn forget_memory(&mut self, number: u8) {
        for place in &self.machines[usize::from(number)].lanes {
            let after = self.truth.in_records(&place.owner, &place.disk.records());
            let lost = self.truth.give_up(&self.truth.of_owner(&place.owner), &after, &self.holdings);
            self.trace.say(self.now, || format!("  {lost} readings of {} were in memory only", place.owner));
        }
    }

    /// Power is cut: what was not synced is gone, wholly or in part.
    pub(crate) fn lose_power(&mut self, number: u8) {
        self.stop_agent(number);
        let machine = &mut self.machines[usize::from(number)];
        machine.boot = Id::default();
        for place in &self.machines[usize::from(number)].lanes {
            let before = self.truth.in_records(&place.owner, &place.disk.records());
            place.disk.lose_power(&mut self.rng);
            let after = self.truth.in_records(&place.owner, &place.disk.records());
            let lost = self.truth.give_up(&before, &after, &self.holdings);
            self.trace.say(self.now, || format!("  {lost} readings of {} were not synced", place.owner));
        }
    }

    /// The agent goes on in an empty state directory; another one brings what the old one held, later.
    pub(crate) fn swap_state(&mut self, number: u8, down: u64) {
        self.stop_agent(number);
        let machine = &mut self.machines[usize::from(number)];
        let empty = |place: &Place| Place { disk: SimDisk::default(), evictions: 0, ..place.clone() };
        let fresh = machine.lanes.iter().map(empty).collect();
        let lanes = std::mem::replace(&mut machine.lanes, fresh);
        for source in &machine.sources {
            source.devices.iter().for_each(|device| self.truth.accounts[device.account].is_late = true);
        }
        let (boot, booted) = (machine.boot, machine.booted);
        let rescuer = self.machines.len() as u8;
        self.machines.push(Machine { boot, booted, ..Machine::off(lanes, Vec::new()) });
        self.after(down, Event::StartAgent(number));
        let later = down + self.rng.between(20, 600) * S;
        self.all_back = self.all_back.max(self.now + later);
        self.after(later, Event::StartAgent(rescuer));
    }

    /// Another agent starts on a copy of a machine's state directory. It samples nothing: whatever it sends
    /// is what the other one sends, too.
    pub(crate) fn clone_state(&mut self, number: u8, same_machine: bool) {
        let clone = self.machines.len() as u8;
        let machine = &self.machines[usize::from(number)];
        // A name that nobody has yet would be the clone's.
        if machine.lanes.iter().any(|place| self.aggregator.store.row(&place.owner).is_none()) {
            return;
        }
        let mut lanes = Vec::new();
        for place in &machine.lanes {
            let other = place.fingerprint.map(|_| fingerprint(100 + clone));
            let fingerprint = if same_machine { place.fingerprint } else { other };
            lanes.push(Place { disk: place.disk.copy(), fingerprint, ..place.clone() });
        }
        let boot = self.rng.id();
        self.truth.clock(boot);
        let booted = self.now.saturating_sub(self.rng.below(1000 * S));
        // Nobody waits for a machine that may not speak for this host.
        let is_refused = !same_machine;
        self.machines.push(Machine { boot, booted, is_refused, ..Machine::off(lanes, Vec::new()) });
        self.start_agent(clone);
    }

    pub(crate) fn take_snapshot(&mut self, number: u8) {
        let boot_ns = self.boot_ns(number);
        let machine = &mut self.machines[usize::from(number)];
        let disks = machine.lanes.iter().map(|place| place.disk.copy()).collect();
        machine.snapshot = (machine.boot != Id::default()).then_some((boot_ns, disks));
    }

    /// The machine is what it was, at the instant it was: the boot clock goes back with it.
    pub(crate) fn rewind(&mut self, number: u8) {
        let Some((boot_ns, disks)) = self.machines[usize::from(number)].snapshot.take() else { return };
        self.stop_agent(number);
        let machine = &mut self.machines[usize::from(number)];
        // It began to run before the world did, if the snapshot is older than that.
        machine.booted = self.now.saturating_sub(boot_ns);
        machine.is_rewound = true;
        for (place, disk) in machine.lanes.iter_mut().zip(disks) {
            let before = self.truth.in_records(&place.owner, &place.disk.records());
            place.disk = disk;
            let after = self.truth.in_records(&place.owner, &place.disk.records());
            self.truth.give_up(&before, &after, &self.holdings);
        }
        self.start_agent(number);
    }
}
