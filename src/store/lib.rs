//! Where the ledger is kept: one port, an embedded engine and one in memory, exports, records.
//!
//! - [`port`]: the trait [`Store`] and what passes through it.
//! - [`SledStore`] keeps a ledger on disk, [`MemoryStore`] in memory; both pass [`conformance`].
//! - [`open_or_restore`] opens a data directory and mends what can be mended.
//! - [`export_to`] and [`import`]: whole images of one commit; [`BackupFile`] and [`restore`]: the
//!   same by an operator's hand.
//! - [`open_stopped`] and [`audit_store`]: an audit of what a stopped aggregator left.
//! - [`records`]: the frozen bytes of an owner's state and of its history.
//!
//! The store knows no clock: the time is handed in. It calculates nothing: rows and postings are
//! opaque to it, and what was acknowledged is exactly what was given.

mod audit;
mod backup;
pub mod conformance;
mod directory;
mod export;
mod memory;
mod open;
pub mod port;
pub mod records;
mod sled_store;

pub use audit::{Finding, Report, audit_image, audit_store};
pub use backup::{BackupFile, images_at};
pub use export::{export_to, exports_in, write_image};
pub use memory::MemoryStore;
pub use open::{How, Opened, Restored, Stopped, import, open_or_restore, open_stopped, restore};
pub use port::{
    Durability, HistoryEntry, HistoryQuery, Identity, ImageItem, Outcome, OwnerCommit, Row, Store, StoreError,
};
pub use sled_store::SledStore;
