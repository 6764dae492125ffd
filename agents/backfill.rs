//! `wattledger-agent backfill`: what a Prometheus server remembers of exporters, sent as recorded readings.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_rt::System;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, civil};
use meter::Refusal;

use crate::cli::{End, fail, settings};
use crate::config::Settings;
use crate::link::LinkError;
use crate::replay::{self, ReplaySummary, SendError, SendSettings};
use crate::replay_command::text;
use crate::sources::prometheus::{History, Past, Prometheus, ScrapeSettings, history};

/// What is asked for at a time, in milliseconds: 15-second scrapes of a large node are some megabytes then.
const PIECE_MS: i64 = 6 * 3_600_000;
/// Records that are sent as soon as there are so many: a month of a node at 15 s has 180,000.
const AT_ONCE: usize = 20_000;
/// Longest wait for an answer of the Prometheus server.
const ANSWER: Duration = Duration::from_secs(120);

/// Arguments of `backfill`.
#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    /// The Prometheus server, or what answers as one (Thanos, Mimir, VictoriaMetrics)
    #[arg(long, value_name = "URL")]
    pub(crate) prometheus: String,
    /// From when on: a month (2026-10), a day, an RFC 3339 time or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) from: Range<Timestamp>,
    /// Until when, exclusive; the end of a month or day that --from names, else now
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) until: Option<Range<Timestamp>>,
    /// Configuration file (TOML) whose exporters, [[sources.prometheus.targets]], are looked up
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which series are a target's: {instance} is the address of its URL, {host} its owner's name
    #[arg(long = "match", value_name = "MATCHERS", default_value = "instance=\"{instance}\"")]
    pub(crate) matcher: String,
    /// Aggregator; several are tried in order [default: http://127.0.0.1:9810]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Vec<String>,
    /// Who logs in at the Prometheus server
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub(crate) user: Option<String>,
    /// A file whose first line is the password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// A file whose first line is a bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub(crate) token_file: Option<PathBuf>,
    /// A file of certificates (PEM) that vouch for the server's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// What a word for a time means: a month or a day with its end, an instant without length.
fn span(text: &str) -> Result<Range<Timestamp>, String> {
    let zoned = |date: civil::Date| {
        let midnight = date.to_zoned(TimeZone::system()).map(|at| at.timestamp());
        midnight.map_err(|error| error.to_string())
    };
    let from_to = |first: civil::Date, next: Result<civil::Date, jiff::Error>| {
        Ok(zoned(first)?..zoned(next.map_err(|error| error.to_string())?)?)
    };
    if let Ok(first) = format!("{text}-01").parse::<civil::Date>() {
        return from_to(first, first.checked_add(1.month()));
    }
    if let Ok(day) = text.parse::<civil::Date>()
        && text.len() <= 10
    {
        return from_to(day, day.checked_add(1.day()));
    }
    let seconds = text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let at = seconds.or_else(|| text.parse().ok());
    at.map(|at| at..at).ok_or_else(|| "it is a month (2026-10), a day, an RFC 3339 time or Unix seconds".into())
}

/// Why it ended early.
enum Failure {
    /// What was asked cannot be.
    Usage(String),
    /// The Prometheus server.
    Asking(String),
    /// The aggregator.
    Sending(SendError),
}

/// What came of it.
#[derive(Default)]
struct Sum {
    summary: ReplaySummary,
    refused: BTreeMap<Refusal, u64>,
    /// Targets of which nothing was found, and what was asked for.
    empty: Vec<String>,
}

/// Runs the command.
pub(crate) fn backfill(args: &BackfillArgs) -> End {
    let settings = match settings(args.config.clone()) {
        Ok(settings) => settings,
        Err(error) => return fail(End::Usage, &error),
    };
    let durable = AtomicU64::new(0);
    let done = System::new().block_on(async {
        tokio::select! {
            done = fill(args, &settings, &durable) => Some(done),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    let so_far = || {
        let records = durable.load(Ordering::Relaxed);
        format!("{records} records are on the ledger's disk; the same again books nothing twice")
    };
    match done {
        Some(Ok(sum)) => sum.told(),
        Some(Err(Failure::Usage(why))) => fail(End::Usage, &why),
        Some(Err(Failure::Asking(why))) => fail(End::Failed, &format!("{}: {why}\n{}", args.prometheus, so_far())),
        Some(Err(Failure::Sending(error))) => {
            let is_usage = matches!(error, SendError::Link(LinkError::Address(_)));
            fail(if is_usage { End::Usage } else { End::Failed }, &format!("{error}\n{}", so_far()))
        }
        None => fail(End::Failed, &format!("interrupted: {}", so_far())),
    }
}

impl BackfillArgs {
    /// The pieces in which the span is asked for, in milliseconds since the Unix epoch.
    fn pieces(&self) -> Result<Vec<Range<i64>>, Failure> {
        let from = self.from.start.as_millisecond();
        let named = (self.from.end > self.from.start).then_some(self.from.end);
        let now = Timestamp::now();
        let until = self.until.as_ref().map(|until| until.start).or(named).unwrap_or(now).min(now).as_millisecond();
        if until <= from {
            return Err(Failure::Usage("--from: nothing lies between it and --until, or it is still to come".into()));
        }
        let starts = (0..).map(|piece| from + piece * PIECE_MS).take_while(|start| *start < until);
        Ok(starts.map(|start| start..(start + PIECE_MS).min(until)).collect())
    }

    fn history(&self) -> Result<History, Failure> {
        let access = ScrapeSettings {
            url: self.prometheus.clone(),
            user: self.user.clone().unwrap_or_default(),
            password_file: self.password_file.clone().unwrap_or_default(),
            token_file: self.token_file.clone().unwrap_or_default(),
            ca_file: self.ca_file.clone().unwrap_or_default(),
            ..ScrapeSettings::default()
        };
        history(&access, &self.matcher, ANSWER).map_err(|why| Failure::Usage(format!("--prometheus: {why}")))
    }
}

async fn fill(args: &BackfillArgs, settings: &Settings, durable: &AtomicU64) -> Result<Sum, Failure> {
    let (pieces, history) = (args.pieces()?, args.history()?);
    let exporters = Prometheus::new(&settings.sources.prometheus, &settings.agent.cluster);
    let pasts = exporters.pasts().map_err(Failure::Usage)?;
    if pasts.is_empty() {
        let why = "no exporter is configured: name those that Prometheus scrapes as [[sources.prometheus.targets]] in \
            a file, and the file with --config";
        return Err(Failure::Usage(why.into()));
    }
    let servers = if args.server.is_empty() { &settings.uplink.servers } else { &args.server };
    let timeout = Duration::from_secs(settings.uplink.timeout_s.max(30));
    let to = SendSettings { servers: servers.clone(), timeout, ..SendSettings::to("") };
    let bar = progress_bar(pasts.len() * pieces.len());
    let mut sum = Sum::default();
    for mut past in pasts {
        let mut scrapes = 0;
        for piece in &pieces {
            scrapes += past.recall(&history, piece.clone()).await.map_err(Failure::Asking)?;
            if past.len() >= AT_ONCE {
                sum.send(&mut past, &to, durable).await?;
            }
            bar.inc(1);
        }
        sum.send(&mut past, &to, durable).await?;
        sum.summary.owners += usize::from(scrapes > 0);
        if scrapes == 0 {
            sum.empty.push(format!("{}: nothing is remembered of {}", past.owner(), past.asked(&history)));
        }
    }
    bar.finish_and_clear();
    Ok(sum)
}

impl Sum {
    /// Sends what was remembered; returns when it is on the ledger's disk.
    async fn send(&mut self, past: &mut Past, to: &SendSettings, durable: &AtomicU64) -> Result<(), Failure> {
        let labels = [(past.owner().clone(), past.labels().clone())].into();
        let (owner, refused) = past.take();
        for (reason, count) in refused {
            *self.refused.entry(reason).or_default() += count;
        }
        if owner.records.is_empty() {
            return Ok(());
        }
        let to = SendSettings { labels, ..to.clone() };
        let before = durable.load(Ordering::Relaxed);
        let progress = |done, _| durable.store(before + done, Ordering::Relaxed);
        let sent = replay::send(vec![owner], &to, progress).await.map_err(Failure::Sending)?;
        self.summary.records += sent.records;
        self.summary.readings += sent.readings;
        self.summary.tally.add(&sent.tally);
        Ok(())
    }

    /// Prints it. Nothing at all is a failure: whoever asked expected something.
    fn told(&self) -> End {
        let mut told = text(&self.summary);
        for (reason, count) in &self.refused {
            told.push_str(&format!("refused: {count} values that are no device's, {reason}\n"));
        }
        // A reader that has seen enough (`| head`) is no failure.
        let _ = stdout().write_all(told.as_bytes());
        for empty in &self.empty {
            let _ = writeln!(stderr(), "wattledger-agent: {empty}");
        }
        if self.summary.records > 0 {
            return End::Done;
        }
        fail(End::Failed, &"nothing was found; --match says which series are a target's, as Prometheus labels them")
    }
}

fn progress_bar(pieces: usize) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(pieces as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent} % of the targets' time, {eta} left") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_months_days_and_instants() {
        let length = |text: &str| span(text).map(|span| span.end.duration_since(span.start).as_secs());
        // A day of 23 or 25 hours may lie in it.
        assert!(length("2026-10").is_ok_and(|seconds| (seconds - 31 * 86_400).abs() <= 3600));
        assert!(length("2026-10-05").is_ok_and(|seconds| (seconds - 86_400).abs() <= 3600));
        assert_eq!(length("2026-10-05T00:00:00Z"), Ok(0));
        assert_eq!(span("1793491200").map(|span| span.start.to_string()), Ok("2026-11-01T00:00:00Z".into()));
        for bad in ["", "yesterday", "2026-13", "2026-10-32", "10"] {
            assert!(span(bad).is_err() || bad == "10", "{bad}");
        }
    }
}
