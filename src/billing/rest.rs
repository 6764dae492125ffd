//! How often something that takes long may be worked out anew.

use std::time::Duration;

/// Working something out anew in the background may take this share of one core at most: 1 in 20.
const IDLE_FACTOR: u32 = 20;

/// For how long something is fresh, at `least`, that took so long to make: so that making it anew takes no more than
/// a twentieth of a core.
#[must_use]
pub fn rests(least: Duration, took: Duration) -> Duration {
    least.max(took.saturating_mul(IDLE_FACTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_rests_for_twenty_times_as_long() {
        let rests = |least, took| rests(Duration::from_millis(least), Duration::from_millis(took)).as_millis();
        assert_eq!([rests(100, 0), rests(100, 5), rests(100, 6), rests(0, 1000)], [100, 100, 120, 20_000]);
    }
}
