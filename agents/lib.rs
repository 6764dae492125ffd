//! The node agent: reads a machine's power sources and brings every reading to the aggregator once.
//!
//! One sample's way: a source is read by its sampler, the record goes to the spool, and only then to
//! the aggregator; the spool lets go when the ledger has it on disk. What decides is in [`delivery`]
//! and [`outbox`] and knows no clock and no socket; the actors around them are thin.

mod alarm;
mod backfill;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod feed;
pub mod guard;
pub mod health;
pub mod home;
mod http;
pub mod identity;
pub mod intake;
pub mod jobs;
mod lane;
pub mod link;
pub mod manual;
pub mod metrics;
pub mod outbox;
pub mod probe;
pub mod reader;
pub mod replay;
mod replay_command;
pub mod run;
pub mod sampler;
pub mod sources;
pub mod spool;
pub mod spool_actor;
mod tap;
pub mod targets;
pub mod uplink;
