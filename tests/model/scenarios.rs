//! The scenarios: which faults, how often, and how many states there are at least.

use crate::Broken;
use crate::explorer::{Report, explore};
use crate::readings::{Dated, Meter};
use crate::world::World;

/// A fault, or something rare; each has a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A post or its answer is lost or late.
    Loss,
    /// A post arrives twice.
    Repeat,
    /// The aggregator dies.
    Crash,
    /// An agent dies.
    Kill,
    /// An agent's machine loses power.
    Power,
    Backup,
    Restore,
    StoreLost,
    Evict,
    Snapshot,
    Rollback,
    Clone,
    Second,
    Wipe,
    /// The spool is full.
    Coalesce,
}

/// A bounded world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) meter: Meter,
    pub(crate) dated: Dated,
    /// Readings after the first.
    pub(crate) ticks: u8,
    /// Posts in the network at most.
    pub(crate) requests: usize,
    /// Streams and contexts that the ledger remembers.
    pub(crate) streams: usize,
    pub(crate) contexts: usize,
    /// A spool can lose its notes of where posts ended. A summary over such an end cannot be divided: its
    /// ticks may stay uncovered, and that is all that may happen.
    pub(crate) forgets_posts: bool,
    pub(crate) faults: &'static [(Fault, u8)],
    /// A model that explores fewer states has lost its faults.
    pub(crate) states_min: usize,
}

impl Scenario {
    /// The budget of a fault.
    pub(crate) fn most(&self, fault: Fault) -> u8 {
        self.faults.iter().find(|(known, _)| *known == fault).map_or(0, |(_, most)| *most)
    }
}

const PLAIN: Scenario = Scenario {
    name: "",
    meter: Meter::Power,
    dated: Dated::Utc,
    ticks: 3,
    requests: 2,
    streams: 16,
    contexts: 16,
    forgets_posts: false,
    faults: &[],
    states_min: 0,
};

pub(crate) const F1: Scenario = Scenario {
    name: "F1 kill, crash, loss, repeat",
    faults: &[(Fault::Kill, 1), (Fault::Crash, 2), (Fault::Loss, 1), (Fault::Repeat, 1)],
    states_min: 300_000,
    ..PLAIN
};
pub(crate) const F1_COUNTER: Scenario =
    Scenario { name: "F1 with a hardware counter", meter: Meter::Counter, states_min: 300_000, ..F1 };
pub(crate) const F1_LIVE: Scenario = Scenario {
    name: "F1 dated by the ledger",
    dated: Dated::Boot,
    faults: &[(Fault::Kill, 1), (Fault::Crash, 1), (Fault::Loss, 1)],
    states_min: 150_000,
    ..PLAIN
};
pub(crate) const F2: Scenario = Scenario {
    name: "F2 power loss of the agent",
    faults: &[(Fault::Power, 2), (Fault::Crash, 1)],
    states_min: 150_000,
    ..PLAIN
};
pub(crate) const F3: Scenario = Scenario {
    name: "F3 backup and restore",
    faults: &[
        (Fault::Backup, 1),
        (Fault::Restore, 1),
        (Fault::Evict, 2),
        (Fault::Crash, 1),
        (Fault::Loss, 1),
        (Fault::Kill, 1),
    ],
    states_min: 700_000,
    ..PLAIN
};
pub(crate) const F4: Scenario = Scenario {
    name: "F4 machine rolled back",
    faults: &[(Fault::Snapshot, 1), (Fault::Rollback, 1), (Fault::Evict, 1), (Fault::Crash, 1), (Fault::Loss, 1)],
    states_min: 350_000,
    ..PLAIN
};
pub(crate) const F5: Scenario =
    Scenario { name: "F5 cloned spool", faults: &[(Fault::Clone, 1), (Fault::Crash, 1)], states_min: 150_000, ..PLAIN };
pub(crate) const F5_LATE: Scenario = Scenario {
    name: "F5 cloned spool, late posts",
    ticks: 2,
    faults: &[(Fault::Clone, 1), (Fault::Crash, 1), (Fault::Loss, 1)],
    states_min: 350_000,
    ..PLAIN
};
pub(crate) const F6: Scenario = Scenario {
    name: "F6 second agent, wipe",
    faults: &[(Fault::Second, 1), (Fault::Wipe, 1), (Fault::Crash, 1)],
    states_min: 1_200_000,
    ..PLAIN
};
pub(crate) const F7: Scenario = Scenario {
    name: "F7 store and spool lost",
    faults: &[
        (Fault::Wipe, 1),
        (Fault::StoreLost, 1),
        (Fault::Backup, 1),
        (Fault::Restore, 1),
        (Fault::Evict, 1),
        (Fault::Crash, 1),
    ],
    states_min: 150_000,
    ..PLAIN
};
pub(crate) const F8: Scenario = Scenario {
    name: "F8 streams forgotten",
    ticks: 2,
    streams: 1,
    contexts: 1,
    faults: &[(Fault::Second, 1), (Fault::Crash, 1), (Fault::Kill, 1)],
    states_min: 500_000,
    ..PLAIN
};

pub(crate) const F9: Scenario = Scenario {
    name: "F9 restored and rolled back",
    faults: &[(Fault::Backup, 1), (Fault::Restore, 1), (Fault::Snapshot, 1), (Fault::Rollback, 1), (Fault::Evict, 1)],
    states_min: 150_000,
    ..PLAIN
};
pub(crate) const F9_COALESCE: Scenario = Scenario {
    name: "F9 restored with a full spool",
    faults: &[(Fault::Backup, 1), (Fault::Restore, 1), (Fault::Coalesce, 1), (Fault::Evict, 1), (Fault::Crash, 1)],
    states_min: 40_000,
    ..PLAIN
};
pub(crate) const F9_COUNTER: Scenario =
    Scenario { name: "F9 restored, a full spool, a counter", meter: Meter::Counter, states_min: 40_000, ..F9_COALESCE };
pub(crate) const F9_ROLLBACK: Scenario = Scenario {
    name: "F9 rolled back with a full spool",
    forgets_posts: true,
    faults: &[(Fault::Snapshot, 1), (Fault::Rollback, 1), (Fault::Coalesce, 1), (Fault::Crash, 1)],
    states_min: 300_000,
    ..PLAIN
};
pub(crate) const F2_COALESCE: Scenario = Scenario {
    name: "F2 with a full spool",
    faults: &[(Fault::Power, 1), (Fault::Coalesce, 1), (Fault::Crash, 1)],
    states_min: 200_000,
    ..PLAIN
};

pub(crate) const F1_COALESCE: Scenario = Scenario {
    name: "F1 with a full spool",
    faults: &[(Fault::Coalesce, 2), (Fault::Kill, 1), (Fault::Crash, 1), (Fault::Loss, 1)],
    states_min: 1_500_000,
    ..PLAIN
};

/// Explores a scenario, says how much there was, and fails on a violation or on an empty world.
fn holds(scenario: Scenario) {
    let report = explore(&mut World::new(scenario, Broken(&[])));
    let Report { unique, generated, depth, time, violation } = report;
    println!(
        "{:<32} {unique:>9} states {generated:>10} generated, depth {depth:>3}, {:>6.1} s",
        scenario.name,
        time.as_secs_f64()
    );
    if let Some((violation, trace)) = violation {
        panic!("{}: {}\n  {}", violation.invariant, violation.found, trace.join("\n  "));
    }
    assert!(unique >= scenario.states_min, "{unique} states are fewer than {}", scenario.states_min);
}

#[test]
fn f1_crash_and_repeat() {
    holds(F1);
}

#[test]
fn f1_with_a_counter() {
    holds(F1_COUNTER);
}

#[test]
fn f1_dated_by_the_ledger() {
    holds(F1_LIVE);
}

#[test]
fn f2_power_loss() {
    holds(F2);
}

#[test]
fn f3_backup_and_restore() {
    holds(F3);
}

#[test]
fn f4_rollback() {
    holds(F4);
}

#[test]
fn f5_clone() {
    holds(F5);
}

#[test]
fn f5_clone_and_late_posts() {
    holds(F5_LATE);
}

#[test]
fn f6_second_agent() {
    holds(F6);
}

#[test]
fn f7_store_lost() {
    holds(F7);
}

#[test]
fn f8_streams_forgotten() {
    holds(F8);
}

#[test]
fn f9_restored_and_rolled_back() {
    holds(F9);
}

#[test]
fn f1_with_a_full_spool() {
    holds(F1_COALESCE);
}

#[test]
fn f9_restored_with_a_full_spool() {
    holds(F9_COALESCE);
}

#[test]
fn f9_rolled_back_with_a_full_spool() {
    holds(F9_ROLLBACK);
}

#[test]
fn f2_with_a_full_spool() {
    holds(F2_COALESCE);
}

#[test]
fn f9_restored_with_a_full_spool_and_a_counter() {
    holds(F9_COUNTER);
}
