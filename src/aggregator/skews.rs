//! Senders whose wall clocks differ from the aggregator's: said once each and counted, for somebody is
//! wrong. Energy does not depend on it; the dates of boots do that are first heard of meanwhile.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use meter::{Owner, SECOND_NS, Utc};

/// Clocks that are set by NTP differ by far less, and a post under way is not that old.
const SKEW_MAX_NS: u64 = 30 * SECOND_NS.unsigned_abs();
/// Senders remembered; who invents names must not fill the memory.
const SENDERS_MAX: usize = 10_000;

/// The senders whose clocks differ now.
#[derive(Debug, Default)]
pub struct Skews(Mutex<HashSet<Owner>>);

impl Skews {
    /// Notes what a sender's wall clock showed when it sent.
    pub fn note(&self, sender: &Owner, wall_ns: i64, now: Utc) {
        let ahead_ns = wall_ns.saturating_sub(now.0);
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead_ns.unsigned_abs() <= SKEW_MAX_NS {
            if senders.remove(sender) {
                tracing::info!("the clocks of {sender} and of this aggregator agree again");
            }
        } else if senders.len() < SENDERS_MAX && senders.insert(sender.clone()) {
            let seconds = ahead_ns / SECOND_NS;
            tracing::warn!(
                "the clock of {sender} is {seconds} s ahead of this aggregator's: set the one that is wrong"
            );
        }
    }

    /// How many senders' clocks differ.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_half_a_minute_are_counted_until_they_agree() {
        let (skews, now) = (Skews::default(), Utc(1_000_000 * SECOND_NS));
        let [one, other] = ["one", "other"].map(|name| Owner::host(name).expect("a good name"));
        for (seconds, count) in [(0, 0), (30, 0), (31, 1), (-3 * 86_400, 1), (-30, 0), (-31, 1)] {
            skews.note(&one, now.0 + seconds * SECOND_NS, now);
            assert_eq!(skews.count(), count, "{seconds} s");
        }
        skews.note(&other, i64::MIN, now);
        assert_eq!(skews.count(), 2);
    }
}
