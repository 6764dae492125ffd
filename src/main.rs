//! `wattledger`: reads the command line and hands over.
//!
//! Exit codes: 0 done, 1 failed, 2 usage or configuration, 70 internal fault. Data goes to stdout,
//! logs to stderr.

mod backup;
mod check;
mod check_settings;
mod demo;
mod demo_fleet;
mod offline;
mod restore;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use agents::manual::{self, CompletionsArgs, ManArgs};
use aggregator::{AggregatorError, Flags, Settings};
use backup::BackupArgs;
use check::CheckArgs;
use clap::{Args, CommandFactory, Parser, Subcommand};
use console::{
    BudgetsArgs, CloseArgs, ConsoleError, ExplainArgs, HostArgs, InventoryArgs, InventoryCommand, JobsArgs, MeterArgs,
    RatesArgs, ReconcileArgs, ReportArgs, TopArgs,
};
use demo::{DemoArgs, DemoError};
use restore::RestoreArgs;
use store::StoreError;
use tracing_subscriber::EnvFilter;
use verify::VerifyArgs;

/// The energy ledger of a GPU and HPC fleet: each joule counted once, and priced.
#[derive(Parser)]
#[command(name = "wattledger", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell everything that is wrong with configuration files; no aggregator is needed.
    Check(CheckArgs),
    /// Show everything at work: an aggregator, this machine's sensors and a simulated fleet.
    Demo(DemoArgs),
    /// Run the aggregator: takes readings, keeps the ledger, answers questions.
    Serve(ServeArgs),
    /// Show where budgets stand this month, and what they will have used at its end.
    Budgets(BudgetsArgs),
    /// Tell how a host's figure came about: accounts, holes, boundary, slots, prices, amount.
    Explain(ExplainArgs),
    /// Show what applies now, or convert a tariff from elsewhere into a rate card.
    Rates(RatesArgs),
    /// Compare what meters say of the same energy: facility, PDU, chassis, components, and an invoice.
    Reconcile(ReconcileArgs),
    /// Freeze a month's statement; what changes later is adjusted in the next open month.
    Close(CloseArgs),
    /// Print a fleet cost report from a running aggregator.
    Report(ReportArgs),
    /// Rebind or retire hosts, list what belongs to nothing, and what administrators did.
    Host(HostArgs),
    /// Show labels and topology in force, or tell what is wrong with them.
    Inventory(InventoryArgs),
    /// What jobs used; past jobs from a scheduler's accounting.
    Jobs(JobsArgs),
    /// Run a command, and print what hosts used meanwhile.
    Meter(MeterArgs),
    /// Show the fleet in the terminal, live: power, energy and cost since you began to look.
    Top(TopArgs),
    /// Copy a ledger while its aggregator works, or one that is stopped.
    Backup(BackupArgs),
    /// Put the ledger of a backup or export in place; the one that is there is set aside.
    Restore(RestoreArgs),
    /// Audit the ledger of a stopped aggregator and its exports, without changing them.
    Verify(VerifyArgs),
    /// Print a script that completes this command line in a shell.
    Completions(CompletionsArgs),
    /// Write the man pages.
    Man(ManArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// Configuration file (TOML); see configs/aggregator.toml for every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on; port 0 picks a free one [default: 127.0.0.1:9810]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the ledger is kept [default: the user's state directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Labels of hosts (CSV, or Prometheus file_sd JSON), read again whenever it changes.
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// Rate card: what energy costs, read again whenever it changes; see configs/rates.toml.
    #[arg(long, value_name = "FILE")]
    rates: Option<PathBuf>,
    /// Budgets, read again whenever they change; see configs/budgets.toml.
    #[arg(long, value_name = "FILE")]
    budgets: Option<PathBuf>,
    /// Serve other machines without tokens: whoever reaches the address may read and write the ledger.
    #[arg(long)]
    insecure: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // All but the server say themselves what a person wants to read.
    log(if matches!(cli.command, Command::Serve(_)) { "info,actix_server=warn" } else { "warn" });
    match std::panic::catch_unwind(|| actix_rt::System::new().block_on(dispatch(cli.command))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Failure { code, told })) => {
            if !told.is_empty() {
                tell(&told);
            }
            ExitCode::from(code)
        }
        // The panic was told where it happened.
        Err(_) => ExitCode::from(70),
    }
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check::check(&args),
        Command::Demo(args) => Ok(demo::demo(&args).await?),
        Command::Serve(args) => serve(args).await,
        Command::Budgets(args) => Ok(console::budgets(&args).await?),
        Command::Explain(args) => Ok(console::explain(&args).await?),
        Command::Rates(args) => Ok(console::rates(&args).await?),
        Command::Reconcile(args) => Ok(console::reconcile(&args).await?),
        Command::Close(args) => Ok(console::close(&args).await?),
        Command::Report(args) => Ok(console::report(&args).await?),
        Command::Host(args) => Ok(console::host(&args).await?),
        Command::Inventory(args) => match &args.command {
            InventoryCommand::Check { file: Some(file), ask } => check::check(&CheckArgs::inventory(file, ask.format)),
            _ => Ok(console::inventory(&args).await?),
        },
        Command::Jobs(args) => Ok(console::jobs(&args).await?),
        Command::Meter(args) => match console::meter(&args).await? {
            0 => Ok(()),
            // The command's own word is all there is to say.
            code => Err(Failure { code, told: String::new() }),
        },
        Command::Top(args) => Ok(console::top(&args).await?),
        Command::Backup(args) => backup::backup(&args).await,
        Command::Restore(args) => restore::restore(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Completions(args) => Ok(manual::completions(Cli::command(), args)?),
        Command::Man(args) => Ok(manual::man(Cli::command(), &args)?),
    }
}

#[expect(clippy::print_stderr, reason = "what a person reads last is no log line")]
fn tell(told: &str) {
    eprintln!("wattledger: {told}");
}

/// Logs to stderr; `WATTLEDGER_LOG` says how much (`debug`, `aggregator=trace`).
fn log(usual: &str) {
    let filter = EnvFilter::try_from_env("WATTLEDGER_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}

/// Why a command failed, and the exit code that says so.
struct Failure {
    code: u8,
    told: String,
}

impl From<AggregatorError> for Failure {
    fn from(error: AggregatorError) -> Self {
        Self { code: if error.is_configuration() { 2 } else { 1 }, told: error.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: 1, told: error.to_string() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        // What is not there was named wrongly.
        Self { code: if matches!(error, StoreError::Absent { .. }) { 2 } else { 1 }, told: error.to_string() }
    }
}

impl From<ConsoleError> for Failure {
    fn from(error: ConsoleError) -> Self {
        Self { code: error.exit_code(), told: error.to_string() }
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Aggregator(error) => error.into(),
            DemoError::Report(error) => error.into(),
            error => Self { code: 1, told: error.to_string() },
        }
    }
}

async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let ServeArgs { config, listen, data_dir, inventory, rates, budgets, insecure } = args;
    let flags = Flags { listen, data_dir, inventory, rates, budgets, insecure };
    let settings = Settings::load(config.as_deref(), environment, &flags).map_err(AggregatorError::from)?;
    Ok(aggregator::run(settings).await?)
}
