//! What the accounts of one owner booked over a range: before any boundary, so that what is not billed by itself, such
//! as an outer meter with components within, has figures too.

use std::ops::Range as Span;

use billing::Figures;
use billing::figures::expected;
use billing::lines::accounts::each_slot;
use billing::published::OwnerView;
use cost::statement::QualityFigures;
use cost::{Row, Window};
use energy::{Account, Cell};
use meter::{Quality, Slot, Utc};

use crate::asked::Range;
use crate::hosts_view::seconds;
use crate::http::problem::Problem;
use crate::query::{Zone, cost_problem, lines_problem};

/// Slots of an hour.
const HOUR: i32 = 4;

/// What accounts booked.
pub(super) struct Booked {
    /// Each account's, in the order of the owner's keys.
    pub(super) totals: Vec<Row>,
    /// That of the one asked for, in quarters of an hour or, over more than a day, in hours.
    pub(super) steps: Vec<Row>,
}

impl Booked {
    /// Over a range up to now; `stepwise` is the account whose course is asked for. Blocks while the store is read.
    ///
    /// # Errors
    /// A problem if the store failed.
    pub(super) fn of(
        figures: &Figures<'_>,
        view: &OwnerView,
        (range, zone): (Range, &Zone),
        stepwise: Option<usize>,
    ) -> Result<Self, Problem> {
        let window = Window::parse(range.word(), figures.now, &zone.tz).map_err(|error| cost_problem(&error))?;
        let steps = steps(window, range);
        let mut cells = vec![Cell::default(); view.state.accounts.len()];
        let mut by_step = vec![Cell::default(); steps.len()];
        each_slot(figures, &[view], window, |slot, booked| {
            for (sum, cell) in cells.iter_mut().zip(booked) {
                add(sum, cell);
            }
            let cell = stepwise.and_then(|account| booked.get(account));
            let at = steps.partition_point(|step| step.until() <= slot);
            if let Some((sum, cell)) = by_step.get_mut(at).zip(cell) {
                add(sum, cell);
            }
        })
        .map_err(|error| lines_problem(&error))?;
        let there = expected(figures, &view.state.owner, Some(view));
        let read = |account: &Account| account.first.at.max(there.start)..there.end;
        let totals = view.state.accounts.iter().zip(&cells).map(|(account, cell)| row(window, cell, &read(account)));
        let of = stepwise.and_then(|account| view.state.accounts.get(account));
        let by_step = of.map_or_else(Vec::new, |account| {
            steps.iter().zip(&by_step).map(|(step, cell)| row(*step, cell, &read(account))).collect()
        });
        Ok(Self { totals: totals.collect(), steps: by_step })
    }
}

fn add(sum: &mut Cell, cell: &Cell) {
    sum.energy += cell.energy;
    sum.covered_ns += cell.covered_ns;
}

/// The window in steps; the first hour may be a part of one.
fn steps(window: Window, range: Range) -> Vec<Window> {
    let step = if range <= Range::Day { 1 } else { HOUR };
    let (first, until) = (window.first().0, window.until().0);
    let starts = std::iter::successors(Some(first), |at| Some((at.div_euclid(step) + 1) * step));
    let starts = starts.take_while(|at| *at < until);
    starts.map(|at| Window::of_slots(Slot(at), Slot(((at.div_euclid(step) + 1) * step).min(until)))).collect()
}

/// A cell in the words of an answer. Readings are expected as long as the account is there.
fn row(window: Window, cell: &Cell, there: &Span<Utc>) -> Row {
    let total = cell.energy.total();
    let expected = there.end.min(window.end()).since(there.start.max(window.start()));
    let quality = QualityFigures {
        counter_joules: cell.energy[Quality::Counter].joules(),
        integrated_joules: cell.energy[Quality::Integrated].joules(),
        estimated_joules: cell.energy[Quality::Estimated].joules(),
        covered_seconds: seconds(cell.covered_ns),
        expected_seconds: seconds(expected),
        ..QualityFigures::default()
    };
    Row {
        start: window.start(),
        end: window.end(),
        energy_uj: total.microjoules(),
        energy_joules: total.joules(),
        energy_kwh: total.kwh(),
        quality,
        ..Row::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_the_window_once_and_begin_with_hours() {
        for (range, first, until, lengths) in [
            (Range::Day, 401, 405, vec![1, 1, 1, 1]),
            (Range::Week, 401, 410, vec![3, 4, 2]),
            (Range::Month, -6, 2, vec![2, 4, 2]),
            (Range::Month, 400, 400, vec![]),
        ] {
            let window = Window::of_slots(Slot(first), Slot(until));
            let steps = steps(window, range);
            assert_eq!(steps.iter().map(Window::len).collect::<Vec<_>>(), lengths);
            assert!(steps.windows(2).all(|pair| pair[0].until() == pair[1].first()));
        }
    }
}
