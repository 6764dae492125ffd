//! The source `nvml` of the built agent on a library that stands in for the driver, up to the ledger.
//!
//! The GPUs' energy is known in closed form: load begins after the agent's first look and ends before its last,
//! so the ledger must hold exactly that, to the microjoule, whenever it was read in between.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::driver::{Call, Driver, Knob, LOST, READING, Wave, boot_ns};
use crate::harness::{Home, Killed, Server, get, refused, wait_for};

const SECOND: u64 = 1_000_000_000;

/// An agent at work on a driver.
struct Agent {
    running: Killed,
    log: std::path::PathBuf,
}

impl Agent {
    /// Reads at 10 Hz, and looks for GPUs every so many seconds.
    fn start(home: &Home, server: &Server, driver: &Driver, rescan_s: u64) -> Self {
        let config = home.write("agent.toml", driver.config("gpu-1", 100, rescan_s));
        let log = home.path("agent.log");
        let errors = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
        command.args(["run", "--config"]).arg(config).args(["--server", &server.url, "--state-dir"]);
        let child = command.arg(home.path("state")).stdout(Stdio::null()).stderr(errors).spawn();
        Self { running: Killed(child.expect("the agent")), log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it in good order: everything it read is in the ledger then.
    fn stop(mut self) -> (String, Duration) {
        let (child, since) = (&mut self.running.0, Instant::now());
        kill_process(Pid::from_child(child), Signal::TERM).expect("a running agent");
        let ended = wait_for("the agent's end", Duration::from_secs(30), || child.try_wait().expect("a child of ours"));
        let said = self.said();
        assert!(ended.success(), "{ended}\n{said}");
        (said, since.elapsed())
    }
}

/// Waits until an agent looked at every one of these GPUs at least once more.
fn wait_for_looks(driver: &Driver, gpus: impl IntoIterator<Item = u64>) {
    for gpu in gpus {
        let before = driver.looks(gpu);
        wait_for("a look at a GPU", Duration::from_secs(30), || (driver.looks(gpu) > before + 1).then_some(()));
    }
}

/// Waits until an instant of the boot clock, and a little longer than a counter takes to show it.
fn wait_until(ns: u64) {
    let left = (ns + SECOND / 5).saturating_sub(boot_ns());
    std::thread::sleep(Duration::from_nanos(left));
}

/// The ledger's accounts by scope and device.
pub(crate) fn accounts(server: &Server) -> BTreeMap<String, Value> {
    let answer = get(&format!("{}/api/v1/devices?limit=1000", server.url)).json();
    let devices = answer["devices"].as_array().expect("devices").clone();
    let name = |device: &Value| format!("{}:{}", device["scope"].as_str().unwrap(), device["device"].as_str().unwrap());
    devices.into_iter().map(|device| (name(&device), device)).collect()
}

pub(crate) fn uuid(gpu: u64) -> String {
    format!("gpu:GPU-fa4e0000-0000-4000-8000-{gpu:012x}")
}

/// The energy of a GPU's account in microjoules, all of which must be its counter's.
pub(crate) fn counted(accounts: &BTreeMap<String, Value>, gpu: u64) -> u64 {
    let account = accounts.get(&uuid(gpu)).unwrap_or_else(|| panic!("no GPU {gpu} in {accounts:?}"));
    assert_eq!(account["lifetime"]["integrated_joules"], 0.0, "{account}");
    assert_eq!(account["lifetime"]["estimated_joules"], 0.0, "{account}");
    account["lifetime"]["uj"].as_str().expect("microjoules").parse().expect("a whole number")
}

/// A load like no other GPU's: from `from_ns` for four seconds.
fn load(gpu: u64, from_ns: u64) -> Wave {
    const HALVES: [u64; 10] = [2, 4, 5, 8, 10, 16, 20, 25, 40, 50];
    Wave::square(from_ns, 4000, HALVES[gpu as usize], 700_000 - 1000 * gpu, 60_000 + 2000 * gpu)
}

#[test]
fn eight_gpus_at_ten_hertz_are_counted_to_the_microjoule_and_only_read() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 8) else { return };
    // One is split into instances, which repeat its figures: it is still one.
    driver.set(7, Knob::Mig, 1);
    let server = home.start();
    let agent = Agent::start(&home, &server, &driver, 1);
    wait_for_looks(&driver, 0..8);
    let from = boot_ns() + SECOND / 2;
    (0..8).for_each(|gpu| driver.wave(gpu, 0, &load(gpu, from)));
    wait_until(from + 4 * SECOND);
    wait_for_looks(&driver, 0..8);
    let (said, _) = agent.stop();
    let accounts = accounts(&server);
    assert_eq!(accounts.len(), 8, "{:?}\n{said}", accounts.keys());
    for gpu in 0..8 {
        assert_eq!(counted(&accounts, gpu), load(gpu, from).uj(), "GPU {gpu}");
        // Ten looks a second for five seconds, on a machine that may be busy.
        assert!(driver.looks(gpu) > 25, "GPU {gpu} was looked at {} times", driver.looks(gpu));
    }
    let calls = driver.calls();
    let others: Vec<_> = calls.iter().filter(|call| !READING.contains(&call.as_str())).collect();
    assert!(others.is_empty() && calls.contains("nvmlDeviceGetFieldValues"), "a meter only reads: {others:?}");
    assert!(calls.contains("nvmlShutdown"), "the driver is let go of in the end");
}

#[test]
fn a_counter_that_starts_again_loses_and_invents_nothing() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 2) else { return };
    let server = home.start();
    let agent = Agent::start(&home, &server, &driver, 1);
    wait_for_looks(&driver, 0..2);
    // Load, a pause in which the driver is set up anew, load.
    let from = boot_ns() + SECOND / 2;
    let (first, second) = (Wave::square(from, 1000, 2, 500_000, 100_000), load(0, from + 3 * SECOND));
    driver.set(0, Knob::ResetAtNs, from + 2 * SECOND);
    for gpu in 0..2 {
        driver.wave(gpu, 0, &first);
        driver.wave(gpu, 1, &second);
    }
    wait_until(second.to_ns);
    wait_for_looks(&driver, 0..2);
    agent.stop();
    let accounts = accounts(&server);
    for gpu in 0..2 {
        assert_eq!(counted(&accounts, gpu), first.uj() + second.uj(), "GPU {gpu}");
    }
    let hole = &accounts[&uuid(0)]["uncovered_seconds"];
    assert!(hole.as_f64().is_some_and(|hole| hole > 0.0 && hole < 2.0), "the step itself is not covered: {hole}");
    assert_eq!(accounts[&uuid(1)]["uncovered_seconds"], 0.0);
}

#[test]
fn a_gpu_falls_off_the_bus_and_returns_while_seven_go_on() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 8) else { return };
    // Lost after 6 J, back with 45 J on a counter that began at zero: a difference of both would be 39 J.
    driver.set(3, Knob::BaseMj, 0);
    let server = home.start();
    let agent = Agent::start(&home, &server, &driver, 1);
    wait_for_looks(&driver, 0..8);
    let from = boot_ns() + SECOND / 2;
    let before = Wave::square(from, 1000, 5, 10_000, 2_000);
    let lost_at = from + 3 * SECOND / 2;
    let meanwhile = Wave::square(lost_at + SECOND, 1000, 5, 80_000, 10_000);
    let back_at = meanwhile.to_ns + SECOND;
    let after = Wave::square(back_at + 6 * SECOND, 1000, 5, 400_000, 100_000);
    for gpu in 0..8 {
        (0..).zip([before, meanwhile, after]).for_each(|(number, wave)| driver.wave(gpu, number, &wave));
    }
    wait_until(lost_at);
    driver.fail(3, Call::Handle, LOST);
    driver.set(3, Knob::ResetAtNs, lost_at + SECOND / 2);
    // A look may have been under way.
    wait_for("its loss", Duration::from_secs(10), || agent.said().contains("a GPU is lost").then_some(()));
    let looks = driver.looks(3);
    wait_until(back_at);
    assert_eq!(driver.looks(3), looks, "what is not there is not looked at");
    driver.fail(3, Call::Handle, 0);
    wait_for_looks(&driver, [3]);
    assert!(boot_ns() < after.from_ns, "this machine is too busy to tell");
    wait_until(after.to_ns);
    wait_for_looks(&driver, 0..8);
    let (said, _) = agent.stop();
    let accounts = accounts(&server);
    for gpu in 0..8 {
        let unseen = if gpu == 3 { meanwhile.uj() } else { 0 };
        assert_eq!(counted(&accounts, gpu), before.uj() + meanwhile.uj() + after.uj() - unseen, "GPU {gpu}\n{said}");
    }
    assert_eq!(said.matches("a GPU is lost").count(), 1, "said once\n{said}");
    assert_eq!(said.matches("answers again").count(), 1, "{said}");
}

#[test]
fn errors_and_values_that_are_none_leave_the_counters_exact() {
    const UNSIGNED_LONG_LONG: u64 = 3;
    const SIGNED: u64 = 4;
    const NO_SUCH_TYPE: u64 = 77;
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 10) else { return };
    let server = home.start();
    let agent = Agent::start(&home, &server, &driver, 1);
    wait_for_looks(&driver, 0..10);
    let from = boot_ns() + SECOND / 2;
    (0..10).for_each(|gpu| driver.wave(gpu, 0, &load(gpu, from)));
    wait_until(from + SECOND);
    // One trouble for each, in the middle of the load.
    for (gpu, call, code) in [
        (0, Call::Fields, 999),
        (1, Call::Fields, 4),
        (2, Call::EnergyField, 10),
        (3, Call::AverageField, 3),
        (4, Call::Fields, 10),
    ] {
        driver.fail(gpu, call, code);
    }
    driver.fail(2, Call::AverageField, 10);
    driver.fail(2, Call::InstantField, 10);
    driver.fail(2, Call::PowerUsage, 10);
    // The types before the values: a look in between must not take such a value for a counter's.
    driver.set(7, Knob::EnergyType, SIGNED + 1);
    driver.set(8, Knob::EnergyType, NO_SUCH_TYPE + 1);
    driver.set(9, Knob::PowerType, UNSIGNED_LONG_LONG + 1);
    for (gpu, knob, value) in [
        (5, Knob::RawPower, u64::from(u32::MAX)),
        (6, Knob::RawEnergy, u64::MAX),
        (7, Knob::RawEnergy, (-5_i64).cast_unsigned()),
        (8, Knob::RawEnergy, 5),
        (9, Knob::RawPower, 1_000_000_000),
    ] {
        driver.set(gpu, knob, value);
    }
    wait_until(from + 3 * SECOND);
    for gpu in 0..10 {
        for call in [Call::Fields, Call::EnergyField, Call::AverageField, Call::InstantField, Call::PowerUsage] {
            driver.fail(gpu, call, 0);
        }
        for knob in [Knob::RawPower, Knob::RawEnergy, Knob::EnergyType, Knob::PowerType] {
            driver.set(gpu, knob, 0);
        }
    }
    wait_until(from + 4 * SECOND);
    wait_for_looks(&driver, 0..10);
    let (said, _) = agent.stop();
    let accounts = accounts(&server);
    for gpu in 0..10 {
        assert_eq!(counted(&accounts, gpu), load(gpu, from).uj(), "GPU {gpu}\n{said}");
        assert_eq!(accounts[&uuid(gpu)]["holes"], 0, "a counter bridges what was not answered: GPU {gpu}");
    }
    for reason in ["sentinel", "counter-negative", "malformed", "above-ceiling"] {
        assert!(refused(&server.url, reason) > 0, "{reason} is counted");
    }
    assert_eq!(said.matches("a GPU gives no value").count(), 4, "once for each that said nothing\n{said}");
}

#[test]
fn a_vgpu_without_a_counter_is_integrated() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 1) else { return };
    for call in [Call::EnergyField, Call::TotalEnergy, Call::AverageField] {
        driver.fail(0, call, 3);
    }
    driver.wave(0, 0, &Wave { from_ns: 1, to_ns: u64::MAX / 2, half_ns: 0, high_mw: 300_000, low_mw: 0 });
    let server = home.start();
    let agent = Agent::start(&home, &server, &driver, 1);
    wait_for_looks(&driver, [0]);
    wait_until(boot_ns() + 2 * SECOND);
    agent.stop();
    let account = accounts(&server).remove(&uuid(0)).expect("the GPU");
    let (joules, seconds) = (&account["lifetime"]["integrated_joules"], &account["covered_seconds"]);
    let (joules, seconds) = (joules.as_f64().expect("joules"), seconds.as_f64().expect("seconds"));
    // Dates are slewed by at most 500 ppm, energy is not.
    assert!(seconds > 1.0 && (joules - 300.0 * seconds).abs() < 300.0 * seconds * 5e-4, "{account}");
    assert_eq!(account["lifetime"]["counter_joules"], 0.0);
}

#[test]
fn gpus_come_and_go_without_a_restart_and_keep_their_counters_apart() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 0) else { return };
    driver.order(&[1, 2]);
    let server = home.start();
    // Seldom enough that the others are read under their new numbers before anybody looks.
    let agent = Agent::start(&home, &server, &driver, 3);
    wait_for_looks(&driver, [1, 2]);
    let from = boot_ns() + SECOND / 2;
    [1, 2].into_iter().for_each(|gpu| driver.wave(gpu, 0, &load(gpu, from)));
    wait_until(from + SECOND);
    // The driver discovers a GPU before the others on the bus: all numbers shift.
    driver.order(&[0, 1, 2]);
    wait_for_looks(&driver, [0]);
    let later = boot_ns() + SECOND / 2;
    driver.wave(0, 0, &load(0, later));
    wait_until(from + 4 * SECOND);
    wait_for_looks(&driver, [1]);
    // And one is taken away.
    driver.order(&[0, 2]);
    let looks = driver.looks(1);
    wait_until(later + 4 * SECOND);
    wait_for_looks(&driver, [0, 2]);
    let (said, _) = agent.stop();
    let accounts = accounts(&server);
    assert_eq!(accounts.len(), 3, "{said}");
    for (gpu, load) in [(0, load(0, later)), (1, load(1, from)), (2, load(2, from))] {
        assert_eq!(counted(&accounts, gpu), load.uj(), "GPU {gpu}\n{said}");
    }
    assert!(driver.looks(1) <= looks + 1, "what was taken away is not looked at");
}

#[test]
fn a_driver_that_hangs_neither_bends_the_energy_nor_holds_up_the_end() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 1) else { return };
    let server = home.start();
    let agent = Agent::start(&home, &server, &driver, 1);
    wait_for_looks(&driver, [0]);
    let from = boot_ns() + SECOND / 2;
    driver.wave(0, 0, &load(0, from));
    wait_until(from + SECOND);
    driver.set(0, Knob::HangMs, 700);
    wait_until(from + 4 * SECOND);
    driver.set(0, Knob::HangMs, 0);
    wait_for_looks(&driver, [0]);
    let energy = || {
        wait_for("the reading after the load", Duration::from_secs(10), || {
            (counted(&accounts(&server), 0) == load(0, from).uj()).then_some(())
        });
    };
    energy();
    driver.set(0, Knob::HangMs, 60_000);
    wait_for_looks_begun(&driver);
    let (said, took) = agent.stop();
    assert!(took < Duration::from_secs(6) && said.contains("does not answer"), "{took:?}\n{said}");
    energy();
}

/// Waits until a look has begun that hangs.
fn wait_for_looks_begun(driver: &Driver) {
    let before = driver.looks(0);
    wait_for("a look", Duration::from_secs(10), || (driver.looks(0) > before).then_some(()));
}
