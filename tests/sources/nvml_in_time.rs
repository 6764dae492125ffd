//! The source `nvml` in made-up time: hours of a driver's life, read by the agent's own source and kept by a
//! built aggregator, in a second.

use agents::feed::{Declared, Feed};
use agents::replay::SendSettings;
use agents::sources::nvml::Nvml;
use agents::sources::{NvmlSettings, Probe, Roots, Source};
use meter::{Clock, Context, Labels, Owner, Utc};
use serde_json::Value;

use crate::driver::{Call, Driver, Global, Knob, Wave};
use crate::harness::{Home, get, slot_ago_ms};
use crate::nvml::{accounts, counted, uuid};

const SECOND: u64 = 1_000_000_000;

/// A machine whose driver, clock and kernel a test moves.
struct Machine<'a> {
    driver: &'a Driver,
    roots: Roots,
    source: Nvml,
    feed: Feed,
    begin_ms: i64,
}

impl<'a> Machine<'a> {
    fn new(home: &Home, driver: &'a Driver, server: &str) -> Self {
        // Even for plain HTTP the client wants to know how it would encrypt.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots = Roots { sys: home.path("sys"), proc: home.path("proc") };
        std::fs::create_dir_all(roots.sys.join("module/nvidia")).expect("a folder");
        let boot = roots.proc.join("sys/kernel/random");
        std::fs::create_dir_all(&boot).expect("a folder");
        std::fs::write(boot.join("boot_id"), "7f3e0000-0000-4000-8000-000000000001\n").expect("a file");
        let owner = Owner::host("gpu-1").expect("a good name");
        let feed = Feed::new(&SendSettings::to(server), vec![(owner, Labels::default())]).expect("a feed");
        let source = Self::source(driver, &roots);
        Self { driver, roots, source, feed, begin_ms: slot_ago_ms(5) }
    }

    fn source(driver: &Driver, roots: &Roots) -> Nvml {
        let library = driver.library().display().to_string();
        Nvml::new(&NvmlSettings { library, ..NvmlSettings::default() }, roots)
    }

    /// The agent starts at this second.
    fn start(&mut self, second: u64) {
        self.driver.set_global(Global::NowNs, second * SECOND);
        self.source = Self::source(self.driver, &self.roots);
        assert!(matches!(self.source.probe(), Probe::Found { .. }));
    }

    /// Reads once a second, from one second to another.
    fn read(&mut self, seconds: std::ops::RangeInclusive<u64>) {
        for second in seconds {
            self.driver.set_global(Global::NowNs, second * SECOND);
            let mut samples = Vec::new();
            self.source.read(&mut samples).expect("a healthy driver");
            let devices = self.source.devices().to_vec();
            let declared = Declared::new(Context { clock: Clock::Utc, wall_offset_ns: 0, devices });
            let at = Utc(self.begin_ms * 1_000_000 + (second * SECOND) as i64);
            self.feed.append(0, &declared, at, samples);
        }
    }

    /// The driver's module is unloaded and loaded again.
    fn reload(&self) {
        let module = self.roots.sys.join("module/nvidia");
        // The folder of before stays, so that the file system cannot give its number again.
        std::fs::rename(&module, self.roots.sys.join("before")).expect("moved");
        std::fs::create_dir_all(&module).expect("a folder");
    }

    fn deliver(&mut self) {
        actix_rt::System::new().block_on(self.feed.deliver()).expect("an aggregator that takes it");
    }
}

fn constant(from_s: u64, to_s: u64, mw: u64) -> Wave {
    Wave { from_ns: from_s * SECOND, to_ns: to_s * SECOND, half_ns: 0, high_mw: mw, low_mw: mw }
}

#[test]
fn a_counter_that_reads_low_at_idle_is_flagged_and_still_books() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 2) else { return };
    let server = home.start();
    for gpu in 0..2 {
        driver.wave(gpu, 0, &constant(1, 20_000, 65_000));
    }
    driver.set(0, Knob::Permille, 600);
    let mut machine = Machine::new(&home, &driver, &server.url);
    machine.start(100);
    // The slot's comparison is drawn when the next one begins.
    machine.read(100..=899);
    machine.deliver();
    let flags = |gpu: u64| accounts(&server)[&uuid(gpu)]["flags"].clone();
    assert_eq!(flags(0), Value::from([""; 0]), "a slot is not over yet");
    machine.read(900..=1000);
    machine.deliver();
    assert_eq!((flags(0), flags(1)), (Value::from(["counter-disagrees"]), Value::from([""; 0])));
    let accounts = accounts(&server);
    // 65 W for 900 s, of which the counter saw 60 %.
    assert_eq!((counted(&accounts, 0), counted(&accounts, 1)), (35_100_000_000, 58_500_000_000));
    let host = get(&format!("{}/api/v1/hosts/gpu-1", server.url)).json();
    assert!(host["host"]["flags"].to_string().contains("counter-disagrees"), "{host}");
}

#[test]
fn a_counter_that_may_have_begun_anew_unseen_is_no_difference() {
    for (reloaded, persistent) in [(false, true), (true, true), (false, false)] {
        let home = Home::new();
        let Some(driver) = Driver::new(&home, 1) else { return };
        let server = home.start();
        driver.set(0, Knob::BaseMj, 0);
        driver.fail(0, Call::Persistence, if persistent { 0 } else { 3 });
        // 6 kJ, then the agent is away for 10 kJ, then 5 kJ.
        for (number, wave) in
            [(0, constant(110, 170, 100_000)), (1, constant(210, 310, 100_000)), (2, constant(330, 380, 100_000))]
        {
            driver.wave(0, number, &wave);
        }
        let mut machine = Machine::new(&home, &driver, &server.url);
        machine.start(100);
        machine.read(100..=180);
        let known = persistent && !reloaded;
        if !known {
            driver.set(0, Knob::ResetAtNs, 200 * SECOND);
        }
        if reloaded {
            machine.reload();
        }
        machine.start(320);
        machine.read(320..=400);
        machine.deliver();
        let accounts = accounts(&server);
        // Begun anew the counter stands at 10 kJ, 4 kJ above where it stood before: neither was drawn since.
        let away = if known { 10_000_000_000 } else { 0 };
        assert_eq!(counted(&accounts, 0), 11_000_000_000 + away, "{reloaded} {persistent}");
        let uncovered = accounts[&uuid(0)]["uncovered_seconds"].as_f64();
        assert_eq!(uncovered, Some(if known { 0.0 } else { 140.0 }), "what is not known is said to be so");
    }
}
