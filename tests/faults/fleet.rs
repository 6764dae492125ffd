//! The programs at work: an aggregator that comes back under the same address, and agents of made-up
//! machines that read often. They are started, hurt and stopped from here.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Home, free_address, wait_for};
use crate::scraper;

/// A debug build on a busy machine starts, and ends, within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// One aggregator and its agents, in a directory of their own.
pub(crate) struct World {
    pub(crate) home: Home,
    /// Where the aggregator listens, whenever it does.
    pub(crate) address: String,
    pub(crate) aggregator: Program,
    pub(crate) nodes: Vec<Node>,
    /// Settings of the aggregator, by environment variable.
    settings: Vec<(&'static str, String)>,
}

/// A machine: an agent with a spool that keeps all it ever read.
pub(crate) struct Node {
    pub(crate) name: String,
    number: usize,
    pub(crate) program: Program,
    /// The address that it reports to.
    pub(crate) toward: String,
    pub(crate) period_ms: u64,
    pub(crate) gpus: u8,
    pub(crate) ring_mib: u64,
}

/// A program that may be running.
pub(crate) struct Program {
    what: String,
    log: PathBuf,
    child: Option<Child>,
}

impl World {
    /// An aggregator and so many machines; nothing runs yet.
    pub(crate) fn new(nodes: usize) -> Self {
        let (home, address) = (Home::new(), free_address());
        let node = |number| Node {
            name: format!("node-{number}"),
            number,
            program: Program::new(format!("agent {number}"), home.path(&format!("agent-{number}.log"))),
            toward: address.clone(),
            period_ms: 50,
            gpus: 4,
            ring_mib: 64,
        };
        let nodes = (0..nodes).map(node).collect();
        let aggregator = Program::new("aggregator".into(), home.path("serve.log"));
        // Only what was measured: what is estimated for a hole is other tests' matter.
        let settings = vec![("WATTLEDGER__LEDGER__GAP", "none".to_owned())];
        Self { home, address, aggregator, nodes, settings }
    }

    /// Sets one of the aggregator's settings from its next start on.
    pub(crate) fn set(&mut self, variable: &'static str, value: impl ToString) {
        self.settings.push((variable, value.to_string()));
    }

    /// `http://ADDRESS`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts the aggregator and does not wait for it.
    pub(crate) fn launch(&mut self) {
        let mut command = self.home.serve(&self.address, &[]);
        command.envs(self.settings.iter().map(|(variable, value)| (*variable, value)));
        self.aggregator.spawn(command);
    }

    /// Starts the aggregator and waits until it answers.
    pub(crate) fn start(&mut self) {
        self.launch();
        self.wait_until_ready();
    }

    /// Waits until the aggregator answers.
    pub(crate) fn wait_until_ready(&mut self) {
        let url = format!("{}/healthz", self.url());
        wait_for("an aggregator that answers", PATIENCE, || {
            self.aggregator.must_run();
            scraper::try_get(&url).filter(|(status, _)| *status == 200)
        });
    }

    /// Starts every agent.
    pub(crate) fn start_agents(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.start(&self.home));
    }

    /// Ends every agent in good order.
    pub(crate) fn stop_agents(&mut self) {
        for node in &mut self.nodes {
            let status = node.program.terminate();
            // One that was started a moment ago may not listen to signals yet.
            let early = status.signal() == Some(Signal::TERM.as_raw());
            assert!(status.success() || early, "{status}\n{}", node.program.logged());
        }
    }

    /// Starts, for every machine, an agent that only delivers what its spool holds.
    pub(crate) fn start_couriers(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.start_courier(&self.home));
    }

    /// The folder of a machine's spool.
    pub(crate) fn spool(&self, node: usize) -> PathBuf {
        let state = self.home.path(&format!("agent-{node}"));
        let mut folders =
            std::fs::read_dir(&state).expect("the agent's state folder").map(|entry| entry.expect("an entry").path());
        folders.find(|path| path.join("lock").is_file()).expect("the agent's spool")
    }

    /// The last lines that the programs logged.
    fn tails(&self) -> String {
        let tail = |program: &Program| {
            let logged = program.logged();
            let lines: Vec<&str> = logged.lines().rev().take(25).collect();
            format!("--- {}, newest first\n{}\n", program.what, lines.join("\n"))
        };
        [&self.aggregator].into_iter().chain(self.nodes.iter().map(|node| &node.program)).map(tail).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tails());
        }
    }
}

impl Node {
    /// Starts the agent.
    pub(crate) fn start(&mut self, home: &Home) {
        self.launch(home, true);
    }

    /// Starts an agent that reads nothing and delivers what is there.
    pub(crate) fn start_courier(&mut self, home: &Home) {
        self.launch(home, false);
    }

    fn launch(&mut self, home: &Home, reads: bool) {
        let Self { name, number, toward, period_ms, gpus, ring_mib, .. } = self;
        let text = format!(
            "[agent]\nhost = \"{name}\"\nstate_dir = \"{}\"\n\
             [uplink]\nservers = [\"http://{toward}\"]\ninterval_s = 1\ntimeout_s = 1\n\
             [spool]\nmax_mib = {ring_mib}\n\
             [sources]\nnvml.enabled = false\nrapl.enabled = false\nhwmon.enabled = false\n\
             [sources.simulated]\nenabled = {reads}\nperiod_ms = {period_ms}\ngpus = {gpus}\nhost = {number}\n",
            home.path(&format!("agent-{number}")).display()
        );
        let config = home.write(&format!("agent-{number}.toml"), text);
        let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
        command.args(["run", "--config"]).arg(config);
        self.program.spawn(command);
    }
}

impl Program {
    fn new(what: String, log: PathBuf) -> Self {
        Self { what, log, child: None }
    }

    fn spawn(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "the {} runs already", self.what);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("a built program"));
    }

    /// What it wrote to stderr, over all its lives.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process, which runs.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap_or_else(|| panic!("the {} does not run", self.what)))
    }

    /// Fails if it ended by itself.
    pub(crate) fn must_run(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child of ours"));
        if let Some(status) = ended {
            panic!("the {} ended by itself: {status}\n{}", self.what, self.logged());
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.must_run();
        kill_process(self.pid(), signal).expect("a running program");
    }

    /// `kill -9`, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.must_run();
        let mut child = self.child.take().expect("a running program");
        child.kill().expect("a running program");
        child.wait().expect("its end");
    }

    /// `kill -TERM`, and waits for the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let child = self.child.as_mut().unwrap_or_else(|| panic!("the {} does not run", self.what));
        let status =
            wait_for(&format!("the end of the {}", self.what), PATIENCE, || child.try_wait().expect("a child of ours"));
        self.child = None;
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
