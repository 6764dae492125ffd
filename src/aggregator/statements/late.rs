//! Whether anything was booked in a month that is closed.
//!
//! The ledger tells, once a commit is published, which days it touched that lie before the end of the
//! newest closed month. Whoever holds figures of such a month compares numbers and works them out
//! again only where something came late.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cost::Window;
use energy::Dirty;
use meter::{Slot, Utc};

/// Slots of a UTC day.
const DAY: i32 = 96;
/// What a meter missed is billed by what it showed up to so many days before.
const LOOK_BACK: i32 = energy::boundary::LOOK_BACK_DAYS;

/// What was booked late.
#[derive(Debug)]
pub struct Late {
    /// Slots from here on are open everywhere.
    closed_until: AtomicI32,
    number: AtomicU64,
    /// By day, the number of the last booking there.
    days: Mutex<BTreeMap<i32, u64>>,
}

impl Default for Late {
    fn default() -> Self {
        Self { closed_until: AtomicI32::new(i32::MIN), number: AtomicU64::new(0), days: Mutex::default() }
    }
}

impl Late {
    /// Watches all time before these instants.
    pub fn watch(&self, ends: impl IntoIterator<Item = Utc>) {
        if let Some(end) = ends.into_iter().max() {
            self.closed_until.fetch_max(end.slot().0, Ordering::Relaxed);
        }
    }

    /// The days that a commit touches in closed time; none as long as nothing is closed.
    #[must_use]
    pub fn days(&self, dirty: &[Dirty]) -> Vec<i32> {
        let until = self.closed_until.load(Ordering::Relaxed);
        let mut days: Vec<i32> = Vec::new();
        for one in dirty {
            let settled = one.settled.iter().map(|block| Slot(block.hour * 4));
            let open = one.state.open.iter().map(|open| open.slot);
            days.extend(settled.chain(open).filter(|slot| slot.0 < until).map(|slot| slot.0.div_euclid(DAY)));
            days.extend(
                one.ended.iter().flat_map(|hold| days_before(until, hold.from..hold.until.unwrap_or(hold.from))),
            );
        }
        days.sort_unstable();
        days.dedup();
        days
    }

    /// Notes that something of closed time changed in these spans, such as jobs that are imported; to be
    /// called once readers see it.
    pub fn touch(&self, spans: impl IntoIterator<Item = Range<Utc>>) {
        let until = self.closed_until.load(Ordering::Relaxed);
        self.note(spans.into_iter().flat_map(|span| days_before(until, span)).collect());
    }

    /// Notes that these days were booked; to be called once readers see it.
    pub fn note(&self, days: Vec<i32>) {
        if days.is_empty() {
            return;
        }
        let mut known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        known.extend(days.into_iter().map(|day| (day, number)));
    }

    /// The number of the last booking so far: to be asked before figures are taken.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The number of the last booking that may change a window's figures.
    #[must_use]
    pub fn last_in(&self, window: Window) -> u64 {
        let days = window.first().0.div_euclid(DAY) - LOOK_BACK..window.until().0.div_euclid(DAY) + 1;
        let known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        known.range(days).map(|(_, number)| *number).max().unwrap_or(0)
    }
}

/// The UTC days that a span touches before a slot.
fn days_before(until: i32, span: Range<Utc>) -> Range<i32> {
    let last = span.end.slot().0.min(until.saturating_sub(1));
    span.start.slot().0.div_euclid(DAY)..last.div_euclid(DAY).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slot: i32) -> Utc {
        Slot(slot).start()
    }

    #[test]
    fn a_job_over_a_whole_month_touches_every_closed_day_of_it_and_no_open_one() {
        let late = Late::default();
        late.touch([at(0)..at(9 * DAY)]);
        assert_eq!(late.number(), 0, "nothing is closed");
        late.watch([at(5 * DAY)]);
        late.touch([at(5 * DAY)..at(9 * DAY)]);
        assert_eq!(late.number(), 0, "all of it is open time");
        late.touch([at(DAY + 3)..at(9 * DAY)]);
        let known: Vec<i32> = late.days.lock().expect("no other thread").keys().copied().collect();
        assert_eq!(known, [1, 2, 3, 4]);
        assert_eq!(late.last_in(Window::of_slots(Slot(2 * DAY), Slot(3 * DAY))), 1);
    }
}
