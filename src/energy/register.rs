//! What a run of readings of one device comes to: for agents that have to coalesce them.
//!
//! The same integrator as the ledger's, so that a coalesced run and its readings one by one give the
//! same energy, to the last half picojoule.

use meter::{ByQuality, Mutant, Quality, mutant};

use crate::Edge;
use crate::integrator::{Joint, elapsed_ns, join};
use crate::policy::Rules;

/// Readings of one device, each of which joined the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// The first reading.
    pub from: Edge,
    /// The last reading.
    pub to: Edge,
    /// Energy between them; never estimated.
    pub energy: ByQuality,
    /// How many readings there were.
    pub readings: u64,
}

impl Register {
    /// A run that begins with one reading.
    #[must_use]
    pub fn open(edge: Edge) -> Self {
        Self { from: edge, to: edge, energy: ByQuality::default(), readings: 1 }
    }

    /// Adds what follows: a reading, or a run of them. Whether it joined; if not, nothing changed and it
    /// begins a run of its own.
    pub fn extend(&mut self, next: &Self, rules: &Rules) -> bool {
        if next.from.at <= self.to.at {
            return false;
        }
        let is_single = next.from == next.to;
        if self.to.counter.is_some() && next.from.counter.is_none() {
            // Power between a counter's readings is shown, not booked: as in the ledger.
            let is_near = elapsed_ns(&self.to, &next.from) <= rules.join_limit_ns;
            self.readings += if is_single && is_near { next.readings } else { 0 };
            return is_single && is_near;
        }
        match join(&self.to, &next.from, rules) {
            Joint::Counter(energy) => self.energy[Quality::Counter] += energy,
            Joint::Power(energy) => self.energy[Quality::Integrated] += energy,
            Joint::Hole { .. } if mutant(Mutant::CoalesceOverHoles) => {}
            Joint::Hole { .. } | Joint::Jump => return false,
        }
        self.energy += next.energy;
        self.readings += next.readings;
        self.to = next.to;
        true
    }
}
