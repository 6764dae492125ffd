//! The load: mean power of consecutive stretches of time.

use std::ops::Range;

use billing::Figures;
use billing::figures::{all_chassis_of, is_billed};
use cost::{Row, Where};
use meter::Utc;

use crate::hosts_view::seconds;
use crate::query::keeps;

/// The seconds of a row that lie within `read`, from the first reading to the newest; nothing where none do.
#[must_use]
pub fn read_seconds(row: &Row, read: &Range<Utc>) -> Option<f64> {
    let (from, until) = (row.start.max(read.start), row.end.min(read.end));
    (until > from).then(|| seconds(until.since(from)))
}

/// The mean power of a row in watts, over what was read of it: over its whole length, one that began before the first
/// reading, or that still runs, would come out too low.
#[must_use]
pub fn mean_watts(row: &Row, read: &Range<Utc>) -> Option<f64> {
    read_seconds(row, read).map(|seconds| row.energy_joules / seconds)
}

/// From the first reading to the newest of what `select` keeps now, at most up to now; all time up to now where it
/// keeps nothing that was read.
#[must_use]
pub fn read_of(figures: &Figures<'_>, select: &Where) -> Range<Utc> {
    let topology = figures.topology;
    let mut read: Option<Range<Utc>> = None;
    for view in figures.snapshot.owners().filter(|view| is_billed(&view.state.owner, topology)) {
        let owner = &view.state.owner;
        // Most views keep everything, and labels of 10,000 hosts are many to look up.
        if *select != Where::default() && !keeps(select, &view.state, topology, figures.now) {
            continue;
        }
        let states = std::iter::once(&view.state).chain(all_chassis_of(figures, owner).map(|view| &view.state));
        for account in states.flat_map(|state| &state.accounts).filter(|account| !account.is_unread()) {
            let (first, last) = (account.first.at, account.frontier.at.min(figures.now));
            let before = read.get_or_insert(first..last);
            *before = before.start.min(first)..before.end.max(last);
        }
    }
    read.unwrap_or(Utc(i64::MIN)..figures.now)
}

#[cfg(test)]
mod tests {
    use meter::SECOND_NS;

    use super::*;

    const fn at(second: i64) -> Utc {
        Utc(second * SECOND_NS)
    }

    /// 400 W for as long as a quarter of an hour was read.
    fn quarter(seconds_read: f64) -> Row {
        Row { start: at(900), end: at(1800), energy_joules: 400.0 * seconds_read, ..Row::default() }
    }

    #[test]
    fn constant_power_is_the_same_in_the_first_the_whole_and_the_running_quarter() {
        for (read, seconds_read) in [
            (at(1500)..at(4000), 300.0),
            (at(0)..at(4000), 900.0),
            (at(0)..at(1080), 180.0),
            (at(1000)..at(1100), 100.0),
        ] {
            assert_eq!(mean_watts(&quarter(seconds_read), &read), Some(400.0), "{read:?}");
        }
        assert_eq!(mean_watts(&quarter(0.0), &(at(1800)..at(4000))), None, "before the first reading");
        assert_eq!(mean_watts(&quarter(0.0), &(at(0)..at(900))), None, "after the newest");
    }
}
