//! The aggregator dies in the middle of the work; the agent goes on; the ledger is as if nothing had
//! happened.

use std::path::Path;
use std::time::Duration;

use crate::harness::{
    Home, Point, Readings, Writer, agent, counter, free_address, joined, rollup, rows, slot_ago_ms, slots_around,
    spawn_replay, wait_for, within,
};

const HOSTS: i64 = 12;
const SECONDS: i64 = 600;

/// A fleet for ten minutes, one reading every five seconds: whole watts that nothing averages out.
fn fleet(start: i64) -> (Readings, i128) {
    let (mut readings, mut energy) = (Readings::default(), 0);
    for host in 0..HOSTS {
        let watts = |second: i64| 400 + 37 * host + (second * second / 7 + host * 13) % 211;
        let points: Vec<Point> =
            (0..=SECONDS).step_by(5).map(|second| (start + second * 1000, Some(watts(second) * 1000))).collect();
        energy += joined(&points, 15_000).0;
        readings.add(&format!("node-{host:02}"), "chassis", "wall", &points);
    }
    (readings, energy / 2)
}

#[test]
fn kill_minus_9_under_replay_load_changes_nothing() {
    let start = slot_ago_ms(4);
    let (readings, expected) = fleet(start);
    let window = slots_around(start, start + SECONDS * 1000);

    let undisturbed = Home::new();
    let file = undisturbed.write("fleet.csv", readings.csv());
    let file = file.to_str().expect("a plain path");
    let server = undisturbed.start();
    agent(&undisturbed, &["replay", file, "--server", &server.url, "--speed", "max"]).ok();
    let calm = rows(&server.url, &format!("window={window}&by=host"));
    assert_eq!(calm.iter().map(|row| row.energy_uj).sum::<i128>(), expected, "the integral of the readings");

    // Ten minutes in a quarter of one, so that there is something to interrupt, three times, on a busy machine too.
    let home = Home::new();
    let address = free_address();
    let mut server = home.start_with(&address, &[]);
    let mut replay = spawn_replay(&home, &[file, "--server", &format!("http://{address}"), "--speed", "40"]);
    let mut seen = 0.0;
    for round in 1..=3 {
        seen = wait_for("more durable readings", Duration::from_secs(60), || {
            let now = counter(&server.url, "wattledger_readings_total", "");
            (now > seen).then_some(now)
        });
        assert!(replay.try_wait().expect("a child of ours").is_none(), "round {round}: the replay was already over");
        server.kill();
        std::thread::sleep(Duration::from_millis(300 * round));
        server = home.start_with(&address, &[]);
        let after = counter(&server.url, "wattledger_readings_total", "");
        assert!(after >= seen, "round {round}: {seen} readings were durable, {after} are left");
    }
    let said = || std::fs::read_to_string(home.path("replay.log")).unwrap_or_default();
    let status = within(replay, Duration::from_secs(120), said);
    assert!(status.success(), "{status}\n{}", said());

    let shaken = rows(&server.url, &format!("window={window}&by=host"));
    for (calm, shaken) in calm.iter().zip(&shaken) {
        assert_eq!((&calm.by, calm.energy_uj), (&shaken.by, shaken.energy_uj));
        assert_eq!(calm.covered_seconds, shaken.covered_seconds, "{:?}", calm.by);
        assert_eq!(shaken.estimated_joules, 0.0, "{:?}: nothing had to be guessed", shaken.by);
    }
    assert_eq!(calm.len(), shaken.len());
}

#[test]
fn a_torn_store_is_healed_by_sending_again() {
    let start = slot_ago_ms(4);
    let (readings, expected) = fleet(start);
    let window = slots_around(start, start + SECONDS * 1000);
    let home = Home::new();
    let file = home.write("fleet.csv", readings.csv());
    let file = file.to_str().expect("a plain path");
    for damage in [Damage::TornTail, Damage::GarbageTail, Damage::Empty] {
        let server = home.start();
        agent(&home, &["replay", file, "--server", &server.url, "--speed", "max"]).ok();
        server.kill();
        damage.inflict(&home.path("data/ledger/db"));

        let server = home.start();
        let rows = rows(&server.url, &format!("window={window}&by=host"));
        let left: i128 = rows.iter().map(|row| row.energy_uj).sum();
        println!("{damage:?}: {left} of {expected} µJ are left");
        assert!(left <= expected, "{damage:?}: damage invents no energy");
        agent(&home, &["replay", file, "--server", &server.url, "--speed", "max"]).ok();
        assert_eq!(rollup(&server.url, &window, "").energy_uj, expected, "{damage:?}");

        // What comes after is kept as well.
        let later = start + 1_800_000;
        let points = [(later, Some(100_000)), (later + 60_000, Some(100_000))];
        Writer::new(&server.url, 1, "after-the-damage").power("chassis", "wall", &points, 60_000);
        server.kill();
        let server = home.start();
        let row = rollup(&server.url, &slots_around(later, later + 60_000), "host=after-the-damage");
        assert_eq!(row.energy_uj, 6_000_000_000, "{damage:?}");
        drop(server);
        std::fs::remove_dir_all(home.data()).expect("a data directory of ours");
    }
}

#[test]
fn a_torn_store_falls_back_to_its_newest_export() {
    for damage in [Damage::TornTail, Damage::GarbageTail, Damage::Empty] {
        let (home, start) = (Home::new(), slot_ago_ms(4));
        let window = slots_around(start, start + 60_000);
        let server = home.start();
        let points = [(start, Some(100_000)), (start + 60_000, Some(100_000))];
        Writer::new(&server.url, 1, "node-1").power("chassis", "wall", &points, 60_000);
        // An orderly end leaves an export behind.
        server.terminate();
        damage.inflict(&home.path("data/ledger/db"));
        let server = home.start();
        let rows = rows(&server.url, &format!("window={window}&by=host"));
        let left: i128 = rows.iter().map(|row| row.energy_uj).sum();
        assert_eq!(left, 6_000_000_000, "{damage:?}");
    }
}

/// What a power cut or a dying disk leaves behind.
#[derive(Clone, Copy, Debug)]
enum Damage {
    TornTail,
    GarbageTail,
    Empty,
}

impl Damage {
    fn inflict(self, file: &Path) {
        let mut bytes = std::fs::read(file).expect("a store's file");
        // Files are laid out in advance: what counts is what was written into them.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let keep = written * 3 / 4;
        match self {
            Self::TornTail => bytes.truncate(keep),
            Self::GarbageTail => bytes[keep..written].iter_mut().for_each(|byte| *byte ^= 0x5a),
            Self::Empty => bytes.clear(),
        }
        std::fs::write(file, bytes).expect("a store's file");
    }
}
