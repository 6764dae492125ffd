//! From what accounts showed to what is billed: seconds that the meter missed are completed.

use meter::{ByQuality, Doubt, Energy, Method, Methods, Quality};

use super::meters::{JOIN_NS, Seen};
use super::ratio::Ratio;
use super::share::Share;
use super::{Billed, BilledLine, Survey, is_clearly_below};

/// What is known of seconds that the meter of a slot missed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missed {
    /// What the meter usually shows over the components.
    pub ratio: Ratio,
    /// Time at the end of the slot that the meter may still tell of, in nanoseconds: nothing is estimated for it.
    pub pending_ns: u64,
    /// Whether a slot without any of its readings is one that it missed.
    pub expects_meter: bool,
}

impl Billed {
    /// Says what is billed, after [`Boundary::survey`](super::Boundary::survey).
    pub fn settle(&mut self, missed: &Missed) {
        (self.methods, self.ratio_ns, self.metered) = (Methods::NONE, 0, true);
        let survey = self.survey;
        match survey.meter {
            Some(meter) => self.settle_meter(&survey, &meter, missed),
            None if missed.expects_meter && survey.components_ns > 0 => {
                let all = missed.ratio.of(survey.components.total());
                self.complete(survey.components_ns);
                self.covered_ns = 0;
                self.add_rest(&survey, ByQuality::of(Quality::Estimated, all));
            }
            None => {
                (self.covered_ns, self.metered) = (survey.components_ns, false);
                if !self.lines.is_empty() {
                    self.methods.insert(Method::ComponentSum);
                }
            }
        }
    }

    fn settle_meter(&mut self, survey: &Survey, meter: &Seen, missed: &Missed) {
        let mut energy = meter.energy;
        let missed_ns = survey.components_ns.saturating_sub(meter.covered_ns).saturating_sub(missed.pending_ns);
        if missed_ns > JOIN_NS {
            let seen = Share { part: missed_ns, whole: survey.components_ns };
            energy[Quality::Estimated] =
                meter.line_beyond(missed_ns, survey.length_ns) + missed.ratio.of(seen.of(survey.components.measured()));
            self.complete(missed_ns);
        }
        self.covered_ns = meter.covered_ns;
        self.methods.insert(Method::Meter);
        if survey.is_complete() && is_clearly_below(energy.total(), survey.components.total()) {
            self.doubts.insert(Doubt::MeterBelowComponents);
        }
        self.add_rest(survey, energy);
    }

    fn complete(&mut self, ns: u64) {
        self.ratio_ns = ns;
        self.methods.insert(Method::ComponentRatio);
    }

    /// The line of what no component explains.
    fn add_rest(&mut self, survey: &Survey, mut meter: ByQuality) {
        meter -= survey.components;
        self.lines.push(BilledLine { account: None, energy: meter, covered_ns: self.covered_ns });
    }
}

impl Seen {
    /// What is left of the line that was drawn over the meter's holes: components tell more than a line, and
    /// where they cover a hole it is left out. How long the holes were the slot does not say; at the meter's
    /// own mean power they took as long as their share of its energy.
    fn line_beyond(&self, missed_ns: u64, length_ns: u64) -> Energy {
        let line = self.energy[Quality::Estimated];
        let measured = self.energy.measured().microjoules();
        let uncovered = length_ns.saturating_sub(self.covered_ns);
        let hole = if self.covered_ns == 0 || measured <= 0 {
            uncovered
        } else {
            // In microjoules and microseconds, so that years of megawatts fit 128 bits.
            let us = (line.microjoules() * i128::from(self.covered_ns / 1000)).div_euclid(measured);
            u64::try_from(us).unwrap_or(u64::MAX).saturating_mul(1000).min(uncovered)
        };
        let left = hole.saturating_sub(missed_ns);
        if line.0 <= 0 { line } else { Share { part: left, whole: hole }.of(line) }
    }
}
