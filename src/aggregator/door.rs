//! The way into the ledger: bytes are counted before anything enters the actor's mailbox.
//!
//! Limits: the permits are the bytes that all posts together may hold, from the first byte read to
//! the answer. A mailbox limit alone would not do: it counts messages, and each clone of an address
//! gets a place of its own.

use std::sync::Arc;

use actix::Recipient;
use actix::dev::SendError;
use energy::{Append, AppendOutcome, MarkOutcome, NumberedPost, PostOutcome};
use meter::{Id, Mark, Owner, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The least a post counts for: what a message costs however small its body is.
const POST_MIN: usize = 1024;

/// What one POST asks of the ledger.
#[derive(Debug)]
pub enum Work {
    /// Appends of native streams.
    Appends(Vec<Append>),
    /// A numbered post.
    Numbered(Box<NumberedPost>),
    /// An administrator gives a host's name to this machine, or to the next one that reports itself.
    Rebind(Box<Owner>, Option<Id>),
    /// A word about a machine's jobs that did not come in its stream, and the instant it speaks of.
    Mark(Box<Owner>, Utc, Mark),
    /// An administrator puts a host out of service: from that instant on it runs no job.
    Release(Box<Owner>, Utc),
}

/// The ledger's answer, in the shape of the question. What it rests on is on disk.
#[derive(Clone, Debug)]
pub enum Told {
    /// One per append, in order.
    Appends(Vec<AppendOutcome>),
    /// Of the numbered post.
    Numbered(PostOutcome),
    /// The machine that the name was bound to; nothing if there is no such owner.
    Rebound(Option<Option<Id>>),
    /// What became of the mark.
    Marked(MarkOutcome),
    /// How many jobs ended.
    Released(usize),
}

/// Why nothing of a post was booked; it should come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many bytes are in flight.
    #[error("too much is in flight")]
    Overloaded,
    /// The store did not take the commit.
    #[error("the store failed")]
    StoreFailed,
    /// The ledger is shutting down, or gone.
    #[error("the ledger is shutting down")]
    Closed,
}

/// One POST on its way through the ledger actor.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub struct AppendPost {
    /// What to apply.
    pub work: Work,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Told, Unavailable>>,
    /// The bytes it holds, given back with the answer.
    pub ticket: Ticket,
}

/// Bytes in flight, held until dropped.
#[derive(Debug)]
pub struct Ticket(OwnedSemaphorePermit);

/// The door: only ingest goes through it.
#[derive(Clone)]
pub struct LedgerDoor {
    bytes: Arc<Semaphore>,
    ledger: Recipient<AppendPost>,
}

impl LedgerDoor {
    /// A door that lets `bytes` pass at once.
    #[must_use]
    pub fn new(bytes: usize, ledger: Recipient<AppendPost>) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes)), ledger }
    }

    /// The number of messages that a mailbox must hold behind a door of `bytes`.
    #[must_use]
    pub const fn mailbox(bytes: usize) -> usize {
        bytes / POST_MIN + 1
    }

    /// Room for a body of `bytes`.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] if there is none.
    pub fn enter(&self, bytes: usize) -> Result<Ticket, Unavailable> {
        self.permits(bytes.max(POST_MIN)).map(Ticket)
    }

    /// Room for what a body became in memory, beyond what its ticket holds.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] if there is none.
    pub fn widen(&self, ticket: &mut Ticket, bytes: usize) -> Result<(), Unavailable> {
        let more = bytes.saturating_sub(ticket.0.num_permits());
        if more > 0 {
            ticket.0.merge(self.permits(more)?);
        }
        Ok(())
    }

    fn permits(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Unavailable> {
        let bytes = u32::try_from(bytes).map_err(|_| Unavailable::Overloaded)?;
        Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| Unavailable::Overloaded)
    }

    /// Has the ledger apply `work`; returns when its answer is durable.
    ///
    /// # Errors
    /// [`Unavailable`] if nothing of it was booked.
    pub async fn ask(&self, work: Work, ticket: Ticket) -> Result<Told, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.ledger.try_send(AppendPost { work, reply, ticket }).map_err(|refused| match refused {
            SendError::Full(_) => Unavailable::Overloaded,
            SendError::Closed(_) => Unavailable::Closed,
        })?;
        // A ledger that is gone drops the reply.
        answer.await.unwrap_or(Err(Unavailable::Closed))
    }
}
