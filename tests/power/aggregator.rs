//! The aggregator's power goes, again and again, on one data directory that grows old.

use std::time::Duration;

use crate::cut::{Cut, Draw, Loses, shim};
use crate::harness::{Home, slot_ago_ms};
use crate::senders::Senders;
use crate::victim::Victim;
use crate::{cuts, seed};

const HOSTS: u64 = 18;
/// The first operations of a start are as worth cutting as those of a long life.
const LIVES: [u64; 4] = [50, 400, 2_500, 6_000];

/// What became of acknowledged posts over many cuts.
#[derive(Debug, Default)]
struct Toll {
    cuts: u64,
    /// Starts that were cut before they served.
    starts_cut: u64,
    /// Starts that found a damaged database and restored an export.
    restored: u64,
    /// Cuts after which something acknowledged was missing, and how many posts in all.
    short: u64,
    lost: u64,
    /// Of these, without a word in the log.
    silent: u64,
    unanswered: u64,
    acknowledged: u64,
}

/// One data directory, cut `count` times.
fn cut_often(loses: Loses, count: u64, export_every_s: u64) -> Option<Toll> {
    let shim = shim()?;
    let (home, mut draw) = (Home::new(), Draw(seed()));
    let mut senders = Senders::new(HOSTS, slot_ago_ms(24 * 20));
    let mut toll = Toll::default();
    // The last start is not cut.
    for round in 0..=count {
        let longest = LIVES[usize::try_from(draw.next() % 4).expect("small")];
        let at = if round == count { u64::MAX } else { draw.up_to(longest) };
        let cut = Cut { loses, at, seed: draw.next() };
        let mut command = home.serve("127.0.0.1:0", &[]);
        command.env("WATTLEDGER__STORE__EXPORT_EVERY_S", export_every_s.to_string());
        command.env("WATTLEDGER_LOG", "info");
        cut.threaten(&mut command, &shim, &home.data(), &home.path(""));
        let mut victim = Victim::start(command, &home.path("serve.log"));
        if let Some(url) = victim.url.clone() {
            serve(&mut senders, &url, &victim.said, round == count, &mut toll, &cut);
        } else {
            toll.starts_cut += 1;
        }
        if round < count {
            assert!(victim.died(Duration::from_secs(60)), "{cut:?}: it ended otherwise\n{}", victim.said);
            toll.cuts += 1;
        }
    }
    toll.acknowledged = senders.acknowledged();
    for line in Cut::reports(&home.path("")) {
        println!("  {line}");
    }
    println!("{}: {toll:?}", loses.name);
    Some(toll)
}

/// A start that serves: what is there, then everything again that is asked for, then more until the cut.
fn serve(senders: &mut Senders, url: &str, said: &str, last: bool, toll: &mut Toll, cut: &Cut) {
    // It may die under our eyes: then the next start is looked at.
    let Some(held) = senders.check(url) else { return };
    let restored = said.contains("restored from") || said.contains("the ledger begins empty");
    toll.restored += u64::from(restored);
    toll.unanswered += held.unanswered;
    if held.lost > 0 {
        toll.short += 1;
        toll.lost += held.lost;
        toll.silent += u64::from(!restored);
        println!("{cut:?}: {held:?}\n{said}");
    }
    if last {
        senders.catch_up(url);
        let held = senders.check(url).expect("an answer");
        assert_eq!((held.lost, held.unanswered), (0, 0), "after everything was sent again");
    } else {
        senders.post_until(url, &|| false);
    }
}

/// Nothing that was not synced stays, directory entries included.
const ALL: Loses = Loses { name: "all unsynced lost", words: "all entries", unit: 4096 };
/// Of each page any version since its last sync stays: the disk wrote in whatever order it liked.
const PAGES: Loses = Loses { name: "pages lost at random", words: "some entries", unit: 4096 };
/// The same with sectors: pages are torn as well.
const SECTORS: Loses = Loses { name: "sectors lost at random", words: "some entries", unit: 512 };

#[test]
fn all_that_was_not_synced_is_lost() {
    if let Some(toll) = cut_often(ALL, cuts(4), 2) {
        assert_eq!((toll.lost, toll.silent), (0, 0), "{toll:?}");
    }
}

#[test]
fn pages_reach_the_disk_in_any_order() {
    if let Some(toll) = cut_often(PAGES, cuts(8), 2) {
        assert_eq!((toll.lost, toll.silent), (0, 0), "{toll:?}");
    }
}

#[test]
fn sectors_reach_the_disk_in_any_order() {
    if let Some(toll) = cut_often(SECTORS, cuts(4), 300) {
        assert_eq!((toll.lost, toll.silent), (0, 0), "{toll:?}");
    }
}

/// The test can fail: without a working `fsync` the same cuts lose what was acknowledged.
#[test]
fn a_disk_that_lies_loses_what_was_acknowledged() {
    let lies = Loses { name: "fsync does nothing", words: "all lies", unit: 4096 };
    if let Some(toll) = cut_often(lies, 4, 2) {
        assert!(toll.lost > 0, "{toll:?}");
    }
}
