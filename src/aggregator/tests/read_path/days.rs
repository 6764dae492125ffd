//! The day book: answers with it are the same as without it, to the last field, whatever changed since its pages
//! were made; of fleets made by dice.

use billing::daybook::{DayBook, page::Page};
use billing::inventory::read::inventory;
use billing::keeping::make_one;
use billing::lines::days::{pages_of, stale_days};
use billing::topology::Topology;
use cost::{RateCard, Step};
use energy::boundary::Ratio;
use energy::{Edge, Hole};
use meter::{ByQuality, Energy, Quality, Scope, Slot, Utc};
use store::Store;

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::partitions::{Dice, SLOTS, made_by};
use crate::rollup::Ask;

const S: i32 = MONDAY.0;
const DAY: i32 = 96;
const TODAY: i32 = S / DAY;
/// All of the fleet's time, more than is over, pieces of days, days.
const WINDOWS: [(i32, i32); 6] =
    [(S, S + SLOTS), (S - 200, S + 1000), (S + 5, S + DAY * 2 + 7), (S, S + DAY), (S + DAY, S + 3 * DAY), (S, S + 9)];

/// Prices that change at noon, once.
const RATES: &str = "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.2\"\n\n\
    [[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.3\"\nvalid_from = 2026-10-06T12:00:00Z\n";

fn open(root: &tempfile::TempDir, fleet: &Fleet) -> DayBook {
    DayBook::open(root.path(), fleet.store.identity(), 1 << 30).expect("a book")
}

/// Makes pages until all are there that can be.
fn make(book: &DayBook, ask: &Ask<'_>) {
    let mut until = None;
    while let Some(next) = make_one(book, &ask.figures(), until, &|| true).expect("makes") {
        until = Some(next);
    }
}

fn stale(book: &DayBook, ask: &Ask<'_>, days: std::ops::Range<i32>) -> Vec<i32> {
    stale_days(&ask.figures(), book, days).expect("reads")
}

/// That all answers are the same with the book and without it.
fn assert_same<'a>(book: &'a DayBook, ask: &mut Ask<'a>, what: &str) {
    const QUESTIONS: [(&str, &str); 7] = [
        ("team", ""),
        ("host,scope", "team!=y"),
        ("host", ""),
        ("scope", ""),
        ("chassis", "scope=gpu"),
        ("", ""),
        ("host,device", ""),
    ];
    for (number, (from, until)) in WINDOWS.into_iter().enumerate().skip(what.len() % 2).step_by(2) {
        // Not every question of every window: what is asked of one depends on what changed.
        let step = [None, Some(Step::Hour), Some(Step::Day)][(what.len() + number) % 3];
        for (by, select) in (0..2).map(|more| QUESTIONS[(what.len() + number + 3 * more) % QUESTIONS.len()]) {
            let mut answer = |days| {
                ask.days = days;
                format!("{:#?}", ask.answer(by, select, step, from..until))
            };
            let (with, without) = (answer(Some(book)), answer(None));
            let differ = || with.lines().zip(without.lines()).filter(|(a, b)| a != b).take(20).collect::<Vec<_>>();
            let window = format!("{}..{}", from - S, until - S);
            assert!(with == without, "{what}: by={by} where={select} {step:?} {window}: {:#?}", differ());
        }
    }
}

/// Whether an answer takes its energy from the book: an empty page in place of a good one is believed.
fn assert_used<'a>(book: &'a DayBook, ask: &mut Ask<'a>, day: i32) {
    let good = pages_of(&ask.figures(), day, &|| true).expect("pages").expect("all of them");
    let empty = |entry: &billing::daybook::Entry| billing::daybook::Entry {
        owner: entry.owner.clone(),
        basis: entry.basis,
        versions: entry.versions,
        page: Page::default(),
    };
    let emptied: Vec<Vec<_>> = good.iter().map(|part| part.iter().map(empty).collect()).collect();
    let window = day * DAY..(day + 1) * DAY;
    ask.days = None;
    let owners: Vec<String> = good.iter().flatten().map(|entry| entry.owner.name.to_string()).collect();
    let all = ask.kj("host", "", window.clone());
    assert!(owners.iter().any(|owner| all[owner] > 0));
    book.keep(day, &emptied).expect("writes");
    ask.days = Some(book);
    let without = ask.kj("host", "", window);
    assert!(owners.iter().all(|owner| without[owner] == 0), "{without:?}");
    assert!(all.iter().all(|(owner, kj)| owners.contains(owner) || without[owner] == *kj));
    book.keep(day, &good).expect("writes");
}

fn asked<'a>(fleet: &'a Fleet, csv: &str, hours: i32) -> Ask<'a> {
    let mut ask = Ask::of(fleet, csv, Slot(S + SLOTS + 4 * hours).start());
    ask.card = RateCard::parse(RATES).expect("a card");
    ask
}

#[test]
fn answers_with_the_book_are_those_without_it() {
    for seed in 0..6 {
        let (fleet, csv) = made_by(&mut Dice(seed));
        let root = tempfile::tempdir().expect("a directory");
        let book = open(&root, &fleet);
        let again = open(&root, &fleet);
        let restored = store::Identity { generation: 43, ..fleet.store.identity() };
        let other = DayBook::open(root.path(), restored, 1 << 30).expect("a book");
        let mut ask = asked(&fleet, &csv, 0);
        assert_same(&book, &mut ask, "an empty book");
        make(&book, &ask);
        let days: Vec<i32> = book.days().expect("reads").into_iter().map(|(day, _)| day).collect();
        assert_eq!(days, [TODAY, TODAY + 1, TODAY + 2]);
        assert!(stale(&book, &ask, TODAY..TODAY + 3).is_empty());
        assert_same(&book, &mut ask, &format!("seed {seed}"));
        (TODAY..TODAY + 3).for_each(|day| assert_used(&book, &mut ask, day));
        // Another process finds it again; of another generation nothing is believed.
        assert_same(&again, &mut ask, "a restart");
        assert_eq!(stale(&other, &ask, TODAY..TODAY + 3).len(), 3);
        assert_same(&other, &mut ask, "a restore");
    }
}

/// Kinds of change.
const KINDS: i32 = 11;

/// One thing that changes after the pages were made.
fn change(kind: i32, fleet: &mut Fleet, csv: &mut String, factor: &mut Ratio, dice: &mut Dice) -> &'static str {
    match kind {
        0..6 => change_readings(kind, fleet, dice),
        6 => {
            *factor = Ratio::from_millionths(1_000_000 + dice.below(500_000));
            "another factor"
        }
        kind => change_inventory(kind, fleet, csv, dice),
    }
}

/// A change of what was read.
fn change_readings(kind: i32, fleet: &mut Fleet, dice: &mut Dice) -> &'static str {
    let name = ["a", "b", "c", "d", "f"][dice.below(5) as usize];
    let owner = host(name);
    let slot = Slot(S + dice.below(3 * DAY as u64) as i32);
    match kind {
        0 => {
            late(fleet, name, slot);
            "a late reading"
        }
        1 => {
            // A reversal and a fill, as a late reading in a hole makes them.
            let mut energy = ByQuality::of(Quality::Integrated, Energy(77));
            energy[Quality::Estimated] = Energy(-55);
            fleet.open(&owner, slot, &[cell(energy, 3)]);
            fleet.settle(&owner, Slot(i32::MAX));
            "a late fill"
        }
        2 => {
            let account = &mut fleet.state(&owner).accounts[0];
            let edge = |seconds: i64| Edge { at: Utc(slot.start().0 + seconds * 1_000_000_000), ..Edge::default() };
            account.rare_mut().holes.retain(|hole| hole.end.at < edge(0).at);
            account.rare_mut().holes.push(Hole { start: edge(10), end: edge(700), estimate: None });
            fleet.settle(&owner, Slot(S + SLOTS - 3));
            "a hole that was not told before"
        }
        3 => {
            fleet.open(&owner, slot, &[cell(kj(1), 1)]);
            fleet.settle(&owner, slot);
            "a slot that is open again"
        }
        4 => {
            let state = fleet.state(&owner);
            let mut keys = state.keys.to_vec();
            keys.push(meter::AccountKey::new(Scope::Storage, "nvme0").expect("a device"));
            state.keys = keys.into();
            let account = state.accounts[0].clone();
            state.accounts.push(account);
            let mut cells = vec![cell(ByQuality::default(), 0); state.keys.len()];
            *cells.last_mut().expect("a cell") = cell(kj(3), 900);
            fleet.open(&owner, slot, &cells);
            fleet.settle(&owner, Slot(S + SLOTS - 3));
            "a new account"
        }
        _ => {
            let state = fleet.state(&owner);
            for account in &mut state.accounts {
                account.frontier.at = account.frontier.at.max(Slot(S + SLOTS + 1).start());
            }
            let cells = vec![cell(kj(5), 900); fleet.state(&owner).keys.len()];
            fleet.open(&owner, Slot(S + SLOTS), &cells);
            fleet.settle(&owner, Slot(S + SLOTS));
            "time that goes on"
        }
    }
}

/// A change of what is known of the fleet.
fn change_inventory(kind: i32, fleet: &mut Fleet, csv: &mut String, dice: &mut Dice) -> &'static str {
    match kind {
        7 => {
            csv.push_str("g,,x,,\nb,bmc-c,y,,\n");
            "a host that shares a chassis"
        }
        8 => {
            *csv = csv.replace("c,bmc-c,x,,\n", "c,,q,,2026-10-06T07:20:00Z\nc,bmc-c,w,2026-10-06T07:20:00Z,\n");
            "a host that was elsewhere before, under another label"
        }
        9 => {
            *csv = csv
                .replace("host,chassis,team,valid_from,valid_to\n", "host,chassis,team,valid_from,valid_to,retired\n");
            *csv = csv
                .lines()
                .map(|line| format!("{line}{}\n", if line.starts_with("host") { "" } else { "," }))
                .collect();
            csv.push_str("b,,y,,,2026-10-06T03:00:00Z\n");
            "a host that retired"
        }
        _ => {
            let (new, slot) = (host("new"), Slot(S + dice.below(3 * DAY as u64) as i32));
            fleet.owner(&new, &[(Scope::Gpu, "GPU-5a1c0000-1234-abcd-ef00-000000000001")], slot, Slot(S + SLOTS - 1));
            fleet.open(&new, slot, &[cell(kj(9), 900)]);
            fleet.settle(&new, Slot(S + SLOTS - 3));
            "a device at another owner too"
        }
    }
}

fn late(fleet: &mut Fleet, name: &str, slot: Slot) {
    fleet.open(&host(name), slot, &[cell(kj(1), 0)]);
    fleet.settle(&host(name), Slot(S + SLOTS - 3));
}

#[test]
fn whatever_changes_afterwards_answers_stay_those_without_the_book() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 100..104 {
        let mut dice = Dice(seed);
        let (mut fleet, mut csv) = made_by(&mut dice);
        let root = tempfile::tempdir().expect("a directory");
        let book = open(&root, &fleet);
        let mut factor = Ratio::default();
        make(&book, &asked(&fleet, &csv, 0));
        for hours in 1..4 {
            // What a reader still holds while more is committed.
            let held = (fleet.snapshot(Slot(S + SLOTS).start()), csv.clone());
            let before = csv.clone();
            let what = change((seed as i32 * 3 + hours) % KINDS, &mut fleet, &mut csv, &mut factor, &mut dice);
            if inventory("inventory.csv", csv.as_bytes()).is_err() {
                csv = before;
            }
            seen.insert(what);
            let mut ask = asked(&fleet, &csv, hours);
            ask.factor = factor;
            let what = format!("seed {seed}, {what}");
            assert_same(&book, &mut ask, &what);
            make(&book, &ask);
            assert_same(&book, &mut ask, &format!("{what}, made again"));
            (ask.snapshot, ask.topology) = {
                let inventory = inventory("inventory.csv", held.1.as_bytes()).expect("good");
                let topology = Topology::new(inventory.into(), held.0.hardware());
                (held.0, topology)
            };
            assert_same(&book, &mut ask, &format!("{what}, for who holds the rows before it"));
        }
    }
    assert_eq!(seen.len(), KINDS as usize, "{seen:?}");
}

#[test]
fn a_late_reading_makes_its_day_and_those_that_look_back_at_it_anew() {
    let mut fleet = Fleet::new();
    for name in ["n1", "n2"] {
        fleet.owner(&host(name), &[(Scope::Gpu, "a")], MONDAY, Slot(S + 4 * DAY));
        (0..4).for_each(|day| fleet.open(&host(name), Slot(S + day * DAY + 5), &[cell(kj(10), 900)]));
    }
    fleet.settle_all(Slot(S + 4 * DAY));
    let root = tempfile::tempdir().expect("a directory");
    let book = open(&root, &fleet);
    let now = Slot(S + 4 * DAY + 8).start();
    make(&book, &Ask::of(&fleet, "host\nn1\n", now));
    late(&mut fleet, "n1", Slot(S + DAY + 7));
    let mut ask = Ask::of(&fleet, "host\nn1\n", now);
    let days = TODAY..TODAY + 4;
    assert_eq!(stale(&book, &ask, days.clone()), [TODAY + 1]);
    ask.days = Some(&book);
    assert_eq!(ask.kj("", "", S..S + 4 * DAY)[""], 81);
    make(&book, &ask);
    assert!(stale(&book, &ask, days.clone()).is_empty());
    assert_eq!(ask.kj("", "", S..S + 4 * DAY)[""], 81);
    // A file that was damaged is as good as none.
    let path = root.path().join("2026-10-07.day");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes.iter_mut().skip(3100).for_each(|byte| *byte ^= 1);
    std::fs::write(&path, &bytes).expect("writes");
    assert_eq!(stale(&book, &ask, days), [TODAY + 2]);
    assert_eq!(ask.kj("", "", S..S + 4 * DAY)[""], 81);
}
