//! A full disk is an error and not a loss. Needs a small file system of its own: mounting one takes
//! rights that not every machine gives, then the test says that it was skipped.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use store::conformance::{host, step};
use store::{How, Opened, Outcome, Store, StoreError, open_or_restore};

/// A small file system in memory, for as long as it lives.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        fs::create_dir(at).expect("creates");
        let options = format!("size={mib}m,mode=0700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        mount.is_ok_and(|mount| mount.status.success()).then(|| Self(at.into()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn open(data: &Path) -> Result<Opened, StoreError> {
    open_or_restore(data, &data.join("exports"), 1)
}

fn versions(store: &dyn Store) -> Vec<u64> {
    let owners: Vec<_> = (0..40).map(|n| host(n).expect("a host")).collect();
    store.load(&owners).expect("loads").iter().map(|row| row.as_ref().map_or(0, |row| row.version)).collect()
}

fn commit(store: &dyn Store, version: u64) -> Result<(), StoreError> {
    let commits = (0..40).map(|n| step(&host(n).expect("a host"), version, &[3; 6_000], Some(version as i32)));
    let outcomes = store.commit(commits.collect())?;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Won));
    Ok(())
}

#[test]
fn a_full_disk_refuses_commits_and_keeps_what_was_acknowledged() {
    let root = tempfile::tempdir().expect("a directory");
    let Some(small) = Tmpfs::mount(&root.path().join("small"), 24) else {
        eprintln!("SKIPPED: this user may not mount a tmpfs");
        return;
    };
    let data = small.0.join("data");
    let store = open(&data).expect("opens").store;
    (0..3).for_each(|version| commit(&store, version).expect("commits"));
    let ballast = small.0.join("ballast");
    let mut acknowledged = 3;
    // Ten megabytes less: the log runs out within some commits.
    fs::write(&ballast, vec![0; 10 << 20]).expect("writes");
    let error = loop {
        assert!(acknowledged < 500, "the disk never filled");
        match commit(&store, acknowledged) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    eprintln!("after {acknowledged} commits: {error}");
    // Reading goes on, and never shows what was not committed.
    assert_eq!(versions(&store), [acknowledged; 40]);
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(commit(&store, acknowledged).is_err(), "it is still full");
    fs::remove_file(&ballast).expect("removes");
    // Without anybody's help.
    commit(&store, acknowledged).expect("commits once there is room");
    assert_eq!(versions(&store), [acknowledged + 1; 40]);
    drop(store);
    let opened = open(&data).expect("opens");
    assert_eq!((opened.how, versions(&opened.store)), (How::Existing, vec![acknowledged + 1; 40]));
}

#[test]
fn a_disk_too_full_to_open_on_is_not_taken_for_damage() {
    let root = tempfile::tempdir().expect("a directory");
    let Some(small) = Tmpfs::mount(&root.path().join("small"), 4) else {
        eprintln!("SKIPPED: this user may not mount a tmpfs");
        return;
    };
    let data = small.0.join("data");
    let store = open(&data).expect("opens").store;
    commit(&store, 0).expect("commits");
    drop(store);
    let ballast = small.0.join("ballast");
    let mut room = 4 << 20;
    while room > 0 {
        // The last page counts too.
        let _ = fs::write(small.0.join(format!("ballast-{room}")), vec![0; room]);
        room /= 2;
    }
    if let Ok(opened) = open(&data) {
        assert_eq!((opened.how, versions(&opened.store)), (How::Existing, vec![1; 40]));
    }
    assert!(
        !fs::read_dir(&data)
            .expect("reads")
            .any(|entry| { entry.expect("an entry").file_name().to_string_lossy().starts_with("quarantine") })
    );
    for entry in fs::read_dir(&small.0).expect("reads").flatten() {
        if entry.file_name().to_string_lossy().starts_with("ballast") {
            fs::remove_file(entry.path()).expect("removes");
        }
    }
    assert!(!ballast.exists());
    let opened = open(&data).expect("opens");
    assert_eq!((opened.how, versions(&opened.store)), (How::Existing, vec![1; 40]));
}
