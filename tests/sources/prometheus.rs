//! Exporters that are scraped: by the built agent, into the built ledger.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::{Home, Killed, Row, Server, now_ms, rows, series, slots_around, wait_for};

/// A busy machine has done within this what takes it a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before every page: a Prometheus wants to know what it is.
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n";

/// What an exporter does when it is asked.
enum Does {
    /// Answers with this page, made when it is asked for.
    Shows(Box<dyn Fn() -> String + Send>),
    /// Sends these bytes and hangs up.
    Sends(&'static str),
    /// Says nothing, and keeps the connection.
    Hangs,
}

/// An exporter on this machine.
pub(crate) struct Exporter {
    pub(crate) url: String,
    does: Arc<Mutex<(Does, u64)>>,
}

impl Exporter {
    pub(crate) fn new(page: impl Fn() -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/metrics", listener.local_addr().expect("an address"));
        let does = Arc::new(Mutex::new((Does::Shows(Box::new(page)), 0)));
        let shared = Arc::clone(&does);
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut request = [0; 4096];
                // The agent may be killed before it has asked.
                let _ = stream.read(&mut request);
                let mut does = shared.lock().expect("what to do");
                does.1 += 1;
                let answer = match &does.0 {
                    Does::Shows(page) => format!("{HEAD}{}", page()),
                    Does::Sends(bytes) => (*bytes).to_owned(),
                    Does::Hangs => {
                        kept.push(stream);
                        continue;
                    }
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { url, does }
    }

    /// Does something else from now on, and waits until it was asked so many times more.
    fn now_does(&self, does: Does, times: u64) {
        let from = {
            let mut now = self.does.lock().expect("what to do");
            now.0 = does;
            now.1
        };
        wait_for("the agent's requests", PATIENCE, || (self.asked() >= from + times).then_some(()));
    }

    fn asked(&self) -> u64 {
        self.does.lock().expect("what to do").1
    }

    /// Waits until two requests were begun after this instant: what stood on the page now was read.
    fn is_read(&self) {
        let from = self.asked();
        wait_for("the agent's requests", PATIENCE, || (self.asked() >= from + 2).then_some(()));
    }
}

/// A counter by a closed form: it stands, and from a given instant on runs for so many milliseconds.
#[derive(Clone)]
pub(crate) struct Counter {
    start_mj: u64,
    milliwatts: u64,
    runs_ms: u64,
    since: Arc<Mutex<Option<Instant>>>,
}

impl Counter {
    pub(crate) fn new(start_mj: u64, milliwatts: u64, runs_ms: u64) -> Self {
        Self { start_mj, milliwatts, runs_ms, since: Arc::default() }
    }

    pub(crate) fn run(&self) {
        *self.since.lock().expect("an instant") = Some(Instant::now());
    }

    pub(crate) fn is_done(&self) -> bool {
        self.elapsed_ms() == self.runs_ms
    }

    fn elapsed_ms(&self) -> u64 {
        let since = *self.since.lock().expect("an instant");
        since.map_or(0, |since| (since.elapsed().as_millis() as u64).min(self.runs_ms))
    }

    /// In mJ: 1 mW · 1 ms is 1 µJ.
    pub(crate) fn mj(&self) -> u64 {
        self.start_mj + self.milliwatts * self.elapsed_ms() / 1000
    }

    /// What it moves in all, in µJ.
    pub(crate) fn moves_uj(&self) -> i128 {
        i128::from(self.milliwatts * self.runs_ms)
    }
}

pub(crate) const GPU: &str = "GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a";

fn dcgm(counter: &Counter) -> String {
    format!(
        "# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).\n# HELP DCGM_FI_DEV_POWER_USAGE twice\n\
         DCGM_FI_DEV_POWER_USAGE{{gpu=\"0\",UUID=\"{GPU}\",Hostname=\"somebody-else\"}} {}.000000\n\
         DCGM_FI_DEV_POWER_USAGE{{gpu=\"1\",UUID=\"{GPU}\" {{{{POWER_1}}}}\n\
         DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu=\"0\",UUID=\"{GPU}\",GPU_I_ID=\"1\"}} {}\n\
         DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu=\"0\",UUID=\"{GPU}\",GPU_I_ID=\"2\"}} {}\n",
        counter.milliwatts / 1000,
        counter.mj(),
        counter.mj(),
    )
}

/// A running agent that scrapes these targets five times a second, and a ledger.
struct Scene {
    home: Home,
    server: Server,
    _agent: Killed,
    from_ms: i64,
}

impl Scene {
    fn new(targets: &[String]) -> Self {
        let home = Home::new();
        let server = home.start();
        let targets: String = targets.iter().map(|one| format!("[[sources.prometheus.targets]]\n{one}\n")).collect();
        let config = format!(
            "[agent]\nhost = \"scraper\"\n[uplink]\ninterval_s = 1\n[sources]\nnvml.enabled = false\n\
             rapl.enabled = false\nhwmon.enabled = false\n[sources.prometheus]\nperiod_ms = 200\ntimeout_ms = 1500\n{targets}"
        );
        let config = home.write("agent.toml", config);
        let log = std::fs::File::create(home.path("agent.log")).expect("a log file");
        let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
        command
            .env("WATTLEDGER_AGENT__METRICS__LISTEN", "127.0.0.1:0")
            .args(["run", "--server", &server.url, "--config"])
            .arg(config)
            .arg("--state-dir")
            .arg(home.path("agent"));
        let agent = command.stdout(Stdio::null()).stderr(log).spawn().expect("the agent");
        Self { home, server, _agent: Killed(agent), from_ms: now_ms() }
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(self.home.path("agent.log")).unwrap_or_default()
    }

    /// Where the agent shows how it is: it says so.
    fn agent_url(&self) -> String {
        let logged = self.logged();
        let line = logged.lines().find_map(|line| line.split_once("metrics on "));
        let url = line.and_then(|(_, url)| url.trim().strip_suffix("/metrics"));
        url.unwrap_or_else(|| panic!("no metrics of the agent\n{logged}")).to_owned()
    }

    /// What was booked so far, by host and device.
    fn rows(&self) -> Vec<Row> {
        let window = slots_around(self.from_ms, now_ms());
        rows(&self.server.url, &format!("window={window}&by=host,scope,device"))
    }

    /// A device's energy in µJ, if the ledger knows it.
    fn energy(&self, host: &str, scope: &str, device: &str) -> Option<i128> {
        let is_it = |row: &Row| row.by["host"] == host && row.by["scope"] == scope && row.by["device"] == device;
        self.rows().iter().find(|row| is_it(row)).map(|row| row.energy_uj)
    }

    fn wait_for_device(&self, host: &str, scope: &str, device: &str) {
        wait_for(&format!("{scope}:{device} of {host}\n{}", self.logged()), PATIENCE, || {
            self.energy(host, scope, device)
        });
    }

    fn wait_for_energy(&self, host: &str, scope: &str, device: &str, uj: i128) {
        let mut last = None;
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            last = self.energy(host, scope, device);
            if last == Some(uj) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{scope}:{device} of {host}: {last:?} µJ and not {uj}\n{}", self.logged());
    }
}

#[test]
fn a_scraped_counter_is_the_ledgers_to_the_microjoule_whatever_the_exporter_does_meanwhile() {
    let counter = Counter::new(15_152_422_938, 300_000, 4000);
    let shown = counter.clone();
    let exporter = Exporter::new(move || dcgm(&shown));
    let scene = Scene::new(&[format!("hosts = \"gpu-1\"\nurl = \"{}\"", exporter.url)]);
    scene.wait_for_device("gpu-1", "gpu", GPU);
    exporter.is_read();

    counter.run();
    exporter.is_read();
    let not_found = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for does in [
        Does::Sends(not_found),
        Does::Sends("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html><body>DCGM Exporter</body></html>"),
        Does::Sends("HTTP/1.1 200 OK\r\nContent-Length: 999\r\nConnection: close\r\n\r\nDCGM_FI_DEV_TOTAL_ENERGY_CONS"),
        Does::Sends("\u{1}\u{2}\u{3}"),
        Does::Sends(""),
        Does::Hangs,
    ] {
        exporter.now_does(does, 2);
    }
    let shown = counter.clone();
    exporter.now_does(Does::Shows(Box::new(move || dcgm(&shown))), 1);
    wait_for("the counter's end", PATIENCE, || counter.is_done().then_some(()));
    scene.wait_for_energy("gpu-1", "gpu", GPU, counter.moves_uj());
    // Nothing comes to it by reading the same again.
    exporter.is_read();
    exporter.is_read();
    assert_eq!(scene.energy("gpu-1", "gpu", GPU), Some(counter.moves_uj()));
    // Whose it is, the configuration says.
    let hosts: Vec<String> = scene.rows().iter().map(|row| row.by["host"].clone()).collect();
    assert!(!hosts.iter().any(|host| host == "somebody-else"), "{hosts:?}");
    // The garbage line of each page is counted.
    let refused = crate::harness::counter(&scene.agent_url(), "wattledger_agent_refused_total", "reason=\"malformed\"");
    assert!(refused >= 5.0, "{refused}");
    // What is said of a fault is said once for each time that it begins. (Instants and ports may hold a 404 too.)
    let logged = scene.logged();
    assert!((1..=2).contains(&logged.matches("answers 404 Not Found").count()), "{logged}");
}

#[test]
fn an_exporter_that_counts_itself_begins_anew_when_it_is_restarted() {
    let page = |start: &'static str, counter: &Counter| {
        let counter = counter.clone();
        move || {
            format!(
                "process_start_time_seconds {start}\n\
                 kepler_node_cpu_active_joules_total{{zone=\"package\",path=\"/s/intel-rapl:0\"}} {}\n\
                 kepler_node_cpu_idle_joules_total{{zone=\"package\",path=\"/s/intel-rapl:0\"}} 0.5\n",
                counter.mj() as f64 / 1000.0
            )
        }
    };
    let (first, second) = (Counter::new(1_000_000, 100_000, 1500), Counter::new(0, 80_000, 1000));
    let exporter = Exporter::new(page("1.76e+09", &first));
    let scene = Scene::new(&[format!("hosts = \"cpu-1\"\nurl = \"{}\"", exporter.url)]);
    scene.wait_for_device("cpu-1", "cpu", "package-0");
    exporter.is_read();
    first.run();
    wait_for("the counter's end", PATIENCE, || first.is_done().then_some(()));
    exporter.is_read();
    exporter.now_does(Does::Sends(""), 2);
    exporter.now_does(Does::Shows(Box::new(page("1.77e+09", &second))), 2);
    second.run();
    scene.wait_for_energy("cpu-1", "cpu", "package-0", first.moves_uj() + second.moves_uj());
}

/// Where the register of the package wraps, in mJ: a little above where it begins.
const RANGE_MJ: u64 = 60_100_000;

#[test]
fn several_exporters_of_one_host_are_one_host_and_each_device_once() {
    let (gpu, cpu) = (Counter::new(7_000_000, 250_000, 2000), Counter::new(60_000_000, 120_000, 2000));
    let (by_dcgm, by_smi, by_node) = (gpu.clone(), gpu.clone(), cpu.clone());
    let exporters = [
        Exporter::new(move || dcgm(&by_dcgm)),
        Exporter::new(move || {
            let uuid = GPU.trim_start_matches("GPU-");
            format!(
                "nvidia_smi_energy_joules_total{{uuid=\"{uuid}\"}} {}\nnvidia_smi_power_draw_watts{{uuid=\"{uuid}\"}} 250\n",
                by_smi.mj() as f64 / 1000.0
            )
        }),
        Exporter::new(move || {
            let joules = (by_node.mj() % RANGE_MJ) as f64 / 1000.0;
            format!(
                "node_rapl_package_joules_total{{index=\"0\",path=\"/sys/class/powercap/intel-rapl:0\"}} {joules}\n\
                 node_rapl_package_joules_total{{index=\"0\",path=\"/sys/class/powercap/intel-rapl-mmio:0\"}} {joules}\n\
                 node_rapl_core_joules_total{{index=\"0\",path=\"/sys/class/powercap/intel-rapl:0:0\"}} 1\n"
            )
        }),
    ];
    let range = format!("max_energy_range_uj = {{ package = {RANGE_MJ}000 }}");
    let targets = exporters.each_ref().map(|one| format!("hosts = \"n1\"\nurl = \"{}\"\n{range}", one.url));
    let scene = Scene::new(&targets);
    scene.wait_for_device("n1", "gpu", GPU);
    scene.wait_for_device("n1", "cpu", "package-0");
    exporters.iter().for_each(Exporter::is_read);
    gpu.run();
    cpu.run();
    scene.wait_for_energy("n1", "gpu", GPU, gpu.moves_uj());
    scene.wait_for_energy("n1", "cpu", "package-0", cpu.moves_uj());
    let host = rows(&scene.server.url, &format!("window={}&by=host", slots_around(scene.from_ms, now_ms())));
    let n1: Vec<&Row> = host.iter().filter(|row| row.by["host"] == "n1").collect();
    assert_eq!(n1.len(), 1);
    assert_eq!(n1[0].energy_uj, gpu.moves_uj() + cpu.moves_uj(), "each device once");
    let devices = series(&scene.server.url, "wattledger_energy_joules_total");
    assert_eq!(devices.iter().filter(|(labels, _)| labels.contains("host=\"n1\"") && labels.contains(GPU)).count(), 1);
}
