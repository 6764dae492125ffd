//! Slots written as tables: scope, device, joules, seconds covered.

use energy::{Billed, Boundary, Cell, Missed};
use meter::{AccountKey, Energy, Quality, Scope};

pub(crate) const SLOT: u64 = 900_000_000_000;

/// An account's slot: scope, device, joules and covered seconds.
pub(crate) type Entry<'a> = (Scope, &'a str, u64, u64);

pub(crate) fn joules(joules: u64) -> Energy {
    Energy::from_microjoules(joules * 1_000_000)
}

pub(crate) fn keys(entries: &[Entry<'_>]) -> Vec<AccountKey> {
    entries.iter().map(|(scope, device, ..)| AccountKey::new(*scope, device).expect("a good device")).collect()
}

pub(crate) fn cells(entries: &[Entry<'_>]) -> Vec<Cell> {
    let cell =
        |(.., energy, seconds): &Entry<'_>| Cell::of(Quality::Integrated, joules(*energy), seconds * 1_000_000_000);
    entries.iter().map(cell).collect()
}

/// The bill of a slot of an owner and of the chassis that it sits in.
pub(crate) fn bill_of(own: &[Entry<'_>], linked: &[Entry<'_>], missed: &Missed) -> Billed {
    let mut out = Billed::default();
    let boundary = Boundary::new(&keys(own), &keys(linked));
    boundary.survey(&[cells(own), cells(linked)].concat(), SLOT, &mut out);
    out.settle(missed);
    out
}

/// Lines in joules by account, the total, and whether a meter is billed.
pub(crate) fn billed(own: &[Entry<'_>]) -> (Vec<(Option<u16>, i128)>, i128, bool) {
    told(&bill_of(own, &[], &Missed::default()))
}

pub(crate) fn told(out: &Billed) -> (Vec<(Option<u16>, i128)>, i128, bool) {
    let whole = |energy: Energy| energy.microjoules() / 1_000_000;
    let lines = out.lines.iter().map(|line| (line.account, whole(line.energy.total()))).collect();
    (lines, whole(out.total()), out.metered)
}
