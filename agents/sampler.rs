//! The actor that reads one source at its own pace, on a thread of its own: a slow or hanging
//! sensor delays nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context as Ctx, Handler, Message, Recipient, ResponseFuture,
    WrapFuture,
};
use meter::{Clock, Context, Record, Sample};

use crate::clock::{self, BootId};
use crate::sources::{PollError, Probe, Source};
use crate::spool_actor::Sampled;

/// How often to look for hardware that went away.
const PROBE_AGAIN: Duration = Duration::from_secs(30);

/// Instants are given in whole microseconds: no sensor is read faster, and the zeros pack well.
const GRAIN_NS: u64 = 1000;

/// Reads one source.
pub struct Sampler {
    source: Box<dyn Source>,
    spool: Recipient<Sampled>,
    boot: BootId,
    context: Option<(u64, Arc<Context>)>,
    last_at: u64,
    due_ns: u64,
    samples: Vec<Sample>,
    beat: Arc<Beat>,
    failing: bool,
}

/// The source's pulse, for whoever watches it.
#[derive(Debug)]
pub struct Beat {
    /// The source's name.
    pub name: &'static str,
    /// Its period in nanoseconds.
    pub period_ns: u64,
    /// Since when it is being read, by the boot clock; zero while it is not.
    reading_since: AtomicU64,
}

/// Asks for one more reading before the end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct LastLook;

impl Beat {
    /// Whether a reading has taken longer than any sensor needs.
    #[must_use]
    pub fn hangs(&self, now_ns: u64) -> bool {
        let since = self.reading_since.load(Ordering::Relaxed);
        since != 0 && now_ns.saturating_sub(since) > (3 * self.period_ns).max(30_000_000_000)
    }
}

impl Sampler {
    /// A sampler of this source, and its pulse.
    #[must_use]
    pub fn new(source: Box<dyn Source>, spool: Recipient<Sampled>, boot: BootId) -> (Self, Arc<Beat>) {
        let beat =
            Arc::new(Beat { name: source.name(), period_ns: source.period_ns(), reading_since: AtomicU64::new(0) });
        let sampler = Self {
            source,
            spool,
            boot,
            context: None,
            last_at: 0,
            due_ns: 0,
            samples: Vec::new(),
            beat: Arc::clone(&beat),
            failing: false,
        };
        (sampler, beat)
    }

    fn probe(&mut self, context: &mut Ctx<Self>) {
        let name = self.source.name();
        self.beat.reading_since.store(clock::boot_ns(), Ordering::Relaxed);
        let probe = self.source.probe();
        self.beat.reading_since.store(0, Ordering::Relaxed);
        match probe {
            Probe::Found { devices, note } => {
                tracing::info!(source = name, devices = devices.len(), note = note.as_deref(), "found");
                self.due_ns = clock::boot_ns();
                self.tick(context);
            }
            Probe::Absent { why } => {
                if self.context.is_none() {
                    tracing::info!(source = name, why, "absent");
                    context.stop();
                } else {
                    context.run_later(PROBE_AGAIN, Self::probe);
                }
            }
        }
    }

    /// Reads once, passes it on, and sets the clock for the next time.
    fn tick(&mut self, context: &mut Ctx<Self>) {
        match self.read() {
            Ok(sampled) => {
                let sent = self.spool.send(sampled);
                let next = sent.into_actor(self).map(|sent, actor, context| match sent {
                    Ok(()) => actor.schedule(context),
                    Err(_) => context.stop(),
                });
                // Until the spool has it nothing else happens here.
                context.wait(next);
            }
            Err(PollError::Retry(why)) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(source = self.beat.name, why, "no reading: trying on");
                }
                self.schedule(context);
            }
            Err(PollError::Gone(why)) => {
                tracing::warn!(source = self.beat.name, why, "gone: looking again every 30 s");
                context.run_later(PROBE_AGAIN, Self::probe);
            }
            Err(PollError::Broken(why)) => {
                tracing::error!(source = self.beat.name, why, "broken: it is not read any more");
                context.stop();
            }
        }
    }

    /// Sets the clock for the next reading. Times that passed meanwhile are left out, not made up for.
    fn schedule(&mut self, context: &mut Ctx<Self>) {
        let period = self.beat.period_ns.max(1);
        let now = clock::boot_ns();
        self.due_ns += period;
        if self.due_ns <= now {
            self.due_ns += (now - self.due_ns) / period * period + period;
        }
        context.run_later(Duration::from_nanos(self.due_ns - now), Self::tick);
    }

    fn read(&mut self) -> Result<Sampled, PollError> {
        let before = clock::boot_ns();
        self.beat.reading_since.store(before, Ordering::Relaxed);
        self.samples.clear();
        let read = self.source.read(&mut self.samples);
        self.beat.reading_since.store(0, Ordering::Relaxed);
        read?;
        if std::mem::take(&mut self.failing) {
            tracing::info!(source = self.beat.name, "reads again");
        }
        let middle = before + clock::boot_ns().saturating_sub(before) / 2;
        // Two readings are never dated alike, or the second would be a step in the first.
        self.last_at = (middle / GRAIN_NS * GRAIN_NS).max(self.last_at + GRAIN_NS);
        let (id, context) = self.context();
        let record = Record { context: id, at: self.last_at, samples: self.samples.clone(), ..Record::default() };
        Ok(Sampled { context, record })
    }

    /// The context in force; a new one when the source declares its devices differently, or the clock
    /// was set back.
    fn context(&mut self) -> (u64, Arc<Context>) {
        let clock = Clock::Boot(self.boot.get());
        match &self.context {
            Some((id, context)) if context.clock == clock && context.devices == self.source.devices() => {
                (*id, Arc::clone(context))
            }
            _ => {
                let context = Arc::new(Context {
                    clock,
                    wall_offset_ns: clock::wall_offset_ns(),
                    devices: self.source.devices().to_vec(),
                });
                let id = wire::context_id(&context);
                self.context = Some((id, Arc::clone(&context)));
                (id, context)
            }
        }
    }
}

impl Actor for Sampler {
    type Context = Ctx<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.probe(context);
    }
}

impl Handler<LastLook> for Sampler {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: LastLook, context: &mut Self::Context) -> Self::Result {
        let sampled = if self.context.is_some() { self.read().ok() } else { None };
        let spool = self.spool.clone();
        context.stop();
        Box::pin(async move {
            if let Some(sampled) = sampled {
                let _ = spool.send(sampled).await;
            }
        })
    }
}
