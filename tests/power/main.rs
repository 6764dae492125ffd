//! The power goes: what the ledger acknowledged and what a spool synced is there afterwards.
//!
//! Two ways to take the power away, neither of which needs a real plug:
//! - `shim.c`, preloaded, remembers what was written since the last `fsync` and, at a chosen operation,
//!   leaves the files as a disk without power might have kept them. It may be harsher than a real disk.
//! - `image`: the data lie on ext4 in an image file, the process is stopped, the image copied. What is
//!   not in the copy never reached the disk. Needs root.
//!
//! A few cuts each by default; `WATTLEDGER_TEST_CUTS=60 cargo test --test power -- --nocapture` for many,
//! `WATTLEDGER_TEST_SEED` for others.

#![cfg(test)]

mod agent;
mod aggregator;
mod coalescing;
mod cut;
mod fleets;
mod image;
mod senders;
mod spool;
mod victim;

#[expect(dead_code, unused_imports, reason = "shared with the stories of tests/e2e, which use all of it")]
#[path = "../harness/mod.rs"]
mod harness;

#[path = "../bounds/fleet.rs"]
mod fleet;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|why| panic!("{name}={text:?}: {why}")))
}

/// How many cuts to make.
fn cuts(short: u64) -> u64 {
    number("WATTLEDGER_TEST_CUTS").unwrap_or(short)
}

/// Where all that is drawn begins.
fn seed() -> u64 {
    number("WATTLEDGER_TEST_SEED").unwrap_or(1)
}
