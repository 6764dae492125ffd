//! Stories told with the built programs, as their users run them: over loopback HTTP, on a data
//! directory of their own, killed and started again.

#![cfg(test)]

mod admin;
mod clocks;
mod cost;
mod crash;
mod demo;
mod dropouts;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod identity;
mod ingest;
mod life;
mod live;
mod metrics;
mod probe;
mod published;
mod recorded_gpu;
mod rules;
mod topology;
