//! Postings into open slots, and open slots into history.

use meter::{ByQuality, Energy, Quality, Slot};

use crate::{Cell, CutCells, HourBlock, HourCell, HourCut, OpenSlot};

/// Adds energy and covered time of one account to a slot.
pub(crate) fn post(open: &mut Vec<OpenSlot>, account: u16, slot: Slot, quality: Quality, energy: Energy, covered: u64) {
    let cell = slot_mut(open, slot).cell_mut(account);
    cell.energy[quality] += energy;
    cell.covered_ns += covered;
}

/// A slot, opened if it was not.
pub(crate) fn slot_mut(open: &mut Vec<OpenSlot>, slot: Slot) -> &mut OpenSlot {
    let index = match open.last() {
        Some(newest) if newest.slot == slot => open.len() - 1,
        _ => open.binary_search_by_key(&slot, |open| open.slot).unwrap_or_else(|index| {
            open.insert(index, OpenSlot { slot, cells: Vec::new(), cuts: Vec::new() });
            index
        }),
    };
    &mut open[index]
}

/// Takes every slot but the newest out of the row, as postings to the history.
pub(crate) fn settle(open: &mut Vec<OpenSlot>) -> Vec<HourBlock> {
    let keep = open.len().saturating_sub(1);
    let mut blocks: Vec<HourBlock> = Vec::new();
    for settled in open.drain(..keep) {
        let (hour, quarter) = settled.slot.hour();
        if blocks.last().is_none_or(|block| block.hour != hour) {
            blocks.push(HourBlock { hour, cells: Vec::new(), cuts: Vec::new() });
        }
        if let Some(block) = blocks.last_mut() {
            block.cells.extend(cells_of(&settled.cells, quarter));
            block.cuts.extend(settled.cuts.iter().flat_map(cuts_of));
        }
    }
    blocks
}

fn cells_of(cells: &[Cell], quarter: usize) -> impl Iterator<Item = HourCell> {
    let used = cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::default());
    used.map(move |(account, &cell)| HourCell {
        quarter: u8::try_from(quarter).unwrap_or(3),
        account: u16::try_from(account).unwrap_or(u16::MAX),
        cell,
    })
}

/// Also cells of zero: they say that the share is known.
fn cuts_of(cut: &CutCells) -> impl Iterator<Item = HourCut> {
    let known =
        cut.cells.iter().enumerate().filter_map(|(account, cell)| Some((u16::try_from(account).ok()?, (*cell)?)));
    known.map(|(account, cell)| HourCut { at: cut.at, account, cell })
}

impl Cell {
    /// Adds another posting of the same slot.
    pub fn add(&mut self, other: &Self) {
        self.energy += other.energy;
        self.covered_ns += other.covered_ns;
    }

    /// Whether no figure of this cell exceeds that of another.
    #[must_use]
    pub fn is_part_of(&self, whole: &Self) -> bool {
        let is_within = |quality| self.energy[quality] <= whole.energy[quality];
        self.covered_ns <= whole.covered_ns && Quality::ALL.into_iter().all(is_within)
    }

    /// A cell of one quality, for tests and tools.
    #[must_use]
    pub fn of(quality: Quality, energy: Energy, covered_ns: u64) -> Self {
        Self { energy: ByQuality::of(quality, energy), covered_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_slot_stays_and_the_rest_adds_up_in_history() {
        let mut open = Vec::new();
        for (slot, account, uj) in [(7, 1, 10), (4, 0, 1), (8, 0, 5), (7, 0, 3), (4, 0, 2)] {
            post(&mut open, account, Slot(slot), Quality::Integrated, Energy::from_microjoules(uj), 1);
        }
        let blocks = settle(&mut open);
        assert_eq!(open.iter().map(|open| open.slot.0).collect::<Vec<_>>(), [8]);
        let flat: Vec<_> = blocks
            .iter()
            .flat_map(|block| {
                block
                    .cells
                    .iter()
                    .map(|c| (block.hour, c.quarter, c.account, c.cell.energy.total().microjoules(), c.cell.covered_ns))
            })
            .collect();
        assert_eq!(flat, [(1, 0, 0, 3, 2), (1, 3, 0, 3, 1), (1, 3, 1, 10, 1)]);
    }
}
