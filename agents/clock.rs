//! The machine's clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use meter::Id;
use rustix::time::{ClockId, clock_gettime};
use wire::SentAt;

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

/// The wall clock less the boot clock.
#[must_use]
pub fn wall_offset_ns() -> i64 {
    wall_ns().saturating_sub_unsigned(boot_ns())
}

/// Both clocks at this instant.
#[must_use]
pub fn sent_at(boot: Id) -> SentAt {
    SentAt { boot, boot_ns: boot_ns(), wall_ns: wall_ns() }
}
