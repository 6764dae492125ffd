//! From the ledger's cells to the lines that a rollup adds: who is billed for what in which slot.
//!
//! Part by part, hour by hour: the history's postings and the snapshot's open slots of an hour are
//! added up per owner, slot and account; [`energy::bill`] says what of it is billed; consecutive slots
//! are summed for as long as neither label nor price changes. So memory holds a few hours of one
//! part's owners, whatever the window.
//!
//! A posting of a later version than the snapshot's row is left out: its energy is still in the open
//! slots of that row. That is what keeps a slot from counting twice, or not at all, while a commit
//! moves it.
//!
//! Billed are hosts, and chassis that no host sits in. A chassis with one host is billed together with it,
//! as [`energy::boundary`] decides between their meters; a chassis with several is split among them
//! (`lines/shared.rs`). A device at several owners is billed at one (`lines/elsewhere.rs`). Meters are
//! references and never billed.
//!
//! What a meter missed depends on days before the window; they are read first, for owners that need it
//! (`lines/missed.rs`).

use cost::{Rollup, Window};

use crate::error::BillingError;
use crate::figures::Figures;

pub mod accounts;
mod cuts;
pub mod days;
mod elsewhere;
mod ground;
mod held;
mod missed;
mod plain;
mod reading;
pub mod references;
mod shared;
mod stamps;
mod unit;
mod waiting;

use plain::Plain;
use reading::add_part;
use shared::add_shared;

pub use held::Attribution;

/// Adds everything that is billed in `window` to `rollup`. Blocks while the store is read.
///
/// # Errors
/// [`BillingError`] if the store fails or the answer grows too large; what was added stays added.
pub fn add_up(figures: &Figures<'_>, window: Window, rollup: &mut Rollup<'_>) -> Result<(), BillingError> {
    add_up_held(figures, window, None, rollup)
}

/// As [`add_up`], with lines divided among who held them.
///
/// # Errors
/// As [`add_up`].
pub fn add_up_held(
    figures: &Figures<'_>,
    window: Window,
    attribution: Option<&Attribution>,
    rollup: &mut Rollup<'_>,
) -> Result<(), BillingError> {
    if window.is_empty() {
        return Ok(());
    }
    let mut plain = Plain::new(figures, attribution);
    if !plain.shared.hosts.is_empty() {
        add_shared(figures, window, attribution, &plain.shared, &mut plain.contests, rollup)?;
    }
    let book = figures.days.filter(|_| attribution.is_none() && days::suits(rollup));
    for number in 0..figures.snapshot.parts.len() {
        let mut units = plain.units(number, window, rollup);
        match book.zip(u8::try_from(number).ok()) {
            Some((book, part)) => days::add_part_by_days(figures, book, part, window, &mut units, rollup)?,
            None => add_part(figures.store, window, &mut units, rollup)?,
        }
    }
    Ok(())
}
