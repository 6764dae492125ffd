//! What was used: the billed energy of one host in one slot, line by line.
//!
//! The boundary (which account is billed, what overlaps, what is unattributed) is applied before: the
//! lines of a host and slot do not overlap, and their sum is what the host is billed for that slot.

use meter::{ByQuality, DoubtCounts, Energy, Labels, Methods, Scope, Slot};

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

/// Whose energy a line is, as one rollup knows it: see [`Rollup::tenant`](crate::Rollup::tenant).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub(crate) u32);

impl TenantId {
    /// What runs no jobs.
    pub const SHARED: Self = Self(0);
    /// Nobody, on a host that runs jobs.
    pub const IDLE: Self = Self(1);
}

/// Who holds a line, and how that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub tenant: TenantId,
    /// How much of the line's energy was given to them by time or by number, not by a reading at the instant
    /// where they began or ended.
    pub apportioned: Energy,
}

/// One billed line of a host and slot; at most one per scope, device and tenant.
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
    /// For how much of that the host was billed at a meter, in nanoseconds.
    pub metered_ns: u64,
}

/// A host's time at its boundary, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostTime {
    /// With readings.
    pub covered_ns: u64,
    /// Of it, with readings of the meter that is billed; the rest is summed from components.
    pub metered_ns: u64,
    /// Uncovered, but billed from components because the meter was missing.
    pub ratio_ns: u64,
    /// For how long there should be readings: zero before the first one and while the host was off or
    /// retired.
    pub expected_ns: u64,
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
    /// Its time at the boundary.
    pub time: HostTime,
    /// The methods behind its energy.
    pub methods: Methods,
    /// In how many slots there was something that people should look at.
    pub doubts: DoubtCounts,
    /// The lines.
    pub lines: &'a [Line],
}

impl HostTime {
    /// Time with readings of components, and for how long there should be readings.
    #[must_use]
    pub fn new(covered_ns: u64, expected_ns: u64) -> Self {
        Self { covered_ns, expected_ns, ..Self::default() }
    }
}

impl<'a> HostSlot<'a> {
    /// Usage of which nothing is said but its time and its lines.
    #[must_use]
    pub fn new(host: HostId, slot: Slot, time: HostTime, lines: &'a [Line]) -> Self {
        Self { host, slot, time, methods: Methods::NONE, doubts: DoubtCounts::default(), lines }
    }
}
