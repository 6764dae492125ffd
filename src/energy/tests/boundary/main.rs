//! What is billed of an owner's accounts, worked out by hand.

#![expect(clippy::expect_used, reason = "a helper that fails fails the test")]

mod containers;
mod meters;
mod ratio;
mod support;
