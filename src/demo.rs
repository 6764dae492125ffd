//! `wattledger demo`: an aggregator, this machine's own agent and a made-up fleet, in one process and
//! over real loopback HTTP. What is made up says so.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agents::config::Settings as AgentSettings;
use agents::feed::Feed;
use agents::replay::{SendError, SendSettings};
use agents::run::{RunningAgent, StartError};
use agents::sources::{self, Probe, Roots};
use aggregator::{AggregatorError, Running, Settings};
use clap::Args;
use console::{ConsoleError, ReportArgs};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use meter::{SECOND_NS, Utc};

use crate::demo_fleet::{DAYS, Fleet, FleetError, HISTORY_STEP_NS, LIVE_STEP, RATES};

/// Every host has 11 accounts and a graph of its own on the page; more would only take longer to fill.
const HOSTS_MAX: u16 = 500;

/// What to show, and for how long.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// End after this long (30s, 5m), not on Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = console::span)]
    duration: Option<Duration>,
    /// Simulated hosts
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=i64::from(HOSTS_MAX)))]
    hosts: u16,
    /// Address and port [default: 127.0.0.1:9810, or any free port if that is taken]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Keep the ledger here; without it, it is gone when the demo ends
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Why a demonstration ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// Its files cannot be written.
    #[error("cannot write {}: {_1}", _0.display())]
    Files(PathBuf, std::io::Error),
    /// The aggregator does not start.
    #[error(transparent)]
    Aggregator(#[from] AggregatorError),
    /// The fleet's readings do not arrive.
    #[error(transparent)]
    Send(#[from] SendError),
    /// There is no fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The report failed.
    #[error(transparent)]
    Report(#[from] ConsoleError),
}

/// Runs the demonstration and prints what the fleet cost.
pub(crate) async fn demo(args: &DemoArgs) -> Result<(), DemoError> {
    let deadline = args.duration.map(|duration| Instant::now() + duration);
    // Removed when this function returns.
    let (_temporary, dir) = data_dir(args.data_dir.as_deref())?;
    let fleet = Fleet::new(args.hosts)?;
    let aggregator = start_aggregator(args, &fleet, &dir).await?;
    let server = format!("http://{}", aggregator.addr);
    say(&format!("dashboard  {server}"));
    say(&format!("terminal   wattledger top --server {server}"));
    say(&format!(
        "simulated  {} hosts with 8 GPUs each at two sites: made-up readings and prices, labelled simulated=true",
        args.hosts
    ));
    say("replayed   1 host with a recorded NVIDIA H200, labelled replayed=true");
    let own = start_own_agent(&server, &dir);

    let mut feed = Feed::new(&SendSettings::to(&server), fleet.owners())?;
    let ended = tokio::select! {
        ended = play(&fleet, &mut feed, deadline) => ended,
        () = interrupted() => Ok(()),
    };
    if let Ok(own) = own {
        own.stop().await;
    }
    let told = match ended {
        Ok(()) => tell_cost(&server).await,
        Err(error) => Err(error),
    };
    aggregator.stop().await;
    told
}

fn data_dir(given: Option<&Path>) -> Result<(Option<tempfile::TempDir>, PathBuf), DemoError> {
    if let Some(dir) = given {
        std::fs::create_dir_all(dir).map_err(|error| DemoError::Files(dir.into(), error))?;
        return Ok((None, dir.into()));
    }
    let temporary = tempfile::Builder::new().prefix("wattledger-demo-").tempdir();
    let temporary = temporary.map_err(|error| DemoError::Files(std::env::temp_dir(), error))?;
    let dir = temporary.path().to_path_buf();
    Ok((Some(temporary), dir))
}

async fn start_aggregator(args: &DemoArgs, fleet: &Fleet, dir: &Path) -> Result<Running, DemoError> {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| DemoError::Files(path.clone(), error))?;
        Ok::<_, DemoError>(path.display().to_string())
    };
    let mut settings = Settings::default();
    settings.files.inventory = write("inventory.csv", &fleet.inventory())?;
    settings.files.rates = write("rates.toml", RATES)?;
    settings.server.data_dir = dir.join("ledger").display().to_string();
    settings.server.listen = match &args.listen {
        Some(listen) => listen.clone(),
        None if TcpListener::bind(&*settings.server.listen).is_ok() => settings.server.listen,
        None => SocketAddr::from(([127, 0, 0, 1], 0)).to_string(),
    };
    Ok(aggregator::start(settings).await?)
}

/// This machine's real sensors, if it has any.
fn start_own_agent(server: &str, dir: &Path) -> Result<RunningAgent, StartError> {
    let mut settings = AgentSettings::default();
    settings.uplink.servers = vec![server.into()];
    settings.uplink.interval_s = 2;
    settings.agent.state_dir = dir.join("agent");
    // It would only be in the way of an agent that runs in earnest.
    settings.metrics.listen = String::new();
    settings.jobs.enabled = false;
    let found = sources::all(&settings.sources, &Roots::default()).into_iter().filter_map(|mut source| {
        let Probe::Found { devices, .. } = source.probe() else { return None };
        Some(format!("{} ({} devices)", source.name(), devices.len()))
    });
    let found = found.collect::<Vec<_>>().join(", ");
    let own = agents::run::start(&settings);
    match &own {
        Ok(_) if found.is_empty() => {
            say("this host  has no power source that can be read; `wattledger-agent probe` says why");
        }
        Ok(own) => say(&format!("this host  is measured as {}: {found}", own.owner().name)),
        Err(error) => say(&format!("this host  is not measured: {error}")),
    }
    own
}

/// A week of history as fast as it goes, then live.
async fn play(fleet: &Fleet, feed: &mut Feed, deadline: Option<Instant>) -> Result<(), DemoError> {
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let end = aggregator::app::wall_clock();
    let start = Utc((end.0 - i64::from(DAYS) * 86_400 * SECOND_NS).div_euclid(HISTORY_STEP_NS) * HISTORY_STEP_NS);
    let bar = progress();
    let mut at = start;
    while at < end && !is_over() {
        let next = Utc((at.0 + 7200 * SECOND_NS).min(end.0));
        fleet.history(feed, at, next);
        feed.deliver().await?;
        at = next;
        bar.set_position(u64::try_from((at.0 - start.0) / (3600 * SECOND_NS)).unwrap_or(0));
    }
    bar.finish_and_clear();
    if at >= end {
        fleet.last_of_history(feed, aggregator::app::wall_clock());
        say(&format!("history    {DAYS} days of {} hosts are on the ledger's disk; from now on live", fleet.len()));
    }
    if deadline.is_none() {
        say("Ctrl-C ends the demo and prints what the fleet cost");
    }
    while !is_over() {
        fleet.live(feed, aggregator::app::wall_clock());
        feed.deliver().await?;
        let left = deadline.map_or(LIVE_STEP, |deadline| deadline.saturating_duration_since(Instant::now()));
        tokio::time::sleep(left.min(LIVE_STEP)).await;
    }
    Ok(())
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(u64::from(DAYS) * 24), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("history    {bar:40} {pos} of {len} h of readings");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

async fn tell_cost(server: &str) -> Result<(), DemoError> {
    say(&format!(
        "\nWhat the fleet cost in the last {DAYS} days, by team (simulated and replayed hosts, example prices):\n"
    ));
    let by_team = ReportArgs {
        window: format!("{DAYS}d"),
        by: Some("team".into()),
        filter: None,
        step: None,
        idle: None,
        shared: None,
        tz: None,
        format: console::ReportFormat::Table,
        server: server.into(),
        output: None,
    };
    Ok(console::report(&by_team).await?)
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

#[expect(clippy::print_stdout, reason = "what the command is for")]
fn say(line: &str) {
    println!("{line}");
}
