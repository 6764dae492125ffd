//! What happens in a world: decided by its seed before it begins.

use crate::rng::Rng;

/// A second.
pub(crate) const S: u64 = 1_000_000_000;

/// How a world is furnished, and what goes wrong in it and when.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How long faults happen.
    pub(crate) duration: u64,
    /// Nothing bends the dates: no delay beyond 50 ms and no clock is set. Then also estimated energy
    /// and covered time are known to the nanosecond.
    pub(crate) calm: bool,
    pub(crate) machines: u8,
    pub(crate) clients: u8,
    /// Percent of requests and of replies that are lost.
    pub(crate) loss: u64,
    /// Percent of requests that arrive once more, later.
    pub(crate) repeats: u64,
    pub(crate) delay_max: u64,
    /// Percent of the steps of a commit at which the aggregator is killed.
    pub(crate) crashes: u64,
    /// Percent of commits that fail; of half of them everything was written.
    pub(crate) failures: u64,
    /// Room of each spool in bytes.
    pub(crate) spool: u64,
    pub(crate) faults: Vec<(u64, Fault)>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of a machine's agent; it comes back after so long.
    Kill(u8, u64),
    /// A machine loses power, and comes back after so long.
    PowerLoss(u8, u64),
    /// A machine's disk is full for so long.
    SpoolFull(u8, u64),
    /// The aggregator is killed; it comes back after so long.
    Crash(u64),
    /// The aggregator's disk is full for so long.
    StoreFull(u64),
    /// An export is written.
    Export,
    /// An earlier export takes the place of the store.
    Rollback,
    /// The store is lost; an empty one takes its place.
    LoseStore,
    /// A device's counter begins anew.
    Reset(u8),
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let calm = rng.percent(40);
        let harsh = rng.percent(50);
        let mut plan = Self {
            duration: rng.pick(&[150, 400, 400, 1200]) * S,
            calm,
            machines: rng.between(1, 2) as u8,
            clients: u8::from(rng.percent(25)),
            loss: rng.pick(&[0, 2, 10, 30]),
            repeats: rng.pick(&[0, 5, 20]),
            delay_max: if calm { S / 20 } else { rng.pick(&[S / 2, 5 * S]) },
            crashes: if harsh { rng.pick(&[0, 1, 4]) } else { 0 },
            failures: rng.pick(&[0, 0, 3, 15]),
            spool: rng.pick(&[1 << 20, 1 << 20, 128 << 10, 64 << 10]),
            faults: Vec::new(),
        };
        let count = rng.below(if harsh { 14 } else { 5 });
        // A full disk and a lost ledger in one world would leave open what memory held.
        let full_disks = rng.percent(40);
        for _ in 0..count {
            let at = rng.below(plan.duration);
            let fault = plan.fault(&mut rng, full_disks);
            if matches!(fault, Fault::Rollback) {
                plan.faults.push((rng.below(at + 1), Fault::Export));
            }
            plan.faults.push((at, fault));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    fn fault(&self, rng: &mut Rng, full_disks: bool) -> Fault {
        let machine = rng.below(self.machines.into()) as u8;
        // Not near the longest hole that is estimated: there the dates' own error would decide.
        let down = [rng.between(1, 7), rng.between(20, 800), rng.between(1000, 2000)];
        match rng.below(12) {
            0..=2 => Fault::Kill(machine, rng.pick(&down) * S),
            3 | 4 => Fault::PowerLoss(machine, rng.between(300, 900) * S),
            5 | 6 if full_disks => Fault::SpoolFull(machine, rng.between(5, 300) * S),
            5 => Fault::Rollback,
            6 => Fault::LoseStore,
            7 | 8 => Fault::Crash(rng.between(1, 400) * S),
            9 => Fault::StoreFull(rng.between(1, 200) * S),
            10 => Fault::Reset(machine),
            _ => Fault::Export,
        }
    }
}
