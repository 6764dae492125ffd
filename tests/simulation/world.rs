//! One world: what there is in it, and what happens next.
//!
//! Everything runs on one thread by one clock of its own, and chance comes from the seed alone: a seed
//! is a history. Agents, network and store are simulated; what decides in them is the real code.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use energy::{Dirty, PostOutcome};
use meter::Owner;
use store::Identity;
use wire::Answer;

use crate::checks::Seen;
use crate::client::Client;
use crate::machine::Machine;
use crate::plan::{Fault, Plan, S};
use crate::rng::Rng;
use crate::server::Aggregator;
use crate::trace::Trace;
use crate::truth::{Holdings, Truth};

/// UTC when a world begins, in nanoseconds.
pub(crate) const BEGIN_UTC: i64 = 1_900_000_123_000_000_000;
/// How long readings go on after the last fault: everyone gets to hear of it.
const TAIL: u64 = 150 * S;
/// How long the rest may take to be delivered.
const DRAIN_MAX: u64 = 4 * 3600 * S;

/// What happens.
pub(crate) enum Event {
    Boot(u8),
    StartAgent(u8),
    Tick(u8, u32, usize),
    Sync(u8, u32),
    Post(u8, u32),
    Mark(u8, u32),
    Timeout(u8, u32, u64),
    ClientTick(u8),
    ClientAgain(u8, u64),
    Arrive(From, Vec<u8>),
    Reply(From, Option<Answer>, Option<PostOutcome>),
    StartAggregator,
    Begin(u32),
    Commit(u32, Vec<Dirty>),
    Committed(u32, Vec<Dirty>, bool),
    Reload(u32, Arc<Vec<Owner>>),
    Fault(Fault),
    SpoolRoom(u8),
    StoreRoom,
    Calm,
    Quiet,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// A machine, the run of its agent, the request's number.
    Agent(u8, u32, u64),
    /// A client and the request's number.
    Client(u8, u64),
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) clients: Vec<Client>,
    pub(crate) aggregator: Aggregator,
    pub(crate) truth: Truth,
    /// What the store is known to hold.
    pub(crate) holdings: Holdings,
    /// What a scraper saw last, by account.
    pub(crate) scraped: HashMap<usize, Seen>,
    /// How far the ledger's clock is off, in nanoseconds.
    pub(crate) ledger_off: i64,
    /// When the last machine is back that lost power.
    pub(crate) all_back: u64,
    /// Nothing is read any more.
    pub(crate) is_quiet: bool,
    pub(crate) trace: Trace,
    pub(crate) found: Option<String>,
    /// Chance of the marks alone: the rest of a world is what it is without them.
    pub(crate) chance: Rng,
    /// Jobs that began so far, in the whole world.
    pub(crate) jobs: u64,
    /// Cuts and holds that were looked at in the end.
    pub(crate) cuts: u64,
    pub(crate) holds: u64,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let plan = Plan::of(seed);
        let mut rng = Rng::new(!seed);
        let identity = Identity { ledger: rng.id(), generation: (BEGIN_UTC / 1_000_000) as u64 };
        let mut world = Self {
            plan,
            rng,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            machines: Vec::new(),
            clients: Vec::new(),
            aggregator: Aggregator::new(identity),
            truth: Truth::default(),
            holdings: Holdings::default(),
            scraped: HashMap::new(),
            ledger_off: 0,
            all_back: 0,
            is_quiet: false,
            trace,
            found: None,
            chance: Rng::new(seed ^ 0x6d61_726b),
            jobs: 0,
            cuts: 0,
            holds: 0,
        };
        world.truth.clock(meter::Id::default());
        world.after(0, Event::StartAggregator);
        (0..world.plan.machines).for_each(|number| world.furnish(number));
        (0..world.plan.clients).for_each(|number| world.hire(number));
        for (at, fault) in world.plan.faults.clone() {
            world.after(at, Event::Fault(fault));
        }
        world.after(world.plan.duration, Event::Calm);
        world
    }

    /// Lets it happen. What was violated first, if anything.
    pub(crate) fn run(mut self) -> Outcome {
        let mut steps = 0;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            self.step(event);
            steps += 1;
            if self.found.is_some() || (self.is_quiet && self.is_done()) {
                break;
            }
            if at > self.plan.duration + DRAIN_MAX {
                self.violation("what waits is not delivered".into());
            }
        }
        if self.found.is_none() {
            self.is_exact();
        }
        let (readings, counted) = self.truth.counts();
        Outcome {
            violation: self.found,
            trace: self.trace,
            steps,
            readings,
            counted,
            cuts: self.cuts,
            holds: self.holds,
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Boot(number) => self.boot(number),
            Event::StartAgent(number) => self.start_agent(number),
            Event::Tick(number, run, source) => self.tick(number, run, source),
            Event::Sync(number, run) => self.sync(number, run),
            Event::Post(number, run) => self.post(number, run),
            Event::Mark(number, run) => self.mark(number, run),
            Event::Timeout(number, run, request) => self.timeout(number, run, request),
            Event::ClientTick(number) => self.client_tick(number),
            Event::ClientAgain(number, request) => self.client_again(number, request),
            Event::Arrive(from, body) => self.arrive(from, &body),
            Event::Reply(From::Agent(number, run, request), answer, _) => {
                self.reply(number, run, request, answer.as_ref());
            }
            Event::Reply(From::Client(number, request), _, outcome) => {
                self.client_reply(number, request, outcome.as_ref());
            }
            Event::StartAggregator => self.start_aggregator(),
            Event::Begin(life) => self.begin(life),
            Event::Commit(life, dirty) => self.commit(life, dirty),
            Event::Committed(life, dirty, is_on_disk) => self.committed(life, dirty, is_on_disk),
            Event::Reload(life, owners) => self.reload(life, owners),
            Event::Fault(fault) => self.fault(fault),
            Event::SpoolRoom(number) => self.fill_spools(number, false),
            Event::StoreRoom => self.aggregator.store.fill(false),
            Event::Calm => self.calm(),
            Event::Quiet => self.is_quiet = true,
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.say(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Kill(number, down) => {
                self.stop_agent(number);
                self.after(down, Event::StartAgent(number));
            }
            Fault::PowerLoss(number, down) => {
                self.lose_power(number);
                let machine = &mut self.machines[usize::from(number)];
                machine.off_until = machine.off_until.max(self.now + down);
                self.all_back = self.all_back.max(self.now + down);
                self.after(down, Event::Boot(number));
            }
            Fault::SpoolFull(number, time) => {
                self.fill_spools(number, true);
                self.after(time, Event::SpoolRoom(number));
            }
            Fault::Crash(down) => self.crash("by a fault", down),
            Fault::StoreFull(time) => {
                self.aggregator.store.fill(true);
                self.after(time, Event::StoreRoom);
            }
            Fault::Export => self.export(),
            Fault::Rollback => self.restore(false),
            Fault::LoseStore => self.restore(true),
            Fault::Clone(number, same_machine) => self.clone_state(number, same_machine),
            Fault::Snapshot(number) => self.take_snapshot(number),
            Fault::Rewind(number) => self.rewind(number),
            Fault::LedgerClock(seconds) => {
                let off = self.ledger_off + seconds * S as i64;
                // Ten years back are allowed for, fifty are not.
                self.ledger_off = if off.abs() < 315_360_000 * S as i64 { off } else { 0 };
            }
            Fault::WallClock(number, seconds) => {
                let machine = &mut self.machines[usize::from(number)];
                let off = machine.wall_off + seconds * S as i64;
                machine.wall_off = off.max(-BEGIN_UTC);
            }
            Fault::Reset(number) => self.reset_device(number),
            Fault::SwapState(number, down) => self.swap_state(number, down),
        }
    }

    fn fill_spools(&mut self, number: u8, full: bool) {
        let machine = &mut self.machines[usize::from(number)];
        machine.lanes.iter().for_each(|place| place.disk.fill(full));
        machine.degraded |= full;
    }

    /// The faults are over: whatever is down comes back, and readings go on for a while.
    fn calm(&mut self) {
        self.say(|| "the faults are over".into());
        self.plan = Plan { loss: 0, repeats: 0, crashes: 0, failures: 0, ..self.plan.clone() };
        self.aggregator.store.fill(false);
        self.after(0, Event::StartAggregator);
        for number in 0..self.machines.len() as u8 {
            self.fill_spools(number, false);
            // Who lost power or state stays away for their time: readings of before and after are far apart.
            let wait = self.all_back.saturating_sub(self.now);
            self.after(wait, Event::StartAgent(number));
        }
        self.after(self.all_back.saturating_sub(self.now) + TAIL, Event::Quiet);
    }

    fn is_done(&self) -> bool {
        let machines = (0..self.machines.len() as u8).all(|number| self.is_delivered(number));
        let clients = (0..self.plan.clients).all(|number| self.is_client_done(number));
        machines && clients && self.aggregator.is_settled()
    }

    pub(crate) fn after(&mut self, wait: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + wait, self.queued), event);
    }

    /// A request on its way: it may be lost, arrive late, or arrive once more.
    pub(crate) fn send(&mut self, from: From, body: Vec<u8>) {
        if self.rng.percent(self.plan.repeats) {
            let late =
                self.rng.between(S / 100, if self.plan.calm { self.plan.delay_max } else { 4 * self.plan.delay_max });
            self.after(late, Event::Arrive(from, body.clone()));
        }
        if self.rng.percent(self.plan.loss) {
            return self.say(|| "  the request is lost".into());
        }
        let delay = self.rng.between(S / 1000, self.plan.delay_max);
        self.after(delay, Event::Arrive(from, body));
    }

    /// A reply on its way; nothing in it if the aggregator could not book.
    pub(crate) fn give(&mut self, to: &From, answer: Option<Answer>, outcome: Option<PostOutcome>) {
        if self.rng.percent(self.plan.loss) {
            return self.say(|| "  the reply is lost".into());
        }
        let delay = self.rng.between(S / 1000, self.plan.delay_max);
        self.after(delay, Event::Reply(*to, answer, outcome));
    }

    pub(crate) fn say(&mut self, words: impl FnOnce() -> String) {
        self.trace.say(self.now, words);
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.say(|| format!("VIOLATION: {what}"));
        self.found.get_or_insert(what);
    }
}

/// How a world ended.
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) trace: Trace,
    pub(crate) steps: u64,
    pub(crate) readings: usize,
    pub(crate) counted: usize,
    pub(crate) cuts: u64,
    pub(crate) holds: u64,
}
