//! Whether what everybody sees first was made since the start.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The first time.
#[derive(Debug, Default)]
pub struct First {
    begun: OnceLock<Instant>,
    is_made: AtomicBool,
}

impl First {
    /// Notes that it is being made; true for who begins it, and for nobody after.
    pub fn begin(&self) -> bool {
        self.begun.set(Instant::now()).is_ok()
    }

    /// Notes that it was made.
    pub fn end(&self) {
        self.is_made.store(true, Ordering::Release);
    }

    /// Since when it is being made; now, if nobody began.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.begun.get().copied().unwrap_or_else(Instant::now)
    }

    /// Whether it was made.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.is_made.load(Ordering::Acquire)
    }
}
