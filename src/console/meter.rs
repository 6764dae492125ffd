//! `wattledger meter`: what selected machines use while a command runs, or between two words of a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{ContentArrangement, Table};
use cost::{Carbon, Cost, Currency};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::child::{self, Ended};
use crate::client::{self, DEFAULT_SERVER, understand};
use crate::error::ConsoleError;
use crate::figures::{NOTHING, amount, duration, mass, percent, plain};
use crate::footnotes::made_up;
use crate::format::Format;
use crate::report::write_out;
use crate::span::short_span;

/// Where measurements are begun and asked for.
const PATH: &str = "/api/v1/meters";
/// How often it is asked whether the readings up to the end are booked.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What to measure, and while what runs.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct MeterArgs {
    /// The same without a command
    #[command(subcommand)]
    pub action: Option<MeterAction>,
    /// Whom to measure
    #[command(flatten)]
    pub whom: Whom,
    /// How long to wait after the end for readings up to it (20s, 2m); a plain number is seconds
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = short_span)]
    pub wait: Duration,
    /// The command, after --; its exit code is this one's
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Whom a measurement is about.
#[derive(Args, Clone, Debug)]
pub struct Whom {
    /// A host, or several such as node[01-20]; all hosts if neither this nor --where is given
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    /// Only what matches, such as team=nlp,scope=gpu
    #[arg(long = "where", value_name = "FILTER")]
    pub filter: Option<String>,
    /// What to call it
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// Measurements without a command.
#[derive(Clone, Debug, Subcommand)]
pub enum MeterAction {
    /// Begin to measure; prints the measurement's id
    Start(Whom),
    /// End a measurement, and print what was used
    Stop {
        /// Its id
        id: String,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// The aggregator
        #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
        server: String,
    },
    /// List measurements, the newest first
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// The aggregator
        #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
        server: String,
    },
}

/// A measurement as the aggregator tells it.
#[derive(Deserialize, Serialize)]
struct Measured {
    id: String,
    name: String,
    #[serde(rename = "where")]
    filter: String,
    start: String,
    stop: Option<String>,
    hosts: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_up_hosts: Option<u64>,
    seconds: f64,
    complete: bool,
    energy_kwh: f64,
    average_watts: Option<f64>,
    peak_watts: Option<f64>,
    cost: Vec<Cost>,
    /// Not of an older aggregator.
    #[serde(default)]
    unrounded: BTreeMap<Currency, Decimal>,
    #[serde(default)]
    cost_hidden: bool,
    unpriced_kwh: f64,
    carbon: Carbon,
    covered_seconds: f64,
    expected_seconds: f64,
    estimated_joules: f64,
    apportioned_joules: f64,
    energy_joules: f64,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Listed {
    meters: Vec<Measured>,
}

/// Measures. The exit code is that of the command; without a command it is 0.
///
/// # Errors
/// [`ConsoleError`] if the measurement cannot begin (the command is not run then) or the command cannot be run.
pub async fn meter(args: &MeterArgs) -> Result<u8, ConsoleError> {
    let told = match &args.action {
        None => return measured_command(args).await,
        Some(MeterAction::Start(whom)) => format!("{}\n", start(whom, "").await?.id),
        Some(MeterAction::Stop { id, format, server }) => {
            let (measured, body) = stop(server, id).await?;
            if *format == Format::Json { format!("{body}\n") } else { summary(&measured) }
        }
        Some(MeterAction::List { format, server }) => {
            let body = client::get(server, PATH, &[]).await?;
            let list: Listed = understand(server, &body)?;
            if *format == Format::Json { format!("{body}\n") } else { listed(&list.meters) }
        }
    };
    write_out(told.as_bytes()).map_err(ConsoleError::Output)?;
    Ok(0)
}

async fn measured_command(args: &MeterArgs) -> Result<u8, ConsoleError> {
    let (program, arguments) = args.command.split_first().ok_or_else(|| ConsoleError::Usage("no COMMAND".into()))?;
    let server = &args.whom.server;
    // Signals are ours before the command is there, so that none ends us without its end being told.
    let signals = child::Signals::new().map_err(|why| ConsoleError::Command { program: program.clone(), why })?;
    let begun = start(&args.whom, program).await?;
    let ended = child::run(program, arguments, signals).await;
    // Whatever became of the command, the measurement ends here.
    let stopped = stop(server, &begun.id).await;
    let ended = ended.map_err(|why| ConsoleError::Command { program: program.clone(), why })?;
    match stopped {
        Ok((measured, _)) => {
            let measured = completed(server, measured, args.wait).await;
            complain(&summary(&measured));
        }
        // The command's own word counts; it was run.
        Err(error) => complain(&format!("wattledger: the measurement {} could not be ended: {error}\n", begun.id)),
    }
    Ok(match ended {
        Ended::Exited(code) => code,
        Ended::Killed(signal) => 128_u8.saturating_add(signal),
    })
}

#[expect(clippy::print_stderr, reason = "the standard output is the command's")]
fn complain(text: &str) {
    eprint!("{text}");
}

/// Asks again until all readings up to the end are booked, or time is up.
async fn completed(server: &str, mut measured: Measured, wait: Duration) -> Measured {
    let until = Instant::now() + wait;
    while !measured.complete && Instant::now() < until {
        tokio::time::sleep(ASK_EVERY).await;
        let Ok(body) = client::get(server, &format!("{PATH}/{}", measured.id), &[]).await else { break };
        match serde_json::from_str(&body) {
            Ok(newer) => measured = newer,
            Err(_) => break,
        }
    }
    measured
}

async fn start(whom: &Whom, program: &str) -> Result<Measured, ConsoleError> {
    let name = whom.name.clone().unwrap_or_else(|| {
        let file = std::path::Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if file.is_empty() { "measurement".into() } else { file.to_owned() }
    });
    let hosts = (!whom.host.is_empty()).then(|| format!("host={}", whom.host.join("|")));
    let filter: Vec<String> = hosts.into_iter().chain(whom.filter.clone()).collect();
    let body = json!({ "name": name, "where": filter.join(",") }).to_string();
    understand(&whom.server, &client::post(&whom.server, PATH, body).await?)
}

async fn stop(server: &str, id: &str) -> Result<(Measured, String), ConsoleError> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_id {
        return Err(ConsoleError::Usage(format!("{id:?} is no id of a measurement")));
    }
    let body = client::post(server, &format!("{PATH}/{id}/stop"), "{}".into()).await?;
    Ok((understand(server, &body)?, body))
}

/// What was used, in lines for people.
fn summary(measured: &Measured) -> String {
    let mut text = String::new();
    let hosts = if measured.hosts == 1 { "1 host".into() } else { format!("{} hosts", measured.hosts) };
    let _ = writeln!(text, "{}: {} on {hosts}", plain(&measured.name), duration(measured.seconds));
    let watts = |watts: Option<f64>| watts.map_or_else(|| NOTHING.to_owned(), |watts| format!("{watts:.1} W"));
    let _ = writeln!(
        text,
        "  energy   {:.6} kWh, average {}, peak {}",
        measured.energy_kwh,
        watts(measured.average_watts),
        watts(measured.peak_watts)
    );
    let costs = costs(measured);
    if !measured.cost_hidden {
        let _ = writeln!(text, "  cost     {}", if costs.is_empty() { "no rate card" } else { &costs });
    }
    if measured.unpriced_kwh != 0.0 && !costs.is_empty() {
        let _ = writeln!(text, "           {:.6} kWh have no price", measured.unpriced_kwh);
    }
    let carbon = measured
        .carbon
        .location_grams
        .map_or_else(|| "no factor known".into(), |grams| format!("{} CO2e", mass(grams)));
    let _ = writeln!(text, "  carbon   {carbon}");
    let covered = percent(measured.covered_seconds, measured.expected_seconds, false);
    let _ = write!(text, "  measured {covered} of the time");
    for (joules, what) in
        [(measured.estimated_joules, "estimated"), (measured.apportioned_joules, "apportioned by time")]
    {
        if joules != 0.0 {
            let _ = write!(text, ", {} {what}", percent(joules, measured.energy_joules, true));
        }
    }
    text.push('\n');
    if let Some(hosts) = measured.made_up_hosts {
        let _ = writeln!(text, "  {}", made_up(hosts));
    }
    if !measured.complete && measured.stop.is_some() {
        let _ = writeln!(
            text,
            "  not all readings up to the end are booked yet; later: wattledger meter list, or GET {PATH}/{}",
            measured.id
        );
    }
    text
}

/// What it costs; of a small amount two digits that count, though no bill would have them.
fn costs(measured: &Measured) -> String {
    let told = |cost: &Cost| {
        let exact = measured.unrounded.get(&cost.currency).copied();
        format!("{} {}", amount(cost.amount, exact), cost.currency)
    };
    measured.cost.iter().map(told).collect::<Vec<_>>().join(", ")
}

/// What is listed of each; what it costs comes last.
const COLUMNS: [&str; 9] = ["ID", "NAME", "WHERE", "START", "STOP", "KWH", "AVERAGE", "COVERAGE", "COST"];

fn listed(all: &[Measured]) -> String {
    if all.is_empty() {
        return "nothing was measured by name\n".into();
    }
    // The aggregator leaves money out everywhere, or nowhere.
    let columns = if all.iter().any(|one| one.cost_hidden) { COLUMNS.len() - 1 } else { COLUMNS.len() };
    let mut table = Table::new();
    table
        .load_style(PLAIN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty()
        .set_header(&COLUMNS[..columns]);
    for one in all {
        let cost = Some(costs(one)).filter(|costs| !costs.is_empty()).unwrap_or_else(|| NOTHING.to_owned());
        let average = one.average_watts.map_or_else(|| NOTHING.to_owned(), |watts| format!("{watts:.1} W"));
        let kwh = format!("{:.6}", one.energy_kwh);
        let stop = one.stop.as_deref().unwrap_or("running");
        let covered = percent(one.covered_seconds, one.expected_seconds, false);
        let cells = [&one.id, &one.name, &one.filter, &one.start, stop, &kwh, &average, &covered, &cost].map(plain);
        table.add_row(cells.into_iter().take(columns));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
