//! An aggregator that takes in a fleet's readings, ten seconds after ten seconds.

use crate::disk_bytes;
use crate::fleet::{DEVICES, Fleet, HOSTS, STEP_S};
use crate::harness::{Home, counter, rollup, slot_ago_ms, slots_around};

/// Half an hour for warming up, half an hour to look at.
const COMMITS: u64 = 360;
/// Accounts.
const ACCOUNTS: u64 = HOSTS * DEVICES as u64;
const SLOT_S: u64 = 900;
/// What a closed slot of an account may take in the history, in bytes: a cell of one quality is 11, and
/// the names around it are shared by a host's accounts.
const SLOT_BYTES: u64 = 24;

/// What was measured after so many commits.
#[derive(Clone, Copy, Debug)]
struct Look {
    commits: u64,
    resident: u64,
    /// The database, without exports.
    ledger: u64,
    /// The newest export: all rows and all history, nothing else.
    export: u64,
}

fn look(home: &Home, url: &str, commits: u64) -> Look {
    let exports = std::fs::read_dir(home.path("data/exports")).into_iter().flatten();
    let sizes = exports.filter_map(|entry| {
        let entry = entry.ok().filter(|entry| entry.path().extension().is_some_and(|end| end == "image"))?;
        Some((entry.file_name(), entry.metadata().ok()?.len()))
    });
    Look {
        commits,
        resident: counter(url, "process_resident_memory_bytes", "") as u64,
        ledger: disk_bytes(&home.path("data/ledger")),
        export: sizes.max().map_or(0, |(_, size)| size),
    }
}

#[test]
fn an_aggregator_of_ten_thousand_devices_stays_as_it_is() {
    let commits = std::env::var("WATTLEDGER_TEST_COMMITS").map_or(COMMITS, |text| text.parse().expect("a number"));
    let home = Home::new();
    // Often, so that each look finds an export of about its own time.
    std::fs::write(home.path("aggregator.toml"), "[store]\nexport_every_s = 1\n").expect("a file");
    let config = home.path("aggregator.toml");
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    let start_ms = slot_ago_ms(24 * 20);
    let (mut fleet, mut looks) = (Fleet::new(start_ms), Vec::new());
    for commit in 1..=commits {
        assert!(fleet.post(&server.url), "it answers");
        if commit % (commits / 12).max(1) == 0 {
            let look = look(&home, &server.url, commit);
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            println!(
                "{:5} commits, {:4.1} h: {:6.1} MiB resident, {:6.1} MiB database, {:6.1} MiB newest export",
                look.commits,
                (commit * STEP_S) as f64 / 3600.0,
                mib(look.resident),
                mib(look.ledger),
                mib(look.export)
            );
            looks.push(look);
        }
    }
    let window = slots_around(start_ms, start_ms + i64::try_from(commits * STEP_S * 1000).expect("a time"));
    assert_eq!(rollup(&server.url, &window, "").energy_uj, fleet.energy_uj(), "and all of it is right");
    bounded(&looks);
}

/// What the database may take: needless bytes below which it is not made anew, six times what stands, and what
/// comes between two exports, with each of which that is looked at.
fn ledger_max(look: &Look) -> u64 {
    (512 << 20) + 6 * look.export + (16 << 20)
}

/// Memory is flat, the history grows by its known size per slot, the database is no more than some times both.
fn bounded(looks: &[Look]) {
    let (Some(half), Some(last)) = (looks.get(looks.len() / 2), looks.last()) else { panic!("no looks") };
    // An export is as old as its making took: a slot may have closed since.
    let Some(first) = looks.iter().find(|look| look.export > 0) else { panic!("no exports") };
    let slots = (last.commits - first.commits) * STEP_S / SLOT_S + 2;
    let grown = last.export.saturating_sub(first.export);
    println!(
        "second half: {} kiB more memory, {} bytes of history per account and slot",
        last.resident.saturating_sub(half.resident) >> 10,
        grown / (slots * ACCOUNTS)
    );
    assert!(last.resident < half.resident + (32 << 20), "memory grows: {looks:?}");
    assert!(
        grown <= slots * ACCOUNTS * SLOT_BYTES,
        "history grows by more than {SLOT_BYTES} bytes per slot: {looks:?}"
    );
    let over = looks.iter().find(|look| look.ledger > ledger_max(look));
    assert!(over.is_none(), "the database is larger than it may be: {over:?}");
}
