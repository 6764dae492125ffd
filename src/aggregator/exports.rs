//! Exports beside commits: on a thread of their own, one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use store::{Store, StoreError};

use crate::app::Stats;

/// Writes an export of the store; returns what is told of it.
pub type Exporter = Box<dyn Fn(&dyn Store) -> Result<(), StoreError> + Send + Sync>;

/// Writes the store's exports.
pub struct Exports {
    store: Arc<dyn Store>,
    exporter: Exporter,
    stats: Arc<Stats>,
    /// The commit that the last export holds; held while one is written.
    exported: Mutex<Option<u64>>,
}

impl Exports {
    /// Exports of this store. One that holds nothing yet needs none.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, exporter: Exporter, stats: Arc<Stats>) -> Self {
        let exported = Mutex::new(Some(store.commit_number()).filter(|number| *number == 0));
        Self { store, exporter, stats, exported }
    }

    /// Begins an export, unless one is being written. Commits go on meanwhile.
    pub fn begin(self: &Arc<Self>) {
        if self.exported.try_lock().is_err() {
            return;
        }
        let exports = Arc::clone(self);
        let begun = std::thread::Builder::new().name("export".into()).spawn(move || exports.write_and_tidy());
        if let Err(error) = begun {
            tracing::error!("failed to begin an export: {error}");
            Stats::bump(&self.stats.export_failures);
        }
    }

    fn write_and_tidy(&self) {
        self.write();
        if let Err(error) = self.store.tidy() {
            tracing::warn!("failed to give needless space back: {error}; it is tried again after the next export");
        }
    }

    /// Exports what stands now; returns when it is written. Waits for one that is being written.
    pub fn write(&self) {
        let mut exported = self.exported.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the image: what is committed meanwhile is for the next one.
        let number = self.store.commit_number();
        if *exported == Some(number) {
            return;
        }
        match (self.exporter)(&*self.store) {
            Ok(()) => {
                *exported = Some(number);
                Stats::bump(&self.stats.exports);
            }
            Err(error) => {
                tracing::error!("failed to export the store: {error}");
                Stats::bump(&self.stats.export_failures);
            }
        }
    }
}
