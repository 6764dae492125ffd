//! A line of one slot is divided: between parts of the slot by what was used before each border, within a part
//! by shares. All in whole numbers that add up to the line.

use meter::{ByQuality, Energy, Utc};

use crate::spread::Ways;
use crate::tenancy::Shares;
use crate::usage::TenantId;

/// What a line had used before an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// The energy from the slot's beginning.
    pub energy: ByQuality,
    /// Whether that is known, not apportioned by time.
    pub is_exact: bool,
}

/// What one tenant gets of a line in one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Who.
    pub tenant: TenantId,
    /// The energy.
    pub energy: ByQuality,
    /// How much of it was given by time or by number.
    pub apportioned: Energy,
}

/// Divides a line's energy among who holds it: `parts` are the shares up to each instant, the last one at the
/// slot's end, and nothing for time that does not count. `before` tells what had been used before a border.
///
/// Where neighbouring parts have the same holders the border between them does not matter, and is not asked for.
pub fn divide(
    energy: &ByQuality,
    parts: impl Iterator<Item = (Utc, Option<Shares>)>,
    mut before: impl FnMut(Utc) -> Before,
    mut each: impl FnMut(Piece),
) {
    let mut parts = parts.peekable();
    let mut start = Before { energy: ByQuality::default(), is_exact: true };
    while let Some((mut until, shares)) = parts.next() {
        while let Some((later, _)) = parts.next_if(|(_, next)| *next == shares) {
            until = later;
        }
        let end = match parts.peek() {
            Some(_) => before(until),
            // The last part has the rest.
            None => Before { energy: *energy, is_exact: true },
        };
        if let Some(shares) = &shares {
            let mut part = end.energy;
            part -= start.energy;
            shares.split(&part, start.is_exact && end.is_exact, &mut each);
        }
        start = end;
    }
}

impl Shares {
    fn split(&self, part: &ByQuality, is_exact: bool, each: &mut impl FnMut(Piece)) {
        let is_told = is_exact && !self.by_number;
        let piece = |tenant, energy: ByQuality| {
            let apportioned = if is_told { Energy::ZERO } else { energy.total() };
            Piece { tenant, energy, apportioned }
        };
        if let Some(tenant) = self.only() {
            return each(piece(tenant, *part));
        }
        let mut ways = Ways::of(i128::from(self.whole));
        for &(tenant, weight) in &self.of {
            ways.step(i128::from(weight));
            each(piece(tenant, ByQuality(part.0.map(|energy| ways.share(energy)))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId(2);

    fn of(energy: i128) -> ByQuality {
        ByQuality([Energy(energy), Energy(0), Energy(0)])
    }

    fn pieces(parts: &[(i64, Option<Shares>)], is_exact: bool) -> Vec<(u32, i128, i128)> {
        let mut pieces = Vec::new();
        let parts = parts.iter().cloned().map(|(at, shares)| (Utc(at), shares));
        let before = |at: Utc| Before { energy: of(i128::from(at.0)), is_exact };
        divide(&of(101), parts, before, |piece| {
            pieces.push((piece.tenant.0, piece.energy.total().0, piece.apportioned.0));
        });
        pieces
    }

    #[test]
    fn the_last_part_has_the_rest_and_equal_neighbours_are_one() {
        let (all, idle) = (Some(Shares::all(A)), Some(Shares::all(TenantId::IDLE)));
        let three = [(20, idle.clone()), (60, all.clone()), (100, idle.clone())];
        assert_eq!(pieces(&three, true), [(1, 20, 0), (2, 40, 0), (1, 41, 0)]);
        assert_eq!(pieces(&three, false), [(1, 20, 20), (2, 40, 40), (1, 41, 41)]);
        let same = [(20, all.clone()), (60, all.clone()), (100, all.clone())];
        assert_eq!(pieces(&same, false), [(2, 101, 0)], "a border that changes nothing apportions nothing");
        assert_eq!(pieces(&[(20, None), (60, all), (100, None)], true), [(2, 40, 0)]);
    }

    #[test]
    fn shares_of_a_part_add_up_to_it() {
        let shares = Shares { of: vec![(A, 1), (TenantId(3), 1), (TenantId::IDLE, 1)], whole: 3, by_number: true };
        assert_eq!(pieces(&[(100, Some(shares))], true), [(2, 33, 33), (3, 34, 34), (1, 34, 34)]);
    }
}
