//! Deliberate faults in production code, to show that the simulation can fail.
//!
//! Each names one rule that delivery rests on. Without the feature `mutants` nothing of this is compiled:
//! [`mutant`] is then the constant `false`. With it a test switches faults on for its process.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// An append is applied whatever prefix it extends.
    NoCompareAndAppend,
    /// A stream's position is not kept in the row.
    ForgetPosition,
    /// After a commit that failed, what it would have written is kept in memory.
    KeepFailedCommit,
    /// A post is answered before its commit is on disk.
    AnswerBeforeDisk,
    /// Figures are published before they are on disk.
    PublishVolatile,
    /// A restored store keeps its generation.
    KeepGeneration,
    /// Covered time does not keep a reading from being booked.
    NoFence,
    /// The estimate of a hole stays when the truth comes.
    NoReversal,
    /// A boot that is known is dated anew by every append.
    DateAnew,
    /// The slewed date decides what is covered, not the boot clock.
    TrustDates,
    /// A span is booked whole where a part of its time is covered.
    BookPartlyCovered,
    /// The repetition of a numbered post is taken for another body.
    JsonRepetition,
    /// The agent does not compare the digest of the ledger's position with its own.
    IgnoreDigest,
    /// The agent goes on behind what was acknowledged, wherever the ledger stands.
    ResumeFromAcknowledgement,
    /// The ledger's lower position does not lower what the agent takes for acknowledged.
    KeepAcknowledgement,
    /// A full spool drops what was never acknowledged instead of coalescing it.
    DropUnacknowledged,
    /// A summary reaches over time without readings.
    CoalesceOverHoles,
    /// A summary reaches over the end of a post that may have been applied.
    CoalesceOverPosts,
    /// What begins anew keeps its old name.
    KeepStreamId,
}

impl Mutant {
    /// Every one.
    pub const ALL: [Self; 19] = [
        Self::NoCompareAndAppend,
        Self::ForgetPosition,
        Self::KeepFailedCommit,
        Self::AnswerBeforeDisk,
        Self::PublishVolatile,
        Self::KeepGeneration,
        Self::NoFence,
        Self::NoReversal,
        Self::DateAnew,
        Self::TrustDates,
        Self::BookPartlyCovered,
        Self::JsonRepetition,
        Self::IgnoreDigest,
        Self::ResumeFromAcknowledgement,
        Self::KeepAcknowledgement,
        Self::DropUnacknowledged,
        Self::CoalesceOverHoles,
        Self::CoalesceOverPosts,
        Self::KeepStreamId,
    ];
}

/// Whether a rule is broken in this process.
#[cfg(not(feature = "mutants"))]
#[must_use]
#[inline]
pub const fn mutant(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod switch {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Mutant;

    static BROKEN: AtomicU64 = AtomicU64::new(0);

    /// Whether a rule is broken in this process.
    #[must_use]
    pub fn mutant(which: Mutant) -> bool {
        BROKEN.load(Ordering::Relaxed) & 1 << which as u8 != 0
    }

    /// Breaks these rules in this process, and mends all others.
    pub fn break_rules(which: &[Mutant]) {
        BROKEN.store(which.iter().fold(0, |set, which| set | 1 << *which as u8), Ordering::Relaxed);
    }
}

#[cfg(feature = "mutants")]
pub use switch::{break_rules, mutant};
