//! A spool's power goes: what was synced is there, nothing else was made up, and the stream goes on.
//!
//! The spool is driven by this very program, started a second time, so that the test knows each record.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use agents::spool::{Room, Spool};
use meter::{AccountKey, Clock, Context, DeviceDecl, Id, Milliwatts, Position, Record, Sample, Scope};

use crate::cut::{Cut, Draw, Loses, shim};
use crate::harness::Home;
use crate::{cuts, seed};

/// Where the second program finds its spool, and what it draws from.
pub(crate) const FOLDER: &str = "SPOOL_TEST_FOLDER";
pub(crate) const SEED: &str = "SPOOL_TEST_SEED";

pub(crate) const MACHINE: Id = [7; 16];
/// Small, so that old segments go and new ones begin.
const MAX_BYTES: u64 = 256 << 10;
pub(crate) const DEVICES: u16 = 6;
const LIVES: [u64; 3] = [40, 600, 6_000];

pub(crate) fn context() -> Arc<Context> {
    let device = |number| DeviceDecl {
        key: AccountKey::new(Scope::Gpu, &format!("GPU-{number}")).expect("a good name"),
        period_ns: 1_000_000_000,
        limit: Milliwatts(0),
        modulus: None,
        epoch: 0,
    };
    Arc::new(Context { clock: Clock::Boot([1; 16]), wall_offset_ns: 0, devices: (0..DEVICES).map(device).collect() })
}

/// What a device draws at a second.
pub(crate) fn milliwatts(device: u16, second: u64) -> u64 {
    (second * 7919 + u64::from(device) * 104_729) % 700_000
}

/// The record of a number: all that is in it follows from that.
pub(crate) fn record(context: &Context, seq: u64) -> Record {
    let sample = |device: u16| Sample { device, power: Some(Milliwatts(milliwatts(device, seq))), ..Sample::default() };
    let samples = (0..DEVICES).map(sample).collect();
    Record { context: wire::context_id(context), at: seq * 1_000_000_000, samples, ..Record::default() }
}

/// Not a test of its own: appends until its power goes, and says what it synced.
#[test]
fn child_that_appends_until_its_power_goes() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut draw = Draw(std::env::var(SEED).expect("a seed").parse().expect("a number"));
    let mut spool = Spool::open(Path::new(&folder), MACHINE, MAX_BYTES).expect("opens");
    let context = context();
    let say = |what: &str, number: u64| {
        println!("{what} {number}");
        std::io::stdout().flush().expect("prints");
    };
    // The ledger's first answer: it has all that was found. Acknowledgements are not kept on disk.
    say("acknowledged", spool.head().seq);
    spool.acknowledge(spool.head().seq);
    loop {
        for _ in 0..draw.up_to(12) {
            let next = spool.head().seq + 1;
            spool.append(&context, &record(&context, next));
        }
        spool.sync();
        say("synced", spool.head().seq);
        if draw.next().is_multiple_of(3) {
            // The ledger has it: the ring may let it go.
            say("acknowledged", spool.head().seq);
            spool.acknowledge(spool.head().seq);
        }
    }
}

/// What the second program said until its end.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    synced: u64,
    acknowledged: u64,
}

fn run_until_cut(folder: &Path, cut: &Cut, shim: &Path, aside: &Path, said: &mut Said) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "spool::child_that_appends_until_its_power_goes", "--nocapture"]);
    command.env(FOLDER, folder).env(SEED, cut.seed.to_string()).stdout(Stdio::piped());
    cut.threaten(&mut command, shim, folder.parent().and_then(Path::parent).expect("a folder"), aside);
    let mut child = command.spawn().expect("starts");
    for line in BufReader::new(child.stdout.take().expect("its output")).lines() {
        let line = line.expect("a line");
        let number = |what: &str| line.strip_prefix(what).map(|number| number.parse().expect("a number"));
        said.synced = number("synced ").unwrap_or(said.synced);
        said.acknowledged = number("acknowledged ").unwrap_or(said.acknowledged);
    }
    let status = child.wait().expect("ends");
    assert_eq!(status.signal(), Some(9), "{cut:?}: {status}");
}

/// Compares all that is left with what was written; gives the number of the last record.
fn check(spool: &mut Spool, said: Said, cut: &Cut) -> u64 {
    let (start, head, context) = (spool.start(), spool.head(), context());
    assert!(head.seq >= said.synced, "{cut:?}: {} synced, {} left", said.synced, head.seq);
    assert!(start.seq <= said.acknowledged, "{cut:?}: {start:?} is behind what was let go, {said:?}");
    let mut at: Position = start;
    while at.seq < head.seq {
        let batch = spool.read(at, Room { bytes: 1 << 16, samples: 1 << 12, until: u64::MAX }).expect("reads");
        assert!(!batch.records.is_empty(), "{cut:?}: nothing behind {at:?} although {head:?}");
        for (seq, found) in (at.seq + 1..).zip(&batch.records) {
            assert_eq!(*found, record(&context, seq), "{cut:?}");
        }
        at = batch.end;
    }
    assert_eq!(at, head);
    head.seq
}

fn cut_often(loses: Loses, count: u64) {
    let Some(shim) = shim() else { return };
    let (home, mut draw) = (Home::new(), Draw(seed() + 3));
    let folder = home.path("machine/state/spool");
    std::fs::create_dir(home.path("machine")).expect("a folder");
    let (mut said, mut stream, mut unsynced) = (Said::default(), None, 0);
    for _ in 0..count {
        let longest = LIVES[usize::try_from(draw.next() % 3).expect("small")];
        let cut = Cut { loses, at: draw.up_to(longest), seed: draw.next() };
        run_until_cut(&folder, &cut, &shim, &home.path(""), &mut said);
        let mut spool = Spool::open(&folder, MACHINE, MAX_BYTES).expect("opens");
        let known = *stream.get_or_insert(spool.stream());
        if said.synced == 0 {
            // Nothing was promised yet, not even a name.
            stream = None;
        } else {
            assert_eq!(spool.stream(), known, "{cut:?}: another stream");
        }
        unsynced += check(&mut spool, said, &cut) - said.synced;
        // What was found is what is built on, synced or not.
        said.synced = spool.head().seq;
    }
    assert!(said.synced > 100, "only {said:?}: the test shows nothing");
    println!(
        "{}: spool, {count} cuts, {} records, 0 synced lost, {unsynced} there although unsynced",
        loses.name, said.synced
    );
}

#[test]
fn a_spool_loses_nothing_synced_when_all_else_is_lost() {
    cut_often(Loses { name: "all unsynced lost", words: "all entries", unit: 4096 }, cuts(6));
}

#[test]
fn a_spool_loses_nothing_synced_when_sectors_are_lost_at_random() {
    cut_often(Loses { name: "sectors lost at random", words: "some entries", unit: 512 }, cuts(10));
}
