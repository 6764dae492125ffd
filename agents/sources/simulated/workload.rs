//! A made-up machine's power as a pure function of seed and instant.
//!
//! A week is cut into blocks of ten minutes, each of one phase: idle, training (a square wave of four
//! seconds with a pause for the checkpoint) or inference (bursts of a second). Every week has the same
//! blocks, so the energy since the beginning has a closed form and a counter can be read at any instant
//! without having lived through the time before. Power is constant within a millisecond, so 1 mW · 1 ms
//! = 1 µJ and every sum is a whole number.

use meter::Utc;

/// Where the model's time begins: Monday, 1 January 2024, 00:00 UTC. Nothing was drawn before.
pub(super) const ORIGIN: Utc = Utc(1_704_067_200_000_000_000);

/// A block in milliseconds.
const BLOCK_MS: u64 = 600_000;
/// Blocks of a week.
const BLOCKS: usize = 7 * 24 * 6;
/// Blocks that a job keeps its phase: three hours.
const JOB: u64 = 18;
/// Training: the pause at the start of a block, and the square wave after it.
const CHECKPOINT_MS: u64 = 20_000;
const WAVE_MS: u64 = 4000;
const HIGH_MS: u64 = 3400;
/// Inference: how long a burst lasts and how many there are before they repeat.
const BURST_MS: u64 = 1000;
const BURSTS: usize = 60;

/// What a machine does in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Train,
    Inference,
}

/// The week of one machine, shared by its devices.
#[derive(Clone, Debug)]
pub(super) struct Week {
    phases: Vec<Phase>,
    /// How many blocks of each phase come before block n; one entry more than there are blocks.
    before: Vec<[u64; 3]>,
}

/// What one device draws in each phase, in mW.
#[derive(Clone, Debug)]
pub(super) struct Load {
    idle: u64,
    low: u64,
    high: u64,
    bursts: Vec<u64>,
}

impl Week {
    /// The week of machine `host`: busier on working days from 8 to 20 UTC.
    pub(super) fn new(seed: u64, host: u32) -> Self {
        let phase = |block: u64| {
            let (day, hour) = (block / 144, block % 144 / 6);
            let at_work = day < 5 && (8..20).contains(&hour);
            let dice = mix(&[seed, host.into(), block / JOB, 1]) % 100;
            match dice {
                _ if block.is_multiple_of(JOB) && mix(&[seed, host.into(), block, 2]).is_multiple_of(3) => Phase::Idle,
                0..10 => Phase::Idle,
                10..35 if !at_work => Phase::Idle,
                35..75 => Phase::Train,
                _ => Phase::Inference,
            }
        };
        let phases: Vec<Phase> = (0..BLOCKS as u64).map(phase).collect();
        let mut before = vec![[0; 3]];
        let mut counts = [0; 3];
        for &phase in &phases {
            counts[phase as usize] += 1;
            before.push(counts);
        }
        Self { phases, before }
    }

    /// The phase at an instant.
    pub(super) fn phase(&self, at: Utc) -> Phase {
        self.phases[(at.since(ORIGIN) / 1_000_000 / BLOCK_MS) as usize % BLOCKS]
    }
}

impl Load {
    /// Draws `idle` mW when idle, `low` and `high` in training, between `low` and `high` in bursts;
    /// up to 4 % more or less by the dice, as no two boards are alike.
    pub(super) fn new(seed: u64, host: u32, device: u64, [idle, low, high]: [u64; 3]) -> Self {
        let dice = |n: u64| mix(&[seed, host.into(), device, 3, n]);
        let permille = 960 + dice(0) % 81;
        let [idle, low, high] = [idle, low, high].map(|mw| mw * permille / 1000);
        let bursts = (1..=BURSTS as u64).map(|n| low + dice(n) % (high - low + 1)).collect();
        Self { idle, low, high, bursts }
    }

    /// The power at an instant, in mW; constant within a millisecond.
    pub(super) fn power(&self, week: &Week, at: Utc) -> u64 {
        let in_block = at.since(ORIGIN) / 1_000_000 % BLOCK_MS;
        match week.phase(at) {
            Phase::Idle => self.idle,
            Phase::Train if in_block < CHECKPOINT_MS => self.low,
            Phase::Train if (in_block - CHECKPOINT_MS) % WAVE_MS < HIGH_MS => self.high,
            Phase::Train => self.low,
            Phase::Inference => self.bursts[(in_block / BURST_MS) as usize % BURSTS],
        }
    }

    /// The energy from the origin to an instant, in pJ (mW · ns).
    pub(super) fn energy_pj(&self, week: &Week, at: Utc) -> u128 {
        let ns = at.since(ORIGIN);
        let (ms, rest_ns) = (ns / 1_000_000, ns % 1_000_000);
        let (blocks, in_block) = (ms / BLOCK_MS, ms % BLOCK_MS);
        let (weeks, block) = (blocks / BLOCKS as u64, (blocks % BLOCKS as u64) as usize);
        let whole_week = week.before[BLOCKS];
        let mut uj = u128::from(self.within(week.phases[block], in_block));
        for (n, phase) in [Phase::Idle, Phase::Train, Phase::Inference].into_iter().enumerate() {
            let times = weeks * whole_week[n] + week.before[block][n];
            uj += u128::from(times) * u128::from(self.within(phase, BLOCK_MS));
        }
        uj * 1_000_000 + u128::from(self.power(week, at)) * u128::from(rest_ns)
    }

    /// The energy of the first `ms` milliseconds of a block, in µJ.
    fn within(&self, phase: Phase, ms: u64) -> u64 {
        match phase {
            Phase::Idle => self.idle * ms,
            Phase::Train => {
                let wave = ms.saturating_sub(CHECKPOINT_MS);
                let high = wave / WAVE_MS * HIGH_MS + (wave % WAVE_MS).min(HIGH_MS);
                self.high * high + self.low * (ms - high)
            }
            Phase::Inference => {
                let bursts = (ms / BURST_MS) as usize;
                let sum = |n: usize| self.bursts[..n].iter().sum::<u64>() * BURST_MS;
                let rounds = (bursts / BURSTS) as u64 * sum(BURSTS);
                rounds + sum(bursts % BURSTS) + self.bursts[bursts % BURSTS] * (ms % BURST_MS)
            }
        }
    }
}

/// Numbers mixed to one that looks random and is always the same (SplitMix64).
pub(super) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_equals_the_slow_sum_of_the_power_over_every_millisecond() {
        let (week, load) = (Week::new(7, 3), Load::new(7, 3, 0, [75_000, 320_000, 690_000]));
        let mut phases = Vec::new();
        // Across a block border, each phase, and the border of a week.
        for start_ms in [599_000, 7 * 86_400_000 - 30_000, 86_400_000 + 12 * 3_600_000, 9 * 86_400_000 + 17, 40_000_000]
        {
            let at = |ms: u64| Utc(ORIGIN.0 + (start_ms + ms) as i64 * 1_000_000);
            let slow: u128 = (0..70_000).map(|ms| u128::from(load.power(&week, at(ms))) * 1_000_000).sum();
            assert_eq!(load.energy_pj(&week, at(70_000)) - load.energy_pj(&week, at(0)), slow, "{start_ms}");
            phases.extend([week.phase(at(0)), week.phase(at(69_999))]);
        }
        assert!([Phase::Idle, Phase::Train, Phase::Inference].iter().all(|phase| phases.contains(phase)), "{phases:?}");
    }

    #[test]
    fn a_whole_week_by_hand_equals_the_closed_form() {
        let (week, load) = (Week::new(1, 0), Load::new(1, 0, 5, [60_000, 150_000, 190_000]));
        // One reading per 100 ms lies on every edge of the curve.
        let at = |n: u64| Utc(ORIGIN.0 + n as i64 * 100_000_000);
        let slow: u128 = (0..6_048_000).map(|n| u128::from(load.power(&week, at(n))) * 100_000_000).sum();
        assert_eq!(load.energy_pj(&week, at(6_048_000)), slow);
        assert_eq!(load.energy_pj(&week, at(2 * 6_048_000)), 2 * slow, "every week is the same");
    }

    #[test]
    fn within_a_millisecond_the_counter_grows_by_power_times_time() {
        let (week, load) = (Week::new(2, 1), Load::new(2, 1, 0, [75_000, 320_000, 690_000]));
        let start = Utc(ORIGIN.0 + 123_456_000_000);
        let later = Utc(start.0 + 777_777);
        let grown = load.energy_pj(&week, later) - load.energy_pj(&week, start);
        assert_eq!(grown, u128::from(load.power(&week, start)) * 777_777);
    }

    #[test]
    fn machines_differ_and_a_seed_repeats_itself() {
        let phases = |seed, host| Week::new(seed, host).phases;
        assert_eq!(phases(1, 0), phases(1, 0));
        assert_ne!(phases(1, 0), phases(1, 1));
        assert_ne!(phases(1, 0), phases(2, 0));
        let busy = phases(1, 0).iter().filter(|phase| **phase != Phase::Idle).count();
        assert!((BLOCKS / 3..BLOCKS).contains(&busy), "{busy} of {BLOCKS} blocks are busy");
    }
}
