//! What accounts had used of a slot before an instant inside it.
//!
//! Known where the ledger cut the account there: it was told in time. Known too where an account was first read
//! later, or last read before. Else it is apportioned by time between the two nearest instants that are known,
//! and said to be so.

use cost::Before;
use energy::Cell;
use meter::{ByQuality, Energy, SLOT_NS, Slot, Utc};

/// What was booked of an account and slot before an instant.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) at: Utc,
    pub(super) account: usize,
    pub(super) cell: Cell,
}

/// When an account was read first, and last so far.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) first: Utc,
    pub(super) last: Utc,
}

/// One slot of an owner: its cells by account, and where they are cut.
pub(super) struct Sliced<'a> {
    pub(super) slot: Slot,
    pub(super) cells: &'a [Cell],
    pub(super) cuts: &'a [Cut],
    pub(super) lives: &'a [Life],
}

/// A cell up to an instant, and whether that is known.
#[derive(Clone, Copy)]
pub(super) struct Upto {
    pub(super) cell: Cell,
    pub(super) is_exact: bool,
}

impl Sliced<'_> {
    /// What an account had booked before an instant of the slot.
    pub(super) fn account(&self, account: usize, at: Utc) -> Upto {
        let whole = self.cells.get(account).copied().unwrap_or_default();
        let (start, end) = (self.slot.start(), self.slot.end());
        let life = self.lives.get(account).copied().unwrap_or(Life { first: start, last: end });
        let cuts = || self.cuts.iter().filter(|cut| cut.account == account);
        let known = |cell| Upto { cell, is_exact: true };
        if let Some(cut) = cuts().find(|cut| cut.at == at) {
            return known(cut.cell);
        }
        if at <= life.first || whole == Cell::default() {
            return known(Cell::default());
        }
        if at >= life.last {
            return known(whole);
        }
        let first = (life.first.max(start), Cell::default());
        let last = (life.last.min(end), whole);
        let nearest = cuts().map(|cut| (cut.at, cut.cell));
        let (low, high) = nearest.fold((first, last), |(low, high), point| {
            let low = if point.0 < at && point.0 > low.0 { point } else { low };
            (low, if point.0 > at && point.0 < high.0 { point } else { high })
        });
        let (part, length) = (at.since(low.0), high.0.since(low.0));
        let energy = |from: Energy, to: Energy| from + fraction(to - from, i128::from(part), i128::from(length));
        let (from, to) = (low.1.energy.0, high.1.energy.0);
        let energy = ByQuality(std::array::from_fn(|kind| energy(from[kind], to[kind])));
        let more = high.1.covered_ns.saturating_sub(low.1.covered_ns);
        let more = u64::try_from(i128::from(more) * i128::from(part) / i128::from(length.max(1))).unwrap_or(more);
        Upto { cell: Cell { energy, covered_ns: low.1.covered_ns + more }, is_exact: false }
    }

    /// What accounts that add up had booked before an instant.
    pub(super) fn accounts(&self, accounts: &[usize], at: Utc) -> Upto {
        let mut sum = Upto { cell: Cell::default(), is_exact: true };
        for upto in accounts.iter().map(|&account| self.account(account, at)) {
            sum.cell.energy += upto.cell.energy;
            sum.cell.covered_ns = sum.cell.covered_ns.max(upto.cell.covered_ns);
            sum.is_exact &= upto.is_exact;
        }
        sum
    }

    /// Of energy that was billed for these accounts: that of their readings, as a rule. Where it differs
    /// (contents taken out of a container, seconds that were estimated) it goes as the readings do, and by time
    /// where there are none.
    pub(super) fn billed(&self, billed: &ByQuality, accounts: &[usize], at: Utc) -> Before {
        let upto = self.accounts(accounts, at);
        let mut read = ByQuality::default();
        accounts.iter().filter_map(|&account| self.cells.get(account)).for_each(|cell| read += cell.energy);
        if *billed == read {
            return Before { energy: upto.cell.energy, is_exact: upto.is_exact };
        }
        let time = (i128::from(at.since(self.slot.start())), i128::from(SLOT_NS));
        let part = |kind: usize| {
            let (whole, part) = (read.0[kind].0, upto.cell.energy.0[kind].0);
            let (part, whole) = if whole > 0 { (part, whole) } else { time };
            fraction(billed.0[kind], part, whole)
        };
        Before { energy: ByQuality(std::array::from_fn(part)), is_exact: *billed == ByQuality::default() }
    }
}

/// `all × part / whole`, rounded down, with so many bits of the fraction that it fits 128.
fn fraction(Energy(all): Energy, part: i128, whole: i128) -> Energy {
    if all == 0 {
        return Energy::ZERO;
    }
    let surplus = (i128::BITS - whole.unsigned_abs().leading_zeros()).saturating_sub(40);
    let (part, whole) = (part >> surplus, (whole >> surplus).max(1));
    Energy(all.div_euclid(whole) * part + (all.rem_euclid(whole) * part).div_euclid(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(energy: i128, covered_ns: u64) -> Cell {
        Cell { energy: ByQuality([Energy(energy), Energy(0), Energy(0)]), covered_ns }
    }

    const MINUTE: i64 = 60_000_000_000;

    /// Account 0 is cut at minute 5; account 1 is not; 2 was first read at minute 10; 3 last at minute 3.
    fn with_sliced(check: impl FnOnce(&Sliced<'_>)) {
        let cells = [cell(900, 900), cell(900, 900), cell(500, 300), cell(180, 180)];
        let cuts = [Cut { at: Utc(5 * MINUTE), account: 0, cell: cell(600, 300) }];
        let life = |first: i64, last: i64| Life { first: Utc(first * MINUTE), last: Utc(last * MINUTE) };
        let lives = [life(-100, 100), life(-100, 100), life(10, 100), life(-100, 3)];
        check(&Sliced { slot: Slot(0), cells: &cells, cuts: &cuts, lives: &lives });
    }

    fn told(sliced: &Sliced<'_>, account: usize, minute: i64) -> (i128, bool) {
        let upto = sliced.account(account, Utc(minute * MINUTE));
        (upto.cell.energy.total().0, upto.is_exact)
    }

    #[test]
    fn what_is_known_is_exact_and_the_rest_lies_between() {
        with_sliced(|sliced| {
            assert_eq!(told(sliced, 0, 5), (600, true));
            assert_eq!(told(sliced, 0, 1), (120, false), "a fifth of what was used up to the cut");
            assert_eq!(told(sliced, 0, 10), (750, false), "half of what was used after it");
            assert_eq!(told(sliced, 1, 5), (300, false));
            assert_eq!((told(sliced, 2, 10), told(sliced, 2, 7)), ((0, true), (0, true)));
            assert_eq!(told(sliced, 2, 13), (300, false));
            assert_eq!((told(sliced, 3, 3), told(sliced, 3, 9)), ((180, true), (180, true)));
            assert_eq!(told(sliced, 7, 9), (0, true), "an account without readings here");
        });
    }

    #[test]
    fn billed_energy_that_is_not_what_was_read_goes_as_the_readings_do() {
        with_sliced(|sliced| {
            let of = |energy: i128, accounts: &[usize]| {
                let before = sliced.billed(&cell(energy, 0).energy, accounts, Utc(5 * MINUTE));
                (before.energy.total().0, before.is_exact)
            };
            assert_eq!(of(900, &[0]), (600, true));
            assert_eq!(of(90, &[0]), (60, false));
            assert_eq!(of(1800, &[0, 1]), (900, false));
            assert_eq!(of(90, &[7]), (30, false), "by time");
            assert_eq!(of(0, &[1]), (0, true));
        });
    }

    #[test]
    fn megawatts_fit() {
        let slot = 1_800_000_000_000_000_000_000_i128;
        let half = fraction(Energy(slot), slot / 2, slot).0;
        assert!((half - slot / 2).abs() < slot >> 38, "to a part in 10¹¹: {half}");
        assert_eq!(fraction(Energy(700), 1, 7), Energy(100));
        assert_eq!(fraction(Energy(-7), 1, 2), Energy(-4));
    }
}
