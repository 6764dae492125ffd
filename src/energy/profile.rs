//! How the energy of an interval lies in time, so that it can be split at slot borders.
//!
//! A profile is a cumulative function with integer values. Energy between two instants is always the
//! difference of two of its values, so that any cutting of an interval adds up to the whole, the rest
//! of each division falls to the later part, and a reversal takes off exactly what was booked.

use meter::{Energy, Milliwatts, Slot, Utc};

use crate::Line;

/// Energy spread over an interval of ledger time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    from: Utc,
    to: Utc,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Evenly: a counter's difference.
    Even(Energy),
    /// Along a straight line of power, scaled to the energy that the boot clock's time gives.
    Line { start: i128, end: i128, elapsed: i128 },
}

impl Profile {
    /// `energy` evenly over an interval.
    #[must_use]
    pub fn even(from: Utc, to: Utc, energy: Energy) -> Self {
        Self { from, to, shape: Shape::Even(energy) }
    }

    /// The area under a line of power; `elapsed_ns` is its length by the boot clock, which may differ
    /// from the ledger's by the slew of the date.
    #[must_use]
    pub fn line(line: &Line, elapsed_ns: u64) -> Self {
        let Line { from, to, start: Milliwatts(start), end: Milliwatts(end) } = *line;
        let shape = Shape::Line { start: start.into(), end: end.into(), elapsed: elapsed_ns.into() };
        Self { from, to, shape }
    }

    /// The energy from the beginning up to `at`.
    fn up_to(&self, at: Utc) -> i128 {
        let span = i128::from(self.to.0 - self.from.0);
        let x = i128::from(at.0 - self.from.0).clamp(0, span);
        if span == 0 {
            return 0;
        }
        match self.shape {
            // Divided first: energy × time may exceed 128 bits over the years that a counter can span.
            Shape::Even(Energy(all)) => all / span * x + (all % span * x).div_euclid(span),
            Shape::Line { start, end, elapsed } => {
                let area = 2 * start * x + ((end - start) * x * x).div_euclid(span);
                if elapsed == span { area } else { (area * elapsed).div_euclid(span) }
            }
        }
    }

    /// The energy between two instants.
    #[must_use]
    pub fn between(&self, from: Utc, to: Utc) -> Energy {
        Energy(self.up_to(to) - self.up_to(from))
    }

    /// Calls `each` with every slot that `from..to` touches, its share of the energy, and how long it
    /// is touched in nanoseconds.
    pub fn by_slot(&self, from: Utc, to: Utc, mut each: impl FnMut(Slot, Energy, u64)) {
        let mut start = from;
        while start < to {
            let slot = start.slot();
            let end = slot.end().min(to);
            each(slot, self.between(start, end), end.since(start));
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(seconds: i64) -> (Utc, Utc, Profile) {
        let (from, to) = (Utc(899_500_000_000), Utc(899_500_000_000 + seconds * 1_000_000_000));
        let line = Line { from, to, start: Milliwatts(100_000), end: Milliwatts(333_333) };
        (from, to, Profile::line(&line, to.since(from)))
    }

    #[test]
    fn any_cutting_adds_up_to_the_whole() {
        let (from, to, profile) = ramp(7);
        let whole = profile.between(from, to);
        assert_eq!(whole, Energy((100_000 + 333_333) * 7_000_000_000));
        for cut in [1, 3_333_333_333, 6_999_999_999] {
            let cut = Utc(from.0 + cut);
            assert_eq!(profile.between(from, cut) + profile.between(cut, to), whole);
        }
    }

    #[test]
    fn slots_share_an_interval_without_rest() {
        let (from, to, profile) = ramp(2000);
        let mut parts = Vec::new();
        profile.by_slot(from, to, |slot, energy, ns| parts.push((slot.0, energy, ns)));
        assert_eq!(parts.iter().map(|part| part.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(parts.iter().map(|part| part.1).sum::<Energy>(), profile.between(from, to));
        assert_eq!(parts.iter().map(|part| part.2).sum::<u64>(), 2_000_000_000_000);
    }

    #[test]
    fn half_a_second_of_a_ramp_before_the_border_is_its_trapezoid() {
        // 0 W to 8 W over 4 s: the first half second holds 0.25 J of 16 J; power there ends at 1 W.
        let (from, to) = (Utc(899_500_000_000), Utc(903_500_000_000));
        let line = Line { from, to, start: Milliwatts(0), end: Milliwatts(8000) };
        let first = Profile::line(&line, 4_000_000_000).between(from, Utc(900_000_000_000));
        assert_eq!(first, Energy::from_microjoules(250_000));
    }

    #[test]
    fn a_counter_over_years_does_not_overflow() {
        let (from, to) = (Utc(0), Utc(900_000_000_000_000_000));
        let all = Energy::from_microjoules(u64::MAX);
        let profile = Profile::even(from, to, all);
        let cut = Utc(123_456_789_012_345_678);
        assert_eq!(profile.between(from, cut) + profile.between(cut, to), all);
    }

    #[test]
    fn the_boot_clocks_length_decides_the_energy_not_the_dates() {
        let line = Line { from: Utc(0), to: Utc(10_005), start: Milliwatts(7), end: Milliwatts(7) };
        let profile = Profile::line(&line, 10_000);
        assert_eq!(profile.between(Utc(0), Utc(10_005)), Energy(140_000));
    }
}
