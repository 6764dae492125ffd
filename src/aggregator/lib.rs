//! The aggregator: posts of agents in, one durable ledger, figures out.
//!
//! - **In**: [`http`] decodes on the HTTP workers, [`door`] counts bytes, [`ledger_actor`] applies as
//!   [`booking`] decides, [`store_actor`] commits on its own thread, and only then the post is answered.
//! - **Out**: queries read [`billing::published`] snapshots and ranges of the store; they never enter the ledger
//!   actor's mailbox.
//! - **Around**: [`settings`], [`server`] (start and stop), [`shutdown`], [`health`].

pub mod acts;
pub mod answers;
pub mod app;
pub mod asked;
pub mod billed;
pub mod board;
pub mod booking;
pub mod books;
pub mod budgets;
pub mod day_keeper;
pub mod door;
pub mod events;
pub mod explain;
pub mod exports;
pub mod first;
pub mod health;
pub mod http;
pub mod kept;
pub mod ledger_actor;
pub mod live;
pub mod persist;
pub mod rates;
pub mod recent;
pub mod reconcile;
pub mod refused;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod skews;
pub mod store_actor;

pub mod exposition;
pub mod hosts_view;
pub mod jobs;
pub mod load;
pub mod meters;
pub mod page;
pub mod query;
pub mod ready;
pub mod report;
pub mod statements;
pub mod summary;
pub mod vitals;
pub mod watched;
pub mod whereabouts;
pub mod whole;

pub use server::{Parts, Running, run, start, start_on};
pub use settings::{Flags, Settings, SettingsError};

/// Why an aggregator does not start.
#[derive(Debug, thiserror::Error)]
pub enum AggregatorError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A file with labels or prices cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A row of the store cannot be read.
    #[error("the row of {owner}: {why}")]
    Row {
        /// Whose row.
        owner: String,
        /// What is wrong with it.
        why: store::records::RecordError,
    },
    /// A document of the store cannot be read.
    #[error("the document {name:?} of the store: {why}")]
    Document {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The list of closed months cannot be read.
    #[error(transparent)]
    Statements(#[from] statements::ShelfError),
    /// The system clock was never set.
    #[error("the system clock shows {0}: set it (timedatectl, chronyd) and start again; agents keep their readings")]
    Clock(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; name another with --listen")]
    Listen {
        /// The address, as it is configured.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Signals or standard output cannot be used.
    #[error("cannot watch signals or print: {0}")]
    Signals(std::io::Error),
}

impl AggregatorError {
    /// Whether a person has to change a setting or file.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::Configuration(_))
    }
}
