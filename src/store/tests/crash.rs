//! What was acknowledged outlives a `kill -9` in the middle of whatever the store was doing.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use meter::{Owner, PARTS};
use store::conformance::{host, step};
use store::{HistoryQuery, How, Outcome, Store, open_or_restore};

/// Where the child finds its data directory.
const DATA: &str = "WATTLEDGER_CRASH_TEST_DATA";
const OWNERS: usize = 60;

fn owners() -> Vec<Owner> {
    (0..OWNERS).map(|n| host(n).expect("a host")).collect()
}

/// The row of a version: of a length that makes runs of many chunks and frequent rewrites.
fn row(version: u64) -> Vec<u8> {
    vec![version as u8; 300 + (version as usize * 97) % 4_000]
}

/// The version that all rows have.
fn version(store: &dyn Store) -> u64 {
    let rows = store.load(&owners()).expect("loads");
    let versions: Vec<u64> = rows.iter().map(|row| row.as_ref().map_or(0, |row| row.version)).collect();
    assert!(versions.iter().all(|version| *version == versions[0]), "a torn commit: {versions:?}");
    if versions[0] > 0 {
        assert!(rows.iter().flatten().all(|found| found.bytes == row(versions[0])));
    }
    versions[0]
}

/// Not a test of its own: commits until it is killed, and says what was acknowledged.
#[test]
fn child_that_commits_until_killed() {
    let Ok(data) = std::env::var(DATA) else { return };
    let data = Path::new(&data);
    let store = open_or_restore(data, &data.join("exports"), 1).expect("opens").store;
    for version in version(&store).. {
        let commits =
            owners().into_iter().map(|owner| step(&owner, version, &row(version + 1), Some(version as i32 / 9)));
        let outcomes = store.commit(commits.collect()).expect("commits");
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Won));
        println!("acknowledged {}", version + 1);
        std::io::stdout().flush().expect("prints");
    }
}

#[test]
fn a_killed_store_opens_with_every_acknowledged_commit_whole() {
    let root = tempfile::tempdir().expect("a directory");
    let mut acknowledged = 0;
    // On a machine that is busy with other things it takes more rounds until there was enough to lose.
    for round in 0..200_u64 {
        if round >= 20 && acknowledged > 100 {
            break;
        }
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_that_commits_until_killed", "--nocapture"])
            .env(DATA, root.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        // At another moment each round; the first lines make sure that it had something to do.
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150 + 37 * round % 200));
            child.kill().expect("kills");
            child.wait().expect("ends")
        });
        for line in lines {
            let line = line.expect("a line");
            if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = number.parse().expect("a number");
            }
        }
        assert!(!killer.join().expect("joins").success(), "the child ended by itself");
        let opened = open_or_restore(root.path(), &root.path().join("exports"), 1).expect("opens");
        // The very first round may be over before there was a store.
        assert!(opened.how == How::Existing || acknowledged == 0, "{:?}", opened.how);
        let found = version(&opened.store);
        assert!((acknowledged..=acknowledged + 1).contains(&found), "{acknowledged} acknowledged, {found} found");
        let mut postings = 0;
        let query = HistoryQuery { owners: None, hours: 0..i32::MAX };
        opened.store.history(&query, &mut |_| postings += 1).expect("reads");
        assert_eq!(postings, found * OWNERS as u64, "postings without their rows, or the reverse");
        let mut rows = 0;
        opened.store.scan(0..PARTS, &mut |_| rows += 1).expect("scans");
        assert_eq!(rows, if found == 0 { 0 } else { OWNERS });
    }
    assert!(acknowledged > 100, "only {acknowledged} commits were made: the test shows nothing");
}
