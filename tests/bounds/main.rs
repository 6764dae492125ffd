//! Memory and disk stay bounded however long aggregator and agent run, whatever the clock says.
//!
//! An hour of a fleet of 10,000 devices by default; `WATTLEDGER_TEST_COMMITS=8640 cargo test --test bounds
//! -- --nocapture` for a day of it.

#![cfg(test)]

mod aggregator;
#[expect(dead_code, reason = "tests/power uses the rest")]
mod fleet;
mod spool;

#[expect(dead_code, unused_imports, reason = "shared with the stories of tests/e2e, which use all of it")]
#[path = "../harness/mod.rs"]
mod harness;

use std::path::Path;

/// Bytes of all files in a folder.
fn disk_bytes(folder: &Path) -> u64 {
    let size = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        if path.is_dir() { disk_bytes(&path) } else { path.metadata().map_or(0, |found| found.len()) }
    };
    std::fs::read_dir(folder).expect("a folder").map(size).sum()
}

/// Resident memory of a process in bytes.
fn resident_bytes(process: &str) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).expect("a process");
    statm.split(' ').nth(1).expect("resident").parse::<u64>().expect("a number") * 4096
}
