//! What was read, and what of it the ledger must have in the end: the world's own books.
//!
//! A reading *must* be counted from the moment it was handed to a spool. It stops being so only by what
//! the documentation admits: power lost before the spool was synced, memory of a killed agent whose disk
//! was full, room that ran out, a ledger set back further than the spools reach. And it must be counted
//! (again) whenever the ledger has it on disk after all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use meter::{AccountKey, Clock, Context, Id, Owner, Position, Record};
use wire::{Append, Post};

use crate::oracle::{self, Device, Figures, Look};

/// One register of the ledger.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) owner: Owner,
    pub(crate) key: AccountKey,
    pub(crate) device: Device,
    /// Readings of it came out of order.
    pub(crate) is_late: bool,
    /// Its readings, in the order they were taken.
    readings: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    account: usize,
    look: Look,
    must: bool,
    /// Read by a clock that had been set back.
    is_rewound: bool,
    /// Whether some ledger acknowledged it.
    acknowledged: bool,
}

/// What one image of the store is known to hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holdings {
    readings: Vec<u64>,
    /// Up to where each stream was followed.
    streams: HashMap<Id, Position>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) accounts: Vec<Account>,
    places: HashMap<(Owner, AccountKey), usize>,
    readings: Vec<Reading>,
    /// By account, clock and instant.
    index: HashMap<(usize, Id, u64), usize>,
    clocks: HashMap<Id, u64>,
    contexts: HashMap<u64, Arc<Context>>,
    /// For each position of each stream that was ever sent: the one before it and what lies between.
    chains: HashMap<(Id, Position), (Position, Vec<usize>)>,
}

impl Holdings {
    fn has(&self, reading: usize) -> bool {
        self.readings.get(reading / 64).is_some_and(|word| word & (1 << (reading % 64)) != 0)
    }

    fn add(&mut self, reading: usize) {
        if self.readings.len() <= reading / 64 {
            self.readings.resize(reading / 64 + 1, 0);
        }
        self.readings[reading / 64] |= 1 << (reading % 64);
    }
}

impl Truth {
    /// Registers a device's account.
    pub(crate) fn open(&mut self, owner: &Owner, key: &AccountKey, device: Device) -> usize {
        let place = self.accounts.len();
        self.places.insert((owner.clone(), key.clone()), place);
        self.accounts.push(Account {
            owner: owner.clone(),
            key: key.clone(),
            device,
            is_late: false,
            readings: Vec::new(),
        });
        place
    }

    /// A clock begins to run.
    pub(crate) fn clock(&mut self, boot: Id) {
        let number = self.clocks.len() as u64;
        self.clocks.entry(boot).or_insert(number);
    }

    /// Which clock this is.
    pub(crate) fn clock_number(&self, boot: Id) -> Option<u64> {
        self.clocks.get(&boot).copied()
    }

    /// Learns what a context means.
    pub(crate) fn learn(&mut self, context: &Arc<Context>) {
        self.contexts.entry(wire::context_id(context)).or_insert_with(|| Arc::clone(context));
    }

    /// Notes a good reading that is handed over now.
    pub(crate) fn read(&mut self, account: usize, boot: Id, look: Look, is_rewound: bool) {
        let look = Look { clock: self.clocks.get(&boot).copied().unwrap_or(0), ..look };
        let place = self.readings.len();
        self.readings.push(Reading { account, look, must: true, is_rewound, acknowledged: false });
        self.index.insert((account, boot, look.at), place);
        self.accounts[account].readings.push(place);
    }

    /// The readings that a record of this owner holds.
    fn held_by(&self, owner: &Owner, context: &Context, record: &Record) -> Vec<usize> {
        let boot = match context.clock {
            Clock::Boot(boot) => boot,
            Clock::Utc => Id::default(),
        };
        let account = |device: u16| {
            let decl = context.devices.get(usize::from(device))?;
            self.places.get(&(owner.clone(), decl.key.clone())).copied()
        };
        let mut held = Vec::new();
        for sample in &record.samples {
            let place = account(sample.device).and_then(|account| self.index.get(&(account, boot, record.at)));
            held.extend(place);
        }
        for span in record.summary.iter().flat_map(|summary| &summary.spans) {
            let Some(account) = account(span.device) else { continue };
            let clock = self.clocks.get(&boot).copied().unwrap_or(0);
            let within = |place: &&usize| {
                let look = &self.readings[**place].look;
                look.clock == clock && (span.from.at..=span.to.at).contains(&look.at)
            };
            held.extend(self.accounts[account].readings.iter().filter(within));
        }
        held
    }

    /// Learns from a post that is sent what its streams consist of.
    pub(crate) fn sent(&mut self, post: &Post) {
        for append in &post.appends {
            self.follow(append);
        }
    }

    fn follow(&mut self, append: &Append) {
        let mut at = append.base;
        for record in &append.records {
            let before = at;
            at = Position { seq: at.seq + 1, digest: wire::chain(&at.digest, &wire::encode_record(record)) };
            if self.chains.contains_key(&(append.stream, at)) {
                continue;
            }
            let held = match self.contexts.get(&record.context).cloned() {
                Some(context) => self.held_by(&append.owner, &context, record),
                None => Vec::new(),
            };
            self.chains.insert((append.stream, at), (before, held));
        }
    }

    /// Learns what a numbered post holds; its position has no digest.
    pub(crate) fn sent_numbered(&mut self, stream: Id, seq: u64, account: usize, instants: &[u64]) {
        let held = instants.iter().filter_map(|at| self.index.get(&(account, Id::default(), *at)).copied()).collect();
        let at = |seq| Position { seq, digest: [0; 16] };
        self.chains.insert((stream, at(seq)), (at(seq - 1), held));
    }

    /// The store holds a stream up to a position: so it holds all before it.
    pub(crate) fn on_disk(&mut self, holdings: &mut Holdings, stream: Id, position: Position) {
        let known = holdings.streams.get(&stream).copied().unwrap_or_default();
        let mut at = position;
        while at.seq > 0 && at != known {
            let Some((before, held)) = self.chains.get(&(stream, at)) else { break };
            for reading in held {
                holdings.add(*reading);
                self.readings[*reading].must = true;
            }
            at = *before;
        }
        if position.seq >= known.seq {
            holdings.streams.insert(stream, position);
        }
    }

    /// The store holds these again.
    pub(crate) fn restored(&mut self, holdings: &Holdings) {
        for (place, reading) in self.readings.iter_mut().enumerate() {
            reading.must |= holdings.has(place);
        }
    }

    /// Notes that everything which the store holds of a stream was acknowledged.
    pub(crate) fn acknowledged(&mut self, stream: Id, position: Position) {
        let mut at = position;
        while let Some((before, held)) = self.chains.get(&(stream, at)) {
            let news = held.iter().filter(|reading| !self.readings[**reading].acknowledged).count();
            if news == 0 && !held.is_empty() {
                break;
            }
            for reading in held {
                self.readings[*reading].acknowledged = true;
            }
            at = *before;
        }
    }

    /// The readings that records of one owner hold, as a set.
    pub(crate) fn in_records(&self, owner: &Owner, records: &[(Arc<Context>, Record)]) -> Vec<bool> {
        let mut found = vec![false; self.readings.len()];
        for (context, record) in records {
            for reading in self.held_by(owner, context, record) {
                found[reading] = true;
            }
        }
        found
    }

    /// Gives up readings of these owners that were in `before`, are not in `after`, and that the store
    /// does not hold. Returns how many.
    pub(crate) fn give_up(&mut self, before: &[bool], after: &[bool], holdings: &Holdings) -> usize {
        let mut lost = 0;
        for (place, reading) in self.readings.iter_mut().enumerate() {
            let is_gone = before.get(place) == Some(&true) && after.get(place) != Some(&true);
            if is_gone && reading.must && !holdings.has(place) {
                reading.must = false;
                lost += 1;
            }
        }
        lost
    }

    /// Which readings some ledger acknowledged.
    pub(crate) fn acknowledged_ones(&self) -> Vec<bool> {
        self.readings.iter().map(|reading| reading.acknowledged).collect()
    }

    /// Which readings these owners have.
    pub(crate) fn of_owner(&self, owner: &Owner) -> Vec<bool> {
        self.readings.iter().map(|reading| self.accounts[reading.account].owner == *owner).collect()
    }

    /// How many readings there are, and how many of them must be counted.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.readings.len(), self.readings.iter().filter(|reading| reading.must).count())
    }

    /// The readings of an account by clock and instant; all, or those that must be counted.
    pub(crate) fn looks(&self, account: usize, only_must: bool) -> Vec<Look> {
        let readings = self.accounts[account].readings.iter().map(|place| &self.readings[*place]);
        let kept: Vec<&Reading> = readings.filter(|reading| reading.must || !only_must).collect();
        // What a clock that was set back shows once more is covered already, and fenced.
        let covered = |look: &Look| {
            let first = kept.iter().filter(|other| !other.is_rewound).map(|other| other.look);
            first.into_iter().any(|other| other.clock == look.clock && other.at >= look.at)
        };
        let counted = kept.iter().filter(|reading| !only_must || !reading.is_rewound || !covered(&reading.look));
        let mut looks: Vec<Look> = counted.map(|reading| reading.look).collect();
        looks.sort_by_key(|look| (look.clock, look.at));
        looks
    }

    /// What the ledger must come to, by account.
    pub(crate) fn figures(&self) -> BTreeMap<usize, Figures> {
        let figures = |account: usize| oracle::figures(self.accounts[account].device, &self.looks(account, true));
        (0..self.accounts.len()).map(|account| (account, figures(account))).collect()
    }
}
