//! Cells (energy and covered time of one account in one slot), packed: some 11 bytes each where
//! plain integers took 30. History is most of what a ledger keeps, so this decides its size.

use bincode::{Decode, Encode};
use energy::Cell;
use meter::{ByQuality, Energy, Quality, SLOT_NS};

use super::RecordError;

/// The length of a slot, which most cells cover whole.
const WHOLE_NS: u64 = SLOT_NS.unsigned_abs();
/// In a head: the cell covers the whole slot, and `covered` has nothing for it.
const WHOLE: u8 = 1 << 3;
/// The bits of a head that a cell uses; the rest are the caller's.
const HEAD: u8 = 0xf;

/// Many cells, column by column. Frozen.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct CellsV1 {
    /// Per cell: bits 0 to 2 tell which qualities are not zero, bit 3 whether the slot is covered
    /// whole, bits 4 and 5 are the caller's.
    heads: Vec<u8>,
    /// The qualities that are not zero, cell by cell, in half picojoules.
    amounts: Vec<i128>,
    /// Nanoseconds covered, of the cells that do not cover their slot whole.
    covered: Vec<u64>,
}

impl CellsV1 {
    /// Packs cells, each with two bits of the caller's.
    pub(super) fn pack<'a>(cells: impl Iterator<Item = (&'a Cell, u8)>) -> Self {
        let mut packed = Self { heads: Vec::new(), amounts: Vec::new(), covered: Vec::new() };
        for (cell, bits) in cells {
            let mut head = (bits & 3) << 4;
            for (number, quality) in Quality::ALL.into_iter().enumerate() {
                if cell.energy[quality] != Energy::ZERO {
                    head |= 1 << number;
                    packed.amounts.push(cell.energy[quality].0);
                }
            }
            if cell.covered_ns == WHOLE_NS {
                head |= WHOLE;
            } else {
                packed.covered.push(cell.covered_ns);
            }
            packed.heads.push(head);
        }
        packed
    }

    /// Unpacks them.
    pub(super) fn unpack(self) -> Result<Vec<(Cell, u8)>, RecordError> {
        let (mut amounts, mut covered) = (self.amounts.into_iter(), self.covered.into_iter());
        let short = RecordError::Content("fewer values than its cells need");
        let mut cells = Vec::with_capacity(self.heads.len());
        for head in self.heads {
            let mut energy = ByQuality::default();
            for (number, quality) in Quality::ALL.into_iter().enumerate() {
                if head & (1 << number) != 0 {
                    energy[quality] = Energy(amounts.next().ok_or(short.clone())?);
                }
            }
            let covered_ns = if head & WHOLE != 0 { WHOLE_NS } else { covered.next().ok_or(short.clone())? };
            cells.push((Cell { energy, covered_ns }, head >> HEAD.count_ones()));
        }
        if amounts.next().is_some() || covered.next().is_some() || cells.iter().any(|(_, bits)| *bits > 3) {
            return Err(RecordError::Content("more values than its cells need"));
        }
        Ok(cells)
    }
}
