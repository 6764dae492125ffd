//! URDB's tables of months and hours as few rules.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// 12 months of 24 hours: the number of the period in each.
pub(super) type Table = Vec<Vec<usize>>;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Hours of months that belong to one period.
pub(super) struct Rule {
    pub(super) period: usize,
    /// From 0; all of them if there are twelve.
    months: Vec<usize>,
    /// Both kinds of days if it says none.
    weekdays: Option<&'static str>,
    /// First and end.
    hours: Vec<(usize, usize)>,
}

/// The rules of two tables; where both are empty, all hours are of the first period.
pub(super) fn rules(weekdays: &Table, weekends: &Table, periods: usize) -> Result<Vec<Rule>, String> {
    if weekdays.is_empty() && weekends.is_empty() {
        return Ok(vec![Rule { period: 0, months: (0..12).collect(), weekdays: None, hours: vec![(0, 24)] }]);
    }
    for (name, table) in [("energyweekdayschedule", weekdays), ("energyweekendschedule", weekends)] {
        if table.len() != 12 || table.iter().any(|hours| hours.len() != 24) {
            return Err(format!("its {name} is no table of 12 months × 24 hours"));
        }
        if let Some(period) = table.iter().flatten().find(|&&period| period >= periods) {
            return Err(format!("its {name} names the period {period}, but there are only {periods}"));
        }
    }
    // Months with the same two days are one season.
    let mut seasons: BTreeMap<(&[usize], &[usize]), Vec<usize>> = BTreeMap::new();
    for (month, days) in weekdays.iter().zip(weekends).enumerate() {
        seasons.entry((days.0, days.1)).or_default().push(month);
    }
    let mut all = Vec::new();
    for ((weekday, weekend), months) in seasons {
        let days = if weekday == weekend {
            vec![(None, weekday)]
        } else {
            vec![(Some("mon-fri"), weekday), (Some("sat-sun"), weekend)]
        };
        for (weekdays, day) in days {
            for (period, hours) in by_period(day) {
                all.push(Rule { period, months: months.clone(), weekdays, hours });
            }
        }
    }
    Ok(all)
}

fn by_period(day: &[usize]) -> BTreeMap<usize, Vec<(usize, usize)>> {
    let mut spans: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    let mut hour = 0;
    for run in day.chunk_by(|a, b| a == b) {
        spans.entry(run[0]).or_default().push((hour, hour + run.len()));
        hour += run.len();
    }
    spans
}

impl Rule {
    /// Writes what it holds for.
    pub(super) fn write(&self, toml: &mut String) {
        if self.months.len() < 12 {
            let mut spans = Vec::new();
            for run in self.months.chunk_by(|a, b| a + 1 == *b) {
                let (first, last) = (run[0], run[run.len() - 1]);
                spans.push(if first == last {
                    MONTHS[first].into()
                } else {
                    format!("{}-{}", MONTHS[first], MONTHS[last])
                });
            }
            let _ = writeln!(toml, "months = \"{}\"", spans.join(", "));
        }
        if let Some(weekdays) = self.weekdays {
            let _ = writeln!(toml, "weekdays = \"{weekdays}\"");
        }
        if self.hours != [(0, 24)] {
            let spans: Vec<String> = self.hours.iter().map(|(from, to)| format!("{from:02}:00-{to:02}:00")).collect();
            let _ = writeln!(toml, "hours = \"{}\"", spans.join(", "));
        }
    }
}
