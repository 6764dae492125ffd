//! What `backup`, `restore` and `verify` have in common: finding a data directory, and words for what
//! an image holds.

use std::path::PathBuf;

use aggregator::{AggregatorError, Flags, Settings};
use clap::Args;
use store::Report;

use crate::Failure;

/// Which data directory.
#[derive(Args)]
pub(crate) struct DataDir {
    /// The data directory [default: the one of the configuration, else the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The aggregator's configuration file, if its data directory is named there
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl DataDir {
    /// The directory that an aggregator with these settings would use.
    pub(crate) fn find(&self) -> Result<PathBuf, Failure> {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let flags = Flags { data_dir: self.data_dir.clone(), ..Flags::default() };
        let settings = Settings::load(self.config.as_deref(), environment, &flags).map_err(AggregatorError::from)?;
        Ok(settings.data_dir())
    }
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(aggregator::app::wall_clock().0 / 1_000_000).unwrap_or(0)
}

/// What an image or a store holds, in a sentence.
pub(crate) fn holds(report: &Report) -> String {
    let count = |number: u64, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    format!(
        "commit {} of generation {}: {} with {}, {} of 15 minutes, {:.3} kWh over all accounts",
        report.commit,
        report.identity.generation,
        count(report.owners, "owner"),
        count(report.accounts, "account"),
        count(report.cells, "cell"),
        report.energy.total().kwh()
    )
}

/// How many findings there are.
pub(crate) fn found(report: &Report) -> u64 {
    report.findings.len() as u64 + report.more_findings
}

/// One finding in a line.
pub(crate) fn line(finding: &store::Finding) -> String {
    let account = finding.account.as_ref().map(|account| format!(" {account}")).unwrap_or_default();
    let store::Finding { owner, code, expected, found, .. } = finding;
    format!("{owner}{account}  {code}: expected {expected}, found {found}")
}

#[expect(clippy::print_stdout, reason = "what the command is for")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
