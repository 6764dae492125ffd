//! What is due each month besides energy: demand and fixed charges, by the load of the whole fleet.

use std::sync::Arc;

use cost::{Charges, RateCard, Rollup, Window};

use crate::error::BillingError;
use crate::figures::Figures;
use crate::lines::add_up;

pub mod known;

use known::Asked;

/// What is due each month, for the load of all hosts in the months that a window touches. Where the card has
/// neither demand nor fixed charges, nothing is read; else it is read once for a snapshot.
///
/// # Errors
/// [`BillingError`] if the store fails.
pub fn charges(figures: &Figures<'_>, card: &RateCard, window: Window) -> Result<Arc<Charges>, BillingError> {
    let Some(months) = card.charged_window(window) else { return Ok(Arc::default()) };
    let inventory = Arc::clone(&figures.topology.inventory);
    let asked = Asked { card: card.clone(), inventory, months, now: figures.now };
    figures.snapshot.charges.of(asked, || {
        let mut loads = Rollup::of_loads(card, months);
        add_up(figures, months, &mut loads)?;
        Ok(loads.charges())
    })
}
