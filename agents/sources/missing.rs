//! Hardware of which a part went away: when to look for it anew.

/// A minute: only a driver that is loaded again or a card that is plugged in brings anything back.
const PAUSE_NS: u64 = 60_000_000_000;

/// Counts readings while something that was there is not.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Most devices that were ever found.
    most: usize,
    /// Readings since the last look, while fewer answer.
    readings: u64,
}

impl Missing {
    /// Notes what a look for hardware found.
    pub(super) fn looked(&mut self, found: usize) {
        self.most = self.most.max(found);
        self.readings = 0;
    }

    /// Notes one reading, with how many devices are there; whether to look anew before the next.
    pub(super) fn read(&mut self, there: usize, period_ns: u64) -> bool {
        if there >= self.most {
            self.readings = 0;
            return false;
        }
        self.readings += 1;
        self.readings.saturating_mul(period_ns) >= PAUSE_NS
    }

    /// Whether this reading is the first without something; to be said once.
    pub(super) fn is_news(&self) -> bool {
        self.readings == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_looked_for_once_a_minute_until_it_is_back() {
        let mut missing = Missing::default();
        missing.looked(3);
        assert!(!missing.read(3, 1_000_000_000));
        let looks = |missing: &mut Missing| (1..=300).filter(|_| missing.read(2, 1_000_000_000)).count();
        assert_eq!((1..60).filter(|_| missing.read(2, 1_000_000_000)).count(), 0, "59 s");
        assert!(missing.read(2, 1_000_000_000), "60 s");
        missing.looked(2);
        assert!(!missing.read(2, 1_000_000_000), "the minute begins anew");
        assert!(looks(&mut missing) > 0, "two of three is still one missing");
        missing.looked(3);
        assert_eq!((1..=300).filter(|_| missing.read(3, 1_000_000_000)).count(), 0);
    }
}
