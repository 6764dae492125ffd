//! The machine's clocks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use meter::Id;
use rustix::time::{ClockId, clock_gettime};
use wire::SentAt;

/// The id under which the running boot's clock is reported: that of the boot, until the ledger finds
/// that the clock was set back, as by the restore of a virtual machine's snapshot. What is read from
/// then on is reported under an id of its own, so that it is dated anew.
#[derive(Clone, Debug)]
pub struct BootId(Arc<Mutex<Id>>);

impl BootId {
    /// The id of the running boot.
    #[must_use]
    pub fn new(boot: Id) -> Self {
        Self(Arc::new(Mutex::new(boot)))
    }

    /// The id in force.
    #[must_use]
    pub fn get(&self) -> Id {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another in force.
    pub fn renew(&self, id: Id) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }
}

/// Nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`): no step of the wall clock
/// bends it.
#[must_use]
pub fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.cast_unsigned().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.cast_unsigned())
}

/// Nanoseconds since the Unix epoch by the wall clock, right or wrong.
#[must_use]
pub fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Readings of both clocks that lie this close together are of one instant.
const TOGETHER_NS: u64 = 100_000;
/// How often it is tried to read them so close together.
const TRIES: u32 = 8;

/// The boot clock and the wall clock at one instant. Between two reads the processor may be somebody else's for a
/// while, which would date everything by that much wrongly: of several tries the quickest counts.
fn both_ns() -> (u64, i64) {
    let mut best: Option<(u64, u64, i64)> = None;
    for _ in 0..TRIES {
        let (before, wall, after) = (boot_ns(), wall_ns(), boot_ns());
        let apart = after.saturating_sub(before);
        if best.is_none_or(|best| apart < best.0) {
            best = Some((apart, before + apart / 2, wall));
        }
        if apart <= TOGETHER_NS {
            break;
        }
    }
    best.map_or_else(|| (boot_ns(), wall_ns()), |(_, boot, wall)| (boot, wall))
}

/// The wall clock less the boot clock.
#[must_use]
pub fn wall_offset_ns() -> i64 {
    let (boot, wall) = both_ns();
    wall.saturating_sub_unsigned(boot)
}

/// Both clocks at this instant.
#[must_use]
pub fn sent_at(boot: Id) -> SentAt {
    let (boot_ns, wall_ns) = both_ns();
    SentAt { boot, boot_ns, wall_ns }
}
