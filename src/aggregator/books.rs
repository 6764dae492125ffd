//! What questions are answered from: the ledger's figures with the operator's word on labels and prices.
//!
//! Whatever is worked out of them and kept stands above; nothing here knows of it.

use std::sync::{Arc, OnceLock};

use billing::Figures;
use billing::daybook::DayBook;
use billing::inventory::Inventory;
use billing::published::{Published, Snapshot};
use billing::topology::{Topologies, Topology};
use cost::RateCard;
use meter::Utc;
use store::{Identity, Store};

use crate::settings::Settings;
use crate::watched::Watched;

/// What there is to answer from.
pub struct Books {
    /// Durable figures.
    pub published: Arc<Published>,
    /// The store, for ranges of history; blocking.
    pub store: Arc<dyn Store>,
    /// Which ledger this is.
    pub identity: Identity,
    /// Labels, links and service dates.
    pub inventory: Arc<Watched<Inventory>>,
    /// Who belongs to whom.
    pub topologies: Topologies,
    /// Prices.
    pub rates: Arc<Watched<RateCard>>,
    /// The configuration.
    pub settings: Settings,
    /// The clock.
    pub now: fn() -> Utc,
    /// What was billed on days that are over, where that is kept.
    pub days: OnceLock<DayBook>,
}

impl Books {
    /// Whether money is to be left out of everything that is shown.
    #[must_use]
    pub const fn hides_money(&self) -> bool {
        !self.settings.server.show_cost
    }

    /// What there is to answer from, all of this moment: durable figures, who belongs to whom, the time.
    #[must_use]
    pub fn moment(&self) -> (Arc<Snapshot>, Arc<Topology>, Utc) {
        let snapshot = self.published.load();
        let topology = self.topologies.of(&snapshot, &self.inventory.load());
        (snapshot, topology, (self.now)())
    }

    /// The ledger's figures of a moment.
    #[must_use]
    pub fn figures<'a>(&'a self, snapshot: &'a Snapshot, topology: &'a Topology, now: Utc) -> Figures<'a> {
        Figures {
            snapshot,
            store: &*self.store,
            topology,
            now,
            factor: self.settings.meter_factor(),
            days: self.days.get(),
        }
    }
}
