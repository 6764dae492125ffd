//! Figures that depend on the clock: seasons, days of the week, holidays, hours.
//!
//! Every quarter of an hour of every possible day has exactly one figure; this is checked when a
//! schedule is made, so that nobody needs to look for it later.

use std::collections::{BTreeSet, HashMap};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use meter::Slot;

use super::calendar::{DAYS, LocalDay, clock, day_of_year, local_days, month_day};
use crate::window::{Window, local};

/// Quarters of an hour in a day.
pub(crate) const QUARTERS: usize = 96;
/// All quarters of a day.
const ALL_DAY: u128 = (1 << QUARTERS) - 1;
/// Kinds of days: Monday to Sunday, then holidays.
pub(crate) const KINDS: [&str; 8] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"];
const HOLIDAY: usize = 7;
/// Most gaps and overlaps that are told one by one.
const TOLD_MAX: usize = 8;

/// A rule: a figure for some hours of some days of some seasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    /// What people call it.
    pub(crate) name: Option<String>,
    /// The figure.
    pub(crate) value: i64,
    /// The line of the file it begins at.
    pub(crate) line: usize,
    /// The days of a leap year on which it holds.
    pub(crate) days: BTreeSet<usize>,
    /// The kinds of days, by their place in [`KINDS`].
    pub(crate) kinds: u8,
    /// The quarters of an hour, one bit each.
    pub(crate) quarters: u128,
}

/// Days that are priced as holidays, instead of as what day of the week they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holidays {
    /// Of one year.
    pub(crate) once: BTreeSet<Date>,
    /// Of every year, by their place in a leap year.
    pub(crate) yearly: BTreeSet<usize>,
}

/// Figures for every hour of every year, on the clock of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    tz: TimeZone,
    holidays: Holidays,
    /// Name and figure of each rule; the last is the default, if there is one.
    rules: Vec<(Option<String>, i64)>,
    /// Courses of a day: from which quarter on which rule.
    courses: Vec<Vec<(u8, u16)>>,
    /// The course of each day of a leap year, by kind of day.
    course_of: Vec<[u16; 8]>,
}

/// What is wrong with a set of rules, and the line of the rule that it is about, if of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: Option<usize>,
    pub(crate) what: String,
}

impl Holidays {
    fn are_any(&self) -> bool {
        !self.once.is_empty() || !self.yearly.is_empty()
    }

    fn hold(&self, date: Date) -> bool {
        self.once.contains(&date) || self.yearly.contains(&day_of_year(date))
    }
}

impl Period {
    fn holds(&self, day: usize, kind: usize) -> u128 {
        if self.kinds & (1 << kind) != 0 && self.days.contains(&day) { self.quarters } else { 0 }
    }

    fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| format!("the one at line {}", self.line), |name| format!("{name:?}"))
    }
}

impl Schedule {
    /// A schedule of rules; hours that no rule names have the default, if there is one.
    ///
    /// # Errors
    /// Every overlap, and every gap without a default.
    pub(crate) fn new(
        periods: &[Period],
        default: Option<i64>,
        holidays: Holidays,
        tz: TimeZone,
    ) -> Result<Self, Vec<Problem>> {
        let kinds = if holidays.are_any() { 0..8 } else { 0..7 };
        let mut problems = overlaps(periods, kinds.clone());
        if default.is_none() {
            problems.extend(gaps(periods, kinds));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let named = periods.iter().map(|period| (period.name.clone(), period.value));
        let mut schedule = Self {
            tz,
            holidays,
            rules: named.chain(default.map(|value| (None, value))).collect(),
            courses: Vec::new(),
            course_of: Vec::with_capacity(DAYS),
        };
        let mut known = HashMap::new();
        for day in 0..DAYS {
            schedule.course_of.push(std::array::from_fn(|kind| {
                let course = course(periods, day, kind);
                *known.entry(course).or_insert_with_key(|course| {
                    schedule.courses.push(course.clone());
                    u16::try_from(schedule.courses.len() - 1).unwrap_or(0)
                })
            }));
        }
        Ok(schedule)
    }

    /// The same with so much added to each figure.
    pub(crate) fn plus(mut self, more: i64) -> Self {
        self.rules.iter_mut().for_each(|rule| rule.1 += more);
        self
    }

    /// The figure of a slot.
    pub(crate) fn at(&self, slot: Slot) -> Option<i64> {
        Some(self.rule_at(slot)?.1)
    }

    /// What people call the rule that holds in a slot.
    #[must_use]
    pub fn name_at(&self, slot: Slot) -> Option<&str> {
        self.rule_at(slot)?.0.as_deref()
    }

    fn rule_at(&self, slot: Slot) -> Option<&(Option<String>, i64)> {
        let at = local(slot.start(), &self.tz)?;
        let quarter = u8::try_from(at.hour() * 4 + at.minute() / 15).ok()?;
        let course = self.course(at.date());
        let next = course.partition_point(|piece| piece.0 <= quarter);
        self.rules.get(usize::from(course.get(next.checked_sub(1)?)?.1))
    }

    /// The figures over a window: each holds up to the next one's slot.
    pub(crate) fn pieces(&self, window: Window) -> Vec<(Slot, Option<i64>)> {
        let mut pieces = Vec::new();
        local_days(window, &self.tz, |day| self.day(day, &mut pieces));
        pieces
    }

    fn day(&self, day: &LocalDay, pieces: &mut Vec<(Slot, Option<i64>)>) {
        let course = self.course(day.date);
        let running = course.partition_point(|piece| piece.0 <= day.quarter).saturating_sub(1);
        for &(quarter, rule) in &course[running.min(course.len())..] {
            let slot = Slot(day.slots.0.0 + i32::from(quarter.saturating_sub(day.quarter)));
            if slot >= day.slots.1 {
                break;
            }
            let value = self.rules.get(usize::from(rule)).map(|rule| rule.1);
            if pieces.last().is_none_or(|(_, before)| *before != value) {
                pieces.push((slot, value));
            }
        }
    }

    fn course(&self, date: Date) -> &[(u8, u16)] {
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
        let kind = if self.holidays.hold(date) { HOLIDAY } else { weekday };
        let of = self.course_of.get(day_of_year(date)).map_or(0, |kinds| kinds[kind.min(HOLIDAY)]);
        self.courses.get(usize::from(of)).map_or(&[], Vec::as_slice)
    }
}

/// Which rule holds from which quarter on; beyond the last rule is the default.
fn course(periods: &[Period], day: usize, kind: usize) -> Vec<(u8, u16)> {
    let mut course: Vec<(u8, u16)> = Vec::new();
    let held = periods.iter().enumerate().map(|(rule, period)| (rule, period.holds(day, kind)));
    let held: Vec<(usize, u128)> = held.filter(|(_, quarters)| *quarters != 0).collect();
    for quarter in 0..QUARTERS {
        let rule = held.iter().find(|(_, mask)| mask & (1 << quarter) != 0).map_or(periods.len(), |(rule, _)| *rule);
        let rule = u16::try_from(rule).unwrap_or(u16::MAX);
        if course.last().is_none_or(|last| last.1 != rule) {
            course.push((u8::try_from(quarter).unwrap_or(0), rule));
        }
    }
    course
}

/// Two rules for one hour, each pair once.
fn overlaps(periods: &[Period], kinds: std::ops::Range<usize>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, period) in periods.iter().enumerate() {
        for other in &periods[..index] {
            let both = period.quarters & other.quarters;
            let kind = kinds.clone().find(|kind| period.kinds & other.kinds & (1 << kind) != 0);
            let Some(kind) = kind.filter(|_| both != 0 && problems.len() < TOLD_MAX) else { continue };
            if let Some(&day) = period.days.intersection(&other.days).next() {
                let when = format!("{} {} on {}", KINDS[kind], hours(both), month_day(day));
                let what = format!("overlaps with {}: both hold {when}", other.title());
                problems.push(Problem { line: Some(period.line), what });
            }
        }
    }
    problems
}

/// Hours without a rule, gathered over neighbouring days and kinds of days.
fn gaps(periods: &[Period], kinds: std::ops::Range<usize>) -> Vec<Problem> {
    // First and last day, the kinds and the hours of each gap.
    let mut found: Vec<(usize, usize, Vec<usize>, u128)> = Vec::new();
    for day in 0..DAYS {
        let mut today: Vec<(Vec<usize>, u128)> = Vec::new();
        for kind in kinds.clone() {
            let priced = periods.iter().fold(0, |mask, period| mask | period.holds(day, kind));
            let open = ALL_DAY & !priced;
            match today.iter_mut().find(|gap| gap.1 == open) {
                _ if open == 0 => {}
                Some(gap) => gap.0.push(kind),
                None => today.push((vec![kind], open)),
            }
        }
        for (kinds, open) in today {
            match found.iter_mut().find(|gap| gap.1 + 1 == day && gap.2 == kinds && gap.3 == open) {
                Some(gap) => gap.1 = day,
                None => found.push((day, day, kinds, open)),
            }
        }
    }
    let told = found.iter().take(TOLD_MAX).map(|(first, last, kinds, open)| {
        let kinds = kinds.iter().map(|&kind| KINDS[kind]).collect::<Vec<_>>().join(", ");
        let (first, last) = (month_day(*first), month_day(*last));
        let what =
            format!("no period holds {} on {kinds} from {first} to {last}, and there is no default", hours(*open));
        Problem { line: None, what }
    });
    told.collect()
}

/// Quarters as `00:00–07:00, 22:00–24:00`.
fn hours(quarters: u128) -> String {
    let is_set = |quarter: usize| quarter < QUARTERS && quarters & (1 << quarter) != 0;
    let starts = (0..QUARTERS).filter(|&quarter| is_set(quarter) && (quarter == 0 || !is_set(quarter - 1)));
    let spans = starts.map(|start| {
        let end = (start..=QUARTERS).find(|&quarter| !is_set(quarter)).unwrap_or(QUARTERS);
        format!("{}–{}", clock(start), clock(end))
    });
    spans.collect::<Vec<_>>().join(", ")
}
