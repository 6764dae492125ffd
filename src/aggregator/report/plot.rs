//! A chart's geometry: axes, stacked bars, a line in its band. Everything is text in the end, so that
//! the template only writes it down.

use std::fmt::Write as _;

use crate::page::words;

/// Width of a chart in its own units, and of one that has a line of the page for itself.
pub const WIDTHS: [f64; 2] = [720.0, 1500.0];
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
/// A label below a chart has about so much room.
const LABEL: f64 = 105.0;
/// Colours there are; what comes after shares the last one.
pub const COLOURS: usize = 6;

/// A chart, ready to be written down.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    pub(super) width: f64,
    /// Whether it stands for a wide one where the page is narrow.
    pub(super) is_twin: bool,
    pub(super) title: String,
    /// What it shows, for those who do not see it.
    pub(super) says: String,
    pub(super) unit: String,
    pub(super) ticks: Vec<Tick>,
    pub(super) labels: Vec<Label>,
    pub(super) rects: Vec<Rect>,
    pub(super) band: String,
    pub(super) line: String,
    pub(super) zero: String,
    pub(super) legend: Vec<Key>,
}

/// A line across, and the figure it stands for.
#[derive(Clone, Debug)]
pub struct Tick {
    pub(super) y: String,
    pub(super) label: String,
}

/// A word below.
#[derive(Clone, Debug)]
pub struct Label {
    pub(super) x: String,
    pub(super) text: String,
    /// Whether it ends at `x` rather than stand around it: at the edge it would be cut off.
    pub(super) is_last: bool,
}

/// A piece of a bar.
#[derive(Clone, Debug)]
pub struct Rect {
    pub(super) x: String,
    pub(super) y: String,
    pub(super) width: String,
    pub(super) height: String,
    pub(super) colour: usize,
    pub(super) title: String,
}

/// What a colour stands for.
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) colour: usize,
    pub(super) name: String,
}

/// A bar: its label, and its pieces as colour, value and what they say when pointed at.
pub struct Bar {
    /// Below it.
    pub label: String,
    /// From the base line outward.
    pub pieces: Vec<(usize, f64, String)>,
}

/// The figures between which a chart runs.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Round figures around all values and zero.
    fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let step = round_step((high - low) / 4.0);
        let high = (high / step).ceil() * step;
        Self { low: (low / step).floor() * step, high: if high == 0.0 && low == 0.0 { step } else { high }, step }
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn ticks(&self) -> Vec<Tick> {
        let is_whole = |digits: &usize| {
            let scaled = self.step * 10_f64.powi(i32::try_from(*digits).unwrap_or(0));
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        };
        let digits = (0..=9).find(is_whole).unwrap_or(9);
        let count = ((self.high - self.low) / self.step).round() as usize;
        let tick = |number: usize| {
            let value = self.low + number as f64 * self.step;
            Tick { y: format!("{:.1}", self.y(value)), label: words::grouped(&format!("{:.digits$}", value + 0.0)) }
        };
        (0..=count).map(tick).collect()
    }
}

impl Plot {
    /// Stacked bars.
    #[must_use]
    pub fn bars(title: &str, unit: &str, width: f64, bars: &[Bar], names: &[String]) -> Self {
        let ends = bars.iter().flat_map(|bar| {
            let sum = |keep: fn(f64) -> bool| bar.pieces.iter().map(|piece| piece.1).filter(|v| keep(*v)).sum::<f64>();
            [sum(|value| value < 0.0), sum(|value| value > 0.0)]
        });
        let axis = Axis::around(ends);
        let step = (width - LEFT - RIGHT) / bars.len().max(1) as f64;
        let mut plot = Self::on(title, unit, width, axis);
        for (index, bar) in bars.iter().enumerate() {
            let (mut up, mut down) = (0.0, 0.0);
            for (colour, value, title) in bar.pieces.iter().filter(|piece| piece.1 != 0.0) {
                let base = if *value >= 0.0 { &mut up } else { &mut down };
                let (from, to) = (axis.y(*base), axis.y(*base + value));
                *base += value;
                plot.rects.push(Rect {
                    x: format!("{:.1}", LEFT + (index as f64 + 0.14) * step),
                    y: format!("{:.1}", from.min(to)),
                    width: format!("{:.1}", 0.72 * step),
                    height: format!("{:.2}", (from - to).abs()),
                    colour: *colour,
                    title: title.clone(),
                });
            }
        }
        let centres: Vec<(f64, &str)> = bars
            .iter()
            .enumerate()
            .map(|(index, bar)| (LEFT + (index as f64 + 0.5) * step, bar.label.as_str()))
            .collect();
        plot.label(&centres);
        plot.legend = names.iter().enumerate().map(|(colour, name)| Key { colour, name: name.clone() }).collect();
        plot
    }

    /// A line of means within the band of least and most; `None` leaves it open.
    #[must_use]
    pub fn line(title: &str, unit: &str, width: f64, points: &[(String, Option<[f64; 3]>)], has_band: bool) -> Self {
        let axis = Axis::around(points.iter().filter_map(|point| point.1).flatten());
        let step = (width - LEFT - RIGHT) / points.len().max(1) as f64;
        let x = |index: usize| LEFT + (index as f64 + 0.5) * step;
        let mut plot = Self::on(title, unit, width, axis);
        let is_known = |pair: &&[(usize, Option<[f64; 3]>)]| pair[0].1.is_some();
        let numbered: Vec<(usize, Option<[f64; 3]>)> = points.iter().map(|point| point.1).enumerate().collect();
        for run in numbered.chunk_by(|a, b| a.1.is_some() == b.1.is_some()).filter(is_known) {
            let known: Vec<(f64, [f64; 3])> = run.iter().filter_map(|(at, value)| Some((x(*at), (*value)?))).collect();
            for (number, (x, [_, mean, _])) in known.iter().enumerate() {
                let _ = write!(plot.line, "{}{x:.1} {:.1}", if number == 0 { 'M' } else { 'L' }, axis.y(*mean));
            }
            let base = |low: f64| if has_band { axis.y(low) } else { axis.y(0.0) };
            let upper = known.iter().map(|(x, [_, mean, most])| (x, axis.y(if has_band { *most } else { *mean })));
            let lower = known.iter().rev().map(|(x, [least, ..])| (x, base(*least)));
            for (number, (x, y)) in upper.chain(lower).enumerate() {
                let _ = write!(plot.band, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' });
            }
            plot.band.push('Z');
        }
        let centres: Vec<(f64, &str)> =
            points.iter().enumerate().map(|(index, point)| (x(index), point.0.as_str())).collect();
        plot.label(&centres);
        plot
    }

    fn on(title: &str, unit: &str, width: f64, axis: Axis) -> Self {
        let zero = format!("{:.1}", axis.y(0.0));
        Self { width, title: title.into(), unit: unit.into(), ticks: axis.ticks(), zero, ..Self::default() }
    }

    /// Where lines across end.
    pub(super) fn right(&self) -> f64 {
        self.width - RIGHT
    }

    /// Whether it has a line of the page for itself.
    pub(super) fn is_wide(&self) -> bool {
        self.width > WIDTHS[0]
    }

    /// As many labels as fit, of those that are not empty.
    fn label(&mut self, all: &[(f64, &str)]) {
        let all: Vec<&(f64, &str)> = all.iter().filter(|(_, text)| !text.is_empty()).collect();
        let every = all.len().div_ceil((self.width / LABEL) as usize).max(1);
        let edge = self.width - 0.45 * LABEL;
        let label = |(x, text): &(f64, &str)| Label {
            x: format!("{:.1}", if *x > edge { self.width - 1.0 } else { *x }),
            text: (*text).to_owned(),
            is_last: *x > edge,
        };
        self.labels = all.into_iter().step_by(every).map(label).collect();
    }
}

/// The round step at or above: 1, 2, 2.5 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(values: &[f64]) -> Bar {
        let pieces = values.iter().enumerate().map(|(colour, value)| (colour, *value, String::new())).collect();
        Bar { label: "a".into(), pieces }
    }

    #[test]
    fn axes_are_round_and_hold_every_value() {
        for (low, high) in [(0.0, 930.0), (-3.2, 17.0), (-5.0, 0.0), (0.0, 0.0), (0.0, 0.0031)] {
            let axis = Axis::around([low, high].into_iter());
            assert!(axis.low <= low && axis.high >= high && axis.high > axis.low, "{low} {high}");
            assert!((3..=7).contains(&axis.ticks().len()) || high == low, "{low} {high}: {}", axis.ticks().len());
        }
        let labels: Vec<String> = Axis::around([0.0, 0.9].into_iter()).ticks().into_iter().map(|t| t.label).collect();
        assert_eq!(labels, ["0.00", "0.25", "0.50", "0.75", "1.00"]);
    }

    #[test]
    fn what_is_negative_hangs_below_the_base_line() {
        let plot = Plot::bars("t", "EUR", WIDTHS[0], &[bar(&[3.0, 1.0]), bar(&[-2.0])], &[]);
        let zero: f64 = plot.zero.parse().expect("a number");
        let y = |index: usize| plot.rects[index].y.parse::<f64>().expect("a number");
        let height = |index: usize| plot.rects[index].height.parse::<f64>().expect("a number");
        assert!((y(0) + height(0) - zero).abs() < 0.2, "the first stands on it");
        assert!((y(1) + height(1) - y(0)).abs() < 0.2, "the second on the first");
        assert!((y(2) - zero).abs() < 0.2, "the third hangs");
        assert!((height(0) / height(2) - 1.5).abs() < 0.01);
    }

    #[test]
    fn a_line_is_open_where_nothing_is_known() {
        let point = |value: Option<f64>| (String::new(), value.map(|v| [v, v, v]));
        let points: Vec<_> = [Some(1.0), Some(2.0), None, Some(1.0)].map(point).into();
        let plot = Plot::line("t", "kW", WIDTHS[0], &points, true);
        assert_eq!((plot.line.matches('M').count(), plot.band.matches('Z').count()), (2, 2));
    }
}
