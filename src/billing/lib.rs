//! What is billed: from the ledger's durable figures to the lines that a rollup adds.
//!
//! - **What there is**: [`published`] snapshots of the ledger, the operator's [`inventory`], what [`hardware`] says of
//!   itself; [`topology`] joins them, [`figures`] are all of them at one moment, with the store's history.
//! - **What follows**: [`lines`] says who is billed for what in which slot, [`holds`] who held it, [`charges`] what is
//!   due each month besides.
//! - **What is kept of it**: the [`daybook`], which may be deleted at any time; [`keeping`] makes its pages.
//!
//! It only reads: no actor, no HTTP, no configuration; every question is answered from the moment that it is handed.

pub mod charges;
pub mod daybook;
pub mod doubles;
pub mod figures;
pub mod hardware;
pub mod holds;
pub mod inventory;
pub mod keeping;
pub mod lines;
pub mod published;
pub mod topology;

mod error;
mod rest;

pub use error::BillingError;
pub use figures::Figures;
pub use rest::rests;
