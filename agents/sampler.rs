//! The actor that reads one source at its own pace. A source of this machine has a thread of its own, where a
//! slow or hanging sensor delays nobody else; targets share one, because they wait without holding it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::dev::SendError;
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context as Ctx, Handler, Message, ResponseFuture,
    WrapFuture,
};
use futures_util::future::join_all;
use meter::{Clock, Record, Refusal, Sample};
use tokio::sync::{Notify, oneshot};

use crate::alarm::Alarm;
use crate::claims::FeederId;
use crate::clock::{self, BootId};
use crate::health::{Health, State, Work};
use crate::intake::Introduction;
use crate::reader::{Fault, Found, Reader, unless_cut};
use crate::sources::PollError;
use crate::spool_actor::{Leave, Sampled, SpoolActor};
use crate::tap::{self, Tap};

/// How often to look for hardware that went away.
const PROBE_AGAIN: Duration = Duration::from_secs(30);
/// The longest pause between looks at a target that does not answer.
const ABSENT_MAX: Duration = Duration::from_secs(300);
/// How long a source that panicked is put aside.
const PUT_ASIDE: Duration = Duration::from_secs(60);

/// A sensor is not read again within this for the sake of a mark: it has nothing new.
const FRESH_NS: u64 = 100_000_000;

/// Instants are given in whole microseconds: no sensor is read faster, and the zeros pack well.
const GRAIN_NS: u64 = 1000;

/// Reads one source or target.
pub struct Sampler {
    /// Away while it is at work.
    reader: Option<Reader>,
    spool: Addr<SpoolActor>,
    boot: BootId,
    health: Arc<Health>,
    local: bool,
    /// When to look for the first time, after the start.
    phase: Duration,
    outlets: Vec<Tap>,
    samples: Vec<Vec<Sample>>,
    last_at: u64,
    due_ns: u64,
    alarm: Option<Arc<Alarm>>,
    absences: u32,
    /// Whether there ever was something to read.
    found: bool,
    /// Whether the last word in the log was of a fault.
    told: bool,
    /// Whether the reading under way was asked for, beside those that the clock asks for.
    extra: bool,
    /// Set when the end was asked for.
    ending: Option<oneshot::Sender<()>>,
    /// Cuts a target's work short.
    cut: Arc<Notify>,
}

/// Asks for one more reading before the end; a target ends its sessions.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct LastLook;

/// Asks a sensor of this machine for a reading now, because something begins or ends.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct LookNow;

/// A reader back from work.
struct Back<T> {
    reader: Reader,
    samples: Vec<Vec<Sample>>,
    began_ns: u64,
    done: Result<T, Fault>,
}

impl Sampler {
    /// A sampler of this source, and its condition. It looks for the first time after `phase`.
    #[must_use]
    pub fn new(reader: Reader, spool: Addr<SpoolActor>, boot: BootId, phase: Duration) -> (Self, Arc<Health>) {
        let target = reader.address().map(str::to_owned);
        let health = Arc::new(Health::new(reader.name(), target, reader.period_ns()));
        let sampler = Self {
            local: reader.is_local(),
            reader: Some(reader),
            spool,
            boot,
            health: Arc::clone(&health),
            phase,
            outlets: Vec::new(),
            samples: Vec::new(),
            last_at: 0,
            due_ns: 0,
            alarm: None,
            absences: 0,
            found: false,
            told: false,
            extra: false,
            ending: None,
            cut: Arc::default(),
        };
        (sampler, health)
    }

    fn probe(&mut self, context: &mut Ctx<Self>) {
        let Some(mut reader) = self.reader.take() else { return };
        let (began_ns, samples, cut) = (clock::boot_ns(), std::mem::take(&mut self.samples), Arc::clone(&self.cut));
        self.health.begin(Work::Probe, began_ns);
        let probe = async move {
            let done = unless_cut(&cut, reader.probe()).await;
            Back { reader, samples, began_ns, done }
        };
        context.spawn(probe.into_actor(self).map(|back, actor, context| actor.probed(back, context)));
    }

    fn probed(&mut self, back: Back<Found>, context: &mut Ctx<Self>) {
        let (_, done) = self.welcome(back);
        match done {
            _ if self.ending.is_some() => self.finish(context),
            Ok(found) => {
                self.is_found(&found);
                self.due_ns = clock::boot_ns();
                self.tick(context);
            }
            Err(fault) => self.suffer(fault, context),
        }
    }

    fn is_found(&mut self, found: &Found) {
        // After a fault of its code it has to show first that it can be read.
        let before = self.health.state(clock::boot_ns());
        if matches!(before, State::Waiting | State::Absent | State::Gone) {
            self.health.turn(State::Up);
            if before == State::Waiting || std::mem::take(&mut self.told) {
                let (source, target) = (self.health.source, self.health.target.as_deref());
                tracing::info!(source, target, devices = found.devices, note = found.note.as_deref(), "found");
            }
        }
        (self.found, self.absences) = (true, 0);
        self.health.know(self.reader.as_ref().map(Reader::called).unwrap_or_default());
        self.outlets.iter_mut().for_each(|tap| tap.known = false);
    }

    /// Reads once, passes it on, and sets the clock for the next time.
    fn tick(&mut self, context: &mut Ctx<Self>) {
        let Some(mut reader) = self.reader.take() else {
            // The clock's reading falls together with the one that is under way.
            self.extra = false;
            return;
        };
        let (mut samples, cut) = (std::mem::take(&mut self.samples), Arc::clone(&self.cut));
        samples.resize_with(reader.outlet_count(), Vec::new);
        samples.iter_mut().for_each(Vec::clear);
        let began_ns = clock::boot_ns();
        self.health.begin(Work::Read, began_ns);
        let read = async move {
            let done = unless_cut(&cut, reader.read(&mut samples)).await;
            Back { reader, samples, began_ns, done }
        };
        context.spawn(read.into_actor(self).map(|back, actor, context| actor.read(back, context)));
    }

    fn read(&mut self, back: Back<()>, context: &mut Ctx<Self>) {
        let (at, done) = self.welcome(back);
        match done {
            Ok(()) => {
                if self.health.turn(State::Up) != State::Up && std::mem::take(&mut self.told) {
                    let (source, target) = (self.health.source, self.health.target.as_deref());
                    tracing::info!(source, target, "reads again");
                }
                let passing = self.pass_on(at);
                let next = join_all(passing).into_actor(self).map(|sent, actor, context| match () {
                    () if actor.ending.is_some() => actor.finish(context),
                    () if std::mem::take(&mut actor.extra) => {}
                    () if sent.iter().all(Result::is_ok) => actor.schedule(context),
                    () => context.stop(),
                });
                // Until the spool has room for it nothing else happens here.
                context.wait(next);
            }
            Err(_) if self.ending.is_some() => self.finish(context),
            // The clock's next reading will meet the same fault.
            Err(_) if std::mem::take(&mut self.extra) => {}
            Err(fault) => {
                self.health.counts.failures.fetch_add(1, Relaxed);
                self.suffer(fault, context);
            }
        }
    }

    /// Takes the reader back; the instant of what it did.
    fn welcome<T>(&mut self, back: Back<T>) -> (u64, Result<T, Fault>) {
        self.health.end();
        let Back { mut reader, samples, began_ns, done } = back;
        for (reason, count) in reader.take_refused() {
            self.health.refuse(reason, count);
        }
        (self.reader, self.samples) = (Some(reader), samples);
        (began_ns + clock::boot_ns().saturating_sub(began_ns) / 2, done)
    }

    /// Ends sessions, and then itself.
    fn finish(&mut self, context: &mut Ctx<Self>) {
        let (reader, asked) = (self.reader.take(), self.ending.take());
        let close = async move {
            if let Some(mut reader) = reader {
                reader.close().await;
            }
            // Whoever asked may have lost patience.
            let _ = asked.map(|asked| asked.send(()));
        };
        context.wait(close.into_actor(self).map(|(), _, context: &mut Ctx<Self>| context.stop()));
    }

    /// What a fault calls for: it is said once, and tried again after a while.
    fn suffer(&mut self, fault: Fault, context: &mut Ctx<Self>) {
        let (source, target) = (self.health.source, self.health.target.as_deref());
        let state = fault.state();
        let before = self.health.turn(state);
        // What fails and recovers again and again is not mentioned each time.
        let is_quiet = matches!(state, State::Failing | State::Gone)
            && !self.told
            && !self.health.is_worth_mentioning(clock::boot_ns());
        let is_news = before != state && !(state == State::Absent && before == State::Gone) && !is_quiet;
        if is_news {
            self.told = true;
            fault.tell(source, target);
        }
        self.recover(&fault, context);
    }

    fn recover(&mut self, fault: &Fault, context: &mut Ctx<Self>) {
        let pause = match fault {
            // Nobody plugs in a processor.
            Fault::Absent(_) if self.local && !self.found => return context.stop(),
            Fault::Poll(PollError::Broken(_)) => return context.stop(),
            Fault::Poll(PollError::Retry(_)) => return self.schedule(context),
            Fault::Absent(_) if !self.local => {
                self.absences = self.absences.saturating_add(1);
                pause_after(self.absences - 1)
            }
            Fault::Absent(_) | Fault::Poll(PollError::Gone(_)) => PROBE_AGAIN,
            Fault::Hangs(_) => PUT_ASIDE,
            Fault::Panicked(_) => {
                self.health.counts.panics.fetch_add(1, Relaxed);
                PUT_ASIDE
            }
        };
        context.run_later(pause, Self::probe);
    }

    /// Sets the clock for the next reading. Times that passed meanwhile are left out, not made up for.
    fn schedule(&mut self, context: &mut Ctx<Self>) {
        let period = self.health.period_ns.max(1);
        let now = clock::boot_ns();
        self.due_ns += period;
        if self.local {
            // Sensors are read at the same instants, so that whoever takes their readings wakes up once.
            self.due_ns -= self.due_ns % period;
        }
        if self.due_ns <= now {
            self.due_ns += (now - self.due_ns) / period * period + period;
        }
        let make = if self.local { Alarm::new } else { Alarm::of_many };
        let (alarm, due_ns) = (Arc::clone(self.alarm.get_or_insert_with(|| Arc::new(make()))), self.due_ns);
        let rings = async move { alarm.ring_at(due_ns).await };
        context.spawn(rings.into_actor(self).map(|(), actor, context| actor.tick(context)));
    }

    /// Sends what was read to the streams it belongs to; gives back what they have no room for yet.
    fn pass_on(&mut self, at: u64) -> Vec<actix::dev::Request<SpoolActor, Sampled>> {
        let Some(reader) = &self.reader else { return Vec::new() };
        // Two readings are never dated alike, or the second would be a step in the first.
        self.last_at = (at / GRAIN_NS * GRAIN_NS).max(self.last_at + GRAIN_NS);
        self.health.counts.reads.fetch_add(1, Relaxed);
        let clock = Clock::Boot(self.boot.get());
        let (mut sent, mut others) = (Vec::new(), false);
        for (place, outlet) in reader.outlets().enumerate() {
            let tap = tap::of(&mut self.outlets, place, &outlet);
            let samples = self.samples.get(place).map_or(&[][..], Vec::as_slice);
            let (samples, malformed) = tap::orderly(samples, outlet.devices.len());
            self.health.count(&samples, clock::wall_ns());
            if malformed > 0 {
                self.health.refuse(Refusal::Malformed, malformed);
            }
            let is_news = outlet.devices.is_empty() && !tap.known;
            if samples.is_empty() && !is_news {
                continue;
            }
            tap.known = true;
            let before = tap.context.as_ref().map(|(id, _)| *id);
            let (id, context) = tap.context(clock, &outlet);
            others |= before != Some(id);
            let record = Record { context: id, at: self.last_at, samples, ..Record::default() };
            let introduction = (!std::mem::replace(&mut tap.introduced, true)).then(|| Introduction {
                owner: tap.owner.clone(),
                labels: tap.labels.clone(),
                in_band: self.local,
                health: Arc::clone(&self.health),
            });
            match self.spool.try_send(Sampled { feeder: tap.feeder, introduction, context, record }) {
                Ok(()) => {}
                Err(SendError::Full(sampled) | SendError::Closed(sampled)) => sent.push(self.spool.send(sampled)),
            }
        }
        if others {
            self.health.know(reader.called());
        }
        for gone in self.outlets.drain(reader.outlet_count().min(self.outlets.len())..) {
            end(&self.spool, gone.feeder);
        }
        sent
    }
}

/// Ends a source's feeding of a stream. A spool that is too busy to hear it finds out by its silence.
fn end(spool: &Addr<SpoolActor>, feeder: FeederId) {
    let _ = spool.try_send(Leave(feeder));
}

/// How long to wait after so many vain looks at a target: doubling from half a minute to five.
fn pause_after(absences: u32) -> Duration {
    PROBE_AGAIN.saturating_mul(1 << absences.min(8)).min(ABSENT_MAX)
}

impl Actor for Sampler {
    type Context = Ctx<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if self.phase.is_zero() {
            self.probe(context);
        } else {
            context.run_later(self.phase, Self::probe);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        for tap in &self.outlets {
            end(&self.spool, tap.feeder);
        }
        if self.local {
            // The thread was for this source alone.
            actix::Arbiter::current().stop();
        }
    }
}

impl Handler<LastLook> for Sampler {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: LastLook, context: &mut Self::Context) -> Self::Result {
        let (asked, answer) = oneshot::channel();
        self.ending = Some(asked);
        match (&self.reader, self.local) {
            // A source at work cannot be cut short: it comes back by itself, or never.
            (None, true) => {}
            (None, false) => self.cut.notify_one(),
            (Some(_), true) if self.health.state(clock::boot_ns()) == State::Up => self.tick(context),
            (Some(_), _) => self.finish(context),
        }
        Box::pin(async move {
            let _ = answer.await;
        })
    }
}

impl Handler<LookNow> for Sampler {
    type Result = ();

    fn handle(&mut self, _: LookNow, context: &mut Self::Context) {
        let now = clock::boot_ns();
        let is_due = now.saturating_sub(self.last_at) > FRESH_NS && self.health.state(now) == State::Up;
        if self.local && is_due && self.reader.is_some() && self.ending.is_none() {
            self.extra = true;
            self.tick(context);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_does_not_answer_is_asked_ever_more_seldom() {
        let pauses: Vec<u64> = [0, 1, 2, 3, 4, 40].map(|absences| pause_after(absences).as_secs()).to_vec();
        assert_eq!(pauses, [30, 60, 120, 240, 300, 300]);
    }
}
