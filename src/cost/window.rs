//! Windows of time: what a person means by `lastmonth`, as whole slots.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp, Zoned};
use meter::time::{SECOND_NS, SLOT_NS};
use meter::{Slot, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::error::{CostError, shortened};

/// Instants beyond ± this many nanoseconds (the years 1748 to 2191) are refused, so that sums of
/// instants and slots stay far from the ends of 64 bits.
const REACH_NS: i64 = 7_000_000_000_000_000_000;

const FORMS: &str = "use 1h, 24h, 7d, 30d, today, yesterday, week, lastweek, month, lastmonth, \
                     a month such as 2026-10, or START,END in RFC 3339 or Unix seconds";

/// A half-open span of whole slots: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    start: Slot,
    end: Slot,
}

/// The time zone of an IANA name, from the database built in: the same answer on every machine.
///
/// # Errors
/// [`CostError::Zone`] if there is none of that name.
pub fn zone(name: &str) -> Result<TimeZone, CostError> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| CostError::Zone(shortened(name)))
}

impl Window {
    /// Reads a window. Edges inside a slot move outward to its border. Windows that are still running
    /// (`today`, `week`, `month`, `24h`) end now; a month given by name is whole, also when it is this one.
    ///
    /// # Errors
    /// [`CostError::Window`] if the text is no window, or an empty one.
    pub fn parse(text: &str, now: Utc, tz: &TimeZone) -> Result<Self, CostError> {
        let text = text.trim();
        read(text, now, tz).map_err(|why| CostError::Window { text: shortened(text), why })
    }

    /// The window of whole slots around `start` to `end`.
    ///
    /// # Errors
    /// [`CostError::Window`] if `end` is not after `start`, or either is centuries away.
    pub fn around(start: Utc, end: Utc) -> Result<Self, CostError> {
        outward(start, end).map_err(|why| CostError::Window { text: format!("{},{}", start.0, end.0), why })
    }

    /// The window of these slots, `end` exclusive; empty where `end` is not after `start`.
    #[must_use]
    pub fn of_slots(start: Slot, end: Slot) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The first slot.
    #[must_use]
    pub const fn first(&self) -> Slot {
        self.start
    }

    /// The slot after the last one.
    #[must_use]
    pub const fn until(&self) -> Slot {
        self.end
    }

    /// How many slots.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(i64::from(self.end.0) - i64::from(self.start.0)).unwrap_or(0)
    }

    /// Whether there is no slot in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the slot lies inside.
    #[must_use]
    pub fn holds(&self, slot: Slot) -> bool {
        self.start <= slot && slot < self.end
    }

    /// Where it begins.
    #[must_use]
    pub const fn start(&self) -> Utc {
        self.start.start()
    }

    /// Where it ends, exclusive.
    #[must_use]
    pub const fn end(&self) -> Utc {
        self.end.start()
    }

    /// The months, in `tz`, that it touches, as `2026-10`.
    #[must_use]
    pub fn months(&self, tz: &TimeZone) -> Vec<String> {
        let Ok(months) = crate::step::intervals(*self, Some(crate::Step::Month), tz) else { return Vec::new() };
        months.iter().filter_map(|month| Some(local(month.start(), tz)?.strftime("%Y-%m").to_string())).collect()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", stamp(self.start()), stamp(self.end()))
    }
}

/// An instant as RFC 3339 in UTC, `2026-10-01T00:00:00Z`.
#[must_use]
pub fn stamp(at: Utc) -> String {
    timestamp(at).map_or_else(|| at.0.to_string(), |at| at.to_string())
}

/// Reads an instant: RFC 3339, or Unix seconds with or without a fraction.
#[must_use]
pub fn read_instant(text: &str) -> Option<Utc> {
    let text = text.trim();
    if let Ok(seconds) = Decimal::from_str_exact(text) {
        let ns = seconds.checked_mul(Decimal::from(SECOND_NS))?.round();
        return within_reach(i128::from(ns.to_i64()?));
    }
    // A `+` that a client did not encode arrives as a blank.
    let at: Timestamp = text.replace(' ', "+").parse().ok()?;
    within_reach(at.as_nanosecond())
}

pub(crate) fn timestamp(at: Utc) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(at.0)).ok()
}

pub(crate) fn local(at: Utc, tz: &TimeZone) -> Option<Zoned> {
    Some(timestamp(at)?.to_zoned(tz.clone()))
}

pub(crate) fn instant(at: &Zoned) -> Option<Utc> {
    within_reach(at.timestamp().as_nanosecond())
}

/// The first instant of a day in `tz`, which need not be midnight.
pub(crate) fn day_start(date: Date, tz: &TimeZone) -> Option<Utc> {
    instant(&date.to_zoned(tz.clone()).ok()?.start_of_day().ok()?)
}

/// Start and end of the calendar month in `tz` that holds the instant; the instant itself where no calendar goes.
pub(crate) fn month_around(at: Utc, tz: &TimeZone) -> (Utc, Utc) {
    let month = local(at, tz).map(|at| at.date().first_of_month());
    let edges = month.and_then(|month| days(month, month.checked_add(Span::new().months(1)).ok()?, tz));
    edges.unwrap_or((at, at))
}

fn within_reach(ns: i128) -> Option<Utc> {
    i64::try_from(ns).ok().filter(|ns| (-REACH_NS..=REACH_NS).contains(ns)).map(Utc)
}

fn outward(start: Utc, end: Utc) -> Result<Window, String> {
    if within_reach(i128::from(start.0)).is_none() || within_reach(i128::from(end.0)).is_none() {
        return Err("lies too far from today".into());
    }
    if end <= start {
        return Err("ends before it begins".into());
    }
    let last = end.slot();
    let end = if end.0.rem_euclid(SLOT_NS) == 0 { last } else { last.next() };
    Ok(Window { start: start.slot(), end })
}

fn read(text: &str, now: Utc, tz: &TimeZone) -> Result<Window, String> {
    let forms = || FORMS.to_owned();
    if let Some((start, end)) = text.split_once(',') {
        let read_edge = |edge: &str| {
            let day = || edge.trim().parse::<Date>().ok().and_then(|date| day_start(date, tz));
            let looks_like_a_day = edge.trim().len() == 10 && edge.contains('-');
            let at = if looks_like_a_day { day() } else { read_instant(edge) };
            at.ok_or_else(|| format!("{:?} is no instant; {FORMS}", shortened(edge)))
        };
        return outward(read_edge(start)?, read_edge(end)?);
    }
    let today = local(now, tz).ok_or_else(forms)?.date();
    let whole_month = |month: Date| days(month, month.checked_add(Span::new().months(1)).ok()?, tz);
    let monday = || today.checked_sub(Span::new().days(today.weekday().to_monday_zero_offset())).ok();
    let since = |date: Option<Date>| Some((day_start(date?, tz)?, now.max(Utc(day_start(date?, tz)?.0 + 1))));
    let edges = match text {
        "today" => since(Some(today)),
        "yesterday" => today.yesterday().ok().and_then(|day| days(day, today, tz)),
        "week" => since(monday()),
        "lastweek" => monday().and_then(|monday| days(monday.checked_sub(Span::new().days(7)).ok()?, monday, tz)),
        "month" => since(Some(today.first_of_month())),
        "lastmonth" => today.first_of_month().yesterday().ok().and_then(|day| whole_month(day.first_of_month())),
        _ => match span_ns(text) {
            Some(span) => now.0.checked_sub(span).map(|start| (Utc(start), now)),
            None => named_month(text).and_then(whole_month).or_else(|| {
                let day: Date = (text.len() == 10).then(|| text.parse().ok())??;
                days(day, day.tomorrow().ok()?, tz)
            }),
        },
    };
    let (start, end) = edges.ok_or_else(forms)?;
    outward(start, end)
}

/// From the start of one day to the start of another.
fn days(from: Date, until: Date, tz: &TimeZone) -> Option<(Utc, Utc)> {
    Some((day_start(from, tz)?, day_start(until, tz)?))
}

/// `2026-10`.
fn named_month(text: &str) -> Option<Date> {
    let (year, month) = text.split_once('-')?;
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) {
        return None;
    }
    Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()
}

/// `90m`, `24h`, `7d`, `2w` in nanoseconds.
fn span_ns(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count = &text[..text.len() - 1];
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    count.parse::<i64>().ok().filter(|&count| count > 0)?.checked_mul(seconds)?.checked_mul(SECOND_NS)
}
