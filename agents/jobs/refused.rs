//! Why a word about a job is not put into the stream.

use meter::JobError;

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no message.
    #[error("no message: {0}")]
    Malformed(String),
    /// The allocation, or an id, cannot be one.
    #[error(transparent)]
    Job(#[from] JobError),
    /// No source of this machine knows a device of this name.
    #[error("no source of this machine reads a device {0:?}; `wattledger-agent probe` lists them")]
    Device(String),
    /// Two devices go by one name.
    #[error("{0:?} may be more than one device of this machine: say its account's name")]
    Ambiguous(String),
    /// A device that may still be found: sources are being looked for.
    #[error("no source of this machine reads a device {0:?} yet: it has only just started")]
    NotYet(String),
    /// An instant that no mark can have.
    #[error("at: {0}")]
    Instant(String),
    /// More jobs at once than a machine runs.
    #[error("{0} jobs run here already: more are not noted; are their ends told?")]
    TooMany(usize),
    /// The spool is gone or at its end.
    #[error("the spool does not take it: {0}")]
    Spool(String),
}

impl Refused {
    /// Every reason, as the metrics show it.
    pub const REASONS: [&str; 6] =
        ["malformed", "bad-allocation", "unknown-device", "bad-instant", "too-many-jobs", "spool"];

    /// The place of the reason among [`Refused::REASONS`].
    #[must_use]
    pub const fn reason(&self) -> usize {
        match self {
            Self::Malformed(_) => 0,
            Self::Job(_) => 1,
            Self::Device(_) | Self::Ambiguous(_) | Self::NotYet(_) => 2,
            Self::Instant(_) => 3,
            Self::TooMany(_) => 4,
            Self::Spool(_) => 5,
        }
    }

    /// Whether the same word may be taken a little later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::NotYet(_) | Self::Spool(_))
    }
}
