//! The command line of `wattledger-agent`.
//!
//! Exit codes: 0 done, 1 failed, 2 usage or configuration, 70 internal fault. Logs go to standard
//! error, data to standard output.

use std::io::{self, IsTerminal, Write, stderr, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actix_rt::System;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::backfill::BackfillArgs;
use crate::config::{ConfigError, Settings};
use crate::jobs::{command, report};
use crate::manual::{self, CompletionsArgs, ManArgs};
use crate::run::{self, StartError};
use crate::sources::{self, Roots};
use crate::{backfill, probe, replay_command};

#[derive(Debug, Parser)]
#[command(
    name = "wattledger-agent",
    version,
    about = "Reads a machine's power sources for the wattledger fleet ledger"
)]
#[command(
    after_help = "Log detail: WATTLEDGER_LOG=debug. Settings: configs/agent.toml, WATTLEDGER_AGENT__SECTION__KEY."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read this machine's sensors and deliver the readings, until told to stop
    Run(RunArgs),
    /// Tell this machine's agent that a job begins or ends; for a scheduler's hooks
    Job(command::JobArgs),
    /// Show every power source this machine could have: what was found, or why not
    Probe(ProbeArgs),
    /// Send recorded readings (CSV, also gzipped) with their own time stamps
    Replay(ReplayArgs),
    /// Send what a Prometheus server remembers of the exporters that are configured, scrape by scrape
    Backfill(BackfillArgs),
    /// Print a script that completes this command line in a shell
    Completions(CompletionsArgs),
    /// Write the man pages
    Man(ManArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Aggregator; several are tried in order [default: http://127.0.0.1:9810]
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// Name of this host [default: its lower-case short name]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Folder for what the aggregator does not have yet [default: /var/lib/wattledger-agent for root,
    /// else ~/.local/state/wattledger-agent]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Read a made-up machine as well, which says that it is one: to try things out without sensors
    #[arg(long)]
    simulated: bool,
    #[command(flatten)]
    roots: RootArgs,
}

/// Where the kernel's trees are, for recorded ones.
#[derive(Debug, Args)]
struct RootArgs {
    /// Another tree in place of /sys
    #[arg(long, value_name = "DIR", default_value = "/sys", hide = true)]
    sys: PathBuf,
    /// Another tree in place of /proc
    #[arg(long, value_name = "DIR", default_value = "/proc", hide = true)]
    proc: PathBuf,
}

#[derive(Debug, Args)]
struct ProbeArgs {
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seconds for all that is looked at over the network
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Another tree in place of /sys
    #[arg(long, value_name = "DIR", default_value = "/sys")]
    sys: PathBuf,
    /// Another tree in place of /proc
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    proc: PathBuf,
}

/// Where lines for a terminal are folded.
const COLUMNS: usize = 110;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Files of recorded readings
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Aggregator; several are tried in order [default: http://127.0.0.1:9810]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Vec<String>,
    /// How many times faster than recorded, or max
    #[arg(long, default_value = "max", value_name = "max|N", value_parser = speed)]
    pub(crate) speed: Speed,
    /// The host that all rows belong to
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Only rows with this value in this column; may be repeated
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = pair)]
    pub(crate) wheres: Vec<(String, String)>,
}

/// A replay's pace: so many times faster than recorded, or as fast as possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed(pub(crate) Option<f64>);

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed(None));
    }
    let number = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    number.map(|speed| Speed(Some(speed))).ok_or_else(|| "it is max, or a number above 0 such as 60".into())
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(column, _)| !column.is_empty());
    pair.map(|(column, value)| (column.into(), value.into())).ok_or_else(|| "it looks like COLUMN=VALUE".into())
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Internal = 70,
}

/// Runs the program on the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    log_to_stderr();
    let end = catch_unwind(AssertUnwindSafe(|| match cli.command {
        Command::Run(args) => run(args),
        Command::Job(args) => command::job(args),
        Command::Probe(args) => probe(&args),
        Command::Replay(args) => match settings(None) {
            Ok(settings) => replay_command::replay(args, settings),
            Err(error) => fail(End::Usage, &error),
        },
        Command::Backfill(args) => backfill::backfill(&args),
        Command::Completions(args) => written(manual::completions(Cli::command(), args)),
        Command::Man(args) => written(manual::man(Cli::command(), &args)),
    }));
    ExitCode::from(end.unwrap_or(End::Internal) as u8)
}

/// Says what is wrong with the arguments. A scheduler's hook is no reason to stop a job: unless it asked for
/// strictness it ends well.
fn refuse(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let is_hook = arguments.first().is_some_and(|first| first == "job");
    let is_lenient = is_hook && arguments.iter().all(|argument| argument != "--strict");
    let code = if is_lenient { 0 } else { u8::try_from(error.exit_code()).unwrap_or(End::Usage as u8) };
    ExitCode::from(code)
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WATTLEDGER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,ipmi_rs=off"));
    let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // Somebody else's subscriber may be in place when the agent is a part of another program.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(colour)
        .with_target(false)
        .try_init();
}

fn written(result: io::Result<()>) -> End {
    result.map_or_else(|error| fail(End::Failed, &error), |()| End::Done)
}

/// Says why on standard error.
pub(crate) fn fail(end: End, error: &dyn std::fmt::Display) -> End {
    // If not even that can be written there is nobody to tell.
    let _ = writeln!(stderr(), "wattledger-agent: {error}");
    end
}

pub(crate) fn settings(file: Option<PathBuf>) -> Result<Settings, ConfigError> {
    // A variable that is not UTF-8 cannot be one of ours.
    let variables: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Settings::load(file.as_deref(), &variables)
}

fn run(args: RunArgs) -> End {
    let mut settings = match settings(args.config) {
        Ok(settings) => settings,
        Err(error) => return fail(End::Usage, &error),
    };
    if !args.server.is_empty() {
        settings.uplink.servers = args.server;
    }
    if let Some(host) = args.host {
        settings.agent.host = host;
    }
    if let Some(state_dir) = args.state_dir {
        settings.agent.state_dir = state_dir;
    }
    settings.sources.simulated.enabled |= args.simulated;
    let roots = Roots { sys: args.roots.sys, proc: args.roots.proc };
    let system = System::new();
    let started = system.block_on(async {
        // Before anybody is told that it runs: who stops it at once wants a good end as well.
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let agent = run::start_on(&settings, &roots)?;
        actix_rt::spawn(stop_on_signal(agent, signals));
        Ok::<_, StartError>(())
    });
    if let Err(error) = started {
        let end = if matches!(error, StartError::Spool(_)) { End::Failed } else { End::Usage };
        return fail(end, &error);
    }
    match system.run_with_code() {
        Ok(0) => End::Done,
        _ => End::Internal,
    }
}

async fn stop_on_signal(agent: run::RunningAgent, signals: (io::Result<Signal>, io::Result<Signal>)) {
    match signals {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "signals cannot be received"),
    }
    if agent.stop().await {
        tracing::info!("stopped: everything is on the ledger's disk");
    } else {
        tracing::info!("stopped: what the ledger does not have waits in the spool");
    }
    System::current().stop_with_code(0);
}

/// One line on a terminal while targets are looked at.
struct Progress(ProgressBar);

impl Progress {
    fn new() -> Self {
        let bar = if stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{human_pos} of {human_len} targets looked at, {elapsed}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&self, done: usize, total: usize) {
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

fn probe(args: &ProbeArgs) -> End {
    let settings = match settings(args.config.clone()) {
        Ok(settings) => settings,
        Err(error) => return fail(End::Usage, &error),
    };
    let roots = Roots { sys: args.sys.clone(), proc: args.proc.clone() };
    let found = probe::look(&settings.sources, &roots);
    let discoveries = sources::discoveries(&settings.sources, &roots, &settings.agent.cluster);
    let limit = Duration::from_secs(args.timeout);
    let bar = Progress::new();
    let targets = if discoveries.is_empty() {
        Vec::new()
    } else {
        System::new().block_on(probe::targets::look(discoveries, limit, |done, total| bar.show(done, total)))
    };
    bar.end();
    let hearings = System::new().block_on(report::look(&settings));
    let text = match args.format {
        // A file or a filter gets whole lines.
        Format::Table => probe::table(&found, &targets, &hearings, stdout().is_terminal().then_some(COLUMNS)),
        Format::Json => probe::json(&found, &targets, &hearings),
    };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = stdout().write_all(text.as_bytes());
    End::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn speeds_and_pairs_are_checked() {
        assert!(matches!(speed("max"), Ok(Speed(None))) && matches!(speed("60"), Ok(Speed(Some(_)))));
        for bad in ["", "0", "-1", "inf", "NaN", "fast"] {
            assert!(speed(bad).is_err(), "{bad:?}");
        }
        assert_eq!(pair("run=a=b"), Ok(("run".into(), "a=b".into())));
        assert!(pair("run").is_err() && pair("=x").is_err());
    }
}
