//! `wattledger report`: the fleet's cost from a running aggregator.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cost::Answer;

use crate::client::{self, DEFAULT_SERVER};
use crate::error::ConsoleError;
use crate::table::render;
use crate::terminal::look;

/// Where `report` is answered.
const PATH: &str = "/api/v1/report";

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A table for people
    #[default]
    Table,
    /// One row per group and step, for spreadsheets
    Csv,
    /// The whole answer, for programs
    Json,
    /// One printable page
    Html,
    /// FOCUS billing data, as CSV
    Focus,
}

/// What to report. The window, keys and filters are the server's to understand: a newer server may
/// know more of them than this program.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// 1h 24h 7d 30d today yesterday week lastweek month lastmonth, a month such as 2026-10, or
    /// START,END (RFC 3339 or Unix seconds, end exclusive)
    #[arg(long, default_value = "lastmonth")]
    pub window: String,
    /// Group by these keys, separated by commas: cluster host chassis scope device, job.id
    /// job.user job.account, or any label
    #[arg(long, value_name = "KEYS")]
    pub by: Option<String>,
    /// Only what matches: key=value,key!=value,key=a|b; values may be globs and node[01-20]
    #[arg(long = "where", value_name = "FILTER")]
    pub filter: Option<String>,
    /// One row per 15m, 1h, 1d or 1mo
    #[arg(long)]
    pub step: Option<String>,
    /// The time zone that decides days and months, such as Europe/Paris; the server's if not given
    #[arg(long)]
    pub tz: Option<String>,
    /// What becomes of energy that no job held, on machines that run jobs: a line of its own, to whom the host's
    /// label names, or over the jobs
    #[arg(long, value_name = "POLICY", value_parser = ["separate", "owner", "proportional"])]
    pub idle: Option<String>,
    /// The same of what runs no jobs
    #[arg(long, value_name = "POLICY", value_parser = ["separate", "owner", "proportional"])]
    pub shared: Option<String>,
    /// How to write it
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// Write to this file instead of the standard output; it appears whole or not at all
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl ReportArgs {
    fn query(&self) -> Vec<(&str, &str)> {
        let optional = [
            ("by", &self.by),
            ("where", &self.filter),
            ("step", &self.step),
            ("tz", &self.tz),
            ("idle", &self.idle),
            ("shared", &self.shared),
        ];
        let given = optional.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
        [("window", self.window.as_str())].into_iter().chain(given).chain([("format", self.format.word())]).collect()
    }
}

impl ReportFormat {
    /// The word the server knows; a table is made here, of JSON.
    const fn word(self) -> &'static str {
        match self {
            Self::Table | Self::Json => "json",
            Self::Csv => "csv",
            Self::Html => "html",
            Self::Focus => "focus",
        }
    }
}

/// Asks the aggregator and writes what it says to the standard output, or to `--output`.
///
/// # Errors
/// [`ConsoleError`]; its [`exit_code`](ConsoleError::exit_code) tells a question that cannot be asked
/// so from one that could not be answered.
pub async fn report(args: &ReportArgs) -> Result<(), ConsoleError> {
    let body = client::get(&args.server, PATH, &args.query()).await?;
    let mut text = if args.format == ReportFormat::Table {
        let answer: Answer = client::understand(&args.server, &body)?;
        let answer = if answer.cost_hidden { answer.without_money() } else { answer };
        // A file has no width, and colour in it would be noise.
        let look = look();
        if args.output.is_some() { render(&answer, u16::MAX, false) } else { render(&answer, look.width, look.color) }
    } else {
        body
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    match &args.output {
        Some(path) => write_whole(path, text.as_bytes()).map_err(|why| ConsoleError::File { path: path.clone(), why }),
        None => write_out(text.as_bytes()).map_err(ConsoleError::Output),
    }
}

/// The file appears whole or not at all, and is on disk then.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The permissions of any new file (less the umask), not the private ones of a temporary file.
    let permissions = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".wattledger-").permissions(permissions).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Writes data to the standard output.
pub(crate) fn write_out(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // `report | head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
