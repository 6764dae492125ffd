//! A node with a made-up GPU fleet and an agent, which may believe to be another machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Home, Killed, wait_for};

/// The configuration of an agent on a made-up machine, read every so many milliseconds and reported every
/// second.
pub(crate) fn made_up(host: &str, period_ms: u32, gpus: u32) -> String {
    format!(
        r#"
[agent]
host = "{host}"
[uplink]
interval_s = 1
[sources]
nvml.enabled = false
rapl.enabled = false
hwmon.enabled = false
[sources.simulated]
enabled = true
period_ms = {period_ms}
gpus = {gpus}
"#
    )
}

/// A running agent with its own state and log.
pub(crate) struct Node {
    agent: Killed,
    log: PathBuf,
}

impl Node {
    /// Starts `wattledger-agent run` under the name `made-up`, by `wrapper` (a program and its
    /// arguments) if that is not empty; state and log are called `name`.
    pub(crate) fn start(home: &Home, name: &str, address: &str, wrapper: &[&str]) -> Self {
        let config = home.write("node.toml", made_up("made-up", 200, 2));
        let log = home.path(&format!("{name}.log"));
        let errors = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let program = env!("CARGO_BIN_EXE_wattledger-agent");
        let mut command: Command = match wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = home.command(first);
                command.args(rest).arg(program);
                command
            }
            None => home.command(program),
        };
        command.args(["run", "--config"]).arg(config).args(["--server", &format!("http://{address}"), "--state-dir"]);
        let child = command.arg(home.path(name)).stdout(Stdio::null()).stderr(errors).spawn();
        Self { agent: Killed(child.expect("the agent")), log }
    }

    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it in good order, which it must confirm.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.agent.0), Signal::TERM).expect("a running agent");
        let child = &mut self.agent.0;
        let ended = wait_for("the agent's end", Duration::from_secs(30), || child.try_wait().expect("a child of ours"));
        assert!(ended.success(), "{ended}\n{}", self.logged());
    }

    /// Waits until the log says something.
    pub(crate) fn wait_for_log(&self, what: &str) {
        wait_for(&format!("{what:?} in the agent's log"), Duration::from_secs(30), || {
            self.logged().contains(what).then_some(())
        });
    }
}

/// Whether `unshare` can make this kind of namespace here; says what is skipped if it cannot.
pub(crate) fn can_unshare(arguments: &[&str], skipped: &str) -> bool {
    let Some(unshare) = super::tool("unshare", skipped) else { return false };
    let tried = Command::new(unshare).args(arguments).arg("true").stderr(Stdio::null()).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED: {skipped}: unshare {} needs root and kernel support", arguments.join(" "));
    }
    can
}
