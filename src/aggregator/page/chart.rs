//! The page's two graphs as SVG paths: a line of power, bars of days. Drawn here, so that the page
//! needs no script; scaled by the browser, with labels beside them as text.

use std::fmt::Write as _;

/// Width of the drawing in its own units.
pub const WIDTH: f64 = 600.0;
/// Height of the drawing in its own units.
pub const HEIGHT: f64 = 160.0;
/// Most points of a line: more than the pixels of a small screen only cost bytes.
const POINTS_MAX: usize = 300;

/// A line with the area under it; parts without figures are left open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineChart {
    /// The line.
    pub line: String,
    /// The area below it.
    pub area: String,
}

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Left edge.
    pub x: String,
    /// Upper edge.
    pub y: String,
    /// Width.
    pub width: String,
    /// Height.
    pub height: String,
    /// What it says when pointed at.
    pub title: String,
}

/// The line through `values` (evenly spaced), with `top` at the upper edge.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "pixels")]
pub fn line(values: &[Option<f64>], top: f64) -> LineChart {
    let values = thinned(values);
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let mut chart = LineChart::default();
    let mut run: Vec<(f64, f64)> = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if let Some(value) = value {
            run.push((index as f64 * step, height_of(*value, top)));
        }
        if value.is_none() || index + 1 == values.len() {
            chart.add(&run, step);
            run.clear();
        }
    }
    chart
}

/// The bars of `values` with their titles, with `top` at the upper edge.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "pixels")]
pub fn bars(values: &[(f64, String)], top: f64) -> Vec<Bar> {
    let step = WIDTH / values.len().max(1) as f64;
    let bar = |(index, (value, title)): (usize, &(f64, String))| {
        let y = height_of(*value, top);
        Bar {
            x: format!("{:.1}", (index as f64 + 0.12) * step),
            y: format!("{y:.1}"),
            width: format!("{:.1}", 0.76 * step),
            height: format!("{:.1}", HEIGHT - y),
            title: title.clone(),
        }
    };
    values.iter().enumerate().map(bar).collect()
}

/// The round number at or above the largest value: 1, 2, 2.5 or 5 times a power of ten.
#[must_use]
pub fn round_top(largest: f64) -> f64 {
    if largest <= 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(largest.log10().floor());
    let factor = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0].into_iter().find(|factor| factor * power >= largest);
    factor.unwrap_or(10.0) * power
}

impl LineChart {
    fn add(&mut self, run: &[(f64, f64)], step: f64) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        // A lone figure would be a line without length: it gets half a step to each side.
        let lone = [(first.0 - step / 2.0, first.1), (first.0 + step / 2.0, first.1)];
        let run = if run.len() == 1 { &lone[..] } else { run };
        let (left, right) = (run[0].0, run[run.len() - 1].0.max(last.0));
        for (index, (x, y)) in run.iter().enumerate() {
            let _ = write!(self.line, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
        }
        let _ = write!(self.area, "M{left:.1} {HEIGHT:.0}");
        for (x, y) in run {
            let _ = write!(self.area, "L{x:.1} {y:.1}");
        }
        let _ = write!(self.area, "L{right:.1} {HEIGHT:.0}Z");
    }
}

fn height_of(value: f64, top: f64) -> f64 {
    HEIGHT * (1.0 - (value / top).clamp(0.0, 1.0))
}

/// At most [`POINTS_MAX`] values, each the mean of those it stands for.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn thinned(values: &[Option<f64>]) -> Vec<Option<f64>> {
    let many = values.len().div_ceil(POINTS_MAX).max(1);
    let mean = |chunk: &[Option<f64>]| {
        let known: Vec<f64> = chunk.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    values.chunks(many).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_runs_from_edge_to_edge_and_leaves_gaps_open() {
        let chart = line(&[Some(0.0), Some(10.0), None, Some(5.0), Some(5.0)], 10.0);
        assert_eq!(chart.line, "M0.0 160.0L150.0 0.0M450.0 80.0L600.0 80.0");
        assert_eq!(chart.area.matches('Z').count(), 2);
        assert_eq!(line(&[], 1.0), LineChart::default());
    }

    #[test]
    fn bars_stand_on_the_base_line() {
        let bars = bars(&[(1.0, "a".into()), (4.0, "b".into())], 4.0);
        assert_eq!((bars[0].y.as_str(), bars[0].height.as_str()), ("120.0", "40.0"));
        assert_eq!((bars[1].y.as_str(), bars[1].height.as_str()), ("0.0", "160.0"));
    }

    #[test]
    fn tops_are_round_and_never_below_the_largest() {
        for (largest, top) in [(0.0, 1.0), (0.93, 1.0), (1.2, 1.5), (430.0, 500.0), (1000.0, 1000.0), (87.0, 100.0)] {
            assert!((round_top(largest) - top).abs() < 1e-9, "{largest}: {}", round_top(largest));
        }
    }

    #[test]
    fn a_week_of_minutes_is_thinned() {
        let week = vec![Some(1.0); 10_080];
        assert!(line(&week, 1.0).line.matches('L').count() < POINTS_MAX);
    }
}
