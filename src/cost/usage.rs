//! What was used: the billed energy of one host in one slot, line by line.
//!
//! The boundary (which account is billed, what overlaps, what is unattributed) is applied before: the
//! lines of a host and slot do not overlap, and their sum is what the host is billed for that slot.

use meter::{ByQuality, Energy, Labels, Scope, Slot};

/// A host under the labels of some span of time. A host whose labels or chassis change is announced
/// again and gets another [`HostId`].
#[derive(Clone, Copy, Debug)]
pub struct HostInfo<'a> {
    /// Its cluster.
    pub cluster: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The chassis it sits in, if known.
    pub chassis: Option<&'a str>,
    /// The labels in force; `site` decides the rate.
    pub labels: &'a Labels,
}

/// A host as one rollup knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostId(pub(crate) u32);

/// A device's name as one rollup knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId(pub(crate) u32);

/// One billed line of a host and slot; at most one per scope and device.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The component, or nothing for `unattributed`: what the outermost meter saw and no component
    /// explains (negative where the meters disagree).
    pub scope: Option<Scope>,
    /// The device.
    pub device: DeviceId,
    /// The energy by quality.
    pub energy: ByQuality,
    /// How much of it the host's outermost meter saw; the rest was summed from components.
    pub metered: Energy,
    /// For how long the device had readings, in nanoseconds.
    pub covered_ns: u64,
}

/// The usage of one host in one slot, or in several slots summed beforehand: from `slot` up to
/// [`Rollup::same_until`](crate::Rollup::same_until), where nothing that matters here changes.
///
/// A device that was expected and silent is a line without energy, so that its missing time shows.
#[derive(Clone, Copy, Debug)]
pub struct HostSlot<'a> {
    /// The host.
    pub host: HostId,
    /// The (first) slot.
    pub slot: Slot,
    /// For how long the host was covered at its boundary, in nanoseconds.
    pub covered_ns: u64,
    /// For how long it should have been, in nanoseconds: zero before its first reading and while
    /// it was off or retired.
    pub expected_ns: u64,
    /// The lines.
    pub lines: &'a [Line],
}
