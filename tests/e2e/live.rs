//! A live agent beside an aggregator that dies, and one that loses its ledger: nothing is missing.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    Home, Killed, Server, counter, free_address, get, made_up, now_ms, rollup, slots_around, wait_for,
};

/// A made-up machine of a team.
fn config() -> String {
    made_up("made-up", 200, 4) + "[labels]\nteam = \"nlp\"\n"
}

fn run(home: &Home, address: &str) -> Killed {
    let config = home.write("agent.toml", config());
    let log = std::fs::File::options().create(true).append(true).open(home.path("agent.log")).expect("a log file");
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    command.args(["run", "--config"]).arg(config).args(["--server", &format!("http://{address}"), "--state-dir"]);
    Killed(command.arg(home.path("agent")).stdout(Stdio::null()).stderr(log).spawn().expect("the agent"))
}

fn readings(server: &Server) -> f64 {
    counter(&server.url, "wattledger_readings_total", "")
}

fn wait_for_readings(server: &Server, at_least: f64) -> f64 {
    wait_for(&format!("{at_least} readings"), Duration::from_secs(30), || {
        let now = readings(server);
        (now >= at_least).then_some(now)
    })
}

#[test]
fn an_agent_outlives_its_aggregator_and_refills_a_lost_ledger() {
    let (home, address) = (Home::new(), free_address());
    let begin = now_ms();
    let said = || std::fs::read_to_string(home.path("agent.log")).unwrap_or_default();
    // The agent is first: it waits for its aggregator as long as it takes.
    let mut agent = run(&home, &address);
    wait_for("the made-up GPUs", Duration::from_secs(30), || said().contains("found").then_some(()));
    let reads = now_ms();
    std::thread::sleep(Duration::from_millis(700));
    let server = home.start_with(&address, &[]);
    let before = wait_for_readings(&server, 20.0);
    server.kill();

    std::thread::sleep(Duration::from_secs(2));
    let server = home.start_with(&address, &[]);
    assert!(readings(&server) >= before, "what was durable is there");
    let before = wait_for_readings(&server, before + 30.0);
    server.kill();

    // The disk is gone: the agent's spool holds all it ever sent.
    std::fs::remove_dir_all(home.data()).expect("a data directory of ours");
    let server = home.start_with(&address, &[]);
    wait_for_readings(&server, before + 10.0);

    // The agent dies as well; its spool goes on where it stood.
    agent.0.kill().expect("a running agent");
    agent.0.wait().expect("its end");
    let before = readings(&server);
    let mut agent = run(&home, &address);
    wait_for_readings(&server, before + 20.0);

    // From its first reading to the last one before its end; what a start and an end take on a busy machine is not read.
    let lived = (now_ms() - reads) as f64 / 1e3;
    kill_process(Pid::from_child(&agent.0), Signal::TERM).expect("a running agent");
    let ended = wait_for("the agent's end", Duration::from_secs(30), || agent.0.try_wait().expect("a child of ours"));
    assert!(ended.success(), "{ended}\n{}", said());

    let row = rollup(&server.url, &slots_around(begin, now_ms()), "host=made-up");
    println!("{} s covered of {lived} s", row.covered_seconds);
    assert!(row.covered_seconds >= lived - 2.0, "{} s covered of {lived} s: {row:?}", row.covered_seconds);
    assert!(row.energy_uj > 0 && row.estimated_joules < 0.01 * row.energy_uj as f64 / 1e6, "{row:?}");
    let host = get(&format!("{}/api/v1/hosts/made-up", server.url)).json();
    assert_eq!(host["host"]["labels"]["simulated"], "true", "what is made up says so: {host}");
    assert_eq!(host["host"]["labels"]["team"], "nlp", "{host}");
}

#[test]
fn an_agent_without_any_sensor_says_so_and_stays() {
    let (home, address) = (Home::new(), free_address());
    let _server = home.start_with(&address, &[]);
    let config = home.write(
        "agent.toml",
        config().replace("[sources.simulated]\nenabled = true", "[sources.simulated]\nenabled = false"),
    );
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    let log = std::fs::File::create(home.path("agent.log")).expect("a log file");
    command.args(["run", "--config"]).arg(config).args(["--server", &format!("http://{address}"), "--state-dir"]);
    let mut agent =
        Killed(command.arg(home.path("agent")).stdout(Stdio::null()).stderr(log).spawn().expect("the agent"));
    std::thread::sleep(Duration::from_secs(2));
    let said = || std::fs::read_to_string(home.path("agent.log")).unwrap_or_default();
    if let Some(status) = agent.0.try_wait().expect("a child of ours") {
        panic!("a node whose driver comes up later would never report: {status}\n{}", said());
    }
    assert!(!said().contains("panicked"), "{}", said());
}
