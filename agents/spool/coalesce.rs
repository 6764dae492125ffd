//! Many looks become few summaries: the energy stays exact, how it lay in time is given up.
//!
//! Readings are joined by the ledger's own integrator. What does not join begins a span of its own, so
//! that no hole is ever coalesced over; what a ledger may refuse stays a single reading, so that the
//! ledger decides about it. Contexts of other clocks, or that declare a device again, never share a
//! summary: their readings would get out of order.

use std::sync::Arc;

use energy::{Count, Edge, Policy, Register, Rules};
use meter::{Context, Microjoules, Milliwatts, Quality, Reading, Record, Refusal, Sample, Span, Summary, Utc};

/// Collects records until they fill a summary.
pub struct Coalescer {
    policy: Policy,
    span_max_ns: u64,
    groups: Vec<Group>,
}

/// What one context's records came to so far.
struct Group {
    id: u64,
    context: Arc<Context>,
    from: u64,
    to: u64,
    devices: Vec<Device>,
    refused: Vec<(u16, Refusal, u64)>,
    /// The first record, and how many there were: one by itself stays what it is.
    first: Option<Record>,
    records: u64,
}

struct Device {
    rules: Rules,
    epoch: u64,
    runs: Vec<Register>,
    /// Whether the last run may go on.
    open: bool,
}

impl Coalescer {
    /// Summaries of at most `span_max_ns` each, with readings joined as `policy` has it.
    #[must_use]
    pub const fn new(policy: Policy, span_max_ns: u64) -> Self {
        Self { policy, span_max_ns, groups: Vec::new() }
    }

    /// Takes the next record; gives what is finished. A mark stays what it is, and nothing lies over it.
    pub fn push(&mut self, record: Record, context: &Arc<Context>) -> Vec<Record> {
        if record.mark.is_some() {
            let mut finished = self.finish();
            finished.push(record);
            return finished;
        }
        let from = first_instant(&record);
        let finished = if self.fits(&record, from, context) { Vec::new() } else { self.finish() };
        let place = self.groups.iter().position(|group| group.id == record.context).unwrap_or_else(|| {
            self.groups.push(Group::new(record.context, context, from, &self.policy));
            self.groups.len() - 1
        });
        self.groups[place].add(record);
        finished
    }

    /// Gives everything that was collected.
    pub fn finish(&mut self) -> Vec<Record> {
        self.groups.drain(..).map(Group::finish).collect()
    }

    fn fits(&self, record: &Record, from: u64, context: &Context) -> bool {
        let Some(first) = self.groups.first() else { return true };
        let begun = self.groups.iter().map(|group| group.from).min().unwrap_or(from).min(from);
        if context.clock != first.context.clock || record.at.saturating_sub(begun) > self.span_max_ns {
            return false;
        }
        match self.groups.iter().find(|group| group.id == record.context) {
            Some(group) => from >= group.to && group.spans() + wire::weight(record) <= wire::SPANS_MAX,
            None => self.groups.iter().all(|group| !group.shares_devices(context)),
        }
    }
}

/// The earliest instant that a record speaks of.
fn first_instant(record: &Record) -> u64 {
    let spans = record.summary.iter().flat_map(|summary| &summary.spans);
    spans.map(|span| span.from.at).min().unwrap_or(record.at).min(record.at)
}

impl Group {
    fn new(id: u64, context: &Arc<Context>, from: u64, policy: &Policy) -> Self {
        let device = |decl: &meter::DeviceDecl| Device {
            rules: policy.rules(decl.key.scope, decl.period_ns, decl.limit, decl.modulus),
            epoch: decl.epoch,
            runs: Vec::new(),
            open: false,
        };
        let devices = context.devices.iter().map(device).collect();
        let context = Arc::clone(context);
        Self { id, context, from, to: from, devices, refused: Vec::new(), first: None, records: 0 }
    }

    fn spans(&self) -> usize {
        self.devices.iter().map(|device| device.runs.len()).sum::<usize>() + self.refused.len()
    }

    fn shares_devices(&self, context: &Context) -> bool {
        context.devices.iter().any(|device| self.context.devices.iter().any(|other| other.key == device.key))
    }

    fn add(&mut self, record: Record) {
        self.to = record.at;
        for sample in &record.samples {
            if let Some(reason) = sample.refused {
                self.refuse(sample.device, reason, 1);
            }
            self.sample(record.at, sample);
        }
        if let Some(summary) = &record.summary {
            for (device, reason, count) in &summary.refused {
                self.refuse(*device, *reason, *count);
            }
            summary.spans.iter().for_each(|span| self.span(span));
        }
        self.records += 1;
        self.first = (self.records == 1).then_some(record);
    }

    fn refuse(&mut self, device: u16, reason: Refusal, count: u64) {
        match self.refused.iter_mut().find(|known| (known.0, known.1) == (device, reason)) {
            Some(known) => known.2 += count,
            None => self.refused.push((device, reason, count)),
        }
    }

    fn sample(&mut self, at: u64, sample: &Sample) {
        if sample.power.is_none() && sample.counter.is_none() {
            return;
        }
        if let Some(device) = self.devices.get_mut(usize::from(sample.device)) {
            let run = Register::open(device.edge(at, sample.power, sample.counter));
            device.add(run);
        }
    }

    fn span(&mut self, span: &Span) {
        if let Some(device) = self.devices.get_mut(usize::from(span.device)) {
            let edge = |reading: &Reading| device.edge(reading.at, reading.power, reading.counter);
            let mut run = Register { to: edge(&span.to), readings: span.readings, ..Register::open(edge(&span.from)) };
            run.energy[Quality::Counter] = span.counter;
            run.energy[Quality::Integrated] = span.integrated;
            device.add(run);
        }
    }

    fn finish(self) -> Record {
        if let Some(only) = self.first {
            return only;
        }
        let mut spans = Vec::with_capacity(self.devices.len());
        for (place, device) in self.devices.iter().enumerate() {
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            spans.extend(device.runs.iter().map(|run| span(place, run)));
        }
        let summary = Summary { spans, refused: self.refused };
        Record { context: self.id, at: self.to, summary: Some(Box::new(summary)), ..Record::default() }
    }
}

fn span(device: u16, run: &Register) -> Span {
    let reading =
        |edge: &Edge| Reading { at: edge.mono, power: edge.power, counter: edge.counter.map(|count| count.value) };
    Span {
        device,
        from: reading(&run.from),
        to: reading(&run.to),
        counter: run.energy[Quality::Counter],
        integrated: run.energy[Quality::Integrated],
        readings: run.readings,
    }
}

impl Device {
    fn edge(&self, at: u64, power: Option<Milliwatts>, counter: Option<Microjoules>) -> Edge {
        let counter = counter.map(|value| Count { value, epoch: self.epoch });
        // The instant stands for its own date: only differences matter here.
        Edge { at: Utc(i64::try_from(at).unwrap_or(i64::MAX)), mono: at, boot: 0, power, counter }
    }

    fn add(&mut self, next: Register) {
        let is_odd = next.from == next.to && next.from.power.is_some_and(|power| power > self.rules.ceiling);
        // Power in front of a counter: whether it counts depends on what was read before, and the ledger knows.
        let leads = |run: &Register| run.to.counter.is_none() && next.from.counter.is_some();
        let run = self.runs.last_mut().filter(|run| self.open && !is_odd && !leads(run));
        let joined = run.is_some_and(|run| run.extend(&next, &self.rules));
        if !joined {
            self.runs.push(next);
        }
        self.open = !is_odd;
    }
}
