//! Who holds the lines of one owner, slot by slot; and which of its time counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use cost::{Before, Held, Holder, Line, Piece, Shares, Tenancy, TenantId, divide};
use energy::{Billed, Boundary};
use meter::{AccountKey, ByQuality, Energy, Owner, Slot, Utc, overlap_ns};

use super::cuts::Sliced;

/// Who held what, for lines that are to be told apart by it.
#[derive(Default)]
pub struct Attribution {
    /// What jobs held, by owner.
    pub held: HashMap<Owner, Vec<Held>>,
    /// Owners that were ever told of a job, besides.
    pub told: Arc<HashSet<Owner>>,
    /// Time that counts; all if absent.
    pub within: Option<Range<Utc>>,
}

/// Whose lines an owner's are by default, and who holds them otherwise.
#[derive(Default)]
pub(super) struct Tenants {
    /// Who holds what nobody holds.
    pub(super) nobody: TenantId,
    pub(super) holding: Option<Holding>,
}

/// The shares of one line, up to each instant; nothing for time that does not count.
type LineShares = Vec<(Utc, Option<Shares>)>;

/// An owner of which jobs hold something, or of whose time only a part counts.
pub(super) struct Holding {
    tenancy: Tenancy,
    nobody: TenantId,
    within: Option<Range<Utc>>,
    accounts: usize,
    /// By account, and last for what no component explains.
    shares: Vec<LineShares>,
    epoch: Option<u64>,
    sums: BTreeMap<(usize, TenantId), Sum>,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    energy: ByQuality,
    metered: Energy,
    apportioned: Energy,
    covered_ns: u64,
    metered_ns: u64,
}

/// What of a slot counts, in nanoseconds.
pub(super) struct Counted {
    pub(super) covered_ns: u64,
    pub(super) expected_ns: u64,
}

impl Attribution {
    /// What is known of an owner, which `also` is another name of.
    pub(super) fn of(&self, owner: &Owner, also: &Owner) -> Tenants {
        let is_told = |owner: &Owner| self.held.contains_key(owner) || self.told.contains(owner);
        let nobody = if is_told(owner) || is_told(also) { TenantId::IDLE } else { TenantId::SHARED };
        let mut held = self.held.get(owner).cloned().unwrap_or_default();
        if also != owner {
            held.extend(self.held.get(also).into_iter().flatten().cloned());
        }
        let is_needed = !held.is_empty() || self.within.is_some();
        let holding = is_needed.then(|| Holding {
            tenancy: Tenancy::new(held, Vec::new()),
            nobody,
            within: self.within.clone(),
            accounts: 0,
            shares: Vec::new(),
            epoch: None,
            sums: BTreeMap::new(),
        });
        Tenants { nobody, holding }
    }
}

impl Tenants {
    /// The holders of so many lines that nobody holds.
    pub(super) fn of_nobody(&self, lines: usize) -> Vec<Holder> {
        // What runs no jobs is what a line is if nothing is said of it.
        if self.nobody == TenantId::SHARED {
            return Vec::new();
        }
        vec![Holder { tenant: self.nobody, apportioned: Energy::ZERO }; lines.max(1)]
    }

    /// The part of a span that counts.
    pub(super) fn within(&self, span: Range<Utc>) -> Range<Utc> {
        let within = self.holding.as_ref().and_then(|holding| holding.within.as_ref());
        within.map_or(span.clone(), |within| within.start.max(span.start)..within.end.min(span.end))
    }
}

impl Holding {
    /// Tells it the accounts of the boundary.
    pub(super) fn know(&mut self, keys: &[&AccountKey]) {
        self.accounts = keys.len();
        self.tenancy.know(keys.iter().map(|key| (key.scope, Arc::clone(&key.device))).collect());
    }

    /// Goes on to a slot. Tells whether others hold the lines there than before.
    pub(super) fn begin(&mut self, slot: Slot) -> bool {
        let span = slot.start()..slot.end();
        let edges: Vec<Utc> = self.within.iter().flat_map(|within| [within.start, within.end]).collect();
        let parts = self.tenancy.parts(&span, &edges);
        let epoch = parts.is_whole().then(|| parts.epoch());
        // Time that counts begins or ends at borders of slots, too.
        let is_counted = |until: Utc| {
            let within = self.within.as_ref();
            within.is_none_or(|within| until > within.start && until <= within.end.max(within.start))
        };
        let is_first = self.shares.is_empty();
        let counts = |shares: &LineShares| matches!(shares.as_slice(), [(_, shares)] if shares.is_some() == is_counted(span.end));
        if !is_first && epoch.is_some() && epoch == self.epoch && self.shares.first().is_some_and(counts) {
            return false;
        }
        let nobody = self.nobody;
        let shares_of = |account: Option<usize>| -> LineShares {
            let shares = parts.shares(account);
            shares.map(|(until, shares)| (until, is_counted(until).then(|| of_nobody(shares, nobody)))).collect()
        };
        let shares = (0..self.accounts).map(Some).chain([None]).map(shares_of).collect();
        self.shares = shares;
        self.epoch = epoch;
        true
    }

    /// Whether the slot that was begun is in parts.
    fn is_cut(&self) -> bool {
        self.shares.last().is_some_and(|shares| shares.len() > 1)
    }

    /// How much of the slot counts, of what was covered and expected in it.
    pub(super) fn counted(
        &self,
        sliced: &Sliced<'_>,
        billed: &Billed,
        boundary: &Boundary,
        expected: &Range<Utc>,
    ) -> Counted {
        let span = sliced.slot.start()..sliced.slot.end();
        let Some(within) = &self.within else {
            return Counted { covered_ns: billed.covered_ns, expected_ns: overlap_ns(expected, &span) };
        };
        let inside = within.start.max(span.start)..within.end.min(span.end).max(span.start);
        let expected_ns = overlap_ns(expected, &inside);
        if inside == span || expected_ns == 0 {
            return Counted { covered_ns: if expected_ns == 0 { 0 } else { billed.covered_ns }, expected_ns };
        }
        let accounts = if billed.metered {
            boundary.metering(sliced.cells, billed)
        } else {
            billed.lines.iter().filter_map(|line| line.account).map(usize::from).collect()
        };
        let upto = |at: Utc| sliced.accounts(&accounts, at).cell.covered_ns;
        let whole = billed.covered_ns;
        let from = if inside.start == span.start { 0 } else { upto(inside.start).min(whole) };
        let until = if inside.end == span.end { whole } else { upto(inside.end).min(whole) };
        Counted { covered_ns: until.saturating_sub(from), expected_ns }
    }

    /// Takes in what was billed in the slot that was begun; `line_of` says which line each account's is.
    pub(super) fn take(
        &mut self,
        sliced: &Sliced<'_>,
        billed: &Billed,
        boundary: &Boundary,
        line_of: &[usize],
        expected_ns: u64,
    ) {
        let befores = if self.is_cut() { self.befores(sliced, billed, boundary) } else { Vec::new() };
        let ends: Vec<Utc> =
            self.shares.last().map_or_else(Vec::new, |shares| shares.iter().map(|part| part.0).collect());
        for (place, line) in billed.lines.iter().enumerate() {
            let account = line.account.map(usize::from);
            let index = account.and_then(|account| line_of.get(account)).copied().unwrap_or(0);
            let Some(shares) = account.map_or_else(|| self.shares.last(), |account| self.shares.get(account)) else {
                continue;
            };
            let before = |at: Utc| {
                let border = ends.iter().position(|end| *end == at);
                border.and_then(|border| befores.get(border)?.get(place)).copied().unwrap_or_default()
            };
            let covered_ns = line.covered_ns.min(expected_ns);
            let metered_ns = if billed.metered { covered_ns } else { 0 };
            let (sums, is_metered) = (&mut self.sums, billed.metered);
            let mut there: Vec<TenantId> = Vec::new();
            divide(&line.energy, shares.iter().cloned(), before, |Piece { tenant, energy, apportioned }| {
                let sum = sums.entry((index, tenant)).or_default();
                sum.energy += energy;
                sum.apportioned += apportioned;
                if is_metered {
                    sum.metered += energy.total();
                }
                // Whoever has a part of the slot is there in that slot.
                if !there.contains(&tenant) {
                    there.push(tenant);
                    sum.covered_ns += covered_ns;
                    sum.metered_ns += metered_ns;
                }
            });
        }
    }

    /// What each line had used before each border, by border.
    fn befores(&self, sliced: &Sliced<'_>, billed: &Billed, boundary: &Boundary) -> Vec<Vec<Before>> {
        let all = billed.energy();
        let meters = if billed.metered { boundary.metering(sliced.cells, billed) } else { Vec::new() };
        let ends = self.shares.last().map_or(&[][..], |shares| &shares[..shares.len().saturating_sub(1)]);
        let at = |at: Utc| {
            // What no component explains is what the meter saw before, less what the components used.
            let mut rest = sliced.billed(&all, &meters, at);
            let mut line = |line: &energy::BilledLine| {
                let account = usize::from(line.account?);
                let before = sliced.billed(&line.energy, &[account], at);
                rest.energy -= before.energy;
                rest.is_exact &= before.is_exact;
                Some(before)
            };
            let known: Vec<Option<Before>> = billed.lines.iter().map(&mut line).collect();
            known.into_iter().map(|known| known.unwrap_or(rest)).collect()
        };
        ends.iter().map(|(end, _)| at(*end)).collect()
    }

    /// Hands over what was taken in: lines and who holds them. `empty` are lines to show even where nothing was
    /// read, which are nobody's.
    pub(super) fn hand_over(&mut self, lines: &[Line], mut empty: Vec<usize>) -> (Vec<Line>, Vec<Holder>) {
        let sums = std::mem::take(&mut self.sums);
        empty.retain(|index| !sums.keys().any(|(known, _)| known == index));
        let nothing = empty.into_iter().map(|index| ((index, self.nobody), Sum::default()));
        let all = sums.into_iter().chain(nothing).filter_map(|((index, tenant), sum)| {
            let Sum { energy, metered, apportioned, covered_ns, metered_ns } = sum;
            let line = Line { energy, metered, covered_ns, metered_ns, ..*lines.get(index)? };
            Some((line, Holder { tenant, apportioned }))
        });
        let (lines, mut holders): (Vec<Line>, Vec<Holder>) = all.unzip();
        if holders.is_empty() {
            // Time of which nothing is known is nobody's, too.
            holders.push(Holder { tenant: self.nobody, apportioned: Energy::ZERO });
        }
        (lines, holders)
    }
}

/// Idle energy of what runs no jobs is its own.
fn of_nobody(shares: Shares, nobody: TenantId) -> Shares {
    if shares.only() == Some(TenantId::IDLE) { Shares::all(nobody) } else { shares }
}
