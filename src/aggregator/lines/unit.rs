//! One billed owner while its slots are added up.

use std::ops::Range;

use cost::{CostError, DeviceId, HostId, HostSlot, Line, Rollup};
use energy::{Account, Billed, Cell, HourBlock};
use meter::{AccountKey, ByQuality, Energy, Scope, Slot, Utc};

use super::waiting::Waiting;
use crate::published::OwnerView;

/// A stretch of slots under one set of labels; without a host it is left out by `where`.
pub(super) struct Stretch {
    pub(super) from: Slot,
    pub(super) until: Slot,
    pub(super) host: Option<HostId>,
}

/// A billed owner: its cells that wait, and the sum that is not handed over yet.
pub(super) struct Unit<'a> {
    view: Option<&'a OwnerView>,
    chassis: Option<&'a OwnerView>,
    /// The owner's accounts, then the chassis', or one for its share of a shared chassis.
    keys: Vec<AccountKey>,
    /// Where each account's line is in `lines`.
    line_of: Vec<usize>,
    /// From when on each line is shown even where nothing was read.
    shown_from: Vec<Option<Utc>>,
    expected: Range<Utc>,
    stretches: std::iter::Peekable<std::vec::IntoIter<Stretch>>,
    waiting: Waiting,
    billed: Billed,
    sum: Option<Sum>,
    lines: Vec<Line>,
    touched: Vec<bool>,
}

/// Where the running sum lies.
struct Sum {
    host: Option<HostId>,
    from: Slot,
    until: Slot,
    covered_ns: u64,
}

/// What a slot says of an owner's share of a chassis.
pub(super) enum Weight {
    /// It meters itself: this much of the chassis is its own.
    Meter(ByQuality),
    /// It does not: what its components used.
    Components(Energy),
}

impl<'a> Unit<'a> {
    /// An owner, with the chassis that is its alone.
    pub(super) fn new(
        view: Option<&'a OwnerView>,
        chassis: Option<&'a OwnerView>,
        expected: Range<Utc>,
        stretches: Vec<Stretch>,
        rollup: &mut Rollup<'_>,
    ) -> Self {
        let states = || view.into_iter().chain(chassis).map(|view| &view.state);
        let keys = states().flat_map(|state| state.keys.iter().cloned()).collect();
        let mut unit = Self::with_keys(keys, view, chassis, expected, stretches);
        let accounts: Vec<&Account> = states().flat_map(|state| &state.accounts).collect();
        unit.make_lines(&accounts, rollup);
        unit
    }

    /// An owner that gets shares of chassis.
    pub(super) fn sharing(
        view: Option<&'a OwnerView>,
        expected: Range<Utc>,
        stretches: Vec<Stretch>,
        rollup: &mut Rollup<'_>,
    ) -> Self {
        let own = view.into_iter().flat_map(|view| view.state.keys.iter().cloned());
        let share = AccountKey { scope: Scope::Chassis, device: "".into() };
        let mut unit = Self::with_keys(own.chain([share]).collect(), view, None, expected, stretches);
        let accounts: Vec<&Account> = view.into_iter().flat_map(|view| &view.state.accounts).collect();
        unit.make_lines(&accounts, rollup);
        unit
    }

    fn with_keys(
        keys: Vec<AccountKey>,
        view: Option<&'a OwnerView>,
        chassis: Option<&'a OwnerView>,
        expected: Range<Utc>,
        stretches: Vec<Stretch>,
    ) -> Self {
        let mut waiting = Waiting::default();
        let own = view.map_or(0, |view| view.state.keys.len());
        for (view, offset) in [(view, 0), (chassis, own)] {
            view.into_iter().for_each(|view| waiting.take_open(view, offset));
        }
        Self {
            view,
            chassis,
            line_of: Vec::with_capacity(keys.len()),
            keys,
            shown_from: Vec::new(),
            expected,
            stretches: stretches.into_iter().peekable(),
            waiting,
            billed: Billed::default(),
            sum: None,
            lines: Vec::new(),
            touched: Vec::new(),
        }
    }

    pub(super) fn view(&self) -> Option<&'a OwnerView> {
        self.view
    }

    pub(super) fn chassis(&self) -> Option<&'a OwnerView> {
        self.chassis
    }

    /// One line per account, per scope or for all, whatever the answer needs. The first line is
    /// for what no component explains.
    fn make_lines(&mut self, accounts: &[&Account], rollup: &mut Rollup<'_>) {
        let (devices, scopes) = (rollup.needs_devices(), rollup.needs_scopes());
        let unnamed = rollup.device("");
        let mut place: Vec<(Option<Scope>, DeviceId)> = vec![(None, unnamed)];
        for key in &self.keys {
            let scope = scopes.then_some(key.scope);
            let name = if devices { rollup.device(&key.device) } else { unnamed };
            let wanted = (scope, name);
            let index = place.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                place.push(wanted);
                place.len() - 1
            });
            self.line_of.push(index);
        }
        let empty = |&(scope, device): &(Option<Scope>, DeviceId)| Line {
            scope,
            device,
            energy: Default::default(),
            metered: Energy::ZERO,
            covered_ns: 0,
        };
        self.lines = place.iter().map(empty).collect();
        self.touched = vec![false; place.len()];
        self.shown_from = vec![None; place.len()];
        // A device that is billed when it is read is shown also while it is silent.
        let lifetimes: Vec<Cell> =
            accounts.iter().map(|account| Cell { energy: account.lifetime, covered_ns: account.covered_ns }).collect();
        energy::bill(&self.keys, &lifetimes, &mut self.billed);
        for account in self.billed.lines.iter().filter_map(|line| line.account).map(usize::from) {
            let Some((&line, account)) = self.line_of.get(account).zip(accounts.get(account)) else { continue };
            let known = &mut self.shown_from[line];
            *known = Some(known.map_or(account.first.at, |known| known.min(account.first.at)));
        }
    }

    /// How many accounts are the owner's own.
    fn own(&self) -> usize {
        self.view.map_or(0, |view| view.state.keys.len())
    }

    /// A posting of the owner's own history.
    pub(super) fn take(&mut self, version: u64, block: &HourBlock) {
        if let Some(view) = self.view {
            self.waiting.take(view, 0, version, block);
        }
    }

    /// A posting of its chassis' history.
    pub(super) fn take_chassis(&mut self, version: u64, block: &HourBlock) {
        let own = self.own();
        if let Some(chassis) = self.chassis {
            self.waiting.take(chassis, own, version, block);
        }
    }

    /// What a slot that waits says of its share.
    pub(super) fn weigh(&mut self, slot: Slot) -> Weight {
        let cells = self.waiting.get(slot);
        let own = &cells[..cells.len().min(self.own())];
        energy::bill(&self.keys, own, &mut self.billed);
        let (mut all, mut components) = (ByQuality::default(), Energy::ZERO);
        for line in &self.billed.lines {
            all += line.energy;
            components += line.account.map_or(Energy::ZERO, |_| line.energy.total());
        }
        if self.billed.metered { Weight::Meter(all) } else { Weight::Components(components) }
    }

    /// Its share of a chassis in one slot.
    pub(super) fn put_share(&mut self, slot: Slot, share: &Cell) {
        self.waiting.put(slot, self.own(), share);
    }

    /// Bills every waiting slot before `border`.
    pub(super) fn bill_until(&mut self, border: Slot, rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        while let Some((slot, mut cells)) = self.waiting.pop_before(border) {
            self.bill(slot, &mut cells, rollup)?;
            self.waiting.give_back(cells);
        }
        Ok(())
    }

    /// Bills what waits and hands over what is left, to the end of the window.
    pub(super) fn finish(&mut self, rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        self.bill_until(Slot(i32::MAX), rollup)?;
        while self.advance(rollup)? {}
        Ok(())
    }

    fn bill(&mut self, slot: Slot, cells: &mut [Cell], rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        while self.sum.as_ref().is_none_or(|sum| sum.until <= slot) {
            if !self.advance(rollup)? {
                return Ok(());
            }
        }
        let own = self.own().min(cells.len());
        let Some(sum) = self.sum.as_mut().filter(|sum| sum.from <= slot && sum.host.is_some()) else { return Ok(()) };
        let meters_itself = |(key, cell): (&AccountKey, &Cell)| key.scope == Scope::Chassis && cell.covered_ns > 0;
        if cells.len() > own && self.keys.iter().zip(&cells[..own]).any(meters_itself) {
            cells[own..].fill(Cell::default());
        }
        energy::bill(&self.keys, cells, &mut self.billed);
        // Readings after retirement, or before the date of service, are energy but no coverage: the
        // share of time that is covered never exceeds all of it.
        let expected_ns = overlap(&self.expected, slot.start()..slot.end());
        sum.covered_ns += self.billed.covered_ns.min(expected_ns);
        for billed in &self.billed.lines {
            let account = billed.account.map(usize::from);
            let index = account.and_then(|account| self.line_of.get(account)).copied().unwrap_or(0);
            let line = &mut self.lines[index];
            line.energy += billed.energy;
            if self.billed.metered {
                line.metered += billed.energy.total();
            }
            line.covered_ns += billed.covered_ns.min(expected_ns);
            self.touched[index] = true;
        }
        Ok(())
    }

    /// Hands the running sum over and begins the next; false at the end of the window.
    fn advance(&mut self, rollup: &mut Rollup<'_>) -> Result<bool, CostError> {
        if let Some(sum) = self.sum.take() {
            self.hand_over(&sum, rollup)?;
            if let Some(stretch) = self.stretches.peek_mut() {
                stretch.from = stretch.from.max(sum.until);
            }
        }
        self.stretches.next_if(|stretch| stretch.from >= stretch.until);
        let Some(stretch) = self.stretches.peek() else { return Ok(false) };
        let same = stretch.host.map_or(stretch.until, |host| rollup.same_until(host, stretch.from));
        let until = same.clamp(stretch.from.next(), stretch.until);
        self.sum = Some(Sum { host: stretch.host, from: stretch.from, until, covered_ns: 0 });
        Ok(true)
    }

    fn hand_over(&mut self, sum: &Sum, rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        let Some(host) = sum.host else { return Ok(()) };
        let end = sum.until.start();
        let expected_ns = overlap(&self.expected, sum.from.start()..end);
        let expects = |from: &Option<Utc>| expected_ns > 0 && from.is_some_and(|from| from < end);
        let is_told = self.touched.iter().zip(&self.shown_from).map(|(&touched, from)| touched || expects(from));
        let lines: Vec<Line> =
            self.lines.iter().zip(is_told).filter(|(_, told)| *told).map(|(line, _)| *line).collect();
        if !lines.is_empty() || expected_ns > 0 {
            let covered_ns = sum.covered_ns;
            rollup.add(&HostSlot { host, slot: sum.from, covered_ns, expected_ns, lines: &lines })?;
        }
        for line in &mut self.lines {
            *line = Line { energy: Default::default(), metered: Energy::ZERO, covered_ns: 0, ..*line };
        }
        self.touched.fill(false);
        Ok(())
    }
}

/// For how long two spans of time overlap, in nanoseconds.
fn overlap(a: &Range<Utc>, b: Range<Utc>) -> u64 {
    a.end.min(b.end).since(a.start.max(b.start))
}
