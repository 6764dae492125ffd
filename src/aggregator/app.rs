//! What the HTTP workers share: one [`App`] per process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use meter::Utc;
use tokio::sync::Semaphore;

use crate::acts::Acts;
use crate::answers::Answers;
use crate::billed::BilledCounters;
use crate::board::Boards;
use crate::books::Books;
use crate::budgets::Budgets;
use crate::door::LedgerDoor;
use crate::events::Events;
use crate::first::First;
use crate::health::Health;
use crate::recent::RecentPower;
use crate::refused::RefusedMachines;
use crate::skews::Skews;
use crate::statements::Statements;
use crate::summary::Summaries;

/// Everything a request may need.
pub struct App {
    /// What there is to answer from.
    pub books: Books,
    /// What this process has counted.
    pub stats: Arc<Stats>,
    /// Power of late, for live graphs.
    pub recent: Arc<RecentPower>,
    /// The way into the ledger; for ingest only.
    pub ledger: LedgerDoor,
    /// Whether the ledger books and persists.
    pub health: Arc<Health>,
    /// Cost of today and this month.
    pub summaries: Summaries,
    /// The fleet of this moment.
    pub boards: Boards,
    /// What the dashboard's views show of energy and cost.
    pub answers: Answers,
    /// Whether what everybody sees first was made.
    pub first: First,
    /// Live power.
    pub events: Events,
    /// The billed-energy counters.
    pub billed: BilledCounters,
    /// Budgets, and where they stand.
    pub budgets: Budgets,
    /// What administrators did.
    pub acts: Acts,
    /// Closed months.
    pub statements: Statements,
    /// Machines that report themselves under a name bound to another.
    pub refused: RefusedMachines,
    /// Senders whose clocks differ.
    pub skews: Skews,
    /// One backup at a time: while it is read, the store rewrites nothing.
    pub backups: Arc<Semaphore>,
}

/// The wall clock.
#[must_use]
pub fn wall_clock() -> Utc {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Utc(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// What this process has counted since it started.
#[derive(Debug, Default)]
pub struct Stats {
    /// Posts of agents answered as durable.
    pub posts: AtomicU64,
    /// Posts in JSON answered as durable.
    pub posts_json: AtomicU64,
    /// Bytes of post bodies read.
    pub body_bytes: AtomicU64,
    /// Bodies that could not be understood.
    pub bodies_refused: AtomicU64,
    /// Posts turned away because too much was in flight.
    pub turned_away: AtomicU64,
    /// Posts that were not booked because the store failed.
    pub unbooked: AtomicU64,
    /// Commits on disk.
    pub commits: AtomicU64,
    /// Commits that failed.
    pub commit_failures: AtomicU64,
    /// Owners' rows written by commits.
    pub rows: AtomicU64,
    /// Nanoseconds spent in commits.
    pub commit_ns: AtomicU64,
    /// Exports written.
    pub exports: AtomicU64,
    /// Exports that failed.
    pub export_failures: AtomicU64,
}

impl Stats {
    /// Adds `count` to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds one to a counter.
    pub fn bump(counter: &AtomicU64) {
        Self::add(counter, 1);
    }

    /// Every counter as (metric, help, value); commit time in nanoseconds.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, &'static str, u64)> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("wattledger_posts_total", "Posts of agents answered as durable.", of(&self.posts)),
            ("wattledger_posts_json_total", "Posts in JSON answered as durable.", of(&self.posts_json)),
            ("wattledger_post_bytes_total", "Bytes of post bodies read.", of(&self.body_bytes)),
            ("wattledger_posts_malformed_total", "Posts that could not be understood.", of(&self.bodies_refused)),
            (
                "wattledger_posts_turned_away_total",
                "Posts told to come again: too much in flight.",
                of(&self.turned_away),
            ),
            ("wattledger_posts_unbooked_total", "Posts told to come again: the store failed.", of(&self.unbooked)),
            ("wattledger_commits_total", "Commits on disk.", of(&self.commits)),
            ("wattledger_commit_failures_total", "Commits that failed.", of(&self.commit_failures)),
            ("wattledger_commit_rows_total", "Rows written by commits.", of(&self.rows)),
            ("wattledger_commit_nanoseconds_total", "Time spent in commits.", of(&self.commit_ns)),
            ("wattledger_exports_total", "Exports of the store written.", of(&self.exports)),
            ("wattledger_export_failures_total", "Exports of the store that failed.", of(&self.export_failures)),
        ]
    }
}
