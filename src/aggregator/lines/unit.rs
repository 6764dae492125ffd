//! One billed owner while its slots are added up.

use std::collections::BTreeMap;
use std::ops::Range;

use cost::{CostError, DeviceId, HostId, HostSlot, Line, Rollup};
use energy::{Account, Billed, Cell, HourBlock};
use meter::{AccountKey, Energy, Owner, Scope, Slot, Utc};

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
    /// The owner's accounts, then the chassis'.
    keys: Vec<AccountKey>,
    /// Where each account's line is in `lines`.
    line_of: Vec<usize>,
    /// From when on each line is shown even where nothing was read.
    shown_from: Vec<Option<Utc>>,
    expected: Range<Utc>,
    stretches: std::iter::Peekable<std::vec::IntoIter<Stretch>>,
    waiting: BTreeMap<Slot, Vec<Cell>>,
    spare: Vec<Vec<Cell>>,
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

impl<'a> Unit<'a> {
    pub(super) fn new(
        _owner: &Owner,
        view: Option<&'a OwnerView>,
        chassis: Option<&'a OwnerView>,
        expected: Range<Utc>,
        stretches: Vec<Stretch>,
        rollup: &mut Rollup<'_>,
    ) -> Self {
        let states = || view.into_iter().chain(chassis).map(|view| &view.state);
        let keys: Vec<AccountKey> = states().flat_map(|state| state.keys.iter().cloned()).collect();
        let accounts: Vec<&Account> = states().flat_map(|state| &state.accounts).collect();
        let mut unit = Self {
            view,
            chassis,
            line_of: Vec::with_capacity(keys.len()),
            shown_from: Vec::new(),
            expected,
            stretches: stretches.into_iter().peekable(),
            waiting: BTreeMap::new(),
            spare: Vec::new(),
            billed: Billed::default(),
            sum: None,
            lines: Vec::new(),
            touched: Vec::new(),
            keys,
        };
        unit.make_lines(&accounts, rollup);
        unit.take_open();
        unit
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

    /// The snapshot's open slots.
    fn take_open(&mut self) {
        let own_accounts = self.view.map_or(0, |view| view.state.keys.len());
        for (view, offset) in [(self.view, 0), (self.chassis, own_accounts)] {
            for open in view.iter().flat_map(|view| &view.state.open) {
                for (account, cell) in open.cells.iter().enumerate() {
                    self.put(open.slot, offset + account, cell);
                }
            }
        }
    }

    /// A posting of the owner's own history.
    pub(super) fn take(&mut self, version: u64, block: &HourBlock) {
        if self.view.is_some_and(|view| version <= view.version) {
            self.take_block(block, 0);
        }
    }

    /// A posting of its chassis' history.
    pub(super) fn take_chassis(&mut self, version: u64, block: &HourBlock) {
        if self.chassis.is_some_and(|view| version <= view.version) {
            self.take_block(block, self.view.map_or(0, |view| view.state.keys.len()));
        }
    }

    fn take_block(&mut self, block: &HourBlock, offset: usize) {
        for cell in &block.cells {
            let slot = Slot(block.hour * 4 + i32::from(cell.quarter));
            self.put(slot, offset + usize::from(cell.account), &cell.cell);
        }
    }

    fn put(&mut self, slot: Slot, account: usize, cell: &Cell) {
        let cells = self.waiting.entry(slot).or_insert_with(|| self.spare.pop().unwrap_or_default());
        if cells.len() <= account {
            cells.resize(account + 1, Cell::default());
        }
        cells[account].energy += cell.energy;
        cells[account].covered_ns += cell.covered_ns;
    }

    /// Bills every waiting slot before `border`.
    pub(super) fn bill_until(&mut self, border: Slot, rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() < border) {
            let (slot, mut cells) = first.remove_entry();
            self.bill(slot, &mut cells, rollup)?;
            cells.clear();
            self.spare.push(cells);
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
        let Some(sum) = self.sum.as_mut().filter(|sum| sum.from <= slot && sum.host.is_some()) else { return Ok(()) };
        let own = self.view.map_or(0, |view| view.state.keys.len()).min(cells.len());
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
