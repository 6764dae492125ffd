//! Fractions of energy in whole numbers.

use meter::{ByQuality, Energy};

/// A fraction of nanoseconds.
pub(super) struct Share {
    pub(super) part: u64,
    pub(super) whole: u64,
}

impl Share {
    /// The fraction of an amount, rounded down. A slot's nanoseconds and a megawatt fit 128 bits
    /// together; division comes first for whatever else is handed in.
    pub(super) fn of(&self, Energy(all): Energy) -> Energy {
        let (part, whole) = (i128::from(self.part), i128::from(self.whole.max(1)));
        Energy(all.div_euclid(whole) * part + (all.rem_euclid(whole) * part).div_euclid(whole))
    }
}

/// The part of energy that falls on `part` of `whole` nanoseconds, each quality rounded down.
#[must_use]
pub fn part_of(energy: &ByQuality, part: u64, whole: u64) -> ByQuality {
    let share = Share { part, whole };
    ByQuality(energy.0.map(|energy| share.of(energy)))
}

/// Splits energy by weights, one after the other, such that the shares add up to it exactly: each is the
/// difference of two rounded sums, so nothing is lost between them.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    whole: i128,
    before: i128,
    is_even: bool,
}

impl Split {
    /// By these weights; evenly where none is positive.
    #[must_use]
    pub fn by(weights: impl Iterator<Item = Energy> + Clone) -> Self {
        let whole = weights.clone().map(weight_of).sum();
        if whole > 0 {
            return Self { whole, before: 0, is_even: false };
        }
        Self { whole: weights.map(|_| 1).sum(), before: 0, is_even: true }
    }

    /// Whether the shares are even, because nobody has a weight.
    #[must_use]
    pub const fn is_even(&self) -> bool {
        self.is_even
    }

    /// The share of the next weight.
    pub fn next(&mut self, energy: &ByQuality, weight: Energy) -> ByQuality {
        let after = self.before + if self.is_even { 1 } else { weight_of(weight) };
        let whole = self.whole.max(1);
        let part =
            |Energy(all): Energy| Energy((all * after).div_euclid(whole) - (all * self.before).div_euclid(whole));
        let share = ByQuality(energy.0.map(part));
        self.before = after;
        share
    }
}

/// In whole millijoules: a megawatt for a slot squared would not fit 128 bits otherwise.
fn weight_of(weight: Energy) -> i128 {
    (weight.microjoules() / 1000).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: [i128; 3]) -> ByQuality {
        ByQuality(parts.map(Energy))
    }

    fn split(energy: &ByQuality, weights: &[Energy]) -> Vec<ByQuality> {
        let mut split = Split::by(weights.iter().copied());
        weights.iter().map(|weight| split.next(energy, *weight)).collect()
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
        assert_eq!(split(&of([0, 10, 0]), &[Energy::ZERO, -Energy(7)]), [of([0, 5, 0]), of([0, 5, 0])]);
        assert!(split(&of([1, 0, 0]), &[]).is_empty());
        assert!(Split::by([Energy::ZERO].into_iter()).is_even());
    }

    #[test]
    fn a_fraction_of_time_is_rounded_down() {
        let third = Share { part: 300, whole: 900 };
        assert_eq!(
            (third.of(Energy(10)), third.of(Energy(-10)), third.of(Energy(0))),
            (Energy(3), Energy(-4), Energy(0))
        );
    }
}
