//! Whether the ledger books and persists, told by its own heartbeat.
//!
//! The ledger actor beats on its tick, the commit path notes its outcome. Reading it asks no actor
//! and waits for nobody, so a hung ledger cannot hang the probe that is to find it out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A ledger that has not ticked for this long hangs; it ticks every 500 ms.
const BEAT_MAX: Duration = Duration::from_secs(5);
/// A commit that takes this long hangs: a slow disk needs a second for a whole fleet.
const COMMIT_MAX: Duration = Duration::from_secs(10);

/// The ledger's state as the probes see it.
#[derive(Debug)]
pub struct Health {
    start: Instant,
    beat_ms: AtomicU64,
    /// When the commit in flight began; zero for none.
    commit_ms: AtomicU64,
    failing: AtomicBool,
    draining: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        let start = Instant::now();
        let (failing, draining) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { start, beat_ms: AtomicU64::new(0), commit_ms: AtomicU64::new(0), failing, draining }
    }
}

impl Health {
    /// The ledger is alive.
    pub fn beat(&self) {
        self.beat_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// A commit begins.
    pub fn commit_begins(&self) {
        self.commit_ms.store(self.elapsed_ms().max(1), Ordering::Relaxed);
    }

    /// The commit in flight ended.
    pub fn commit_ended(&self, succeeded: bool) {
        self.commit_ms.store(0, Ordering::Relaxed);
        self.failing.store(!succeeded, Ordering::Relaxed);
    }

    /// Nothing more is accepted.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the process is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Why nothing can be booked now; empty if all is well.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        let now = Duration::from_millis(self.elapsed_ms());
        let since = |at: &AtomicU64| now.saturating_sub(Duration::from_millis(at.load(Ordering::Relaxed)));
        let mut reasons = Vec::new();
        if self.is_draining() {
            reasons.push("shutting down");
        }
        if since(&self.beat_ms) > BEAT_MAX {
            reasons.push("the ledger does not answer");
        }
        if self.commit_ms.load(Ordering::Relaxed) != 0 && since(&self.commit_ms) > COMMIT_MAX {
            reasons.push("a commit hangs");
        }
        if self.failing.load(Ordering::Relaxed) {
            reasons.push("the last commit failed");
        }
        reasons
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
