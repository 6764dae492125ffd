//! Windows with the day book: days whose pages hold are replayed, everything else is billed from cells.
//!
//! Owner by owner and day by day: a late posting to one partition costs its owners the day, and no more. Consecutive
//! days of the same owners are read together, with what lies before them where their ratio asks for that.

use std::collections::HashMap;
use std::ops::Range;

use cost::{By, RateCard, Rollup, Where, Window};
use energy::boundary::LOOK_BACK_DAYS;
use meter::{Owner, Slot};

use super::plain::Plain;
use super::reading::{add_part, read_part};
use super::stamps::Stamps;
use super::unit::Unit;
use crate::daybook::page::{DAY_SLOTS, Reading};
use crate::daybook::{self, Basis, DayBook, Pages};
use crate::error::BillingError;
use crate::figures::Figures;

/// Whether a question can be answered from pages: they tell scopes, but neither devices nor who held them.
pub(super) fn suits(rollup: &Rollup<'_>) -> bool {
    !rollup.needs_devices() && !rollup.needs_tenants()
}

/// The UTC days that lie in a window as a whole.
fn whole_days(window: Window) -> Range<i32> {
    let first = (window.first().0 + DAY_SLOTS - 1).div_euclid(DAY_SLOTS);
    first..window.until().0.div_euclid(DAY_SLOTS).max(first)
}

fn day_window(day: i32) -> Window {
    Window::of_slots(Slot(day * DAY_SLOTS), Slot((day + 1) * DAY_SLOTS))
}

/// The digests that pages of these days follow from.
fn stamps_for<'a>(figures: &Figures<'a>, units: &[Unit<'_>], days: &Range<i32>) -> Result<Stamps<'a>, BillingError> {
    let mut stamps = Stamps::new(figures.store, days.start - LOOK_BACK_DAYS..days.end);
    for view in units.iter().flat_map(|unit| [unit.view(), unit.chassis()]).flatten() {
        stamps.ask(view.state.owner.part())?;
    }
    Ok(stamps)
}

/// Slots that are billed from cells: from where on, and of which units.
struct Run {
    from: Slot,
    units: Vec<bool>,
}

/// Adds one part's owners, from pages where they hold.
pub(super) fn add_part_by_days(
    figures: &Figures<'_>,
    book: &DayBook,
    part: u8,
    window: Window,
    units: &mut [Unit<'_>],
    rollup: &mut Rollup<'_>,
) -> Result<(), BillingError> {
    let days = whole_days(window);
    let stamps = stamps_for(figures, units, &days)?;
    let mut part = PartPages::new(figures, book, part, units, rollup.needs_scopes());
    let mut run = Run { from: window.first(), units: vec![true; units.len()] };
    for day in days {
        let holds = part.read(day, units, &stamps);
        let from_cells: Vec<bool> = holds.iter().map(|holds| !holds).collect();
        if from_cells != run.units {
            let start = Slot(day * DAY_SLOTS);
            run.end(figures, start, units, rollup)?;
            run = Run { from: start, units: from_cells };
        }
        for (index, _) in holds.iter().enumerate().filter(|(_, holds)| **holds) {
            units[index].replay(&part.readings[index], rollup)?;
        }
    }
    let tail = Slot(window.until().0.div_euclid(DAY_SLOTS) * DAY_SLOTS).max(run.from);
    if tail < window.until() && run.units.iter().any(|is_read| !is_read) {
        run.end(figures, tail, units, rollup)?;
        run = Run { from: tail, units: vec![true; units.len()] };
    }
    run.end(figures, window.until(), units, rollup)?;
    units.iter_mut().try_for_each(|unit| unit.finish(rollup))?;
    Ok(())
}

impl Run {
    /// Bills it, up to a slot.
    fn end(
        &self,
        figures: &Figures<'_>,
        until: Slot,
        units: &mut [Unit<'_>],
        rollup: &mut Rollup<'_>,
    ) -> Result<(), BillingError> {
        let window = Window::of_slots(self.from, until);
        if window.is_empty() || !self.units.contains(&true) {
            return Ok(());
        }
        for (unit, _) in units.iter_mut().zip(&self.units).filter(|(_, is_read)| **is_read) {
            unit.begin_run(figures, window);
        }
        let hour = Slot(window.first().hour().0 * 4);
        let since = units.iter().filter(|unit| unit.is_read()).filter_map(Unit::looks_back_to).min();
        if let Some(since) = since.filter(|since| *since < hour) {
            let is_wanted = |unit: &Unit<'_>| unit.is_read() && unit.remembers();
            read_part(figures.store, Window::of_slots(since, hour), units, is_wanted, rollup)?;
        }
        read_part(figures.store, window, units, Unit::is_read, rollup)?;
        units.iter_mut().for_each(Unit::end_run);
        Ok(())
    }
}

/// The pages of one partition.
struct PartPages<'a> {
    figures: Figures<'a>,
    book: &'a DayBook,
    part: u8,
    with_scopes: bool,
    /// Which unit is whose.
    places: HashMap<Owner, usize>,
    constants: Vec<[u8; 32]>,
    /// What was read of the day at hand, by unit.
    readings: Vec<Reading>,
}

impl<'a> PartPages<'a> {
    fn new(figures: &Figures<'a>, book: &'a DayBook, part: u8, units: &[Unit<'_>], with_scopes: bool) -> Self {
        let places = units.iter().enumerate().map(|(index, unit)| (unit.owner().clone(), index)).collect();
        let constants = units.iter().map(Unit::constants).collect();
        let readings = units.iter().map(|_| Reading::default()).collect();
        Self { figures: *figures, book, part, with_scopes, places, constants, readings }
    }

    /// Reads a day; tells of which units its pages hold.
    fn read(&mut self, day: i32, units: &[Unit<'_>], stamps: &Stamps<'_>) -> Vec<bool> {
        self.readings.iter_mut().for_each(Reading::clear);
        let mut holds: Vec<bool> = units.iter().map(|unit| unit.is_unread_on(day)).collect();
        let pages = self.book.read(day, self.part, self.with_scopes);
        for (title, text, scopes) in pages.iter().flat_map(Pages::iter) {
            let Some(&index) = self.places.get(&title.owner) else { continue };
            let basis = units[index].basis(&self.constants[index], day, stamps, self.figures.now);
            holds[index] = units[index].fits(title, &basis) && self.readings[index].read(day, text, scopes);
        }
        holds
    }
}

/// Of which of these days any page is missing or holds no more.
///
/// # Errors
/// [`BillingError`] if the store fails.
pub fn stale_days(figures: &Figures<'_>, book: &DayBook, days: Range<i32>) -> Result<Vec<i32>, BillingError> {
    let window = Window::of_slots(Slot(days.start * DAY_SLOTS), Slot(days.end * DAY_SLOTS));
    let card = RateCard::default();
    let mut rollup = Rollup::new(&card, By::default(), Where::default(), vec![window]);
    let mut plain = Plain::new(figures, None);
    let mut stale = vec![false; days.len()];
    for number in 0..figures.snapshot.parts.len() {
        let units = plain.units(number, window, &mut rollup);
        let stamps = stamps_for(figures, &units, &days)?;
        let Ok(part) = u8::try_from(number) else { continue };
        let mut pages = PartPages::new(figures, book, part, &units, false);
        for (day, stale) in days.clone().zip(&mut stale) {
            *stale = *stale || pages.read(day, &units, &stamps).contains(&false);
        }
    }
    Ok(days.zip(stale).filter(|(_, stale)| *stale).map(|(day, _)| day).collect())
}

/// Works out the pages of a day, by partition, for as long as `goes_on`. Owners of which more is posted meanwhile are
/// left out.
///
/// # Errors
/// [`BillingError`] if the store fails.
pub fn pages_of(
    figures: &Figures<'_>,
    day: i32,
    goes_on: &dyn Fn() -> bool,
) -> Result<Option<Vec<Vec<daybook::Entry>>>, BillingError> {
    let window = day_window(day);
    let card = RateCard::default();
    let mut rollup = Rollup::new(&card, By::default(), Where::default(), vec![window]);
    let mut plain = Plain::new(figures, None);
    let mut parts = Vec::with_capacity(figures.snapshot.parts.len());
    for number in 0..figures.snapshot.parts.len() {
        if !goes_on() {
            return Ok(None);
        }
        let mut units = plain.units(number, window, &mut rollup);
        units.retain(|unit| !unit.is_unread_on(day));
        let before = bases(figures, &units, day)?;
        units.iter_mut().for_each(|unit| unit.begin_page(day));
        add_part(figures.store, window, &mut units, &mut rollup)?;
        let after = bases(figures, &units, day)?;
        let mut entries = Vec::with_capacity(units.len());
        for ((unit, basis), after) in units.iter_mut().zip(before).zip(after) {
            let page = unit.take_page().filter(|_| basis == after);
            let (owner, versions) = (unit.owner().clone(), unit.versions());
            entries.extend(page.map(|page| daybook::Entry { owner, basis, versions, page }));
        }
        parts.push(entries);
    }
    Ok(Some(parts))
}

fn bases(figures: &Figures<'_>, units: &[Unit<'_>], day: i32) -> Result<Vec<Basis>, BillingError> {
    let stamps = stamps_for(figures, units, &(day..day + 1))?;
    Ok(units.iter().map(|unit| unit.basis(&unit.constants(), day, &stamps, figures.now)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_that_lie_in_the_window_as_a_whole_are_taken_from_the_book() {
        for (first, until, days) in
            [(0, 96, 0..1), (1, 96, 1..1), (-96, 191, -1..1), (95, 97, 1..1), (97, 98, 2..2), (5, 960, 1..10)]
        {
            assert_eq!(whole_days(Window::of_slots(Slot(first), Slot(until))), days, "{first}..{until}");
        }
    }
}
