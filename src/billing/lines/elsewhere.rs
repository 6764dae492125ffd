//! One device at several owners is billed once: to whom, slot by slot.
//!
//! In a slot it counts at the owner that covers most of it; among those that cover nearly as much, at one
//! that reads the hardware's counter, then at one whose own agent reads it (in band goes before on behalf),
//! then where more seconds are covered, then where it was read first. Elsewhere it is left out of that slot, and
//! every owner that read it is flagged.
//!
//! Who covered what is told by the accounts themselves (first reading, newest reading, holes between), so
//! nothing of the history is read for it.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use energy::boundary::JOIN_NS;
use energy::{Account, Cell, OwnerState};
use meter::{Owner, OwnerKind, Quality, Slot, Utc, overlap_ns};

use crate::doubles::Seat;
use crate::figures::Figures;
use crate::published::Snapshot;
use crate::topology::Topology;

/// What one owner's account says for itself.
pub(super) struct Claim<'a> {
    account: &'a Account,
    counts: bool,
    in_band: bool,
}

/// A device of an owner that others have too.
pub(super) struct Contest<'a> {
    /// Its account there.
    pub(super) account: usize,
    mine: usize,
    claims: Rc<[Claim<'a>]>,
}

/// The contested devices of each owner.
pub(super) type Contests<'a> = HashMap<&'a Owner, Vec<Contest<'a>>>;

/// All contests of one moment.
pub(super) fn contests<'a>(figures: &Figures<'a>) -> Contests<'a> {
    let mut contests = Contests::new();
    for seats in &figures.snapshot.doubles().0 {
        let Some((seats, claims)) = claims(figures.snapshot, figures.topology, seats) else { continue };
        let claims: Rc<[Claim<'a>]> = claims.into();
        for (mine, seat) in seats.into_iter().enumerate() {
            let contest = Contest { account: seat.account, mine, claims: Rc::clone(&claims) };
            contests.entry(&seat.owner).or_default().push(contest);
        }
    }
    contests
}

/// The seats of a device that are billed apart, with what their accounts say for themselves; nothing if there
/// is but one.
fn claims<'a>(
    snapshot: &'a Snapshot,
    topology: &Topology,
    seats: &'a [Seat],
) -> Option<(Vec<&'a Seat>, Vec<Claim<'a>>)> {
    let apart: Vec<&Seat> = seats.iter().filter(|seat| !is_of_a_host_among(seat, seats, topology)).collect();
    let claim = |seat: &&'a Seat| {
        let state: &OwnerState = &snapshot.owner(&seat.owner)?.state;
        Some(Claim::of(state.accounts.get(seat.account)?, state))
    };
    let claims: Vec<Claim<'a>> = apart.iter().map(claim).collect::<Option<_>>()?;
    (claims.len() > 1).then_some((apart, claims))
}

/// Whether the seat is at a chassis that another seat's host sits in: owner and chassis are billed together.
fn is_of_a_host_among(seat: &Seat, seats: &[Seat], topology: &Topology) -> bool {
    let hosts = topology.hosts_of(&seat.owner).filter(|_| seat.owner.kind == OwnerKind::Chassis);
    hosts.is_some_and(|hosts| seats.iter().any(|other| hosts.contains(&other.owner)))
}

impl<'a> Claim<'a> {
    fn of(account: &'a Account, state: &OwnerState) -> Self {
        let counts = account.frontier.counter.is_some() || account.lifetime[Quality::Counter].0 > 0;
        Self { account, counts, in_band: state.boots.iter().any(|boot| boot.own) }
    }

    /// For how much of a slot it has readings.
    fn covered_ns(&self, slot: Slot) -> u64 {
        let span = |from: Utc, until: Utc| overlap_ns(&(from..until), &(slot.start()..slot.end()));
        let account = self.account;
        let holes = account.rare().map_or(&[][..], |rare| &rare.holes);
        let missing: u64 = holes.iter().map(|hole| span(hole.start.at, hole.end.at)).sum();
        span(account.first.at, account.frontier.at).saturating_sub(missing)
    }
}

impl Contest<'_> {
    /// The same contest, where accounts are counted from another number on.
    pub(super) fn counted_from(self, offset: usize) -> Self {
        Self { account: self.account + offset, ..self }
    }

    /// Whether the device counts elsewhere in this slot.
    pub(super) fn is_lost(&self, slot: Slot) -> bool {
        self.winner(slot).is_some_and(|winner| winner != self.mine)
    }

    /// Whether it was read here and elsewhere in this slot.
    pub(super) fn is_doubled(&self, slot: Slot) -> bool {
        let covers = |claim: &Claim<'_>| claim.covered_ns(slot) > 0;
        self.claims.get(self.mine).is_some_and(covers) && self.claims.iter().filter(|claim| covers(claim)).count() > 1
    }

    /// Everything that the contest depends on within a span of time.
    pub(super) fn digest(&self, span: &Range<Utc>, hasher: &mut blake3::Hasher) {
        let mut put = |number: i64| {
            hasher.update(&number.to_le_bytes());
        };
        [self.account, self.mine, self.claims.len()].into_iter().for_each(|number| put(number as i64));
        for claim in self.claims.iter() {
            let account = claim.account;
            [i64::from(claim.counts), i64::from(claim.in_band), account.first.at.0].into_iter().for_each(&mut put);
            let holes =
                account.rare().map_or(&[][..], |rare| &rare.holes).iter().map(|hole| (hole.start.at, hole.end.at));
            for (from, until) in [(account.first.at, account.frontier.at)].into_iter().chain(holes) {
                let (from, until) = (from.max(span.start), until.min(span.end));
                if from < until {
                    [from.0, until.0].into_iter().for_each(&mut put);
                }
            }
            put(i64::MIN);
        }
    }

    fn winner(&self, slot: Slot) -> Option<usize> {
        let most = self.claims.iter().map(|claim| claim.covered_ns(slot)).max().filter(|most| *most > 0)?;
        let claims = self.claims.iter().enumerate().map(|(index, claim)| (index, claim, claim.covered_ns(slot)));
        let able = claims.filter(|(_, _, covered)| *covered > 0 && covered.saturating_add(JOIN_NS) >= most);
        let order = |(index, claim, covered): &(usize, &Claim<'_>, u64)| {
            (!claim.counts, !claim.in_band, std::cmp::Reverse(*covered), claim.account.first.at, *index)
        };
        able.min_by_key(order).map(|(index, ..)| index)
    }
}

/// Leaves out of a slot's cells what counts elsewhere. Tells whether any device was read elsewhere too.
pub(super) fn leave_out(contests: &[Contest<'_>], slot: Slot, cells: &mut [Cell]) -> bool {
    let mut is_doubled = false;
    for contest in contests {
        is_doubled |= contest.is_doubled(slot);
        if contest.is_lost(slot)
            && let Some(cell) = cells.get_mut(contest.account)
        {
            *cell = Cell::default();
        }
    }
    is_doubled
}
