//! Levels slot by slot, and what of two of them can be compared.

use std::collections::BTreeMap;
use std::ops::Range;

use meter::{ByQuality, Energy, Quality, SECOND_NS, SLOT_NS, Slot};
use rust_decimal::Decimal;

use super::{LeftOut, LevelFigures, Place, Step, judged, kwh, seconds, times};
use crate::statement::Edges;

/// Mean covered times that differ by less are the same: readings this far apart still join.
pub const SLACK_MIN_NS: u64 = 10 * SECOND_NS as u64;
/// Mean covered times that differ by more are not the same, whatever the tolerance: a tenth of a slot.
pub const SLACK_MAX_NS: u64 = SLOT_NS as u64 / 10;

/// What the meters of one level showed in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The energy, by quality.
    pub energy: ByQuality,
    /// For how long it was covered, in nanoseconds, added up over the members.
    pub covered_ns: u64,
    /// How many meters, or hosts, there should be readings of.
    pub members: u64,
}

/// One level, slot by slot.
#[derive(Clone, Debug, Default)]
pub struct Level {
    slots: BTreeMap<Slot, Seen>,
}

impl Level {
    /// Adds what a member showed in a slot.
    pub fn add(&mut self, slot: Slot, energy: ByQuality, covered_ns: u64) {
        let seen = self.slots.entry(slot).or_default();
        seen.energy += energy;
        seen.covered_ns += covered_ns;
    }

    /// Notes that there should be readings of `members` more in these slots.
    pub fn count_members(&mut self, slots: Range<Slot>, members: u64) {
        for slot in (slots.start.0..slots.end.0).map(Slot) {
            self.slots.entry(slot).or_default().members += members;
        }
    }

    /// Whether it was never read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.values().all(|seen| seen.covered_ns == 0 && seen.energy == ByQuality::default())
    }

    /// All that it showed.
    #[must_use]
    pub fn energy(&self) -> ByQuality {
        let mut all = ByQuality::default();
        self.slots.values().for_each(|seen| all += seen.energy);
        all
    }

    /// The level as it is told.
    #[must_use]
    pub fn figures(&self, level: Place) -> LevelFigures {
        let energy = self.energy();
        let read = || self.slots.iter().filter(|(_, seen)| seen.covered_ns > 0).map(|(slot, _)| *slot);
        let edges = |first: Slot, last: Slot| Edges { start: first.start(), end: last.end() };
        let covered: u128 = self.slots.values().map(|seen| u128::from(seen.covered_ns)).sum();
        let expected: u128 = self.slots.values().map(|seen| u128::from(seen.members) * SLOT_NS as u128).sum();
        LevelFigures {
            level,
            members: self.slots.values().map(|seen| seen.members).max().unwrap_or(0),
            energy_uj: energy.total().microjoules(),
            energy_kwh: kwh(energy.total().microjoules()),
            estimated_kwh: kwh(energy[Quality::Estimated].microjoules()),
            covered_seconds: seconds(covered),
            expected_seconds: seconds(expected),
            read: read().next().zip(read().next_back()).map(|(first, last)| edges(first, last)),
        }
    }
}

impl Seen {
    /// The covered time per member.
    fn mean_ns(&self) -> u64 {
        self.covered_ns / self.members.max(1)
    }
}

/// What a slot of two levels is worth.
enum Worth {
    Nothing,
    Whole,
    Partial,
    LeftOut,
}

fn worth(upper: &Seen, lower: &Seen, slack_ns: u64) -> Worth {
    let (upper_ns, lower_ns) = (upper.mean_ns(), lower.mean_ns());
    match (upper_ns, lower_ns) {
        (0, 0) if upper.energy == lower.energy => Worth::Nothing,
        (0, _) | (_, 0) => Worth::LeftOut,
        _ if upper_ns.abs_diff(lower_ns) > slack_ns => Worth::LeftOut,
        _ if upper_ns.min(lower_ns).saturating_add(slack_ns) < SLOT_NS as u64 => Worth::Partial,
        _ => Worth::Whole,
    }
}

/// The slots of two levels that can be compared, and what is left out.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// The slots.
    pub slots: Vec<Slot>,
    /// Of them, those that both saw for the same part only.
    pub partial: u64,
    upper: Energy,
    lower: Energy,
    left_out: LeftOut,
}

/// Finds what two levels both saw. `tolerance` is a share.
#[must_use]
pub fn common(upper: &Level, lower: &Level, tolerance: Decimal) -> Common {
    let share = (tolerance * Decimal::from(SLOT_NS)).round();
    let slack_ns = u64::try_from(share).unwrap_or(SLACK_MAX_NS).clamp(SLACK_MIN_NS, SLACK_MAX_NS);
    let mut common = Common::default();
    let (mut upper_out, mut lower_out) = (Energy::ZERO, Energy::ZERO);
    let slots: std::collections::BTreeSet<&Slot> = upper.slots.keys().chain(lower.slots.keys()).collect();
    for &slot in slots {
        let of = |level: &Level| level.slots.get(&slot).copied().unwrap_or_default();
        let (outer, inner) = (of(upper), of(lower));
        match worth(&outer, &inner, slack_ns) {
            Worth::Nothing => continue,
            Worth::LeftOut => {
                common.left_out.slots += 1;
                upper_out += outer.energy.total();
                lower_out += inner.energy.total();
                continue;
            }
            Worth::Partial => common.partial += 1,
            Worth::Whole => {}
        }
        common.slots.push(slot);
        common.upper += outer.energy.total();
        common.lower += inner.energy.total();
    }
    common.left_out.upper_kwh = kwh(upper_out.microjoules());
    common.left_out.lower_kwh = kwh(lower_out.microjoules());
    common
}

impl Common {
    /// The comparison of `upper` and `lower`, whose ratio should be `factor`.
    #[must_use]
    pub fn step(&self, (upper, lower): (Place, Place), factor: Decimal, tolerance: Decimal) -> Step {
        let (upper_uj, lower_uj) = (self.upper.microjoules(), self.lower.microjoules());
        let mut step = Step::new(upper, lower, upper_uj, lower_uj);
        step.slots = self.slots.len() as u64;
        step.partial_slots = self.partial;
        step.left_out = self.left_out;
        step.expected_uj = times(lower_uj, factor);
        if self.slots.is_empty() {
            step.why = format!("there is no quarter of an hour that {} and {} both cover", upper.word(), lower.word());
            return step;
        }
        (step.verdict, step.why) = judged(upper_uj, step.expected_uj, tolerance);
        if factor != Decimal::ONE {
            step.why += &format!(", {} times the PUE {}", lower.word(), factor.normalize());
        }
        step
    }
}
