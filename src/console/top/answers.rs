//! What the aggregator's answers hold that the terminal view uses; the rest of them is passed over.

use std::collections::BTreeMap;

use cost::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};

/// The keys by which power and energy are asked for, as one parameter.
pub(super) const KEYS: &str = "cluster,chassis,host";

/// Whom a row of the API is about. The chassis is empty where a host sits in none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub(super) struct Key {
    pub(super) cluster: String,
    #[serde(default)]
    pub(super) chassis: String,
    pub(super) host: String,
}

/// `GET /api/v1/top`: what is drawn now.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Power {
    pub(super) as_of: jiff::Timestamp,
    #[serde(default)]
    pub(super) rows: Vec<PowerRow>,
    pub(super) groups: usize,
    pub(super) total_watts: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct PowerRow {
    pub(super) by: Key,
    pub(super) watts: f64,
}

/// The moment of `GET /api/v1/top`, without its rows.
#[derive(Debug, Deserialize)]
pub(super) struct Moment {
    pub(super) as_of: jiff::Timestamp,
}

/// `GET /api/v1/rollup`: what was billed in a window.
#[derive(Debug, Deserialize)]
pub(super) struct Bill {
    pub(super) as_of: jiff::Timestamp,
    pub(super) rows: Vec<BillRow>,
    pub(super) total: Billed,
    #[serde(default)]
    pub(super) cost_hidden: bool,
    #[serde(default)]
    pub(super) made_up_hosts: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct BillRow {
    pub(super) by: Key,
    #[serde(flatten)]
    pub(super) billed: Billed,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Billed {
    #[serde(deserialize_with = "whole")]
    pub(super) energy_uj: i128,
    #[serde(default)]
    pub(super) cost: Vec<Priced>,
}

/// Energy that has a price, and what it costs.
#[derive(Debug, Deserialize)]
pub(super) struct Priced {
    pub(super) currency: Currency,
    #[serde(deserialize_with = "whole", default)]
    pub(super) energy_uj: i128,
    pub(super) parts: Parts,
}

/// What goes with energy. Demand and fixed charges are those of a month, not of a session.
#[derive(Debug, Deserialize)]
pub(super) struct Parts {
    pub(super) energy: Decimal,
    pub(super) pue_overhead: Decimal,
}

/// A page of `GET /api/v1/hosts`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Hosts {
    pub(super) hosts: Vec<HostSeen>,
    pub(super) next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HostSeen {
    pub(super) cluster: String,
    pub(super) host: String,
    #[serde(default)]
    pub(super) chassis: Option<String>,
    #[serde(flatten)]
    pub(super) detail: Detail,
}

/// `GET /api/v1/hosts/{id}` or `/api/v1/chassis/{id}`.
#[derive(Debug, Deserialize)]
pub(super) struct One {
    #[serde(alias = "chassis")]
    pub(super) host: Detail,
}

/// How one owner is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Detail {
    pub(super) state: String,
    pub(super) lifetime: Lifetime,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) flags: Vec<String>,
}

impl Detail {
    /// Of several together: in which states they are, what they have used, and the labels that all of them have.
    pub(super) fn of_all(hosts: Vec<HostSeen>) -> Option<Self> {
        let mut details = hosts.into_iter().map(|host| host.detail);
        let mut all = details.next()?;
        for one in details {
            if one.state != all.state && !all.state.contains(&one.state) {
                all.state = format!("{}, {}", all.state, one.state);
            }
            all.lifetime.energy_uj += one.lifetime.energy_uj;
            all.labels.retain(|key, value| one.labels.get(key) == Some(value));
            all.flags.extend(one.flags);
        }
        all.flags.sort();
        all.flags.dedup();
        Some(all)
    }
}

/// Energy since the first reading.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Lifetime {
    #[serde(rename = "uj", deserialize_with = "whole")]
    pub(super) energy_uj: i128,
}

/// A whole number that is written as text.
fn whole<'de, D: Deserializer<'de>>(input: D) -> Result<i128, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(input)?;
    text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no whole number")))
}
