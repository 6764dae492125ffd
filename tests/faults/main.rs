//! Faults inflicted on the built programs while they work: killed, stopped, cut off, without disk, robbed
//! of their files. After each the ledger is compared with what the agents read, to the microjoule, and a
//! scraper that watched `/metrics` all the time must not have seen a counter step back.
//!
//! The short form runs with all other tests. `WATTLEDGER_FAULTS=long` kills each program at least 200
//! times; `WATTLEDGER_FAULTS_SEED=N` repeats the decisions of a run that printed it.

#![cfg(test)]

mod dice;
mod disk;
mod fleet;
#[expect(dead_code, unused_imports, reason = "the stories of tests/e2e use the rest")]
#[path = "../harness/mod.rs"]
mod harness;
mod kills;
mod load;
mod loss;
mod network;
mod oracle;
mod proxy;
mod scraper;
mod stops;
