//! What people see in a terminal. It speaks only the HTTP API of an aggregator and holds no state.
//!
//! The table is a pure function of an answer ([`render`]), so that whoever has an answer at hand
//! (the demonstration, a test) prints the same table without a server.

mod backup;
mod budgets;
mod child;
mod client;
mod close;
mod error;
mod explain;
mod figures;
mod footnotes;
mod format;
mod host;
mod inventory;
mod jobs;
mod meter;
mod rates;
mod reconcile;
mod report;
mod sacct;
mod span;
mod table;
mod terminal;
mod top;
mod unmatched;

pub use backup::backup;
pub use budgets::{BudgetsArgs, budgets};
pub use client::DEFAULT_SERVER;
pub use close::{CloseArgs, close};
pub use error::ConsoleError;
pub use explain::{ExplainArgs, explain};
pub use format::Format;
pub use host::{HostArgs, host};
pub use inventory::{InventoryArgs, InventoryCommand, inventory};
pub use jobs::{JobsArgs, jobs};
pub use meter::{MeterArgs, meter};
pub use rates::{RatesArgs, rates};
pub use reconcile::{ReconcileArgs, reconcile};
pub use report::{ReportArgs, ReportFormat, report};
pub use span::span;
pub use table::render;
pub use terminal::{Look, look};
pub use top::{TopArgs, top};
pub use unmatched::UnmatchedArgs;
