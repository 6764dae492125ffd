//! The families of the agent's `/metrics`, in Prometheus text 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use meter::Refusal;

use crate::health::{Counts, Health, State};
use crate::intake::Stock;
use crate::uplink::Progress;

/// What the page is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Targets with series of their own; of further ones it is only told how many are in which state.
const TARGETS_MAX: usize = 100;

/// A page under construction: one family after the other.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    family: &'static str,
}

/// A family of counters of sources: name, help, and which count.
type Counter = (&'static str, &'static str, fn(&Counts) -> &AtomicU64);

/// A family about streams: name, help, and which figure.
type Amount = (&'static str, &'static str, fn(&Stock) -> u64);

const COUNTERS: [Counter; 5] = [
    ("wattledger_agent_reads_total", "Looks at a source that gave something.", |counts| &counts.reads),
    ("wattledger_agent_read_failures_total", "Looks at a source that gave nothing.", |counts| &counts.failures),
    ("wattledger_agent_panics_total", "Panics of a source's code, which the others survived.", |counts| &counts.panics),
    ("wattledger_agent_readings_total", "Values read, one per device and look.", |counts| &counts.readings),
    (
        "wattledger_agent_duplicates_total",
        "Values left out because a better source of the same owner reads the same device.",
        |counts| &counts.duplicates,
    ),
];

impl Page {
    /// Begins a family of counters.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) {
        self.head(name, help, "counter");
    }

    /// Begins a family of gauges.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) {
        self.head(name, help, "gauge");
    }

    fn head(&mut self, name: &'static str, help: &'static str, kind: &'static str) {
        self.family = name;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes one series of the family.
    pub(super) fn series<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: impl Display) {
        self.text.push_str(self.family);
        let mut between = '{';
        for (key, label) in labels {
            let _ = write!(self.text, "{between}{key}=\"");
            for c in label.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            between = ',';
        }
        let close = if between == '{' { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    /// Which program this is.
    pub fn build(&mut self) {
        self.gauge("wattledger_agent_build_info", "The program's version; always 1.");
        self.series([("version", env!("CARGO_PKG_VERSION"))], 1);
    }

    /// How the sources and targets fare.
    pub fn sources(&mut self, all: &[Arc<Health>], now_ns: u64) {
        let (local, targets): (Vec<&Health>, Vec<&Health>) =
            all.iter().map(|health| &**health).partition(|health| health.target.is_none());
        let shown: Vec<&Health> = local.into_iter().chain(targets.iter().copied().take(TARGETS_MAX)).collect();
        self.gauge("wattledger_agent_source_up", "Whether a source or target was read at the last look.");
        for health in &shown {
            self.series(labels(health), u8::from(health.state(now_ns) == State::Up));
        }
        self.gauge("wattledger_agent_source_state", "The state that a source or target is in; always 1.");
        for health in &shown {
            let state = ("state", health.state(now_ns).word());
            self.series(labels(health).into_iter().chain([state]), 1);
        }
        for (name, help, count) in COUNTERS {
            self.counter(name, help);
            for health in &shown {
                self.series(labels(health), count(&health.counts).load(Relaxed));
            }
        }
        self.counter("wattledger_agent_refused_total", "Values that were none, by reason; passed on to be counted.");
        for health in &shown {
            for (reason, count) in Refusal::ALL.iter().zip(&health.counts.refused) {
                let count = count.load(Relaxed);
                if count > 0 {
                    self.series(labels(health).into_iter().chain([("reason", reason.code())]), count);
                }
            }
        }
        self.gauge("wattledger_agent_last_read_timestamp_seconds", "When a source or target was last read.");
        for health in &shown {
            if let Some(ms) = health.last_read_ms() {
                self.series(labels(health), thousandths(ms));
            }
        }
        self.targets(&targets, now_ns);
    }

    fn targets(&mut self, targets: &[&Health], now_ns: u64) {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for health in targets {
            *counts.entry((health.source, health.state(now_ns).word())).or_default() += 1;
        }
        self.gauge(
            "wattledger_agent_targets",
            "Targets by state; the first hundred also have series of their own under the names above.",
        );
        for ((source, state), count) in counts {
            self.series([("source", source), ("state", state)], count);
        }
    }

    /// What waits in the spools: this machine's own, and those of all other owners together.
    pub fn stock(&mut self, stock: &[(&'static str, Stock)]) {
        let gauges: [Amount; 6] = [
            ("wattledger_agent_streams", "Owners with a stream.", |stock| stock.streams),
            ("wattledger_agent_spool_bytes", "Bytes in the spools, delivered or not.", |stock| stock.bytes),
            ("wattledger_agent_spool_records", "Records in the spools, delivered or not.", |stock| stock.records),
            (
                "wattledger_agent_spool_undelivered_records",
                "Records that the ledger is not known to have on disk.",
                |stock| stock.undelivered,
            ),
            (
                "wattledger_agent_spools_in_memory",
                "Spools that cannot be written to disk: what they hold would be lost with the process.",
                |stock| stock.in_memory,
            ),
            ("wattledger_agent_streams_rejected", "Streams that the ledger does not accept.", |stock| stock.rejected),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help);
            for (of, stock) in stock {
                self.series([("of", *of)], value(stock));
            }
        }
        let counters: [Amount; 3] = [
            (
                "wattledger_agent_dropped_records_total",
                "Records dropped from full spools before they were delivered.",
                |stock| stock.dropped,
            ),
            ("wattledger_agent_booked_readings_total", "Readings that the ledger booked.", |stock| stock.booked),
            (
                "wattledger_agent_fenced_readings_total",
                "Readings for time that the ledger had covered already.",
                |stock| stock.fenced,
            ),
        ];
        for (name, help, value) in counters {
            self.counter(name, help);
            for (of, stock) in stock {
                self.series([("of", *of)], value(stock));
            }
        }
    }

    /// How the posts get on.
    pub fn uplink(&mut self, progress: &Progress) {
        self.counter("wattledger_agent_posts_total", "Posts that an aggregator answered.");
        self.series([], progress.posts.load(Relaxed));
        self.counter("wattledger_agent_post_failures_total", "Posts that were not answered, or not accepted.");
        self.series([], progress.failures.load(Relaxed));
        let answered = progress.answered_ms.load(Relaxed);
        self.gauge(
            "wattledger_agent_last_durable_timestamp_seconds",
            "When an aggregator last confirmed that what was sent is on disk.",
        );
        if answered > 0 {
            self.series([], thousandths(answered));
        }
    }

    /// The finished page.
    #[must_use]
    pub fn text(self) -> String {
        self.text
    }
}

fn labels(health: &Health) -> [(&str, &str); 2] {
    [("source", health.source), ("target", health.target.as_deref().unwrap_or_default())]
}

/// A number of thousandths as a decimal.
pub(super) fn thousandths(number: u64) -> String {
    format!("{}.{:03}", number / 1000, number % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(targets: usize) -> Vec<Arc<Health>> {
        let local = Health::new("rapl", None, 1_000_000_000);
        local.turn(State::Up);
        local.refuse(Refusal::Sentinel, 3);
        let target = |n: usize| {
            let health = Health::new("redfish", Some(format!("https://bmc-{n}/\"x\\")), 1_000_000_000);
            health.turn(if n.is_multiple_of(2) { State::Up } else { State::Absent });
            Arc::new(health)
        };
        std::iter::once(Arc::new(local)).chain((0..targets).map(target)).collect()
    }

    #[test]
    fn each_source_has_its_series_and_refusals_their_reason() {
        let mut page = Page::default();
        page.sources(&fleet(1), 1);
        let text = page.text();
        for line in [
            "wattledger_agent_source_up{source=\"rapl\",target=\"\"} 1",
            "wattledger_agent_source_up{source=\"redfish\",target=\"https://bmc-0/\\\"x\\\\\"} 1",
            "wattledger_agent_refused_total{source=\"rapl\",target=\"\",reason=\"sentinel\"} 3",
            "wattledger_agent_targets{source=\"redfish\",state=\"up\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_thousand_targets_do_not_make_a_thousand_series() {
        let mut page = Page::default();
        page.sources(&fleet(1000), 1);
        let text = page.text();
        let up = text.lines().filter(|line| line.starts_with("wattledger_agent_source_up{"));
        assert_eq!(up.count(), 1 + TARGETS_MAX);
        assert!(text.contains("wattledger_agent_targets{source=\"redfish\",state=\"absent\"} 500\n"));
    }
}
