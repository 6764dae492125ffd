//! What happened, for people: kept only where somebody will read it.

/// The last events of a world.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    is_on: bool,
    lines: Vec<String>,
}

impl Trace {
    pub(crate) const fn on() -> Self {
        Self { is_on: true, lines: Vec::new() }
    }

    pub(crate) fn say(&mut self, now: u64, words: impl FnOnce() -> String) {
        if self.is_on {
            let (seconds, ms) = (now / 1_000_000_000, now / 1_000_000 % 1000);
            self.lines.push(format!("{seconds:>6}.{ms:03} {}", words()));
        }
    }

    /// The last `count` events; all if there are fewer.
    pub(crate) fn last(&self, count: usize) -> String {
        self.lines[self.lines.len().saturating_sub(count)..].join("\n")
    }
}
