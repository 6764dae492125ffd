//! Who owns energy and where it is booked: owners, scopes, accounts.
//!
//! Names are readable and stored as they are. They reach Prometheus text, HTML, CSV and logs, so the
//! characters are fixed here, at the door: ASCII letters, digits and `. _ - : @ +` (a device may also
//! hold `/`). They are never used as a path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hash::stable_hash;

/// Partitions of the key space. `part` leads every stored key, so that a range of owners can move to
/// another aggregator or engine as a whole.
pub const PARTS: u8 = 64;

/// Longest owner or cluster name in bytes: a DNS name.
pub const NAME_MAX: usize = 253;
/// Longest device name in bytes: an NVML UUID is 40, a MIG name 60; the rest is room.
pub const DEVICE_MAX: usize = 128;

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnerKind {
    /// A machine that runs an operating system.
    Host,
    /// A BMC or an enclosure.
    Chassis,
    /// A PDU or facility meter: a reference, never billed to a host.
    Meter,
}

/// Someone energy is accounted to: a host, a chassis or a reference meter, unique within a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The cluster, `default` if none was named.
    pub cluster: Arc<str>,
    /// Host, chassis or meter.
    pub kind: OwnerKind,
    /// The owner's name.
    pub name: Arc<str>,
}

/// The part of a machine that a reading is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The whole machine or enclosure, as its outermost meter sees it.
    Chassis,
    /// CPU packages, cores, uncore, platform domains.
    Cpu,
    /// Memory.
    Dram,
    /// Graphics processors.
    Gpu,
    /// Other accelerators.
    Accelerator,
    /// Network and fabric switches.
    Switch,
    /// Disks.
    Storage,
    /// Power distribution units.
    Pdu,
    /// The building's meters.
    Facility,
    /// Anything else.
    Other,
}

/// An account within its owner: scope and device. `wall/ch1` is a part of `wall`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    /// The scope.
    pub scope: Scope,
    /// The device; empty for the scope as a whole.
    pub device: Arc<str>,
}

/// Why a name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between the quotes.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than the limit.
    #[error("a name of {0} bytes is longer than the {1} allowed")]
    TooLong(usize, usize),
    /// A character that is not allowed.
    #[error("the name {0:?} holds a character other than ASCII letters, digits and . _ - : @ +")]
    BadCharacter(String),
    /// No such scope.
    #[error("the scope {0:?} is none of {list}", list = Scope::LIST)]
    UnknownScope(String),
}

impl Owner {
    /// A new owner; the names are checked.
    ///
    /// # Errors
    /// [`NameError`] if a name is empty, too long, or holds a character that is not allowed.
    pub fn new(cluster: &str, kind: OwnerKind, name: &str) -> Result<Self, NameError> {
        check(cluster, NAME_MAX, "")?;
        check(name, NAME_MAX, "")?;
        Ok(Self { cluster: cluster.into(), kind, name: name.into() })
    }

    /// A host of the cluster `default`.
    ///
    /// # Errors
    /// As [`Owner::new`].
    pub fn host(name: &str) -> Result<Self, NameError> {
        Self::new("default", OwnerKind::Host, name)
    }

    /// The canonical text, `default/host/node-17`: names hold no slash, so it is unambiguous.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!("{}/{}/{}", self.cluster, self.kind, self.name)
    }

    /// The [`stable_hash`] of the canonical text.
    ///
    /// Frozen: it decides where rows lie on disk.
    #[must_use]
    pub fn stable_hash(&self) -> u64 {
        stable_hash(self.canonical().as_bytes())
    }

    /// The partition of this owner: [`Owner::stable_hash`] modulo [`PARTS`].
    #[must_use]
    pub fn part(&self) -> u8 {
        (self.stable_hash() % u64::from(PARTS)) as u8
    }
}

impl FromStr for Owner {
    type Err = NameError;

    /// Reads the canonical text.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || NameError::BadCharacter(text.into());
        let mut parts = text.splitn(3, '/');
        let (Some(cluster), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        Self::new(cluster, kind.parse().map_err(|()| bad())?, name)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.kind, self.name)
    }
}

impl OwnerKind {
    /// Every kind, in storage order.
    pub const ALL: [Self; 3] = [Self::Host, Self::Chassis, Self::Meter];

    /// The word used everywhere outside.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["host", "chassis", "meter"][self as usize]
    }
}

impl fmt::Display for OwnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for OwnerKind {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.word() == text).ok_or(())
    }
}

impl AccountKey {
    /// A new account key; the device is checked. It may be empty.
    ///
    /// # Errors
    /// [`NameError`] if the device is too long or holds a character that is not allowed.
    pub fn new(scope: Scope, device: &str) -> Result<Self, NameError> {
        if !device.is_empty() {
            check(device, DEVICE_MAX, "/")?;
        }
        Ok(Self { scope, device: device.into() })
    }

    /// Whether this account is a part of `whole`: `wall/ch1` of `wall`, in the same scope.
    #[must_use]
    pub fn is_part_of(&self, whole: &Self) -> bool {
        self.scope == whole.scope
            && self.device.len() > whole.device.len()
            && self.device.starts_with(&*whole.device)
            && self.device.as_bytes()[whole.device.len()] == b'/'
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scope, self.device)
    }
}

impl Scope {
    /// Every scope, in storage order.
    pub const ALL: [Self; 10] = [
        Self::Chassis,
        Self::Cpu,
        Self::Dram,
        Self::Gpu,
        Self::Accelerator,
        Self::Switch,
        Self::Storage,
        Self::Pdu,
        Self::Facility,
        Self::Other,
    ];

    /// The words, for messages.
    pub const LIST: &str = "chassis, cpu, dram, gpu, accelerator, switch, storage, pdu, facility, other";

    /// The word used everywhere outside.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["chassis", "cpu", "dram", "gpu", "accelerator", "switch", "storage", "pdu", "facility", "other"][self as usize]
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Scope {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.word() == text)
            .ok_or_else(|| NameError::UnknownScope(text.chars().take(40).collect()))
    }
}

fn check(name: &str, limit: usize, also: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > limit {
        return Err(NameError::TooLong(name.len(), limit));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:@+".contains(c) || also.contains(c);
    if name.chars().all(allowed) { Ok(()) } else { Err(NameError::BadCharacter(name.chars().take(80).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stable_hash_is_frozen() {
        // Where rows lie on disk depends on these: a change orphans every store.
        for (name, hash) in [("node-17", NODE_17), ("node-0001", NODE_0001)] {
            let owner = Owner::host(name).expect("a good name");
            assert_eq!(owner.stable_hash(), hash, "{name}");
            assert_eq!(u64::from(owner.part()), hash % 64);
        }
    }
    // From another implementation (Python's blake3) over "default/host/<name>".
    const NODE_17: u64 = 0xa92c40d33e5512f3;
    const NODE_0001: u64 = 0x743c6d30e2cddebf;

    #[test]
    fn names_are_checked_at_the_door() {
        for bad in ["", "a b", "a/b", "../x", "<script>", "a\"b", "a\nb", "ä", "=cmd()\t"] {
            assert!(Owner::host(bad).is_err(), "{bad:?}");
        }
        assert!(Owner::host(&"a".repeat(NAME_MAX)).is_ok() && Owner::host(&"a".repeat(NAME_MAX + 1)).is_err());
        assert!(AccountKey::new(Scope::Gpu, "").is_ok() && AccountKey::new(Scope::Gpu, "wall/ch1").is_ok());
    }

    #[test]
    fn an_owner_reads_back_from_its_text() {
        let owner = Owner::new("c1", OwnerKind::Chassis, "bmc-7").expect("good names");
        assert_eq!(owner.canonical().parse(), Ok(owner));
    }

    #[test]
    fn a_slash_makes_a_part() {
        let key = |device| AccountKey::new(Scope::Chassis, device).expect("a good device");
        assert!(key("wall/ch1").is_part_of(&key("wall")));
        assert!(!key("wall2").is_part_of(&key("wall")) && !key("wall").is_part_of(&key("wall")));
    }
}
