//! The aggregator: the real commit cycle on the real rows, over a store that fails.

use std::collections::HashMap;
use std::sync::Arc;

use aggregator::booking::{Booking, Orders};
use aggregator::door::{Told, Work};
use aggregator::http::ingest;
use aggregator::persist;
use billing::published::Snapshot;
use energy::{AppendOutcome, Dirty, Policy, PostOutcome};
use meter::{Id, Owner, Utc};
use store::{Identity, Store, records};

use crate::plan::S;
use crate::sim_store::{Fate, Image, SimStore};
use crate::truth::Holdings;
use crate::world::{BEGIN_UTC, Event, From, World};

/// The aggregator and its disk.
pub(crate) struct Aggregator {
    pub(crate) store: Arc<SimStore>,
    running: Option<Running>,
    /// Counts starts, so that what was meant for an earlier one goes nowhere.
    pub(crate) life: u32,
    exports: Vec<(Image, Holdings)>,
    /// Where each stream stands on disk.
    on_disk: HashMap<Id, u64>,
}

struct Running {
    booking: Booking<Asked>,
    snapshot: Snapshot,
    called: bool,
}

/// Who asked what.
pub(crate) struct Asked {
    from: From,
    streams: Vec<Id>,
}

impl Aggregator {
    pub(crate) fn new(identity: Identity) -> Self {
        let store = Arc::new(SimStore::new(Image::empty(identity)));
        Self { store, running: None, life: 0, exports: Vec::new(), on_disk: HashMap::new() }
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.booking.is_settled())
    }
}

impl World {
    /// The aggregator's own clock.
    pub(crate) const fn utc(&self) -> Utc {
        Utc(BEGIN_UTC + self.now as i64 + self.ledger_off)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.aggregator.store.identity().generation
    }

    pub(crate) fn start_aggregator(&mut self) {
        if self.aggregator.is_running() {
            return;
        }
        let opened = persist::open(&*self.aggregator.store, Policy::default(), self.utc());
        let (ledger, snapshot) = opened.expect("the store opens");
        let owners: Vec<Owner> = snapshot.owners().map(|view| view.state.owner.clone()).collect();
        self.aggregator.life += 1;
        self.aggregator.running = Some(Running { booking: Booking::new(ledger), snapshot, called: false });
        self.say(|| "the aggregator starts".into());
        self.shown(&owners);
    }

    /// The process ends at once; it comes back after `down`.
    pub(crate) fn crash(&mut self, why: &str, down: u64) {
        self.say(|| format!("the aggregator is killed {why}"));
        self.aggregator.running = None;
        self.aggregator.life += 1;
        self.aggregator.store.decide(Fate::Done);
        self.after(down, Event::StartAggregator);
    }

    /// Whether it is killed at this step.
    fn is_killed(&mut self, step: &str) -> bool {
        if self.is_quiet || !self.rng.percent(self.plan.crashes) {
            return false;
        }
        let down = self.rng.between(S / 10, 60 * S);
        self.crash(step, down);
        true
    }

    /// A request arrives.
    pub(crate) fn arrive(&mut self, from: From, body: &[u8]) {
        let now = self.utc();
        let Some(work) = self.work(&from, body) else { return };
        let Some(running) = &mut self.aggregator.running else { return };
        let streams = match &work {
            Work::Appends(appends) => appends.iter().map(|append| append.stream).collect(),
            Work::Numbered(post) => vec![post.stream],
            Work::Rebind(..) | Work::Mark(..) | Work::Release(..) => Vec::new(),
        };
        let asked = Asked { from, streams };
        if let Err((asked, why)) = running.booking.apply(&work, asked, now) {
            self.say(|| format!("  turned away: {why}"));
            return self.give(&asked.from, None, None);
        }
        if self.is_killed("after it applied a post") {
            return;
        }
        self.call();
    }

    fn work(&self, from: &From, body: &[u8]) -> Option<Work> {
        match from {
            From::Agent(..) => {
                let post = wire::decode_post(body).expect("a post");
                Some(Work::Appends(ingest::translate(post)))
            }
            From::Client(..) => Some(Work::Numbered(Box::new(self.numbered(body)?))),
        }
    }

    /// Has a commit begin soon, unless one is in flight.
    fn call(&mut self) {
        let Some(running) = &mut self.aggregator.running else { return };
        if !running.booking.is_idle() || std::mem::replace(&mut running.called, true) {
            return;
        }
        let wait = self.rng.below(S / 2);
        self.after(wait, Event::Begin(self.aggregator.life));
    }

    pub(crate) fn begin(&mut self, life: u32) {
        let now = self.utc();
        let Some(running) = self.aggregator.running.as_mut().filter(|_| self.aggregator.life == life) else { return };
        running.called = false;
        let orders = running.booking.begin(now);
        self.carry_out(orders);
    }

    fn carry_out(&mut self, orders: Orders<Asked>) {
        let Some(running) = &mut self.aggregator.running else { return };
        if let Some(snapshot) = orders.snapshot(&running.snapshot) {
            running.snapshot = snapshot;
            let owners: Vec<Owner> = orders.publish.iter().map(|publication| publication.owner.clone()).collect();
            self.shown(&owners);
        }
        if self.is_killed("before it answers") {
            return;
        }
        for (asked, told) in orders.answers {
            let told = told.ok();
            self.rests_on_disk(&asked, told.as_ref());
            let (answer, numbered) = match told {
                Some(Told::Appends(outcomes)) => {
                    (Some(ingest::reply(outcomes, self.aggregator.store.identity())), None)
                }
                Some(Told::Numbered(outcome)) => (None, Some(outcome)),
                Some(Told::Rebound(_) | Told::Marked(_) | Told::Released(_)) | None => (None, None),
            };
            self.give(&asked.from, answer, numbered);
        }
        if self.is_killed("after it answered") {
            return;
        }
        let life = self.aggregator.life;
        if !orders.commit.is_empty() {
            let wait = self.rng.below(S / 5);
            self.after(wait, Event::Commit(life, orders.commit));
        }
        if let Some(owners) = orders.reload {
            self.after(S / 100, Event::Reload(life, owners));
        }
    }

    /// An answer leaves: what it says must be on disk.
    fn rests_on_disk(&mut self, asked: &Asked, told: Option<&Told>) {
        let mut positions = Vec::new();
        match told {
            Some(Told::Appends(outcomes)) => {
                for (stream, outcome) in asked.streams.iter().zip(outcomes) {
                    match outcome {
                        AppendOutcome::Applied { at, .. } => positions.push((*stream, *at, true)),
                        AppendOutcome::Stands(at) => positions.push((*stream, *at, false)),
                        _ => {}
                    }
                }
            }
            Some(Told::Numbered(PostOutcome::Applied { seq, .. } | PostOutcome::Repeated { seq, .. })) => {
                let at = meter::Position { seq: *seq, digest: [0; 16] };
                positions.extend(asked.streams.iter().map(|stream| (*stream, at, true)));
            }
            _ => {}
        }
        for (stream, at, is_promise) in positions {
            let on_disk = self.aggregator.on_disk.get(&stream).copied().unwrap_or(0);
            if on_disk < at.seq {
                let word = if is_promise { "acknowledges" } else { "says that it stands at" };
                self.violation(format!("the aggregator {word} record {}, on disk are {on_disk}", at.seq));
            }
            if is_promise {
                self.truth.acknowledged(stream, at);
            }
        }
    }

    /// The store takes a commit, or does not.
    pub(crate) fn commit(&mut self, life: u32, dirty: Vec<Dirty>) {
        if self.aggregator.life != life || self.is_killed("before the store has a commit") {
            return;
        }
        let fate = match (self.is_quiet, self.rng.percent(self.plan.failures)) {
            (false, true) if self.rng.percent(50) => Fate::Written,
            (false, true) => Fate::Nothing,
            _ => Fate::Done,
        };
        self.aggregator.store.decide(fate);
        let before = self.aggregator.store.commit_number();
        let result = persist::commit(&*self.aggregator.store, &dirty);
        let is_written = self.aggregator.store.commit_number() > before;
        self.say(|| format!("commit of {} owners: {fate:?}, {}", dirty.len(), result.is_ok()));
        if is_written {
            for dirty in &dirty {
                self.note_row(&dirty.owner);
            }
        }
        if self.is_killed("after the store had a commit") {
            return;
        }
        self.after(S / 1000, Event::Committed(life, dirty, result.is_ok()));
    }

    /// Learns from a row on disk which readings the ledger has.
    fn note_row(&mut self, owner: &Owner) {
        let Some(row) = self.aggregator.store.row(owner) else { return };
        let state = records::decode_row(owner, &row.bytes).expect("a row");
        for stream in &state.streams {
            self.aggregator.on_disk.insert(stream.id, stream.position.seq);
            self.truth.on_disk(&mut self.holdings, stream.id, stream.position);
        }
    }

    pub(crate) fn committed(&mut self, life: u32, dirty: Vec<Dirty>, is_on_disk: bool) {
        let now = self.utc();
        let Some(running) = self.aggregator.running.as_mut().filter(|_| self.aggregator.life == life) else { return };
        let orders = running.booking.committed(dirty, is_on_disk, now);
        self.carry_out(orders);
        self.call();
    }

    pub(crate) fn reload(&mut self, life: u32, owners: Arc<Vec<Owner>>) {
        let now = self.utc();
        let Some(running) = self.aggregator.running.as_mut().filter(|_| self.aggregator.life == life) else { return };
        match persist::reload(&*self.aggregator.store, &owners) {
            Ok(rows) => {
                let orders = running.booking.reloaded(rows, now);
                self.say(|| format!("{} owners were loaded again", owners.len()));
                self.carry_out(orders);
            }
            Err(_) => self.after(S, Event::Reload(life, owners)),
        }
    }

    pub(crate) fn export(&mut self) {
        let image = self.aggregator.store.copy();
        self.say(|| format!("export of commit {}", image.commit));
        self.aggregator.exports.push((image, self.holdings.clone()));
    }

    /// An earlier export, or nothing, takes the place of the store.
    pub(crate) fn restore(&mut self, is_lost: bool) {
        let now_ms = (self.utc().0 / 1_000_000) as u64;
        let count = self.aggregator.exports.len() as u64;
        let (image, holdings) = if is_lost || count == 0 {
            (Image::empty(Identity { ledger: self.rng.id(), generation: now_ms }), Holdings::default())
        } else {
            let (mut image, holdings) = self.aggregator.exports[self.rng.below(count) as usize].clone();
            image.identity = image.identity.restored(now_ms);
            (image, holdings)
        };
        self.crash("to restore it", 5 * S);
        self.say(|| format!("the store is now that of commit {}", image.commit));
        let owners: Vec<Owner> = image.rows.keys().cloned().collect();
        self.aggregator.store.replace(image);
        self.aggregator.on_disk.clear();
        self.holdings = holdings;
        for owner in owners {
            self.note_row(&owner);
        }
        self.truth.restored(&self.holdings);
        self.give_up_unreachable();
    }

    /// What neither the restored ledger nor any spool holds is lost: the documentation says so.
    fn give_up_unreachable(&mut self) {
        for machine in &mut self.machines {
            for place in &mut machine.lanes {
                place.is_stale = true;
                let after = self.truth.in_records(&place.owner, &place.disk.records());
                let lost = self.truth.give_up(&self.truth.of_owner(&place.owner), &after, &self.holdings);
                self.trace.say(self.now, || format!("  {lost} readings of {} are in no spool", place.owner));
            }
        }
        // Clients keep nothing that was acknowledged.
        let unacknowledged: Vec<bool> = self.truth.acknowledged_ones().iter().map(|known| !known).collect();
        for client in &self.clients {
            self.truth.give_up(&self.truth.of_owner(&client.owner), &unacknowledged, &self.holdings);
        }
    }

    /// What readers see of an owner.
    pub(crate) fn seen(&self, owner: &Owner) -> Option<(Arc<energy::OwnerState>, u64)> {
        let view = self.aggregator.running.as_ref()?.snapshot.owner(owner)?;
        Some((Arc::clone(&view.state), view.version))
    }
}
