//! A process whose power goes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::harness::wait_for;

/// An aggregator that may die at any moment, also before it serves.
pub(crate) struct Victim {
    pub(crate) child: Child,
    _out: BufReader<ChildStdout>,
    /// Where it serves; nothing if it died before it did.
    pub(crate) url: Option<String>,
    /// What it wrote to standard error up to there.
    pub(crate) said: String,
}

impl Victim {
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let errors = File::options().create(true).append(true).open(log).expect("a log file");
        let before = errors.metadata().expect("a file").len();
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().expect("the built program");
        let mut out = BufReader::new(child.stdout.take().expect("a piped output"));
        let mut line = String::new();
        out.read_line(&mut line).expect("its first line, or its end");
        let url = line.trim().strip_prefix("listening on ").map(|url| url.trim_end_matches('/').to_owned());
        let said = std::fs::read(log).expect("a log file");
        let said = String::from_utf8_lossy(&said[usize::try_from(before).expect("a length")..]).into_owned();
        Self { child, _out: out, url, said }
    }

    /// Waits for the end that the power cut makes; whether it was one.
    pub(crate) fn died(&mut self, limit: Duration) -> bool {
        let status = wait_for("the power cut", limit, || self.child.try_wait().expect("a child of ours"));
        std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
