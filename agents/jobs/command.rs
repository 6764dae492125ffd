//! `wattledger-agent job`: tells the agent of a job from a scheduler's hooks.
//!
//! It must never be what stops a job: it takes less than 50 ms, whatever hangs, and ends with exit code 0 unless it
//! is told to be strict. If no agent answers, the word is left in the drop folder, with its instant.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use meter::Allocation;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::message::Message;
use super::{slurm, write_whole};
use crate::cli::{End, fail, settings};
use crate::config::Settings;

/// How long the agent may take to answer; with what the program itself takes it stays below 50 ms.
const PATIENCE_MS: u64 = 30;
/// Longest answer that is read.
const ANSWER_MAX: u64 = 16 << 10;

/// Arguments of `job`.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// A job begins on this machine; what no flag says is taken from Slurm's SLURM_* variables
    Start(StartArgs),
    /// A job ends on this machine
    Stop(StopArgs),
}

#[derive(Debug, Args)]
struct StartArgs {
    /// The job's id [default: SLURM_JOB_ID]
    id: Option<String>,
    /// Who runs it [default: SLURM_JOB_USER]
    #[arg(long)]
    user: Option<String>,
    /// Who pays for it [default: SLURM_JOB_ACCOUNT]
    #[arg(long)]
    account: Option<String>,
    /// What else is known of it; may be repeated [default: partition from SLURM_JOB_PARTITION]
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::cli::pair)]
    label: Vec<(String, String)>,
    /// A GPU that it holds, by UUID, number or PCI address; several with commas [default: SLURM_JOB_GPUS]
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    device: Vec<String>,
    /// How many cores it holds [default: SLURM_JOB_CPUS_PER_NODE]
    #[arg(long, value_name = "N")]
    cores: Option<u32>,
    /// How many cores the machine has, counted alike [default: the agent's own count]
    #[arg(long, value_name = "N")]
    cores_of: Option<u32>,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
struct StopArgs {
    /// The job's id [default: SLURM_JOB_ID]
    id: Option<String>,
    #[command(flatten)]
    how: HowArgs,
}

/// How the word is brought.
#[derive(Debug, Args)]
struct HowArgs {
    /// When, if not now (RFC 3339)
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// The agent's configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's socket [default: jobs.socket, else the usual places]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where the word is left if no agent answers [default: jobs.drop_dir]
    #[arg(long, value_name = "DIR")]
    drop_dir: Option<PathBuf>,
    /// How long the agent may take to answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = PATIENCE_MS, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout_ms: u64,
    /// End with exit code 1 if the word is lost, 2 if it makes no sense
    #[arg(long)]
    strict: bool,
}

/// Why the word did not arrive.
#[derive(Debug, thiserror::Error)]
enum Lost {
    /// It makes no sense, or the configuration does not.
    #[error("{0}")]
    Usage(String),
    /// The agent does not take it.
    #[error("the agent does not take it: {0}")]
    Refused(String),
    /// Nobody is there to take it.
    #[error("{socket}, and {folder}: the job is not told of")]
    Nobody {
        /// What became of the socket.
        socket: String,
        /// What became of the folder.
        folder: String,
    },
}

/// What an agent answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    ok: bool,
    error: String,
    later: bool,
}

/// Tells the agent; on failure one line on standard error.
pub(crate) fn job(args: JobArgs) -> End {
    let look = |name: &str| std::env::var(name).ok();
    let (how, message) = match args.command {
        JobCommand::Start(start) => {
            let allocation = start.allocation(&look);
            (start.how, allocation.map(|allocation| Message { start: Some(allocation), ..Message::default() }))
        }
        JobCommand::Stop(stop) => {
            let message = given_id(stop.id, &look).map(|id| Message { stop: Some(id), ..Message::default() });
            (stop.how, message)
        }
    };
    let strict = how.strict;
    let told = message.and_then(|message| tell(how, message));
    match told {
        Ok(None) => End::Done,
        Ok(Some(note)) => fail(End::Done, &note),
        Err(lost) => {
            let end = if matches!(lost, Lost::Usage(_)) { End::Usage } else { End::Failed };
            fail(if strict { end } else { End::Done }, &lost)
        }
    }
}

fn given_id(id: Option<String>, look: slurm::Look<'_>) -> Result<Arc<str>, Lost> {
    let id = id.or_else(|| slurm::id(look));
    id.map(Arc::from).ok_or_else(|| Lost::Usage("no id is given, and there is no SLURM_JOB_ID".into()))
}

impl StartArgs {
    fn allocation(&self, look: slurm::Look<'_>) -> Result<Allocation, Lost> {
        let mut allocation = slurm::allocation(look);
        allocation.id = given_id(self.id.clone(), look)?;
        let replace = |field: &mut Arc<str>, flag: &Option<String>| {
            if let Some(text) = flag {
                *field = text.as_str().into();
            }
        };
        replace(&mut allocation.user, &self.user);
        replace(&mut allocation.account, &self.account);
        allocation.labels.extend(self.label.iter().cloned());
        if !self.device.is_empty() {
            allocation.devices =
                self.device.iter().filter(|name| !name.is_empty()).map(|name| name.as_str().into()).collect();
        }
        allocation.cores = self.cores.unwrap_or(allocation.cores);
        allocation.cores_of = self.cores_of.unwrap_or(0);
        // What can be seen here is better said here than by an agent that reads it later.
        allocation.clone().checked().map_err(|error| Lost::Usage(error.to_string()))?;
        Ok(allocation)
    }
}

/// Brings a message to the agent, or leaves it in the folder; then a note says so.
fn tell(how: HowArgs, message: Message) -> Result<Option<String>, Lost> {
    let settings = settings(how.config).map_err(|error| Lost::Usage(error.to_string()))?;
    // With its instant it is right also if the agent comes to it later.
    let message = Message { at: how.at.or_else(|| Some(jiff::Timestamp::now())), ..message };
    let mut line = serde_json::to_vec(&message).map_err(|error| Lost::Usage(error.to_string()))?;
    line.push(b'\n');
    let sockets = how.socket.map_or_else(|| settings.jobs.sockets(), |socket| vec![socket]);
    let socket = match ask(&sockets, &line, Duration::from_millis(how.timeout_ms)) {
        Ok(Answer { ok: true, .. }) => return Ok(None),
        Ok(answer) if !answer.later => return Err(Lost::Refused(answer.error)),
        Ok(answer) => answer.error,
        Err(why) => why,
    };
    let folder = how.drop_dir.or_else(|| usual_folder(&settings));
    let left = folder.ok_or_else(|| "there is no drop folder".to_owned()).and_then(|folder| leave(&folder, &line));
    match left {
        Ok(path) => Ok(Some(format!("{socket}: left for the agent in {}", path.display()))),
        Err(folder) => Err(Lost::Nobody { socket, folder }),
    }
}

fn usual_folder(settings: &Settings) -> Option<PathBuf> {
    settings.jobs.drop_dir(&settings.state_dir())
}

/// Asks the agent on the first of these sockets that somebody listens on.
fn ask(sockets: &[PathBuf], line: &[u8], patience: Duration) -> Result<Answer, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let asked = async {
        let mut why = "no place of a socket is known".to_owned();
        for socket in sockets {
            match UnixStream::connect(socket).await {
                Ok(stream) => {
                    return converse(stream, line).await.map_err(|error| format!("{}: {error}", socket.display()));
                }
                Err(error) => why = format!("{}: {error}", socket.display()),
            }
        }
        Err(why)
    };
    let limited = async { tokio::time::timeout(patience, asked).await };
    runtime.block_on(limited).unwrap_or_else(|_| Err(format!("no answer within {} ms", patience.as_millis())))
}

async fn converse(mut stream: UnixStream, line: &[u8]) -> std::io::Result<Answer> {
    stream.write_all(line).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    serde_json::from_slice(&answer).map_err(|_| std::io::Error::other("no answer that can be read"))
}

/// Leaves a message in the folder; its name sorts by time.
fn leave(folder: &Path, line: &[u8]) -> Result<PathBuf, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("{:020}-{}.json", since.as_nanos(), std::process::id());
    // Whoever the agent runs as reads it; the folder says who can reach it.
    let written = write_whole(folder, &name, line, 0o644);
    written.map(|()| folder.join(&name)).map_err(|error| format!("{}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_agent_and_no_folder_is_a_loss_and_a_folder_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let how = |drop_dir: PathBuf| HowArgs {
            at: None,
            config: None,
            socket: Some(folder.path().join("no.sock")),
            drop_dir: Some(drop_dir),
            timeout_ms: PATIENCE_MS,
            strict: false,
        };
        let stop = || Message { stop: Some("4711".into()), ..Message::default() };
        let lost = tell(how(folder.path().join("nowhere")), stop()).expect_err("nobody").to_string();
        assert!(lost.contains("no.sock") && lost.contains("nowhere") && lost.contains("not told"), "{lost}");
        let note = tell(how(folder.path().into()), stop()).expect("left").expect("a note");
        let path = note.rsplit(' ').next().expect("a path");
        let word = super::super::message::read(&std::fs::read_to_string(path).expect("a file")).expect("a message");
        assert!(word.at.is_some(), "with its instant");
    }
}
