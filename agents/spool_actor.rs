//! The actor between samplers and uplink: a thin shell around [`Intake`] and its outbox.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context as Ctx, Handler, Message, Recipient};
use energy::CLOCK_SET_BACK;
use meter::{Context, Mark, Record};
use wire::{Answer, AppendAnswer, WireError};

use crate::claims::FeederId;
use crate::clock::{self, BootId};
use crate::intake::{Intake, Introduction, Stock};
use crate::outbox::Outgoing;
use crate::spool::random_id;

/// How much may be lost to a power failure, at most.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// The same of other owners, whose sources are read more seldom: a thousand syncs every few seconds would be
/// most of what the disk does. Each post saves what it holds.
const SYNC_OTHERS_EVERY: Duration = Duration::from_secs(30);

/// From how many waiting bytes on the uplink is woken before its time.
const WAKE_BYTES: u64 = 512 << 10;

/// How often one of the streams that a run before left behind is opened: each costs some syncs of the disk.
const REOPEN_EVERY: Duration = Duration::from_millis(100);

/// Holds the streams; lives on a thread of its own because disks are slow.
#[derive(Debug)]
pub struct SpoolActor {
    intake: Intake,
    boot: BootId,
    uplink: Option<Recipient<Wake>>,
    appended: u64,
}

/// Asks the uplink to post now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Wake;

/// A source feeds an owner's stream no more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Leave(pub FeederId);

/// One record for an owner's stream.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Sampled {
    /// Who read it.
    pub feeder: FeederId,
    /// With its first record, and whenever something of this changed.
    pub introduction: Option<Introduction>,
    /// What the record refers to.
    pub context: Arc<Context>,
    /// The record.
    pub record: Record,
}

/// A word about this machine's jobs, for its own stream. Without an instant it is dated when it is put there, so that
/// no reading which is there already lies behind it. Gives the instant.
#[derive(Debug, Message)]
#[rtype(result = "u64")]
pub struct PutMark {
    /// What happens.
    pub mark: Mark,
    /// When, on the boot's clock.
    pub at: Option<u64>,
}

/// Asks for the next post.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Taken, WireError>")]
pub struct TakePost;

/// What there is to send.
#[derive(Debug)]
pub enum Taken {
    /// This.
    Post(Outgoing),
    /// Nothing now.
    Nothing {
        /// Whether the ledger has everything on disk.
        delivered: bool,
    },
}

/// Asks what the streams hold.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "[(&'static str, Stock); 2]")]
pub struct TakeStock;

/// What became of the post.
#[derive(Debug, Message)]
#[rtype(result = "Settled")]
pub enum Settle {
    /// It was answered.
    Answer(Answer),
    /// It was too large for the other end.
    TooLarge,
}

/// Where things stand after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Whether a stream can go on at once.
    pub at_once: bool,
    /// Whether the ledger has everything on disk.
    pub delivered: bool,
}

/// Asks to save what was appended, and introduces whoever is to be woken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Care {
    /// Saves what was appended.
    Sync,
    /// From now on this one is woken when much is waiting.
    Uplink(Recipient<Wake>),
}

impl SpoolActor {
    /// An actor around these streams.
    #[must_use]
    pub const fn new(intake: Intake, boot: BootId) -> Self {
        Self { intake, boot, uplink: None, appended: 0 }
    }

    /// Opens what a run before left behind, one at a time: sources wait for their records to be taken.
    fn reopen(&mut self, context: &mut Ctx<Self>) {
        if self.intake.reopen_one() {
            context.run_later(REOPEN_EVERY, Self::reopen);
        }
    }

    /// Goes on under a new id of the boot if the ledger finds that the boot's clock was set back.
    fn heed(&self, answer: &Answer) {
        let is_set_back =
            |answer: &AppendAnswer| matches!(answer, AppendAnswer::Rejected { code, .. } if code == CLOCK_SET_BACK);
        if !answer.answers.iter().any(is_set_back) {
            return;
        }
        match random_id() {
            Ok(id) => {
                tracing::warn!(
                    "this machine's boot clock was set back (restored from a snapshot?): readings are dated anew from here on"
                );
                self.boot.renew(id);
            }
            Err(error) => tracing::error!(%error, "readings cannot be dated anew until the boot clock has caught up"),
        }
    }
}

impl Actor for SpoolActor {
    type Context = Ctx<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(SYNC_EVERY, |actor, _| actor.intake.outbox_mut().sync_first());
        context.run_interval(SYNC_OTHERS_EVERY, |actor, _| actor.intake.outbox_mut().sync());
        self.reopen(context);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.intake.outbox_mut().sync();
    }
}

impl Handler<Leave> for SpoolActor {
    type Result = ();

    fn handle(&mut self, Leave(feeder): Leave, _: &mut Self::Context) {
        self.intake.leave(feeder);
    }
}

impl Handler<Sampled> for SpoolActor {
    type Result = ();

    fn handle(&mut self, sampled: Sampled, _: &mut Self::Context) {
        if let Some(introduction) = sampled.introduction {
            self.intake.introduce(sampled.feeder, introduction);
        }
        self.appended += self.intake.take(sampled.feeder, &sampled.context, sampled.record);
        if self.appended >= WAKE_BYTES {
            self.appended = 0;
            // A full mailbox means that it is awake.
            let _ = self.uplink.as_ref().map(|uplink| uplink.try_send(Wake));
        }
    }
}

impl Handler<PutMark> for SpoolActor {
    type Result = u64;

    fn handle(&mut self, PutMark { mark, at }: PutMark, _: &mut Self::Context) -> Self::Result {
        let now = clock::sent_at(self.boot.get());
        self.appended += match at {
            Some(at) => self.intake.mark_at(mark, at, &now),
            None => self.intake.mark(mark, &now),
        };
        at.unwrap_or(now.boot_ns)
    }
}

impl Handler<TakePost> for SpoolActor {
    type Result = Result<Taken, WireError>;

    fn handle(&mut self, _: TakePost, _: &mut Self::Context) -> Self::Result {
        self.appended = 0;
        let sent = clock::sent_at(self.boot.get());
        let post = self.intake.outbox_mut().next_post(clock::boot_ns(), Some(sent))?;
        Ok(post.map_or_else(|| Taken::Nothing { delivered: self.intake.outbox().is_delivered() }, Taken::Post))
    }
}

impl Handler<TakeStock> for SpoolActor {
    type Result = actix::MessageResult<TakeStock>;

    fn handle(&mut self, _: TakeStock, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.intake.stock())
    }
}

impl Handler<Settle> for SpoolActor {
    type Result = actix::MessageResult<Settle>;

    fn handle(&mut self, settle: Settle, _: &mut Self::Context) -> Self::Result {
        let at_once = match settle {
            Settle::Answer(answer) => {
                self.heed(&answer);
                self.intake.outbox_mut().settle(&answer, clock::boot_ns())
            }
            Settle::TooLarge => {
                self.intake.outbox_mut().halve();
                true
            }
        };
        actix::MessageResult(Settled { at_once, delivered: self.intake.outbox().is_delivered() })
    }
}

impl Handler<Care> for SpoolActor {
    type Result = ();

    fn handle(&mut self, care: Care, _: &mut Self::Context) {
        match care {
            Care::Sync => self.intake.outbox_mut().sync(),
            Care::Uplink(uplink) => self.uplink = Some(uplink),
        }
    }
}
