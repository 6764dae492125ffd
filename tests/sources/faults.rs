//! A source that hangs, panics or returns garbage: the others go on, and it is said once.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Home, Killed, get, output, tool, wait_for};

/// A running agent with metrics on a port of its own.
struct Agent {
    child: Killed,
    log: PathBuf,
    url: String,
}

impl Agent {
    /// Starts `wattledger-agent run` on the trees `sys` and `proc` of a home.
    fn start(home: &Home, sources: &str, server: &str) -> Self {
        let text = format!("[agent]\nhost = \"n1\"\n[uplink]\ninterval_s = 1\n{sources}");
        let config = home.write("agent.toml", text);
        let log = home.path("agent.log");
        let mut command: Command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
        command.env("WATTLEDGER_AGENT__METRICS__LISTEN", "127.0.0.1:0");
        command.args(["run", "--server", server, "--config"]).arg(config).arg("--state-dir").arg(home.path("state"));
        command.arg("--sys").arg(home.path("sys")).arg("--proc").arg(home.path("proc"));
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).expect("a log file")).spawn();
        let mut agent = Self { child: Killed(child.expect("the agent")), log, url: String::new() };
        agent.url = wait_for("the metrics' address in the agent's log", Duration::from_secs(30), || {
            let logged = agent.logged();
            let (_, rest) = logged.split_once("metrics on ")?;
            let (url, _) = rest.split_once("/metrics\n")?;
            Some(url.to_owned())
        });
        // Whoever answers listens to signals as well.
        get(&format!("{}/healthz", agent.url));
        agent
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the agent's log")
    }

    /// Lines of the log that hold all of these.
    fn lines(&self, parts: &[&str]) -> usize {
        self.logged().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// The value of a series whose labels begin so; nothing if it is not there.
    fn value(&self, series: &str) -> Option<f64> {
        let page = get(&format!("{}/metrics", self.url)).body;
        let line = page.lines().find(|line| line.starts_with(series))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    fn state(&self, source: &str) -> String {
        let page = get(&format!("{}/metrics", self.url)).body;
        let start = format!("wattledger_agent_source_state{{source=\"{source}\",target=\"\",state=\"");
        let line = page.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{page}"));
        line.split('"').next().expect("a state").to_owned()
    }

    /// Asks it to end, which it must do in good order within five seconds, whatever hangs.
    fn end(mut self) -> String {
        let since = Instant::now();
        kill_process(Pid::from_child(&self.child.0), Signal::TERM).expect("a running agent");
        let child = &mut self.child.0;
        let ended = wait_for("the agent's end", Duration::from_secs(20), || child.try_wait().expect("a child of ours"));
        assert!(ended.success(), "{ended}\n{}", self.logged());
        assert!(since.elapsed() < Duration::from_secs(10), "it took {:?}", since.elapsed());
        self.logged()
    }
}

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn where_nothing_is_to_be_read_it_is_said_once_and_costs_nothing() {
    let home = Home::new();
    let agent = Agent::start(&home, "[sources.nvml]\nlibrary = \"libno-such-library.so.1\"\n", NOBODY);
    for source in ["nvml", "rapl", "hwmon"] {
        wait_for("each source's absence", Duration::from_secs(30), || (agent.state(source) == "absent").then_some(()));
    }
    // The state comes first, the word after it.
    let said = |source: &str| agent.lines(&["absent", &format!("source=\"{source}\"")]);
    for source in ["nvml", "rapl", "hwmon"] {
        wait_for("the word of each", Duration::from_secs(30), || (said(source) > 0).then_some(()));
    }
    let cpu = || agent.value("process_cpu_seconds_total").expect("CPU time");
    let (before, logged, since) = (cpu(), agent.logged(), Instant::now());
    std::thread::sleep(Duration::from_secs(6));
    let (spent, passed) = (cpu() - before, since.elapsed().as_secs_f64());
    // A scrape itself takes some of the hundredths of a second in which this is counted, and more on a busy machine.
    assert!(spent <= passed * 0.05, "{spent} s of CPU in {passed} s");
    assert_eq!(agent.logged(), logged, "nothing new is said");
    for source in ["nvml", "rapl", "hwmon"] {
        assert_eq!(said(source), 1, "{logged}");
    }
    let memory = agent.value("process_resident_memory_bytes").expect("memory");
    assert!(memory < 64e6, "{memory} bytes");
    agent.end();
}

/// A package whose counter does not answer: opening the file waits for somebody to write into it.
fn hanging_rapl(home: &Home) -> PathBuf {
    let zone = home.path("sys/class/powercap/intel-rapl:0");
    std::fs::create_dir_all(&zone).expect("folders");
    std::fs::write(zone.join("name"), "package-0\n").expect("a file");
    std::fs::write(zone.join("max_energy_range_uj"), "262143328850\n").expect("a file");
    let fifo = zone.join("energy_uj");
    let path = rustix::fs::CWD;
    rustix::fs::mknodat(path, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0)
        .expect("a FIFO");
    fifo
}

#[test]
fn a_source_that_hangs_stops_no_other_and_is_said_once() {
    let home = Home::new();
    let fifo = hanging_rapl(&home);
    let server = home.start();
    let sources = "[sources]\nnvml.enabled = false\n[sources.simulated]\nenabled = true\nperiod_ms = 200\ngpus = 2\n";
    let agent = Agent::start(&home, sources, &server.url);
    let reads = || agent.value("wattledger_agent_reads_total{source=\"simulated\"").unwrap_or_default();
    wait_for("the hang in /metrics", Duration::from_secs(60), || (agent.state("rapl") == "hangs").then_some(()));
    wait_for("the hang in the log", Duration::from_secs(30), || (agent.lines(&["hangs", "rapl"]) > 0).then_some(()));
    let before = reads();
    wait_for("more readings of the others", Duration::from_secs(30), || (reads() >= before + 20.0).then_some(()));
    assert_eq!(agent.lines(&["hangs", "rapl"]), 1, "{}", agent.logged());
    assert_eq!(agent.state("simulated"), "up");
    assert_eq!(agent.value("wattledger_agent_source_up{source=\"rapl\""), Some(0.0));
    wait_for("the others' readings on the ledger's disk", Duration::from_secs(30), || {
        agent.value("wattledger_agent_booked_readings_total{of=\"self\"}").filter(|booked| *booked > 0.0)
    });
    // Now somebody answers; a FIFO is no counter, but it does not hang. Who finds that out may be gone before
    // it is written to.
    let _ = File::options().write(true).open(fifo).expect("a reader waits").write_all(b"1\n");
    wait_for("its return", Duration::from_secs(60), || (agent.lines(&["answers again", "rapl"]) > 0).then_some(()));
    assert_eq!((agent.lines(&["answers again", "rapl"]), agent.lines(&["hangs", "rapl"])), (1, 1));
    agent.end();
}

#[test]
fn an_agent_that_hangs_somewhere_ends_all_the_same() {
    let home = Home::new();
    let _fifo = hanging_rapl(&home);
    let agent = Agent::start(&home, "[sources]\nnvml.enabled = false\n", NOBODY);
    let logged = agent.end();
    assert!(logged.contains("its last reading is missing"), "{logged}");
}

#[test]
fn garbage_is_refused_by_reason_and_counted() {
    let home = Home::new();
    let chip = home.path("sys/class/hwmon/hwmon0");
    std::fs::create_dir_all(&chip).expect("folders");
    std::fs::write(chip.join("name"), "power_meter\n").expect("a file");
    let meter = File::create(chip.join("power1_average")).expect("a file");
    // In place, and never shorter than before: the agent keeps the file open, as it does the kernel's, and one that
    // is empty for a moment would be a meter that says nothing.
    let shows = |value: &str| meter.write_all_at(format!("{value:<20}\n").as_bytes(), 0).expect("a value");
    shows("412000000");
    let agent = Agent::start(&home, "[sources]\nnvml.enabled = false\n", NOBODY);
    wait_for("a good reading", Duration::from_secs(30), || {
        agent.value("wattledger_agent_readings_total{source=\"hwmon\"").filter(|readings| *readings > 0.0)
    });
    for (garbage, reason) in
        [("4294967295", "sentinel"), ("-1", "power-negative"), ("nan", "power-not-finite"), ("N/A", "power-not-finite")]
    {
        shows(garbage);
        let series = format!("wattledger_agent_refused_total{{source=\"hwmon\",target=\"\",reason=\"{reason}\"}}");
        let count = || agent.value(&series).unwrap_or_default();
        let before = count();
        wait_for(&format!("{garbage} as {reason}"), Duration::from_secs(30), || (count() > before).then_some(()));
    }
    assert_eq!(agent.lines(&["WARN", "hwmon"]), 0, "the ledger counts them; a log line each would fill a disk");
    agent.end();
}

#[test]
fn promtool_finds_nothing_wrong_with_the_agents_metrics() {
    let Some(promtool) = tool("promtool", "promtool check metrics of the agent") else { return };
    let home = Home::new();
    let server = home.start();
    let sources = "[sources]\nnvml.enabled = false\n[sources.simulated]\nenabled = true\nperiod_ms = 200\n";
    let agent = Agent::start(&home, sources, &server.url);
    wait_for("something durable", Duration::from_secs(30), || {
        agent.value("wattledger_agent_last_durable_timestamp_seconds").filter(|at| *at > 0.0)
    });
    let page = get(&format!("{}/metrics", agent.url));
    assert_eq!((page.status, &*page.kind), (200, "text/plain"));
    let mut command = home.command(promtool.to_str().expect("a plain path"));
    let file = home.write("metrics.txt", &page.body);
    command.args(["check", "metrics"]).stdin(File::open(file).expect("the page"));
    let done = output(&home, command, Duration::from_secs(30)).ok();
    assert_eq!((done.out.trim(), done.err.trim()), ("", ""), "no advice either\n{}", page.body);
    assert_eq!(get(&format!("{}/healthz", agent.url)).body, "ok\n");
    assert_eq!(get(&format!("{}/", agent.url)).status, 404);
    agent.end();
}

#[test]
fn a_taken_port_is_said_once_and_costs_nothing_else() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let server = home.start();
    let config = home.write(
        "agent.toml",
        "[uplink]\ninterval_s = 1\n[sources]\nnvml.enabled = false\n[sources.simulated]\nenabled = true\n",
    );
    let log = home.path("agent.log");
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    command.env("WATTLEDGER_AGENT__METRICS__LISTEN", &address).args(["run", "--server", &server.url, "--config"]);
    command.arg(config).arg("--state-dir").arg(home.path("state"));
    let child = command.stdout(Stdio::null()).stderr(File::create(&log).expect("a log file")).spawn();
    let _agent = Killed(child.expect("the agent"));
    wait_for("readings in the ledger", Duration::from_secs(30), || {
        let page = get(&format!("{}/metrics", server.url)).body;
        page.contains("wattledger_energy_joules_total{").then_some(())
    });
    let logged = std::fs::read_to_string(log).expect("the log");
    assert_eq!(logged.lines().filter(|line| line.contains(&address)).count(), 1, "{logged}");
}
