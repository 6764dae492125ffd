//! BMCs by Redfish, on servers that stand in for them: read by the built agent, into the built ledger.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::bmc::{Bmc, Mood, PASSWORD, USER};
use crate::harness::{Home, Killed, Server, get, wait_for};

/// A busy machine has done within this what takes it a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

const METRICS: &str = "/redfish/v1/Chassis/1/EnvironmentMetrics";

/// How far a counter has moved each time that it is read: 0.001 kWh.
const STEP_UJ: i128 = 3_600_000_000;

/// A BMC; the even ones have a counter that moves by [`STEP_UJ`] with every reading, the others draw 200 W and
/// a watt more for each number.
fn bmc(number: usize) -> Bmc {
    counting(number, &Arc::default()).0
}

/// A BMC whose counter moves until `rests` is set, and how far it has moved.
fn counting(number: usize, rests: &Arc<AtomicBool>) -> (Bmc, Arc<AtomicU64>) {
    let (bmc, moved) = (Bmc::start(), Arc::<AtomicU64>::default());
    let (read, rests) = (Arc::clone(&moved), Arc::clone(rests));
    bmc.be_a_server(&format!("SN{number:04}"), &format!("4c4c4544-0051-4e10-8058-{number:012x}"), move || {
        let watts = 200 + number;
        if number % 2 == 1 {
            return format!(r#"{{"PowerWatts": {{"Reading": {watts}}}}}"#);
        }
        let step = u64::from(!rests.load(Ordering::Relaxed));
        let steps = read.fetch_add(step, Ordering::Relaxed) + step;
        format!(
            r#"{{"PowerWatts": {{"Reading": {watts}}}, "EnergykWh": {{"LifetimeReading": {}.{:03}}}}}"#,
            5000 + steps / 1000,
            steps % 1000
        )
    });
    (bmc, moved)
}

/// A running agent that reads these BMCs every half second, and a ledger.
struct Scene {
    home: Home,
    server: Server,
    agent: Killed,
}

impl Scene {
    fn new(bmcs: &[Bmc], password: &str) -> Self {
        let home = Home::new();
        let server = home.start();
        let groups: Vec<Value> = bmcs
            .iter()
            .enumerate()
            .map(|(number, bmc)| {
                let labels = json!({ "host": format!("node-{number:02}"), "pin": bmc.fingerprint() });
                json!({ "targets": [bmc.url()], "labels": labels })
            })
            .collect();
        let targets = home.write("bmcs.json", Value::from(groups).to_string());
        let secret = home.write("secret", password);
        let config = home.write(
            "agent.toml",
            format!(
                "[agent]\nhost = \"reader\"\n[uplink]\ninterval_s = 1\n[sources]\nnvml.enabled = false\n\
                 rapl.enabled = false\nhwmon.enabled = false\n[sources.redfish]\nperiod_ms = 500\n\
                 timeout_ms = 30000\nfile_sd = [{targets:?}]\n[sources.redfish.profiles.ops]\nuser = \"{USER}\"\n\
                 password_file = {secret:?}\n"
            ),
        );
        let log = std::fs::File::create(home.path("agent.log")).expect("a log file");
        let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
        command.args(["run", "--server", &server.url, "--config"]).arg(config).arg("--state-dir");
        command.arg(home.path("agent")).env("WATTLEDGER_LOG", "debug").stdout(Stdio::null()).stderr(log);
        let agent = Killed(command.spawn().expect("the agent"));
        Self { home, server, agent }
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(self.home.path("agent.log")).unwrap_or_default()
    }

    /// The account of a BMC, if the ledger knows it.
    fn account(&self, number: usize) -> Option<Value> {
        let all = get(&format!("{}/api/v1/devices?limit=1000", self.server.url)).json();
        let owner = format!("bmc-node-{number:02}");
        let all = all["devices"].as_array()?;
        all.iter().find(|one| one["owner"] == owner.as_str() && one["kind"] == "chassis").cloned()
    }

    /// Ends the agent in good order.
    fn end(&mut self) {
        kill_process(Pid::from_child(&self.agent.0), Signal::TERM).expect("a running agent");
        let child: &mut Child = &mut self.agent.0;
        let ended = wait_for("the agent's end", PATIENCE, || child.try_wait().expect("a child of ours"));
        assert!(ended.success(), "{ended}\n{}", self.logged());
    }

    /// Fails if the password can be seen anywhere.
    fn keeps(&self, secret: &str) {
        let log = self.logged();
        assert!(!log.contains(secret), "{log}");
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{}/{file}", self.agent.0.id());
            let text = std::fs::read(path).expect("a running agent");
            assert!(!String::from_utf8_lossy(&text).contains(secret), "{file}");
        }
    }
}

fn uj(account: &Value) -> i128 {
    account["lifetime"]["uj"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{account}"))
}

#[test]
fn of_fifty_bmcs_one_that_hangs_delays_no_other_and_every_joule_is_right() {
    const HANGS: usize = 7;
    let rests = Arc::new(AtomicBool::new(false));
    let (bmcs, counters): (Vec<Bmc>, Vec<_>) = (0..50).map(|number| counting(number, &rests)).unzip();
    let mut scene = Scene::new(&bmcs, &format!("{PASSWORD}\n"));
    let others = || bmcs.iter().enumerate().filter(|(number, _)| *number != HANGS);
    wait_for("two readings of each", PATIENCE, || bmcs.iter().all(|bmc| bmc.asked(METRICS) > 3).then_some(()));

    bmcs[HANGS].be(Mood::Hangs);
    let before: Vec<usize> = bmcs.iter().map(|bmc| bmc.asked(METRICS)).collect();
    let since = Instant::now();
    wait_for("six more readings of each other", PATIENCE, || {
        others().all(|(number, bmc)| bmc.asked(METRICS) >= before[number] + 6).then_some(())
    });
    assert!(since.elapsed() < Duration::from_secs(25), "the timeout is 30 s, the period 0.5 s: {:?}", since.elapsed());
    assert!(bmcs[HANGS].asked(METRICS) <= before[HANGS] + 1, "one request at a time");
    scene.keeps(PASSWORD);
    // From now on nothing is added that the end could cut off.
    rests.store(true, Ordering::Relaxed);
    let resting: Vec<usize> = bmcs.iter().map(|bmc| bmc.asked(METRICS)).collect();
    wait_for("two readings of counters at rest", PATIENCE, || {
        others().all(|(number, bmc)| bmc.asked(METRICS) >= resting[number] + 2).then_some(())
    });
    scene.end();

    let mut ended = 0;
    for (number, bmc) in others() {
        let account = scene.account(number).unwrap_or_else(|| panic!("no account of {number}\n{}", scene.logged()));
        let energy = uj(&account);
        if number % 2 == 0 {
            // It moved with every request. The first two were looks, the third was the first reading; what it
            // moved from there on is booked.
            let steps = i128::from(counters[number].load(Ordering::Relaxed)) - 3;
            assert_eq!(energy, steps * STEP_UJ, "{number}: {account}");
        } else {
            let watts = 200 + number;
            let covered = account["covered_seconds"].as_f64().expect("seconds");
            // µJ; the seconds are printed to at least a millisecond.
            let expected = watts as f64 * covered * 1e6;
            assert!((energy as f64 - expected).abs() <= watts as f64 * 1e3, "{number}: {expected} µJ, {account}");
            assert!(covered > 3.0, "{account}");
        }
        let seen = bmc.seen();
        assert_eq!((seen.logins, seen.at_once, seen.refused), (1, 1, 0), "{number}");
        assert!(seen.deleted <= 1, "{number}: {} ends of one session", seen.deleted);
        ended += seen.deleted;
    }
    // They end with the agent, which takes a second for all of them: on a busy machine it may leave some to themselves.
    assert!(ended >= 25, "{ended} of 49 sessions were ended");
}

#[test]
fn a_wrong_password_is_tried_twice_and_said_once() {
    let bmcs: Vec<Bmc> = (0..5).map(bmc).collect();
    let mut scene = Scene::new(&bmcs, "a-mistyped-secret\n");
    let said = "does not log in anywhere for a while";
    wait_for("the pause", PATIENCE, || scene.logged().contains(said).then_some(()));
    // Everybody had a turn since.
    wait_for("a look at each", PATIENCE, || bmcs.iter().all(|bmc| bmc.asked("/redfish/v1/") > 0).then_some(()));
    wait_for("everybody's word", PATIENCE, || {
        let log = scene.logged();
        bmcs.iter().all(|bmc| log.contains(bmc.url().trim_start_matches("https://"))).then_some(())
    });
    assert_eq!(bmcs.iter().map(|bmc| bmc.seen().refused).sum::<u32>(), 2, "{}", scene.logged());
    assert_eq!(scene.logged().matches(said).count(), 1, "{}", scene.logged());
    scene.keeps("a-mistyped-secret");
    scene.end();
}

#[test]
fn a_bmc_that_is_another_one_than_pinned_gets_no_password() {
    let bmcs = [bmc(1), bmc(3)];
    let mut scene = Scene::new(&bmcs, PASSWORD);
    wait_for("readings", PATIENCE, || scene.account(1));
    // Its name leads to another machine from now on.
    let groups = json!([{ "targets": [bmcs[0].url()], "labels": { "host": "node-09", "pin": bmcs[1].fingerprint() } }]);
    scene.home.write("bmcs.json", groups.to_string());
    let shown = bmcs[0].fingerprint().to_owned();
    wait_for("the certificate's fingerprint in the log", PATIENCE, || scene.logged().contains(&shown).then_some(()));
    let logins = bmcs[0].seen().logins;
    assert_eq!(logins, 1, "only while it was the right one");
    scene.end();
}
