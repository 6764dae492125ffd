//! The programs' commands, with a limit to their patience.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::Home;

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// Fails, with what was said, unless the exit code was 0.
    pub(crate) fn ok(self) -> Self {
        assert!(self.status.success(), "{}\n--- out\n{}\n--- err\n{}", self.status, self.out, self.err);
        self
    }
}

/// Runs a command to its end, which must come within `limit`.
pub(crate) fn output(home: &Home, mut command: Command, limit: Duration) -> Done {
    let (out, err) = (tempfile::NamedTempFile::new_in(home.path("")), tempfile::NamedTempFile::new_in(home.path("")));
    let (out, err) = (out.expect("a file"), err.expect("a file"));
    let reopened = |file: &tempfile::NamedTempFile| -> File { file.reopen().expect("the same file") };
    let child = command.stdout(reopened(&out)).stderr(reopened(&err)).spawn().expect("a built program");
    let status = within(child, limit, || read(err.path()));
    Done { status, out: read(out.path()), err: read(err.path()) }
}

/// Waits for a child's end; kills it and fails, with what it said, after `limit`.
pub(crate) fn within(mut child: Child, limit: Duration, said: impl Fn() -> String) -> ExitStatus {
    let since = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        if since.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            panic!("still running after {limit:?}; it said:\n{}", said());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A child that is killed when dropped.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `wattledger-agent ARGUMENTS`.
pub(crate) fn agent(home: &Home, arguments: &[&str]) -> Done {
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    command.args(arguments);
    output(home, command, Duration::from_secs(120))
}

/// Runs `wattledger ARGUMENTS`.
pub(crate) fn wattledger(home: &Home, arguments: &[&str]) -> Done {
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger"));
    command.args(arguments);
    output(home, command, Duration::from_secs(120))
}

/// Starts `wattledger-agent replay ARGUMENTS` and leaves it running; its stderr goes to `replay.log`.
pub(crate) fn spawn_replay(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    let log = File::create(home.path("replay.log")).expect("a log file");
    let mut child = command.arg("replay").args(arguments).stdout(Stdio::null()).stderr(log).spawn().expect("the agent");
    // Wrong arguments end it at once: better said here than guessed at later.
    std::thread::sleep(Duration::from_millis(100));
    if let Some(status) = child.try_wait().expect("a child of ours") {
        assert!(status.success(), "replay ended at once: {status}\n{}", read(&home.path("replay.log")));
    }
    child
}
