//! From when on a meter's missing seconds need to be known of, so that history before the window is read for
//! those owners only that need it.

use cost::Window;
use energy::boundary::{JOIN_NS, LOOK_BACK_DAYS};
use energy::{Account, Boundary};
use meter::{SECOND_NS, Slot, Utc, overlap_ns};

/// For how long after a meter's newest reading the time since is not one that it missed: the longest hole that is
/// estimated by a line once the next reading comes.
const PENDING_NS: u64 = 900 * SECOND_NS as u64;
/// Slots of a UTC day.
const DAY: i32 = 96;

/// What the accounts of a billed owner tell of its meters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meters {
    /// When the newest reading of any was, if more may follow.
    pub(super) pending_from: Option<Utc>,
    /// The newest reading of any component.
    pub(super) components_until: Option<Utc>,
    /// The first instant in the window that none of them is known to cover.
    pub(super) missed_from: Option<Utc>,
}

impl Meters {
    /// `accounts` as in the boundary. Nothing is missed of an owner without meter or components.
    pub(super) fn of(boundary: &Boundary, accounts: &[&Account], window: Window, now: Utc) -> Self {
        let read = || accounts.iter().enumerate().filter(|(_, account)| !account.is_unread());
        let components =
            read().filter(|(index, _)| boundary.is_component(*index)).map(|(_, account)| account.frontier.at);
        let components_until = components.max();
        let meters: Vec<&Account> =
            read().filter(|(index, _)| boundary.is_meter(*index)).map(|(_, account)| *account).collect();
        Self::among(&meters, components_until, window, now)
    }

    /// Of these meters, beside components read until then.
    pub(super) fn among(meters: &[&Account], components_until: Option<Utc>, window: Window, now: Utc) -> Self {
        let newest = meters.iter().map(|meter| meter.frontier.at).max();
        let pending_from = newest.filter(|newest| now.since(*newest) <= PENDING_NS);
        let (Some(first), Some(until)) = (meters.iter().map(|meter| meter.first.at).min(), components_until) else {
            return Self { pending_from, components_until, missed_from: None };
        };
        let end = pending_from.unwrap_or(until).min(window.end());
        let start = first.max(window.start());
        // One that covers all of it is enough.
        let whole: Option<Vec<Utc>> = meters.iter().map(|meter| whole_until(meter, start, end)).collect();
        let missed_from = whole.and_then(|whole| whole.into_iter().max());
        Self { pending_from, components_until, missed_from }
    }

    /// Of this or of other meters, whichever counts in a slot.
    pub(super) fn or(self, other: Self) -> Self {
        let missed_from = self.missed_from.into_iter().chain(other.missed_from).min();
        Self { pending_from: self.pending_from.max(other.pending_from), missed_from, ..self }
    }

    /// How much of a slot's end the meter may still tell of, in nanoseconds.
    pub(super) fn pending_ns(&self, slot: Slot) -> u64 {
        let Some((from, until)) = self.pending_from.zip(self.components_until) else { return 0 };
        overlap_ns(&(from..until), &(slot.start()..slot.end()))
    }
}

/// From when on, within these bounds, a meter is not known to cover all time; nothing if it does.
fn whole_until(meter: &Account, start: Utc, end: Utc) -> Option<Utc> {
    let rare = meter.rare();
    // When the holes that became final were is not kept.
    if meter.first.at > start || rare.is_some_and(|rare| rare.final_holes > 0) {
        return Some(start);
    }
    let holes = rare.map_or(&[][..], |rare| &rare.holes);
    let hole = holes.iter().find(|hole| hole.end.at > start && hole.start.at < end).map(|hole| hole.start.at);
    let last = Some(meter.frontier.at).filter(|last| last.0.saturating_add(JOIN_NS as i64) < end.0);
    hole.into_iter().chain(last).min().map(|at| at.max(start))
}

/// The first slot whose readings decide on the ratio at `at`: at the beginning of an hour.
pub(super) fn look_back(at: Utc) -> Slot {
    Slot((at.slot().0.div_euclid(DAY) - LOOK_BACK_DAYS) * DAY)
}
