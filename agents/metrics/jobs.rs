//! The families about jobs.

use std::sync::atomic::Ordering::Relaxed;

use super::page::Page;
use crate::jobs::refused::Refused;
use crate::jobs::tally::{KINDS, Tally, Way};

/// Writes what was heard of jobs.
pub(super) fn write(tally: &Tally, page: &mut Page) {
    page.counter("wattledger_agent_marks_total", "Marks about jobs put into this machine's stream, by kind and way.");
    for (kind, ways) in KINDS.iter().zip(&tally.marks) {
        for (way, count) in Way::ALL.iter().zip(ways) {
            page.series([("kind", *kind), ("by", way.word())], count.load(Relaxed));
        }
    }
    page.counter("wattledger_agent_marks_refused_total", "Words about jobs that were not put there, by reason.");
    for (reason, count) in Refused::REASONS.iter().zip(&tally.refused) {
        page.series([("reason", *reason)], count.load(Relaxed));
    }
    page.gauge("wattledger_agent_jobs_running", "Jobs that run on this machine, as far as was told.");
    page.series([], tally.running.load(Relaxed));
    if tally.kubelet.load(Relaxed) {
        page.counter(
            "wattledger_agent_kubelet_failures_total",
            "Questions about pods that the kubelet did not answer.",
        );
        page.series([], tally.kubelet_failures.load(Relaxed));
    }
}
