//! The rules that are a choice: how far neighbouring readings are joined, what is estimated, what is
//! believed, how much room there is.

use meter::{Microjoules, Milliwatts, Scope};

/// What is booked for a hole between two power readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// The straight line between its two ends.
    Linear,
    /// The power at its beginning.
    HoldLast,
    /// Nothing.
    None,
}

/// The ledger's rules and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is booked, as estimated, for a hole.
    pub estimate: Estimate,
    /// The longest hole that is estimated, in nanoseconds.
    pub estimate_max_ns: u64,
    /// Neighbouring power readings are joined over up to this many periods…
    pub join_periods: u64,
    /// …but at least over this long, in nanoseconds…
    pub join_min_ns: u64,
    /// …and at most over this long.
    pub join_max_ns: u64,
    /// The most a device of each scope can draw, by [`Scope`] order; its own declared limit × 1.5 wins.
    pub ceilings: [Milliwatts; Scope::ALL.len()],
    /// How far a reading may be dated ahead of the ledger's clock, in nanoseconds.
    pub skew_ns: u64,
    /// How old a reading may be that is not marked as an import, in nanoseconds.
    pub live_age_max_ns: u64,
    /// Most accounts of one owner.
    pub owner_accounts: usize,
    /// Most accounts in all.
    pub accounts: usize,
    /// Most streams remembered per owner; beyond it the longest silent is forgotten.
    pub streams: usize,
    /// Most holes kept open per account; beyond it the shortest becomes final.
    pub holes: usize,
    /// Most contexts remembered per owner; beyond it the least recently used is forgotten.
    pub contexts: usize,
}

/// No device draws a gigawatt, whatever it declares; the arithmetic of an hour at 1 GW fits 128 bits.
pub const CEILING_MAX: Milliwatts = Milliwatts(1_000_000_000_000);

const SECOND: u64 = 1_000_000_000;
const KILOWATT: u64 = 1_000_000;

impl Default for Policy {
    fn default() -> Self {
        Self {
            estimate: Estimate::Linear,
            // One slot: an estimate never spreads over more than two tariffs.
            estimate_max_ns: 900 * SECOND,
            // Two missed readings in a row are common on a busy BMC; three are an outage.
            join_periods: 3,
            join_min_ns: 10 * SECOND,
            join_max_ns: 3600 * SECOND,
            ceilings: [
                // A full rack of liquid-cooled GPUs draws 130 kW; 1 MW leaves room for a row.
                Milliwatts(1000 * KILOWATT),
                Milliwatts(2 * KILOWATT),
                Milliwatts(2 * KILOWATT),
                Milliwatts(3 * KILOWATT),
                // A wafer-scale engine draws 23 kW.
                Milliwatts(30 * KILOWATT),
                Milliwatts(20 * KILOWATT),
                Milliwatts(20 * KILOWATT),
                Milliwatts(1000 * KILOWATT),
                Milliwatts(1_000_000 * KILOWATT),
                Milliwatts(100 * KILOWATT),
            ],
            skew_ns: 600 * SECOND,
            live_age_max_ns: 35 * 86_400 * SECOND,
            owner_accounts: 512,
            accounts: 1_000_000,
            streams: 16,
            holes: 64,
            contexts: 16,
        }
    }
}

impl Policy {
    /// The longest interval over which neighbouring power readings of a source with this period are
    /// joined, in nanoseconds. It follows the source: a global 10 s would lose 85 % of a 60 s source.
    #[must_use]
    pub fn join_limit_ns(&self, period_ns: u64) -> u64 {
        period_ns.saturating_mul(self.join_periods).clamp(self.join_min_ns, self.join_max_ns)
    }

    /// The most such a device can draw: its declared limit × 1.5, else the ceiling of its scope.
    #[must_use]
    pub fn ceiling(&self, scope: Scope, limit: Milliwatts) -> Milliwatts {
        match limit {
            Milliwatts(0) => self.ceilings[scope as usize],
            Milliwatts(limit) => Milliwatts(limit.saturating_mul(3) / 2).min(CEILING_MAX),
        }
    }
}

impl Policy {
    /// The integrator's rules for a device.
    #[must_use]
    pub fn rules(&self, scope: Scope, period_ns: u64, limit: Milliwatts, modulus: Option<Microjoules>) -> Rules {
        Rules {
            period_ns,
            join_limit_ns: self.join_limit_ns(period_ns),
            ceiling: self.ceiling(scope, limit),
            modulus: modulus.map(|modulus| modulus.0),
        }
    }
}

/// A device as the integrator needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Its period in nanoseconds; zero if unknown.
    pub period_ns: u64,
    /// The longest interval over which its power is joined.
    pub join_limit_ns: u64,
    /// The most it can draw.
    pub ceiling: Milliwatts,
    /// Where its counter wraps, in microjoules.
    pub modulus: Option<u64>,
}
