//! What administrators did, and what of it is in force.
//!
//! One document of the store: the newest acts, and who is retired. An act is on disk before it takes
//! effect, so that no effect is without its act.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use billing::inventory::Retirements;
use meter::{Owner, Utc};
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};
use utoipa::ToSchema;

use crate::AggregatorError;

/// The document's name.
const DOCUMENT: &str = "acts";
/// The version of its form.
const VERSION: u8 = 1;
/// Acts that are kept; what is in force stays whatever their age.
const ACTS_KEPT: usize = 10_000;

/// What kinds of acts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// A month was closed.
    Close,
    /// The inventory's file was replaced.
    Inventory,
    /// A host's name was given to another machine.
    Rebind,
    /// A host went out of service.
    Retire,
    /// A retirement was taken back.
    Unretire,
}

impl Deed {
    /// The stable word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Inventory => "inventory",
            Self::Rebind => "rebind",
            Self::Retire => "retire",
            Self::Unretire => "unretire",
        }
    }
}

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Act {
    /// When, as RFC 3339.
    pub at: String,
    /// What.
    pub act: Deed,
    /// To whom: an owner's canonical name.
    pub owner: String,
    /// Who did it, by their own word.
    pub by: String,
    /// The address they came from.
    pub from: String,
    /// What was in force before: a machine, or an instant.
    pub old: Option<String>,
    /// What is in force since.
    pub new: Option<String>,
}

/// The document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    version: u8,
    /// Oldest first.
    acts: Vec<Act>,
    /// By owner, in nanoseconds since the Unix epoch.
    retired: BTreeMap<String, i64>,
}

/// The acts of a store.
pub struct Acts {
    store: Arc<dyn Store>,
    book: Mutex<Book>,
    retirements: Arc<Retirements>,
}

impl Acts {
    /// Reads the store's acts.
    ///
    /// # Errors
    /// [`AggregatorError`] if the store or its document cannot be read: a retirement must not be
    /// forgotten unnoticed.
    pub fn load(store: Arc<dyn Store>) -> Result<Self, AggregatorError> {
        let unreadable = |why: String| AggregatorError::Document { name: DOCUMENT, why };
        let book = match store.document(DOCUMENT)? {
            None => Book { version: VERSION, acts: Vec::new(), retired: BTreeMap::new() },
            Some(bytes) => serde_json::from_slice::<Book>(&bytes).map_err(|error| unreadable(error.to_string()))?,
        };
        if book.version != VERSION {
            return Err(unreadable(format!("version {} is one this program does not know", book.version)));
        }
        let retired = retirements(&book).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { store, book: Mutex::new(book), retirements: Arc::new(ArcSwap::from_pointee(retired)) })
    }

    /// Who is retired by an act; follows every act.
    #[must_use]
    pub fn retirements(&self) -> Arc<Retirements> {
        Arc::clone(&self.retirements)
    }

    /// Records an act and puts it in force: of a retirement the instant `retired`, or its end. Blocks
    /// until it is on disk.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be recorded; nothing is in force then.
    pub fn record(&self, act: Act, owner: &Owner, retired: Option<Utc>) -> Result<(), StoreError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = book.clone();
        match (act.act, retired) {
            (Deed::Rebind | Deed::Close, _) => {}
            (_, Some(at)) => drop(next.retired.insert(owner.to_string(), at.0)),
            (_, None) => drop(next.retired.remove(&owner.to_string())),
        }
        next.push(act);
        let retired = retirements(&next).map_err(|error| StoreError::Failed(error.to_string()))?;
        self.put(&mut book, next)?;
        self.retirements.store(Arc::new(retired));
        Ok(())
    }

    /// Records acts that are about no owner. Blocks until they are on disk.
    ///
    /// # Errors
    /// [`StoreError`] if they could not be recorded.
    pub fn note(&self, acts: Vec<Act>) -> Result<(), StoreError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = book.clone();
        acts.into_iter().for_each(|act| next.push(act));
        self.put(&mut book, next)
    }

    fn put(&self, book: &mut Book, next: Book) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(&next).map_err(|error| StoreError::Failed(error.to_string()))?;
        self.store.put_document(DOCUMENT, &bytes)?;
        *book = next;
        Ok(())
    }

    /// The newest acts, the newest first.
    #[must_use]
    pub fn newest(&self, limit: usize) -> Vec<Act> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.acts.iter().rev().take(limit).cloned().collect()
    }
}

impl Book {
    fn push(&mut self, act: Act) {
        tracing::info!(by = act.by, from = act.from, old = act.old, new = act.new, "{} {}", act.act.word(), act.owner);
        self.acts.push(act);
        let surplus = self.acts.len().saturating_sub(ACTS_KEPT);
        self.acts.drain(..surplus);
    }
}

fn retirements(book: &Book) -> Result<BTreeMap<Owner, Utc>, meter::NameError> {
    book.retired.iter().map(|(owner, at)| Ok((owner.parse()?, Utc(*at)))).collect()
}

#[cfg(test)]
mod tests {
    use store::MemoryStore;

    use super::*;

    fn act(deed: Deed, number: usize) -> Act {
        let (at, owner, by) = (format!("t{number}"), "default/host/n1".into(), "root".into());
        Act { at, act: deed, owner, by, from: "127.0.0.1".into(), old: None, new: None }
    }

    #[test]
    fn acts_outlive_the_process_and_a_retirement_outlives_the_list() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new([1; 16], 1));
        let owner = Owner::host("n1").expect("a good name");
        let acts = Acts::load(Arc::clone(&store)).expect("none yet");
        acts.record(act(Deed::Retire, 0), &owner, Some(Utc(7))).expect("recorded");
        for number in 1..=3 {
            acts.record(act(Deed::Rebind, number), &owner, None).expect("recorded");
        }
        let again = Acts::load(store).expect("readable");
        assert_eq!(again.newest(2), [act(Deed::Rebind, 3), act(Deed::Rebind, 2)]);
        assert_eq!(again.newest(usize::MAX).len(), 4);
        assert_eq!(again.retirements().load().get(&owner), Some(&Utc(7)), "a rebind does not touch it");
        let shared = again.retirements();
        again.record(act(Deed::Unretire, 4), &owner, None).expect("recorded");
        assert!(shared.load().is_empty(), "who holds the retirements sees every change");
    }

    #[test]
    fn a_document_that_cannot_be_read_stops_the_start() {
        for bad in [
            &b"rubbish"[..],
            br#"{"version":2,"acts":[],"retired":{}}"#,
            br#"{"version":1,"acts":[],"retired":{"x":1}}"#,
        ] {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new([1; 16], 1));
            store.put_document(DOCUMENT, bad).expect("puts");
            let loaded = Acts::load(store);
            assert!(matches!(loaded, Err(AggregatorError::Document { .. })), "{}", String::from_utf8_lossy(bad));
        }
    }
}
