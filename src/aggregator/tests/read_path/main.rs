//! The read path: inventory, rollup, lists, metrics and page, from hand-made rows.

#![cfg(test)]

mod boundary;
mod fleet;
mod inventory;
mod lists;
mod metrics;
mod page;
mod partitions;
mod rollup;
mod served;
mod topology;
