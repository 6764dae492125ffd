//! The read path: inventory, rollup, lists, metrics and page, from hand-made rows.

#![cfg(test)]

mod fleet;
mod inventory;
mod lists;
mod metrics;
mod page;
mod rollup;
mod served;
mod topology;
