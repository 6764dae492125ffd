//! The core's tests from outside: closed forms, properties, delivery.

#![expect(clippy::expect_used, reason = "a helper that fails fails the test")]

mod audit;
mod closed_forms;
mod delivery;
mod properties;
mod spans;
mod support;
