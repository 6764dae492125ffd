//! The power goes while a full spool coalesces what no ledger has: not a joule of what was synced is lost
//! or there twice.
//!
//! What is left is added up here as a ledger would: readings joined in their order, summaries whole, and
//! nothing for time that was covered already.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use agents::spool::{Room, Spool};
use meter::{Milliwatts, Reading, Record};

use crate::cut::{Cut, Draw, Loses, shim};
use crate::harness::Home;
use crate::spool::{DEVICES, FOLDER, MACHINE, SEED, context, milliwatts, record};
use crate::{cuts, seed};

/// Room for half an hour as it was read, and for days as it is coalesced.
const MAX_BYTES: u64 = 96 << 10;
const SECOND: u64 = 1_000_000_000;
const LIVES: [u64; 3] = [30, 300, 3_000];

fn open(folder: &Path) -> Spool {
    Spool::open(folder, MACHINE, MAX_BYTES).expect("opens")
}

/// All that a spool holds, in its order.
fn held(spool: &mut Spool) -> Vec<Record> {
    let (mut at, mut records) = (spool.start(), Vec::new());
    while at.seq < spool.head().seq {
        let batch = spool.read(at, Room { bytes: 1 << 16, samples: 1 << 12, until: u64::MAX }).expect("reads");
        assert!(batch.end.seq > at.seq, "nothing behind {at:?}");
        records.extend(batch.records);
        at = batch.end;
    }
    records
}

/// Not a test of its own: appends what nobody takes until its power goes, and says what it synced.
#[test]
fn child_that_coalesces_until_its_power_goes() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut draw = Draw(std::env::var(SEED).expect("a seed").parse().expect("a number"));
    let mut spool = open(Path::new(&folder));
    let context = context();
    let mut second = held(&mut spool).last().map_or(0, |last| last.at / SECOND);
    loop {
        for _ in 0..draw.up_to(30) {
            second += 1;
            spool.append(&context, &record(&context, second));
        }
        spool.sync();
        println!("synced {second} {}", spool.dropped());
        std::io::stdout().flush().expect("prints");
    }
}

/// The time and the energy that records come to for one device, as a ledger books them: from the first
/// instant to the last, in seconds, and in half picojoules.
fn added_up(records: &[Record], device: u16) -> (u64, u64, i128) {
    let mut sum = 0_i128;
    let mut first: Option<u64> = None;
    let mut last: Option<Reading> = None;
    let mut read = |reading: Reading, sum: &mut i128| {
        let power = |reading: Reading| i128::from(reading.power.unwrap_or(Milliwatts(0)).0);
        first = first.or(Some(reading.at));
        match last {
            Some(before) if reading.at <= before.at => return false,
            Some(before) => *sum += (power(before) + power(reading)) * i128::from(reading.at - before.at),
            None => {}
        }
        last = Some(reading);
        true
    };
    for record in records {
        for sample in record.samples.iter().filter(|sample| sample.device == device) {
            read(Reading { at: record.at, power: sample.power, counter: None }, &mut sum);
        }
        let spans = record.summary.iter().flat_map(|summary| &summary.spans);
        for span in spans.filter(|span| span.device == device) {
            if read(span.from, &mut sum) {
                sum += span.integrated.0;
                // What lies between its ends is in the summary.
                let between = power_between(span.from, span.to);
                read(span.to, &mut sum);
                sum -= between;
            }
        }
    }
    (first.unwrap_or_default() / SECOND, last.unwrap_or_default().at / SECOND, sum)
}

fn power_between(from: Reading, to: Reading) -> i128 {
    let power = |reading: Reading| i128::from(reading.power.unwrap_or(Milliwatts(0)).0);
    (power(from) + power(to)) * i128::from(to.at - from.at)
}

fn check(spool: &mut Spool, synced: u64, cut: &Cut) -> u64 {
    let records = held(spool);
    let mut end = 0;
    for device in 0..DEVICES {
        let (first, last, energy) = added_up(&records, device);
        assert!(last >= synced, "{cut:?}: device {device}: {synced} s synced, {last} s left");
        assert!(last == 0 || first == 1, "{cut:?}: device {device} begins at {first} s");
        let pair = |second: u64| i128::from(milliwatts(device, second - 1) + milliwatts(device, second));
        let expected = (2..=last).map(pair).sum::<i128>() * i128::from(SECOND);
        assert_eq!(energy, expected, "{cut:?}: device {device} up to {last} s");
        end = last;
    }
    end
}

#[test]
fn a_spool_that_coalesces_keeps_its_joules() {
    let Some(shim) = shim() else { return };
    let (home, mut draw) = (Home::new(), Draw(seed() + 5));
    let folder = home.path("machine/state/spool");
    std::fs::create_dir(home.path("machine")).expect("a folder");
    let loses = [
        Loses { name: "all unsynced lost", words: "all entries", unit: 4096 },
        Loses { name: "sectors lost at random", words: "some entries", unit: 512 },
    ];
    let (mut synced, count, mut coalesced) = (0, cuts(10), 0);
    for round in 0..count {
        let longest = LIVES[usize::try_from(draw.next() % 3).expect("small")];
        let loses = loses[usize::try_from(round % 2).expect("small")];
        let cut = Cut { loses, at: draw.up_to(longest), seed: draw.next() };
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "coalescing::child_that_coalesces_until_its_power_goes", "--nocapture"]);
        command.env(FOLDER, &folder).env(SEED, cut.seed.to_string()).stdout(Stdio::piped());
        cut.threaten(&mut command, &shim, &home.path("machine"), &home.path(""));
        let mut child = command.spawn().expect("starts");
        for line in BufReader::new(child.stdout.take().expect("its output")).lines() {
            let line = line.expect("a line");
            let Some((second, dropped)) = line.strip_prefix("synced ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            assert_eq!(dropped, "0", "{cut:?}: records were dropped: the spool is too small for this test");
            synced = second.parse().expect("a number");
        }
        assert_eq!(child.wait().expect("ends").signal(), Some(9), "{cut:?}");
        let mut spool = open(&folder);
        synced = check(&mut spool, synced, &cut);
        coalesced = held(&mut spool).iter().filter(|record| record.summary.is_some()).count();
    }
    assert!(coalesced > 0, "nothing was coalesced: the test shows nothing");
    println!("spool that coalesces: {count} cuts, {synced} s of readings, {coalesced} summaries, 0 difference");
}
