//! The ways to a BMC: the kernel's IPMI device, or a program that prints the reading.

use std::fmt::Debug;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ipmi_rs::connection::{IpmiConnection, LogicalUnit, Message, Request, RequestTargetAddress};
use meter::Refusal;
use rustix::process::{Pid, Signal, kill_process_group};

use super::super::file::is_gone;
use super::dcmi::{COMMAND, NET_FN, PowerReading, REQUEST, completion, printed, response};

/// Something that asks the BMC for its power reading.
pub(super) trait Bmc: Debug + Send {
    /// Asks once; ends within the time limit.
    fn ask(&mut self) -> Result<PowerReading, Trouble>;
    /// What is asked, for people.
    fn place(&self) -> String;
}

/// Why there is no reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// An answer that is none, to be counted.
    Refused(Refusal),
    /// Nothing this time; the next may succeed.
    Passing(String),
    /// It will stay so until somebody does something.
    Lasting(String),
}

/// The kernel's IPMI device.
#[derive(Debug)]
pub(super) struct Device {
    path: String,
    limit: Duration,
    file: Option<Open>,
}

/// An open device; its library gives it no debug text.
struct Open(ipmi_rs::File);

impl Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("open")
    }
}

impl Device {
    pub(super) fn new(path: &str, limit: Duration) -> Self {
        Self { path: path.into(), limit, file: None }
    }

    fn exchange(&mut self) -> io::Result<ipmi_rs::connection::Response> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Open(ipmi_rs::File::new(&self.path, self.limit)?)),
        };
        let message = Message::new_raw(NET_FN, COMMAND, REQUEST.to_vec());
        let answer = file.0.send_recv(&mut Request::new(message, RequestTargetAddress::Bmc(LogicalUnit::Zero)));
        if answer.is_err() {
            // An answer that still comes must not be taken for the next one's: it ends with this file.
            self.file = None;
        }
        answer
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        const ENOTTY: i32 = 25;
        let path = &self.path;
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                Trouble::Passing(format!("the BMC did not answer on {path} within {:?}", self.limit))
            }
            io::ErrorKind::PermissionDenied => Trouble::Lasting(format!(
                "permission denied on {path}, which only root may open: run the agent as root, or let it run \
                 `sudo -n ipmitool dcmi power reading` by the setting `command`; whoever may open the device can also \
                 switch the machine off"
            )),
            _ if error.raw_os_error() == Some(ENOTTY) => Trouble::Lasting(format!("{path} is no IPMI device")),
            _ if is_gone(error) => Trouble::Lasting(format!("{path}: {error}")),
            _ => Trouble::Passing(format!("{path}: {error}")),
        }
    }
}

impl Bmc for Device {
    fn ask(&mut self) -> Result<PowerReading, Trouble> {
        let answer = self.exchange().map_err(|error| self.trouble(&error))?;
        if answer.netfn_raw() != NET_FN + 1 || answer.cmd() != COMMAND {
            return Err(Trouble::Refused(Refusal::Malformed));
        }
        match answer.cc() {
            0 => response(answer.data()).map_err(Trouble::Refused),
            code => {
                let (meaning, passes) = completion(code);
                let text = format!("{meaning} (completion code {code:#04x} on {})", self.path);
                Err(if passes { Trouble::Passing(text) } else { Trouble::Lasting(text) })
            }
        }
    }

    fn place(&self) -> String {
        self.path.clone()
    }
}

/// A program that prints the reading, run without a shell.
#[derive(Debug)]
pub(super) struct Program {
    words: Vec<String>,
    limit: Duration,
    /// One that did not end in time and was killed, until it is gone: a hanging driver keeps it.
    hanging: Option<Child>,
}

/// More than any of these programs prints.
const OUTPUT_MAX: u64 = 64 * 1024;
/// How often to look whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

impl Program {
    pub(super) fn new(words: &[String], limit: Duration) -> Self {
        Self { words: words.to_vec(), limit, hanging: None }
    }

    /// Runs it once and gives what it printed: standard output and standard error.
    fn run(&mut self) -> Result<(ExitStatus, String, String), Trouble> {
        let name = self.words.first().map_or("", String::as_str);
        if let Some(hanging) = &mut self.hanging
            && matches!(hanging.try_wait(), Ok(None))
        {
            return Err(Trouble::Passing(format!("the {name} before has still not ended, although it was killed")));
        }
        self.hanging = None;
        let mut command = Command::new(name);
        command.args(self.words.iter().skip(1)).env("LC_ALL", "C").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| Trouble::Lasting(format!("{name}: {error}")))?;
        let (out, err) = (collected(child.stdout.take()), collected(child.stderr.take()));
        let until = Instant::now() + self.limit;
        let ended = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
                _ => break None,
            }
        };
        let left = until.saturating_duration_since(Instant::now()) + LOOK;
        if let (Some(status), Ok(out), Ok(err)) = (ended, out.recv_timeout(left), err.recv_timeout(left)) {
            return Ok((status, out, err));
        }
        if let Ok(pid) = i32::try_from(child.id())
            && let Some(group) = Pid::from_raw(pid)
        {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.hanging = Some(child);
        Err(Trouble::Passing(format!("{name} did not end within {:?}", self.limit)))
    }
}

/// Reads a pipe to its end on a thread of its own, so that a full one holds nobody up.
fn collected(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is looked at as it is.
            let _ = pipe.take(OUTPUT_MAX).read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

impl Bmc for Program {
    fn ask(&mut self) -> Result<PowerReading, Trouble> {
        let (status, out, err) = self.run()?;
        if status.success() {
            return printed(&out).map_err(Trouble::Refused);
        }
        let said = [&err, &out].into_iter().flat_map(|text| text.lines().rev()).map(str::trim);
        let said: String =
            said.filter(|line| !line.is_empty()).take(1).flat_map(|line| line.chars().take(200)).collect();
        let text = format!("{} ended with {status}: {said}", self.place());
        let stays = ["invalid command", "could not open device", "command not found", "unsupported"];
        let lasts = stays.iter().any(|phrase| said.to_ascii_lowercase().contains(phrase));
        Err(if lasts { Trouble::Lasting(text) } else { Trouble::Passing(text) })
    }

    fn place(&self) -> String {
        // Not its arguments: there may be a password among them.
        format!("the program {}", self.words.first().map_or("", String::as_str))
    }
}
