//! How each source and target fares: for the log, once per change, and for `/metrics`.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meter::{Owner, Refusal, Sample};

/// Longest probe that is no reason to worry: a driver that wakes eight GPUs takes some twenty seconds.
const PROBE_MAX_NS: u64 = 30_000_000_000;
/// The same of a reading, at least; else three periods.
const READ_MAX_NS: u64 = 10_000_000_000;
/// The longest work on a target, after which it is given up: several requests of ten seconds each.
pub const TARGET_MAX: Duration = Duration::from_secs(60);
/// A source that fails and recovers again and again is mentioned this often.
const MENTION_NS: u64 = 300_000_000_000;

/// What became of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It was not looked at yet.
    Waiting = 0,
    /// It is read.
    Up = 1,
    /// It is there and gives nothing at the moment.
    Failing = 2,
    /// There is nothing to read.
    Absent = 3,
    /// Its hardware or driver went away.
    Gone = 4,
    /// It cannot work.
    Broken = 5,
    /// It panicked and was put aside.
    Panicked = 6,
    /// It does not come back.
    Hangs = 7,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Waiting, Self::Up, Self::Failing, Self::Absent, Self::Gone, Self::Broken, Self::Panicked, Self::Hangs];

    /// The word in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["waiting", "up", "failing", "absent", "gone", "broken", "panicked", "hangs"][self as usize]
    }
}

/// What a source is at work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Looking for hardware.
    Probe,
    /// Reading it.
    Read,
}

/// Counts since the agent started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Readings taken, of all devices together.
    pub reads: AtomicU64,
    /// Attempts that gave nothing.
    pub failures: AtomicU64,
    /// Panics.
    pub panics: AtomicU64,
    /// Values read, one per device and reading.
    pub readings: AtomicU64,
    /// Values that were none, by reason.
    pub refused: [AtomicU64; Refusal::ALL.len()],
    /// Readings of devices that a better source reads.
    pub duplicates: AtomicU64,
}

/// A name by which somebody may speak of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Whose device.
    pub owner: Owner,
    /// What it is called.
    pub name: Arc<str>,
    /// The device of its account.
    pub device: Arc<str>,
}

/// One source's or target's condition, shared by whoever reads it and whoever watches it.
#[derive(Debug)]
pub struct Health {
    /// The source's name, as in the configuration.
    pub source: &'static str,
    /// The address, of what is read over the network.
    pub target: Option<String>,
    /// How often it is read, in nanoseconds.
    pub period_ns: u64,
    /// What it did so far.
    pub counts: Counts,
    state: AtomicU8,
    /// Since when it is at work, by the boot clock; zero while it is not.
    busy_since: AtomicU64,
    /// How long that may take.
    busy_max: AtomicU64,
    /// Whether it was said that it hangs.
    hang_told: AtomicU8,
    /// When it was last said that it fails, by the boot clock.
    failing_told: AtomicU64,
    /// Unix milliseconds of the last reading; zero before the first.
    last_read_ms: AtomicU64,
    /// The devices that it found last, by each of their names.
    called: Mutex<Vec<Called>>,
}

/// What the watch has to say about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It does not come back.
    Hangs,
    /// It came back.
    Answers,
}

impl Health {
    /// Of a source that was not looked at yet.
    #[must_use]
    pub fn new(source: &'static str, target: Option<String>, period_ns: u64) -> Self {
        Self {
            source,
            target,
            period_ns,
            counts: Counts::default(),
            state: AtomicU8::new(State::Waiting as u8),
            busy_since: AtomicU64::new(0),
            busy_max: AtomicU64::new(0),
            hang_told: AtomicU8::new(0),
            failing_told: AtomicU64::new(0),
            last_read_ms: AtomicU64::new(0),
            called: Mutex::default(),
        }
    }

    /// Notes which devices there are.
    pub(crate) fn know(&self, called: Vec<Called>) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = called;
    }

    /// The devices of this owner that go by a name.
    pub(crate) fn device_called(&self, owner: &Owner, name: &str) -> Vec<Arc<str>> {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = |one: &&Called| *one.name == *name && one.owner == *owner;
        called.iter().filter(is_meant).map(|one| Arc::clone(&one.device)).collect()
    }

    /// Notes that work begins.
    pub(crate) fn begin(&self, work: Work, now_ns: u64) {
        let max = match (work, &self.target) {
            // Its sampler gives it up by then, and says so.
            (_, Some(_)) => 2 * u64::try_from(TARGET_MAX.as_nanos()).unwrap_or(u64::MAX),
            (Work::Probe, None) => PROBE_MAX_NS,
            (Work::Read, None) => self.period_ns.saturating_mul(3).max(READ_MAX_NS),
        };
        self.busy_max.store(max, Relaxed);
        self.busy_since.store(now_ns, Relaxed);
    }

    /// Notes that it ended.
    pub(crate) fn end(&self) {
        self.busy_since.store(0, Relaxed);
    }

    fn hangs(&self, now_ns: u64) -> bool {
        let since = self.busy_since.load(Relaxed);
        since != 0 && now_ns.saturating_sub(since) > self.busy_max.load(Relaxed)
    }

    /// What is new since the last look, if it is that it hangs or came back.
    pub(crate) fn notice(&self, now_ns: u64) -> Option<Notice> {
        let hangs = self.hangs(now_ns);
        let told = self.hang_told.swap(u8::from(hangs), Relaxed) != 0;
        match (told, hangs) {
            (false, true) => Some(Notice::Hangs),
            (true, false) => Some(Notice::Answers),
            _ => None,
        }
    }

    /// Changes the state; the one before.
    pub(crate) fn turn(&self, state: State) -> State {
        State::ALL[usize::from(self.state.swap(state as u8, Relaxed)) % State::ALL.len()]
    }

    /// The state now.
    #[must_use]
    pub fn state(&self, now_ns: u64) -> State {
        if self.hangs(now_ns) {
            return State::Hangs;
        }
        State::ALL[usize::from(self.state.load(Relaxed)) % State::ALL.len()]
    }

    /// Whether it is worth a line that the source fails: not again within five minutes.
    pub(crate) fn is_worth_mentioning(&self, now_ns: u64) -> bool {
        let told = self.failing_told.load(Relaxed);
        let is_due = told == 0 || now_ns.saturating_sub(told) > MENTION_NS;
        if is_due {
            self.failing_told.store(now_ns.max(1), Relaxed);
        }
        is_due
    }

    /// Counts what a reading gave.
    pub(crate) fn count(&self, samples: &[Sample], wall_ns: i64) {
        self.counts.readings.fetch_add(samples.len() as u64, Relaxed);
        for reason in samples.iter().filter_map(|sample| sample.refused) {
            self.refuse(reason, 1);
        }
        self.last_read_ms.store(u64::try_from(wall_ns / 1_000_000).unwrap_or(0), Relaxed);
    }

    /// Counts values that are none.
    pub(crate) fn refuse(&self, reason: Refusal, count: u64) {
        if let Some(counted) = self.counts.refused.get(reason as usize) {
            counted.fetch_add(count, Relaxed);
        }
    }

    /// Unix milliseconds of the last reading, if there was one.
    #[must_use]
    pub fn last_read_ms(&self) -> Option<u64> {
        Some(self.last_read_ms.load(Relaxed)).filter(|ms| *ms > 0)
    }
}

/// All sources and targets of this agent.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Vec<Arc<Health>>>>);

impl Registry {
    /// Adds one.
    pub fn add(&self, health: Arc<Health>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(health);
    }

    /// Takes one out that is not read any more.
    pub fn remove(&self, health: &Arc<Health>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| !Arc::ptr_eq(one, health));
    }

    /// All of them, as they were added.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_hang_is_said_once_and_its_end_once() {
        let health = Health::new("rapl", None, SECOND);
        health.begin(Work::Read, 100 * SECOND);
        assert_eq!(health.notice(110 * SECOND), None);
        assert_eq!(health.notice(111 * SECOND), Some(Notice::Hangs));
        assert_eq!((health.notice(900 * SECOND), health.state(900 * SECOND)), (None, State::Hangs));
        health.end();
        assert_eq!(health.notice(901 * SECOND), Some(Notice::Answers));
        assert_eq!(health.notice(902 * SECOND), None);
    }

    #[test]
    fn a_slow_source_and_a_probe_may_take_longer() {
        let slow = Health::new("ipmi", None, 60 * SECOND);
        slow.begin(Work::Read, SECOND);
        assert_eq!(slow.notice(181 * SECOND), None);
        assert_eq!(slow.notice(182 * SECOND), Some(Notice::Hangs));
        let probed = Health::new("nvml", None, SECOND);
        probed.begin(Work::Probe, SECOND);
        assert_eq!(probed.notice(31 * SECOND), None);
    }

    #[test]
    fn what_fails_again_and_again_is_mentioned_every_five_minutes() {
        let health = Health::new("redfish", Some("https://bmc-1".into()), 30 * SECOND);
        let mentioned = (1..=900_u64).filter(|second| health.is_worth_mentioning(second * SECOND)).count();
        assert_eq!(mentioned, 3);
    }
}
