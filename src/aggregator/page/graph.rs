//! The page's graphs: power over the range, energy and cost by day.

use std::ops::Range as Span;

use cost::Row;
use jiff::tz::TimeZone;
use meter::{SECOND_NS, SLOT_NS, Utc};

use super::chart::{self, Bar, LineChart};
use super::cost_of;
use super::frame::local_time;
use super::view::View;
use super::words::{self, Figure};
use crate::answers::ViewAnswer;
use crate::app::App;
use crate::asked::Range;
use crate::hosts_view::watts;
use crate::load::read_seconds;
use crate::query::Zone;
use crate::summary::Summary;

/// A running interval says something after so long: readings come in posts.
const RUNNING_NS: u64 = 180 * SECOND_NS.unsigned_abs();
/// The fleet's own minutes are shown once there are so many.
const MINUTES_MIN: usize = 20;
/// Labels along the time.
const LABELS: usize = 4;

/// Power over time.
pub(super) struct Graph {
    pub(super) chart: LineChart,
    pub(super) axis: Axis,
    /// What it shows in words.
    pub(super) says: String,
}

/// What stands beside a graph.
pub(super) struct Axis {
    /// The figures of the upper edge and of the middle.
    pub(super) top: String,
    pub(super) half: String,
    /// Instants, evenly spaced.
    pub(super) times: Vec<String>,
}

/// Energy by day.
pub(super) struct Days {
    pub(super) bars: Vec<Bar>,
    pub(super) axis: Axis,
    pub(super) says: String,
}

/// Mean power of consecutive intervals: where they begin and end, and their figures where there are any.
pub(super) struct Course {
    pub(super) from: Utc,
    pub(super) until: Utc,
    pub(super) values: Vec<Option<f64>>,
}

impl Axis {
    /// Round figures up to `top` watts, and instants.
    pub(super) fn of_power(top: f64, course: &Course, range: Range, tz: &TimeZone) -> Self {
        let figure = |value| joined(&words::power(value));
        let format = if range <= Range::Day { "%H:%M" } else { "%e %b" };
        let span = course.until.since(course.from) / LABELS as u64;
        let at = |number: usize| Utc(course.from.0.saturating_add((span * number as u64) as i64));
        // Between the ends a label is nearest to where it stands: 08:00 rather than 08:02.
        let near = |at: Utc| Utc((at.0 + SLOT_NS / 2).div_euclid(SLOT_NS) * SLOT_NS);
        let is_rounded = |number: usize| range == Range::Day && 0 < number && number < LABELS;
        let shown = |number: usize| if is_rounded(number) { near(at(number)) } else { at(number) };
        let times = (0..=LABELS).map(|number| local_time(shown(number), tz, format)).collect();
        Self { top: figure(top), half: figure(top / 2.0), times }
    }
}

impl Course {
    /// From rows in steps, each over what was read of it; `pick` says what of a row counts, in joules.
    pub(super) fn of<'a>(
        rows: impl Iterator<Item = &'a Row>,
        (read, now): (&Span<Utc>, Utc),
        pick: impl Fn(&Row) -> Option<f64>,
    ) -> Option<Self> {
        let mut course: Option<Self> = None;
        for row in rows {
            let end = row.end.min(now);
            if row.end > now && end.since(row.start.max(read.start)) < RUNNING_NS {
                continue;
            }
            let value = pick(row).zip(read_seconds(row, read)).map(|(joules, seconds)| joules / seconds);
            let course = course.get_or_insert(Self { from: row.start, until: end, values: Vec::new() });
            course.until = end;
            course.values.push(value);
        }
        course.filter(|course| course.values.iter().flatten().count() > 1)
    }

    /// The fleet's own minutes.
    fn of_minutes(app: &App, now: Utc) -> Option<Self> {
        let since = now.0 - Range::Hour.ns();
        let points: Vec<_> = app.recent.fleet().into_iter().filter(|(at, _)| at.0 >= since).collect();
        let from = points.first()?.0;
        let values: Vec<Option<f64>> = points.iter().map(|(_, power)| power.map(watts)).collect();
        (values.len() >= MINUTES_MIN).then_some(Self { from, until: now, values })
    }
}

/// Whether readings cover any of a row; its energy.
pub(super) fn covered(row: &Row) -> Option<f64> {
    (row.quality.covered_seconds > 0.0 || row.energy_uj != 0).then_some(row.energy_joules)
}

/// Power over the view's range, where at least two figures are known.
pub(super) fn of(app: &App, view: &View, answer: &ViewAnswer, zone: &Zone, now: Utc) -> Option<Graph> {
    let is_fleet = view.range == Range::Hour && view.filter.is_empty();
    match is_fleet.then(|| Course::of_minutes(app, now)).flatten() {
        Some(minutes) => Some(Graph::of(&minutes, "minutes", view.range, zone)),
        None => of_rows(&answer.load.rows, &answer.read, view.range, zone, now),
    }
}

/// Power of rows in steps, as far as they were read, where at least two figures are known.
pub(super) fn of_rows(rows: &[Row], read: &Span<Utc>, range: Range, zone: &Zone, now: Utc) -> Option<Graph> {
    let step = if range <= Range::Day { "quarters of an hour" } else { "hours" };
    // Before the first reading there is nothing to see.
    let rows = rows.iter().skip_while(|row| covered(row).is_none());
    Some(Graph::of(&Course::of(rows, (read, now), covered)?, step, range, zone))
}

impl Graph {
    fn of(course: &Course, step: &str, range: Range, zone: &Zone) -> Self {
        let known: Vec<f64> = course.values.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let peak = known.iter().copied().fold(0.0, f64::max);
        let top = chart::round_top(peak);
        Self {
            chart: chart::line(&course.values, top),
            axis: Axis::of_power(top, course, range, &zone.tz),
            says: format!("mean {}, peak {} of {step}", joined(&words::power(mean)), joined(&words::power(peak))),
        }
    }
}

/// The last days, a bar each.
pub(super) fn days(summary: &Summary, money: bool) -> Option<Days> {
    // Days before the first reading say nothing, and neither does a graph of one bar.
    let rows: Vec<&Row> = summary.days.rows.iter().skip_while(|row| row.energy_uj == 0).collect();
    if rows.len() < 2 {
        return None;
    }
    let top = chart::round_top(rows.iter().map(|row| row.energy_kwh).fold(0.0, f64::max));
    let day = |row: &&Row| local_time(row.start, &summary.zone.tz, "%e %b");
    let titled = rows.iter().map(|row| {
        let cost = if money { format!(", {}", cost_of(row)) } else { String::new() };
        (row.energy_kwh, format!("{}: {}{cost}", day(row), joined(&words::energy(row.energy_kwh))))
    });
    let bars = chart::bars(&titled.collect::<Vec<_>>(), top);
    let (first, last) = (day(rows.first()?), day(rows.last()?));
    let figure = |kwh| joined(&words::energy(kwh));
    Some(Days {
        bars,
        says: format!("{} days, today so far", rows.len()),
        axis: Axis { top: figure(top), half: figure(top / 2.0), times: vec![first, last] },
    })
}

pub(super) fn joined(figure: &Figure) -> String {
    let Figure { number, unit } = figure;
    format!("{number}\u{a0}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Constant power of 400 W, first read 300 s before the end of a quarter of an hour and last 200 s into another:
    /// the graph is level from its first point to its last.
    #[test]
    fn constant_power_is_drawn_level_from_the_first_reading_to_the_newest() {
        let at = |second: i64| Utc(second * SECOND_NS);
        let row = |number: i64, seconds: f64| {
            let mut row = Row { start: at(900 * number), end: at(900 * (number + 1)), ..Row::default() };
            (row.energy_joules, row.energy_uj) = (400.0 * seconds, 400_000_000 * seconds as i128);
            row
        };
        let rows = [row(0, 300.0), row(1, 900.0), row(2, 900.0), row(3, 200.0)];
        let course = Course::of(rows.iter(), (&(at(600)..at(2900)), at(2905)), covered).expect("four figures");
        assert_eq!(course.values, [Some(400.0); 4]);
        assert_eq!((course.from, course.until), (at(0), at(2905)));
    }
}
