//! The rules of a schedule as the card writes them: months or dates, weekdays, hours, holidays.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::civil::Date;
use toml::de::DeTable;

use super::calendar::{DAYS, day_of_year, month_days};
use super::schedule::{Holidays, KINDS, Period, QUARTERS};
use super::values::{Entry, Reader, Value};

/// Kinds of figures that rules may be for: the key of the figure, its scale and bounds.
pub(super) struct Kind {
    /// `period` or `pue_period`.
    pub(super) block: &'static str,
    /// The key of the figure.
    pub(super) key: &'static str,
    pub(super) scale: i64,
    pub(super) bounds: (i64, i64),
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Most rules of one rate: every hour of every month, on weekdays and weekends.
const PERIODS_MAX: usize = 600;

/// What a rule says of itself; nothing said holds always.
struct Draft {
    name: Option<String>,
    value: Option<i64>,
    days: Option<BTreeSet<usize>>,
    kinds: u8,
    quarters: u128,
}

impl Reader<'_> {
    /// The rules of a rate, from its blocks.
    pub(super) fn periods(&mut self, kind: &Kind, value: &Value<'_>) -> Vec<Period> {
        let Some(tables) = value.get_ref().as_array() else {
            self.fault(value.span(), kind.block, format!("write [[rate.{}]], one block per rule", kind.block));
            return Vec::new();
        };
        if tables.len() > PERIODS_MAX {
            self.fault(value.span(), kind.block, format!("more than {PERIODS_MAX} rules in one rate"));
        }
        let mut periods = Vec::new();
        for table in tables.iter().take(PERIODS_MAX) {
            match table.get_ref().as_table() {
                Some(entries) => periods.extend(self.period(kind, table.span(), entries)),
                None => {
                    self.fault(table.span(), kind.block, format!("write [[rate.{}]], one block per rule", kind.block));
                }
            }
        }
        periods
    }

    fn period(&mut self, kind: &Kind, at: Range<usize>, entries: &DeTable<'_>) -> Option<Period> {
        let before = self.faults.len();
        let mut draft = Draft { name: None, value: None, days: None, kinds: u8::MAX, quarters: (1 << QUARTERS) - 1 };
        let given = |key: &str| entries.iter().any(|(name, _)| name.get_ref() == key);
        if given("months") && given("dates") {
            self.fault(at.clone(), "dates", "say either months or dates in one rule");
        }
        for entry in entries {
            self.rule(kind, entry, &mut draft);
        }
        if !given(kind.key) {
            self.fault(at.clone(), kind.key, format!("is missing in this [[rate.{}]]", kind.block));
        }
        if self.faults.len() > before {
            return None;
        }
        let days = draft.days.unwrap_or_else(|| (0..DAYS).collect());
        let (name, line) = (draft.name, self.line(at.start));
        Some(Period { name, value: draft.value?, line, days, kinds: draft.kinds, quarters: draft.quarters })
    }

    fn rule(&mut self, kind: &Kind, (key, value): Entry<'_, '_>, draft: &mut Draft) {
        let name = key.get_ref().as_ref();
        match name {
            "name" => draft.name = self.text(name, value),
            "months" => draft.days = Some(self.days(name, value, read_months)),
            "dates" => draft.days = Some(self.days(name, value, read_dates)),
            "weekdays" => {
                let kinds = self.each(name, value, read_weekdays);
                draft.kinds = kinds.iter().flatten().fold(0, |kinds, kind| kinds | (1 << kind));
            }
            "hours" => {
                let hours = self.each(name, value, read_hours);
                draft.quarters = hours.into_iter().fold(0, |quarters, hours| quarters | hours);
            }
            _ if name == kind.key => {
                draft.value = self.decimal(name, value, kind.scale, kind.bounds.0, kind.bounds.1);
            }
            _ => {
                let problem = format!("unknown key; known are name, months, dates, weekdays, hours, {}", kind.key);
                self.fault(key.span(), name, problem);
            }
        }
    }

    fn days(&mut self, key: &str, value: &Value<'_>, read: fn(&str) -> Result<Vec<usize>, String>) -> BTreeSet<usize> {
        self.each(key, value, read).into_iter().flatten().collect()
    }

    /// Every item that can be read.
    fn each<T>(&mut self, key: &str, value: &Value<'_>, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut all = Vec::new();
        for (at, item) in self.items(key, value) {
            match read(&item) {
                Ok(read) => all.push(read),
                Err(problem) => self.fault(at, key, format!("{item:?} {problem}")),
            }
        }
        all
    }

    /// Days that are priced as holidays: `2026-12-25`, or `12-25` for every year.
    pub(super) fn holidays(&mut self, key: &str, value: &Value<'_>) -> Holidays {
        let mut holidays = Holidays::default();
        for (at, item) in self.items(key, value) {
            match (item.parse::<Date>().ok().filter(|_| item.len() == 10), read_day(&item)) {
                (Some(date), _) => drop(holidays.once.insert(date)),
                (None, Some(day)) => drop(holidays.yearly.insert(day)),
                (None, None) => {
                    self.fault(at, key, format!("{item:?} is no date such as 2026-12-25, nor 12-25 for every year"));
                }
            }
        }
        holidays
    }
}

/// `jun`, `6`, `jun-sep`, `nov-mar`: the days of these months.
fn read_months(item: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| text.parse::<usize>().ok().and_then(|n| MONTHS.get(n.checked_sub(1)?)).copied();
    let named: Vec<&str> = item.split('-').map(|text| number(text.trim()).unwrap_or(text.trim())).collect();
    let months = places(&named.join("-"), &MONTHS);
    let months = months.ok_or("is no month such as jun or 6, nor a span such as jun-sep")?;
    Ok(months.into_iter().flat_map(|month| month_days(month + 1)).collect())
}

/// `sat`, `mon-fri`, `holiday`.
fn read_weekdays(item: &str) -> Result<Vec<usize>, String> {
    let (days, holiday) = KINDS.split_at(7);
    if let Some(place) = holiday.iter().position(|word| *word == item) {
        return Ok(vec![days.len() + place]);
    }
    places(item, days).ok_or_else(|| format!("is none of {}, nor a span such as mon-fri", KINDS.join(", ")))
}

/// `06-15..09-15`, both included; over the turn of the year as well.
fn read_dates(item: &str) -> Result<Vec<usize>, String> {
    let (first, last) = item.split_once("..").unwrap_or((item, item));
    let edges = read_day(first.trim()).zip(read_day(last.trim()));
    let (first, last) = edges.ok_or("is no day such as 06-15, nor a span such as 06-15..09-15")?;
    Ok(if first <= last { (first..=last).collect() } else { (first..DAYS).chain(0..=last).collect() })
}

/// `06-15` of any year.
fn read_day(text: &str) -> Option<usize> {
    let (month, day) = text.split_once('-')?;
    if month.len() != 2 || day.len() != 2 {
        return None;
    }
    // 2024 is a leap year.
    Date::new(2024, month.parse().ok()?, day.parse().ok()?).ok().map(day_of_year)
}

/// `07:00-23:00`, `22-6`: quarters of the same day; a span over midnight is its two ends.
fn read_hours(item: &str) -> Result<u128, String> {
    let (from, until) = item.split_once('-').ok_or("is no span such as 07:00-23:00")?;
    let edges = read_clock(from.trim()).zip(read_clock(until.trim()));
    let (from, until) = edges.ok_or("is no span such as 07:00-23:00, on quarters of an hour from 00:00 to 24:00")?;
    let before = |quarter: usize| (1_u128 << quarter) - 1;
    match from.cmp(&until) {
        std::cmp::Ordering::Less => Ok(before(until) & !before(from)),
        std::cmp::Ordering::Greater => Ok((before(QUARTERS) & !before(from)) | before(until)),
        std::cmp::Ordering::Equal => Err("ends where it begins; leave hours out for the whole day".to_owned()),
    }
}

fn read_clock(text: &str) -> Option<usize> {
    let (hour, minute) = text.split_once(':').unwrap_or((text, "00"));
    let (hour, minute): (usize, usize) = (hour.parse().ok()?, minute.parse().ok()?);
    let quarter = hour * 4 + minute / 15;
    (minute < 60 && minute % 15 == 0 && quarter <= QUARTERS).then_some(quarter)
}

/// The places of a word or of a span of words in a list; a span may go over its end.
fn places(item: &str, words: &[&str]) -> Option<Vec<usize>> {
    let place = |text: &str| words.iter().position(|word| *word == text.trim());
    let Some((first, last)) = item.split_once('-') else { return Some(vec![place(item)?]) };
    let (first, last) = (place(first)?, place(last)?);
    Some(if first <= last { (first..=last).collect() } else { (first..words.len()).chain(0..=last).collect() })
}
