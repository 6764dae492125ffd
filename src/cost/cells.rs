//! What a rollup keeps for each group and interval.

use meter::{ByQuality, DoubtCounts, Energy, Methods};

use crate::priced::{Piece, Priced};
use crate::usage::{HostSlot, HostTime, Line};

/// Host-seconds (device-seconds where grouped by device), in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) covered_ns: u128,
    pub(crate) metered_ns: u128,
    pub(crate) ratio_ns: u128,
    pub(crate) expected_ns: u128,
}

/// What does not depend on the grouping.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    pub(crate) coverage: Coverage,
    pub(crate) methods: Methods,
    pub(crate) doubts: DoubtCounts,
}

/// One group in one interval.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) group: u32,
    pub(crate) interval: u32,
    pub(crate) energy: ByQuality,
    pub(crate) metered: Energy,
    pub(crate) apportioned: Energy,
    pub(crate) coverage: Coverage,
    pub(crate) methods: Methods,
    pub(crate) doubts: DoubtCounts,
    pub(crate) priced: Vec<Priced>,
    /// The last host and slot whose time was counted.
    turn: u64,
}

impl Cell {
    pub(crate) fn new(group: u32, interval: u32) -> Self {
        Self {
            group,
            interval,
            energy: ByQuality::default(),
            metered: Energy::ZERO,
            apportioned: Energy::ZERO,
            coverage: Coverage::default(),
            methods: Methods::NONE,
            doubts: DoubtCounts::default(),
            priced: Vec::new(),
            turn: 0,
        }
    }

    pub(crate) fn add(&mut self, energy: ByQuality, metered: Energy, piece: &Piece) {
        self.energy += energy;
        self.metered += metered;
        Priced::add(&mut self.priced, piece, energy.total());
    }

    /// Counts the host's time, once for each host and slot.
    pub(crate) fn cover_once(&mut self, turn: u64, usage: &HostSlot<'_>) {
        if self.turn != turn {
            self.coverage.add(&usage.time);
        }
        self.explain_once(turn, usage);
    }

    /// Notes how the host's energy came about, once for each host and slot.
    pub(crate) fn explain_once(&mut self, turn: u64, usage: &HostSlot<'_>) {
        if self.turn != turn {
            self.turn = turn;
            self.methods.extend(usage.methods);
            self.doubts.add(&usage.doubts);
        }
    }
}

impl Line {
    /// Its device's time, of what its host was expected to be read.
    pub(crate) fn time(&self, usage: &HostSlot<'_>) -> HostTime {
        let ratio_ns = if self.scope.is_none() { usage.time.ratio_ns } else { 0 };
        let expected_ns = usage.time.expected_ns;
        HostTime { covered_ns: self.covered_ns, metered_ns: self.metered_ns, ratio_ns, expected_ns }
    }
}

impl Coverage {
    /// Adds time of other hosts or slots.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.covered_ns += other.covered_ns;
        self.metered_ns += other.metered_ns;
        self.ratio_ns += other.ratio_ns;
        self.expected_ns += other.expected_ns;
    }

    pub(crate) fn add(&mut self, time: &HostTime) {
        self.covered_ns += u128::from(time.covered_ns);
        self.metered_ns += u128::from(time.metered_ns);
        self.ratio_ns += u128::from(time.ratio_ns);
        self.expected_ns += u128::from(time.expected_ns);
    }
}
