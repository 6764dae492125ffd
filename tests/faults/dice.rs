//! Random decisions that a printed seed repeats, as far as the machine plays along.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A generator of decisions (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Seeded by `WATTLEDGER_FAULTS_SEED`, else by chance; says by what.
    pub(crate) fn new(story: &str) -> Self {
        let given = std::env::var("WATTLEDGER_FAULTS_SEED").ok();
        let seed = match given {
            Some(text) => text.parse().unwrap_or_else(|why| panic!("WATTLEDGER_FAULTS_SEED={text}: {why}")),
            None => RandomState::new().hash_one(story),
        };
        println!("{story}: WATTLEDGER_FAULTS_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    /// A time below so many milliseconds.
    pub(crate) fn pause(&mut self, below_ms: u64) -> Duration {
        Duration::from_micros(self.below(below_ms * 1000))
    }
}

/// So many in the short form, and in the long one, which is asked for by `WATTLEDGER_FAULTS=long`.
pub(crate) fn times(short: usize, long: usize) -> usize {
    match std::env::var("WATTLEDGER_FAULTS").as_deref() {
        Err(_) | Ok("" | "short") => short,
        Ok("long") => long,
        Ok(other) => panic!("WATTLEDGER_FAULTS={other}: it is short or long"),
    }
}
