//! Slots into the day book, and out of it: what was billed before labels and prices.
//!
//! A replayed slot takes the same way into the same sums as one that is billed from cells, so that an answer does
//! not depend on where its slots came from.

use cost::{CostError, Rollup, Window};
use energy::boundary::History;
use energy::{Account, BilledLine};
use meter::{AccountKey, ByQuality, Owner, Scope, Slot, Utc};

use super::{Meters, Unit, Waiting};
use crate::daybook::page::{Entry, Page, PageWriter, Part, Reading};
use crate::figures::Figures;
use crate::published::OwnerView;

/// What the day book needs of a unit.
#[derive(Default)]
pub(in crate::lines) struct Copying {
    writer: Option<PageWriter>,
    /// Whether a posting was seen that its row does not know yet.
    is_ahead: bool,
    /// Whether its cells are read for the run of days at hand.
    pub(in crate::lines) is_read: bool,
}

impl Copying {
    /// Takes note of a posting of `view`'s history.
    pub(super) fn see(&mut self, version: u64, view: &OwnerView) {
        self.is_ahead |= version > view.version;
    }
}

impl Unit<'_> {
    /// Begins a page: every slot that is billed from now on is written down.
    pub(in crate::lines) fn begin_page(&mut self, day: i32) {
        self.copying = Copying { writer: Some(PageWriter::new(day)), ..Copying::default() };
    }

    /// The page, unless more was posted meanwhile than its row knows of.
    pub(in crate::lines) fn take_page(&mut self) -> Option<Page> {
        let is_ahead = self.copying.is_ahead;
        self.copying.writer.take().filter(|_| !is_ahead).map(PageWriter::finish)
    }

    /// Whether the cells of the run of days at hand are read for it.
    pub(in crate::lines) fn is_read(&self) -> bool {
        self.copying.is_read
    }

    /// Begins a run of slots that are billed from cells, whatever came before it: open slots wait again, and what
    /// its meter usually shows is to be read anew.
    pub(in crate::lines) fn begin_run(&mut self, figures: &Figures<'_>, run: Window) {
        self.copying.is_read = true;
        self.waiting = Waiting::default();
        let own = self.own();
        for (view, offset) in [(self.view, 0), (self.chassis, own)] {
            view.into_iter().for_each(|view| self.waiting.take_open(view, offset));
        }
        self.first = run.first();
        self.meters = self.meters_of(run, figures.now);
        self.history = self.meters.missed_from.is_some().then(|| History::new(self.factor));
    }

    /// Ends it: what still waits belongs to slots after it.
    pub(in crate::lines) fn end_run(&mut self) {
        self.copying.is_read = false;
    }

    /// What its accounts tell of its meters within a span of time.
    pub(super) fn meters_of(&self, span: Window, now: Utc) -> Meters {
        let accounts: Vec<&Account> = self.accounts().collect();
        Meters::of(&self.boundary, &accounts, span, now)
    }

    /// The accounts of the owner, then those of its chassis, as the boundary counts them.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.view.into_iter().chain(self.chassis).flat_map(|view| &view.state.accounts)
    }

    /// Whose it is.
    pub(in crate::lines) fn owner(&self) -> &Owner {
        self.seat.owner()
    }

    fn keys(&self) -> impl Iterator<Item = &AccountKey> {
        self.view.into_iter().chain(self.chassis).flat_map(|view| view.state.keys.iter())
    }

    /// Adds slots as they stand in the day book.
    pub(in crate::lines) fn replay(&mut self, page: &Reading, rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        // Open slots of these days are on the page.
        self.waiting = Waiting::default();
        let mut accounts = [None; Scope::ALL.len()];
        for (index, key) in self.keys().enumerate() {
            accounts[key.scope as usize] = accounts[key.scope as usize].or(u16::try_from(index).ok());
        }
        let line = |account: Option<u16>, energy: ByQuality| BilledLine { account, energy, covered_ns: 0 };
        for (number, entry) in page.entries.iter().enumerate() {
            let billed = &mut self.billed;
            (billed.metered, billed.covered_ns, billed.ratio_ns) = (entry.metered, entry.covered_ns, entry.ratio_ns);
            (billed.methods, billed.doubts) = (entry.methods, entry.doubts);
            billed.lines.clear();
            if page.is_divided() {
                let account = |scope: Option<Scope>| scope.and_then(|scope| accounts[scope as usize]);
                let lines = page.parts_of(number).iter().map(|(scope, energy)| line(account(*scope), *energy));
                billed.lines.extend(lines);
            } else if entry.has_lines {
                billed.lines.push(line(None, entry.energy));
            }
            self.place(entry.slot, &[], rollup)?;
        }
        Ok(())
    }

    /// Writes down what is billed in a slot, if a page is being made.
    pub(super) fn write_down(&mut self, slot: Slot) {
        let Some(mut writer) = self.copying.writer.take() else { return };
        let mut sums: [Option<ByQuality>; Scope::ALL.len() + 1] = Default::default();
        let billed = &self.billed;
        for line in &billed.lines {
            let key = line.account.and_then(|account| self.keys().nth(account.into()));
            let place = key.map_or(Scope::ALL.len(), |key| key.scope as usize);
            *sums[place].get_or_insert_default() += line.energy;
        }
        let scopes = Scope::ALL.into_iter().map(Some).chain([None]);
        let parts: Vec<Part> = scopes.zip(sums).filter_map(|(scope, sum)| Some((scope, sum?))).collect();
        let entry = Entry {
            slot,
            metered: billed.metered,
            has_lines: !billed.lines.is_empty(),
            covered_ns: billed.covered_ns,
            ratio_ns: billed.ratio_ns,
            methods: billed.methods,
            doubts: billed.doubts,
            energy: billed.energy(),
        };
        writer.add(&entry, &parts);
        self.copying.writer = Some(writer);
    }
}
