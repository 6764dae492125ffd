//! The actor that brings posts to the aggregator: timing and patience, nothing else.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, SpawnHandle, System,
    WrapFuture,
};
use tokio::sync::oneshot;

use crate::clock::wall_ns;
use crate::link::{Backoff, Link, LinkError, random};
use crate::spool_actor::{Care, Settle, SpoolActor, TakePost, Taken, Wake};

/// Failures in a row after which the log says so again: about every ten minutes.
const REMIND: u32 = 40;

/// Posts what the spool holds.
#[derive(Debug)]
pub struct Uplink {
    spool: Addr<SpoolActor>,
    /// Away while a post is under way.
    link: Option<Link>,
    interval: Duration,
    backoff: Backoff,
    timer: Option<SpawnHandle>,
    draining: Option<oneshot::Sender<bool>>,
    progress: Arc<Progress>,
}

/// How the posts get on, for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Posts answered.
    pub posts: AtomicU64,
    /// Posts not answered, or not accepted.
    pub failures: AtomicU64,
    /// Unix milliseconds of the last answer after which everything was on the ledger's disk; zero before it.
    pub answered_ms: AtomicU64,
}

/// Asks for one last attempt; answers whether everything is on the ledger's disk.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Drain;

/// How a round went.
enum Round {
    Idle { delivered: bool },
    Answered { again: bool, delivered: bool },
    Failed(LinkError),
    SpoolGone,
}

impl Uplink {
    /// An uplink that posts every `interval`.
    #[must_use]
    pub fn new(spool: Addr<SpoolActor>, link: Link, interval: Duration) -> Self {
        Self {
            spool,
            link: Some(link),
            interval,
            backoff: Backoff::default(),
            timer: None,
            draining: None,
            progress: Arc::default(),
        }
    }

    /// How the posts get on.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Begins a round, unless one is under way.
    fn cycle(&mut self, context: &mut Context<Self>) {
        let Some(mut link) = self.link.take() else { return };
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        let spool = self.spool.clone();
        let round = async move {
            let round = round(&spool, &mut link).await;
            (link, round)
        };
        let then = round.into_actor(self).map(|(link, round), actor, context| {
            actor.link = Some(link);
            actor.decide(round, context);
        });
        context.spawn(then);
    }

    fn decide(&mut self, round: Round, context: &mut Context<Self>) {
        let wait = match round {
            Round::SpoolGone => {
                tracing::error!("the spool has stopped: so does the agent");
                System::current().stop_with_code(70);
                return;
            }
            Round::Idle { delivered } => return self.rest(delivered, context),
            Round::Answered { again, delivered } => {
                if self.backoff.failures() > 0 {
                    tracing::info!("the aggregator answers again");
                }
                self.backoff.reset();
                self.progress.posts.fetch_add(1, Relaxed);
                if delivered {
                    self.progress.answered_ms.store(u64::try_from(wall_ns() / 1_000_000).unwrap_or(0), Relaxed);
                }
                if again || (self.draining.is_some() && !delivered) {
                    return self.cycle(context);
                }
                return self.rest(delivered, context);
            }
            Round::Failed(error) => {
                self.progress.failures.fetch_add(1, Relaxed);
                if self.backoff.failures().is_multiple_of(REMIND) {
                    tracing::warn!("{error} (readings are kept and delivered later)");
                }
                self.backoff.next(&error, random())
            }
        };
        match self.draining.take() {
            Some(asked) => drop(asked.send(false)),
            None => self.timer = Some(context.run_later(wait, |actor, context| actor.alarm(context))),
        }
    }

    /// Nothing is to be done before the next interval.
    fn rest(&mut self, delivered: bool, context: &mut Context<Self>) {
        match self.draining.take() {
            Some(asked) => drop(asked.send(delivered)),
            None => self.timer = Some(context.run_later(self.interval, |actor, context| actor.alarm(context))),
        }
    }

    fn alarm(&mut self, context: &mut Context<Self>) {
        self.timer = None;
        self.cycle(context);
    }
}

/// Takes a post, delivers it, hands the answer back.
async fn round(spool: &Addr<SpoolActor>, link: &mut Link) -> Round {
    let outgoing = match spool.send(TakePost).await {
        Err(_) => return Round::SpoolGone,
        Ok(Err(error)) => {
            tracing::error!(%error, "a record cannot be sent");
            return Round::Idle { delivered: false };
        }
        Ok(Ok(Taken::Nothing { delivered })) => return Round::Idle { delivered },
        Ok(Ok(Taken::Post(outgoing))) => outgoing,
    };
    let settle = match link.post(&outgoing.body).await {
        Ok(answer) => Settle::Answer(answer),
        Err(LinkError::TooLarge(_)) => Settle::TooLarge,
        Err(error) => return Round::Failed(error),
    };
    match spool.send(settle).await {
        Err(_) => Round::SpoolGone,
        Ok(settled) => Round::Answered { again: settled.at_once || outgoing.more, delivered: settled.delivered },
    }
}

impl Actor for Uplink {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let recipient = context.address().recipient();
        let spool = self.spool.clone();
        let introduce = async move {
            let _ = spool.send(Care::Uplink(recipient)).await;
        };
        context.spawn(introduce.into_actor(self).map(|(), actor, context| actor.cycle(context)));
    }
}

impl Handler<Wake> for Uplink {
    type Result = ();

    fn handle(&mut self, _: Wake, context: &mut Self::Context) {
        // While the aggregator is away its time decides, not ours.
        if self.backoff.failures() == 0 {
            self.cycle(context);
        }
    }
}

impl Handler<Drain> for Uplink {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: Drain, context: &mut Self::Context) -> Self::Result {
        let (asked, answer) = oneshot::channel();
        self.draining = Some(asked);
        self.cycle(context);
        Box::pin(async move { answer.await.unwrap_or(false) })
    }
}
