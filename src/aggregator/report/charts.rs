//! The report's charts: cost by day, and the load.

use std::collections::HashMap;
use std::ops::Range;

use cost::{Answer, Currency, Row};
use meter::Utc;
use rust_decimal::prelude::ToPrimitive;

use super::Report;
use super::plot::{Bar, COLOURS, Plot, WIDTHS};
use super::when::Zone;
use crate::load::mean_watts;
use crate::page::words;

/// Most currencies with a chart of their own.
const CURRENCIES_MAX: usize = 3;
/// A load over time up to this many points; a profile by hour of the day beyond.
const POINTS_MAX: usize = 200;

/// What is drawn along the days.
#[derive(Clone, Copy)]
enum Measure {
    Cost(Currency),
    Energy,
}

impl Measure {
    fn of(self, row: &Row) -> f64 {
        match self {
            Self::Cost(currency) => row.cost_in(currency).and_then(|cost| cost.amount.to_f64()).unwrap_or(0.0),
            Self::Energy => row.energy_kwh,
        }
    }

    fn told(self, row: &Row) -> String {
        match self {
            Self::Cost(currency) => {
                let amount = row.cost_in(currency).map_or_else(String::new, |cost| cost.amount.to_string());
                format!("{} {currency}", words::grouped(&amount))
            }
            Self::Energy => {
                let energy = words::energy(row.energy_kwh);
                format!("{} {}", energy.number, energy.unit)
            }
        }
    }
}

/// Every chart of a report; two stand side by side, an odd one by itself, with a twin for narrow screens.
pub(super) fn plots(report: &Report, zone: &Zone) -> Vec<Plot> {
    let points = |load: &Answer| load.rows.iter().filter(|row| kilowatts(row, &report.read).is_some()).count();
    let load = report.load.as_ref().filter(|load| points(load) > 1);
    let mut plots = Vec::new();
    if let Some(days) = report.days.as_ref().filter(|days| days.rows.chunk_by(|a, b| a.start == b.start).count() > 1) {
        let costs: Vec<Measure> = days.currencies().take(CURRENCIES_MAX).map(Measure::Cost).collect();
        let measures = if costs.is_empty() { vec![Measure::Energy] } else { costs };
        let is_odd = measures.len() % 2 == 1 && load.is_none();
        for (number, measure) in measures.iter().enumerate() {
            let is_alone = is_odd && number + 1 == measures.len();
            plots.extend(fitting(is_alone, |width| days_plot(days, &report.key, *measure, zone, width)));
        }
    }
    let is_alone = plots.iter().filter(|plot| !plot.is_twin && !plot.is_wide()).count() % 2 == 0;
    plots.extend(
        load.into_iter().flat_map(|load| fitting(is_alone, |width| load_plot(load, &report.read, zone, width))),
    );
    plots
}

/// A chart, and if it has a line of the page for itself also one that fits where the page is narrow.
fn fitting(is_alone: bool, draw: impl Fn(f64) -> Plot) -> impl Iterator<Item = Plot> {
    let narrow = draw(WIDTHS[0]);
    let wide = is_alone.then(|| draw(WIDTHS[1]));
    let is_twin = wide.is_some();
    wide.into_iter().chain([Plot { is_twin, ..narrow }])
}

/// Bars by day, stacked by the largest groups and the rest.
fn days_plot(days: &Answer, key: &str, measure: Measure, zone: &Zone, width: f64) -> Plot {
    let is_monthly = days.step.as_deref() == Some("1mo");
    let format = if is_monthly { "%b %Y" } else { "%e %b" };
    let groups = largest(days, key);
    let colour =
        |row: &Row| groups.iter().position(|name| name == row.value(key)).unwrap_or(groups.len()).min(COLOURS - 1);
    let mut bars: Vec<Bar> = Vec::new();
    for rows in days.rows.chunk_by(|a, b| a.start == b.start) {
        let label = zone.text(rows[0].start, format);
        let mut pieces: Vec<(usize, f64, String)> = rows
            .iter()
            .map(|row| {
                let title = format!("{label}, {}: {}", shown(row.value(key)), measure.told(row));
                (colour(row), measure.of(row), title)
            })
            .collect();
        pieces.sort_by_key(|piece| piece.0);
        bars.push(Bar { label, pieces });
    }
    let has_rest = groups.len() == COLOURS - 1 && days.rows.iter().any(|row| colour(row) == groups.len());
    let mut names: Vec<String> = groups.iter().map(|name| shown(name).to_owned()).collect();
    names.extend(has_rest.then(|| "others".to_owned()));
    let step = if is_monthly { "month" } else { "day" };
    let (title, unit) = match measure {
        Measure::Cost(currency) => (format!("Cost by {step}"), currency.to_string()),
        Measure::Energy => (format!("Energy by {step}"), "kWh".to_owned()),
    };
    let mut plot = Plot::bars(&title, &unit, width, &bars, &names);
    plot.says = bars_in_words(&title, &unit, &bars);
    plot
}

/// The groups with the most energy, at most as many as there are colours less one for the rest. The same
/// for every currency, so that a colour means the same in each chart.
fn largest(days: &Answer, key: &str) -> Vec<String> {
    let mut sums: HashMap<&str, i128> = HashMap::new();
    for row in &days.rows {
        *sums.entry(row.value(key)).or_default() += row.energy_uj;
    }
    let mut sums: Vec<(&str, i128)> = sums.into_iter().filter(|(_, sum)| *sum != 0).collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let most = if sums.len() <= COLOURS { COLOURS } else { COLOURS - 1 };
    sums.into_iter().take(most).map(|(name, _)| name.to_owned()).collect()
}

fn bars_in_words(title: &str, unit: &str, bars: &[Bar]) -> String {
    let sum = |bar: &Bar| bar.pieces.iter().map(|piece| piece.1).sum::<f64>();
    let ends = bars.first().zip(bars.last()).map(|(a, b)| format!("from {} to {}", a.label, b.label));
    let most = bars.iter().max_by(|a, b| sum(a).total_cmp(&sum(b)));
    let most = most.map(|bar| format!("; the most was {:.2} {unit} on {}", sum(bar), bar.label));
    format!("{title} in {unit}, {}{}.", ends.unwrap_or_default(), most.unwrap_or_default())
}

/// The mean power of a row, where it is known: over what was read of it.
fn kilowatts(row: &Row, read: &Range<Utc>) -> Option<f64> {
    let watts = mean_watts(row, read)?;
    (row.quality.covered_seconds > 0.0).then(|| watts / 1e3)
}

/// The load over time, or by the hour of the day where that would be too long.
fn load_plot(load: &Answer, read: &Range<Utc>, zone: &Zone, width: f64) -> Plot {
    if load.rows.len() <= POINTS_MAX {
        let days = load.window.end.since(load.window.start) / (86_400 * meter::SECOND_NS.unsigned_abs());
        let point = |row: &Row| (moment(row.start, zone, days), kilowatts(row, read).map(|kw| [kw, kw, kw]));
        let points: Vec<_> = load.rows.iter().map(point).collect();
        let mut plot = Plot::line("Load", "kW", width, &points, false);
        plot.says = "Mean power of all that is selected, over time.".into();
        return plot;
    }
    let mut hours: Vec<Vec<f64>> = vec![Vec::new(); 24];
    for row in &load.rows {
        let hour = usize::try_from(zone.local(row.start).hour()).unwrap_or(0);
        hours[hour].extend(kilowatts(row, read));
    }
    let point = |(hour, values): (usize, &Vec<f64>)| {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        (format!("{hour:02}:00"), (!values.is_empty()).then_some([least, mean, most]))
    };
    let points: Vec<_> = hours.iter().enumerate().map(point).collect();
    let mut plot = Plot::line("Load by hour of the day", "kW", width, &points, true);
    plot.says = profile_in_words(&points);
    plot
}

/// What stands below a point of the load: over several days, each midnight; over two, every sixth hour as well.
fn moment(at: Utc, zone: &Zone, days: u64) -> String {
    let local = zone.local(at);
    match (days, local.hour(), local.minute()) {
        (0..=1, ..) => zone.text(at, "%H:%M"),
        (_, 0, 0) => zone.text(at, "%e %b"),
        (2, 6 | 12 | 18, 0) => zone.text(at, "%H:%M"),
        _ => String::new(),
    }
}

fn profile_in_words(points: &[(String, Option<[f64; 3]>)]) -> String {
    let mean = |point: &&(String, Option<[f64; 3]>)| point.1.map_or(0.0, |[_, mean, _]| mean);
    let most = points.iter().filter(|point| point.1.is_some()).max_by(|a, b| mean(a).total_cmp(&mean(b)));
    let most = most.map(|point| format!(" The highest mean is {:.2} kW, at {}.", mean(&point), point.0));
    format!(
        "The line is the mean power in each hour of the day, the band the least and the most of all days.{}",
        most.unwrap_or_default()
    )
}

/// A group's name; nothing is said to be nothing.
pub(super) fn shown(name: &str) -> &str {
    if name.is_empty() { "(none)" } else { name }
}
