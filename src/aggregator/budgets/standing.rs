//! One budget's month: what is used, and what will be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use billing::Figures;
use billing::published::Snapshot;
use billing::topology::Topology;
use cost::budget::{
    Ahead, Budget, Day, Delivery, Forecast, LOOK_BACK_DAYS, Limit, Standing, State, Threshold, forecast,
};
use cost::{By, RateCard, Row, Step, Window};
use jiff::Timestamp;
use meter::{SECOND_NS, Utc};

use super::crossing::{Crossing, What};
use crate::books::Books;
use crate::http::problem::Problem;
use crate::query::{CostQuery, HeldQuery, Zone, cost_problem, label_keys};

/// For how long days before the month serve: late readings still come for them.
const BEFORE_SERVES: Duration = Duration::from_secs(3600);
/// How far back a fleet is looked at that has no whole day yet.
const YOUNG_NS: i64 = 48 * 3600 * SECOND_NS;
/// Nanoseconds of a day of the calendar, whatever its length in a zone.
const DAY_NS: i64 = 86_400 * SECOND_NS;

/// What all budgets are worked out from: of one moment.
pub(super) struct Round<'a> {
    books: &'a Books,
    pub(super) snapshot: Arc<Snapshot>,
    topology: Arc<Topology>,
    card: Arc<RateCard>,
    now: Utc,
}

impl<'a> Round<'a> {
    pub(super) fn of(books: &'a Books) -> Self {
        let (snapshot, topology, now) = books.moment();
        Self { books, snapshot, topology, card: books.rates.load(), now }
    }

    fn figures(&self) -> Figures<'_> {
        self.books.figures(&self.snapshot, &self.topology, self.now)
    }
}

/// The running month of a budget.
pub(crate) struct Month {
    /// Such as `2026-10`.
    pub(super) name: String,
    pub(super) zone: Zone,
    pub(super) now: Utc,
    whole: Window,
    /// Up to now.
    so_far: Window,
}

/// Days before the month, and when they were worked out.
#[derive(Clone)]
pub(super) struct Before {
    window: Window,
    filter: String,
    limit: Limit,
    at: Instant,
    days: Arc<[Day]>,
}

/// What is known of a budget's month.
pub(super) struct MonthFigures {
    pub(super) used: i128,
    pub(super) forecast: Option<Forecast>,
    pub(super) before: Before,
    total: Row,
}

impl Month {
    /// The month of now.
    pub(super) fn of(budget: &Budget, round: &Round<'_>) -> Result<Self, Problem> {
        let now = round.now;
        let named = budget.timezone.as_deref().unwrap_or(&round.books.settings.server.timezone);
        Self::in_zone(Zone::of(named).map_err(|error| cost_problem(&error))?, now)
    }

    /// The month of `now` in a zone.
    pub(crate) fn in_zone(zone: Zone, now: Utc) -> Result<Self, Problem> {
        let parse = |text: &str| Window::parse(text, now, &zone.tz).map_err(|error| cost_problem(&error));
        let so_far = parse("month")?;
        let name = so_far.months(&zone.tz).into_iter().next().unwrap_or_default();
        let whole = parse(&name)?;
        Ok(Self { name, zone, now, whole, so_far })
    }

    /// What is used and forecast. Blocks while the store is read.
    pub(super) fn figures(
        &self,
        budget: &Budget,
        round: &Round<'_>,
        before: Option<&Before>,
    ) -> Result<MonthFigures, Problem> {
        let answer = self.ask(budget, round, self.so_far, Step::Day)?;
        let used = budget.limit.used(&answer.total);
        let before = self.before(budget, round, before)?;
        let today = self.today();
        let rows = answer.rows.iter().filter(|row| row.start < today.start());
        let days: Vec<Day> = before.days.iter().copied().chain(rows.map(|row| self.day(&budget.limit, row))).collect();
        let ahead = self.ahead()?;
        let mut told = forecast(used, &days, &ahead, None);
        if told.is_none() {
            told = forecast(used, &days, &ahead, self.since_first(budget, round)?);
        }
        Ok(MonthFigures { used, forecast: told, before, total: answer.total })
    }

    /// The rollup of a window.
    fn ask(&self, budget: &Budget, round: &Round<'_>, window: Window, step: Step) -> Result<cost::Answer, Problem> {
        let labels = label_keys(&round.snapshot, &round.topology.inventory);
        let query = CostQuery {
            window,
            by: By::default(),
            select: budget.select(&labels).map_err(|error| cost_problem(&error))?,
            step: Some(step),
            zone: self.zone.clone(),
            held: HeldQuery::default(),
        };
        let query = query.with_axes(&round.books.settings.axes());
        query.answer(&round.figures(), &round.card)
    }

    /// Today so far, in whole slots.
    pub(crate) fn today(&self) -> Window {
        Window::parse("today", self.now, &self.zone.tz).unwrap_or(self.so_far)
    }

    /// The days before the month that a forecast looks back to.
    fn before(&self, budget: &Budget, round: &Round<'_>, known: Option<&Before>) -> Result<Before, Problem> {
        let since = Utc(self.today().start().0 - i64::from(LOOK_BACK_DAYS) * DAY_NS).slot();
        let window = Window::of_slots(since, self.whole.first());
        let is_same = |known: &&Before| {
            known.window == window
                && known.filter == budget.filter
                && known.limit == budget.limit
                && known.at.elapsed() < BEFORE_SERVES
        };
        if let Some(known) = known.filter(is_same) {
            return Ok(known.clone());
        }
        let mut days = Vec::new();
        if !window.is_empty() {
            let answer = self.ask(budget, round, window, Step::Day)?;
            days.extend(answer.rows.iter().map(|row| self.day(&budget.limit, row)));
        }
        let (filter, limit) = (budget.filter.clone(), budget.limit);
        Ok(Before { window, filter, limit, at: Instant::now(), days: days.into() })
    }

    /// For people, as all figures of a forecast: whole seconds do.
    #[expect(clippy::cast_sign_loss, reason = "seconds of cover are no less than zero")]
    pub(crate) fn day(&self, limit: &Limit, row: &Row) -> Day {
        Day {
            weekday: self.weekday(row.start),
            seconds: row.end.since(row.start) / SECOND_NS as u64,
            used: limit.used(row),
            covered_s: (row.quality.covered_seconds + row.quality.ratio_seconds) as u64,
            expected_s: row.quality.expected_seconds as u64,
        }
    }

    /// What is left of the month, day by day.
    pub(crate) fn ahead(&self) -> Result<Vec<Ahead>, Problem> {
        let left = Window::of_slots(self.now.slot(), self.whole.until());
        let days = cost::step::intervals(left, Some(Step::Day), &self.zone.tz).map_err(|error| cost_problem(&error))?;
        let ahead = |day: Window| {
            let from = day.start().max(self.now);
            Ahead { weekday: self.weekday(day.start()), seconds: day.end().since(from) / SECOND_NS as u64 }
        };
        Ok(days.into_iter().map(ahead).collect())
    }

    /// What was used since the first reading of the last two days, and in how many seconds.
    fn since_first(&self, budget: &Budget, round: &Round<'_>) -> Result<Option<(i128, u64)>, Problem> {
        let since = Utc(self.now.0 - YOUNG_NS).slot().max(self.so_far.first());
        let window = Window::of_slots(since, self.so_far.until());
        let answer = self.ask(budget, round, window, Step::Quarter)?;
        let first = answer.rows.iter().find(|row| row.quality.covered_seconds > 0.0).map(|row| row.start);
        Ok(first.map(|first| (budget.limit.used(&answer.total), self.now.since(first) / SECOND_NS as u64)))
    }

    fn weekday(&self, at: Utc) -> u8 {
        let at = Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or_default();
        u8::try_from(at.to_zoned(self.zone.tz.clone()).weekday().to_monday_zero_offset()).unwrap_or(0)
    }
}

impl MonthFigures {
    /// Whether a threshold, or the forecast, is where somebody is to be told.
    pub(super) fn is_reached(&self, budget: &Budget, what: What) -> bool {
        match what {
            What::Used(percent) => budget.limit.is_reached(self.used, percent),
            What::Forecast => self.forecast.is_some_and(|told| budget.limit.is_reached(told.total, 100)),
        }
    }

    /// The budget as it is told, with what was crossed this month.
    pub(super) fn standing(&self, budget: &Budget, month: &Month, crossed: &[Crossing]) -> Standing {
        let limit = &budget.limit;
        let at = |what: What| crossed.iter().find(|crossing| crossing.what == what).map(|crossing| crossing.at.clone());
        let threshold = |&percent: &u32| {
            let what = What::Used(percent);
            Threshold { percent, crossed: self.is_reached(budget, what), at: at(what) }
        };
        let thresholds: Vec<Threshold> = budget.thresholds.iter().map(threshold).collect();
        let is_warned = thresholds.iter().any(|one| one.crossed) || self.is_reached(budget, What::Forecast);
        let state = match (self.is_reached(budget, What::Used(100)), is_warned) {
            (true, _) => State::Exceeded,
            (false, true) => State::Warning,
            (false, false) => State::Ok,
        };
        let quality = &self.total.quality;
        Standing {
            name: budget.name.clone(),
            filter: budget.filter.clone(),
            month: month.name.clone(),
            tz: month.zone.name.clone(),
            unit: limit.unit(),
            limit: limit.shown(limit.whole()),
            used: limit.shown(self.used),
            used_share: limit.share(self.used),
            forecast: self.forecast.map(|told| limit.shown(told.total)),
            forecast_share: self.forecast.map(|told| limit.share(told.total)),
            basis: self.forecast.map(|told| told.basis),
            state,
            thresholds,
            forecast_reached_at: at(What::Forecast),
            covered_seconds: quality.covered_seconds,
            expected_seconds: quality.expected_seconds,
            unpriced_kwh: if matches!(limit, Limit::Money(..)) { self.total.unpriced_kwh } else { 0.0 },
            webhook: budget.webhook.as_ref().map(|_| delivery(crossed)),
        }
    }
}

fn delivery(crossed: &[Crossing]) -> Delivery {
    let count = |is_it: fn(&Crossing) -> bool| crossed.iter().filter(|crossing| is_it(crossing)).count();
    Delivery {
        delivered: count(|crossing| crossing.delivered_at.is_some()),
        pending: count(Crossing::is_pending),
        given_up: count(|crossing| crossing.given_up),
        last_problem: crossed.iter().rev().find_map(|crossing| crossing.problem.clone()),
    }
}
