//! Disks that are full or cannot be written: the aggregator's, an agent's, the exports'. Small file systems
//! are mounted in a mount namespace of the test's own, where that is allowed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::dice::{Dice, times};
use crate::fleet::World;
use crate::harness::wait_for;
use crate::load::Load;
use crate::oracle::{Truth, progress, settle};
use crate::proxy::Proxy;
use crate::scraper::{Scraper, series, try_get};

/// Set in a test that runs in a mount namespace of its own.
const INSIDE: &str = "WATTLEDGER_FAULTS_INSIDE";

/// A file system in memory of this many mebibytes.
fn mount(at: &Path, mib: u32) {
    fs::create_dir_all(at).expect("a folder");
    let options = format!("size={mib}m,mode=0700");
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
    assert!(status.expect("mount").success());
}

/// Makes it read-only (`ro`), or not (`rw`).
fn remount(at: &Path, how: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(at).status();
    assert!(status.expect("mount").success());
}

/// Whether this is the inside. If not, the test is run again in a mount namespace of its own, which goes
/// with it however it ends; if that is not allowed, says what is skipped.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let probe = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("SKIPPED: {test}: this user may not mount a file system of its own (unshare -m, mount -t tmpfs)");
        return false;
    }
    let itself = std::env::current_exe().expect("the test's own program");
    let mut again = Command::new("unshare");
    again.arg("-m").arg(itself).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    assert!(again.status().expect("the test itself").success(), "{test} failed inside");
    false
}

/// Fills a file system to its last byte; gives the file that did it.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = fs::File::create(&path).expect("a file");
    let mut size = 1 << 20;
    while size > 0 {
        match file.write_all(&vec![7; size]) {
            Ok(()) => {}
            Err(_) => size /= 2,
        }
    }
    path
}

fn metric(world: &World, name: &str) -> i128 {
    let page = try_get(&format!("{}/metrics", world.url())).filter(|(status, _)| *status == 200);
    let (_, page) = page.expect("an aggregator that can be scraped, whatever its disk does");
    series(&page, name).map(|(_, value)| value / 1_000_000).sum()
}

#[test]
fn the_aggregators_disk_is_full_and_freed() {
    if !is_inside("disk::the_aggregators_disk_is_full_and_freed") {
        return;
    }
    let dice = Dice::new("the aggregator's disk is full and freed");
    let mut world = World::new(2);
    mount(&world.home.data(), 24);
    world.set("WATTLEDGER__STORE__EXPORT_EVERY_S", 1);
    world.start();
    let scraper = Scraper::start(&world.url());
    let load = Load::start(&world.url(), dice);
    world.start_agents();
    for round in 1..=times(3, 20) as i128 {
        progress(&world, 0);
        let ballast = fill(&world.home.data());
        wait_for("a commit that fails for want of room", Duration::from_secs(60), || {
            (metric(&world, "wattledger_commit_failures_total") >= round).then_some(())
        });
        // Nothing is taken, everything can be read, and the probes tell.
        wait_for("a probe that tells", Duration::from_secs(20), || {
            try_get(&format!("{}/readyz", world.url())).filter(|(status, _)| *status == 503)
        });
        std::thread::sleep(Duration::from_millis(1500));
        for path in ["healthz", "metrics", "api/v1/hosts", "api/v1/rollup?window=today&by=host"] {
            let answer = try_get(&format!("{}/{path}", world.url()));
            assert!(answer.as_ref().is_some_and(|(status, _)| *status == 200), "{path}: {answer:?}");
        }
        let seen = metric(&world, "wattledger_readings_total");
        fs::remove_file(ballast).expect("the ballast");
        progress(&world, seen);
    }
    world.aggregator.must_run();
    let sent = load.finish();
    settle(&mut world, Truth::default());
    sent.compare(&world.url());
    scraper.finish();
    // By itself: it was started once.
    let logged = world.aggregator.logged();
    assert_eq!(logged.matches("a new ledger in").count(), 1, "{logged}");
    assert!(world.aggregator.terminate().success());
}

#[test]
fn the_disk_of_an_agents_spool_is_full_read_only_and_well_again() {
    if !is_inside("disk::the_disk_of_an_agents_spool_is_full_read_only_and_well_again") {
        return;
    }
    let dice = Dice::new("the disk of an agent's spool is full, read-only and well again");
    let mut world = World::new(1);
    let proxy = Proxy::start(&world.address, dice);
    let state = world.home.path("agent-0");
    mount(&state, 4);
    let node = &mut world.nodes[0];
    node.toward.clone_from(&proxy.address);
    (node.period_ms, node.gpus, node.ring_mib) = (10, 16, 1);
    world.start();
    let scraper = Scraper::start(&world.url());
    world.start_agents();
    progress(&world, 0);
    // What it says at the start, and how often all in all.
    let said = |world: &World, what: &str, times: usize| {
        wait_for(what, Duration::from_secs(60), || {
            (world.nodes[0].program.logged().matches(what).count() >= times).then_some(())
        });
    };
    let ballast = fill(&state);
    said(&world, "the spool cannot be written", 1);
    // Readings go on, and reach the ledger, without a spool.
    let seen = metric(&world, "wattledger_readings_total");
    let seen = progress(&world, progress(&world, seen));
    fs::remove_file(&ballast).expect("the ballast");
    said(&world, "the spool can be written again", 1);
    progress(&world, seen);

    // Killed while it has no spool, and started again while there still is none.
    let ballast = fill(&state);
    said(&world, "the spool cannot be written", 2);
    world.nodes[0].program.kill();
    world.start_agents();
    said(&world, "the spool cannot be written", 3);
    let seen = progress(&world, metric(&world, "wattledger_readings_total"));
    fs::remove_file(&ballast).expect("the ballast");
    said(&world, "the spool can be written again", 2);
    progress(&world, seen);

    // A file system that went read-only, as they do after an error.
    world.nodes[0].program.terminate();
    remount(&state, "ro");
    world.start_agents();
    said(&world, "the spool cannot be written", 4);
    let seen = progress(&world, metric(&world, "wattledger_readings_total"));
    remount(&state, "rw");
    said(&world, "the spool can be written again", 3);
    progress(&world, seen);

    // What no spool holds any more was seen on its way.
    settle(&mut world, Truth::seen_by(&proxy));
    scraper.finish();
}

#[test]
fn exports_that_cannot_be_written_stop_nothing_and_are_told() {
    let mut world = World::new(1);
    let exports = world.home.data().join("exports");
    world.set("WATTLEDGER__STORE__EXPORT_EVERY_S", 1);
    world.start();
    let _ = fs::remove_dir_all(&exports);
    fs::write(&exports, "in the way").expect("a file");
    let scraper = Scraper::start(&world.url());
    world.start_agents();
    wait_for("exports that fail", Duration::from_secs(60), || {
        (metric(&world, "wattledger_export_failures_total") >= 2).then_some(())
    });
    progress(&world, progress(&world, 0));
    let logged = world.aggregator.logged();
    assert!(logged.contains("failed to export the store") && logged.contains("exports"), "{logged}");
    fs::remove_file(&exports).expect("what was in the way");
    wait_for("an export", Duration::from_secs(60), || (metric(&world, "wattledger_exports_total") >= 1).then_some(()));
    settle(&mut world, Truth::default());
    scraper.finish();
}
