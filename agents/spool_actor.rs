//! The actor between sampler and uplink: a thin shell around [`Outbox`].

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context as Ctx, Handler, Message, Recipient};
use energy::CLOCK_SET_BACK;
use meter::{Context, Record};
use wire::{Answer, AppendAnswer, WireError};

use crate::clock::{self, BootId};
use crate::outbox::{Outbox, Outgoing};
use crate::spool::random_id;
use crate::uplink::Wake;

/// How much may be lost to a power failure, at most.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// From how many waiting bytes on the uplink is woken before its time.
const WAKE_BYTES: u64 = 512 << 10;

/// Holds the streams; lives on a thread of its own because disks are slow.
#[derive(Debug)]
pub struct SpoolActor {
    outbox: Outbox,
    boot: BootId,
    uplink: Option<Recipient<Wake>>,
    appended: u64,
}

/// One record for this machine's stream.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Sampled {
    /// What the record refers to.
    pub context: Arc<Context>,
    /// The record.
    pub record: Record,
}

/// Asks for the next post.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Option<Outgoing>, WireError>")]
pub struct TakePost;

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
    /// An actor around these streams; the first of them is this machine's own.
    #[must_use]
    pub const fn new(outbox: Outbox, boot: BootId) -> Self {
        Self { outbox, boot, uplink: None, appended: 0 }
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
        context.run_interval(SYNC_EVERY, |actor, _| actor.outbox.sync());
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.outbox.sync();
    }
}

impl Handler<Sampled> for SpoolActor {
    type Result = ();

    fn handle(&mut self, sampled: Sampled, _: &mut Self::Context) {
        let Some(lane) = self.outbox.lane(0) else { return };
        let before = lane.spool().bytes();
        lane.append(&sampled.context, &sampled.record);
        self.appended += lane.spool().bytes().saturating_sub(before);
        if self.appended >= WAKE_BYTES {
            self.appended = 0;
            // A full mailbox means that it is awake.
            let _ = self.uplink.as_ref().map(|uplink| uplink.try_send(Wake));
        }
    }
}

impl Handler<TakePost> for SpoolActor {
    type Result = Result<Option<Outgoing>, WireError>;

    fn handle(&mut self, _: TakePost, _: &mut Self::Context) -> Self::Result {
        self.appended = 0;
        self.outbox.next_post(clock::boot_ns(), Some(clock::sent_at(self.boot.get())))
    }
}

impl Handler<Settle> for SpoolActor {
    type Result = actix::MessageResult<Settle>;

    fn handle(&mut self, settle: Settle, _: &mut Self::Context) -> Self::Result {
        let at_once = match settle {
            Settle::Answer(answer) => {
                self.heed(&answer);
                self.outbox.settle(&answer, clock::boot_ns())
            }
            Settle::TooLarge => {
                self.outbox.halve();
                true
            }
        };
        actix::MessageResult(Settled { at_once, delivered: self.outbox.is_delivered() })
    }
}

impl Handler<Care> for SpoolActor {
    type Result = ();

    fn handle(&mut self, care: Care, _: &mut Self::Context) {
        match care {
            Care::Sync => self.outbox.sync(),
            Care::Uplink(uplink) => self.uplink = Some(uplink),
        }
    }
}
