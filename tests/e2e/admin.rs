//! Backup, restore, verify and administration, as an operator does them.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use store::{Store, records};

use crate::harness::{
    Done, Home, Killed, Point, Readings, Server, Writer, counter, free_address, get, joined, made_up, rollup, rows,
    slot_ago_ms, slots_around, spawn_replay, wait_for, wattledger, within,
};

const HOSTS: i64 = 8;
const SECONDS: i64 = 600;

/// A fleet for ten minutes, one reading every five seconds; and twice its energy in microjoules.
fn fleet(start: i64) -> (Readings, i128) {
    let (mut readings, mut energy) = (Readings::default(), 0);
    for host in 0..HOSTS {
        let watts = |second: i64| 300 + 41 * host + (second * second / 5 + host * 17) % 173;
        let points: Vec<Point> =
            (0..=SECONDS).step_by(5).map(|second| (start + second * 1000, Some(watts(second) * 1000))).collect();
        energy += joined(&points, 15_000).0;
        readings.add(&format!("node-{host:02}"), "chassis", "wall", &points);
    }
    (readings, energy)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// 100 W for a minute on one host: 6 kJ.
fn book(server: &Server, start: i64) -> String {
    let points = [(start, Some(100_000)), (start + 60_000, Some(100_000))];
    Writer::new(&server.url, 1, "node-1").power("chassis", "wall", &points, 60_000);
    slots_around(start, start + 60_000)
}

fn images(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "image")).collect()
}

fn failed(done: &Done, code: i32, says: &[&str]) {
    assert_eq!(done.status.code(), Some(code), "{done:?}");
    for part in says {
        assert!(done.err.contains(part), "{part:?} is not in: {}", done.err);
    }
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

#[test]
fn a_backup_under_load_is_restored_and_the_agent_sends_what_it_lacks() {
    let start = slot_ago_ms(4);
    let (readings, doubled) = fleet(start);
    let expected = doubled / 2;
    let window = slots_around(start, start + SECONDS * 1000);
    let (home, address) = (Home::new(), free_address());
    let url = format!("http://{address}");
    let file = home.write("fleet.csv", readings.csv());
    let server = home.start_with(&address, &[]);
    let mut replay = spawn_replay(&home, &[text(&file), "--server", &url, "--speed", "30"]);
    let durable = || counter(&url, "wattledger_readings_total", "");
    wait_for("durable readings", Duration::from_secs(60), || (durable() > 0.0).then_some(()));

    let backups = home.path("backups");
    let done = wattledger(&home, &["backup", text(&backups), "--server", &url]).ok();
    assert!(done.out.contains("backup  ") && done.out.contains(&format!("{HOSTS} owners")), "{}", done.out);
    let image = images(&backups).pop().expect("an image");
    // What was durable then is not the end: something is left to be sent again.
    let seen = durable();
    wait_for("more readings", Duration::from_secs(60), || (durable() > seen).then_some(()));
    assert!(replay.try_wait().expect("a child of ours").is_none(), "the replay was already over");
    server.kill();

    let done = wattledger(&home, &["restore", text(&backups), "--data-dir", text(&home.data())]).ok();
    for part in [text(&image), "set aside  ", "Agents send again"] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let server = home.start_with(&address, &[]);
    let said = || std::fs::read_to_string(home.path("replay.log")).unwrap_or_default();
    let status = within(replay, Duration::from_secs(120), said);
    assert!(status.success(), "{status}\n{}", said());
    let sum: i128 = rows(&url, &format!("window={window}&by=host")).iter().map(|row| row.energy_uj).sum();
    assert_eq!(sum, expected, "the undisturbed total");
    server.terminate();
    let done = wattledger(&home, &["verify", "--data-dir", text(&home.data())]).ok();
    assert!(done.out.contains("ok: "), "{}", done.out);
}

#[test]
fn a_backup_of_either_a_running_or_a_stopped_store_begins_a_ledger_elsewhere() {
    let (home, other, start) = (Home::new(), Home::new(), slot_ago_ms(3));
    let server = home.start();
    let window = book(&server, start);
    let backup = |to: &str| {
        let to = home.path(to);
        let done = wattledger(&home, &["backup", text(&to), "--data-dir", text(&home.data())]).ok();
        assert!(done.out.contains("1 owner with 1 account"), "{}", done.out);
        to
    };
    let live = backup("live");
    let generation = counter_generation(&server);
    server.terminate();
    let still = backup("still");
    for from in [live, still] {
        wattledger(&other, &["restore", text(&from), "--data-dir", text(&other.data())]).ok();
        let server = other.start();
        assert_eq!(rollup(&server.url, &window, "").energy_uj, 6_000_000_000, "{}", from.display());
        assert_ne!(counter_generation(&server), generation, "counters may step back only between generations");
        server.terminate();
    }
    // The second restore found the ledger of the first.
    let aside = std::fs::read_dir(other.data())
        .expect("a folder")
        .filter(|entry| entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with("quarantine-"));
    assert_eq!(aside.count(), 1);
}

/// The label `gen` of a server's counters.
fn counter_generation(server: &Server) -> String {
    let page = get(&format!("{}/metrics", server.url)).body;
    let line = page.lines().find(|line| line.starts_with("wattledger_energy_joules_total{")).expect("a counter");
    line.split("gen=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("its generation").to_owned()
}

#[test]
fn verify_finds_a_doctored_register_and_a_damaged_export() {
    let (home, start) = (Home::new(), slot_ago_ms(3));
    let server = home.start();
    book(&server, start);
    server.terminate();
    let data = home.data();
    let verify = |more: &[&str]| wattledger(&home, &[&["verify", "--data-dir", text(&data)], more].concat());
    let clean = verify(&[]).ok();
    for part in ["1 owner with 1 account", "0.002 kWh", "image  ", "ok: "] {
        assert!(clean.out.contains(part), "{part}: {}", clean.out);
    }
    let document: Value = serde_json::from_str(&verify(&["--format", "json"]).ok().out).expect("JSON");
    assert_eq!((&document["ok"], &document["ledger"]["holds"]["energy_uj"]), (&true.into(), &"6000000000".into()));
    assert_eq!(document["images"][0]["can_replace_the_ledger"], true);

    // One half picojoule too many in a register, written as the ledger itself would write it.
    let opened = store::open_or_restore(&data, &data.join("exports"), 1).expect("a store").store;
    let owner = meter::Owner::host("node-1").expect("a good name");
    let row = opened.load(&[owner]).expect("loads").remove(0).expect("a row");
    let mut state = records::decode_row(&row.owner, &row.bytes).expect("a row");
    state.accounts[0].lifetime.0[1].0 += 1;
    let commit = store::OwnerCommit {
        owner: row.owner,
        expect: row.version,
        next: row.version + 1,
        row: records::encode_row(&state),
        history: Vec::new(),
        documents: Vec::new(),
    };
    opened.commit(vec![commit]).expect("commits");
    drop(opened);
    let found = verify(&[]);
    failed(&found, 1, &["1 discrepancy"]);
    let due: i128 = 6_000_000_000 * 2_000_000;
    let line = format!(
        "default/host/node-1 chassis:wall  register-integrated: expected {due} half pJ, found {} half pJ",
        due + 1
    );
    assert!(found.out.contains(&line), "{}", found.out);

    let export = images(&data.join("exports")).pop().expect("an export");
    let mut bytes = std::fs::read(&export).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&export, bytes).expect("written");
    let found = verify(&["--format", "json"]);
    failed(&found, 1, &["2 discrepancies"]);
    let document: Value = serde_json::from_str(&found.out).expect("JSON");
    assert_eq!(document["ledger"]["discrepancies"][0]["code"], "register-integrated");
    assert_eq!(document["images"][0]["can_replace_the_ledger"], false);
    assert!(document["images"][0]["unreadable"].as_str().expect("a reason").contains("checksum"), "{document}");
    // Looking changed nothing: the doctored register is still there, and nothing was set aside.
    assert_eq!(verify(&[]).status.code(), Some(1));
    assert!(
        !std::fs::read_dir(&data)
            .expect("a folder")
            .any(|entry| { entry.expect("an entry").file_name().to_string_lossy().starts_with("quarantine-") })
    );
}

#[test]
fn wrong_input_is_told_and_changes_nothing() {
    let (home, start) = (Home::new(), slot_ago_ms(3));
    let server = home.start();
    let window = book(&server, start);
    let backups = home.path("backups");
    wattledger(&home, &["backup", text(&backups), "--server", &server.url]).ok();
    let image = images(&backups).pop().expect("an image");
    let whole = std::fs::read(&image).expect("a file");
    let cut = home.write("cut.image", &whole[..whole.len() / 2]);
    let rubbish = home.write("rubbish.image", "not an image at all, but long enough to be taken for one");
    let (data, nowhere, empty) = (home.data(), home.path("nowhere"), home.path("empty"));
    std::fs::create_dir(&empty).expect("a folder");
    let run = |arguments: &[&str]| wattledger(&home, arguments);

    failed(&run(&["restore", text(&image), "--data-dir", text(&data)]), 1, &["in use by another wattledger process"]);
    failed(&run(&["verify", "--data-dir", text(&data)]), 1, &["in use by another wattledger process"]);
    failed(&run(&["verify", "--data-dir", text(&nowhere)]), 2, &["nowhere", "no such directory"]);
    failed(&run(&["verify", "--data-dir", text(&empty)]), 2, &["empty", "there is no ledger"]);
    failed(&run(&["verify", text(&nowhere)]), 2, &["no such file"]);
    failed(&run(&["verify", text(&cut)]), 1, &["1 discrepancy"]);
    failed(&run(&["restore", text(&nowhere), "--data-dir", text(&home.path("d1"))]), 2, &["no such file"]);
    failed(&run(&["restore", text(&empty), "--data-dir", text(&home.path("d1"))]), 2, &["no image"]);
    failed(
        &run(&["restore", text(&cut), "--data-dir", text(&home.path("d1"))]),
        1,
        &["cut.image", "checksum", "nothing was restored"],
    );
    failed(&run(&["restore", text(&rubbish), "--data-dir", text(&home.path("d1"))]), 1, &["no export or backup"]);
    failed(&run(&["restore", "--data-dir", text(&data)]), 2, &["DIR|FILE"]);
    failed(&run(&["backup", text(&empty), "--server", "http://127.0.0.1:1"]), 1, &["no aggregator answers"]);
    failed(&run(&["backup", text(&empty), "--data-dir", text(&nowhere)]), 2, &["no such directory"]);
    failed(&run(&["backup", text(&cut), "--server", &server.url]), 1, &["cut.image"]);
    failed(&run(&["host", "retire", "nobody", "--server", &server.url]), 1, &["no-such-owner", "nobody"]);
    failed(&run(&["host", "rebind", "nobody", "--server", &server.url]), 1, &["no-such-owner"]);
    failed(&run(&["host", "rebind", "node-1", "--server", &server.url]), 1, &["not-bound"]);
    failed(&run(&["host", "retire", "node-1", "--at", "soon", "--server", &server.url]), 2, &["bad-instant"]);
    failed(&run(&["host", "retire"]), 2, &["NAME"]);
    assert_eq!(std::fs::read_dir(&empty).expect("a folder").count(), 0, "no half backup is left");
    assert!(!home.path("d1/ledger").exists(), "nothing was restored");

    // A damaged image in a directory is passed over.
    std::fs::copy(&cut, backups.join("backup-99999999999999999999-00000000000000000009.image")).expect("copied");
    server.terminate();
    let done = run(&["restore", text(&backups), "--data-dir", text(&data)]).ok();
    assert!(done.out.contains(text(&image)), "{done:?}");
    let server = home.start();
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 6_000_000_000);
}

#[test]
fn an_operator_rebinds_and_retires_hosts_and_can_look_it_up() {
    let home = Home::new();
    let server = home.start();
    let config = home.write("agent.toml", made_up("made-up", 200, 1));
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    command.args(["run", "--config"]).arg(config).args(["--server", &server.url, "--state-dir"]);
    command.arg(home.path("agent")).stdout(Stdio::null()).stderr(Stdio::null());
    let _agent = Killed(command.spawn().expect("the agent"));
    let host = || get(&format!("{}/api/v1/hosts/made-up", server.url));
    let machine = wait_for("a bound host", Duration::from_secs(30), || {
        let answer = host();
        if answer.status == 200 { answer.json()["host"]["machine"].as_str().map(ToOwned::to_owned) } else { None }
    });
    let run = |arguments: &[&str]| wattledger(&home, &[&["host"], arguments, &["--server", &server.url]].concat());
    let done = run(&["rebind", "made-up", "--cluster", "default"]).ok();
    assert!(done.out.contains("default/made-up") && done.out.contains(&machine), "{}", done.out);
    // The same machine reports itself again, and is bound again: it says hello for the stream it has to begin.
    wait_for("the machine", Duration::from_secs(30), || (host().json()["host"]["machine"] == *machine).then_some(()));

    run(&["retire", "made-up"]).ok();
    assert_eq!(host().json()["host"]["state"], "retired");
    run(&["retire", "made-up", "--undo"]).ok();
    assert_eq!(host().json()["host"]["state"], "live");
    let acts = run(&["acts"]).ok().out;
    let lines: Vec<&str> = acts.lines().collect();
    assert_eq!(lines.len(), 3, "{acts}");
    for (line, act) in lines.iter().zip(["unretire", "retire", "rebind"]) {
        assert!(
            line.contains(act) && line.contains("default/host/made-up") && line.contains("from 127.0.0.1"),
            "{line}"
        );
    }
    let document: Value = serde_json::from_str(&run(&["acts", "--format", "json"]).ok().out).expect("JSON");
    assert_eq!(document["acts"][2]["old"], *machine);
}

#[test]
fn other_machines_may_neither_administer_nor_take_a_backup() {
    // The address by which others would reach this machine; nothing is sent.
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:9").map(|()| socket));
    let own = route.and_then(|socket| socket.local_addr()).map(|address| address.ip());
    let Some(own) = own.ok().filter(|own| !own.is_loopback() && !own.is_unspecified()) else {
        eprintln!("SKIPPED: this machine has no address but loopback");
        return;
    };
    let home = Home::new();
    let server = home.start_with("0.0.0.0:0", &["--insecure"]);
    let port = server.address().rsplit(':').next().expect("a port").to_owned();
    let url = format!("http://{own}:{port}");
    let backups = home.path("backups");
    for arguments in [&["backup", text(&backups)][..], &["host", "acts"], &["host", "retire", "n"]] {
        let done = wattledger(&home, &[arguments, &["--server", &url]].concat());
        failed(&done, 1, &["not-from-here", "own machine"]);
    }
    wattledger(&home, &["backup", text(&backups), "--server", &format!("http://127.0.0.1:{port}")]).ok();
}
