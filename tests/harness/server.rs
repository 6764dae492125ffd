//! An aggregator as its users run it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::wait_for;

/// A debug build on a busy machine starts within this.
const START: Duration = Duration::from_secs(30);

/// A directory that outlives its aggregators, so that one can be started again on what another left.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file into the home, whole or not at all: a program may be following it, and half of one is another
    /// file. Gives its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let new = path.with_extension("new");
        std::fs::write(&new, content).and_then(|()| std::fs::rename(&new, &path)).expect("a writable home");
        path
    }

    /// A command that finds nothing of the person who runs the tests.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("HOME", self.dir.path()).env("NO_COLOR", "1").env("TZ", "UTC");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("WATTLEDGER") || text.starts_with("XDG_") {
                command.env_remove(&name);
            }
        }
        // Many agents run at once, and most are not asked how they are.
        command.env("WATTLEDGER_AGENT__METRICS__LISTEN", "");
        // They would all listen in the same place, and few are told of jobs.
        command.env("WATTLEDGER_AGENT__JOBS__SOCKET", "off");
        command.stdin(Stdio::null());
        command
    }

    /// `wattledger serve` on this home's data directory.
    pub(crate) fn serve(&self, listen: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_wattledger"));
        command.args(["serve", "--listen", listen, "--data-dir"]).arg(self.data()).args(arguments);
        command
    }

    pub(crate) fn start(&self) -> Server {
        self.start_with("127.0.0.1:0", &[])
    }

    pub(crate) fn start_with(&self, listen: &str, arguments: &[&str]) -> Server {
        Server::spawn(self.serve(listen, arguments), &self.path("serve.log"))
    }
}

/// A running aggregator; killed when dropped.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
}

impl Server {
    fn spawn(mut command: Command, log: &Path) -> Self {
        let errors = File::options().create(true).append(true).open(log).expect("a log file");
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().expect("the built aggregator");
        let (send, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("a piped output"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                // Nobody listens any more once the address is known; the pipe is drained all the same.
                let _ = send.send(line);
            }
        });
        let mut server = Self { child, log: log.to_path_buf(), url: String::new() };
        let since = Instant::now();
        while server.url.is_empty() {
            let line = lines.recv_timeout(START.saturating_sub(since.elapsed()));
            let line = line.unwrap_or_else(|why| panic!("no `listening on` line: {why}\n{}", server.logged()));
            if let Some(url) = line.strip_prefix("listening on ") {
                server.url = url.trim().trim_end_matches('/').to_owned();
            }
        }
        server
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// What it wrote to stderr so far.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a running aggregator");
        self.child.wait().expect("its end");
    }

    /// `kill -TERM`: how it ended and how long that took.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Duration) {
        let since = Instant::now();
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("a running aggregator");
        let child = &mut self.child;
        let status = wait_for("the aggregator's end after SIGTERM", Duration::from_secs(30), || {
            child.try_wait().expect("a child of ours")
        });
        (status, since.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logged = self.logged();
            let tail: Vec<&str> = logged.lines().rev().take(40).collect();
            eprintln!("--- the aggregator's log, newest first\n{}", tail.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
