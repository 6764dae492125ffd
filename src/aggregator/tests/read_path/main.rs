//! The read path: inventory, rollup, lists, metrics and page, from hand-made rows.

#![cfg(test)]

mod boundary;
mod closer;
mod days;
mod events;
mod first_view;
mod fleet;
mod head;
mod hidden;
mod jobs;
mod lists;
mod metrics;
mod openapi;
mod page;
mod partitions;
mod rollup;
mod served;
