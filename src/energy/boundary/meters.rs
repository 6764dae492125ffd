//! Outermost meters: which of them show the same power, and which of those is billed.
//!
//! A machine's power is often read several ways at once: by its BMC over the network, by IPMI from
//! inside, at its supplies. Those are alternatives of one another and never add up. Each way is a
//! *family*; in a slot the family that covers most counts, and among those that cover nearly as much the
//! first in this order:
//!
//! 1. the operator's own meters (any name that is not listed here): a plug meter says what is drawn from
//!    the wall, and several of them are several feeds, so they add up with each other;
//! 2. `bmc`; its supplies, `bmc/psu-…`, where it does not say the whole;
//! 3. `dcmi`; 4. `pm-counters`; 5. `psu-…`, added up; 6. `acpi-power-meter`; 7. `ear-dc`.
//!
//! At equal rank the owner's own go before those of the chassis that it sits in: what a machine says of
//! itself needs no link that could be wrong.

use meter::{AccountKey, ByQuality};

use super::is_active;
use crate::Cell;

/// Readings this far apart still join, whatever the period: the least limit for joining. Time that differs by
/// no more is not told apart: two meters read every few seconds never cover a slot to the same nanosecond.
pub const JOIN_NS: u64 = 10_000_000_000;

/// One way in which a machine's power is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Family {
    /// The order of precedence.
    rank: u8,
    /// Whether these are parts of a whole that has a family of its own.
    is_part: bool,
    /// Whether it is of the chassis that the owner sits in.
    pub(super) linked: bool,
}

/// What one family saw in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The energy.
    pub energy: ByQuality,
    /// For how long there were readings, in nanoseconds.
    pub covered_ns: u64,
    /// Whether it is a meter of the chassis that the owner sits in.
    pub linked: bool,
    /// Whether it says anything at all.
    pub(super) is_active: bool,
}

impl Family {
    /// The family of an account of scope `chassis`.
    pub(super) fn of(key: &AccountKey, linked: bool) -> Self {
        let (head, is_part) = match key.device.split_once('/') {
            Some((head, _)) => (head, true),
            None => (&*key.device, false),
        };
        let rank = match head {
            "bmc" => 1,
            "dcmi" => 2,
            "pm-counters" => 3,
            _ if head.starts_with("psu-") => 4,
            _ if is_named(head, "acpi-power-meter") => 5,
            "ear-dc" => 6,
            _ => 0,
        };
        // Parts of an operator's meter stay with it: `wall/ch1` adds up with `rear`, if `wall` is silent.
        Self { rank, is_part: is_part && rank > 0, linked }
    }

    /// Whether parts and whole are of one family, so that the whole must be asked for.
    pub(super) const fn adds_parts(self) -> bool {
        self.rank == 0
    }
}

/// `name`, or one of several: `name-1`.
fn is_named(head: &str, name: &str) -> bool {
    head.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl Seen {
    pub(super) fn add(&mut self, cell: &Cell) {
        self.energy += cell.energy;
        // Two feeds are read at the same time, as a rule.
        self.covered_ns = self.covered_ns.max(cell.covered_ns);
        self.is_active |= is_active(cell);
    }
}

/// The first of those that cover nearly as much as the one that covers most: its place among them.
pub(super) fn most_complete(seen: &[Seen]) -> Option<usize> {
    let most = seen.iter().map(|seen| seen.covered_ns).max()?;
    seen.iter().position(|seen| seen.is_active && seen.covered_ns.saturating_add(JOIN_NS) >= most)
}
