//! The aggregator: the real ledger, rows as the real records, a disk that takes whole commits.
//!
//! A *candidate* is what was applied, an *image* what is on disk. Both are checked where they are made:
//! each tick at most once, and exactly the ticks that the applied readings prove.

use std::collections::BTreeMap;

use aggregator::http::ingest::{reply, translate};
use energy::{Append, AppendOutcome, Dirty, Ledger, OwnerState, Policy, Tally};
use meter::{Energy, Quality};
use store::{Identity, records};
use wire::Answer;

use crate::agent::{Kind, owner};
use crate::readings::{Dated, Set, TICK_NS, ledger_clock, proven, spans_of, ticks_of, with_run};
use crate::{Broken, Glue, Violation};

/// What was applied, on disk or not.
#[derive(Clone)]
pub(crate) struct Candidate {
    ledger: Ledger,
    version: u64,
    /// The readings that were applied.
    pub(crate) applied: Set,
}

/// What tells candidates apart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct CandidateKey {
    row: Vec<u8>,
    version: u64,
    dirty: bool,
    applied: Set,
}

/// What is on disk: one row, and what left it as history.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Image {
    row: Vec<u8>,
    version: u64,
    /// Energy by quality and covered time, by hour and quarter.
    history: BTreeMap<(i32, u8), ([i128; 3], u64)>,
    pub(crate) applied: Set,
}

/// A commit on its way to disk.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    expect: u64,
    next: u64,
    row: Vec<u8>,
    history: Vec<(i32, Vec<u8>)>,
    applied: Set,
}

/// What scrapers see of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// The ticks booked as measured.
    pub(crate) ticks: Set,
    /// Everything ever booked as estimated, what was taken back included.
    pub(crate) estimated: i128,
}

impl Candidate {
    /// The ledger as it starts on an image.
    pub(crate) fn load(image: &Image, policy: &Policy) -> Self {
        let mut ledger = Ledger::new(policy.clone());
        if let Some(state) = image.state() {
            ledger.insert(state, image.version);
        }
        Self { ledger, version: image.version, applied: image.applied }
    }

    fn state(&self) -> Option<&OwnerState> {
        self.ledger.state(&owner()).map(|state| &**state)
    }

    pub(crate) fn key(&self) -> CandidateKey {
        let row = self.state().map(records::encode_row).unwrap_or_default();
        CandidateKey { row, version: self.version, dirty: self.is_dirty(), applied: self.applied }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.ledger.dirty_count() > 0
    }

    /// Takes a post, as the HTTP workers and the ledger actor do; the answer waits for a commit.
    pub(crate) fn take(
        &mut self,
        body: &[u8],
        now: u8,
        generation: u8,
        kind: Kind,
        glue: Broken,
    ) -> Result<Answer, Violation> {
        let post = wire::decode_post(body).map_err(|why| Violation::new("posts are read again", why.to_string()))?;
        let runs: Vec<_> = post.appends.iter().flat_map(|append| &append.records).flat_map(spans_of).collect();
        let mut appends = translate(post);
        let append = appends.first_mut().ok_or_else(|| Violation::new("posts are read again", "no append"))?;
        self.tamper(append, glue);
        let outcome = self.ledger.append(append, ledger_clock(kind.dated, now));
        if let AppendOutcome::Applied { tally: Tally { refused, .. }, .. } = &outcome {
            if !refused.is_empty() {
                return Err(Violation::new("no reading is refused", format!("{refused:?}")));
            }
            self.applied = runs.into_iter().fold(self.applied, |known, run| with_run(kind.meter, known, run));
        }
        Ok(reply(vec![outcome], Identity { ledger: [7; 16], generation: u64::from(generation) }))
    }

    /// The ledger's own barriers, taken away one by one.
    fn tamper(&mut self, append: &mut Append, glue: Broken) {
        let Some(state) = self.state() else { return };
        let stands = state.streams.iter().find(|known| known.id == append.stream).map(|known| known.position);
        if glue.has(Glue::CoverageForgotten) && append.base.seq == 0 && stands.is_none() {
            let mut state = state.clone();
            for account in &mut state.accounts {
                (account.first, account.frontier, account.rare) = Default::default();
            }
            self.ledger.insert(state, self.version);
        }
        let stands = stands.unwrap_or_default();
        if glue.has(Glue::AppendAnywhere) || (glue.has(Glue::AppendByNumber) && append.base.seq == stands.seq) {
            append.base = stands;
        }
    }

    /// Everything applied since the last commit began, as one commit; nothing if there is nothing.
    pub(crate) fn begin(&mut self, glue: Broken) -> Option<Flight> {
        let mut dirty: Dirty = self.ledger.take_commit().pop()?;
        if glue.has(Glue::HistoryForgotten) {
            dirty.settled.clear();
        }
        self.version = dirty.next;
        let history = dirty.settled.iter().map(|block| (block.hour, records::encode_hour(block))).collect();
        let row = records::encode_row(&dirty.state);
        Some(Flight { expect: dirty.expect, next: dirty.next, row, history, applied: self.applied })
    }

    /// What holds for everything applied, whether on disk or not.
    pub(crate) fn check(&self, kind: Kind) -> Result<Figures, Violation> {
        self.state().map_or(Ok(Figures::default()), |state| figures(state, self.applied, kind))
    }
}

impl Image {
    fn state(&self) -> Option<OwnerState> {
        (self.version > 0).then(|| records::decode_row(&owner(), &self.row).expect("a row that was encoded"))
    }

    /// The image after a commit.
    pub(crate) fn after(&self, flight: &Flight) -> Result<Self, Violation> {
        if flight.expect != self.version {
            let versions = format!("expected {}, found {}", flight.expect, self.version);
            return Err(Violation::new("a single aggregator wins every commit", versions));
        }
        let mut image = Self { row: flight.row.clone(), version: flight.next, applied: flight.applied, ..self.clone() };
        for (hour, bytes) in &flight.history {
            let block = records::decode_hour(*hour, bytes).expect("a posting that was encoded");
            for cell in block.cells {
                let sum = image.history.entry((*hour, cell.quarter)).or_default();
                Quality::ALL.iter().for_each(|quality| sum.0[*quality as usize] += cell.cell.energy[*quality].0);
                sum.1 += cell.cell.covered_ns;
            }
        }
        Ok(image)
    }

    /// Half of a commit: what an engine without atomic commits could leave.
    pub(crate) fn torn(&self, after: &Self, glue: Broken) -> Option<Self> {
        let (Some(old), Some(new)) = (self.state(), after.state()) else { return None };
        let torn = if glue.has(Glue::PositionsFirst) && old.keys == new.keys {
            OwnerState { streams: new.streams, ..old }
        } else if glue.has(Glue::RegistersFirst) {
            let mut new = OwnerState { streams: old.streams, ..new };
            for (account, old) in
                new.accounts.iter_mut().zip(old.accounts).filter(|_| glue.has(Glue::CoverageForgotten))
            {
                (account.first, account.frontier, account.rare) = (old.first, old.frontier, old.rare);
            }
            new
        } else {
            return None;
        };
        let registers = if glue.has(Glue::PositionsFirst) { self } else { after };
        Some(Self { row: records::encode_row(&torn), version: after.version, ..registers.clone() })
    }

    /// A mixture of two moments: these registers, the positions of `other`.
    pub(crate) fn with_positions_of(&self, other: &Self) -> Option<Self> {
        let (Some(state), Some(other)) = (self.state(), other.state()) else { return None };
        let mixed = OwnerState { streams: other.streams, ..state };
        Some(Self { row: records::encode_row(&mixed), ..self.clone() })
    }

    /// What scrapers see, if it is in order: slots and history add up to the registers, too.
    pub(crate) fn check(&self, kind: Kind) -> Result<Figures, Violation> {
        let Some(state) = self.state() else { return Ok(Figures::default()) };
        let mut sums = self.history.values().copied().fold(([0; 3], 0), |sum, posting| add(sum, posting.0, posting.1));
        for cell in state.open.iter().flat_map(|open| &open.cells) {
            sums = add(sums, cell.energy.0.map(|energy| energy.0), cell.covered_ns);
        }
        for account in &state.accounts {
            if (account.lifetime.0.map(|energy| energy.0), account.covered_ns) != sums {
                let found = format!("registers {:?}, slots and history {sums:?}", account.lifetime);
                return Err(Violation::new("slots and history add up to the registers", found));
            }
        }
        figures(&state, self.applied, kind)
    }
}

fn add(sum: ([i128; 3], u64), energy: [i128; 3], covered: u64) -> ([i128; 3], u64) {
    let [counter, integrated, estimated] = energy;
    ([sum.0[0] + counter, sum.0[1] + integrated, sum.0[2] + estimated], sum.1 + covered)
}

/// Reads a row's registers as ticks.
fn figures(state: &OwnerState, applied: Set, kind: Kind) -> Result<Figures, Violation> {
    let Some(account) = state.accounts.first() else { return Ok(Figures::default()) };
    let measured = account.lifetime.measured();
    let Some(ticks) = ticks_of(kind.meter, measured) else {
        return Err(Violation::new("each tick is booked at most once", format!("{measured:?}")));
    };
    let expected = proven(kind.meter, applied);
    if ticks != expected {
        let found = format!("booked {ticks:#b}, the readings applied prove {expected:#b}");
        return Err(Violation::new("exactly what the applied readings prove is booked", found));
    }
    let time = u64::from(ticks.count_ones()) * TICK_NS;
    // Dates are slewed by up to 500 ppm; energy is not.
    let slewed = if kind.dated == Dated::Boot { time / 2000 } else { 0 };
    if account.covered_ns.abs_diff(time) > slewed {
        let found = format!("{} ns for {ticks:#b}", account.covered_ns);
        return Err(Violation::new("covered time is that of the ticks booked", found));
    }
    let (estimated, rare) = (account.lifetime[Quality::Estimated], account.rare());
    let has_holes = rare.is_some_and(|rare| !rare.holes.is_empty());
    if (estimated != Energy::ZERO) != has_holes || estimated < Energy::ZERO {
        let found = format!("{estimated:?} estimated, holes: {has_holes}");
        return Err(Violation::new("an estimate stands only for a hole", found));
    }
    let reversed = rare.map_or(Energy::ZERO, |rare| rare.reversed);
    Ok(Figures { ticks, estimated: (estimated + reversed).0 })
}
