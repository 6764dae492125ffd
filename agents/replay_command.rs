//! `wattledger-agent replay`: reads recorded files and sends them.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_rt::System;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{End, ReplayArgs, fail};
use crate::config::Settings;
use crate::replay::{self, ReplaySummary, SendSettings};
use crate::sources::replay::{ReplayOptions, load};

/// Runs the command.
pub(crate) fn replay(args: ReplayArgs, settings: Settings) -> End {
    let options = ReplayOptions { host: args.host, wheres: args.wheres };
    let owners = match load(&args.files, &options) {
        Ok(owners) => owners,
        Err(error) => return fail(End::Failed, &error),
    };
    let servers = if args.server.is_empty() { settings.uplink.servers } else { args.server };
    let timeout = Duration::from_secs(settings.uplink.timeout_s.max(30));
    let labels = owners.iter().map(|owner| (owner.owner.clone(), settings.labels.clone())).collect();
    let settings = SendSettings { servers, timeout, speed: args.speed.0, labels };

    let total = owners.iter().map(|owner| owner.records.len() as u64).sum();
    let bar = progress_bar(total);
    let durable = AtomicU64::new(0);
    let progress = |done, _| {
        durable.store(done, Ordering::Relaxed);
        bar.set_position(done);
    };
    let sent = System::new().block_on(async {
        tokio::select! {
            sent = replay::send(owners, &settings, progress) => Some(sent),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    bar.finish_and_clear();
    match sent {
        Some(Ok(summary)) => {
            // A reader that has seen enough (`| head`) is no failure.
            let _ = stdout().write_all(text(&summary).as_bytes());
            End::Done
        }
        Some(Err(error)) => {
            let end = if matches!(error, replay::SendError::Link(crate::link::LinkError::Address(_))) {
                End::Usage
            } else {
                End::Failed
            };
            fail(end, &format!("{error}\n{}", so_far(&durable, total)))
        }
        None => fail(End::Failed, &format!("interrupted: {}", so_far(&durable, total))),
    }
}

fn so_far(durable: &AtomicU64, total: u64) -> String {
    let done = durable.load(Ordering::Relaxed);
    format!("{done} of {total} records are on the ledger's disk; sending again books nothing twice")
}

fn progress_bar(total: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} records, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

/// The summary as printed.
pub(crate) fn text(summary: &ReplaySummary) -> String {
    let tally = &summary.tally;
    let mut text = format!(
        "durable: {} records with {} readings of {} owners; booked {}, already covered {}\n",
        summary.records, summary.readings, summary.owners, tally.booked, tally.fenced
    );
    for (reason, count) in &tally.refused {
        text.push_str(&format!("refused: {count} readings, {reason}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meter::Refusal;

    use super::*;
    use crate::outbox::Tally;

    #[test]
    fn refused_readings_are_told_by_reason() {
        let refused = BTreeMap::from([(Refusal::Sentinel, 3), (Refusal::PowerNegative, 1)]);
        let tally = Tally { booked: 96, fenced: 0, refused };
        let summary = ReplaySummary { owners: 2, records: 50, readings: 100, tally };
        let text = text(&summary);
        assert!(
            text.contains("refused: 3 readings, sentinel\n") && text.contains("refused: 1 readings, power-negative\n")
        );
        assert!(text.starts_with("durable: 50 records with 100 readings of 2 owners; booked 96,"));
    }
}
