//! What the operator knows of the fleet, and what hardware says of itself, joined.

#![cfg(test)]

use meter::Owner;

mod inventory;
mod topology;

fn host(name: &str) -> Owner {
    Owner::host(name).expect("a name")
}
