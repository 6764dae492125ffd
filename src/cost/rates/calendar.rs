//! Slots on the clock of a time zone: which day and quarter of an hour it shows.

use std::ops::Range;

use jiff::Span;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use meter::time::{SECOND_NS, SLOT_NS};
use meter::{Slot, Utc};

use crate::window::{Window, timestamp};

/// Seconds of a slot and of a day.
const SLOT_S: i64 = SLOT_NS / SECOND_NS;
const DAY_S: i64 = 86_400;

/// Days of a leap year: every date of every year has its place.
pub(crate) const DAYS: usize = 366;
/// Days before each month of a leap year.
const BEFORE: [usize; 12] = [0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335];

/// Slots of one day of the zone's clock between which the clock is not put forward or back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalDay {
    /// The date.
    pub(crate) date: Date,
    /// The slots.
    pub(crate) slots: (Slot, Slot),
    /// The quarter of an hour that the clock shows in the first of them.
    pub(crate) quarter: u8,
}

/// Calls `each` for the days of a window in order; a day on which the clock changes comes in two parts.
pub(crate) fn local_days(window: Window, tz: &TimeZone, mut each: impl FnMut(&LocalDay)) {
    let mut slot = window.first();
    while slot < window.until() {
        let Some(at) = timestamp(slot.start()) else { return };
        let offset = i64::from(tz.to_offset(at).seconds());
        let change = tz.following(at).next().map(|change| change.timestamp().as_nanosecond());
        let change = change.and_then(|at| i64::try_from(at).ok()).map_or(Slot(i32::MAX), |at| first_slot(Utc(at)));
        let until = change.min(window.until());
        while slot < until {
            let local = slot.start().0 / SECOND_NS + offset;
            let day = local.div_euclid(DAY_S);
            let midnight = Utc(((day + 1) * DAY_S - offset) * SECOND_NS);
            let end = first_slot(midnight).min(until).max(slot.next());
            let quarter = u8::try_from(local.rem_euclid(DAY_S) / SLOT_S).unwrap_or(0);
            if let Ok(date) = date(1970, 1, 1).checked_add(Span::new().days(day)) {
                each(&LocalDay { date, slots: (slot, end), quarter });
            }
            slot = end;
        }
    }
}

/// The first slot that begins at the instant or after it.
pub(crate) fn first_slot(at: Utc) -> Slot {
    if at.0.rem_euclid(SLOT_NS) == 0 { at.slot() } else { at.slot().next() }
}

/// The place of a date in a leap year, from 0 to 365.
pub(crate) fn day_of_year(date: Date) -> usize {
    let month = usize::from(date.month().unsigned_abs()).clamp(1, 12);
    (BEFORE[month - 1] + usize::from(date.day().unsigned_abs()) - 1).min(DAYS - 1)
}

/// The place of the first day of a month, 1 to 12, and of the next one's.
pub(crate) fn month_days(month: usize) -> Range<usize> {
    let month = month.clamp(1, 12);
    BEFORE[month - 1]..BEFORE.get(month).copied().unwrap_or(DAYS)
}

/// `06-30`.
pub(crate) fn month_day(day: usize) -> String {
    let month = BEFORE.partition_point(|&before| before <= day);
    format!("{month:02}-{:02}", day - BEFORE[month - 1] + 1)
}

/// `07:15`.
pub(crate) fn clock(quarter: usize) -> String {
    format!("{:02}:{:02}", quarter / 4, quarter % 4 * 15)
}
