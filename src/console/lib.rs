//! What people see in a terminal. It speaks only the HTTP API of an aggregator and holds no state.
//!
//! The table is a pure function of an answer ([`render`]), so that whoever has an answer at hand
//! (the demonstration, a test) prints the same table without a server.

mod backup;
mod client;
mod error;
mod figures;
mod footnotes;
mod host;
mod report;
mod table;
mod terminal;
mod unmatched;

pub use backup::backup;
pub use client::DEFAULT_SERVER;
pub use error::ConsoleError;
pub use host::{HostArgs, host};
pub use report::{Format, ReportArgs, report};
pub use table::render;
pub use terminal::{Look, look};
pub use unmatched::{UnmatchedArgs, UnmatchedFormat};
