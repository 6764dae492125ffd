//! Digests of the history's days, as one query needs them: asked of the store once per partition.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use store::{Store, StoreError};

/// The digests of some days.
pub(super) struct Stamps<'a> {
    store: &'a dyn Store,
    days: Range<i32>,
    /// By partition: what the days before each one add up to.
    sums: HashMap<u8, Vec<u128>>,
}

impl<'a> Stamps<'a> {
    /// Of these UTC days.
    pub(super) fn new(store: &'a dyn Store, days: Range<i32>) -> Self {
        Self { store, days, sums: HashMap::new() }
    }

    /// Asks for a partition.
    pub(super) fn ask(&mut self, part: u8) -> Result<(), StoreError> {
        if let Entry::Vacant(place) = self.sums.entry(part) {
            let mut sum = 0_u128;
            let before = |stamp: u128| {
                sum = sum.wrapping_add(stamp);
                sum
            };
            let stamps = self.store.stamps(part, self.days.clone())?;
            place.insert([0].into_iter().chain(stamps.into_iter().map(before)).collect());
        }
        Ok(())
    }

    /// The digest of these days of a partition that was asked for.
    pub(super) fn of(&self, part: u8, days: Range<i32>) -> u128 {
        let sums = self.sums.get(&part).map_or(&[][..], Vec::as_slice);
        let before = |day: i32| {
            let place = usize::try_from(day - self.days.start).ok();
            place.and_then(|place| sums.get(place)).copied().unwrap_or_default()
        };
        before(days.end).wrapping_sub(before(days.start))
    }
}
