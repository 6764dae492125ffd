//! What the operator knows of the fleet: labels with their dates, topology, service dates, aliases.
//!
//! Per label key the inventory wins over what an agent says of itself, because a bill must not depend
//! on a node's own word. Where the inventory is silent, the agent's label holds.
//!
//! Format: see [`read`]. Every fault of a file is reported at once, with its place; a file with a
//! fault is not used at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use energy::LabelsSince;
use meter::{Labels, Owner, Utc};

pub mod fault;
pub mod file_sd;
pub mod read;
pub mod row;

pub use fault::{Fault, InventoryError};

/// The operator's word on every owner it names.
#[derive(Debug, Default)]
pub struct Inventory {
    entries: BTreeMap<Owner, Entry>,
    /// Who was retired by an act, whatever the file says; shared by all that were read from it.
    retirements: Arc<Retirements>,
}

/// Owners that an administrator retired, with the instant from which they are.
pub type Retirements = ArcSwap<BTreeMap<Owner, Utc>>;

/// What is known of one owner.
#[derive(Debug, Default)]
pub struct Entry {
    /// Labels and topology with the time they hold for; ascending and disjoint.
    pub spans: Vec<Span>,
    /// When it went into service: expected time runs from here, also without readings.
    pub in_service: Option<Utc>,
    /// When the file says it was retired; see [`Inventory::retired`].
    pub retired: Option<Utc>,
    /// The owner under whose name its energy is shown.
    pub alias_of: Option<Owner>,
    /// Whether a row says that it sits in no chassis, whatever hardware says.
    pub sits_alone: bool,
}

/// Labels and topology for a stretch of time.
#[derive(Clone, Debug)]
pub struct Span {
    /// When they hold.
    pub valid: Range<Utc>,
    /// The labels.
    pub labels: Arc<Labels>,
    /// The chassis that a host sits in.
    pub chassis: Option<Owner>,
    /// The line of the file, to name it in a fault.
    pub line: u64,
}

/// All of time.
pub const ALWAYS: Range<Utc> = Utc(i64::MIN)..Utc(i64::MAX);

impl Inventory {
    /// The entry of an owner.
    #[must_use]
    pub fn entry(&self, owner: &Owner) -> Option<&Entry> {
        self.entries.get(owner)
    }

    /// Every owner that the inventory names, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&Owner, &Entry)> {
        self.entries.iter()
    }

    /// The owner under whose name `owner` is shown: itself unless it is an alias.
    #[must_use]
    pub fn canonical<'a>(&'a self, owner: &'a Owner) -> &'a Owner {
        self.entry(owner).and_then(|entry| entry.alias_of.as_ref()).unwrap_or(owner)
    }

    /// The inventory with what administrators retired.
    #[must_use]
    pub fn with_retirements(self, retirements: Arc<Retirements>) -> Self {
        Self { retirements, ..self }
    }

    /// Who was retired by an act, as of now.
    #[must_use]
    pub fn retirements(&self) -> Arc<BTreeMap<Owner, Utc>> {
        self.retirements.load_full()
    }

    /// When an owner went out of service, by the file or by an act, the earlier of both: expected time
    /// ends here.
    #[must_use]
    pub fn retired(&self, owner: &Owner) -> Option<Utc> {
        let shown = self.canonical(owner);
        let acts = self.retirements.load();
        let by_act = acts.get(owner).or_else(|| acts.get(shown)).copied();
        self.entry(shown).and_then(|entry| entry.retired).into_iter().chain(by_act).min()
    }

    /// Every label key of every row.
    #[must_use]
    pub fn label_keys(&self) -> BTreeSet<&str> {
        let spans = self.entries.values().flat_map(|entry| &entry.spans);
        spans.flat_map(|span| span.labels.keys().map(String::as_str)).collect()
    }

    /// The labels in force for `owner` at one instant.
    #[must_use]
    pub fn labels(&self, owner: &Owner, at: Utc, agent: &[LabelsSince]) -> Arc<Labels> {
        let span = self.spans(owner).iter().find(|span| span.valid.contains(&at));
        merged(span, agent_labels(agent, at))
    }

    /// Where labels of `owner` may change: the borders of its rows' validity and of the agent's words.
    #[must_use]
    pub fn borders(&self, owner: &Owner, agent: &[LabelsSince]) -> BTreeSet<Utc> {
        let rows = self.spans(owner).iter().flat_map(|span| [span.valid.start, span.valid.end]);
        // The agent's first labels hold from the beginning: its first border is none.
        rows.chain(agent.iter().skip(1).map(|since| since.from)).collect()
    }

    /// The spans of an owner, or of what it is an alias of.
    fn spans(&self, owner: &Owner) -> &[Span] {
        let own = self.entry(owner);
        let shown = own.and_then(|entry| entry.alias_of.as_ref()).and_then(|alias| self.entry(alias));
        shown.or(own).map_or(&[], |entry| &entry.spans)
    }
}

/// What the agent's word puts in force: before its first labels those hold, as in the ledger.
fn agent_labels(agent: &[LabelsSince], at: Utc) -> Option<&Arc<Labels>> {
    agent.iter().rev().find(|since| since.from <= at).or(agent.first()).map(|since| &since.labels)
}

/// The inventory's labels, then the agent's for keys that the inventory lacks.
fn merged(span: Option<&Span>, agent: Option<&Arc<Labels>>) -> Arc<Labels> {
    match (span, agent) {
        (None, None) => Arc::default(),
        (None, Some(agent)) => Arc::clone(agent),
        (Some(span), None) => Arc::clone(&span.labels),
        (Some(span), Some(agent)) if agent.keys().all(|key| span.labels.contains_key(key)) => Arc::clone(&span.labels),
        (Some(span), Some(agent)) => {
            let mut labels = Labels::clone(agent);
            labels.extend(span.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
            Arc::new(labels)
        }
    }
}
