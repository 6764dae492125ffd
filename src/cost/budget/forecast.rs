//! What a month will have used at its end.
//!
//! What it has used so far, and for the rest of it what covered days of late used in the same time:
//! - by weekday, if at least [`WEEKS_DAYS`] of the last [`LOOK_BACK_DAYS`] whole days are covered and each weekday is
//!   among them: days of work and weekends differ;
//! - else the last [`LATELY_DAYS`] covered days together;
//! - else, in the first day of a fleet, what was used since its first reading.
//!
//! A day is covered if readings cover [`COVERED`] of the time that they were expected for. Time without readings
//! is never filled in: what is missing so far stays missing from the forecast, and its coverage stands beside it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Days before today that are looked at.
pub const LOOK_BACK_DAYS: u8 = 28;
/// Covered days of late that are enough without telling weekdays apart.
const LATELY_DAYS: usize = 7;
/// Covered days that tell weekdays apart: two weeks.
const WEEKS_DAYS: usize = 14;
/// The share of its time that makes a day covered, in percent.
pub const COVERED: u32 = 90;
/// Seconds of use that a forecast needs at least: an hour.
const LEAST_S: u64 = 3600;

/// A whole day in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// The weekday, 0 to 6.
    pub weekday: u8,
    /// Its length in seconds: clocks change.
    pub seconds: u64,
    /// What was used.
    pub used: i128,
    /// For how long there were readings, in host-seconds.
    pub covered_s: u64,
    /// For how long there should have been.
    pub expected_s: u64,
}

/// A stretch of the month that is still to come, within one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The weekday, 0 to 6.
    pub weekday: u8,
    /// Its length in seconds.
    pub seconds: u64,
}

/// By what the rest of the month is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// By what covered days of the same weekday used.
    ByWeekday,
    /// By what the last covered days used.
    LastDays,
    /// By what was used since the first reading.
    SinceFirstReading,
}

/// On what a forecast rests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Basis {
    /// By what.
    pub method: Method,
    /// How many covered days.
    pub days: usize,
    /// How much of their time readings cover, as a share; nothing where it is less than a day.
    pub coverage: Option<f64>,
}

/// A forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// What the whole month will have used.
    pub total: i128,
    /// On what that rests.
    pub basis: Basis,
}

impl Day {
    fn is_covered(&self) -> bool {
        self.expected_s > 0 && u128::from(self.covered_s) * 100 >= u128::from(self.expected_s) * u128::from(COVERED)
    }
}

/// Use in some time.
#[derive(Clone, Copy, Default)]
struct Rate {
    used: i128,
    seconds: u64,
}

impl Rate {
    fn add(&mut self, day: &Day) {
        self.used += day.used;
        self.seconds += day.seconds;
    }

    /// What is used in so many seconds, rounded down.
    fn of(self, seconds: u64) -> i128 {
        if self.seconds == 0 { 0 } else { (self.used * i128::from(seconds)).div_euclid(i128::from(self.seconds)) }
    }
}

/// The forecast of a month that has used `used` so far. `days` are the whole days before today, the oldest first;
/// `ahead` is what is left of the month; `since_first` is what was used of late, and in how many seconds, for fleets
/// that are younger than a day. Nothing if less than an hour is known.
#[must_use]
pub fn forecast(used: i128, days: &[Day], ahead: &[Ahead], since_first: Option<(i128, u64)>) -> Option<Forecast> {
    let from = days.len().saturating_sub(usize::from(LOOK_BACK_DAYS));
    let covered: Vec<&Day> = days[from..].iter().filter(|day| day.is_covered()).collect();
    let mut by_weekday = [Rate::default(); 7];
    covered.iter().for_each(|day| by_weekday[usize::from(day.weekday) % 7].add(day));
    if covered.len() >= WEEKS_DAYS && by_weekday.iter().all(|rate| rate.seconds > 0) {
        let rest: i128 = ahead.iter().map(|ahead| by_weekday[usize::from(ahead.weekday) % 7].of(ahead.seconds)).sum();
        return Some(Forecast { total: used + rest, basis: Basis::of(Method::ByWeekday, &covered) });
    }
    let seconds: u64 = ahead.iter().map(|ahead| ahead.seconds).sum();
    let lately = &covered[covered.len().saturating_sub(LATELY_DAYS)..];
    if !lately.is_empty() {
        let mut rate = Rate::default();
        lately.iter().for_each(|day| rate.add(day));
        return Some(Forecast { total: used + rate.of(seconds), basis: Basis::of(Method::LastDays, lately) });
    }
    let (used_lately, lately_s) = since_first.filter(|(_, seconds)| *seconds >= LEAST_S)?;
    let rate = Rate { used: used_lately, seconds: lately_s };
    let basis = Basis { method: Method::SinceFirstReading, days: 0, coverage: None };
    Some(Forecast { total: used + rate.of(seconds), basis })
}

impl Basis {
    /// For people: how well the days are covered.
    #[expect(clippy::cast_precision_loss, reason = "presentation only")]
    fn of(method: Method, days: &[&Day]) -> Self {
        let sum = |of: fn(&Day) -> u64| days.iter().map(|day| of(day)).sum::<u64>();
        let (covered, expected) = (sum(|day| day.covered_s), sum(|day| day.expected_s));
        let coverage = (covered as f64 / expected.max(1) as f64 * 1e6).round() / 1e6;
        Self { method, days: days.len(), coverage: Some(coverage) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn day(weekday: u8, used: i128) -> Day {
        Day { weekday, seconds: DAY, used, covered_s: DAY, expected_s: DAY }
    }

    #[test]
    fn constant_load_for_half_a_month_is_exactly_the_month() {
        // 1 W is 10⁶ µJ a second. Fifteen of thirty days have passed; none of the month before is known.
        let per_second = 123_456_789_i128;
        let used = per_second * i128::from(15 * DAY);
        let days: Vec<Day> = (0..15).map(|n| day(n % 7, per_second * i128::from(DAY))).collect();
        let ahead: Vec<Ahead> = (15..30).map(|n| Ahead { weekday: n % 7, seconds: DAY }).collect();
        let told = forecast(used, &days, &ahead, None).expect("a forecast");
        assert_eq!((told.total, told.basis.method), (per_second * i128::from(30 * DAY), Method::ByWeekday));
        // The same from a week only, and in the middle of a day.
        let few = forecast(used, &days[..5], &ahead, None).expect("a forecast");
        assert_eq!((few.total, few.basis.method, few.basis.days), (told.total, Method::LastDays, 5));
    }

    #[test]
    fn weekends_are_forecast_as_weekends() {
        // 100 a day from Monday to Friday (0 to 4), 30 on Saturday and Sunday; two weeks are known.
        let load = |weekday: u8| if weekday < 5 { 100 } else { 30 };
        let days: Vec<Day> = (0..14).map(|n| day(n % 7, load(n % 7))).collect();
        let ahead = [5, 6, 0].map(|weekday| Ahead { weekday, seconds: DAY });
        assert_eq!(forecast(7, &days, &ahead, None).expect("a forecast").total, 7 + 30 + 30 + 100);
        // With thirteen days there is no telling them apart: the last seven as they come.
        let lately: i128 = days[6..13].iter().map(|day| day.used).sum();
        assert_eq!(forecast(7, &days[..13], &ahead, None).expect("a forecast").total, 7 + lately * 3 / 7);
    }

    #[test]
    fn a_day_with_holes_is_no_measure_and_its_hole_is_not_filled() {
        let half = Day { covered_s: DAY / 2, ..day(1, 50) };
        let ahead = [Ahead { weekday: 2, seconds: DAY }];
        let told = forecast(150, &[day(0, 100), half], &ahead, None).expect("a forecast");
        assert_eq!((told.total, told.basis.days), (250, 1), "100 for tomorrow, and 50 for the day with a hole");
        let bordering = Day { covered_s: DAY * 9 / 10, ..day(1, 90) };
        let told = forecast(90, &[bordering], &ahead, None).expect("a forecast");
        assert_eq!((told.total, told.basis.coverage), (180, Some(0.9)), "what was not read is not made up");
    }

    #[test]
    fn a_young_fleet_is_forecast_from_its_first_hours() {
        let ahead = [Ahead { weekday: 2, seconds: 10 * 3600 }];
        assert_eq!(forecast(20, &[], &ahead, Some((20, 7200))).expect("a forecast").total, 20 + 100);
        assert_eq!(forecast(20, &[], &ahead, Some((20, 3599))), None, "too early to tell");
        assert_eq!(forecast(20, &[], &ahead, None), None);
        assert_eq!(forecast(20, &[], &[], Some((20, 7200))).expect("a forecast").total, 20, "the month is over");
    }

    #[test]
    fn only_four_weeks_are_looked_back() {
        let days: Vec<Day> = (0..40).map(|n| day(n % 7, if n < 12 { 1_000_000 } else { 100 })).collect();
        let ahead = [0, 1, 2, 3, 4, 5, 6].map(|weekday| Ahead { weekday, seconds: DAY });
        assert_eq!(forecast(0, &days, &ahead, None).expect("a forecast").total, 700);
    }
}
