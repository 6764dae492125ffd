//! Instants on the ledger's axis and the 15-minute slots that energy is kept in.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// An instant of ledger time: nanoseconds since the Unix epoch, UTC, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Utc(pub i64);

/// A quarter of an hour in nanoseconds: the grain that prices every tariff in use (European
/// day-ahead prices and demand charges are both per 15 minutes).
pub const SLOT_NS: i64 = 900_000_000_000;

/// Nanoseconds in a second.
pub const SECOND_NS: i64 = 1_000_000_000;

/// A 15-minute slot of UTC, by its number since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub i32);

impl Utc {
    /// The instant `ms` milliseconds after the Unix epoch, or nothing if it lies outside ±292 years.
    #[must_use]
    pub fn from_ms(ms: i64) -> Option<Self> {
        ms.checked_mul(1_000_000).map(Self)
    }

    /// The slot that holds this instant.
    #[must_use]
    pub fn slot(self) -> Slot {
        // ±292 years are ±10.3 million slots: an i32 holds them.
        Slot(i32::try_from(self.0.div_euclid(SLOT_NS)).unwrap_or(i32::MAX))
    }

    /// Nanoseconds from `earlier` to here; zero where `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl Slot {
    /// Where the slot begins.
    #[must_use]
    pub const fn start(self) -> Utc {
        Utc(self.0 as i64 * SLOT_NS)
    }

    /// Where the slot ends, exclusive.
    #[must_use]
    pub const fn end(self) -> Utc {
        Utc((self.0 as i64 + 1) * SLOT_NS)
    }

    /// The next slot.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The hour (since the Unix epoch) that holds this slot, and the slot's quarter in it.
    #[must_use]
    pub const fn hour(self) -> (i32, usize) {
        (self.0.div_euclid(4), self.0.rem_euclid(4) as usize)
    }
}

/// For how long two spans of time overlap, in nanoseconds.
#[must_use]
pub fn overlap_ns(a: &Range<Utc>, b: &Range<Utc>) -> u64 {
    a.end.min(b.end).since(a.start.max(b.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_overlap_where_both_are() {
        let span = |from, until| Utc(from)..Utc(until);
        for (a, b, expected) in [
            (span(0, 10), span(5, 20), 5),
            (span(0, 10), span(2, 4), 2),
            (span(0, 10), span(10, 20), 0),
            (span(0, 10), span(30, 40), 0),
            (span(i64::MIN, i64::MAX), span(-1, 1), 2),
        ] {
            assert_eq!((overlap_ns(&a, &b), overlap_ns(&b, &a)), (expected, expected), "{a:?} {b:?}");
        }
    }

    #[test]
    fn slots_tile_time_also_before_1970() {
        for ns in [0, 1, SLOT_NS - 1, SLOT_NS, -1, -SLOT_NS, 1_793_491_200_000_000_000] {
            let slot = Utc(ns).slot();
            assert!(slot.start() <= Utc(ns) && Utc(ns) < slot.end(), "{ns}");
            assert_eq!(slot.end(), slot.next().start());
            let (hour, quarter) = slot.hour();
            assert_eq!(hour * 4 + quarter as i32, slot.0);
        }
    }
}
