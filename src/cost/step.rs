//! Steps: a window cut into quarters of an hour, hours, days or months of a time zone.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Span;
use jiff::tz::TimeZone;
use meter::{SECOND_NS, Slot, Utc};

use crate::error::{CostError, shortened};
use crate::window::{Window, day_start, local};

/// How long each row of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// 15 minutes: a slot.
    Quarter,
    /// An hour of the zone's clock.
    Hour,
    /// A day of the zone, which has 23 or 25 hours when clocks change.
    Day,
    /// A month of the zone.
    Month,
}

impl Step {
    /// The word used everywhere outside.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quarter => "15m",
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::Month => "1mo",
        }
    }

    /// The first border after `at`.
    fn next_border(self, at: Utc, tz: &TimeZone) -> Option<Utc> {
        let here = local(at, tz)?;
        match self {
            Self::Quarter => Some(at.slot().end()),
            Self::Hour => {
                let into = i64::from(here.minute()) * 60 + i64::from(here.second());
                Some(Utc(at.0 + (3600 - into) * SECOND_NS))
            }
            Self::Day => day_start(here.date().tomorrow().ok()?, tz),
            Self::Month => day_start(here.date().first_of_month().checked_add(Span::new().months(1)).ok()?, tz),
        }
    }
}

impl FromStr for Step {
    type Err = CostError;
    fn from_str(text: &str) -> Result<Self, CostError> {
        [Self::Quarter, Self::Hour, Self::Day, Self::Month]
            .into_iter()
            .find(|step| step.word() == text)
            .ok_or_else(|| CostError::Step(shortened(text)))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The window cut at the step's borders in `tz`; the first and the last interval may be shorter.
/// Without a step it is one interval. A border inside a slot (zones of the 19th century) moves to
/// the slot's start, so that no slot is in two intervals.
///
/// # Errors
/// [`CostError::Window`] if a border lies where no calendar goes.
pub fn intervals(window: Window, step: Option<Step>, tz: &TimeZone) -> Result<Vec<Window>, CostError> {
    let Some(step) = step else { return Ok(vec![window]) };
    let mut all = Vec::new();
    let mut start = window.first();
    while start < window.until() {
        let far = || CostError::Window { text: window.to_string(), why: "lies too far from today".into() };
        let border = step.next_border(start.start(), tz).ok_or_else(far)?.slot();
        // The border's slot is the next interval's first one; never stand still.
        let end = border.max(start.next()).min(window.until());
        all.push(Window::of_slots(start, end));
        start = end;
    }
    Ok(all)
}

/// The intervals, cut further where a month begins in any of these zones: none is then in two billing periods.
///
/// # Errors
/// As [`intervals`].
pub fn cut_at_months(cut: &[Window], zones: &[TimeZone]) -> Result<Vec<Window>, CostError> {
    let Some((first, last)) = cut.first().zip(cut.last()) else { return Ok(Vec::new()) };
    let whole = Window::of_slots(first.first(), last.until());
    let mut borders: BTreeSet<Slot> = cut.iter().map(Window::first).collect();
    for zone in zones {
        borders.extend(intervals(whole, Some(Step::Month), zone)?.iter().map(Window::first));
    }
    let ends = borders.iter().skip(1).copied().chain([whole.until()]);
    Ok(borders.iter().zip(ends).map(|(&start, end)| Window::of_slots(start, end)).collect())
}

/// The interval that holds the slot.
pub(crate) fn position(intervals: &[Window], slot: Slot) -> Option<usize> {
    let index = intervals.partition_point(|interval| interval.until() <= slot);
    intervals.get(index).filter(|interval| interval.holds(slot)).map(|_| index)
}
