//! Cells of one owner that wait until their slot is complete.

use std::collections::BTreeMap;

use energy::{Cell, HourBlock};
use meter::Slot;

use crate::published::OwnerView;

/// Cells by slot and account. Emptied slots lend their memory to the next ones.
#[derive(Default)]
pub(super) struct Waiting {
    slots: BTreeMap<Slot, Vec<Cell>>,
    spare: Vec<Vec<Cell>>,
}

impl Waiting {
    /// The open slots of a row; its accounts are counted from `offset` on.
    pub(super) fn take_open(&mut self, view: &OwnerView, offset: usize) {
        for open in &view.state.open {
            for (account, cell) in open.cells.iter().enumerate() {
                self.put(open.slot, offset + account, cell);
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
