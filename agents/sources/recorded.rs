//! A real GPU, recorded: what NVML told of an NVIDIA H200 twenty times a second while it idled, worked
//! steadily, and worked in bursts of 5 s to 50 ms. For the demonstration, which plays it in a loop, and for
//! tests. `docs/ACCURACY.md` says how it was recorded and what it shows.

use std::io::Read;

use flate2::read::GzDecoder;
use meter::{AccountKey, DeviceDecl, Microjoules, Milliwatts, Sample, Scope, Utc};
use rust_decimal::Decimal;

/// The recording: CSV as `wattledger-agent replay` reads it.
static H200: &[u8] = include_bytes!("../recordings/h200.csv.gz");

/// The board's highest power limit, as `nvidia-smi -q -d POWER` gave it.
const LIMIT: Milliwatts = Milliwatts(700_000);

/// Why the recording cannot be used; never in a program that was built from intact sources.
#[derive(Debug, thiserror::Error)]
#[error("the built-in recording is damaged: {0}")]
pub struct RecordingError(String);

/// The recording, to be played from any instant on, again and again.
#[derive(Clone, Debug)]
pub struct RecordedGpu {
    points: Vec<Point>,
    key: AccountKey,
}

/// One look at the board.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Since the first look.
    ms: u64,
    average: Milliwatts,
    /// Since the first look.
    energy_uj: u64,
}

impl RecordedGpu {
    /// The H200, under the device name `GPU-recorded-h200`.
    ///
    /// # Errors
    /// [`RecordingError`] if the file in the program is damaged.
    pub fn h200() -> Result<Self, RecordingError> {
        let damaged = |error: &dyn std::fmt::Display| RecordingError(error.to_string());
        let mut text = String::new();
        GzDecoder::new(H200).read_to_string(&mut text).map_err(|error| damaged(&error))?;
        let mut looks = Vec::new();
        for line in text.lines().skip(1) {
            looks.push(look(line).ok_or_else(|| damaged(&line))?);
        }
        let first = *looks.first().ok_or_else(|| damaged(&"it is empty"))?;
        let since = |point: &Point| Point {
            ms: point.ms - first.ms,
            energy_uj: point.energy_uj - first.energy_uj,
            average: point.average,
        };
        let points = looks.iter().map(since).collect();
        let key = AccountKey::new(Scope::Gpu, "GPU-recorded-h200").map_err(|error| damaged(&error))?;
        Ok(Self { points, key })
    }

    /// How long it is, in milliseconds.
    #[must_use]
    pub fn length_ms(&self) -> u64 {
        self.points.last().map_or(1, |point| point.ms.max(1))
    }

    /// The energy that the board's counter counted from the first look to the last.
    #[must_use]
    pub fn energy(&self) -> Microjoules {
        Microjoules(self.points.last().map_or(0, |point| point.energy_uj))
    }

    /// The device, read every `period_ns` nanoseconds.
    #[must_use]
    pub fn device(&self, period_ns: u64) -> DeviceDecl {
        let epoch = meter::hash::epoch("recorded/h200");
        DeviceDecl { key: self.key.clone(), period_ns, limit: LIMIT, modulus: None, epoch }
    }

    /// What the board gives at an instant, if the recording began at the Unix epoch and never ended.
    #[must_use]
    pub fn sample(&self, device: u16, at: Utc) -> Sample {
        let ms = u64::try_from(at.0).unwrap_or(0) / 1_000_000;
        let (round, offset) = (ms / self.length_ms(), ms % self.length_ms());
        let last = self.points.partition_point(|point| point.ms <= offset).saturating_sub(1);
        let counter = round.saturating_mul(self.energy().0).saturating_add(self.points[last].energy_uj);
        Sample {
            device,
            power: Some(self.points[last].average),
            counter: Some(Microjoules(counter)),
            ..Sample::default()
        }
    }
}

/// A row `ts_ms,host,scope,device,period_ms,watts,instant_watts,joules,epoch,phase`.
fn look(line: &str) -> Option<Point> {
    let mut cells = line.split(',');
    let ms = cells.next()?.parse().ok()?;
    let (average, joules) = (cells.nth(4)?, cells.nth(1)?);
    Some(Point { ms, average: Milliwatts(scaled(average, 3)?), energy_uj: scaled(joules, 6)? })
}

/// Decimal text times a power of ten, if that is a whole number.
fn scaled(text: &str, digits: u32) -> Option<u64> {
    let value = text.parse::<Decimal>().ok()?.checked_mul(Decimal::from(10_u64.pow(digits)))?;
    value.fract().is_zero().then(|| value.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn the_recording_is_the_one_that_was_made() {
        // First and last row, read with zcat: 2427.414 J and 108072.168 J, 270.551 s apart.
        let gpu = RecordedGpu::h200().expect("an intact recording");
        assert_eq!(gpu.points.len(), 5412);
        assert_eq!(gpu.energy(), Microjoules(105_644_754_000));
        assert_eq!(gpu.length_ms(), 270_551);
    }

    #[test]
    fn played_in_a_loop_its_counter_never_falls_and_every_round_holds_the_same_energy() {
        let gpu = RecordedGpu::h200().expect("an intact recording");
        let counter = |at| gpu.sample(0, Utc(at)).counter.expect("a counter").0;
        let round = i64::try_from(gpu.length_ms()).expect("minutes") * MS;
        for from in [0, 7 * round + 12_345 * MS] {
            assert_eq!(counter(from + round) - counter(from), gpu.energy().0);
            let steps: Vec<u64> = (0..5412).map(|n| counter(from + n * 50 * MS)).collect();
            assert!(steps.is_sorted(), "the counter fell");
        }
        let power = gpu.sample(0, Utc(80_000 * MS)).power.expect("power").0;
        assert!((650_000..720_000).contains(&power), "steady load at 80 s: {power} mW");
    }
}
