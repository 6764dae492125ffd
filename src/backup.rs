//! `wattledger backup`: a ledger's whole image in one file, from a running aggregator or a stopped one.

use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};

use aggregator::whereabouts;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use store::{BackupFile, StoreError};

use crate::Failure;
use crate::offline::{found, holds, line, say};

/// What to copy, and where to.
#[derive(Args)]
pub(crate) struct BackupArgs {
    /// Directory for the backup; it is made if it is missing
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// The running aggregator; it must run on this machine [default: http://127.0.0.1:9810]
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL")]
    server: Option<String>,
    /// Copy this data directory; if an aggregator works on it, that one is asked
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Writes the backup, verifies it and says what it holds.
pub(crate) async fn backup(args: &BackupArgs) -> Result<(), Failure> {
    let server = args.server.as_deref().unwrap_or(console::DEFAULT_SERVER);
    let file = match &args.data_dir {
        None => from_server(&args.to, server).await?,
        Some(data) => match store::open_stopped(data) {
            Ok(stopped) => from_store(&args.to, &stopped.store)?,
            Err(StoreError::Locked(_)) => from_server(&args.to, &server_of(data)?).await?,
            Err(error) => return Err(error.into()),
        },
    };
    let (path, report) = file.finish()?;
    say(&format!("backup  {}", path.display()));
    say(&format!("holds   {}", holds(&report)));
    if found(&report) == 0 {
        return Ok(());
    }
    // It is what the ledger is, and kept.
    report.findings.iter().take(10).for_each(|finding| say(&line(finding)));
    let told = format!("the backup is whole, but its ledger has {} discrepancies: see `verify`", found(&report));
    Err(Failure { code: 1, told })
}

/// The aggregator that works on a data directory.
fn server_of(data: &Path) -> Result<String, Failure> {
    whereabouts::find(data).ok_or_else(|| {
        let data = data.display();
        let told = format!("an aggregator works on {data} and does not say where it listens: name it with --server");
        Failure { code: 1, told }
    })
}

async fn from_server(to: &Path, server: &str) -> Result<BackupFile, Failure> {
    let mut file = BackupFile::create(to)?;
    let bar = progress();
    tokio::select! {
        done = console::backup(server, &mut file, to, |bytes| bar.set_position(bytes)) => done?,
        // What was written goes with the file.
        _ = tokio::signal::ctrl_c() => return Err(Failure { code: 1, told: "interrupted: there is no backup".into() }),
    }
    bar.finish_and_clear();
    Ok(file)
}

fn from_store(to: &Path, store: &dyn store::Store) -> Result<BackupFile, Failure> {
    let mut file = BackupFile::create(to)?;
    let bar = progress();
    store::write_image(store, bar.wrap_write(&mut file as &mut dyn Write))?;
    bar.finish_and_clear();
    Ok(file)
}

/// How much was written; how much it will be nobody knows.
fn progress() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let style = ProgressStyle::with_template("{spinner} {bytes}, {bytes_per_sec}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
