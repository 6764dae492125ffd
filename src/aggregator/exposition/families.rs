//! The families that have series per owner or per account.

use billing::published::OwnerView;
use meter::{Energy, OwnerKind, Quality, Scope, Utc};

use super::Scrape;
use super::text::{self, Family, Kind};
use crate::hosts_view::host_flags;
use crate::vitals::{fresh_watts, newest_reading};
use crate::whole::Fleet;

/// A family and how an owner's series of it are written.
pub(super) struct PerOwner {
    pub(super) head: Family,
    /// Whether it is a family of accounts, which can be switched off.
    per_account: bool,
    all_smi: bool,
    pub(super) write: fn(&Scrape, &OwnerView, &str, &mut String),
}

impl PerOwner {
    pub(super) fn is_wanted(&self, scrape: &Scrape) -> bool {
        (scrape.per_account || !self.per_account) && (scrape.all_smi_names || !self.all_smi)
    }
}

const fn of_account(name: &'static str, kind: Kind, help: &'static str, write: Write) -> PerOwner {
    PerOwner { head: Family { name, kind, help }, per_account: true, all_smi: false, write }
}

const fn of_owner(name: &'static str, help: &'static str, write: Write) -> PerOwner {
    PerOwner { head: Family { name, kind: Kind::Gauge, help }, per_account: false, all_smi: false, write }
}

type Write = fn(&Scrape, &OwnerView, &str, &mut String);

/// In the order in which they are written.
pub(super) const PER_OWNER: [PerOwner; 9] = [
    of_account(
        "wattledger_energy_joules_total",
        Kind::Counter,
        "Measured energy of an account: hardware counters and joined power. Accounts overlap (a chassis contains its GPUs): sum within one scope only.",
        |scrape, view, name, out| energies(scrape, view, name, out, |_, measured, _| Some(measured)),
    ),
    of_account(
        "wattledger_estimated_joules_total",
        Kind::Counter,
        "Energy booked for gaps by a stated rule, before later readings replaced any of it. Only accounts that have some.",
        |scrape, view, name, out| {
            energies(scrape, view, name, out, |estimated, _, reversed| Some(estimated + reversed).filter(is_some))
        },
    ),
    of_account(
        "wattledger_estimated_reversed_joules_total",
        Kind::Counter,
        "Estimated energy that late readings replaced: subtract it from wattledger_estimated_joules_total.",
        |scrape, view, name, out| energies(scrape, view, name, out, |_, _, reversed| Some(reversed).filter(is_some)),
    ),
    of_account(
        "wattledger_power_watts",
        Kind::Gauge,
        "Latest power of an account, while its readings are fresh.",
        power,
    ),
    of_owner(
        "wattledger_host_last_reading_timestamp_seconds",
        "When the newest reading of an owner was taken.",
        |scrape, view, name, out| {
            if let Some(Utc(newest)) = newest_reading(&view.state) {
                owner_series(scrape, view, name, out);
                text::seconds(out, newest);
            }
        },
    ),
    of_owner(
        "wattledger_stream_lag_seconds",
        "How much older than its arrival an owner's newest reading was: grows while a backlog is sent.",
        |scrape, view, name, out| {
            if let Some(newest) = newest_reading(&view.state) {
                owner_series(scrape, view, name, out);
                text::seconds(out, i64::try_from(view.state.last_seen.since(newest)).unwrap_or(i64::MAX));
            }
        },
    ),
    of_owner("wattledger_host_info", "The labels of a host as they are now; always 1.", info),
    of_owner(
        "wattledger_host_flag",
        "What people should look at of a host, over its accounts and those of its chassis; always 1. Only hosts and chassis with a flag.",
        flagged,
    ),
    PerOwner {
        head: Family {
            name: "all_smi_energy_consumed_joules_total",
            kind: Kind::Counter,
            help: "Cumulative energy consumption in Joules, under the name that all-smi gives it.",
        },
        per_account: true,
        all_smi: true,
        write: all_smi,
    },
];

fn is_some(energy: &Energy) -> bool {
    *energy != Energy::ZERO
}

/// One series per account with what `pick` makes of its estimated, measured and reversed energy.
fn energies(
    scrape: &Scrape,
    view: &OwnerView,
    name: &str,
    out: &mut String,
    pick: impl Fn(Energy, Energy, Energy) -> Option<Energy>,
) {
    let (state, generation) = (&view.state, scrape.snapshot.generation.to_string());
    for (key, account) in state.keys.iter().zip(&state.accounts) {
        let reversed = account.rare().map_or(Energy::ZERO, |rare| rare.reversed);
        if let Some(energy) = pick(account.lifetime[Quality::Estimated], account.lifetime.measured(), reversed) {
            let [cluster, host, kind] = owner_labels(view);
            let labels =
                [cluster, host, kind, ("scope", key.scope.word()), ("device", &*key.device), ("gen", &generation)];
            text::series(out, name, labels);
            text::joules(out, energy);
        }
    }
}

fn power(scrape: &Scrape, view: &OwnerView, name: &str, out: &mut String) {
    let state = &view.state;
    for (key, power) in state.keys.iter().zip(fresh_watts(state, scrape.now)) {
        if let Some(power) = power {
            let [cluster, host, kind] = owner_labels(view);
            text::series(out, name, [cluster, host, kind, ("scope", key.scope.word()), ("device", &*key.device)]);
            text::thousandths(out, power.0);
        }
    }
}

fn info(scrape: &Scrape, view: &OwnerView, name: &str, out: &mut String) {
    let owner = &view.state.owner;
    if owner.kind == OwnerKind::Meter {
        return;
    }
    let labels = scrape.topology.labels(owner, scrape.now, &view.state.labels);
    let [cluster, host, kind] = owner_labels(view);
    let values = labels.iter().filter_map(|(key, value)| Some((scrape.label_names.get(key)?.as_str(), value.as_str())));
    text::series(out, name, [cluster, host, kind].into_iter().chain(values));
    text::value(out, 1);
}

fn flagged(scrape: &Scrape, view: &OwnerView, name: &str, out: &mut String) {
    let whole = Fleet::new(&scrape.snapshot, &scrape.topology, scrape.now).whole(&view.state.owner);
    let owner = &view.state.owner;
    let today = scrape.summary.as_ref().map_or_else(Vec::new, |of| of.flags_of(owner, &scrape.topology, scrape.now));
    for flag in host_flags(&whole, &scrape.topology).into_iter().chain(today) {
        text::series(out, name, owner_labels(view).into_iter().chain([("flag", flag)]));
        text::value(out, 1);
    }
}

/// As all-smi names it: per GPU, and one series each for CPU and chassis.
fn all_smi(_: &Scrape, view: &OwnerView, name: &str, out: &mut String) {
    let state = &view.state;
    let (mut index, mut others) = (0_usize, [(Scope::Cpu, None), (Scope::Chassis, None)]);
    for (key, account) in state.keys.iter().zip(&state.accounts) {
        let measured = account.lifetime.measured();
        if key.scope == Scope::Gpu {
            let number = index.to_string();
            index += 1;
            let labels =
                [("host", &*state.owner.name), ("scope", "gpu"), ("gpu_index", &number), ("gpu_uuid", &*key.device)];
            text::series(out, name, labels);
            text::joules(out, measured);
        }
        // Parts, and the platform domain that contains the packages, would count twice.
        let is_whole = !key.device.contains('/') && &*key.device != "psys";
        for (_, sum) in others.iter_mut().filter(|(scope, _)| *scope == key.scope && is_whole) {
            *sum = Some(sum.unwrap_or(Energy::ZERO) + measured);
        }
    }
    for (scope, sum) in others {
        if let Some(sum) = sum {
            text::series(out, name, [("host", &*state.owner.name), ("scope", scope.word())]);
            text::joules(out, sum);
        }
    }
}

fn owner_series(_: &Scrape, view: &OwnerView, name: &str, out: &mut String) {
    text::series(out, name, owner_labels(view));
}

/// The label `host` holds the owner's name whatever it is; `kind` says what.
fn owner_labels(view: &OwnerView) -> [(&str, &str); 3] {
    let owner = &view.state.owner;
    [("cluster", &*owner.cluster), ("host", &*owner.name), ("kind", owner.kind.word())]
}
