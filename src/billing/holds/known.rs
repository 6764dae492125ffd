//! What all jobs that were ever told say together, kept for a while: who was told of any, and by which labels.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cost::tenant::label_key;
use meter::{Allocation, Hold, Owner};
use store::{Store, records};

use crate::error::BillingError;
use crate::rests;

/// Most labels of jobs that can be keys of questions.
const LABELS_MAX: usize = 1000;
/// For how long what is known of all jobs ever told serves at least.
const FRESH_FOR: Duration = Duration::from_secs(60);

/// What all jobs that were ever told say together. Read from the store when first asked for, and again now and
/// then; what a question itself reads counts besides.
#[derive(Debug, Default)]
pub struct KnownJobs(Mutex<Option<Known>>);

#[derive(Clone, Debug)]
struct Known {
    read: Instant,
    serves: Duration,
    told: Arc<HashSet<Owner>>,
    labels: Arc<BTreeSet<String>>,
}

impl KnownJobs {
    /// Makes sure that it is fresh. Blocks while the store is read.
    ///
    /// # Errors
    /// [`BillingError`] if the store fails or holds what cannot be read.
    pub fn refresh(&self, store: &dyn Store) -> Result<(), BillingError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| known.read.elapsed() < known.serves) {
            return Ok(());
        }
        let begin = Instant::now();
        let (mut told, mut labels) = (HashSet::new(), BTreeSet::new());
        ended(store, i32::MIN..i32::MAX, &mut |owner, hold| {
            if labels.len() < LABELS_MAX {
                labels.extend(hold.allocation.labels.keys().cloned());
            }
            if !told.contains(&owner) {
                told.insert(owner);
            }
        })?;
        let serves = rests(FRESH_FOR, begin.elapsed());
        *known = Some(Known { read: Instant::now(), serves, told: Arc::new(told), labels: Arc::new(labels) });
        Ok(())
    }

    /// Adds jobs that ended just now, or are told late: questions know of them at once.
    pub fn note<'a>(&self, ended: impl IntoIterator<Item = (&'a Owner, &'a Allocation)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was never read will hold them when it is.
        let Some(known) = known.as_mut() else { return };
        for (owner, job) in ended {
            if !known.told.contains(owner) {
                Arc::make_mut(&mut known.told).insert(owner.clone());
            }
            if known.labels.len() < LABELS_MAX && job.labels.keys().any(|key| !known.labels.contains(key)) {
                Arc::make_mut(&mut known.labels).extend(job.labels.keys().cloned());
            }
        }
    }

    pub(super) fn told(&self) -> Arc<HashSet<Owner>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map_or_else(Arc::default, |known| Arc::clone(&known.told))
    }

    /// The keys of questions for labels of jobs that ended: `job.partition`.
    #[must_use]
    pub fn label_keys(&self) -> Vec<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().flat_map(|known| known.labels.iter()).map(|label| label_key(label)).collect()
    }
}

/// The holds that ended in these hours since the Unix epoch.
pub(super) fn ended(
    store: &dyn Store,
    hours: Range<i32>,
    each: &mut dyn FnMut(Owner, Hold),
) -> Result<(), BillingError> {
    let names = records::hold_names(hours);
    let mut failed = None;
    store.documents(&names.start, &names.end, &mut |_, bytes| match records::decode_hold(&bytes) {
        Ok((owner, hold)) => each(owner, hold),
        Err(error) => failed = Some(error),
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
