//! The billed-energy counter of every host: safe to sum, because the boundary is drawn.
//!
//! It is the same rollup that `/api/v1/rollup?by=cluster,host` answers with, over all settled slots,
//! so it follows late readings and corrected topology. It is worked out when somebody scrapes, and
//! then serves for a while; the longer it takes the longer it serves.
//!
//! A counter must not step back within one value of its label `gen`. Where a correction lowers a
//! host's figure the counter gets a new `gen`. Figures and corrections are kept in the store, so that
//! a restart goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cost::{By, RateCard, Where, Window};
use meter::{SECOND_NS, Utc};
use serde::{Deserialize, Serialize};

use crate::books::Books;
use crate::http::problem::Problem;
use crate::kept::{Kept, Patience};
use crate::query::{CostQuery, HeldQuery, Zone, cost_problem, label_keys};

/// For how long the counters serve at least: twice a scrape interval of common length.
const PATIENCE: Patience = Patience { fresh: Duration::from_secs(30), serves: Duration::ZERO, unasked: Duration::MAX };
/// A slot settles this long after its end: agents post every 10 to 60 s.
const SETTLES_NS: i64 = 300 * SECOND_NS;
/// Where they are kept in the store.
const DOCUMENT: &str = "billed-counters";

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billed {
    /// By (cluster, host), in microjoules.
    #[serde(with = "as_list")]
    pub hosts: BTreeMap<(String, String), i128>,
    /// How many times a figure was lowered.
    pub corrections: u64,
}

/// JSON has no maps with pairs as keys.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Hosts = BTreeMap<(String, String), i128>;

    pub(super) fn serialize<S: Serializer>(hosts: &Hosts, to: S) -> Result<S::Ok, S::Error> {
        let rows = hosts.iter().map(|((cluster, host), uj)| (cluster, host, uj.to_string()));
        rows.collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Hosts, D::Error> {
        let rows = Vec::<(String, String, String)>::deserialize(from)?;
        let rows = rows.into_iter().map(|(cluster, host, uj)| Ok(((cluster, host), uj.parse()?)));
        rows.collect::<Result<_, std::num::ParseIntError>>().map_err(serde::de::Error::custom)
    }
}

/// The newest counters.
#[derive(Debug)]
pub struct BilledCounters(Kept<Billed>);

impl Default for BilledCounters {
    fn default() -> Self {
        Self(Kept::new(PATIENCE))
    }
}

impl BilledCounters {
    /// Counters that are fresh. Blocks while they are worked out.
    ///
    /// # Errors
    /// A problem if the store fails.
    pub fn of(&self, books: &Books) -> Result<Arc<Billed>, Problem> {
        self.0.of(|| {
            let before = match self.0.peek() {
                Some(newest) => newest,
                None => Arc::new(in_store(books)?),
            };
            Ok(before.next(books).unwrap_or_else(|problem| {
                // A full disk, say. Counters that are not kept might step back after a restart.
                tracing::warn!("the billed-energy counters of /metrics stand still: {problem}");
                (*before).clone()
            }))
        })
    }
}

impl Billed {
    /// The counters of now, kept in the store if they changed.
    fn next(&self, books: &Books) -> Result<Self, Problem> {
        let billed = self.follow(settled(books)?);
        if billed != *self {
            let bytes = serde_json::to_vec(&billed).map_err(|error| Problem::internal("keep the counters", &error))?;
            books
                .store
                .put_document(DOCUMENT, &bytes)
                .map_err(|error| Problem::internal("keep the counters", &error))?;
        }
        Ok(billed)
    }

    /// The next counters. Rows share the rounding of their total, so that a figure may fall by one
    /// microjoule without having been lowered: the counter then stays.
    fn follow(&self, now: BTreeMap<(String, String), i128>) -> Self {
        let mut corrections = self.corrections;
        let mut hosts = now;
        let mut is_lowered = self.hosts.keys().any(|host| !hosts.contains_key(host));
        for (host, uj) in &mut hosts {
            let before = self.hosts.get(host).copied().unwrap_or(*uj);
            is_lowered |= before > *uj + 1;
            if before == *uj + 1 {
                *uj = before;
            }
        }
        corrections += u64::from(is_lowered);
        Self { hosts, corrections }
    }

    /// The label `gen` of the counters: the store's generation, and how often a figure was lowered.
    #[must_use]
    pub fn generation(&self, store: u64) -> String {
        if self.corrections == 0 { store.to_string() } else { format!("{store}.{}", self.corrections) }
    }
}

fn in_store(books: &Books) -> Result<Billed, Problem> {
    let bytes = books.store.document(DOCUMENT).map_err(|error| Problem::internal("read the counters", &error))?;
    // What cannot be read is worked out again; a figure that differs then gets a new `gen`.
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// What every host was billed in all settled slots.
fn settled(books: &Books) -> Result<BTreeMap<(String, String), i128>, Problem> {
    let (snapshot, topology, now) = books.moment();
    let until = Utc(now.0.saturating_sub(SETTLES_NS)).slot();
    let accounts = snapshot.owners().flat_map(|view| &view.state.accounts);
    let Some(first) = accounts.map(|account| account.first.at).min() else { return Ok(BTreeMap::new()) };
    let labels = label_keys(&snapshot, &topology.inventory);
    let query = CostQuery {
        window: Window::of_slots(first.slot(), until),
        by: By::parse("cluster,host", &labels).map_err(|error| cost_problem(&error))?,
        select: Where::default(),
        step: None,
        zone: Zone::of("UTC").map_err(|error| cost_problem(&error))?,
        held: HeldQuery::default(),
    };
    if query.window.is_empty() {
        return Ok(BTreeMap::new());
    }
    let figures = books.figures(&snapshot, &topology, now);
    let answer = query.answer(&figures, &RateCard::default())?;
    let rows = answer.rows.into_iter().filter_map(|row| {
        let mut by = row.by?;
        Some(((by.remove("cluster")?, by.remove("host")?), row.energy_uj))
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(rows: &[(&str, i128)]) -> BTreeMap<(String, String), i128> {
        rows.iter().map(|(host, uj)| (("default".to_owned(), (*host).to_owned()), *uj)).collect()
    }

    #[test]
    fn a_counter_only_steps_back_with_a_new_generation() {
        let first = Billed::default().follow(hosts(&[("a", 10), ("b", 5)]));
        assert_eq!((first.generation(7), first.corrections), ("7".to_owned(), 0));
        let rounded = first.follow(hosts(&[("a", 9), ("b", 8)]));
        assert_eq!(rounded.hosts, hosts(&[("a", 10), ("b", 8)]), "a shared rounding is no correction");
        assert_eq!(rounded.generation(7), "7");
        let lowered = rounded.follow(hosts(&[("a", 4), ("b", 8)]));
        assert_eq!((lowered.hosts.clone(), lowered.generation(7)), (hosts(&[("a", 4), ("b", 8)]), "7.1".to_owned()));
        let gone = lowered.follow(hosts(&[("b", 8)]));
        assert_eq!(gone.corrections, 2, "a host that is billed elsewhere now");
    }

    #[test]
    fn what_is_kept_reads_back() {
        let billed = Billed { hosts: hosts(&[("a", i128::MAX), ("b", -5)]), corrections: 3 };
        let bytes = serde_json::to_vec(&billed).expect("it can be written");
        assert_eq!(serde_json::from_slice::<Billed>(&bytes).expect("it reads back"), billed);
    }
}
