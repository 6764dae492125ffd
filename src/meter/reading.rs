//! What a source reads: power, counters, and the clock they were read by.
//!
//! A [`Record`] is one look at one source: one instant, one sample per device. What stays the same
//! from look to look (the clock, the devices with their periods, limits and counter epochs) is
//! declared once, in a [`Context`], and named by its id.

use std::collections::BTreeMap;

use crate::{AccountKey, Energy, Mark, Microjoules, Milliwatts, Refusal};

/// Labels of a host (`team = nlp`), sorted by key.
pub type Labels = BTreeMap<String, String>;

/// 128 bits that name a stream, a boot, a machine or an installation.
pub type Id = [u8; 16];

/// A digest over a stream's records; see [`Position`].
pub type Digest = [u8; 16];

/// Where a stream stands: the number of its last record and the digest over all records up to it.
/// A stream that has no record yet stands at number 0 with the zero digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The number of the last record; records are numbered 1, 2, 3….
    pub seq: u64,
    /// The digest over records 1 to `seq`.
    pub digest: Digest,
}

/// Longest label key in bytes: Prometheus and Kubernetes names are shorter.
pub const LABEL_KEY_MAX: usize = 64;
/// Longest label value in bytes.
pub const LABEL_VALUE_MAX: usize = 256;
/// Most labels of one owner: more are attributes, not labels.
pub const LABELS_MAX: usize = 32;

/// The axis on which a record's instant is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// Nanoseconds since the Unix epoch: JSON clients and recorded files, dated by their own stamps.
    Utc,
    /// Nanoseconds of `CLOCK_BOOTTIME` of this boot, which no step of the wall clock can bend.
    Boot(Id),
}

/// A device as its source declares it. A new epoch or limit makes a new declaration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceDecl {
    /// Where its energy is booked.
    pub key: AccountKey,
    /// How often the source has a new value, in nanoseconds; zero if unknown.
    pub period_ns: u64,
    /// The most the device can draw by its own declaration; zero if it declares none.
    pub limit: Milliwatts,
    /// Where the counter wraps around to zero, if it does.
    pub modulus: Option<Microjoules>,
    /// What the counter counts from (driver load, machine boot): differences are only taken within
    /// one epoch. Zero if there is no counter.
    pub epoch: u64,
}

/// What a run of records has in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// The clock of the records' instants.
    pub clock: Clock,
    /// For a boot clock: the machine's own wall clock less its boot clock, when the context was
    /// made. Only used to date records of a boot that the ledger has never heard from live.
    pub wall_offset_ns: i64,
    /// The devices, in the order that samples refer to.
    pub devices: Vec<DeviceDecl>,
}

/// One device's values at the record's instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sample {
    /// Index into the context's devices.
    pub device: u16,
    /// Power, if it was read.
    pub power: Option<Milliwatts>,
    /// The hardware energy counter, if it was read.
    pub counter: Option<Microjoules>,
    /// Set if the source gave a value that is none: it is counted by this reason, never booked.
    pub refused: Option<Refusal>,
}

/// One look at one source; or, where a spool ran out of room, what many looks came to; or a word about
/// the machine's jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// The id of the [`Context`] that gives the samples their meaning.
    pub context: u64,
    /// The instant, in nanoseconds on the context's clock; of a summary the last one.
    pub at: u64,
    /// The values read, in ascending order of device; of a summary and of a mark none.
    pub samples: Vec<Sample>,
    /// What many looks came to, in place of their samples.
    pub summary: Option<Box<Summary>>,
    /// What the machine was told of its jobs at this instant; a record of its own.
    pub mark: Option<Box<Mark>>,
}

/// Many looks at one source, coalesced: the energy is kept, how it lay in time is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Summary {
    /// Pieces of time without a hole, ascending by device and then by time.
    pub spans: Vec<Span>,
    /// Values that were none: device, reason, how many.
    pub refused: Vec<(u16, Refusal, u64)>,
}

/// Time between two readings of one device over which every reading joined the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Index into the context's devices.
    pub device: u16,
    /// The first reading.
    pub from: Reading,
    /// The last reading.
    pub to: Reading,
    /// Energy between them by the counter.
    pub counter: Energy,
    /// Energy between them by joining powers.
    pub integrated: Energy,
    /// How many readings there were, both ends included.
    pub readings: u64,
}

/// One device's values and their instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reading {
    /// The instant, in nanoseconds on the context's clock.
    pub at: u64,
    /// Power, if it was read.
    pub power: Option<Milliwatts>,
    /// The hardware energy counter, if it was read.
    pub counter: Option<Microjoules>,
}

/// Whether a label key is one: a letter, then letters, digits, `_`, `-`, `.` or `/`.
#[must_use]
pub fn label_key_is_valid(key: &str) -> bool {
    key.len() <= LABEL_KEY_MAX
        && key.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
}

/// Whether a label value is one: at most [`LABEL_VALUE_MAX`] bytes, no control characters.
#[must_use]
pub fn label_value_is_valid(value: &str) -> bool {
    value.len() <= LABEL_VALUE_MAX && !value.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_checked_at_the_door() {
        assert!(label_key_is_valid("team") && label_key_is_valid("k8s.io/team"));
        for bad in ["", "1x", "a b", "ü", "a\"b"] {
            assert!(!label_key_is_valid(bad), "{bad:?}");
        }
        assert!(label_value_is_valid("<script>alert(1)</script>") && !label_value_is_valid("a\nb"));
        assert!(!label_value_is_valid(&"x".repeat(LABEL_VALUE_MAX + 1)));
    }
}
