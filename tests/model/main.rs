//! Every order of delivery and faults within small bounds, explored to the last state.
//!
//! The steps are the project's own pure functions: the agent's decisions (`agents::delivery`), posts,
//! answers and digests (`wire`), compare-and-append and coverage (`energy::Ledger`), rows
//! (`store::records`). What holds them together here (a spool of a few records, the network, the
//! commit cycle) follows the actors step by step, and [`mutants`] shows that it can fail.
//!
//! What must hold, in every state: each tick is booked at most once, and exactly those that the
//! applied readings prove; covered time is theirs; slots and history add up to the registers; what is
//! acknowledged is on disk; no published figure falls within a generation; only a documented fault
//! destroys readings; and once faults stop, everything kept is booked exactly once.

#![cfg(test)]

mod actions;
mod agent;
mod aggregator;
mod completion;
mod explorer;
mod mutants;
mod readings;
mod scenarios;
mod spool;
mod steps;
mod tables;
mod world;

pub(crate) use explorer::Violation;
pub(crate) use mutants::{Broken, Glue};
pub(crate) use scenarios::{Fault, Scenario};
