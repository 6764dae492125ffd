//! The power goes in the middle of large commits: a thousand hosts at once, several megabytes of log
//! between two syncs, segments that are freed and written again.
//!
//! A disk that writes such a commit's pages in any order it likes can leave a database that does not
//! open: then an export is restored, the log says so, and what came after it comes back from the senders.
//! With a disk that loses all of them, or writes them in order, that does not happen.

use std::time::Duration;

use crate::cut::{Cut, Draw, Loses, shim};
use crate::fleet::Fleet;
use crate::harness::{Home, rollup, slot_ago_ms, slots_around};
use crate::victim::Victim;
use crate::{cuts, seed};

/// Operations of a life: a commit of a thousand rows is some 20 to 60.
const LIVES: [u64; 3] = [200, 1_000, 3_000];

/// What an aggregator holds, in rounds of the fleet's; nothing if it died.
fn held(fleet: &Fleet, victim: &Victim, start_ms: i64) -> Option<u64> {
    let url = victim.url.as_ref()?;
    let window = slots_around(start_ms, start_ms + i64::try_from(fleet.rounds() + 1).expect("rounds") * 10_000);
    let rows =
        crate::senders::energies(&reqwest::blocking::Client::new(), url, &format!("window={window}&by=cluster"))?;
    let energy = rows.values().sum::<i128>();
    let rounds = (1..=fleet.rounds() + 1).rev().find(|rounds| Fleet::energy_after(*rounds) == energy);
    Some(
        rounds
            .unwrap_or_else(|| panic!("{energy} µJ is the energy of no number of rounds, {} answered", fleet.rounds())),
    )
}

fn cut_often(loses: Loses, count: u64) {
    let Some(shim) = shim() else { return };
    let (home, mut draw) = (Home::new(), Draw(seed() + 11));
    let start_ms = slot_ago_ms(24 * 20);
    let mut fleet = Fleet::new(start_ms);
    let (mut starts_cut, mut restored, mut lost, mut unanswered) = (0_u64, 0_u64, 0_u64, 0_u64);
    for round in 0..=count {
        let longest = LIVES[usize::try_from(draw.next() % 3).expect("small")];
        let at = if round == count { u64::MAX } else { draw.up_to(longest) };
        let cut = Cut { loses, at, seed: draw.next() };
        let mut command = home.serve("127.0.0.1:0", &[]);
        command.env("WATTLEDGER__STORE__EXPORT_EVERY_S", "2").env("WATTLEDGER_LOG", "info");
        cut.threaten(&mut command, &shim, &home.data(), &home.path(""));
        let mut victim = Victim::start(command, &home.path("serve.log"));
        starts_cut += u64::from(victim.url.is_none());
        if let Some(rounds) = held(&fleet, &victim, start_ms) {
            // Before the first export there is nothing to restore. One round has no energy either.
            let is_empty = victim.said.contains("the ledger begins empty");
            let rounds = if is_empty { 0 } else { rounds };
            let said = is_empty || victim.said.contains("restored from");
            restored += u64::from(said);
            if rounds < fleet.rounds() {
                lost += fleet.rounds() - rounds;
                println!("{cut:?}: {} rounds answered, {rounds} there\n{}", fleet.rounds(), victim.said);
                assert!(said, "lost without a word");
                fleet.go_back_to(rounds);
            }
            unanswered += rounds.saturating_sub(fleet.rounds());
            let url = victim.url.clone().unwrap_or_default();
            if round == count {
                assert!(fleet.post(&url), "the last start serves");
                let window = slots_around(start_ms, start_ms + i64::try_from(fleet.rounds()).expect("rounds") * 10_000);
                assert_eq!(rollup(&url, &window, "").energy_uj, fleet.energy_uj(), "after everything was sent again");
                break;
            }
            while fleet.post(&url) {}
        }
        assert!(victim.died(Duration::from_secs(60)), "{cut:?}: it ended otherwise\n{}", victim.said);
    }
    Cut::reports(&home.path("")).iter().for_each(|line| println!("  {line}"));
    let db = std::fs::metadata(home.path("data/ledger/db")).map_or(0, |found| found.len()) >> 20;
    println!(
        "{}: {count} cuts ({starts_cut} of starts), {} rounds of 10,000 readings answered, {lost} lost, {unanswered} there unanswered, {restored} restores, database {db} MiB",
        loses.name,
        fleet.rounds()
    );
    assert!(lost == 0 || restored > 0, "acknowledged rounds are missing");
    assert!(lost == 0 || loses.words.contains("some"), "acknowledged rounds are missing");
}

#[test]
fn large_commits_survive_when_all_that_was_not_synced_is_lost() {
    cut_often(Loses { name: "large commits, all unsynced lost", words: "all entries", unit: 4096 }, cuts(3));
}

#[test]
fn large_commits_survive_when_pages_reach_the_disk_in_any_order() {
    cut_often(Loses { name: "large commits, pages lost at random", words: "some entries", unit: 4096 }, cuts(4));
}
