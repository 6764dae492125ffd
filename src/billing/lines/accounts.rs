//! The cells of a few owners' accounts, slot by slot, as they were booked: before any boundary.

use std::collections::HashMap;

use cost::Window;
use energy::Cell;
use meter::{Owner, Slot};

use super::reading::read;
use super::waiting::Waiting;
use crate::error::BillingError;
use crate::figures::Figures;
use crate::published::OwnerView;

/// Gives each slot of the window with the cells of these owners' accounts, those of the first owner first. A slot
/// may have fewer cells than there are accounts. For a few owners only: all their slots are held at once. Blocks
/// while the store is read.
///
/// # Errors
/// [`BillingError`] if the store fails.
pub fn each_slot(
    figures: &Figures<'_>,
    views: &[&OwnerView],
    window: Window,
    mut each: impl FnMut(Slot, &[Cell]),
) -> Result<(), BillingError> {
    let mut waiting = Waiting::default();
    let mut offsets = Vec::with_capacity(views.len());
    let mut offset = 0;
    for view in views {
        waiting.take_open(view, offset);
        offsets.push(offset);
        offset += view.state.keys.len();
    }
    let owners: HashMap<&Owner, usize> =
        views.iter().enumerate().map(|(index, view)| (&view.state.owner, index)).collect();
    read(figures.store, window, &owners, |index, version, block| {
        waiting.take(views[index], offsets[index], version, &block);
    })?;
    while let Some((slot, cells)) = waiting.pop_before(window.until()) {
        if window.holds(slot) {
            each(slot, &cells);
        }
        waiting.give_back(cells);
    }
    Ok(())
}
