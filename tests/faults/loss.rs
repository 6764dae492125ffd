//! An aggregator that is robbed of its files, stopped or running: exports and the agents' spools bring back
//! everything, and what even they lost is told as uncovered.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agents::sources::simulated::SimulatedHost;
use agents::spool::Spool;
use meter::{Clock, Context, Owner, Record, Utc};

use crate::dice::{Dice, times};
use crate::fleet::World;
use crate::harness::wait_for;
use crate::load::Load;
use crate::oracle::{Truth, progress, settle};
use crate::scraper::Scraper;

/// What befalls a stopped aggregator's files.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Truncated,
    Flipped,
    Removed,
    /// The database, and every export.
    ExportsToo,
    /// The whole data directory.
    Everything,
}

impl Damage {
    const ALL: [Self; 5] = [Self::Truncated, Self::Flipped, Self::Removed, Self::ExportsToo, Self::Everything];

    fn inflict(self, data: &Path, dice: &mut Dice) {
        let (ledger, exports) = (data.join("ledger"), data.join("exports"));
        match self {
            Self::Truncated => truncate(&ledger.join("db"), dice),
            Self::Flipped => flip(&ledger.join("db"), dice),
            Self::Removed => fs::remove_dir_all(ledger).expect("a database"),
            Self::ExportsToo => {
                flip(&ledger.join("db"), dice);
                for export in fs::read_dir(exports).expect("exports") {
                    flip(&export.expect("an entry").path(), dice);
                }
            }
            Self::Everything => fs::remove_dir_all(data).expect("a data directory"),
        }
    }
}

/// The bytes of a file that were written: it is laid out in advance.
fn written(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("a file");
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
}

fn truncate(path: &Path, dice: &mut Dice) {
    let mut bytes = written(path);
    bytes.truncate(dice.below(bytes.len() as u64) as usize);
    fs::write(path, bytes).expect("a file");
}

fn flip(path: &Path, dice: &mut Dice) {
    let mut bytes = fs::read(path).expect("a file");
    let end = written(path).len() as u64;
    // A run of bytes, so that something that counts is hit.
    let (from, bit) = (dice.below(end) as usize, dice.below(8));
    bytes.iter_mut().skip(from).take(4096).for_each(|byte| *byte ^= 1 << bit);
    fs::write(path, bytes).expect("a file");
}

fn wait_for_exports(world: &World, at_least: usize) {
    wait_for("exports", Duration::from_secs(60), || {
        let exports = fs::read_dir(world.home.data().join("exports")).ok()?;
        (exports.count() >= at_least).then_some(())
    });
}

/// Two agents and a client at work, with an export every second.
fn at_work(dice: &Dice) -> (World, Scraper, Load) {
    let mut world = World::new(2);
    world.set("WATTLEDGER__STORE__EXPORT_EVERY_S", 1);
    world.start();
    let scraper = Scraper::start(&world.url());
    let load = Load::start_forgiving(&world.url(), dice.clone());
    world.start_agents();
    (world, scraper, load)
}

#[test]
fn files_damaged_while_it_is_stopped_are_healed() {
    let mut dice = Dice::new("files damaged while it is stopped");
    let (mut world, scraper, load) = at_work(&dice);
    for damage in (0..times(1, 8)).flat_map(|_| Damage::ALL) {
        progress(&world, 0);
        wait_for_exports(&world, 2);
        // Beyond the newest export.
        std::thread::sleep(dice.pause(900));
        world.aggregator.kill();
        damage.inflict(&world.home.data(), &mut dice);
        // The restore itself is killed as well.
        for _ in 0..times(2, 8) {
            world.launch();
            std::thread::sleep(dice.pause(150));
            world.aggregator.kill();
        }
        world.start();
    }
    progress(&world, 0);
    let sent = load.finish();
    settle(&mut world, Truth::default());
    sent.compare(&world.url());
    scraper.finish();
}

#[test]
fn a_store_deleted_while_it_runs_is_noticed_and_healed() {
    let mut dice = Dice::new("a store deleted while it runs");
    let (mut world, scraper, load) = at_work(&dice);
    let data = world.home.data();
    let lost = [data.join("ledger"), data.join("ledger/db"), data.clone()];
    let rounds = times(1, 8);
    for lost in (0..rounds).flat_map(|_| &lost) {
        progress(&world, 0);
        wait_for_exports(&world, 1);
        std::thread::sleep(dice.pause(900));
        wait_for("everything there to be deleted", Duration::from_secs(20), || {
            // An export that is being written may get in the way.
            let _ = if lost.is_dir() { fs::remove_dir_all(lost) } else { fs::remove_file(lost) };
            (!lost.exists()).then_some(())
        });
        let status = world.aggregator.ended();
        assert_eq!(status.code(), Some(1), "{}", world.aggregator.logged());
        world.start();
    }
    let sent = load.finish();
    settle(&mut world, Truth::default());
    sent.compare(&world.url());
    scraper.finish();
    let logged = world.aggregator.logged();
    assert_eq!(logged.matches("was deleted or moved").count(), 3 * rounds, "{logged}");
}

/// How long ago the recorded past of the machine begins, and how far its readings are apart.
const PAST_NS: u64 = 280_000_000_000;
const STEP_NS: u64 = 25_000_000;

#[test]
fn what_a_small_ring_lost_is_told_as_uncovered() {
    let mut world = World::new(1);
    (world.nodes[0].gpus, world.nodes[0].ring_mib) = (16, 1);
    let Some(begin) = past() else { return };
    // A beginning that the ledger gets, and exports.
    let truth = append_past(&world, begin, begin + 2_000_000_000, true);
    world.start();
    let scraper = Scraper::start(&world.url());
    world.start_couriers();
    progress(&world, 0);
    world.stop_agents();
    assert!(world.aggregator.terminate().success());
    // What it acknowledged later is in no export, and more than the ring holds.
    let _ = append_past(&world, begin + 2_000_000_000, agents::clock::boot_ns(), true);
    fs::remove_dir_all(world.home.data().join("ledger")).expect("a database");
    world.start();
    world.start_agents();
    progress(&world, 0);
    let truth = settle(&mut world, truth);
    scraper.finish();
    let uncovered: Vec<u64> = truth.sums().values().map(|sum| sum.uncovered / 1_000_000).collect();
    println!("uncovered by account: {uncovered:?} ms");
    assert!(uncovered.iter().any(|ms| *ms > 20_000), "the ring held everything: {uncovered:?}");
    assert!(world.nodes[0].program.logged().contains("as a new stream"));
}

#[test]
fn an_outage_longer_than_the_ring_keeps_every_joule() {
    let mut world = World::new(1);
    (world.nodes[0].gpus, world.nodes[0].ring_mib) = (16, 1);
    let Some(begin) = past() else { return };
    // Nobody was there to take it: more than the ring holds, so that it was coalesced.
    let mut truth = append_past(&world, begin, agents::clock::boot_ns(), false);
    truth.coalesced = true;
    world.start();
    let scraper = Scraper::start(&world.url());
    world.start_agents();
    progress(&world, 0);
    world.aggregator.kill();
    world.start();
    let truth = settle(&mut world, truth);
    scraper.finish();
    assert!(truth.sums().values().all(|sum| sum.uncovered == 0 && sum.readings > 10_000));
    let said = world.nodes[0].program.logged();
    assert!(!said.contains("dropped"), "{said}");
}

/// When the made-up past of a machine begins, by its boot clock.
fn past() -> Option<u64> {
    let begin = agents::clock::boot_ns().checked_sub(PAST_NS);
    if begin.is_none() {
        eprintln!("SKIPPED: this machine was started less than five minutes ago: it has no past to make up");
    }
    begin
}

/// Appends what the machine would have read between two instants of the boot clock to its agent's spool,
/// as acknowledged or not, and gives it.
fn append_past(world: &World, from: u64, to: u64, acknowledged: bool) -> Truth {
    let owner = Owner::host("node-0").expect("a good name");
    let folder = world.home.path("agent-0").join(format!("spool-{:016x}", owner.stable_hash()));
    let fingerprint = agents::identity::fingerprint(Path::new("/sys"), Path::new("/etc"));
    let mut spool = Spool::open(&folder, fingerprint, world.nodes[0].ring_mib << 20).expect("a spool");
    let host = SimulatedHost::new(1, 0, world.nodes[0].gpus).expect("good names");
    let boot = agents::identity::boot_id(Path::new("/proc"));
    let (wall_offset_ns, devices) = (agents::clock::wall_offset_ns(), host.devices(50_000_000));
    let context = Arc::new(Context { clock: Clock::Boot(boot), wall_offset_ns, devices });
    let (id, mut truth) = (wire::context_id(&context), Truth::default());
    for at in (from..to).step_by(STEP_NS as usize) {
        let mut samples = Vec::new();
        host.samples(Utc(wall_offset_ns.saturating_add_unsigned(at)), 50_000_000, &mut samples);
        let record = Record { context: id, at, samples, ..Record::default() };
        spool.append(&context, &record);
        truth.add("node-0", &context, &record);
        if acknowledged {
            spool.acknowledge(spool.head().seq);
        }
    }
    spool.sync();
    let coalesced = spool.dropped() == 0 && spool.head().seq < (to - from) / STEP_NS;
    assert!(acknowledged || coalesced, "{} records, {} dropped", spool.head().seq, spool.dropped());
    truth
}
