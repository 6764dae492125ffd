//! What happens in a world: decided by its seed before it begins.

use crate::rng::Rng;

/// A second.
pub(crate) const S: u64 = 1_000_000_000;

/// By how much clocks are set, in seconds.
const CLOCK_STEPS: [i64; 7] = [3 * 86_400, -3 * 86_400, 40 * 86_400, -40 * 86_400, 3600, -3600, -50 * 365 * 86_400];

/// How a world is furnished, and what goes wrong in it and when.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) theme: Theme,
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
    /// A machine's agent starts again after so long, in an empty state directory; what the old one held
    /// is brought by a second agent, later.
    SwapState(u8, u64),
    /// A device's counter begins anew.
    Reset(u8),
    /// A state directory is copied, on the same machine or to another one; an agent starts on the copy.
    Clone(u8, bool),
    /// A snapshot of a virtual machine is taken: its disk and its boot clock.
    Snapshot(u8),
    /// The machine is set back to it.
    Rewind(u8),
    /// The ledger's clock is set by so many seconds; not back before 2010, which it would not start with.
    LedgerClock(i64),
    /// A machine's wall clock is set by so many seconds.
    WallClock(u8, i64),
}

/// What a world is about: faults whose ends could not be told apart are not mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// Room for everything; restores, power losses, kills, crashes, failing commits.
    Roomy,
    /// As before, and machines' disks that are full for a while, but no restores: what memory held when
    /// the ledger was set back, nobody could tell.
    FullDisks,
    /// Spools far too small for the outages, but no restores: a summary may lie over the very place
    /// that an older ledger stands at, which then leaves that minute uncovered, as documented.
    Overflow,
    /// A machine's agent goes on with an empty state directory while the aggregator is away; what the old
    /// one still held is brought later, into time that was estimated meanwhile.
    Late,
    /// Machines that are set back to a snapshot, and state directories that are copied.
    Copies,
    /// Clocks that are set: the ledger's and the machines', by days and decades, with reboots in between.
    Clocks,
    /// Small spools that hold little more than what is on its way, and one restore.
    Ring,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        use Theme::{Clocks, Copies, FullDisks, Late, Overflow, Ring, Roomy};
        let mut rng = Rng::new(seed);
        let theme = rng.pick(&[Roomy, Roomy, Roomy, FullDisks, Overflow, Overflow, Ring, Late, Clocks, Copies]);
        // What is brought late is dated by a boot that was slewed since: to a second, not to the nanosecond.
        let calm = (rng.percent(40) && !matches!(theme, Clocks | Copies)) || theme == Late;
        let is_harsh = rng.percent(50);
        let mut plan = Self {
            theme,
            duration: rng.pick(&[150, 400, 400, 1200]) * S,
            calm,
            machines: rng.between(1, 2) as u8,
            // A client dates its readings itself: a wrong clock of the ledger refuses them, as documented.
            clients: u8::from(rng.percent(25) && theme != Clocks),
            loss: rng.pick(if theme == Ring { &[0, 5] } else { &[0, 2, 10, 30] }),
            repeats: rng.pick(&[0, 5, 20]),
            delay_max: if calm { S / 20 } else { rng.pick(&[S / 2, 5 * S]) },
            crashes: if is_harsh && theme != Ring { rng.pick(&[0, 1, 4]) } else { 0 },
            failures: if theme == Ring { 0 } else { rng.pick(&[0, 0, 3, 15]) },
            spool: match theme {
                Roomy | Late | Clocks | Copies => 1 << 20,
                FullDisks => rng.pick(&[1 << 20, 64 << 10]),
                Overflow => rng.between(20, 40) << 10,
                Ring => rng.between(20, 32) << 10,
            },
            faults: Vec::new(),
        };
        let count = rng.between(1, if is_harsh { 14 } else { 5 });
        for _ in 0..count {
            let at = rng.below(plan.duration);
            let fault = plan.fault(&mut rng);
            plan.faults.push((at, fault));
            if fault == Fault::Rollback {
                plan.faults.push((rng.below(at + 1), Fault::Export));
            }
        }
        if theme == Ring {
            let at = rng.between(plan.duration / 4, plan.duration);
            plan.faults.push((rng.below(at), Fault::Export));
            plan.faults.push((at, rng.pick(&[Fault::Rollback, Fault::Rollback, Fault::LoseStore])));
            // The agents have heard of it, and then have to keep for long what it lost.
            plan.faults.push((at + rng.between(15, 80) * S, Fault::Crash(rng.between(100, 400) * S)));
        }
        if theme == Overflow {
            // A gap that is not joined, in the middle of what has to be coalesced.
            let (at, machine) = (rng.below(plan.duration), rng.below(plan.machines.into()) as u8);
            plan.faults.push((at, Fault::Crash(rng.between(400, 1000) * S)));
            plan.faults.push((at + rng.between(20, 150) * S, Fault::Kill(machine, rng.between(31, 55) * S)));
        }
        // Not both: a copy that outlives its original brings what the snapshot made undone.
        if theme == Copies && !plan.faults.iter().any(|(_, fault)| matches!(fault, Fault::Clone(..))) {
            let at = rng.between(20, plan.duration / S) * S;
            plan.faults.push((rng.below(at), Fault::Snapshot(0)));
            plan.faults.push((at, Fault::Rewind(0)));
        }
        if theme == Late {
            let at = rng.below(plan.duration);
            let until = at + rng.between(50, 300) * S;
            plan.faults.push((at, Fault::Crash(rng.between(50, 400) * S)));
            plan.faults.push((until, Fault::SwapState(0, rng.between(190, 550) * S)));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    fn fault(&self, rng: &mut Rng) -> Fault {
        let machine = rng.below(self.machines.into()) as u8;
        // Not near the longest hole that is estimated: there the dates' own error would decide.
        let down = [rng.between(1, 7), rng.between(20, 800), rng.between(1000, 2000)];
        let down = rng.pick(&down) * S;
        match (self.theme, rng.below(12)) {
            (Theme::Copies, 0..=5) => Fault::Clone(machine, rng.percent(50)),
            (Theme::Copies, _) => Fault::Crash(rng.between(1, 60) * S),
            (Theme::Clocks, 0..=4) => Fault::LedgerClock(rng.pick(&CLOCK_STEPS)),
            (Theme::Clocks, 5 | 6) => Fault::WallClock(machine, rng.pick(&CLOCK_STEPS)),
            (Theme::Clocks, 7 | 8) => Fault::PowerLoss(machine, rng.between(5, 400) * S),
            (Theme::Late, 0..=5) => Fault::Reset(machine),
            (Theme::Late, _) => Fault::Crash(rng.between(1, 60) * S),
            (_, 0..=2) => Fault::Kill(machine, down),
            (_, 3) => Fault::Reset(machine),
            (Theme::Ring, _) => Fault::Crash(rng.between(1, 20) * S),
            (_, 4 | 5) => Fault::PowerLoss(machine, rng.between(300, 900) * S),
            (_, 6) => Fault::Crash(rng.between(1, 400) * S),
            (_, 7) => Fault::StoreFull(rng.between(1, 200) * S),
            (Theme::FullDisks, _) => Fault::SpoolFull(machine, rng.between(5, 300) * S),
            (Theme::Overflow, _) => Fault::Crash(rng.between(200, 1500) * S),
            (Theme::Roomy, 8) => Fault::LoseStore,
            (Theme::Roomy, 9 | 10) => Fault::Rollback,
            (Theme::Roomy | Theme::Clocks, _) => Fault::Export,
        }
    }
}
