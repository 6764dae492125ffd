//! A host's power divided among its components: areas upon each other, the largest below, and on top what the
//! outermost meter saw and no component explains.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cost::selector::UNATTRIBUTED;
use cost::{Answer, Row};
use meter::Utc;

use super::chart::{self, HEIGHT, WIDTH};
use super::graph::{Axis, Course, covered, joined};
use super::words;
use crate::answers::ViewAnswer;
use crate::asked::Range;
use crate::query::Zone;

/// Colours there are for components; the last is for what is unattributed.
const COLOURS: usize = 6;

/// The areas.
pub(super) struct Stack {
    pub(super) layers: Vec<Layer>,
    pub(super) axis: Axis,
    pub(super) says: String,
}

/// One component.
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) colour: usize,
    pub(super) area: String,
    pub(super) mean: String,
}

/// Areas of an answer by scope in steps.
pub(super) fn of(answer: &ViewAnswer, range: Range, zone: &Zone, now: Utc) -> Option<Stack> {
    let load = &answer.load;
    let is_known = |rows: &[Row]| rows.iter().any(|row| covered(row).is_some());
    let steps: Vec<&[Row]> = load.rows.chunk_by(|a, b| a.start == b.start).skip_while(|rows| !is_known(rows)).collect();
    let mut below = vec![0.0; steps.len()];
    let mut layers: Vec<(&str, Course, Vec<f64>)> = Vec::new();
    for scope in scopes(load) {
        let joules =
            |rows: &[Row]| rows.iter().find(|row| row.value("scope") == scope).map_or(0.0, |row| row.energy_joules);
        let known = steps.iter().filter(|rows| is_known(rows)).map(|rows| (rows[0].start, joules(rows)));
        let known: BTreeMap<Utc, f64> = known.collect();
        let rows = steps.iter().map(|rows| &rows[0]);
        let course = Course::of(rows, (&answer.read, now), |row| known.get(&row.start).copied())?;
        let base = below.clone();
        for (sum, value) in below.iter_mut().zip(&course.values) {
            *sum += value.unwrap_or(0.0).max(0.0);
        }
        layers.push((scope, course, base));
    }
    let top = chart::round_top(below.iter().copied().fold(0.0, f64::max));
    let axis = Axis::of_power(top, &layers.first()?.1, range, &zone.tz);
    let shown = layers.iter().enumerate().map(|(number, (scope, course, base))| Layer {
        name: (*scope).to_owned(),
        colour: if *scope == UNATTRIBUTED { COLOURS - 1 } else { number.min(COLOURS - 2) },
        area: area(&course.values, base, top),
        mean: mean(&course.values),
    });
    Some(Stack { layers: shown.collect(), axis, says: "mean power by component".to_owned() })
}

/// The components that used anything, the largest first; what none explains comes last.
fn scopes(load: &Answer) -> Vec<&str> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for row in &load.rows {
        *sums.entry(row.value("scope")).or_default() += row.energy_joules;
    }
    let mut scopes: Vec<(&str, f64)> = sums.into_iter().filter(|(_, joules)| *joules > 0.0).collect();
    scopes.sort_by(|a, b| (a.0 == UNATTRIBUTED).cmp(&(b.0 == UNATTRIBUTED)).then_with(|| b.1.total_cmp(&a.1)));
    scopes.into_iter().map(|(scope, _)| scope).collect()
}

fn mean(values: &[Option<f64>]) -> String {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    joined(&words::power(known.iter().sum::<f64>() / known.len().max(1) as f64))
}

/// The area between `base` and `base` plus `values`; open where nothing is known.
fn area(values: &[Option<f64>], base: &[f64], top: f64) -> String {
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let y = |value: f64| HEIGHT * (1.0 - (value / top).clamp(0.0, 1.0));
    let mut path = String::new();
    let numbered: Vec<(usize, Option<f64>)> = values.iter().copied().enumerate().collect();
    for run in numbered.chunk_by(|a, b| a.1.is_some() == b.1.is_some()).filter(|run| run[0].1.is_some()) {
        let upper = run.iter().map(|(at, value)| (*at, base[*at] + value.unwrap_or(0.0).max(0.0)));
        let lower = run.iter().rev().map(|(at, _)| (*at, base[*at]));
        for (number, (at, value)) in upper.chain(lower).enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if number == 0 { 'M' } else { 'L' }, at as f64 * step, y(value));
        }
        path.push('Z');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_lie_upon_each_other_and_leave_gaps_open() {
        let path = area(&[Some(5.0), Some(10.0), None, Some(0.0)], &[0.0, 10.0, 0.0, 20.0], 20.0);
        assert_eq!(path, "M0.0 120.0L200.0 0.0L200.0 80.0L0.0 160.0ZM600.0 0.0L600.0 0.0Z");
    }
}
