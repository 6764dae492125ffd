//! What people see in a terminal. It speaks only the HTTP API of an aggregator and holds no state.
//!
//! The table is a pure function of an answer ([`render`]), so that whoever has an answer at hand
//! (the demonstration, a test) prints the same table without a server.

mod client;
mod error;
mod figures;
mod report;
mod table;
mod terminal;

pub use error::ConsoleError;
pub use report::{Format, ReportArgs, report};
pub use table::render;
pub use terminal::{Look, look};
