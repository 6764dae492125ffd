//! The built agent told of jobs by a scheduler's hooks: Slurm's prolog and epilog as they are shipped, and the
//! command behind them, with an agent, without one, and with one that hangs.

use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Done, Home, Killed, Row, Server, agent, free_address, get, made_up, output, rows, wait_for};

/// What Slurm sets for a prolog; of its own variables nothing else.
const SLURM: [(&str, &str); 8] = [
    ("SLURM_JOB_ID", "4711"),
    ("SLURM_JOB_USER", "alice"),
    ("SLURM_JOB_ACCOUNT", "nlp"),
    ("SLURM_JOB_PARTITION", "gpu"),
    ("SLURM_JOB_GPUS", "1"),
    ("SLURM_JOB_CPUS_PER_NODE", "16(x2),8"),
    ("SLURM_JOB_NODELIST", "node[01-03]"),
    ("SLURMD_NODENAME", "node03"),
];

fn hook(home: &Home, name: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/slurm").join(name);
    let mut command = home.command(&script.display().to_string());
    command.env("AGENT", env!("CARGO_BIN_EXE_wattledger-agent")).envs(SLURM);
    command
        .env("WATTLEDGER_AGENT__JOBS__SOCKET", home.path("agent.sock"))
        .env("WATTLEDGER_AGENT__AGENT__STATE_DIR", home.path("state"));
    command
}

/// Runs a hook, which must end well.
fn run(home: &Home, name: &str) -> Done {
    output(home, hook(home, name), Duration::from_secs(30)).ok()
}

/// A running agent with a socket and metrics.
struct Agent {
    child: Killed,
    /// Where it shows its metrics.
    metrics: String,
}

impl Agent {
    fn start(home: &Home, server: &str) -> Self {
        let metrics = free_address();
        let config = home.write("agent.toml", made_up("node03", 200, 2));
        let log = std::fs::File::create(home.path("agent.log")).expect("a log file");
        let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
        command.args(["run", "--server", server, "--state-dir"]).arg(home.path("state")).arg("--config").arg(config);
        command.env("WATTLEDGER_AGENT__JOBS__SOCKET", home.path("agent.sock"));
        command.env("WATTLEDGER_AGENT__METRICS__LISTEN", &metrics).env("WATTLEDGER_AGENT__JOBS__CORES_OF", "64");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the agent");
        Self { child: Killed(child), metrics }
    }

    /// Waits until the agent's metrics have this line.
    fn wait_for(&self, line: &str) {
        wait_for(line, Duration::from_secs(30), || {
            TcpStream::connect(&self.metrics).ok()?;
            let page = get(&format!("http://{}/metrics", self.metrics)).body;
            page.lines().any(|one| one == line).then_some(())
        });
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child.0), Signal::TERM).expect("a running agent");
        let child = &mut self.child.0;
        let ended = wait_for("the agent's end", Duration::from_secs(30), || child.try_wait().expect("a child of ours"));
        assert!(ended.success(), "{ended}");
    }
}

/// The files in the drop folder.
fn left(home: &Home) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.path("state/jobs")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
}

#[test]
fn slurms_hooks_tell_the_agent() {
    let home = Home::new();
    let server: Server = home.start();
    let agent = Agent::start(&home, &server.url);
    wait_for("the socket", Duration::from_secs(30), || home.path("agent.sock").exists().then_some(()));
    agent.wait_for("wattledger_agent_source_up{source=\"simulated\",target=\"\"} 1");
    let done = run(&home, "prolog.sh");
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    agent.wait_for("wattledger_agent_marks_total{kind=\"start\",by=\"socket\"} 1");
    agent.wait_for("wattledger_agent_jobs_running 1");
    let done = run(&home, "epilog.sh");
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    agent.wait_for("wattledger_agent_marks_total{kind=\"stop\",by=\"socket\"} 1");
    agent.wait_for("wattledger_agent_jobs_running 0");
    assert!(left(&home).is_empty());
    agent.stop();
}

/// The job as the ledger lists it, once it is in this state and all of the time up to its end is booked.
fn listed(server: &Server, state: &str) -> Value {
    wait_for(state, Duration::from_secs(60), || {
        let jobs = get(&format!("{}/api/v1/jobs?window=24h", server.url)).json();
        let job = jobs["jobs"].as_array()?.first()?.clone();
        let seconds = |key: &str| job[key].as_f64().unwrap_or_default();
        let is_booked = seconds("covered_seconds") > 0.0 && seconds("covered_seconds") >= seconds("expected_seconds");
        (job["state"] == state && (state == "running" || is_booked)).then_some(job)
    })
}

#[test]
fn what_a_hook_tells_the_agent_is_a_job_of_the_ledger_with_its_energy() {
    let home = Home::new();
    let server: Server = home.start();
    let agent = Agent::start(&home, &server.url);
    wait_for("the socket", Duration::from_secs(30), || home.path("agent.sock").exists().then_some(()));
    agent.wait_for("wattledger_agent_source_up{source=\"simulated\",target=\"\"} 1");
    run(&home, "prolog.sh");
    let running = listed(&server, "running");
    assert_eq!(
        (&running["id"], &running["user"], &running["account"]),
        (&json!("4711"), &json!("alice"), &json!("nlp"))
    );
    assert_eq!((&running["hosts"], &running["labels"]["partition"]), (&json!(["node03"]), &json!("gpu")));
    // Long enough for readings of its own.
    wait_for("energy of the job", Duration::from_secs(60), || {
        (listed(&server, "running")["energy_joules"].as_f64()? > 50.0).then_some(())
    });
    run(&home, "epilog.sh");
    agent.wait_for("wattledger_agent_marks_total{kind=\"stop\",by=\"socket\"} 1");
    let ended = listed(&server, "ended");
    let total = rows(&server.url, "window=24h&by=host");
    let by_job = rows(&server.url, "window=24h&by=job.id");
    let energy = |rows: &[Row]| rows.iter().map(|row| row.energy_uj).sum::<i128>();
    assert_eq!(by_job.len(), 2, "the job, and what nobody held");
    let used: i128 = ended["energy_uj"].as_str().and_then(|text| text.parse().ok()).expect("an integer");
    assert!(used > 50_000_000 && used < energy(&total), "{used} µJ of {}", energy(&total));
    // One GPU of two, and an eighth of the cores: told in time, so that nothing is divided by time.
    assert_eq!(ended["apportioned_joules"].as_f64(), Some(0.0), "{ended}");
    agent.stop();
}

#[test]
fn without_an_agent_the_hooks_end_well_and_what_they_said_waits() {
    let home = Home::new();
    // No agent ever ran here: there is nowhere to leave it.
    let done = run(&home, "prolog.sh");
    assert!(done.err.contains("the job is not told of") && done.err.lines().count() == 1, "{}", done.err);
    std::fs::create_dir_all(home.path("state/jobs")).expect("a folder");
    for name in ["prolog.sh", "epilog.sh"] {
        let done = run(&home, name);
        assert!(done.err.contains("left for the agent") && done.err.lines().count() == 1, "{}", done.err);
    }
    assert_eq!(left(&home).len(), 2);
    let agent = Agent::start(&home, "http://127.0.0.1:9");
    agent.wait_for("wattledger_agent_marks_total{kind=\"start\",by=\"file\"} 1");
    agent.wait_for("wattledger_agent_marks_total{kind=\"stop\",by=\"file\"} 1");
    wait_for("the files' end", Duration::from_secs(10), || left(&home).is_empty().then_some(()));
    assert!(!home.path("state/jobs/rejected").exists(), "node03 has eight cores of it and GPU 1");
    agent.stop();
}

#[test]
fn no_agent_program_at_all_is_no_reason_to_drain_a_node() {
    let home = Home::new();
    let mut command = hook(&home, "epilog.sh");
    command.env("AGENT", home.path("no-such-program"));
    output(&home, command, Duration::from_secs(30)).ok();
}

#[test]
fn nonsense_ends_well_unless_strictness_is_asked_for() {
    let home = Home::new();
    let code = |arguments: &[&str]| agent(&home, arguments).status.code();
    let lost = ["job", "stop", "1", "--socket", "/nowhere/s", "--drop-dir", "/nowhere"];
    for (arguments, strict) in [
        (&["job", "start"][..], 2),
        (&["job", "start", "--nonsense"], 2),
        (&["job", "start", "1", "--cores", "9", "--cores-of", "8"], 2),
        (&["job", "start", "1", "--config", "/nowhere/agent.toml"], 2),
        (&lost, 1),
    ] {
        assert_eq!(code(arguments), Some(0), "{arguments:?}");
        assert_eq!(code(&[arguments, &["--strict"]].concat()), Some(strict), "{arguments:?}");
    }
}

#[test]
fn an_agent_that_hangs_holds_nobody_up() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("state/jobs")).expect("a folder");
    // It takes connections and never answers.
    let _hangs = UnixListener::bind(home.path("agent.sock")).expect("a socket");
    // The best of several: what a busy machine adds is not the program's. It is tried until one is quick enough.
    let (tries, mut runs) = (60, 0_usize);
    let mut timed = |command: &dyn Fn() -> Command, limit: Duration| {
        let mut best = Duration::MAX;
        for number in 1..=tries {
            let since = Instant::now();
            let status = command().stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it runs");
            best = best.min(since.elapsed());
            assert!(status.success(), "{status}");
            runs += 1;
            if number >= 20 && best < limit {
                break;
            }
        }
        best
    };
    let program = || {
        let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
        command.args(["job", "stop", "4711", "--socket"]).arg(home.path("agent.sock"));
        command.arg("--drop-dir").arg(home.path("state/jobs"));
        command
    };
    let (of_program, of_script) = (Duration::from_millis(50), Duration::from_millis(100));
    let alone = timed(&program, of_program);
    let script = timed(&|| hook(&home, "prolog.sh"), of_script);
    eprintln!("with an agent that hangs: the command {alone:?}, the script {script:?}");
    assert!(alone < of_program, "the command took {alone:?} at best");
    assert!(script < of_script, "the script took {script:?} at best");
    assert_eq!(left(&home).len(), runs, "all of it waits for an agent");
}
