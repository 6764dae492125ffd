//! The postings of the history, read hour by hour and given to whom they belong to.

use std::collections::HashMap;

use cost::{Rollup, Window};
use energy::HourBlock;
use meter::{Owner, Slot};
use store::{HistoryEntry, HistoryQuery, Store};

use super::unit::Unit;
use crate::error::BillingError;
use crate::published::OwnerView;

/// Adds one part's owners.
pub(super) fn add_part<'a>(
    store: &dyn Store,
    window: Window,
    units: &mut [Unit<'a>],
    rollup: &mut Rollup<'_>,
) -> Result<(), BillingError> {
    // Up to the hour in which the window begins: that one is read with it.
    let until = Slot(window.first().hour().0 * 4);
    if let Some(since) = units.iter().filter_map(Unit::looks_back_to).min().filter(|since| *since < until) {
        read_part(store, Window::of_slots(since, until), units, Unit::remembers, rollup)?;
    }
    read_part(store, window, units, |_| true, rollup)?;
    units.iter_mut().try_for_each(|unit| unit.finish(rollup))?;
    Ok(())
}

/// Reads the postings of some of the units and bills them hour by hour.
pub(super) fn read_part<'a>(
    store: &dyn Store,
    window: Window,
    units: &mut [Unit<'a>],
    is_wanted: impl Fn(&Unit<'a>) -> bool + Copy,
    rollup: &mut Rollup<'_>,
) -> Result<(), BillingError> {
    // A chassis may lie in another part than its host, so it is read beforehand: it has an account or two.
    let chassis = by_owner(units, |unit| unit.chassis().filter(|_| is_wanted(unit)));
    read(store, window, &chassis, |index, entry_version, block| units[index].take_chassis(entry_version, &block))?;
    let own = by_owner(units, |unit| unit.view().filter(|_| is_wanted(unit)));
    let mut hour = i32::MIN;
    let mut failed = None;
    read(store, window, &own, |index, entry_version, block| {
        if block.hour > hour {
            hour = block.hour;
            let before = Slot(hour * 4);
            let mut wanted = units.iter_mut().filter(|unit| is_wanted(unit));
            failed = failed.take().or_else(|| wanted.try_for_each(|unit| unit.bill_until(before, rollup)).err());
        }
        units[index].take(entry_version, &block);
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    // Here a window ends at an hour, unless it is the one that was asked for.
    let until = Slot(window.until().0.div_euclid(4) * 4);
    units.iter_mut().filter(|unit| is_wanted(unit)).try_for_each(|unit| unit.bill_until(until, rollup))?;
    Ok(())
}

/// Which unit each owner's postings belong to.
fn by_owner<'a>(units: &[Unit<'a>], of: impl Fn(&Unit<'a>) -> Option<&'a OwnerView>) -> HashMap<&'a Owner, usize> {
    units.iter().enumerate().filter_map(|(index, unit)| Some((&of(unit)?.state.owner, index))).collect()
}

/// Reads the postings of these owners in the window: unit, version, hour.
pub(super) fn read(
    store: &dyn Store,
    window: Window,
    owners: &HashMap<&Owner, usize>,
    mut each: impl FnMut(usize, u64, HourBlock),
) -> Result<(), BillingError> {
    if owners.is_empty() || window.is_empty() {
        return Ok(());
    }
    let hours = window.first().hour().0..window.until().0.div_euclid(4) + i32::from(window.until().0.rem_euclid(4) > 0);
    let query = HistoryQuery { owners: Some(owners.keys().map(|&owner| owner.clone()).collect()), hours };
    let mut failed = None;
    store.history(&query, &mut |entry: HistoryEntry| {
        let Some(&index) = owners.get(&entry.owner) else { return };
        match store::records::decode_hour(entry.hour, &entry.bytes) {
            Ok(block) => each(index, entry.version, block),
            Err(error) => failed = Some(error),
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
