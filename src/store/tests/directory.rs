//! Who may open a data directory, and what becomes of one that is lost or damaged.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use store::conformance::{host, step};
use store::{How, ImageItem, Opened, Outcome, Store, StoreError, export_to, exports_in, import, open_or_restore};

fn open(data: &Path, now_ms: u64) -> Result<Opened, StoreError> {
    open_or_restore(data, &data.join("exports"), now_ms)
}

/// A store with two commits of 50 owners, a document and an export of all that; then one commit more.
fn filled(data: &Path) -> PathBuf {
    let store = open(data, 1_000).expect("opens").store;
    commit(&store, 0);
    commit(&store, 1);
    store.put_document("inventory", b"n1,team=nlp").expect("puts");
    let export = export_to(&store, &data.join("exports"), 3).expect("exports");
    commit(&store, 2);
    export
}

fn commit(store: &dyn Store, version: u64) {
    let commits = (0..50).map(|n| step(&host(n).expect("a host"), version, &[n as u8; 700], Some(version as i32)));
    let outcomes = store.commit(commits.collect()).expect("commits");
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Won));
}

fn image(store: &dyn Store) -> Vec<String> {
    let mut items = Vec::new();
    store
        .image(&mut |item: ImageItem| {
            items.push(format!("{item:?}"));
            Ok(())
        })
        .expect("an image");
    items.sort_unstable();
    items
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("is there").permissions().mode() & 0o7777
}

fn versions(store: &dyn Store) -> Vec<u64> {
    let owners: Vec<_> = (0..50).map(|n| host(n).expect("a host")).collect();
    store.load(&owners).expect("loads").into_iter().map(|row| row.map_or(0, |row| row.version)).collect()
}

#[test]
fn a_reopened_store_is_the_same() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    let opened = open(&data, 77).expect("opens");
    assert_eq!(opened.how, How::Fresh);
    let identity = opened.store.identity();
    assert_eq!(identity.generation, 77);
    // Enough commits that partitions were rewritten, with rows of very different sizes.
    for version in 0..60 {
        let commits =
            (0..40).map(|n| step(&host(n).expect("a host"), version, &vec![version as u8; 37 * n * n], Some(1)));
        opened.store.commit(commits.collect()).expect("commits");
    }
    opened.store.put_document("rates", &[5; 40_000]).expect("puts");
    let (before, number) = (image(&opened.store), opened.store.commit_number());
    drop(opened);
    let opened = open(&data, 99).expect("opens again");
    assert_eq!((opened.how, opened.store.identity()), (How::Existing, identity));
    assert_eq!((opened.store.commit_number(), image(&opened.store) == before), (number, true));
    assert_eq!(fs::read_dir(data.join("ledger/blobs")).expect("blobs").count(), 0, "no value may become a file");
    let other = open(&root.path().join("other"), 77).expect("opens").store;
    assert_ne!(other.identity().ledger, identity.ledger);
}

#[test]
fn a_second_process_is_refused_by_name() {
    let root = tempfile::tempdir().expect("a directory");
    let first = open(root.path(), 1).expect("opens");
    let Err(error) = open(root.path(), 1) else { panic!("two writers") };
    assert!(matches!(error, StoreError::Locked(_)));
    let text = error.to_string();
    assert!(text.contains(&root.path().display().to_string()) && text.contains("stop that one"), "{text}");
    drop(first);
    assert!(open(root.path(), 1).is_ok());
}

#[test]
fn links_are_refused_wherever_they_are() {
    let root = tempfile::tempdir().expect("a directory");
    let target = root.path().join("target");
    fs::create_dir(&target).expect("creates");
    let unsafe_at = |data: &Path, named: &Path| {
        let Err(error) = open(data, 1) else { panic!("{} was followed", named.display()) };
        assert!(matches!(&error, StoreError::Unsafe { path, .. } if path == named), "{error}");
    };
    let linked = root.path().join("linked");
    symlink(&target, &linked).expect("links");
    unsafe_at(&linked, &linked);
    for name in ["lock", "ledger", "exports"] {
        let data = root.path().join(format!("with-{name}"));
        fs::create_dir(&data).expect("creates");
        symlink(&target, data.join(name)).expect("links");
        unsafe_at(&data, &data.join(name));
    }
    let data = root.path().join("inner");
    drop(open(&data, 1).expect("opens"));
    fs::rename(data.join("ledger/db"), root.path().join("db")).expect("renames");
    symlink(root.path().join("db"), data.join("ledger/db")).expect("links");
    unsafe_at(&data, &data.join("ledger/db"));
    assert_eq!(fs::read_dir(&target).expect("reads").count(), 0, "nothing was written through a link");
}

#[test]
fn a_directory_that_everybody_may_write_to_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    fs::set_permissions(root.path(), Permissions::from_mode(0o777)).expect("sets");
    let Err(error) = open(root.path(), 1) else { panic!("it was accepted") };
    assert!(error.to_string().contains("everybody may write"), "{error}");
    let file = root.path().join("file");
    File::create(&file).expect("creates");
    assert!(matches!(open(&file, 1), Err(StoreError::Unsafe { .. })));
}

#[test]
fn what_others_could_read_is_tightened() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    filled(&data);
    let ours = ["", "lock", "ledger", "ledger/db", "ledger/conf", "ledger/blobs", "exports"];
    for name in ours {
        let loose = if data.join(name).is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(data.join(name), Permissions::from_mode(loose)).expect("sets");
    }
    let opened = open(&data, 1).expect("opens");
    export_to(&opened.store, &data.join("exports"), 3).expect("exports");
    for name in ours {
        let path = data.join(name);
        assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    for export in exports_in(&data.join("exports")).expect("lists") {
        assert_eq!(mode(&export), 0o600);
    }
}

#[test]
fn a_truncated_database_is_noticed_and_restored() {
    let mut set_aside = 0;
    for eighth in 0..8 {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("data");
        let export = filled(&data);
        let db = OpenOptions::new().write(true).open(data.join("ledger/db")).expect("opens");
        db.set_len(db.metadata().expect("is there").len() * eighth / 8).expect("cuts");
        drop(db);
        let opened = open(&data, 5_000).expect("opens all the same");
        let How::Restored { from, quarantined, why } = opened.how else {
            assert_eq!((opened.how, versions(&opened.store)), (How::Existing, vec![3; 50]), "cut at {eighth}/8");
            continue;
        };
        // A cut may leave a sound database of an older commit; if that is the exported one, it stays.
        let aside = data.join("quarantine-0000000005000");
        let stepped_back = (Some(data.join("ledger")), None);
        let restored = (Some(export), Some(aside.clone()));
        let found = (from, quarantined);
        assert!(found == stepped_back || found == restored && aside.is_dir(), "{eighth}/8: {found:?} {why:?}");
        set_aside += usize::from(found == restored);
        assert_eq!(opened.store.identity().generation, 5_000);
        assert_eq!(versions(&opened.store), [2; 50]);
        commit(&opened.store, 2);
    }
    assert!(set_aside > 0, "no cut did real damage");
}

#[test]
fn a_database_that_lost_its_end_begins_a_new_generation_if_it_is_the_newest_there_is() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    filled(&data);
    fs::remove_dir_all(data.join("exports")).expect("removes");
    let older = root.path().join("older");
    fs::create_dir(&older).expect("creates");
    for name in ["db", "conf"] {
        fs::copy(data.join("ledger").join(name), older.join(name)).expect("copies");
    }
    let store = open(&data, 1_000).expect("opens").store;
    commit(&store, 3);
    commit(&store, 4);
    drop(store);
    // As a virtual machine's snapshot or a disk that lied would: the database of yesterday.
    for name in ["db", "conf"] {
        fs::copy(older.join(name), data.join("ledger").join(name)).expect("copies");
    }
    for entry in fs::read_dir(data.join("ledger")).expect("reads") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap")) {
            fs::remove_file(path).expect("removes");
        }
    }
    let opened = open(&data, 2_000).expect("opens");
    let How::Restored { from, quarantined, why } = opened.how else { panic!("{:?}", opened.how) };
    assert_eq!((from, quarantined), (Some(data.join("ledger")), None), "{why:?}");
    assert_eq!((opened.store.identity().generation, versions(&opened.store)), (2_000, vec![3; 50]));
    drop(opened.store);
    let again = open(&data, 3_000).expect("opens");
    assert_eq!((again.how, again.store.identity().generation), (How::Existing, 2_000));
}

#[test]
fn a_lost_database_is_restored_from_the_newest_good_export() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    let old = filled(&data);
    let new = export_to(&open(&data, 1).expect("opens").store, &data.join("exports"), 3).expect("exports");
    assert!(new > old);
    let mut bytes = fs::read(&new).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&new, bytes).expect("writes");
    fs::remove_dir_all(data.join("ledger")).expect("removes");
    // The clock says it is before the export was made: the generation grows all the same.
    let opened = open(&data, 3).expect("opens");
    let How::Restored { from, quarantined, why } = opened.how else { panic!("{:?}", opened.how) };
    assert_eq!((from, quarantined), (Some(old), None));
    assert!(why[0].contains(&new.display().to_string()), "{why:?}");
    assert_eq!((opened.store.identity().generation, versions(&opened.store)), (1_001, vec![2; 50]));
}

#[test]
fn a_database_that_is_taken_away_acknowledges_nothing_more_and_can_be_saved() {
    let deleted = |ledger: &Path| fs::remove_dir_all(ledger).expect("removes");
    let file_deleted = |ledger: &Path| fs::remove_file(ledger.join("db")).expect("removes");
    let moved = |ledger: &Path| fs::rename(ledger, ledger.with_extension("away")).expect("moves");
    let replaced = |ledger: &Path| {
        let bytes = fs::read(ledger.join("db")).expect("reads");
        fs::remove_file(ledger.join("db")).expect("removes");
        fs::write(ledger.join("db"), bytes).expect("writes");
    };
    for taken in [&deleted as &dyn Fn(&Path), &file_deleted, &moved, &replaced] {
        let root = tempfile::tempdir().expect("a directory");
        let data = root.path().join("data");
        filled(&data);
        let store = open(&data, 2_000).expect("opens").store;
        let before = image(&store);
        taken(&data.join("ledger"));
        for _ in 0..2 {
            let refused = store.commit(vec![step(&host(0).expect("a host"), 3, b"row", None)]);
            let error = refused.expect_err("it would be lost");
            assert!(matches!(error, StoreError::Gone(_)) && error.to_string().contains("Start again"), "{error}");
            assert!(matches!(store.put_document("inventory", b"n2"), Err(StoreError::Gone(_))));
        }
        assert_eq!(image(&store), before, "what was acknowledged can be read");
        let export = export_to(&store, &data.join("exports"), 3).expect("exports");
        drop(store);
        let replaced = data.join("ledger/db").exists();
        let opened = open(&data, 3_000).expect("opens");
        match opened.how {
            How::Existing => assert!(replaced),
            How::Restored { from, .. } => assert_eq!((from, replaced), (Some(export), false)),
            How::Fresh => panic!("the export was overlooked"),
        }
        assert_eq!(image(&opened.store), before);
    }
}

#[test]
fn without_any_export_a_damaged_database_is_still_reported() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    drop(open(&data, 1).expect("opens"));
    fs::write(data.join("ledger/db"), [0xAB; 4_096]).expect("writes");
    fs::write(data.join("ledger/conf"), b"nonsense").expect("writes");
    let opened = open(&data, 9).expect("opens");
    let How::Restored { from, quarantined, .. } = opened.how else { panic!("{:?}", opened.how) };
    assert_eq!((from, quarantined), (None, Some(data.join("quarantine-0000000000009"))));
    assert_eq!(versions(&opened.store), [0; 50]);
}

#[test]
fn an_import_is_the_exported_image_under_a_new_generation() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    filled(&data);
    let store = open(&data, 1).expect("opens").store;
    let export = export_to(&store, &data.join("exports"), 3).expect("exports");
    let other = root.path().join("other");
    import(&other, &export, 4_000).expect("imports");
    let copy = open(&other, 1).expect("opens");
    assert_eq!(copy.how, How::Existing);
    assert_eq!(copy.store.identity().ledger, store.identity().ledger);
    assert_eq!(copy.store.identity().generation, 4_000);
    assert!(image(&copy.store) == image(&store));
    assert!(copy.store.commit_number() >= store.commit_number());
    drop(copy);
    assert!(matches!(import(&other, &export, 1), Err(StoreError::Unsafe { .. })), "an import over a ledger");
}

#[test]
fn a_damaged_export_is_refused_by_name_and_leaves_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let good = fs::read(filled(&root.path().join("data"))).expect("reads");
    let export = root.path().join("export-x.image");
    let target = root.path().join("target");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&export, bytes).expect("writes");
        let Err(error) = import(&target, &export, 1) else { panic!("{what} was accepted") };
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains(&export.display().to_string()), "{error}");
        assert!(!target.join("ledger").exists());
    };
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        refused(&flipped, &format!("a bit flipped at {at}"));
        refused(&good[..at], &format!("a cut at {at}"));
    }
    refused(&[&good[..], &[0]].concat(), "a byte more");
    fs::write(&export, &good).expect("writes");
    import(&target, &export, 1).expect("the good one is imported after all");
}

#[test]
fn only_the_newest_exports_are_kept() {
    let root = tempfile::tempdir().expect("a directory");
    let (data, exports) = (root.path().join("data"), root.path().join("exports"));
    let store = open(&data, 1).expect("opens").store;
    let mut written = Vec::new();
    for version in 0..5 {
        commit(&store, version);
        written.push(export_to(&store, &exports, 3).expect("exports"));
        assert_eq!(export_to(&store, &exports, 3).expect("exports"), written[version as usize], "nothing new to write");
    }
    written.reverse();
    assert_eq!(exports_in(&exports).expect("lists"), written[..3]);
    assert_eq!(fs::read_dir(&exports).expect("reads").count(), 3, "no partial file is left");
}
