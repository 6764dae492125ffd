//! Cuts: instants at which what is booked is divided, so that it is known to the half picojoule how much of
//! a slot lay before them.
//!
//! A cut that is told before an account booked beyond it is exact for this account: what it has of the slot
//! by then lies before the cut, and whatever is booked later (the next piece, a late fill, a reversal) is
//! divided there by its own profile. One told later is not: of a slot's sum nobody can say how it lay. Then
//! there is no cell, and the reader apportions the slot by time and says so.
//!
//! Only the newest slot of a row is sure to hold everything that was ever booked to it. A cut in an older
//! one is exact for accounts that have nothing in that slot yet.

use meter::{Energy, Slot, Utc};

use crate::account::Desk;
use crate::profile::Profile;
use crate::slots::slot_mut;
use crate::{Account, Cell, OpenSlot, OwnerState};

/// Most cuts kept per owner: half as many jobs, one after the other, while something stays uncovered.
const CUTS_MAX: usize = 1024;
/// Most cuts of one slot: more jobs begin and end in a quarter of an hour on no machine whose bill has to
/// be exact, and a slot of 512 accounts must fit into a posting with all its cuts.
const SLOT_CUTS_MAX: usize = 256;
/// After so many more cuts those that nothing can touch any more are forgotten.
const TIDY_EVERY: usize = 64;

/// An instant at which what is booked is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The instant.
    pub at: Utc,
    /// The accounts, by index and ascending, that had booked beyond it before it was told: of their slot
    /// nobody knows what lay before it.
    pub late: Vec<u16>,
}

/// What of a slot lies before an instant in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutCells {
    /// The instant.
    pub at: Utc,
    /// By account index; nothing where the cut was told too late for the account, or nothing was booked in
    /// the slot.
    pub cells: Vec<Option<Cell>>,
}

/// What of one account's slot lies before an instant in it. Like cells these add up over postings; one of
/// zero says that the share is known, and that it is nothing so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourCut {
    /// The instant; its slot is the cell's.
    pub at: Utc,
    /// Account index.
    pub account: u16,
    /// What is added to the part of the cell before the instant.
    pub cell: Cell,
}

/// For how many accounts a cut came in time, and for how many too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutCount {
    /// Exact to the half picojoule.
    pub exact: usize,
    /// Left to apportioning.
    pub late: usize,
}

impl OwnerState {
    /// Cuts what is booked of every account at an instant. Told twice it is one cut.
    pub(crate) fn cut(&mut self, at: Utc) -> CutCount {
        if let Ok(known) = self.cuts.binary_search_by_key(&at, |cut| cut.at) {
            return self.counted(self.cuts[known].late.len());
        }
        let newest = self.open.last().map(|open| open.slot);
        let late = |(_, account): &(usize, &Account)| account.has_booked_beyond(at, newest);
        let late: Vec<u16> =
            self.accounts.iter().enumerate().filter(late).filter_map(|(index, _)| u16::try_from(index).ok()).collect();
        if (!late.is_empty() && late.len() == self.accounts.len())
            || cuts_in(&self.cuts, at.slot()).len() >= SLOT_CUTS_MAX
            || !self.has_room_for_cut()
        {
            return self.counted(self.accounts.len());
        }
        self.divide_open(at, &late);
        let count = self.counted(late.len());
        let place = self.cuts.partition_point(|cut| cut.at < at);
        self.cuts.insert(place, Cut { at, late });
        count
    }

    fn counted(&self, late: usize) -> CutCount {
        CutCount { exact: self.accounts.len().saturating_sub(late), late }
    }

    /// What accounts have of the cut's slot by now lies before it.
    fn divide_open(&mut self, at: Utc, late: &[u16]) {
        let Ok(index) = self.open.binary_search_by_key(&at.slot(), |open| open.slot) else { return };
        let open = &mut self.open[index];
        for (account, cell) in open.cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::default()) {
            let Ok(account) = u16::try_from(account) else { continue };
            if late.binary_search(&account).is_err() {
                *cut_mut(&mut open.cuts, at, account) = *cell;
            }
        }
    }

    /// Forgets cuts that nothing can touch any more, now and then. At the limit also the oldest in whose slot
    /// an account that is behind has nothing yet: what it brings will have no cell there. If there is none
    /// there is no room for another one.
    fn has_room_for_cut(&mut self) -> bool {
        let known = self.cuts.len();
        if known == 0 || !known.is_multiple_of(TIDY_EVERY) {
            return true;
        }
        let accounts = &self.accounts;
        let cuts = &mut self.cuts;
        cuts.retain(|cut| accounts.iter().any(|account| account.may_book_in(cut.at.slot())));
        if cuts.len() < CUTS_MAX {
            return true;
        }
        let is_safe = |cut: &Cut| !accounts.iter().any(|account| account.is_partly_booked_in(cut.at.slot()));
        let Some(oldest) = cuts.iter().position(is_safe) else { return false };
        cuts.remove(oldest);
        true
    }
}

impl Account {
    /// Whether something was booked beyond an instant, or before it where the row no longer tells: in a slot
    /// that is not the newest.
    fn has_booked_beyond(&self, at: Utc, newest: Option<Slot>) -> bool {
        let frontier = self.frontier.at;
        let may_have_left = newest.is_some_and(|newest| at.slot() < newest);
        !self.is_unread() && (frontier > at || (may_have_left && frontier > at.slot().start()))
    }

    /// Whether anything may still be booked, or taken back, in a slot.
    fn may_book_in(&self, slot: Slot) -> bool {
        self.is_unread() || self.first.at > slot.start() || self.frontier.at < slot.end() || self.has_hole_in(slot)
    }

    /// Whether something may still be booked in a slot that has something already.
    fn is_partly_booked_in(&self, slot: Slot) -> bool {
        let is_within = |at: Utc| slot.start() < at && at < slot.end();
        !self.is_unread() && (is_within(self.first.at) || is_within(self.frontier.at) || self.has_hole_in(slot))
    }

    fn has_hole_in(&self, slot: Slot) -> bool {
        let holes = self.rare().map_or(&[][..], |rare| &rare.holes);
        holes.iter().any(|hole| hole.start.at < slot.end() && slot.start() < hole.end.at)
    }
}

impl Desk<'_> {
    /// Whether there are cuts in a slot or after it.
    pub(crate) fn is_cut_from(&self, slot: Slot) -> bool {
        self.cuts.last().is_some_and(|cut| cut.at >= slot.start())
    }

    /// Posts what a profile has between two instants to its slots, and to their cuts what lies before them;
    /// `cell` makes a posting of energy and time.
    pub(crate) fn spread(&mut self, profile: &Profile, from: Utc, to: Utc, cell: impl Fn(Energy, u64) -> Cell) {
        let (account, cuts) = (self.account, self.cuts);
        profile.by_slot(from, to, |slot, energy, touched| {
            let open = slot_mut(self.open, slot);
            open.cell_mut(account).add(&cell(energy, touched));
            let (start, end) = (slot.start().max(from), slot.end().min(to));
            for cut in cuts_in(cuts, slot).iter().filter(|cut| cut.late.binary_search(&account).is_err()) {
                let until = cut.at.clamp(start, end);
                let before = cell(profile.between(start, until), until.since(start));
                cut_mut(&mut open.cuts, cut.at, account).add(&before);
            }
        });
    }
}

impl OpenSlot {
    /// An account's cell, empty if it had none.
    pub(crate) fn cell_mut(&mut self, account: u16) -> &mut Cell {
        let account = usize::from(account);
        if self.cells.len() <= account {
            self.cells.resize(account + 1, Cell::default());
        }
        &mut self.cells[account]
    }
}

/// The cuts within a slot.
fn cuts_in(cuts: &[Cut], slot: Slot) -> &[Cut] {
    let behind = &cuts[cuts.partition_point(|cut| cut.at < slot.start())..];
    &behind[..behind.partition_point(|cut| cut.at < slot.end())]
}

/// An account's cell at a cut, empty if it had none.
fn cut_mut(cuts: &mut Vec<CutCells>, at: Utc, account: u16) -> &mut Cell {
    let index = cuts.binary_search_by_key(&at, |cut| cut.at).unwrap_or_else(|index| {
        cuts.insert(index, CutCells { at, cells: Vec::new() });
        index
    });
    let (cells, account) = (&mut cuts[index].cells, usize::from(account));
    if cells.len() <= account {
        cells.resize(account + 1, None);
    }
    cells[account].get_or_insert_default()
}
