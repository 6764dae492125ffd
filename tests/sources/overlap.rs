//! One machine, read by everything at once and by one agent: its GPUs by the driver and by dcgm-exporter, its
//! packages by the kernel and by node_exporter, the whole of it by its BMC. Each device is one account, and the
//! bill is the BMC's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::driver::{Driver, Wave, boot_ns};
use crate::harness::bmc::{Bmc, PASSWORD, USER};
use crate::harness::{Home, Killed, Server, get, now_ms, rows, slots_around, wait_for};
use crate::nvml::{accounts, counted, uuid};

/// What the BMC sees, in watts: more than all components together.
const BMC_WATTS: u64 = 2000;
/// What each package draws, in milliwatts.
const PACKAGE_MW: u64 = 150_000;
/// The system's UUID as the firmware tells the kernel, and as the BMC writes it: its first three fields the other way.
const KERNEL_UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
const BMC_UUID: &str = "33221100-5544-7766-8899-AABBCCDDEEFF";
const PATIENCE: Duration = Duration::from_secs(60);

/// A package's register: constant power since the test began, in µJ; twelve digits that do not wrap meanwhile.
fn register(package: u64) -> u64 {
    static BEGAN: OnceLock<u64> = OnceLock::new();
    let began = *BEGAN.get_or_init(boot_ns);
    let ms = (boot_ns() - began) / 1_000_000;
    100_000_000_000 + (package + 1) * 1_000_000_000 + PACKAGE_MW * ms
}

/// The kernel's files of this machine, made up.
struct Machine {
    sys: PathBuf,
}

impl Machine {
    fn new(home: &Home) -> Self {
        let sys = home.path("sys");
        let put = |path: &str, text: &str| {
            let path = sys.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("a file");
        };
        put("class/dmi/id/product_uuid", &format!("{KERNEL_UUID}\n"));
        for package in 0..2 {
            let zone = format!("class/powercap/intel-rapl:{package}");
            put(&format!("{zone}/name"), &format!("package-{package}\n"));
            put(&format!("{zone}/max_energy_range_uj"), "262143328850\n");
        }
        let machine = Self { sys };
        machine.tick();
        machine
    }

    /// Puts the registers' present values into the files, which the agent keeps open.
    fn tick(&self) {
        for package in 0..2 {
            let path = self.sys.join(format!("class/powercap/intel-rapl:{package}/energy_uj"));
            let Ok(file) = fs::File::options().create(true).write(true).truncate(false).open(path) else { return };
            file.write_all_at(format!("{}\n", register(package)).as_bytes(), 0).expect("a number in place of another");
        }
    }
}

/// Serves one page to whoever asks.
fn exporter(page: impl Fn() -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/metrics", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            // The agent may be gone by now.
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", page()).as_bytes());
        }
    });
    url
}

fn node_exporter() -> String {
    let line = |package: u64| {
        let joules = register(package) as f64 / 1e6;
        format!(
            "node_rapl_package_joules_total{{index=\"{package}\",path=\"/sys/class/powercap/intel-rapl:{package}\"}} {joules}\n"
        )
    };
    format!("# TYPE node_rapl_package_joules_total counter\n{}{}", line(0), line(1))
}

/// The same boards with counters of their own: dcgm counts from when it was started.
fn dcgm_exporter() -> String {
    let line = |gpu: u64| {
        let uuid = uuid(gpu);
        let uuid = uuid.trim_start_matches("gpu:");
        let mj = boot_ns() / 1_000_000 * 500;
        format!(
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu=\"{gpu}\",UUID=\"{uuid}\"}} {mj}\n\
             DCGM_FI_DEV_POWER_USAGE{{gpu=\"{gpu}\",UUID=\"{uuid}\"}} 500\n"
        )
    };
    format!("{}{}", line(0), line(1))
}

fn config(driver: &Driver, bmc: &Bmc) -> String {
    let (node, dcgm) = (exporter(node_exporter), exporter(dcgm_exporter));
    let base = driver.config("busy", 100, 10).replace("rapl.enabled = false\n", "rapl.period_ms = 200\n");
    format!(
        "{base}[sources.redfish]\nperiod_ms = 200\n[[sources.redfish.targets]]\naddress = \"{}\"\nname = \"bmc-busy\"\ninsecure = true\nprofile = \"ops\"\n\
         [sources.redfish.profiles.ops]\nuser = \"{USER}\"\npassword_env = \"BMC_PASSWORD\"\n\
         [sources.prometheus]\nperiod_ms = 200\n\
         [[sources.prometheus.targets]]\nhosts = \"busy\"\nurl = \"{node}\"\n\
         [[sources.prometheus.targets]]\nhosts = \"busy\"\nurl = \"{dcgm}\"\n",
        bmc.url()
    )
}

fn start(home: &Home, server: &Server, machine: &Machine, config: &Path) -> Killed {
    let log = fs::File::create(home.path("agent.log")).expect("a log file");
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    command.args(["run", "--config"]).arg(config).arg("--sys").arg(&machine.sys).args(["--server", &server.url]);
    command.env("BMC_PASSWORD", PASSWORD).arg("--state-dir").arg(home.path("state")).stdout(Stdio::null()).stderr(log);
    Killed(command.spawn().expect("the agent"))
}

/// The agent's log, shown where a test fails.
struct Log(PathBuf);

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}", fs::read_to_string(&self.0).unwrap_or_default());
        }
    }
}

#[test]
fn what_everything_sees_at_once_is_one_account_per_device_and_one_bill() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 2) else { return };
    let (bmc, machine) = (Bmc::start_plain(), Arc::new(Machine::new(&home)));
    bmc.be_a_server("S1", BMC_UUID, || format!(r#"{{"PowerWatts": {{"Reading": {BMC_WATTS}}}}}"#));
    let server = home.start();
    let _log = Log(home.path("agent.log"));
    let from_ms = now_ms();
    let mut agent = start(&home, &server, &machine, &home.write("agent.toml", config(&driver, &bmc)));
    let ticking = Arc::clone(&machine);
    std::thread::spawn(move || {
        while ticking.sys.exists() {
            ticking.tick();
            std::thread::sleep(Duration::from_millis(50));
        }
    });

    let everything = ["chassis:bmc", "cpu:package-0", "cpu:package-1", &uuid(0), &uuid(1)].map(str::to_owned);
    let everything = BTreeSet::from(everything);
    wait_for("every device's account", PATIENCE, || {
        (accounts(&server).keys().cloned().collect::<BTreeSet<_>>() == everything).then_some(())
    });
    let begin = boot_ns() + 500_000_000;
    let waves = [Wave::square(begin, 6000, 10, 690_000, 60_000), Wave::square(begin, 6000, 4, 500_000, 70_000)];
    (0..).zip(&waves).for_each(|(gpu, wave)| driver.wave(gpu, 0, wave));
    wait_for("the load's end", PATIENCE, || (boot_ns() > begin + 6_500_000_000).then_some(()));

    // While all of it is read: the host's power is its BMC's.
    let host = get(&format!("{}/api/v1/hosts/busy", server.url)).json();
    assert_eq!(host["host"]["watts"], BMC_WATTS as f64, "{host:#}");
    kill_process(Pid::from_child(&agent.0), Signal::TERM).expect("a running agent");
    let ended = wait_for("the agent's end", PATIENCE, || agent.0.try_wait().expect("a child of ours"));
    assert!(ended.success(), "{ended}");

    let accounts = accounts(&server);
    assert_eq!(accounts.keys().cloned().collect::<BTreeSet<_>>(), everything);
    for (gpu, wave) in (0..).zip(&waves) {
        assert_eq!(
            counted(&accounts, gpu),
            wave.uj(),
            "GPU {gpu}: the driver's counter and nothing of the scraped one"
        );
    }
    for package in ["cpu:package-0", "cpu:package-1"] {
        let (joules, seconds) = (&accounts[package]["lifetime"]["joules"], &accounts[package]["covered_seconds"]);
        let (joules, seconds) = (joules.as_f64().expect("joules"), seconds.as_f64().expect("seconds"));
        // The files are renewed every 50 ms, or later on a busy machine, and each end of the span may have read an old
        // one. It lasts for more than six seconds: what is counted twice is far beyond this.
        assert!((joules / (PACKAGE_MW as f64 / 1e3) - seconds).abs() < 2.0, "{package}: {joules} J in {seconds} s");
    }
    bill_is_the_bmcs(&server, from_ms, &accounts["chassis:bmc"]);
}

/// The host is billed what its BMC measured, and for the moments before the first and after the last reading of
/// the BMC what the components drew; however it is grouped.
fn bill_is_the_bmcs(server: &Server, from_ms: i64, meter: &serde_json::Value) {
    let window = slots_around(from_ms, now_ms());
    let measured: i128 = meter["lifetime"]["uj"].as_str().expect("microjoules").parse().expect("a whole number");
    let total = rows(&server.url, &format!("window={window}&by=host"));
    assert_eq!(total.len(), 1, "one host, and no BMC beside it: {total:?}");
    let estimated = (total[0].estimated_joules * 1e6).round() as i128;
    assert_eq!(total[0].energy_uj, measured + estimated, "{total:?}");
    let seconds = meter["covered_seconds"].as_f64().expect("seconds");
    assert!((measured as f64 / 1e6 - BMC_WATTS as f64 * seconds).abs() < 1e-3, "{measured} µJ in {seconds} s");
    // A busy machine logs in at its BMC seconds after it has read its first sensor.
    assert!(estimated as f64 / 1e6 < 0.5 * BMC_WATTS as f64 * seconds, "{estimated} µJ beside {measured}");
    for by in ["scope", "device", "host,scope", "chassis", "cluster"] {
        let rows = rows(&server.url, &format!("window={window}&by={by}"));
        assert_eq!(rows.iter().map(|row| row.energy_uj).sum::<i128>(), total[0].energy_uj, "by={by}: {rows:?}");
    }
    let scopes = rows(&server.url, &format!("window={window}&by=scope"));
    let scope = |name: &str| scopes.iter().find(|row| row.by["scope"] == name).map_or(0, |row| row.energy_uj);
    assert!(scope("gpu") > 0 && scope("cpu") > 0 && scope("unattributed") > 0, "{scopes:?}");
}
