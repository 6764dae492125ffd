//! What people see of one owner or account: state, watts, lifetime energy, quality, flags.
//!
//! Made on demand from an immutable snapshot, so all figures of one answer are of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use billing::topology::Topology;
use energy::OwnerState;
use meter::{ByQuality, Doubt, Energy, Labels, Milliwatts, Owner, OwnerKind, Quality, Scope, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::query::rfc3339;
use crate::refused::{RefusedMachine, hex};
use crate::vitals::{HostState, fenced, flags, fresh_watts, newest_reading, uncovered_ns};
use crate::whole::{BoundaryView, Whole};

/// The flag of a host that is out of service and is still being read.
pub const REPORTS_THOUGH_RETIRED: &str = "reports-though-retired";

/// The flag of a host under whose name another machine reports itself, and is refused.
pub const MACHINE_REFUSED: &str = "machine-refused";

/// Energy by quality, as answers carry it: floats for people, `total_uj` exact.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Energy)]
pub struct EnergyView {
    /// Joules in all.
    pub joules: f64,
    /// Whole microjoules in all, exact.
    pub uj: String,
    /// Differences of hardware registers.
    pub counter_joules: f64,
    /// Power joined between neighbouring readings.
    pub integrated_joules: f64,
    /// Gaps filled by a stated rule.
    pub estimated_joules: f64,
}

/// One owner, as `/api/v1/hosts` and `/api/v1/chassis` show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Host)]
pub struct HostView {
    /// The id for `/{id}`: `cluster/name`.
    pub id: String,
    /// The cluster.
    pub cluster: String,
    /// The name.
    pub host: String,
    /// How it is.
    pub state: HostState,
    /// The host it is shown as, if it is an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// The chassis that it sits in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chassis: Option<String>,
    /// Its own BMC, where that is another chassis within.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmc: Option<String>,
    /// By what it is joined to the chassis: `inventory`, `configuration`, `uuid` or `serial`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined_by: Option<&'static str>,
    /// Of a chassis: the hosts that sit in it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Where it is billed now, and by which rule.
    pub boundary: BoundaryView,
    /// The labels in force now.
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Arc<Labels>,
    /// Watts at the boundary, while readings are fresh.
    pub watts: Option<f64>,
    /// Lifetime energy: the boundary rule over the lifetime registers.
    pub lifetime: EnergyView,
    /// The newest reading.
    pub last_reading: Option<String>,
    /// When the ledger last heard of it.
    pub last_seen: Option<String>,
    /// Accounts.
    pub accounts: usize,
    /// Readings seen.
    pub readings: u64,
    /// Readings, and starts of jobs, refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Energy reported for time that was covered already: not booked.
    pub fenced_joules: f64,
    /// What people should look at, over all accounts.
    pub flags: Vec<&'static str>,
    /// The machine that the name is bound to: it alone may report itself under it.
    pub machine: Option<String>,
    /// Another machine that reports itself under the name, and is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_machine: Option<RefusedMachine>,
}

/// One account, as `/api/v1/devices` shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Device)]
pub struct DeviceView {
    /// The id for `/{id}`: `cluster/kind/name/scope:device`.
    pub id: String,
    /// The cluster.
    pub cluster: String,
    /// Host, chassis or meter.
    pub kind: &'static str,
    /// The owner's name.
    pub owner: String,
    /// The scope.
    pub scope: &'static str,
    /// The device.
    pub device: String,
    /// Watts, while readings are fresh.
    pub watts: Option<f64>,
    /// Lifetime energy.
    pub lifetime: EnergyView,
    /// The first reading.
    pub first_reading: String,
    /// The newest reading.
    pub last_reading: String,
    /// Seconds between the two for which there were readings.
    pub covered_seconds: f64,
    /// Seconds between the two for which there were none.
    pub uncovered_seconds: f64,
    /// Stretches without readings that may still be filled.
    pub holes: usize,
    /// Stretches without readings that are final.
    pub final_holes: u64,
    /// Estimates that late readings replaced.
    pub reversed_joules: f64,
    /// Energy reported for time that was covered already: not booked.
    pub fenced_joules: f64,
    /// What people should look at.
    pub flags: Vec<&'static str>,
}

impl EnergyView {
    /// The view of an amount.
    #[must_use]
    pub fn new(energy: &ByQuality) -> Self {
        let total = energy.total();
        Self {
            joules: total.joules(),
            uj: total.microjoules().to_string(),
            counter_joules: energy[Quality::Counter].joules(),
            integrated_joules: energy[Quality::Integrated].joules(),
            estimated_joules: energy[Quality::Estimated].joules(),
        }
    }
}

/// What was refused of an owner, by reason.
fn refused(state: &OwnerState) -> BTreeMap<&'static str, u64> {
    let faults = state.refused.iter().filter(|(reason, _)| reason.is_fault());
    faults.map(|(reason, count)| (reason.code(), *count)).collect()
}

/// The view of a host or chassis.
#[must_use]
pub fn host_view(whole: &Whole<'_>, topology: &Topology, now: Utc) -> HostView {
    let (owner, state) = (whole.owner, whole.own);
    let agent = state.map_or(&[][..], |state| &state.labels);
    let link = topology.link_at(owner, now);
    let named = |owner: &Owner| owner.name.to_string();
    let alias = topology.inventory.canonical(owner);
    let sitting = || topology.sitting_in(owner, now).into_iter().map(named).collect();
    HostView {
        id: format!("{}/{}", owner.cluster, owner.name),
        cluster: owner.cluster.to_string(),
        host: owner.name.to_string(),
        state: whole.state(),
        alias_of: (alias != owner).then(|| named(alias)),
        chassis: link.map(|link| named(&link.chassis)),
        bmc: link.and_then(|link| link.bmc.as_ref()).map(named),
        joined_by: link.map(|link| link.by.word()),
        hosts: (owner.kind == OwnerKind::Chassis).then(sitting),
        boundary: whole.boundary(),
        labels: topology.labels(owner, now, agent),
        watts: whole.watts().map(watts),
        lifetime: EnergyView::new(&whole.lifetime()),
        last_reading: whole.newest().map(rfc3339),
        last_seen: state.map(|state| rfc3339(state.last_seen)),
        accounts: state.map_or(0, |state| state.accounts.len()),
        readings: state.map_or(0, |state| state.readings),
        refused: state.map(refused).unwrap_or_default(),
        fenced_joules: state.map_or(Energy::ZERO, fenced).joules(),
        flags: host_flags(whole, topology),
        machine: state.and_then(|state| state.fingerprint).map(|machine| hex(&machine)),
        refused_machine: None,
    }
}

impl HostView {
    /// The view with what is doubtful about today's bill.
    #[must_use]
    pub fn with_doubts(mut self, doubts: &[&'static str]) -> Self {
        self.flags.extend(doubts);
        self
    }

    /// The view with the machine that is refused under the host's name, if one is.
    #[must_use]
    pub fn with_refused(mut self, machine: Option<RefusedMachine>) -> Self {
        if machine.is_some() {
            self.flags.push(MACHINE_REFUSED);
        }
        self.refused_machine = machine;
        self
    }
}

impl DeviceView {
    /// The view with what is doubtful about today's bill of its owner, if that is about an outer meter.
    #[must_use]
    pub fn with_doubts(mut self, doubts: &[&'static str]) -> Self {
        let code = Doubt::MeterBelowComponents.code();
        if self.scope == Scope::Chassis.word() && doubts.contains(&code) {
            self.flags.push(code);
        }
        self
    }
}

/// The words of everything that people should look at of a host.
#[must_use]
pub fn host_flags(whole: &Whole<'_>, topology: &Topology) -> Vec<&'static str> {
    let mut words = whole.flags();
    let newest = whole.own.and_then(newest_reading);
    if topology.inventory.retired(whole.owner).is_some_and(|retired| newest.is_some_and(|newest| newest > retired)) {
        words.push(REPORTS_THOUGH_RETIRED);
    }
    words
}

/// The views of an owner's accounts.
pub fn device_views(state: &OwnerState, now: Utc) -> impl Iterator<Item = DeviceView> {
    let fresh = fresh_watts(state, now);
    state.keys.iter().zip(&state.accounts).zip(fresh).map(|((key, account), power)| {
        let rare = account.rare();
        let owner = &state.owner;
        DeviceView {
            id: format!("{owner}/{key}"),
            cluster: owner.cluster.to_string(),
            kind: owner.kind.word(),
            owner: owner.name.to_string(),
            scope: key.scope.word(),
            device: key.device.to_string(),
            watts: power.map(watts),
            lifetime: EnergyView::new(&account.lifetime),
            first_reading: rfc3339(account.first.at),
            last_reading: rfc3339(account.frontier.at),
            covered_seconds: seconds(account.covered_ns),
            uncovered_seconds: seconds(uncovered_ns(account)),
            holes: rare.map_or(0, |rare| rare.holes.len()),
            final_holes: rare.map_or(0, |rare| rare.final_holes),
            reversed_joules: rare.map_or(0.0, |rare| rare.reversed.joules()),
            fenced_joules: rare.map_or(0.0, |rare| rare.fenced.joules()),
            flags: flags([account]),
        }
    })
}

/// Watts as a float, for people only.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "presentation only")]
pub fn watts(power: Milliwatts) -> f64 {
    power.0 as f64 / 1e3
}

/// Seconds as a float, for people only.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "presentation only")]
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
