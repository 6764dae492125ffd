//! The figures at the top: energy and cost of today and this month, where the month leads, coverage.

use cost::budget::{Day, Forecast, Limit, Method, forecast};
use cost::{Answer, Row};
use meter::{SECOND_NS, Utc};

use super::cost_of;
use super::words::{self, Figure};
use crate::app::App;
use crate::budgets::Month;
use crate::summary::Summary;

/// Most currencies with a forecast of their own.
const CURRENCIES_MAX: usize = 2;

/// Energy and cost of a span of time.
pub(super) struct Tile {
    /// Nothing where there were no readings.
    pub(super) energy: Option<Figure>,
    pub(super) cost: Option<String>,
}

/// How much of the time that readings were expected for they cover.
pub(super) struct Coverage {
    pub(super) share: String,
    pub(super) line: String,
    pub(super) is_thin: bool,
}

/// What the month will have used at its end: the figures, and on what they rest.
pub(super) struct Forecasts {
    pub(super) figures: Vec<(String, String)>,
    pub(super) line: String,
}

impl Tile {
    pub(super) fn new(total: &Row, money: bool) -> Self {
        let energy = words::used(total);
        let cost = if energy.is_none() { Some("no readings".into()) } else { money.then(|| cost_of(total)) };
        Self { energy, cost }
    }
}

impl Coverage {
    pub(super) fn of(total: &Row) -> Self {
        Self::in_hours(total, "host-hours")
    }

    /// Of one device.
    pub(super) fn of_device(total: &Row) -> Self {
        Self::in_hours(total, "hours")
    }

    fn in_hours(total: &Row, unit: &str) -> Self {
        let (covered, expected) = (total.quality.covered_seconds, total.quality.expected_seconds);
        let hours = |seconds: f64| words::grouped(&format!("{:.1}", seconds / 3600.0));
        Self {
            share: words::percent(covered, expected),
            line: format!("{} of {} {unit}", hours(covered), hours(expected)),
            is_thin: expected > 0.0 && covered < 0.99 * expected,
        }
    }
}

impl Forecasts {
    /// From the days of the summary; of a fleet younger than a day, from its `load` of the last day.
    pub(super) fn of(app: &App, summary: &Summary, load: &Answer, now: Utc, money: bool) -> Self {
        let currencies = summary.month.total.cost.iter().take(CURRENCIES_MAX).map(|cost| cost.currency);
        let mut limits: Vec<Limit> =
            currencies.filter(|_| money).map(|currency| Limit::Money(i128::MAX, currency)).collect();
        if limits.is_empty() {
            limits.push(Limit::Energy(i128::MAX));
        }
        let told = |limit: &Limit| Some((shown(limit, one(summary, load, now, limit)?.total), limit.unit()));
        let figures: Vec<(String, String)> = limits.iter().filter_map(told).collect();
        let basis = limits.first().and_then(|limit| one(summary, load, now, limit)).map(|forecast| forecast.basis);
        let line = match basis.map(|basis| (basis.method, basis.days)) {
            None => "once an hour of readings is known".into(),
            Some((Method::ByWeekday, days)) => format!("by weekday, from {days} days"),
            Some((Method::LastDays, 1)) => "from the last whole day".into(),
            Some((Method::LastDays, days)) => format!("from the last {days} days"),
            Some((Method::SinceFirstReading, _)) => "from less than a day of readings".into(),
        };
        let unbudgeted = if app.budgets.file.load().0.is_empty() { "; no budget is set" } else { "" };
        Self { figures, line: format!("{line}{unbudgeted}") }
    }
}

fn shown(limit: &Limit, total: i128) -> String {
    match limit {
        Limit::Energy(_) => words::grouped(&limit.shown(total).round_dp(1).to_string()),
        Limit::Money(..) => words::grouped(&limit.shown(total).to_string()),
    }
}

fn one(summary: &Summary, load: &Answer, now: Utc, limit: &Limit) -> Option<Forecast> {
    let month = Month::in_zone(summary.zone.clone(), now).ok()?;
    let today = month.today().start();
    // The first day of the window begins in its middle.
    let whole = summary.days.rows.iter().skip(1).filter(|row| row.start < today);
    let days: Vec<Day> = whole.map(|row| month.day(limit, row)).collect();
    let first = load.rows.iter().find(|row| row.quality.covered_seconds > 0.0).map(|row| row.start);
    let lately = first.map(|first| (limit.used(&load.total), now.since(first) / SECOND_NS.unsigned_abs()));
    forecast(limit.used(&summary.month.total), &days, &month.ahead().ok()?, lately)
}
