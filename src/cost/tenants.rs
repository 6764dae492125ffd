//! Whose each line is: tenants by number, and the groups that their lines fall into.
//!
//! A rollup tells tenants apart by no more than is asked for: where only `job.account` counts, all jobs of an
//! account are one tenant.

use std::collections::{BTreeSet, HashMap};

use meter::{Allocation, Labels, Scope};

use crate::rollup::Rollup;
use crate::selector::{By, Dimension, Where};
use crate::symbols::Symbols;
use crate::tenant::{Class, JobKey, Policies, Policy, given};
use crate::usage::{DeviceId, HostId, HostInfo, Line, TenantId};

/// The tenants of one rollup.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    pub(crate) policies: Policies,
    are_asked: bool,
    /// The keys of jobs that matter, in order.
    keys: Vec<JobKey>,
    /// The values of each job by `keys`, as symbols; numbered after the two that are no jobs.
    jobs: Vec<Box<[u32]>>,
    number_of: HashMap<Box<[u32]>, TenantId>,
    /// The labels of the hosts, by their number.
    labels: Vec<Labels>,
    routes: HashMap<(HostId, Option<Scope>, DeviceId, TenantId), Option<u32>>,
}

/// Tenants that are no jobs: the numbers before the first job's.
const NO_JOBS: u32 = 2;

impl Tenants {
    /// What a question asks of tenants.
    pub(crate) fn asked_by(by: &By, select: &Where) -> Self {
        let asked = || by.dimensions().iter().chain(select.dimensions()).filter(|asked| asked.is_of_tenant());
        let mut keys = BTreeSet::new();
        for dimension in asked() {
            match dimension {
                Dimension::Job(key) => drop(keys.insert(key.clone())),
                Dimension::Axis(axis) => keys.extend(axis.job_keys().cloned()),
                _ => {}
            }
        }
        Self { are_asked: asked().next().is_some(), keys: keys.into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn are_asked(&self) -> bool {
        self.are_asked
    }

    /// Keeps the labels of a host that was announced.
    pub(crate) fn announce(&mut self, host: &HostInfo<'_>) {
        if self.are_asked {
            self.labels.push(host.labels.clone());
        }
    }

    fn number(&mut self, job: &Allocation, symbols: &mut Symbols) -> TenantId {
        let values: Box<[u32]> = self.keys.iter().map(|key| symbols.number(key.of(job))).collect();
        if let Some(&known) = self.number_of.get(&values) {
            return known;
        }
        let id = TenantId(u32::try_from(self.jobs.len()).map_or(u32::MAX, |count| count.saturating_add(NO_JOBS)));
        self.jobs.push(values.clone());
        self.number_of.insert(values, id);
        id
    }

    /// The value of a dimension for a tenant on a host.
    fn value<'a>(&'a self, dimension: &'a Dimension, host: HostId, who: TenantId, symbols: &'a Symbols) -> &'a str {
        static NONE: Labels = Labels::new();
        let labels = self.labels.get(host.0 as usize).unwrap_or(&NONE);
        let Some(job) = who.0.checked_sub(NO_JOBS).and_then(|index| self.jobs.get(index as usize)) else {
            return self.value_of_nobody(dimension, labels, class(who));
        };
        let of = |key: &'a JobKey| {
            let place = self.keys.binary_search(key).ok().and_then(|place| job.get(place));
            place.map_or("", |&value| symbols.text(value))
        };
        match dimension {
            Dimension::Job(key) => of(key),
            Dimension::Axis(axis) => axis.first(of, labels),
            _ => "",
        }
    }

    /// Of energy that no job held.
    fn value_of_nobody<'a>(&self, dimension: &Dimension, labels: &'a Labels, class: Class) -> &'a str {
        let owner = || match dimension {
            Dimension::Job(key) => given(labels, key.last_name()),
            Dimension::Axis(axis) => axis.of_host(labels),
            _ => None,
        };
        let named = (self.policies.of(class) == Policy::Owner).then(owner).flatten();
        named.unwrap_or_else(|| class.shown())
    }
}

impl Where {
    /// Whether the terms about jobs hold for a job on a host with these labels.
    #[must_use]
    pub fn selects_job<'a>(&'a self, job: &'a Allocation, labels: &'a Labels) -> bool {
        self.selects_tenant(|dimension| match dimension {
            Dimension::Job(key) => key.of(job),
            Dimension::Axis(axis) => axis.first(|key| key.of(job), labels),
            _ => "",
        })
    }
}

/// The class of a tenant.
const fn class(who: TenantId) -> Class {
    match who {
        TenantId::SHARED => Class::Shared,
        TenantId::IDLE => Class::Idle,
        _ => Class::Held,
    }
}

impl Rollup<'_> {
    /// With these policies for energy that no job held.
    #[must_use]
    pub fn with_policies(mut self, policies: Policies) -> Self {
        self.tenants.policies = policies;
        self
    }

    /// Whether the answer depends on who holds each line: then it wants [`Rollup::add_held`].
    #[must_use]
    pub fn needs_tenants(&self) -> bool {
        self.tenants.are_asked
    }

    /// The number of a job as a tenant. Jobs that the question does not tell apart share one.
    pub fn tenant(&mut self, job: &Allocation) -> TenantId {
        self.tenants.number(job, &mut self.symbols)
    }

    /// The group of a line that somebody holds; nothing if it is not selected.
    pub(crate) fn tenant_route(&mut self, host: HostId, line: &Line, who: TenantId) -> Option<u32> {
        let place = (host, line.scope, line.device, who);
        if let Some(&known) = self.tenants.routes.get(&place) {
            return known;
        }
        let is_selected = self.select.selects_line(line.scope, self.symbols.text(line.device.0))
            && self.select.selects_tenant(|asked| self.tenants.value(asked, host, who, &self.symbols));
        let group = is_selected.then(|| self.tenant_group(host, line, who));
        self.tenants.routes.insert(place, group);
        group
    }

    fn tenant_group(&mut self, host: HostId, line: &Line, who: TenantId) -> u32 {
        let mut key = self.line_key(host, line);
        let mut is_shown = false;
        for (place, dimension) in self.by.dimensions().iter().enumerate().filter(|(_, asked)| asked.is_of_tenant()) {
            let value = self.tenants.value(dimension, host, who, &self.symbols).to_owned();
            is_shown |= class(who) != Class::Held && value == class(who).shown();
            key[place] = self.symbols.number(&value);
        }
        self.group(key, if is_shown { class(who) } else { Class::Held })
    }
}
