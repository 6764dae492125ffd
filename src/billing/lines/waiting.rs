//! Cells of one owner that wait until their slot is complete.

use std::collections::BTreeMap;

use energy::{Cell, HourBlock};
use meter::{Slot, Utc};

use super::cuts::Cut;
use crate::published::OwnerView;

/// Cells by slot and account. Emptied slots lend their memory to the next ones.
#[derive(Default)]
pub(super) struct Waiting {
    slots: BTreeMap<Slot, Vec<Cell>>,
    /// Where cells are cut, if that is asked for.
    cuts: Option<BTreeMap<Slot, Vec<Cut>>>,
    spare: Vec<Vec<Cell>>,
}

impl Waiting {
    /// Keeps where cells are cut, from now on.
    pub(super) fn keep_cuts(&mut self) {
        self.cuts.get_or_insert_default();
    }

    /// Adds what an account had booked before an instant.
    fn cut(&mut self, at: Utc, account: usize, cell: &Cell) {
        let Some(cuts) = &mut self.cuts else { return };
        let cuts = cuts.entry(at.slot()).or_default();
        match cuts.iter_mut().find(|cut| cut.at == at && cut.account == account) {
            Some(known) => known.cell.add(cell),
            None => cuts.push(Cut { at, account, cell: *cell }),
        }
    }

    /// Takes out where the cells of a slot are cut; earlier ones are not asked for any more.
    pub(super) fn take_cuts(&mut self, slot: Slot) -> Vec<Cut> {
        let Some(cuts) = &mut self.cuts else { return Vec::new() };
        let later = cuts.split_off(&slot);
        *cuts = later;
        cuts.remove(&slot).unwrap_or_default()
    }

    /// The open slots of a row; its accounts are counted from `offset` on.
    pub(super) fn take_open(&mut self, view: &OwnerView, offset: usize) {
        for open in &view.state.open {
            for (account, cell) in open.cells.iter().enumerate() {
                self.put(open.slot, offset + account, cell);
            }
            for cut in &open.cuts {
                let known = cut.cells.iter().enumerate().filter_map(|(account, cell)| Some((account, cell.as_ref()?)));
                known.for_each(|(account, cell)| self.cut(cut.at, offset + account, cell));
            }
        }
    }

    /// A posting of `view`'s history, unless it is newer than the row: then the row's open slots
    /// still have its energy.
    pub(super) fn take(&mut self, view: &OwnerView, offset: usize, version: u64, block: &HourBlock) {
        if version > view.version {
            return;
        }
        for cell in &block.cells {
            let slot = Slot(block.hour * 4 + i32::from(cell.quarter));
            self.put(slot, offset + usize::from(cell.account), &cell.cell);
        }
        for cut in &block.cuts {
            self.cut(cut.at, offset + usize::from(cut.account), &cut.cell);
        }
    }

    /// Adds one cell.
    pub(super) fn put(&mut self, slot: Slot, account: usize, cell: &Cell) {
        let cells = self.slots.entry(slot).or_insert_with(|| self.spare.pop().unwrap_or_default());
        if cells.len() <= account {
            cells.resize(account + 1, Cell::default());
        }
        cells[account].add(cell);
    }

    /// The cells of a slot.
    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut [Cell] {
        self.slots.get_mut(&slot).map_or(&mut [], Vec::as_mut_slice)
    }

    /// Takes out the first slot, if it lies before `border`.
    pub(super) fn pop_before(&mut self, border: Slot) -> Option<(Slot, Vec<Cell>)> {
        let first = self.slots.first_entry().filter(|first| *first.key() < border)?;
        Some(first.remove_entry())
    }

    /// Gives back the memory of a slot that was taken out.
    pub(super) fn give_back(&mut self, mut cells: Vec<Cell>) {
        cells.clear();
        self.spare.push(cells);
    }
}
