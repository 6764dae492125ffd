//! `wattledger jobs`: what jobs used, and past jobs from a scheduler's accounting.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use cost::Cost;
use jiff::tz::TimeZone;
use meter::hostlist::Pattern;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::{self, DEFAULT_SERVER, understand};
use crate::error::ConsoleError;
use crate::figures::{NOTHING, grouped, plain};
use crate::format::Format;
use crate::report::write_out;
use crate::sacct::{PastJob, Reading, Told};

/// Where jobs are told and asked for.
const PATH: &str = "/api/v1/jobs";
/// Jobs of one post: with 64 nodes each well below the 1 MiB of a body.
const BATCH: usize = 50;
/// Longest body of a post in bytes, with room below the 1 MiB that the aggregator takes.
const BODY_MAX: usize = 900_000;
/// Jobs of one page.
const PAGE: &str = "500";
/// Bad lines that are named one by one.
const NAMED_MAX: usize = 20;
/// Hosts that are named of those that never reported.
const HOSTS_NAMED_MAX: usize = 5;

/// What to do with jobs.
#[derive(Args, Clone, Debug)]
pub struct JobsArgs {
    /// What to do
    #[command(subcommand)]
    pub command: JobsCommand,
}

/// The commands there are.
#[derive(Clone, Debug, Subcommand)]
pub enum JobsCommand {
    /// List jobs that ran in a window, with their energy and cost from beginning to end
    List(ListArgs),
    /// Take past jobs from Slurm's accounting
    ///
    /// Print it with `sacct --parsable2 --allusers --starttime=2026-10-01 --endtime=now
    /// --format=JobIDRaw,User,Account,Partition,NodeList,Start,End,AllocCPUS,AllocTRES`. Jobs taken before are known and
    /// not taken twice. What they used is apportioned where they begin and end, and said to be so.
    Import(ImportArgs),
}

/// Which jobs to list.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// 1h 24h 7d 30d today yesterday week lastweek month lastmonth, a month such as 2026-10, or START,END
    #[arg(long, default_value = "24h")]
    pub window: String,
    /// Only what matches, such as job.user=ann,host=node[01-20]
    #[arg(long = "where", value_name = "FILTER")]
    pub filter: Option<String>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// What to import, and how to understand it.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// What sacct printed; - for the standard input
    #[arg(long, value_name = "FILE")]
    pub sacct: PathBuf,
    /// The cluster that the hosts belong to
    #[arg(long, default_value = "default")]
    pub cluster: String,
    /// The time zone of the times, such as Europe/Paris; sacct prints the local time of the machine it ran on
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// How many cores nodes have, such as 64 or gpu[01-20]=128; the first that matches counts. Without it a job has
    /// the cores, memory and chassis of a node only while it is alone there
    #[arg(long, value_name = "[NODES=]N")]
    pub cores_of: Vec<String>,
    /// Only read the file and say what is in it
    #[arg(long)]
    pub dry_run: bool,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// A job as the aggregator tells it.
#[derive(Deserialize, Serialize)]
struct Job {
    id: String,
    cluster: String,
    user: String,
    account: String,
    #[serde(default)]
    hosts: Vec<String>,
    start: String,
    stop: Option<String>,
    energy_kwh: f64,
    cost: Vec<Cost>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cost_hidden: bool,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Page {
    jobs: Vec<Job>,
    next_cursor: Option<String>,
}

/// What became of a batch.
#[derive(Default, Deserialize)]
struct Taken {
    taken: u64,
    known: u64,
    #[serde(default)]
    refused: Vec<Refused>,
    /// Not of an older aggregator.
    #[serde(default)]
    unknown_hosts: BTreeSet<String>,
    #[serde(default)]
    unknown_host_count: usize,
}

#[derive(Deserialize)]
struct Refused {
    id: String,
    detail: String,
}

/// Lists jobs or imports them.
///
/// # Errors
/// [`ConsoleError`] if the file cannot be read, or the aggregator does not answer or refuses.
pub async fn jobs(args: &JobsArgs) -> Result<(), ConsoleError> {
    let told = match &args.command {
        JobsCommand::List(args) => list(args).await?,
        JobsCommand::Import(args) => import(args).await?,
    };
    write_out(told.as_bytes()).map_err(ConsoleError::Output)
}

async fn list(args: &ListArgs) -> Result<String, ConsoleError> {
    let mut query = vec![("window", args.window.as_str()), ("limit", PAGE)];
    query.extend(args.filter.as_deref().map(|filter| ("where", filter)));
    let mut all = Vec::new();
    let keep = |page: Page| {
        all.extend(page.jobs);
        page.next_cursor
    };
    client::pages(&args.server, PATH, &query, keep).await?;
    match args.format {
        Format::Table => Ok(listed(&all)),
        Format::Json => client::written(&args.server, &all),
    }
}

fn listed(all: &[Job]) -> String {
    if all.is_empty() {
        return "no job ran in that window\n".into();
    }
    // The aggregator leaves money out everywhere, or nowhere. What it costs comes last.
    let header = ["JOB", "USER", "ACCOUNT", "HOSTS", "START", "STOP", "KWH", "APPORTIONED", "COST"];
    let columns = if all.iter().any(|job| job.cost_hidden) { header.len() - 1 } else { header.len() };
    let mut table = Table::new();
    table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header(&header[..columns]);
    for column in 6..columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for job in all {
        let hosts = match job.hosts.as_slice() {
            [] => NOTHING.to_owned(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} +{}", rest.len()),
        };
        let cost: Vec<String> =
            job.cost.iter().map(|cost| format!("{} {}", grouped(cost.amount), cost.currency)).collect();
        let cost = if cost.is_empty() { NOTHING.to_owned() } else { cost.join(", ") };
        let apportioned = job.more.get("apportioned_joules").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        let share = crate::figures::percent(apportioned, job.energy_kwh * 3.6e6, true);
        let stop = job.stop.as_deref().map_or_else(|| "running".to_owned(), to_the_second);
        let start = to_the_second(&job.start);
        let (kwh, named) = (format!("{:.4}", job.energy_kwh), format!("{}/{}", job.cluster, job.id));
        let id = if job.cluster == "default" { &job.id } else { &named };
        let cells = [id.as_str(), &job.user, &job.account, &hosts, &start, &stop, &kwh, &share, &cost];
        table.add_row(cells.map(plain).into_iter().take(columns));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// An instant without what is below a second.
fn to_the_second(instant: &str) -> String {
    let whole = instant.split_once('.').map(|(whole, _)| format!("{whole}Z"));
    whole.unwrap_or_else(|| instant.to_owned())
}

async fn import(args: &ImportArgs) -> Result<String, ConsoleError> {
    let told = read(args)?;
    let mut sum = Taken::default();
    if !args.dry_run {
        for batch in batches(&told.jobs) {
            let body = json!({ "cluster": args.cluster, "jobs": batch }).to_string();
            let taken: Taken = understand(&args.server, &client::post(&args.server, PATH, body).await?)?;
            sum.taken += taken.taken;
            sum.known += taken.known;
            sum.refused.extend(taken.refused);
            sum.unknown_host_count += taken.unknown_host_count.saturating_sub(taken.unknown_hosts.len());
            sum.unknown_hosts.extend(taken.unknown_hosts);
        }
    }
    let mut text = String::new();
    if args.dry_run {
        let _ = writeln!(text, "{} jobs could be taken", told.jobs.len());
    } else {
        let _ = writeln!(text, "{} jobs taken, {} known before", sum.taken, sum.known);
    }
    complain(&mut text, &told, &sum.refused);
    text.extend(never_reported(&sum.unknown_hosts, sum.unknown_host_count));
    if told.bad.is_empty() && sum.refused.is_empty() {
        return Ok(text);
    }
    write_out(text.as_bytes()).map_err(ConsoleError::Output)?;
    let left_out = told.bad.len() + sum.refused.len();
    Err(ConsoleError::Incomplete(format!("{left_out} lines or jobs were left out")))
}

/// What was not taken, and why.
fn complain(text: &mut String, told: &Told, refused: &[Refused]) {
    for (count, what) in [
        (told.steps, "steps, which are parts of their jobs"),
        (told.running, "jobs that still run: import them when they have ended"),
        (told.never_ran, "jobs that never ran"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "passed over: {count} {what}");
        }
    }
    if told.uneven > 0 {
        let _ = writeln!(
            text,
            "{} jobs have cores or GPUs that cannot be spread evenly over their nodes: which node has how many is not \
             known, so these stay idle",
            told.uneven
        );
    }
    for (line, why) in told.bad.iter().take(NAMED_MAX) {
        let _ = writeln!(text, "line {line} {}", plain(why));
    }
    for one in refused.iter().take(NAMED_MAX) {
        let _ = writeln!(text, "job {} is refused: {}", plain(&one.id), plain(&one.detail));
    }
}

/// Which hosts of the jobs never reported; beyond those that are named there are `more` at most.
fn never_reported(hosts: &BTreeSet<String>, more: usize) -> Option<String> {
    let names: Vec<String> = hosts.iter().take(HOSTS_NAMED_MAX).map(|host| plain(host).into_owned()).collect();
    let dots = if names.len() < hosts.len() { ", …" } else { "" };
    let least = if more > 0 { "at least " } else { "" };
    (!hosts.is_empty()).then(|| {
        format!(
            "{least}{} hosts never reported, nothing is known of their energy (is --cluster right?): {}{dots}\n",
            hosts.len(),
            names.join(", ")
        )
    })
}

fn read(args: &ImportArgs) -> Result<Told, ConsoleError> {
    let text = if args.sacct.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&args.sacct)
    };
    let text = text.map_err(|why| ConsoleError::BadInput { path: args.sacct.clone(), why: why.to_string() })?;
    let zone = match &args.tz {
        Some(name) => cost::zone(name).map_err(|error| ConsoleError::Usage(format!("--tz: {error}")))?,
        None => TimeZone::system(),
    };
    let cores_of = args.cores_of.iter().map(|text| cores_of(text)).collect::<Result<_, _>>()?;
    let reading = Reading { zone, cores_of };
    reading.read(&text).map_err(|why| ConsoleError::BadInput { path: args.sacct.clone(), why })
}

/// `64`, or `gpu[01-20]=128`.
fn cores_of(text: &str) -> Result<(Pattern, u32), ConsoleError> {
    let bad = |why: String| ConsoleError::Usage(format!("--cores-of {text:?}: {why}"));
    let (nodes, count) = text.rsplit_once('=').unwrap_or(("*", text));
    let count = count.parse().ok().filter(|count| (1..=meter::job::CORES_MAX).contains(count));
    let count = count.ok_or_else(|| bad(format!("cores are a number from 1 to {}", meter::job::CORES_MAX)))?;
    Ok((Pattern::parse(nodes).map_err(|error| bad(error.to_string()))?, count))
}

/// Jobs in pieces that fit a body.
fn batches(jobs: &[PastJob]) -> Vec<&[PastJob]> {
    let mut all = Vec::new();
    let mut rest = jobs;
    while !rest.is_empty() {
        let mut bytes = 0;
        let size = |job: &PastJob| serde_json::to_string(job).map_or(0, |text| text.len() + 1);
        let count = rest.iter().take(BATCH).take_while(|job| {
            bytes += size(job);
            bytes <= BODY_MAX
        });
        // One that is too large by itself is refused by name.
        let (batch, after) = rest.split_at(count.count().max(1));
        all.push(batch);
        rest = after;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_of_nodes_are_read() {
        let (pattern, count) = cores_of("gpu[01-02]=128").expect("cores");
        assert!(pattern.matches("gpu02") && !pattern.matches("cpu1") && count == 128);
        assert!(cores_of("64").expect("cores").0.matches("anything"));
        for bad in ["", "gpu=", "gpu=0", "x", "gpu[=3"] {
            assert!(cores_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_that_never_reported_are_counted_and_the_first_are_named() {
        let hosts = |count: usize| (0..count).map(|n| format!("n{n}")).collect();
        assert_eq!(never_reported(&hosts(0), 0), None);
        let told = never_reported(&hosts(2), 0).expect("two");
        assert!(told.starts_with("2 hosts never reported") && told.ends_with(": n0, n1\n"), "{told}");
        let told = never_reported(&hosts(7), 3).expect("many");
        assert!(told.starts_with("at least 7 hosts") && told.ends_with("n3, n4, …\n"), "{told}");
    }

    #[test]
    fn batches_hold_every_job_once_and_fit_a_body() {
        let job = |n: usize, hosts: usize| PastJob {
            id: n.to_string(),
            user: String::new(),
            account: String::new(),
            labels: Default::default(),
            hosts: vec![crate::sacct::Node { host: "n".repeat(200), cores: 1, cores_of: 2 }; hosts],
            start: String::new(),
            stop: String::new(),
        };
        let jobs: Vec<PastJob> = (0..120).map(|n| job(n, if n == 60 { 3_000 } else { 60 })).collect();
        let batches = batches(&jobs);
        assert_eq!(batches.concat(), jobs);
        assert!(batches.iter().all(|batch| batch.len() <= BATCH && !batch.is_empty()));
    }
}
