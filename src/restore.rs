//! `wattledger restore`: the ledger of a backup or export, in place of the one that is there.

use std::path::{Path, PathBuf};

use clap::Args;
use store::{Report, StoreError};

use crate::Failure;
use crate::offline::{DataDir, found, holds, now_ms, say};

/// What to restore, and where to.
#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// A backup or an export; of a directory the newest good one in it
    #[arg(value_name = "DIR|FILE")]
    from: PathBuf,
    #[command(flatten)]
    data: DataDir,
}

/// Restores, and says what was set aside and what comes next.
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let data = args.data.find()?;
    let (image, report) = newest_good(&args.from)?;
    let restored = store::restore(&data, &image, now_ms())?;
    say(&format!("restored   {}", image.display()));
    say(&format!("holds      {}", holds(&report)));
    say(&format!("ledger     {}, generation {} from now on", data.display(), restored.generation));
    match &restored.aside {
        Some(aside) => say(&format!("set aside  {}: what was there before, with its exports", aside.display())),
        None => say("set aside  nothing: there was no ledger"),
    }
    say("next       start the aggregator. Agents send again what their spools keep, back to this commit where they");
    say("           reach so far; time that nobody has readings of any more is reported as uncovered");
    if found(&report) > 0 {
        let told = format!("restored, but the image has {} discrepancies: `verify` names them", found(&report));
        return Err(Failure { code: 1, told });
    }
    Ok(())
}

/// The newest image that is whole, and what it holds; damaged ones are passed over and said.
fn newest_good(from: &Path) -> Result<(PathBuf, Report), Failure> {
    let mut last = None;
    for image in store::images_at(from)? {
        match store::audit_image(&image) {
            Ok(report) => return Ok((image, report)),
            Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) => {
                if let Some(before) = last.replace(error) {
                    warn(&before);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    let Some(error) = last else { return Err(Failure { code: 1, told: format!("{}: no image", from.display()) }) };
    if from.is_dir() {
        warn(&error);
        let told = format!("there is no good image in {}: nothing was restored", from.display());
        return Err(Failure { code: 1, told });
    }
    Err(Failure { code: 1, told: format!("{error}; nothing was restored") })
}

#[expect(clippy::print_stderr, reason = "a person is told what was passed over")]
fn warn(passed_over: &StoreError) {
    eprintln!("wattledger: passed over: {passed_over}");
}
