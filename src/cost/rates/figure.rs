//! A figure of a rate card: the same always, by the clock, or from a series.

use std::sync::Arc;

use meter::Slot;

use super::schedule::Schedule;
use super::series::Series;
use crate::window::Window;

/// A figure that each slot has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Always the same.
    Constant(i64),
    /// By season, day and hour.
    Schedule(Arc<Schedule>),
    /// From a file of slots; there may be none for a slot.
    Series(Arc<Series>),
}

impl Figure {
    /// The figure of one slot.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<i64> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Schedule(schedule) => schedule.at(slot),
            Self::Series(series) => series.at(slot),
        }
    }

    /// The figures over a window: each holds up to the next one's slot; the first begins with the window.
    pub(crate) fn pieces(&self, window: Window) -> Vec<(Slot, Option<i64>)> {
        match self {
            Self::Constant(value) => vec![(window.first(), Some(*value))],
            Self::Schedule(schedule) => schedule.pieces(window),
            Self::Series(series) => series.pieces(window),
        }
    }
}
