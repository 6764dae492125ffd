//! Exporters that already run, scraped: dcgm-exporter, node_exporter, Kepler and a dozen others.
//!
//! One target is one page that is read for one owner. Whose readings these are, the configuration says and
//! never the page. A page is read line by line; of the lines whose metric is known (one table, in
//! `exporters`) each is given to the account that it is a value of, under the name that the sources of the
//! machine itself use. What is no value is refused by its reason and counted, what is known to be no account
//! of its own is left out and said once.
//!
//! **Counters.** No page says when a register began, or where it wraps: without a word of the configuration a
//! fall is a reset, over which nothing is booked. Only of exporters that add up themselves the counter begins
//! anew with the process, as `process_start_time_seconds` tells.
//!
//! **Periods.** An account's period is that of the readings, or of the exporter if it has new values more
//! seldom: a power that is shown twice is a reading each time.

mod accounts;
mod client;
mod exporters;
mod gpus;
mod history;
mod hwmon;
mod machines;
mod page;
mod rapl;
mod scrape;
mod settings;
mod targets;
mod text;
mod value;

use std::path::PathBuf;
use std::time::Duration;

pub use history::{History, Past};
pub use settings::{PrometheusSettings, ScrapeSettings};

use super::target::{Discovery, Target};

/// The source `prometheus`: what knows its targets.
#[derive(Debug)]
pub struct Prometheus {
    settings: PrometheusSettings,
    cluster: String,
    files: Vec<PathBuf>,
}

impl Prometheus {
    /// The targets of these settings, whose owners belong to `cluster`.
    #[must_use]
    pub fn new(settings: &PrometheusSettings, cluster: &str) -> Self {
        let files = settings.targets.iter().flat_map(|entry| [&entry.file_sd, &entry.ca_file]);
        let files = files.filter(|file| !file.as_os_str().is_empty()).cloned().collect();
        Self { settings: settings.clone(), cluster: cluster.into(), files }
    }

    /// The targets as a Prometheus server remembers them, each with nothing remembered yet.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn pasts(&self) -> Result<Vec<Past>, String> {
        self.settings.check()?;
        Ok(targets::targets(&self.settings, &self.cluster)?.into_iter().map(Past::of).collect())
    }
}

/// The memory of the Prometheus server at `access.url`, which is asked with the user, secrets and certificates of
/// `access`. `matcher` says which series are a target's, with `{instance}` for its address and `{host}` for the name
/// of its owner.
///
/// # Errors
/// What is wrong with the address or the certificates.
pub fn history(access: &ScrapeSettings, matcher: &str, timeout: Duration) -> Result<History, String> {
    History::new(&access.url, client::Scraper::new(access, timeout)?, matcher)
}

impl Discovery for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn targets(&mut self) -> Result<Vec<Box<dyn Target>>, String> {
        self.settings.check()?;
        let targets = targets::targets(&self.settings, &self.cluster)?;
        Ok(targets.into_iter().map(|target| Box::new(target) as Box<dyn Target>).collect())
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

#[cfg(test)]
#[path = "prometheus/captured_tests.rs"]
mod captured_tests;
#[cfg(test)]
#[path = "prometheus/more_tests.rs"]
mod more_tests;
#[cfg(test)]
#[path = "prometheus/tests.rs"]
mod tests;
