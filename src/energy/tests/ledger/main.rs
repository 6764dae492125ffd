//! The core's tests from outside: closed forms, properties, delivery.

#![expect(clippy::expect_used, reason = "a helper that fails fails the test")]

mod audit;
mod clocks;
mod closed_forms;
mod cuts;
mod delivery;
mod holds;
mod identity;
mod machine;
mod precedence;
mod properties;
mod sent_again;
mod spans;
mod support;
