//! Memory and disk stay bounded however long the store runs.
//!
//! Two measurements in one test, one after the other: resident memory belongs to the process.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]
#![expect(clippy::print_stderr, reason = "the figures are worth seeing also where the test passes")]

use std::fs;
use std::path::Path;

use store::conformance::host;
use store::{OwnerCommit, SledStore, Store, open_or_restore};

/// Resident memory in MiB.
fn resident_mib() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("reads");
    statm.split(' ').nth(1).expect("resident").parse::<u64>().expect("a number") / 256
}

/// Bytes on disk in MiB.
fn disk_mib(directory: &Path) -> u64 {
    let size = |entry: fs::DirEntry| {
        let found = entry.metadata().expect("is there");
        if found.is_dir() { disk_mib(&entry.path()) } else { found.len() >> 20 }
    };
    fs::read_dir(directory).expect("reads").map(|entry| size(entry.expect("an entry"))).sum()
}

fn open(data: &Path) -> SledStore {
    open_or_restore(data, &data.join("exports"), 1).expect("opens").store
}

#[test]
fn memory_and_disk_are_bounded() {
    let root = tempfile::tempdir().expect("a directory");
    many_commits_of_ten_thousand_small_owners(&root.path().join("rows"));
    commits_of_ten_thousand_values(&root.path().join("history"));
}

fn many_commits_of_ten_thousand_small_owners(data: &Path) {
    let store = open(data);
    let owners: Vec<_> = (0..10_000).map(|n| host(n).expect("a host")).collect();
    let commit = |version: u64| {
        let commit = |owner: &meter::Owner| OwnerCommit {
            owner: owner.clone(),
            expect: version,
            next: version + 1,
            row: vec![version as u8; 40],
            history: Vec::new(),
            documents: Vec::new(),
        };
        store.commit(owners.iter().map(commit).collect()).expect("commits");
    };
    (0..30).for_each(commit);
    let (memory, disk) = (resident_mib(), disk_mib(data));
    (30..130).for_each(commit);
    let (memory_after, disk_after) = (resident_mib(), disk_mib(data));
    eprintln!("rows: {memory} to {memory_after} MiB resident, {disk} to {disk_after} MiB on disk");
    // A commit is 0.7 MB; sled keeps some dead log around.
    assert!(memory_after < memory + 40, "memory grew from {memory} to {memory_after} MiB in 100 commits");
    assert!(disk_after < 60, "{disk_after} MiB on disk for 0.7 MB of rows");
}

/// A long import: one owner, 10,000 hours in one commit, each a value of its own. Without driving
/// crossbeam's epochs each such commit leaks.
fn commits_of_ten_thousand_values(data: &Path) {
    let store = open(data);
    let commit = |version: u64| {
        let history = (0..10_000).map(|hour| (hour, vec![1; 20])).collect();
        let owner = host(1).expect("a host");
        let commit =
            OwnerCommit { owner, expect: version, next: version + 1, row: vec![1; 40], history, documents: vec![] };
        store.commit(vec![commit]).expect("commits");
    };
    (0..5).for_each(commit);
    let memory = resident_mib();
    (5..35).for_each(commit);
    let memory_after = resident_mib();
    eprintln!("history: {memory} to {memory_after} MiB resident, {} MiB on disk", disk_mib(data));
    assert!(memory_after < memory + 200, "memory grew from {memory} to {memory_after} MiB in 30 commits");
}
