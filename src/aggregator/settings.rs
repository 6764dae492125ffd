//! The aggregator's configuration: one struct, its defaults, and what each key means.
//!
//! `configs/aggregator.toml` lists every key with its default and is tested to equal this file.
//! Layers, the later wins: defaults, file, environment (`WATTLEDGER__SECTION__KEY`), flags.

mod budgets;
mod load;
mod statements;

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use energy::{Estimate, Policy};
use meter::{Milliwatts, Scope};
use serde::{Deserialize, Serialize};

pub use budgets::BudgetRules;
pub use load::Flags;
pub use statements::Statements;

/// The aggregator's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where it listens and keeps its data.
    pub server: Server,
    /// What one request and all of them together may take.
    pub limits: Limits,
    /// The rules of booking.
    pub ledger: LedgerRules,
    /// How the store is kept safe.
    pub store: StoreRules,
    /// Files with labels and prices.
    pub files: Files,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What live graphs remember.
    pub recent: Recent,
    /// Budgets.
    pub budgets: BudgetRules,
    /// How months close, and who bills.
    pub statements: Statements,
    /// Keys of reports made of several by first match, such as `team = ["job.account", "team"]`.
    pub attribution: BTreeMap<String, Vec<String>>,
}

/// Where the aggregator listens and keeps its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port; port 0 picks a free one.
    pub listen: String,
    /// The data directory; empty for the user's state directory.
    pub data_dir: String,
    /// Whether an address that others can reach may be served without tokens.
    pub insecure: bool,
    /// HTTP worker threads; 0 for one per core.
    pub workers: usize,
    /// The IANA time zone of days and months; empty for the system's.
    pub timezone: String,
    /// Whether people are shown money.
    pub show_cost: bool,
}

/// What requests may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of all posts that are being read, applied or committed.
    pub in_flight_bytes: usize,
    /// Seconds within which a body must have arrived.
    pub body_deadline_s: u64,
    /// Seconds after which an idle connection is closed.
    pub keep_alive_s: u64,
    /// Connections per worker.
    pub connections: usize,
}

/// What is booked for a hole between two power readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// A straight line between its ends.
    Estimate,
    /// The power at its beginning.
    HoldLast,
    /// Nothing.
    None,
}

/// The rules of booking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerRules {
    /// What is booked, marked as estimated, for a hole.
    pub gap: Gap,
    /// The longest hole that is estimated, in seconds.
    pub estimate_max_s: u64,
    /// How far ahead of our clock a reading may be dated, in seconds.
    pub clock_skew_s: u64,
    /// How old a reading may be that is not marked as an import, in days.
    pub live_age_max_days: u64,
    /// What a host's meter shows over its components where the host's own readings do not tell.
    pub meter_factor: String,
    /// Most accounts in all.
    pub max_accounts: usize,
    /// Most accounts of one owner.
    pub max_accounts_per_owner: usize,
    /// The most a device can draw, by scope, in watts.
    pub ceiling_watts: Ceilings,
}

/// The most a device of each scope can draw, in watts: what is above it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are the scopes")]
pub struct Ceilings {
    pub chassis: u64,
    pub cpu: u64,
    pub dram: u64,
    pub gpu: u64,
    pub accelerator: u64,
    pub switch: u64,
    pub storage: u64,
    pub pdu: u64,
    pub facility: u64,
    pub other: u64,
}

/// How the store is kept safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreRules {
    /// Seconds between exports of the whole store.
    pub export_every_s: u64,
    /// Mebibytes of the day book; 0 for none.
    pub day_book_mib: u64,
}

/// Files with labels and prices; read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// The inventory (CSV or Prometheus file_sd JSON); empty for none.
    pub inventory: String,
    /// The rate cards (TOML); empty for none.
    pub rates: String,
}

/// What `/metrics` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Whether there is a series per account.
    pub per_account: bool,
    /// Whether counters are also shown under the names of all-smi.
    pub all_smi_names: bool,
}

/// What live graphs remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recent {
    /// Hosts with a graph of their own; 3 kB each.
    pub hosts: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9810".into(),
            data_dir: String::new(),
            insecure: false,
            workers: 0,
            timezone: String::new(),
            show_cost: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        // 75 s: agents post every 10 to 60 s, and a new TLS connection costs 40 posts.
        Self { in_flight_bytes: 64 << 20, body_deadline_s: 10, keep_alive_s: 75, connections: 25_000 }
    }
}

impl Default for LedgerRules {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            gap: Gap::Estimate,
            estimate_max_s: policy.estimate_max_ns / SECOND,
            clock_skew_s: policy.skew_ns / SECOND,
            live_age_max_days: policy.live_age_max_ns / (86_400 * SECOND),
            meter_factor: "1.00".into(),
            max_accounts: policy.accounts,
            max_accounts_per_owner: policy.owner_accounts,
            ceiling_watts: Ceilings::default(),
        }
    }
}

impl Default for Ceilings {
    fn default() -> Self {
        let policy = Policy::default();
        let watts = |scope: Scope| policy.ceilings[scope as usize].0 / 1000;
        Self {
            chassis: watts(Scope::Chassis),
            cpu: watts(Scope::Cpu),
            dram: watts(Scope::Dram),
            gpu: watts(Scope::Gpu),
            accelerator: watts(Scope::Accelerator),
            switch: watts(Scope::Switch),
            storage: watts(Scope::Storage),
            pdu: watts(Scope::Pdu),
            facility: watts(Scope::Facility),
            other: watts(Scope::Other),
        }
    }
}

impl Default for StoreRules {
    fn default() -> Self {
        Self { export_every_s: 300, day_book_mib: 2048 }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { per_account: true, all_smi_names: false }
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self { hosts: 10_000 }
    }
}

const SECOND: u64 = 1_000_000_000;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read, or is no TOML.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A key that nobody reads: a typing error that would otherwise go unnoticed.
    #[error("{origin}: there is no setting {key:?}; there are {known}")]
    UnknownKey {
        /// The file that has it.
        origin: String,
        /// The key.
        key: String,
        /// The keys of that section.
        known: String,
    },
    /// A value of another kind than the setting has.
    #[error("{origin}: {key} must be {expected}, not {found}")]
    WrongKind {
        /// The file or variable that has it.
        origin: String,
        /// The key.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// An environment variable that looks like ours and matches nothing.
    #[error("the environment variable {0} matches no setting; settings are named WATTLEDGER__SECTION__KEY")]
    UnknownVariable(String),
    /// A value that is out of bounds.
    #[error("{key} = {value}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// An address that others can reach, without any protection.
    #[error(
        "{0} can be reached by other machines, and this version has no tokens yet: anyone who reaches it \
         could read and write the ledger. Listen on 127.0.0.1 behind a proxy that authenticates, or say \
         --insecure if the network itself is trusted"
    )]
    Exposed(SocketAddr),
}

impl Settings {
    /// The addresses to listen on.
    ///
    /// # Errors
    /// [`SettingsError`] if the text is no address, or one that others can reach without
    /// `insecure`.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, SettingsError> {
        let listen = &self.server.listen;
        let bad = |why: String| SettingsError::Value { key: "server.listen", value: listen.clone(), why };
        let addresses: Vec<_> = listen.to_socket_addrs().map_err(|error| bad(error.to_string()))?.collect();
        if addresses.is_empty() {
            return Err(bad("the name has no address".into()));
        }
        match addresses.iter().find(|address| !address.ip().is_loopback()) {
            Some(open) if !self.server.insecure => Err(SettingsError::Exposed(*open)),
            _ => Ok(addresses),
        }
    }

    /// The data directory: the one configured, else the state directory of the user who runs this.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        if !self.server.data_dir.is_empty() {
            return PathBuf::from(&self.server.data_dir);
        }
        if rustix::process::geteuid().is_root() {
            return PathBuf::from("/var/lib/wattledger");
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
        state.unwrap_or_else(|| PathBuf::from(".")).join("wattledger")
    }

    /// The rules as the ledger takes them.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let rules = &self.ledger;
        let top = &rules.ceiling_watts;
        let mut policy = Policy {
            estimate: match rules.gap {
                Gap::Estimate => Estimate::Linear,
                Gap::HoldLast => Estimate::HoldLast,
                Gap::None => Estimate::None,
            },
            estimate_max_ns: rules.estimate_max_s.saturating_mul(SECOND),
            skew_ns: rules.clock_skew_s.saturating_mul(SECOND),
            live_age_max_ns: rules.live_age_max_days.saturating_mul(86_400 * SECOND),
            accounts: rules.max_accounts,
            owner_accounts: rules.max_accounts_per_owner,
            ..Policy::default()
        };
        for (scope, watts) in [
            (Scope::Chassis, top.chassis),
            (Scope::Cpu, top.cpu),
            (Scope::Dram, top.dram),
            (Scope::Gpu, top.gpu),
            (Scope::Accelerator, top.accelerator),
            (Scope::Switch, top.switch),
            (Scope::Storage, top.storage),
            (Scope::Pdu, top.pdu),
            (Scope::Facility, top.facility),
            (Scope::Other, top.other),
        ] {
            policy.ceilings[scope as usize] = Milliwatts(watts.saturating_mul(1000));
        }
        policy
    }
}
