//! Readings, the CSV they are replayed from, and what they add up to, worked out apart from the
//! product: integers, joined by the plain rule.

use std::fmt::Write as _;

/// A power reading: Unix milliseconds and milliwatts. Nothing: the source had no value.
pub(crate) type Point = (i64, Option<i64>);

/// Recorded readings of many accounts.
#[derive(Default)]
pub(crate) struct Readings {
    text: String,
}

impl Readings {
    /// Adds an account's readings.
    pub(crate) fn add(&mut self, host: &str, scope: &str, device: &str, points: &[Point]) -> &mut Self {
        for (ms, milliwatts) in points {
            let watts = milliwatts.map(watts).unwrap_or_default();
            writeln!(self.text, "{ms},{host},{scope},{device},{watts}").expect("a string");
        }
        self
    }

    /// The file's content.
    pub(crate) fn csv(&self) -> String {
        format!("ts_ms,host,scope,device,watts\n{}", self.text)
    }
}

/// Milliwatts as decimal watts.
pub(crate) fn watts(milliwatts: i64) -> String {
    let sign = if milliwatts < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", milliwatts.abs() / 1000, milliwatts.abs() % 1000)
}

/// What joining neighbouring valid readings no more than `longest_ms` apart gives: twice the energy in
/// microjoules (1 mW · 1 ms = 1 µJ, so this is a whole number), and the milliseconds joined.
pub(crate) fn joined(points: &[Point], longest_ms: i64) -> (i128, i64) {
    let valid: Vec<(i64, i64)> = points.iter().filter_map(|(ms, power)| Some((*ms, (*power)?))).collect();
    let pairs = valid.windows(2).filter(|pair| pair[1].0 - pair[0].0 <= longest_ms);
    pairs.fold((0, 0), |(energy, time), pair| {
        let step = pair[1].0 - pair[0].0;
        (energy + i128::from(pair[0].1 + pair[1].1) * i128::from(step), time + step)
    })
}
