//! Pure core: integrator, coverage, registers, streams, cap, boundary, audit.
//!
//! It knows no clock, no file, no socket, no actor. Everything here is a function of what was handed
//! in, so that the same readings give the same ledger in any batching, and so that the same code runs
//! under the actors, in simulations and in property tests.

mod account;
pub mod audit;
mod batch;
pub mod boundary;
pub mod cut;
mod dating;
pub mod integrator;
pub mod ledger;
mod marks;
mod owner;
pub mod policy;
mod precedence;
pub mod profile;
pub mod register;
mod rejection;
mod slots;
mod span;
pub mod state;
mod summary;

pub use audit::{Audit, Audited, Discrepancy, audit};
pub use boundary::{Billed, BilledLine, Boundary, Missed, bill};
pub use cut::{Cut, CutCells, CutCount, HourCut};
pub use ledger::{Append, AppendOutcome, Dirty, Hello, Ledger, NumberedPost, PostOutcome, Sent};
pub use marks::MarkOutcome;
pub use policy::{Estimate, Policy, Rules};
pub use register::Register;
pub use rejection::{CLOCK_SET_BACK, Rejection};
pub use state::*;
