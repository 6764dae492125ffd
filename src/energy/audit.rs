//! Does an owner's row agree with its history, and with itself?
//!
//! Registers are kept while booking; here they are worked out a second time, from every posting the
//! owner ever made and the slots that are still open. Both must be the same integers. Beside that a
//! row has rules of its own (holes within the span, streams once, …) that no booking may break.
//!
//! Postings are taken in one by one, so that an auditor of a whole fleet holds sums and no history.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use meter::{AccountKey, ByQuality, Energy, Quality, SECOND_NS, SLOT_NS, Slot, Utc};

use crate::profile::Profile;
use crate::{Account, Cell, Hole, HourBlock, OwnerState};

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discrepancy {
    /// The account, if it concerns one.
    pub account: Option<AccountKey>,
    /// What is wrong, as a stable word.
    pub code: &'static str,
    /// What there must be.
    pub expected: String,
    /// What there is.
    pub found: String,
}

/// What an owner's row and history hold, and where they disagree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Every discrepancy.
    pub discrepancies: Vec<Discrepancy>,
    /// Accounts.
    pub accounts: usize,
    /// Cells of 15 minutes and one account, in the row or in a posting.
    pub cells: u64,
    /// Energy of all accounts by their slots. Accounts overlap: it is no bill.
    pub energy: ByQuality,
}

/// What is added up for one account.
#[derive(Clone, Debug)]
struct Sums {
    lifetime: ByQuality,
    covered_ns: u64,
    first: Slot,
    frontier: Slot,
    is_read: bool,
    /// By slots: energy and covered time.
    energy: ByQuality,
    slots_ns: u128,
}

/// An audit of one owner, while its postings are being read.
#[derive(Clone, Debug)]
pub struct Audit {
    version: u64,
    keys: std::sync::Arc<Vec<AccountKey>>,
    sums: Vec<Sums>,
    /// The row's open slots, by slot and account.
    open: BTreeMap<(Slot, usize), Cell>,
    /// The hour that is being read, by slot and account.
    hour: BTreeMap<(Slot, usize), Cell>,
    /// What lies before cuts, of both: by slot, account and instant.
    before: BTreeMap<(Slot, usize, Utc), Cell>,
    audited: Audited,
}

impl Audit {
    /// Begins with a row and its version; what the row alone tells is checked here.
    #[must_use]
    pub fn of(state: &OwnerState, version: u64) -> Self {
        let mut audit = Self {
            version,
            keys: state.keys.clone(),
            sums: state.accounts.iter().map(Sums::of).collect(),
            open: BTreeMap::new(),
            hour: BTreeMap::new(),
            before: BTreeMap::new(),
            audited: Audited { accounts: state.accounts.len(), ..Audited::default() },
        };
        if version == 0 {
            audit.note(None, "row-version", "a version above 0", 0);
        }
        audit.row(state);
        for (index, account) in state.accounts.iter().enumerate() {
            audit.coverage(index, account);
        }
        for open in &state.open {
            for (index, cell) in open.cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::default()) {
                audit.cell(open.slot, index, cell);
                audit.open.insert((open.slot, index), *cell);
            }
            for cut in &open.cuts {
                let known = cut.cells.iter().enumerate().filter_map(|(index, cell)| Some((index, cell.as_ref()?)));
                known.for_each(|(index, cell)| audit.cut(cut.at, index, cell));
            }
        }
        audit
    }

    /// Takes in one posting and the row version that wrote it. Postings come by ascending hour.
    pub fn posting(&mut self, block: &HourBlock, version: u64) {
        if version == 0 || version > self.version {
            let expected = format!("a version of 1 to {}, the row's", self.version);
            self.note(None, "posting-version", expected, format!("{version}, for {}", at(Slot(block.hour * 4))));
        }
        if self.hour.keys().next().is_some_and(|(slot, _)| slot.hour().0 != block.hour) {
            self.settle_hour();
        }
        for cell in &block.cells {
            let slot = Slot(block.hour * 4 + i32::from(cell.quarter));
            let index = usize::from(cell.account);
            self.cell(slot, index, &cell.cell);
            self.hour.entry((slot, index)).or_default().add(&cell.cell);
        }
        block.cuts.iter().for_each(|cut| self.cut(cut.at, usize::from(cut.account), &cut.cell));
    }

    /// Compares what was added up with the registers.
    #[must_use]
    pub fn finish(mut self) -> Audited {
        self.settle_hour();
        for ((slot, index), cell) in std::mem::take(&mut self.open) {
            self.slot(slot, index, &cell);
        }
        let nowhere = std::mem::take(&mut self.before).into_iter().filter(|(_, cell)| *cell != Cell::default());
        for ((slot, index, at), _) in nowhere {
            self.note(
                Some(index),
                "cut-share",
                format!("something in {}", self::at(slot)),
                format!("a cut at {} ns", at.0),
            );
        }
        for (index, sums) in std::mem::take(&mut self.sums).into_iter().enumerate() {
            for quality in Quality::ALL {
                let (expected, found) = (sums.energy[quality], sums.lifetime[quality]);
                if expected != found {
                    self.note(Some(index), register(quality), amount(expected), amount(found));
                }
            }
            if sums.slots_ns != u128::from(sums.covered_ns) {
                self.note(Some(index), "covered-time", ns(sums.slots_ns), ns(sums.covered_ns));
            }
            self.audited.energy += sums.energy;
        }
        self.audited
    }

    /// Adds a cell to its account's sums.
    fn cell(&mut self, slot: Slot, index: usize, cell: &Cell) {
        self.audited.cells += 1;
        let count = self.sums.len();
        let Some(sums) = self.sums.get_mut(index) else {
            return self.note(None, "unknown-account", format!("one of {count} accounts"), format!("number {index}"));
        };
        sums.energy += cell.energy;
        sums.slots_ns += u128::from(cell.covered_ns);
        let span = (sums.first, sums.frontier);
        if !sums.is_read || slot < span.0 || slot > span.1 {
            self.note(Some(index), "outside-span", format!("{} to {}", at(span.0), at(span.1)), at(slot));
        }
    }

    /// The hour that was read is complete: no slot may be covered for longer than it is.
    fn settle_hour(&mut self) {
        for ((slot, index), mut cell) in std::mem::take(&mut self.hour) {
            cell.add(&self.open.remove(&(slot, index)).unwrap_or_default());
            self.slot(slot, index, &cell);
        }
    }

    /// Adds what a posting, or the row, has before a cut.
    fn cut(&mut self, at: Utc, index: usize, cell: &Cell) {
        self.before.entry((at.slot(), index, at)).or_default().add(cell);
    }

    /// One account's slot, complete: no longer than a slot, and no less than what lies before its cuts, which
    /// grows from cut to cut.
    fn slot(&mut self, slot: Slot, index: usize, cell: &Cell) {
        let range = (slot, index, Utc(i64::MIN))..=(slot, index, Utc(i64::MAX));
        let cuts: Vec<_> = self.before.range(range).map(|(key, cell)| (*key, *cell)).collect();
        let mut least = Cell::default();
        for ((.., at), before) in cuts {
            self.before.remove(&(slot, index, at));
            if !least.is_part_of(&before) || !before.is_part_of(cell) {
                let expected = format!("{least:?} to {cell:?}");
                self.note(Some(index), "cut-share", expected, format!("{before:?} before {} ns", at.0));
            }
            least = before;
        }
        let covered = cell.covered_ns;
        if covered > SLOT_NS.unsigned_abs() {
            let found = format!("{} in {}", ns(covered), at(slot));
            self.note(Some(index), "slot-overfull", format!("at most {}", ns(SLOT_NS)), found);
        }
    }

    /// What a row must be apart from its accounts.
    fn row(&mut self, state: &OwnerState) {
        let (keys, accounts) = (state.keys.len(), state.accounts.len());
        if keys != accounts {
            self.note(None, "account-keys", format!("{accounts}, one per account"), keys);
        }
        if let Some(index) = first_twice(state.keys.iter()) {
            self.note(Some(index), "account-twice", "one account of this name", "two");
        }
        if !is_ascending(state.open.iter().map(|open| open.slot)) {
            self.note(None, "open-slots", "ascending slots, each once", "another order");
        }
        if let Some(index) = first_twice(state.streams.iter().map(|stream| stream.id)) {
            self.note(
                None,
                "stream-twice",
                "one position per stream",
                format!("two of {}", hex(&state.streams[index].id)),
            );
        }
        for stream in &state.streams {
            let numbers = stream.answers.iter().map(|answer| answer.seq);
            let last = numbers.clone().next_back();
            if !is_ascending(numbers) || last.is_some_and(|last| last != stream.position.seq) {
                let found = format!("{last:?} as the last answer of {}", hex(&stream.id));
                self.note(None, "stream-answers", format!("ascending answers up to {}", stream.position.seq), found);
            }
        }
        if first_twice(state.boots.iter().map(|date| date.boot)).is_some() {
            self.note(None, "boot-twice", "one date per boot", "two");
        }
        if !state.labels.windows(2).all(|pair| pair[0].from <= pair[1].from) {
            self.note(None, "labels", "ascending dates", "another order");
        }
        if !is_ascending(state.refused.iter().map(|(reason, _)| *reason)) || state.refused.iter().any(|(_, n)| *n == 0)
        {
            self.note(None, "refusals", "each reason once, above zero", format!("{:?}", state.refused));
        }
        for device in state.contexts.iter().flat_map(|context| &context.devices) {
            if let Ok(index) = device.account
                && usize::from(index) >= accounts
            {
                self.note(None, "context-account", format!("one of {accounts} accounts"), format!("number {index}"));
            }
        }
    }

    /// Covered time and holes make up the span between the first and the newest reading.
    fn coverage(&mut self, index: usize, account: &Account) {
        let (first, frontier) = (account.first.at, account.frontier.at);
        if frontier < first {
            return self.note(Some(index), "span", "a newest reading not before the first", first.0 - frontier.0);
        }
        if account.is_unread() && *account != (Account { shown: account.shown, ..Account::default() }) {
            self.note(Some(index), "unread", "nothing before the first reading", amount(account.lifetime.total()));
        }
        let holes = account.rare().map_or(&[][..], |rare| &rare.holes);
        let is_in_order = holes.windows(2).all(|pair| pair[0].end.at <= pair[1].start.at);
        let is_within = |hole: &Hole| first <= hole.start.at && hole.start.at < hole.end.at && hole.end.at <= frontier;
        if !is_in_order || !holes.iter().all(is_within) {
            let found = holes.iter().map(|hole| format!("{}..{}", hole.start.at.0, hole.end.at.0));
            let found = found.collect::<Vec<_>>().join(", ");
            let expected = format!("ascending, disjoint, within {}..{}", first.0, frontier.0);
            return self.note(Some(index), "holes", expected, found);
        }
        let open: u64 = holes.iter().map(|hole| hole.end.at.since(hole.start.at)).sum();
        let known = u128::from(account.covered_ns) + u128::from(open);
        let span = u128::from(frontier.since(first));
        // The length of holes that became final is not kept.
        let is_final = account.rare().is_some_and(|rare| rare.final_holes > 0);
        if known > span || (known < span && !is_final) {
            let found = format!("{} covered, {} in {} holes", ns(account.covered_ns), ns(open), holes.len());
            self.note(Some(index), "coverage", format!("{} in all", ns(span)), found);
        }
        self.estimates(index, account, holes, is_final);
    }

    /// What is booked as estimated is what the holes say of it, and what final holes left behind.
    fn estimates(&mut self, index: usize, account: &Account, holes: &[Hole], is_final: bool) {
        let mut due = Energy::ZERO;
        for hole in holes {
            let Some(line) = hole.estimate else { continue };
            if line.from > hole.start.at || line.to < hole.end.at {
                let found = format!("{}..{}", line.from.0, line.to.0);
                let expected = format!("a line over {}..{}", hole.start.at.0, hole.end.at.0);
                self.note(Some(index), "estimate-line", expected, found);
            }
            due += Profile::line(&line, line.to.since(line.from)).between(hole.start.at, hole.end.at);
        }
        let booked = account.lifetime[Quality::Estimated];
        if booked < due || (booked > due && !is_final) {
            self.note(Some(index), "estimates", amount(due), amount(booked));
        }
        for quality in Quality::ALL {
            if account.lifetime[quality] < Energy::ZERO {
                self.note(Some(index), "negative-register", "0 or more", amount(account.lifetime[quality]));
            }
        }
    }

    fn note(
        &mut self,
        account: Option<usize>,
        code: &'static str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) {
        let account = account.and_then(|index| self.keys.get(index)).cloned();
        let (expected, found) = (expected.to_string(), found.to_string());
        self.audited.discrepancies.push(Discrepancy { account, code, expected, found });
    }
}

/// Audits an owner's row against all postings of it, with the row versions that wrote them.
#[must_use]
pub fn audit<'a>(
    state: &OwnerState,
    version: u64,
    postings: impl IntoIterator<Item = (u64, &'a HourBlock)>,
) -> Audited {
    let mut audit = Audit::of(state, version);
    for (written_by, block) in postings {
        audit.posting(block, written_by);
    }
    audit.finish()
}

impl Sums {
    fn of(account: &Account) -> Self {
        Self {
            lifetime: account.lifetime,
            covered_ns: account.covered_ns,
            first: account.first.at.slot(),
            frontier: account.frontier.at.slot(),
            is_read: !account.is_unread(),
            energy: ByQuality::default(),
            slots_ns: 0,
        }
    }
}

/// The code of a register that differs from its slots.
const fn register(quality: Quality) -> &'static str {
    match quality {
        Quality::Counter => "register-counter",
        Quality::Integrated => "register-integrated",
        Quality::Estimated => "register-estimated",
    }
}

/// Energy as it is stored: nothing smaller than the difference may hide in rounding.
fn amount(energy: Energy) -> String {
    format!("{} half pJ", energy.0)
}

/// A slot by its number and where it begins.
fn at(slot: Slot) -> String {
    format!("slot {} (Unix {})", slot.0, slot.start().0 / SECOND_NS)
}

fn ns(ns: impl fmt::Display) -> String {
    format!("{ns} ns")
}

fn hex(id: &meter::Id) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_ascending<T: PartialOrd>(items: impl Iterator<Item = T>) -> bool {
    let mut before = None;
    for item in items {
        if before.is_some_and(|before| before >= item) {
            return false;
        }
        before = Some(item);
    }
    true
}

/// The place of the first item that was there already.
fn first_twice<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Option<usize> {
    let mut seen = HashSet::new();
    items.into_iter().position(|item| !seen.insert(item))
}
