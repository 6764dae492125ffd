//! What was found due each month, for one snapshot.

use std::sync::{Arc, Mutex, PoisonError};

use cost::{Charges, RateCard, Window};
use meter::{SECOND_NS, Utc};

use crate::inventory::Inventory;

/// Most months and cards that are known of one snapshot.
const KNOWN_MAX: usize = 16;
/// For how long what is known serves: what is pending at the end of a window follows the clock.
const SERVES_NS: u64 = 60 * SECOND_NS as u64;

/// What was worked out for one snapshot; a copy of it, which will be another snapshot, begins empty.
#[derive(Debug, Default)]
pub struct KnownCharges(Mutex<Vec<Known>>);

/// What charges follow from, besides the snapshot.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) card: RateCard,
    pub(super) inventory: Arc<Inventory>,
    pub(super) months: Window,
    pub(super) now: Utc,
}

#[derive(Debug)]
struct Known {
    asked: Asked,
    charges: Arc<Charges>,
}

impl KnownCharges {
    /// What is known, or what is worked out now: who asks meanwhile waits for the same.
    pub(super) fn of<E>(&self, asked: Asked, make: impl FnOnce() -> Result<Charges, E>) -> Result<Arc<Charges>, E> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().find(|known| known.asked.serves(&asked)) {
            return Ok(Arc::clone(&same.charges));
        }
        let charges = Arc::new(make()?);
        known.truncate(KNOWN_MAX - 1);
        known.insert(0, Known { asked, charges: Arc::clone(&charges) });
        Ok(charges)
    }
}

impl Asked {
    fn serves(&self, other: &Self) -> bool {
        self.months == other.months
            && self.card.is(&other.card)
            && Arc::ptr_eq(&self.inventory, &other.inventory)
            && self.now <= other.now
            && other.now.since(self.now) < SERVES_NS
    }
}

impl Clone for KnownCharges {
    fn clone(&self) -> Self {
        Self::default()
    }
}
