//! The agent's sources on the built programs: a driver's library, BMCs and exporters that the tests make,
//! plausible and faulty, and what is billed of them.

#![cfg(test)]

mod backfill;
mod driver;
mod faults;
#[expect(dead_code, unused_imports, reason = "the stories of tests/e2e use the rest")]
#[path = "../harness/mod.rs"]
mod harness;
mod jobs;
mod nvml;
mod nvml_captures;
mod nvml_in_time;
mod nvml_probe;
mod one_bill;
mod overlap;
mod prometheus;
mod redfish;
