//! Machines: their clocks and devices, and the agent that runs on them, on the real spool and outbox.

mod mishaps;

use std::sync::Arc;

use agents::outbox::{Lane, Outbox};
use agents::spool::Spool;
use meter::{
    AccountKey, Clock, Context, DeviceDecl, Id, Labels, Microjoules, Milliwatts, Owner, Record, Refusal, Sample, Scope,
};
use wire::{Answer, AppendAnswer, SentAt};

use crate::disk::{SimDisk, fingerprint};
use crate::oracle::{Device, Look};
use crate::plan::{S, Theme};
use crate::rng::Rng;
use crate::world::{BEGIN_UTC, Event, From, World};

/// The devices' own limit; the ledger believes half as much again.
const LIMIT_MW: u64 = 700_000;
const CEILING_MW: u64 = LIMIT_MW * 3 / 2;
/// Where a RAPL counter wraps: after six minutes at the limit.
const MODULUS_UJ: u64 = 262_143_328_850;
/// How often a spool is synced.
const SYNC_EVERY: u64 = 5 * S;
/// How long a request may take.
const TIMEOUT: u64 = 10 * S;

/// A machine, whether it runs or not.
pub(crate) struct Machine {
    pub(crate) lanes: Vec<Place>,
    sources: Vec<Source>,
    pub(crate) boot: Id,
    /// When its boot clock began.
    pub(crate) booted: u64,
    agent: Option<Agent>,
    /// It lost power and does not come back before.
    pub(crate) off_until: u64,
    /// How far its wall clock is off, in nanoseconds.
    pub(crate) wall_off: i64,
    /// Disks and boot clock at an earlier instant.
    snapshot: Option<(u64, Vec<SimDisk>)>,
    /// Its boot clock was set back, and it was not told so yet.
    is_rewound: bool,
    /// It may not speak for its owner: what it holds is never delivered.
    is_refused: bool,
    /// Counts starts of the agent, so that what was meant for an earlier one goes nowhere.
    run: u32,
    /// Whether a spool of this run may hold records in memory only.
    pub(crate) degraded: bool,
}

impl Machine {
    /// A machine that does not run yet.
    fn off(lanes: Vec<Place>, sources: Vec<Source>) -> Self {
        Self {
            lanes,
            sources,
            boot: Id::default(),
            booted: 0,
            agent: None,
            off_until: 0,
            wall_off: 0,
            snapshot: None,
            is_rewound: false,
            is_refused: false,
            run: 0,
            degraded: false,
        }
    }
}

/// Where one stream is kept.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) owner: Owner,
    pub(crate) fingerprint: Option<Id>,
    pub(crate) disk: SimDisk,
    /// The ledger was set back, and the agent has not heard of it yet.
    pub(crate) is_stale: bool,
    evictions: u64,
}

struct Source {
    lane: usize,
    period: u64,
    devices: Vec<SimDevice>,
    context: Option<Arc<Context>>,
}

struct SimDevice {
    account: usize,
    decl: DeviceDecl,
    has_power: bool,
    has_counter: bool,
    counter_pj: u128,
    mw: u64,
    level: u64,
    since: u64,
}

struct Agent {
    outbox: Outbox,
    /// The number of the last request, and whether its reply is awaited.
    request: u64,
    awaits: bool,
    interval: u64,
}

impl World {
    pub(crate) fn furnish(&mut self, number: u8) {
        let host = Owner::host(&format!("node-{number}")).expect("a good name");
        let mut owners = vec![(host, Some(fingerprint(number + 1)))];
        // A chassis binds no machine: its readings of two boots that clocks confuse may be fenced.
        if self.rng.percent(30) && !matches!(self.plan.theme, Theme::Clocks | Theme::Copies) {
            let chassis = format!("default/chassis/bmc-{number}").parse::<Owner>().expect("a good name");
            owners.push((chassis, None));
        }
        let mut sources = Vec::new();
        for (lane, (owner, _)) in owners.iter().enumerate() {
            for source in 0..self.rng.between(1, 2) {
                let period = self.rng.pick(&[S, 2 * S, 5 * S, 10 * S, 10 * S, 60 * S]);
                let devices =
                    (0..self.rng.between(1, 2)).map(|device| self.device(owner, &format!("{source}-{device}"), period));
                let devices = devices.collect();
                sources.push(Source { lane, period, devices, context: None });
            }
        }
        let lanes = owners.into_iter().map(|(owner, fingerprint)| Place {
            owner,
            fingerprint,
            disk: SimDisk::default(),
            is_stale: false,
            evictions: 0,
        });
        let lanes = lanes.collect();
        self.machines.push(Machine::off(lanes, sources));
        let begin = self.rng.below(20 * S);
        self.after(begin, Event::Boot(number));
    }

    fn device(&mut self, owner: &Owner, name: &str, period_ns: u64) -> SimDevice {
        // A counter that goes on while the machine's clock goes back jumps.
        let kinds: &[_] = match self.plan.theme {
            Theme::Copies => &[(true, false)],
            _ => &[(true, false), (true, false), (false, true), (true, true)],
        };
        let (has_power, has_counter) = self.rng.pick(kinds);
        let modulus = (has_counter && self.rng.percent(30)).then_some(MODULUS_UJ);
        let key = AccountKey::new(Scope::Gpu, name).expect("a good name");
        let join_ns = (3 * period_ns).clamp(10 * S, 3600 * S);
        let device = Device { join_ns, ceiling_mw: CEILING_MW, modulus_uj: modulus };
        let account = self.truth.open(owner, &key, device);
        let epoch = if has_counter { self.rng.next() } else { 0 };
        let modulus = modulus.map(Microjoules);
        let level = self.rng.between(50_000, 650_000);
        let counter_pj = u128::from(self.rng.below(200_000_000_000)) * 1_000_000;
        let decl = DeviceDecl { key, period_ns, limit: Milliwatts(LIMIT_MW), modulus, epoch };
        SimDevice { account, decl, has_power, has_counter, counter_pj, mw: level, level, since: 0 }
    }

    fn boot_ns(&self, number: u8) -> u64 {
        self.now - self.machines[usize::from(number)].booted
    }

    /// A machine begins to run: a new boot clock, new counters.
    pub(crate) fn boot(&mut self, number: u8) {
        let machine = &self.machines[usize::from(number)];
        if machine.boot != Id::default() || self.now < machine.off_until {
            return;
        }
        let uptime = self.rng.below(100 * S);
        let boot = self.rng.id();
        self.truth.clock(boot);
        let machine = &mut self.machines[usize::from(number)];
        // The clock began a little before the agent does.
        (machine.boot, machine.booted) = (boot, self.now - uptime.min(self.now));
        for source in &mut machine.sources {
            source.context = None;
            for device in &mut source.devices {
                device.decl.epoch = if device.has_counter { self.rng.next() } else { 0 };
                device.since = self.now;
            }
        }
        self.say(|| format!("machine {number} boots"));
        self.start_agent(number);
    }

    /// The agent starts on what its disk holds.
    pub(crate) fn start_agent(&mut self, number: u8) {
        let ids = self.rng.next();
        let interval = self.rng.pick(&[2 * S, 10 * S, 10 * S, 60 * S]);
        let spool_bytes = self.plan.spool;
        let machine = &mut self.machines[usize::from(number)];
        if machine.agent.is_some() || machine.boot == Id::default() {
            return;
        }
        machine.run += 1;
        machine.degraded = machine.lanes.iter().any(|place| place.disk.is_full());
        let mut lanes = Vec::new();
        for (lane, place) in machine.lanes.iter().enumerate() {
            let mut rng = Rng::new(ids ^ lane as u64);
            let fingerprint = place.fingerprint.unwrap_or_default();
            let opened = Spool::open_on(Box::new(place.disk.clone()), fingerprint, spool_bytes);
            let Ok(spool) = opened else {
                // A full disk: this agent does not start, and tries again.
                self.after(10 * S, Event::StartAgent(number));
                return;
            };
            let spool = spool.with_ids(Box::new(move || Ok(rng.id()))).expect("ids");
            lanes.push(Lane::live(place.owner.clone(), place.fingerprint, Labels::new(), spool));
        }
        machine.agent = Some(Agent { outbox: Outbox::new(lanes), request: 0, awaits: false, interval });
        let (run, sources) = (machine.run, machine.sources.len());
        for source in &mut machine.sources {
            // Another process declares its devices anew; with the same words it is the same context.
            source.context = None;
        }
        self.say(|| format!("agent {number} starts (run {run})"));
        for source in 0..sources {
            let delay = self.rng.below(S);
            self.after(delay, Event::Tick(number, run, source));
        }
        self.after(SYNC_EVERY, Event::Sync(number, run));
        self.after(S, Event::Post(number, run));
        if sources > 0 {
            let wait = self.chance.below(60 * S);
            self.after(wait, Event::Mark(number, run));
        }
    }

    /// The agent of this run, if it still lives.
    fn agent(&mut self, number: u8, run: u32) -> Option<&mut Agent> {
        let machine = self.machines.get_mut(usize::from(number))?;
        machine.agent.as_mut().filter(|_| machine.run == run)
    }

    /// The ledger finds that the boot's clock was set back: readings are dated anew, as the agent's actor
    /// does it.
    fn heed(&mut self, number: u8, answer: &Answer) {
        let is_set_back =
            |answer: &AppendAnswer| matches!(answer, AppendAnswer::Rejected { code, .. } if code == "clock-set-back");
        if !answer.answers.iter().any(is_set_back) {
            return;
        }
        let boot = self.rng.id();
        self.truth.clock(boot);
        let machine = &mut self.machines[usize::from(number)];
        (machine.boot, machine.is_rewound) = (boot, false);
        machine.sources.iter_mut().for_each(|source| source.context = None);
    }

    pub(crate) fn sync(&mut self, number: u8, run: u32) {
        let Some(agent) = self.agent(number, run) else { return };
        agent.outbox.sync();
        self.after(SYNC_EVERY, Event::Sync(number, run));
    }

    /// One look at one source.
    pub(crate) fn tick(&mut self, number: u8, run: u32, place: usize) {
        if self.agent(number, run).is_none() || self.is_quiet {
            return;
        }
        // Instants are whole microseconds.
        let at = self.boot_ns(number) / 1000 * 1000;
        let machine = &mut self.machines[usize::from(number)];
        let (boot, source) = (machine.boot, &mut machine.sources[place]);
        let mut samples = Vec::new();
        for (index, device) in source.devices.iter_mut().enumerate() {
            let (sample, look) = device.read(index as u16, at, self.now, &mut self.rng);
            samples.push(sample);
            if let Some(look) = look {
                self.truth.read(device.account, boot, look, machine.is_rewound);
            }
        }
        let context = match &source.context {
            Some(context) => Arc::clone(context),
            None => {
                let wall_offset_ns = BEGIN_UTC + machine.booted as i64 + machine.wall_off;
                let devices = source.devices.iter().map(|device| device.decl.clone()).collect();
                let context = Arc::new(Context { clock: Clock::Boot(boot), wall_offset_ns, devices });
                self.truth.learn(&context);
                source.context = Some(Arc::clone(&context));
                context
            }
        };
        let record = Record { context: wire::context_id(&context), at, samples, ..Record::default() };
        let (lane, period) = (source.lane, source.period);
        self.append(number, lane, &context, &record);
        self.after(period, Event::Tick(number, run, place));
    }

    /// Puts a record into one of the agent's streams.
    pub(crate) fn append(&mut self, number: u8, lane: usize, context: &Arc<Context>, record: &Record) {
        let machine = &mut self.machines[usize::from(number)];
        if let Some(agent) = machine.agent.as_mut()
            && let Some(lane) = agent.outbox.lane(lane)
        {
            lane.append(context, record);
            machine.degraded |= lane.spool().degraded();
        }
        self.evicted(number, lane);
    }

    /// Whether the agent of this run lives.
    pub(crate) fn runs(&mut self, number: u8, run: u32) -> bool {
        self.agent(number, run).is_some()
    }

    /// Something went to make room: right if the agent believes that a ledger has it.
    fn evicted(&mut self, number: u8, lane: usize) {
        let place = &mut self.machines[usize::from(number)].lanes[lane];
        let evictions = place.disk.evictions();
        if std::mem::replace(&mut place.evictions, evictions) == evictions || !place.is_stale {
            return;
        }
        let after = self.truth.in_records(&place.owner, &place.disk.records());
        let of_owner = self.truth.of_owner(&place.owner);
        let both = self.truth.acknowledged_ones().iter().zip(of_owner).map(|(a, b)| *a && b).collect::<Vec<_>>();
        let lost = self.truth.give_up(&both, &after, &self.holdings);
        self.say(|| format!("agent {number} let go {lost} readings before it heard of the restore"));
    }

    /// Posts what waits, unless a reply is awaited.
    pub(crate) fn post(&mut self, number: u8, run: u32) {
        let (boot_ns, now) = (self.boot_ns(number), self.now);
        let Machine { boot, wall_off, .. } = self.machines[usize::from(number)];
        let Some(agent) = self.agent(number, run) else { return };
        if agent.awaits {
            return;
        }
        let sent = SentAt { boot, boot_ns, wall_ns: BEGIN_UTC + now as i64 + wall_off };
        let outgoing = agent.outbox.next_post(boot_ns, Some(sent)).expect("a post can be encoded");
        let interval = agent.interval;
        let Some(outgoing) = outgoing else {
            return self.after(interval, Event::Post(number, run));
        };
        agent.request += 1;
        agent.awaits = true;
        let request = agent.request;
        let post = wire::decode_post(&outgoing.body).expect("a post can be decoded");
        self.truth.sent(&post);
        self.say(|| {
            let what = post.appends.iter().map(|append| format!(" {}+{}", append.base.seq, append.records.len()));
            format!("agent {number} posts{}", what.collect::<String>())
        });
        self.send(From::Agent(number, run, request), outgoing.body);
        self.after(TIMEOUT, Event::Timeout(number, run, request));
    }

    /// No reply came.
    pub(crate) fn timeout(&mut self, number: u8, run: u32, request: u64) {
        let wait = self.rng.between(S / 2, 30 * S);
        if let Some(agent) = self.agent(number, run).filter(|agent| agent.awaits && agent.request == request) {
            agent.awaits = false;
            self.after(wait, Event::Post(number, run));
        }
    }

    /// A reply came; nothing in it if the aggregator could not book.
    pub(crate) fn reply(&mut self, number: u8, run: u32, request: u64, answer: Option<&Answer>) {
        let (boot_ns, generation) = (self.boot_ns(number), self.generation());
        let wait = self.rng.between(S / 2, 5 * S);
        let Some(agent) = self.agent(number, run).filter(|agent| agent.awaits && agent.request == request) else {
            return;
        };
        agent.awaits = false;
        let Some(answer) = answer else {
            return self.after(wait, Event::Post(number, run));
        };
        self.heed(number, answer);
        let Some(agent) = self.agent(number, run) else { return };
        let at_once = agent.outbox.settle(answer, boot_ns);
        let next = if at_once { S / 100 } else { agent.interval };
        if answer.generation == generation {
            for place in &mut self.machines[usize::from(number)].lanes {
                place.is_stale = false;
            }
        }
        self.say(|| format!("agent {number} is told {:?}", answer.answers));
        self.after(next, Event::Post(number, run));
    }

    /// Whether everything this machine's agent holds is on the ledger's disk.
    pub(crate) fn is_delivered(&self, number: u8) -> bool {
        let machine = &self.machines[usize::from(number)];
        machine.is_refused || machine.agent.as_ref().is_some_and(|agent| agent.outbox.is_delivered())
    }

    /// A device's counter begins anew, in a new epoch or, where it declares no modulus, in the same.
    pub(crate) fn reset_device(&mut self, number: u8) {
        let machine = &mut self.machines[usize::from(number)];
        let source = self.rng.below(machine.sources.len() as u64) as usize;
        let source = &mut machine.sources[source];
        for device in &mut source.devices {
            device.counter_pj = 0;
            // A fall within one epoch is not seen by who reads only before and long after it.
            let is_told = self.plan.theme == Theme::Late || device.decl.modulus.is_some() || self.rng.percent(50);
            if device.has_counter && is_told {
                device.decl.epoch = self.rng.next();
                source.context = None;
            }
        }
    }
}

impl SimDevice {
    /// Reads the device. A value that is none, or that cannot be believed, is no reading.
    fn read(&mut self, device: u16, at: u64, now: u64, rng: &mut Rng) -> (Sample, Option<Look>) {
        self.counter_pj += u128::from(self.mw) * u128::from(now - self.since);
        self.since = now;
        if rng.percent(3) {
            self.level = rng.between(50_000, 650_000);
        }
        self.mw = self.level + rng.below(1000);
        let value = (self.counter_pj / 1_000_000) as u64;
        let counter = self.decl.modulus.map_or(value, |modulus| value % modulus.0);
        let mut sample = Sample { device, ..Sample::default() };
        sample.power = self.has_power.then_some(Milliwatts(self.mw));
        sample.counter = (self.has_counter && !(self.has_power && rng.percent(8))).then_some(Microjoules(counter));
        let mut mw = sample.power.map(|power| power.0);
        match rng.below(100) {
            0 => {
                sample.refused = Some(Refusal::PowerNotFinite);
                (sample.power, mw) = (None, None);
            }
            1 if self.has_power => {
                sample.power = Some(Milliwatts(CEILING_MW + 1 + rng.below(1 << 40)));
                mw = None;
            }
            _ => {}
        }
        let counter = sample.counter.map(|counter| (counter.0, self.decl.epoch));
        let is_good = mw.is_some() || counter.is_some();
        (sample, is_good.then_some(Look { clock: 0, at, mw, counter }))
    }
}
