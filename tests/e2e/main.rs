//! Stories told with the built programs, as their users run them: over loopback HTTP, on a data
//! directory of their own, killed and started again.

#![cfg(test)]

mod admin;
mod api;
mod browser;
mod budgets;
mod clocks;
mod cost;
mod crash;
mod demo;
mod dropouts;
mod explain;
#[path = "../../src/cost/tests/focus/validator.rs"]
mod focus_validator;
mod formats;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod identity;
mod ingest;
mod inventory;
mod jobs;
mod life;
mod live;
mod manual;
mod meter;
mod metrics;
mod newcomer;
mod observability;
mod page;
mod probe;
mod published;
mod rates;
mod reconcile;
mod recorded_gpu;
mod rules;
mod statements;
mod told_jobs;
mod top;
mod topology;
mod zones;
