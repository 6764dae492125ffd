//! The messages as programs hold them; their bytes are in `v1`.

use meter::{Context, Id, Labels, NameError, Owner, Position, Record, Refusal, Scope};

/// One request of an agent: appends to many streams, each answered by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// The sender's clocks, by which boot-clock records are dated; absent for imports.
    pub sent: Option<SentAt>,
    /// The appends, in the order they are applied and answered.
    pub appends: Vec<Append>,
}

/// The sender's clocks at the instant of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentAt {
    /// The boot that `boot_ns` counts from.
    pub boot: Id,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// The sender's wall clock in nanoseconds since the Unix epoch; for diagnosis only.
    pub wall_ns: i64,
}

/// Records that extend one stream: applied only if the stream stands exactly at `base`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The stream.
    pub stream: Id,
    /// Whose readings these are; a stream belongs to one owner for ever.
    pub owner: Owner,
    /// Who speaks and what its records refer to: on the first append, when something of it changed,
    /// and when asked by [`AppendAnswer::SayHello`].
    pub hello: Option<Hello>,
    /// The prefix that the records extend.
    pub base: Position,
    /// Recorded data with stamps of its own, which may be old.
    pub import: bool,
    /// The records `base.seq + 1`, `base.seq + 2`, …; none asks where the stream stands.
    pub records: Vec<Record>,
    /// The newest records of a stream that has still older ones to bring: to be shown, never booked
    /// here. They come once more in their turn.
    pub live: Vec<Record>,
}

/// Who speaks, and what its records refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The machine's fingerprint; absent on streams that report for somebody else.
    pub fingerprint: Option<Id>,
    /// Labels of the owner as the agent knows them: the weakest source of labels.
    pub labels: Labels,
    /// The sending program and its version.
    pub agent: String,
    /// The contexts that records of this append (or of later ones) refer to.
    pub contexts: Vec<Context>,
}

/// The answer to a post: one answer per append, in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The ledger that answers.
    pub ledger: Id,
    /// Its generation: changes whenever a backup was restored.
    pub generation: u64,
    /// One per append.
    pub answers: Vec<AppendAnswer>,
}

/// What became of one append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendAnswer {
    /// On disk up to `at`.
    Durable {
        /// Where the stream stands now.
        at: Position,
        /// Readings booked.
        booked: u64,
        /// Readings for time that was already covered: counted, not booked.
        fenced: u64,
        /// Readings refused, by account and reason.
        refused: Vec<RefusedCount>,
    },
    /// The append's base is not where the stream stands: resume from here.
    Stands(Position),
    /// A record names a context the ledger does not know: repeat with a hello.
    SayHello,
    /// Not accepted until a person or a configuration changes something.
    Rejected {
        /// A stable code, such as `host-bound-elsewhere`.
        code: String,
        /// The same for a person.
        detail: String,
    },
}

/// How many readings of one account were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCount {
    /// The account's scope.
    pub scope: Scope,
    /// The account's device, as it was sent.
    pub device: String,
    /// Why.
    pub reason: Refusal,
    /// How many readings.
    pub count: u64,
}

/// Why bytes are no message, or a message cannot become bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Made by another major version of the wire.
    #[error("the bytes are of wire version {0}, this program speaks version {version}", version = crate::VERSION)]
    Version(u8),
    /// The bytes end in the middle of a message.
    #[error("the bytes end in the middle of a message")]
    Truncated,
    /// Bytes are left over behind the message.
    #[error("{0} bytes are left over behind the message")]
    LeftOver(usize),
    /// More of something than a message may hold.
    #[error("{what}: {got} are more than the {max} allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many there may be.
        max: usize,
    },
    /// Something that no sender of this version writes.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The envelope could not be read.
    #[error("malformed envelope: {0}")]
    Envelope(String),
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl WireError {
    /// Checks a count against its limit.
    pub(crate) fn cap(what: &'static str, got: usize, max: usize) -> Result<(), Self> {
        if got > max { Err(Self::TooMany { what, got, max }) } else { Ok(()) }
    }
}

impl Append {
    /// Where the stream stands once the records are applied.
    #[must_use]
    pub fn end(&self) -> Position {
        crate::advance(self.base, &self.records)
    }
}
