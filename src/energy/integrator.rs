//! The energy between two readings of one account.
//!
//! Pure arithmetic on two [`Edge`]s: nothing here knows coverage, slots or registers.

use meter::{Energy, Milliwatts, SECOND_NS};

use crate::Edge;
use crate::policy::Rules;

/// What two neighbouring readings say of the time between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// The difference of the hardware counter.
    Counter(Energy),
    /// The trapezoid of two powers.
    Power(Energy),
    /// Nothing: a hole. `broken` if the counter restarted in between, so that not even an estimate
    /// is justified (the device may have been off).
    Hole {
        /// Whether the counter restarted.
        broken: bool,
    },
    /// The counter moved further than the device could have drawn.
    Jump,
}

/// Counters are published in steps (NVML every 20–100 ms): an interval below a second may hold a step
/// more than its length tells.
const COUNTER_STEP_NS: u64 = 100_000_000;
const SECOND: u64 = SECOND_NS as u64;
/// No boot lasts for longer: a difference over more is of wrong dates, and would be spread over each of
/// their slots.
const BRIDGE_MAX_NS: u64 = 400 * 86_400 * SECOND;

/// Joins two readings; `to` is later than `from`.
#[must_use]
pub fn join(from: &Edge, to: &Edge, rules: &Rules) -> Joint {
    let elapsed = elapsed_ns(from, to);
    match (from.counter, to.counter) {
        (Some(before), Some(after)) if before.epoch == after.epoch && elapsed <= BRIDGE_MAX_NS => {
            match difference(before.value.0, after.value.0, elapsed, rules) {
                Difference::Energy(energy) => return Joint::Counter(energy),
                Difference::Jump => return Joint::Jump,
                Difference::Reset => return Joint::Hole { broken: true },
                Difference::Ambiguous => {}
            }
        }
        (Some(_), Some(_)) => return Joint::Hole { broken: true },
        _ => {}
    }
    trapezoid(from, to, elapsed, rules).map_or(Joint::Hole { broken: false }, Joint::Power)
}

/// The trapezoid of two powers, if both were read and are near enough.
#[must_use]
pub fn trapezoid(from: &Edge, to: &Edge, elapsed: u64, rules: &Rules) -> Option<Energy> {
    let (Some(Milliwatts(start)), Some(Milliwatts(end))) = (from.power, to.power) else { return None };
    // Twice the area in mW·ns is the area in half picojoules: whole for any instants.
    (elapsed <= rules.join_limit_ns).then(|| Energy::of_power_sum(start + end, elapsed))
}

/// Nanoseconds between two readings: by their common boot clock, which no clock step bends, else by
/// ledger time.
#[must_use]
pub fn elapsed_ns(from: &Edge, to: &Edge) -> u64 {
    let dated = to.at.since(from.at);
    let same_boot = from.boot == to.boot && to.mono > from.mono;
    let counted = if same_boot { to.mono - from.mono } else { dated };
    // Dates are slewed by at most 500 ppm. If they differ by more, the boot was dated anew and its
    // clock is no measure for this interval.
    if counted.abs_diff(dated) <= dated / 100 + SECOND { counted } else { dated }
}

enum Difference {
    Energy(Energy),
    /// The counter fell and declares no modulus.
    Reset,
    /// It may have wrapped more than once: not guessed.
    Ambiguous,
    Jump,
}

fn difference(before: u64, after: u64, elapsed: u64, rules: &Rules) -> Difference {
    let moved = match rules.modulus {
        Some(modulus) if before.max(after) > modulus => return Difference::Jump,
        Some(modulus) if Energy::of_constant(rules.ceiling, elapsed) >= Energy::from_microjoules(modulus) => {
            return Difference::Ambiguous;
        }
        Some(modulus) if after < before => modulus - before + after,
        None if after < before => return Difference::Reset,
        _ => after - before,
    };
    let energy = Energy::from_microjoules(moved);
    if energy > most(rules, elapsed) { Difference::Jump } else { Difference::Energy(energy) }
}

/// The most energy that a device can have used in `elapsed` nanoseconds, as its counter shows it.
pub(crate) fn most(rules: &Rules, elapsed: u64) -> Energy {
    let step = if elapsed < SECOND { COUNTER_STEP_NS } else { 0 };
    Energy::of_constant(rules.ceiling, elapsed.saturating_add(step))
}

#[cfg(test)]
mod tests {
    use meter::{Microjoules, Utc};

    use super::*;
    use crate::Count;

    const RULES: Rules = Rules {
        period_ns: 1_000_000_000,
        join_limit_ns: 10_000_000_000,
        ceiling: Milliwatts(3_000_000),
        modulus: None,
    };

    fn edge(second: u64, watts: Option<u64>, joules: Option<u64>) -> Edge {
        let mono = second * 1_000_000_000;
        Edge {
            at: Utc(mono as i64),
            mono,
            boot: 0,
            power: watts.map(|w| Milliwatts(w * 1000)),
            counter: joules.map(|j| Count { value: Microjoules(j * 1_000_000), epoch: 1 }),
        }
    }

    fn joules(joules: u64) -> Energy {
        Energy::from_microjoules(joules * 1_000_000)
    }

    #[test]
    fn power_is_a_trapezoid_up_to_the_limit_and_nothing_beyond() {
        assert_eq!(join(&edge(0, Some(100), None), &edge(5, Some(300), None), &RULES), Joint::Power(joules(1000)));
        assert_eq!(join(&edge(0, Some(100), None), &edge(10, Some(100), None), &RULES), Joint::Power(joules(1000)));
        assert_eq!(join(&edge(0, Some(100), None), &edge(11, Some(100), None), &RULES), Joint::Hole { broken: false });
    }

    #[test]
    fn a_counter_of_one_epoch_bridges_any_gap_exactly() {
        let rules = RULES;
        let hours = 8 * 3600;
        assert_eq!(
            join(&edge(0, Some(700), Some(5)), &edge(hours, Some(50), Some(1_000_005)), &rules),
            Joint::Counter(joules(1_000_000))
        );
    }

    #[test]
    fn a_fall_without_a_modulus_is_a_reset_and_books_nothing() {
        assert_eq!(
            join(&edge(0, Some(9), Some(500)), &edge(1, Some(9), Some(3)), &RULES),
            Joint::Hole { broken: true }
        );
    }

    #[test]
    fn a_fall_with_a_modulus_is_one_wrap_if_two_are_impossible() {
        let rules = Rules { modulus: Some(65_532_610_987), ceiling: Milliwatts(2_000_000), ..RULES };
        let uj = |value| Some(Count { value: Microjoules(value), epoch: 1 });
        let from = Edge { counter: uj(65_532_000_000), ..edge(0, None, None) };
        let to = Edge { counter: uj(5_389_013), ..edge(15, None, None) };
        // 610 987 µJ to the wrap and 5 389 013 µJ after it.
        assert_eq!(join(&from, &to, &rules), Joint::Counter(Energy::from_microjoules(6_000_000)));
        let late = Edge { counter: uj(5_389_013), ..edge(400, None, None) };
        assert_eq!(join(&from, &late, &rules), Joint::Hole { broken: false }, "two wraps would fit into 400 s");
    }

    #[test]
    fn a_jump_beyond_what_the_device_can_draw_is_not_believed() {
        assert_eq!(
            join(&edge(0, None, Some(0)), &edge(10, None, Some(30_000)), &RULES),
            Joint::Counter(joules(30_000))
        );
        assert_eq!(join(&edge(0, None, Some(0)), &edge(10, None, Some(30_001)), &RULES), Joint::Jump);
    }

    #[test]
    fn another_epoch_is_another_counter() {
        let to = Edge { counter: Some(Count { value: Microjoules(9_000_000), epoch: 2 }), ..edge(1, Some(5), None) };
        assert_eq!(join(&edge(0, Some(5), Some(8)), &to, &RULES), Joint::Hole { broken: true });
    }

    #[test]
    fn a_counter_bridges_no_more_than_a_boot_can_last() {
        let days = |days: u64| edge(days * 86_400, None, Some(days));
        assert_eq!(join(&days(0), &days(400), &RULES), Joint::Counter(joules(400)));
        assert_eq!(join(&days(0), &days(401), &RULES), Joint::Hole { broken: true });
    }

    #[test]
    fn elapsed_time_is_the_boot_clocks_own() {
        let from = Edge { boot: 7, mono: 1_000, ..edge(0, Some(1), None) };
        let slewed = Edge { boot: 7, mono: 60_000_001_000, at: Utc(60_030_000_000), ..edge(0, Some(1), None) };
        assert_eq!(elapsed_ns(&from, &slewed), 60_000_000_000);
        assert_eq!(elapsed_ns(&from, &Edge { boot: 8, ..slewed }), 60_030_000_000, "another boot, another clock");
        let dated_anew = Edge { at: Utc(3_600_000_000_000), ..slewed };
        assert_eq!(elapsed_ns(&from, &dated_anew), 3_600_000_000_000);
    }
}
