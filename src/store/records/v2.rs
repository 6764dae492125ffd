//! Version 2: version 1, and behind it what is known of jobs. Frozen: golden bytes in the tests hold it.

use std::sync::Arc;

use bincode::{BorrowDecode, Decode, Encode};
use energy::{Cut, CutCells, HourBlock, HourCut, OpenSlot, OwnerState};
use meter::{Hold, Owner, Utc};

use super::RecordError;
use super::cells::CellsV1;
use super::holds::{AllocationV1, HOUR_NS};
use super::v1::{HourV1, RowV1};

#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct RowV2<'a> {
    row: RowV1<'a>,
    /// Allocations that run, and since when.
    holds: Vec<(i64, AllocationV1<'a>)>,
    /// Recent cuts, and the accounts for which they came too late.
    cuts: Vec<(i64, Vec<u16>)>,
    /// The last marks, hashed.
    told: Vec<u64>,
    /// What of the open slots lies before cuts.
    before: Vec<(i64, BeforeV2)>,
}

/// A posting.
#[derive(Debug, Encode, Decode)]
pub(super) struct HourV2 {
    hour: HourV1,
    /// What of its cells lies before cuts, by nanoseconds since the hour began.
    before: Vec<(u64, BeforeV2)>,
}

/// Cells of accounts before a cut.
#[derive(Debug, Encode, Decode)]
struct BeforeV2 {
    accounts: Vec<u16>,
    cells: CellsV1,
}

impl BeforeV2 {
    fn of(cut: &CutCells) -> Self {
        let known = || cut.cells.iter().enumerate().filter_map(|(account, cell)| Some((account, cell.as_ref()?)));
        Self {
            accounts: known().filter_map(|(account, _)| u16::try_from(account).ok()).collect(),
            cells: CellsV1::pack(known().map(|(_, cell)| (cell, 0))),
        }
    }

    fn into_cuts(self, at: Utc) -> Result<Vec<HourCut>, RecordError> {
        let cells = self.cells.unpack()?;
        if cells.len() != self.accounts.len() {
            return Err(RecordError::Content("as many cells before a cut as accounts it has not"));
        }
        let cuts = cells.into_iter().zip(self.accounts);
        Ok(cuts.map(|((cell, _), account)| HourCut { at, account, cell }).collect())
    }
}

impl<'a> From<&'a OwnerState> for RowV2<'a> {
    fn from(state: &'a OwnerState) -> Self {
        let cuts = state.open.iter().flat_map(|open| &open.cuts);
        Self {
            row: RowV1::from(state),
            holds: state.holds.iter().map(|hold| (hold.from.0, AllocationV1::from(&*hold.allocation))).collect(),
            cuts: state.cuts.iter().map(|cut| (cut.at.0, cut.late.clone())).collect(),
            told: state.told.clone(),
            before: cuts.map(|cut| (cut.at.0, BeforeV2::of(cut))).collect(),
        }
    }
}

impl RowV2<'_> {
    pub(super) fn into_state(self, owner: Owner) -> Result<OwnerState, RecordError> {
        let mut state = self.row.into_state(owner)?;
        let hold = |(from, allocation): (i64, AllocationV1)| Hold {
            from: Utc(from),
            until: None,
            allocation: Arc::new(allocation.into_allocation()),
        };
        state.holds = self.holds.into_iter().map(hold).collect();
        state.cuts = self.cuts.into_iter().map(|(at, late)| Cut { at: Utc(at), late }).collect();
        state.told = self.told;
        for (at, before) in self.before {
            let cells = cut_cells(Utc(at), before.into_cuts(Utc(at))?);
            let slot = state.open.iter_mut().find(|open: &&mut OpenSlot| open.slot == Utc(at).slot());
            slot.ok_or(RecordError::Content("a cut of a slot that is not open"))?.cuts.push(cells);
        }
        Ok(state)
    }
}

fn cut_cells(at: Utc, known: Vec<HourCut>) -> CutCells {
    let mut cells = Vec::new();
    for cut in known {
        let account = usize::from(cut.account);
        if cells.len() <= account {
            cells.resize(account + 1, None);
        }
        cells[account] = Some(cut.cell);
    }
    CutCells { at, cells }
}

impl From<&HourBlock> for HourV2 {
    fn from(block: &HourBlock) -> Self {
        let begun = Utc(i64::from(block.hour).saturating_mul(HOUR_NS));
        let before = block.cuts.chunk_by(|a, b| a.at == b.at).map(|cuts| {
            let accounts = cuts.iter().map(|cut| cut.account).collect();
            let cells = CellsV1::pack(cuts.iter().map(|cut| (&cut.cell, 0)));
            (cuts[0].at.since(begun), BeforeV2 { accounts, cells })
        });
        Self { hour: HourV1::from(block), before: before.collect() }
    }
}

impl HourV2 {
    pub(super) fn into_block(self, hour: i32) -> Result<HourBlock, RecordError> {
        let mut block = self.hour.into_block(hour)?;
        for (since, before) in self.before {
            let since = i64::try_from(since).ok().filter(|since| *since < HOUR_NS);
            let at = since.and_then(|since| i64::from(hour).checked_mul(HOUR_NS)?.checked_add(since));
            let at = at.ok_or(RecordError::Content("a cut outside of its hour"))?;
            block.cuts.extend(before.into_cuts(Utc(at))?);
        }
        Ok(block)
    }
}
