//! Marks in every world: machines are told of jobs at random instants. In the end no job is held twice, and
//! what lies before each cut is what the world's own books say.

use std::collections::HashMap;
use std::sync::Arc;

use energy::{Cell, OwnerState};
use meter::{Allocation, Clock, Context, Mark, Owner, Quality, Record};
use store::records;

use crate::oracle::{self, Figures, Split};
use crate::plan::{S, Theme};
use crate::sim_store::Image;
use crate::world::{BEGIN_UTC, Event, World};

/// Cells by account index and instant.
type Cuts = HashMap<(usize, i64), Cell>;

impl World {
    /// The machine is told something of its jobs.
    pub(crate) fn mark(&mut self, number: u8, run: u32) {
        if !self.runs(number, run) || self.is_quiet {
            return;
        }
        let mark = match self.chance.below(4) {
            0 => Mark::Cut,
            1 if self.jobs > 0 => Mark::Stop(self.chance.below(self.jobs).to_string().into()),
            _ => {
                self.jobs += 1;
                // Of every machine another one, so that no id comes back.
                let id = (self.jobs - 1).to_string().into();
                Mark::Start(Arc::new(Allocation { id, ..Allocation::default() }))
            }
        };
        let machine = &mut self.machines[usize::from(number)];
        let (clock, at) = (Clock::Boot(machine.boot), self.now - machine.booted);
        let wall_offset_ns = BEGIN_UTC + machine.booted as i64 + machine.wall_off;
        let context = Arc::new(Context { clock, wall_offset_ns, devices: Vec::new() });
        self.truth.learn(&context);
        let record =
            Record { context: wire::context_id(&context), at, mark: Some(Box::new(mark)), ..Record::default() };
        self.append(number, 0, &context, &record);
        let wait = self.chance.between(S / 2, 90 * S);
        self.after(wait, Event::Mark(number, run));
    }

    /// In the end: no job is held twice, and each cut is where it must be.
    pub(crate) fn marks_are_exact(&mut self, states: &HashMap<Owner, OwnerState>, image: &Image) {
        let mut held: HashMap<(Owner, String), u32> = HashMap::new();
        for (name, bytes) in image.documents.iter().filter(|(name, _)| name.starts_with(records::HOLDS)) {
            let (owner, hold) = records::decode_hold(bytes).expect("a hold");
            if hold.until.is_none_or(|until| until <= hold.from) {
                self.violation(format!("{name} of {owner} ends before it begins"));
            }
            *held.entry((owner, hold.allocation.id.to_string())).or_default() += 1;
        }
        for (owner, state) in states {
            for hold in &state.holds {
                *held.entry((owner.clone(), hold.allocation.id.to_string())).or_default() += 1;
            }
        }
        self.holds += held.len() as u64;
        if let Some((which, times)) = held.iter().find(|(_, times)| **times > 1) {
            self.violation(format!("{which:?} is held {times} times"));
        }
        for (owner, state) in states {
            let cuts = cuts_of(owner, state, image);
            self.cuts_fit(owner, state, image, &cuts);
            // Where dates are bent, or curves given up, only sums are known.
            if self.plan.calm && matches!(self.plan.theme, Theme::Roomy | Theme::Late) {
                self.cuts_are_exact(owner, state, &cuts);
            }
        }
    }

    /// A cell before a cut is a part of its slot, in every weather.
    fn cuts_fit(&mut self, owner: &Owner, state: &OwnerState, image: &Image, cuts: &Cuts) {
        let slots = slots_of(owner, state, image);
        for ((account, at), cell) in cuts {
            let slot = meter::Utc(*at).slot();
            let whole = slots.get(&(*account, slot.0)).copied().unwrap_or_default();
            let fits =
                Quality::ALL.into_iter().all(|quality| (0..=whole.energy[quality].0).contains(&cell.energy[quality].0));
            if !fits || cell.covered_ns > whole.covered_ns {
                self.violation(format!("{owner} {account}: {cell:?} before {at}, of a slot of {whole:?}"));
            }
        }
    }

    /// What was told in time is what was read before it.
    fn cuts_are_exact(&mut self, owner: &Owner, state: &OwnerState, cuts: &Cuts) {
        // Where each clock lies on the ledger's axis: nothing slewed it.
        let offsets: HashMap<u64, i128> = state
            .boots
            .iter()
            .filter_map(|date| {
                Some((self.truth.clock_number(date.boot)?, i128::from(date.utc.0) - i128::from(date.mono)))
            })
            .collect();
        for place in 0..self.truth.accounts.len() {
            let account = &self.truth.accounts[place];
            let index = state.keys.iter().position(|key| *key == account.key).filter(|_| account.owner == *owner);
            let Some(index) = index else { continue };
            let (device, is_late) = (account.device, account.is_late);
            let looks = self.truth.looks(place, true);
            // A counter that bridged what came late was divided evenly over it, and stays so.
            let is_bridged = is_late && looks.iter().any(|look| look.counter.is_some());
            if is_bridged || looks.iter().any(|look| !offsets.contains_key(&look.clock)) {
                continue;
            }
            for ((_, at), cell) in cuts.iter().filter(|((account, _), _)| *account == index) {
                let slot = meter::Utc(*at).slot().start().0;
                let split = Split { offsets: &offsets, from: slot.into(), until: (*at).into() };
                let mut expected = oracle::before(device, &looks, &split);
                let mut found = Figures {
                    counter: cell.energy[Quality::Counter].0,
                    integrated: cell.energy[Quality::Integrated].0,
                    estimated: cell.energy[Quality::Estimated].0,
                    covered_ns: cell.covered_ns.into(),
                };
                if is_late {
                    // A part of a hole keeps its share of the estimate that was made of the whole.
                    (expected.estimated, found.estimated) = (0, 0);
                }
                self.cuts += 1;
                if found != expected {
                    self.violation(format!("{owner} {index} before {at}\n  has  {found:?}\n  read {expected:?}"));
                }
            }
        }
    }
}

fn cuts_of(owner: &Owner, state: &OwnerState, image: &Image) -> Cuts {
    let mut cuts = Cuts::new();
    for cut in state.open.iter().flat_map(|open| &open.cuts) {
        for (account, cell) in cut.cells.iter().enumerate() {
            cell.iter().for_each(|cell| cuts.entry((account, cut.at.0)).or_default().add(cell));
        }
    }
    for entry in image.history.iter().filter(|entry| entry.owner == *owner) {
        for cut in records::decode_hour(entry.hour, &entry.bytes).expect("a posting").cuts {
            cuts.entry((usize::from(cut.account), cut.at.0)).or_default().add(&cut.cell);
        }
    }
    cuts
}

fn slots_of(owner: &Owner, state: &OwnerState, image: &Image) -> HashMap<(usize, i32), Cell> {
    let mut slots: HashMap<(usize, i32), Cell> = HashMap::new();
    for open in &state.open {
        for (account, cell) in open.cells.iter().enumerate() {
            slots.entry((account, open.slot.0)).or_default().add(cell);
        }
    }
    for entry in image.history.iter().filter(|entry| entry.owner == *owner) {
        for cell in records::decode_hour(entry.hour, &entry.bytes).expect("a posting").cells {
            let slot = entry.hour * 4 + i32::from(cell.quarter);
            slots.entry((usize::from(cell.account), slot)).or_default().add(&cell.cell);
        }
    }
    slots
}
