//! A command of somebody else: it has our standard streams, and its end is ours.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal as Number, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

/// The signals that would end us.
pub(crate) struct Signals {
    /// A terminal sends these to the command as well.
    interrupt: Signal,
    quit: Signal,
    /// These are passed on.
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Runs a command to its end.
pub(crate) async fn run(program: &str, arguments: &[String], mut signals: Signals) -> io::Result<Ended> {
    let mut child = Command::new(program).args(arguments).spawn()?;
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let pass_on = |number| {
        if let Some(pid) = pid {
            // Whoever is gone needs no signal.
            let _ = kill_process(pid, number);
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => return Ok(ended(status?)),
            _ = signals.interrupt.recv() => {}
            _ = signals.quit.recv() => {}
            _ = signals.terminate.recv() => pass_on(Number::TERM),
            _ = signals.hang_up.recv() => pass_on(Number::HUP),
        }
    }
}

fn ended(status: ExitStatus) -> Ended {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    status
        .signal()
        .map_or_else(|| Ended::Exited(byte(status.code().unwrap_or(1))), |signal| Ended::Killed(byte(signal)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_command_is_told_as_it_was() {
        let run = async |script: &str| {
            let arguments = ["-c".to_owned(), script.to_owned()];
            super::run("sh", &arguments, Signals::new().expect("signals")).await.expect("a shell")
        };
        assert_eq!(run("exit 7").await, Ended::Exited(7));
        assert_eq!(run("kill -TERM $$").await, Ended::Killed(15));
        let missing = super::run("/nowhere/at-all", &[], Signals::new().expect("signals")).await;
        assert_eq!(missing.expect_err("no such program").kind(), io::ErrorKind::NotFound);
    }
}
