//! What could not be joined, and why: for people who put it right.

use std::sync::Arc;

use meter::Owner;
use serde::Serialize;
use utoipa::ToSchema;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UnmatchedKind)]
pub enum Kind {
    /// A BMC or enclosure without host.
    Chassis,
    /// A host without BMC.
    Host,
    /// Several match.
    Ambiguous,
    /// A link to a chassis that nobody has ever reported.
    Link,
}

/// Why something is joined to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A chassis says nothing by which it could be known.
    NoIdentity,
    /// All that a chassis says of itself is what makers leave unfilled.
    Placeholder,
    /// No host says the same as a chassis.
    NoHost,
    /// The configuration names a host that cannot be one.
    BadHostName,
    /// The inventory puts the host into another chassis.
    HostInInventory,
    /// Another chassis is the host's by a stronger word.
    HostTaken,
    /// Several hosts say the same as a chassis.
    SeveralHosts,
    /// Several chassis say that they are one host's.
    SeveralChassis,
    /// No chassis is a host's.
    NoBmc,
    /// The inventory names a chassis that nobody has ever reported.
    UnknownChassis,
    /// A BMC names an enclosure that nobody has ever reported.
    UnknownEnclosure,
}

/// One owner that is joined to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// Who.
    pub owner: Owner,
    /// Why.
    pub reason: Reason,
    /// Who might be meant.
    pub candidates: Vec<Owner>,
    /// What it names, where that is nobody.
    pub named: Option<Arc<str>>,
}

/// How many there are of each kind, in the order of [`Kind::ALL`].
#[must_use]
pub fn counts(all: &[Unmatched]) -> [usize; 4] {
    let mut counts = [0; 4];
    for unmatched in all {
        counts[unmatched.reason.kind() as usize] += 1;
    }
    counts
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Chassis, Self::Host, Self::Ambiguous, Self::Link];

    /// The stable word for answers and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["chassis", "host", "ambiguous", "link"][self as usize]
    }
}

impl Reason {
    /// The stable word for answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoIdentity => "no-identity",
            Self::Placeholder => "placeholder",
            Self::NoHost => "no-host",
            Self::BadHostName => "bad-host-name",
            Self::HostInInventory => "host-in-inventory",
            Self::HostTaken => "host-taken",
            Self::SeveralHosts => "several-hosts",
            Self::SeveralChassis => "several-chassis",
            Self::NoBmc => "no-bmc",
            Self::UnknownChassis => "unknown-chassis",
            Self::UnknownEnclosure => "unknown-enclosure",
        }
    }

    /// What is missing.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::SeveralHosts | Self::SeveralChassis => Kind::Ambiguous,
            Self::NoBmc => Kind::Host,
            Self::UnknownChassis | Self::UnknownEnclosure => Kind::Link,
            Self::NoIdentity
            | Self::Placeholder
            | Self::NoHost
            | Self::BadHostName
            | Self::HostInInventory
            | Self::HostTaken => Kind::Chassis,
        }
    }

    /// A sentence for people.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NoIdentity => "it says nothing of itself: no hw.uuid, hw.serial or hw.host",
            Self::Placeholder => "its UUID and serial number are what makers leave unfilled",
            Self::NoHost => "no host has its UUID or serial number",
            Self::BadHostName => "the host that its agent's configuration names cannot be one",
            Self::HostInInventory => "the inventory puts its host into another chassis",
            Self::HostTaken => "another chassis is its host's by a stronger word",
            Self::SeveralHosts => "several hosts have its UUID or serial number",
            Self::SeveralChassis => "several chassis are the same host's",
            Self::NoBmc => "no chassis is its own",
            Self::UnknownChassis => "the inventory puts it into a chassis that nobody has reported",
            Self::UnknownEnclosure => "it names an enclosure that nobody has reported",
        }
    }
}
