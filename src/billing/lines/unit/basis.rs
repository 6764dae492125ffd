//! What a page of the day book follows from, as a digest: it holds for as long as that stays the same.
//!
//! In it are the digests of the day's history (of the days before it too, where what a meter usually shows is asked
//! for), open slots, the accounts that the boundary is drawn through, what these tell of the meter's holes, where the
//! owner sat, contested devices, the configured factor and the rules. All of it within the day: what goes on today
//! leaves the days before as they are. Not in it are labels, prices, service dates and what is expected: these are
//! applied when a page is read.

use std::ops::Range;

use blake3::Hasher;
use cost::Window;
use energy::boundary::LOOK_BACK_DAYS;
use meter::{Energy, Slot, Utc};

use super::Unit;
use crate::daybook::page::DAY_SLOTS;
use crate::daybook::{Basis, Title};
use crate::lines::stamps::Stamps;
use crate::published::OwnerView;

/// The rules of billing, beside the program's version. Raise it with every change to what a slot is billed: pages that
/// were made by other rules do not hold.
const RULES: u32 = 1;

impl Unit<'_> {
    /// What is the same for all days.
    pub(in crate::lines) fn constants(&self) -> [u8; 32] {
        let mut hasher = Hasher::new();
        hasher
            .update(env!("CARGO_PKG_VERSION").as_bytes())
            .update(&RULES.to_le_bytes())
            .update(&self.factor.millionths().to_le_bytes());
        for view in [self.view, self.chassis] {
            let Some(view) = view else {
                hasher.update(&[0]);
                continue;
            };
            text(&mut hasher, &view.state.owner.canonical());
            for key in view.state.keys.iter() {
                hasher.update(&[1, key.scope as u8]);
                text(&mut hasher, &key.device);
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// What the page of a UTC day follows from.
    pub(in crate::lines) fn basis(&self, constants: &[u8; 32], day: i32, stamps: &Stamps<'_>, now: Utc) -> Basis {
        let slots = Slot(day * DAY_SLOTS)..Slot((day + 1) * DAY_SLOTS);
        let span = slots.start.start()..slots.end.start();
        let meters = self.meters_of(Window::of_slots(slots.start, slots.end), now);
        let mut hasher = Hasher::new();
        hasher.update(constants).update(&day.to_le_bytes());
        let parts = [self.view, self.chassis].map(|view| view.map(|view| view.state.owner.part()));
        for part in parts.into_iter().flatten() {
            hasher.update(&stamps.of(part, day..day + 1).to_le_bytes());
        }
        if let Some((from, until)) = meters.pending_from.zip(meters.components_until) {
            let (from, until) = (from.max(span.start), until.min(span.end));
            if from < until {
                hasher.update(b"pending").update(&from.0.to_le_bytes()).update(&until.0.to_le_bytes());
            }
        }
        // What it looks back on.
        let mut seen = slots;
        if let Some(missed_from) = meters.missed_from {
            seen.start = Slot((day - LOOK_BACK_DAYS) * DAY_SLOTS);
            hasher.update(b"missed").update(&missed_from.0.to_le_bytes());
            for part in parts.into_iter().flatten() {
                hasher.update(&stamps.of(part, day - LOOK_BACK_DAYS..day).to_le_bytes());
            }
            self.put_seat(&(seen.start.start()..span.end), &mut hasher);
        }
        for (side, view) in [self.view, self.chassis].into_iter().enumerate() {
            view.into_iter().for_each(|view| put_open(view, side as u8, &seen, &mut hasher));
        }
        let span = seen.start.start()..span.end;
        self.contests.iter().for_each(|contest| contest.digest(&span, hasher.update(b"contest")));
        let mut basis = [0; 16];
        basis.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        basis
    }

    /// Whether a page holds for the unit: it was worked out from the same things, none of them newer than its rows.
    pub(in crate::lines) fn fits(&self, title: &Title, basis: &Basis) -> bool {
        title.basis == *basis && self.versions().iter().zip(title.versions).all(|(mine, made)| *mine >= made)
    }

    /// The versions of its rows, its own and the chassis'.
    pub(in crate::lines) fn versions(&self) -> [u64; 2] {
        [self.view, self.chassis].map(|view| view.map_or(0, |view| view.version))
    }

    /// Whether nothing of it was ever read before the end of a day: then its page is empty.
    pub(in crate::lines) fn is_unread_on(&self, day: i32) -> bool {
        let end = Slot((day + 1) * DAY_SLOTS).start();
        let open = || self.view.into_iter().chain(self.chassis).flat_map(|view| &view.state.open);
        self.accounts().all(|account| account.is_unread() || account.first.at >= end)
            && open().all(|open| open.slot.start() >= end)
    }

    /// Where it sat.
    fn put_seat(&self, span: &Range<Utc>, hasher: &mut Hasher) {
        for (valid, chassis) in self.seat.within(span) {
            hasher.update(&valid.start.0.to_le_bytes()).update(&valid.end.0.to_le_bytes());
            text(hasher, &chassis.canonical());
        }
    }
}

/// The open slots of a row.
fn put_open(view: &OwnerView, side: u8, slots: &Range<Slot>, hasher: &mut Hasher) {
    for open in view.state.open.iter().filter(|open| slots.contains(&open.slot)) {
        hasher.update(b"open").update(&[side]).update(&open.slot.0.to_le_bytes());
        for cell in &open.cells {
            for Energy(amount) in cell.energy.0 {
                hasher.update(&amount.to_le_bytes());
            }
            hasher.update(&cell.covered_ns.to_le_bytes());
        }
    }
}

fn text(hasher: &mut Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
}
