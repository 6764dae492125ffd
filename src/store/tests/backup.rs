//! Backups and audits: what an image holds, what was doctored, and the way back.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use energy::{HourBlock, Ledger, NumberedPost, Policy};
use meter::{AccountKey, Clock, Context, DeviceDecl, Energy, Milliwatts, Owner, Quality, Record, Sample, Scope, Utc};
use store::{
    BackupFile, HistoryQuery, How, Outcome, OwnerCommit, Report, SledStore, Store, StoreError, audit_image,
    audit_store, export_to, exports_in, images_at, open_or_restore, open_stopped, records, restore, write_image,
};

const SECOND: u64 = 1_000_000_000;
/// A slot border.
const START: u64 = 1_793_491_200 * SECOND;

fn open(data: &Path) -> SledStore {
    open_or_restore(data, &data.join("exports"), 1_000).expect("opens").store
}

/// Books 100 W every second for `seconds` on `hosts` hosts, with a commit per half hour.
fn fill(store: &dyn Store, hosts: u8, seconds: u64) {
    let mut ledger = Ledger::new(Policy::default());
    for (part, from) in (0..=seconds).step_by(1800).enumerate() {
        for host in 0..hosts {
            ledger.post(
                &post(host, part as u64 + 1, from..=(from + 1799).min(seconds)),
                Utc((START + 86_400 * SECOND) as i64),
            );
        }
        let commits = ledger.take_commit().into_iter().map(|dirty| OwnerCommit {
            owner: dirty.owner.clone(),
            expect: dirty.expect,
            next: dirty.next,
            row: records::encode_row(&dirty.state),
            history: dirty.settled.iter().map(|block| (block.hour, records::encode_hour(block))).collect(),
            documents: vec![],
        });
        let outcomes = store.commit(commits.collect()).expect("commits");
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Won));
    }
    store.put_document("inventory", b"n1,team=nlp").expect("puts");
}

fn post(host: u8, seq: u64, seconds: std::ops::RangeInclusive<u64>) -> NumberedPost {
    let key = AccountKey::new(Scope::Gpu, "g0").expect("a good name");
    let device = DeviceDecl { key, period_ns: SECOND, limit: Milliwatts(0), modulus: None, epoch: 0 };
    let sample = || vec![Sample { device: 0, power: Some(Milliwatts(100_000)), ..Sample::default() }];
    NumberedPost {
        stream: [host; 16],
        seq,
        body: [0; 16],
        owner: owner(host),
        labels: None,
        context: Context { clock: Clock::Utc, wall_offset_ns: 0, devices: vec![device] },
        import: true,
        records: seconds
            .map(|second| Record { context: 1, at: START + second * SECOND, samples: sample(), ..Record::default() })
            .collect(),
        unnamed: Vec::new(),
    }
}

fn owner(host: u8) -> Owner {
    Owner::host(&format!("n{host}")).expect("a good name")
}

/// Joules of one host after so many seconds at 100 W.
fn joules(report: &Report) -> i128 {
    report.energy.total().microjoules() / 1_000_000
}

fn codes(report: &Report) -> Vec<(&str, &'static str)> {
    report.findings.iter().map(|finding| (&*finding.owner.name, finding.code)).collect()
}

/// Replaces an owner's row behind the ledger's back.
fn alter(store: &dyn Store, host: u8, change: impl FnOnce(&mut energy::OwnerState)) {
    let row = store.load(&[owner(host)]).expect("loads").remove(0).expect("a row");
    let mut state = records::decode_row(&row.owner, &row.bytes).expect("a row");
    change(&mut state);
    let (expect, next) = (row.version, row.version + 1);
    let commit = OwnerCommit {
        owner: row.owner,
        expect,
        next,
        row: records::encode_row(&state),
        history: vec![],
        documents: vec![],
    };
    assert_eq!(store.commit(vec![commit]).expect("commits"), [Outcome::Won]);
}

#[test]
fn a_sound_store_and_its_image_audit_alike_and_clean() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    let store = open(&data);
    fill(&store, 3, 7200);
    let report = audit_store(&store).expect("audits");
    assert_eq!(report.findings, []);
    assert_eq!((report.owners, report.accounts, report.documents), (3, 3, 1));
    assert_eq!(joules(&report), 3 * 7200 * 100);
    // Eight whole quarters of an hour of each host.
    assert!(report.postings > 3 && report.cells >= 24, "{report:?}");
    let export = export_to(&store, &data.join("exports"), 3).expect("exports");
    assert_eq!(audit_image(&export).expect("audits"), report);
}

#[test]
fn a_doctored_row_posting_or_version_is_found_and_named() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(&root.path().join("data"));
    fill(&store, 4, 5400);
    alter(&store, 1, |state| state.accounts[0].lifetime[Quality::Integrated] += Energy(2));
    alter(&store, 2, |state| state.accounts[0].covered_ns -= 1);
    // A posting that nobody booked.
    let cell = energy::HourCell {
        quarter: 1,
        account: 0,
        cell: energy::Cell::of(Quality::Integrated, Energy::from_microjoules(5), 7),
    };
    let hour = Utc(START as i64).slot().hour().0;
    let block = HourBlock { hour, cells: vec![cell], cuts: vec![] };
    let row = store.load(&[owner(3)]).expect("loads").remove(0).expect("a row");
    let history = vec![(hour, records::encode_hour(&block))];
    let (expect, next) = (row.version, row.version + 1);
    let commit = OwnerCommit { owner: row.owner, expect, next, row: row.bytes, history, documents: vec![] };
    store.commit(vec![commit]).expect("commits");

    let report = audit_store(&store).expect("audits");
    assert_eq!(
        codes(&report),
        [
            ("n1", "register-integrated"),
            ("n2", "coverage"),
            ("n2", "covered-time"),
            ("n3", "slot-overfull"),
            ("n3", "register-integrated"),
            ("n3", "covered-time")
        ]
    );
    let due = 5400 * 100 * 1_000_000 * meter::MICROJOULE;
    assert_eq!(report.findings[0].expected, format!("{due} half pJ"));
    assert_eq!(report.findings[0].found, format!("{} half pJ", due + 2));
}

#[test]
fn rows_and_postings_that_are_none_are_found() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(&root.path().join("data"));
    let commit = |host, row: &[u8], posting: &[u8]| OwnerCommit {
        owner: owner(host),
        expect: 0,
        next: 1,
        row: row.into(),
        history: vec![(0, posting.into())],
        documents: vec![],
    };
    let row = records::encode_row(&energy::OwnerState::new(owner(2)));
    store.commit(vec![commit(1, b"\x63rubbish", b""), commit(2, &row, b"\x01")]).expect("commits");
    let report = audit_store(&store).expect("audits");
    let mut found = codes(&report);
    found.sort_unstable();
    assert_eq!(found, [("n1", "posting-unreadable"), ("n1", "row-unreadable"), ("n2", "posting-unreadable")]);
}

#[test]
fn a_backup_is_whole_under_its_name_or_absent() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(&root.path().join("data"));
    fill(&store, 2, 3600);
    let to = root.path().join("backups");
    let mut backup = BackupFile::create(&to).expect("begins");
    let commit = write_image(&store, &mut backup).expect("writes");
    let (path, report) = backup.finish().expect("finishes");
    assert_eq!((report.commit, report.owners, report.findings.len()), (commit, 2, 0));
    assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(images_at(&to).expect("an image"), [path]);

    // Cut anywhere, or never finished: nothing is there but the good one.
    let mut whole = Vec::new();
    write_image(&store, &mut whole).expect("writes");
    for cut in [0, 10, 40, whole.len() / 2, whole.len() - 1] {
        let mut backup = BackupFile::create(&to).expect("begins");
        backup.write_all(&whole[..cut]).expect("writes");
        assert!(matches!(backup.finish(), Err(StoreError::Damaged { .. })), "cut at {cut}");
    }
    drop(BackupFile::create(&to).expect("begins"));
    assert_eq!(fs::read_dir(&to).expect("reads").count(), 1);
    // A link that waits at the temporary name leads nowhere.
    let victim = root.path().join("victim");
    fs::write(&victim, "mine").expect("writes");
    symlink(&victim, to.join(format!("backup-{}.partial", std::process::id()))).expect("links");
    let mut backup = BackupFile::create(&to).expect("begins");
    backup.write_all(&whole).expect("writes");
    backup.finish().expect("finishes");
    assert_eq!(fs::read_to_string(&victim).expect("reads"), "mine");
}

#[test]
fn a_restore_sets_the_ledger_aside_and_begins_a_new_generation() {
    let root = tempfile::tempdir().expect("a directory");
    let (data, to) = (root.path().join("data"), root.path().join("backups"));
    let store = open(&data);
    fill(&store, 1, 3600);
    let mut backup = BackupFile::create(&to).expect("begins");
    write_image(&store, &mut backup).expect("writes");
    let (image, _) = backup.finish().expect("finishes");
    let identity = store.identity();
    alter(&store, 0, |state| state.readings += 1);
    export_to(&store, &data.join("exports"), 3).expect("exports");
    assert!(matches!(restore(&data, &image, 5_000), Err(StoreError::Locked(_))), "an aggregator is at work");
    drop(store);

    let restored = restore(&data, &image, 5_000).expect("restores");
    assert_eq!(restored.generation, 5_000);
    let aside = restored.aside.expect("the ledger that was there");
    assert!(aside.join("db").exists());
    assert_eq!(exports_in(&aside.join("exports")).expect("reads").len(), 1);
    assert_eq!(exports_in(&data.join("exports")).expect("reads").len(), 0);

    let opened = open_or_restore(&data, &data.join("exports"), 6_000).expect("opens");
    assert_eq!(opened.how, How::Existing);
    assert_eq!((opened.store.identity().ledger, opened.store.identity().generation), (identity.ledger, 5_000));
    let report = audit_store(&opened.store).expect("audits");
    assert_eq!((joules(&report), report.findings.len()), (3600 * 100, 0));
    drop(opened);

    // The clock was set back: the generation still grows.
    let store = open(&data);
    export_to(&store, &data.join("exports"), 3).expect("exports");
    drop(store);
    assert_eq!(restore(&data, &image, 7).expect("restores").generation, 5_001);

    // An image that is none leaves everything as it was.
    let rubbish = root.path().join("rubbish.image");
    fs::write(&rubbish, [7; 5000]).expect("writes");
    let before = fs::read_dir(&data).expect("reads").count();
    assert!(matches!(restore(&data, &rubbish, 9_000), Err(StoreError::Damaged { .. })));
    assert_eq!(fs::read_dir(&data).expect("reads").count(), before);
    assert_eq!(audit_store(&open_stopped(&data).expect("opens").store).expect("audits").owners, 1);
}

#[test]
fn an_empty_directory_takes_a_restore_and_sets_nothing_aside() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(&root.path().join("data"));
    fill(&store, 2, 1800);
    let export = export_to(&store, &root.path().join("data/exports"), 3).expect("exports");
    let elsewhere = root.path().join("elsewhere");
    assert_eq!(restore(&elsewhere, &export, 9_000).expect("restores").aside, None);
    let mut postings = 0;
    let query = HistoryQuery { owners: None, hours: i32::MIN..i32::MAX };
    open_stopped(&elsewhere).expect("opens").store.history(&query, &mut |_| postings += 1).expect("reads");
    assert_eq!(postings, audit_store(&store).expect("audits").postings);
}

#[test]
fn looking_at_a_ledger_that_is_not_there_makes_none() {
    let root = tempfile::tempdir().expect("a directory");
    for place in ["nowhere", "."] {
        let looked = open_stopped(&root.path().join(place));
        assert!(matches!(looked.map(drop), Err(StoreError::Absent { .. })), "{place}");
    }
    assert_eq!(fs::read_dir(root.path()).expect("reads").count(), 0);
    assert!(matches!(images_at(root.path()), Err(StoreError::Absent { .. })));
    assert!(matches!(images_at(&root.path().join("nowhere")), Err(StoreError::Absent { .. })));
    let store = open(&root.path().join("data"));
    assert!(matches!(open_stopped(&root.path().join("data")).map(drop), Err(StoreError::Locked(_))));
    drop(store);
    assert_eq!(open_stopped(&root.path().join("data")).expect("opens").acknowledged, 0);
}
