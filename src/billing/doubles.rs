//! Devices that more than one owner reports: a GPU read by its node's agent and by a scraper under another
//! name, or one that was moved.
//!
//! Only names that are unique in the world tell that two accounts are one device: the UUIDs of the NVIDIA
//! driver. Found once per snapshot, when somebody first asks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use energy::OwnerState;
use meter::{AccountKey, Owner, OwnerKind, Scope};

/// An account of a device that another owner has an account of too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The owner.
    pub owner: Owner,
    /// The index of the account.
    pub account: usize,
}

/// The devices that several owners report, each with its accounts in the order of their owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubles(pub Vec<Vec<Seat>>);

impl Doubles {
    /// Looks through all accounts.
    #[must_use]
    pub fn of<'a>(owners: impl Iterator<Item = &'a OwnerState>) -> Self {
        let mut first: HashMap<&str, (&Owner, usize)> = HashMap::new();
        let mut more: HashMap<&str, Vec<Seat>> = HashMap::new();
        let seat = |(owner, account): (&Owner, usize)| Seat { owner: owner.clone(), account };
        for state in owners.filter(|state| state.owner.kind != OwnerKind::Meter) {
            for (account, key) in state.keys.iter().enumerate().filter(|(_, key)| is_unique(key)) {
                let here = (&state.owner, account);
                match first.entry(&*key.device) {
                    Entry::Vacant(empty) => {
                        empty.insert(here);
                    }
                    Entry::Occupied(taken) => {
                        let seats = more.entry(&*key.device).or_insert_with(|| vec![seat(*taken.get())]);
                        seats.push(seat(here));
                    }
                }
            }
        }
        let mut doubles: Vec<Vec<Seat>> = more.into_values().collect();
        for seats in &mut doubles {
            seats.sort_by(|a, b| a.owner.cmp(&b.owner));
        }
        doubles.sort_by(|a, b| a[0].owner.cmp(&b[0].owner).then(a[0].account.cmp(&b[0].account)));
        Self(doubles)
    }
}

/// `GPU-` and a UUID. (`GPU-0` is the first GPU of any machine.)
fn is_unique(key: &AccountKey) -> bool {
    let Some(uuid) = key.device.strip_prefix("GPU-").filter(|uuid| key.scope == Scope::Gpu && uuid.len() == 36) else {
        return false;
    };
    uuid.bytes().enumerate().all(|(place, byte)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uuids_of_gpus_are_unique() {
        let uuid = "GPU-5a1c0000-1234-abcd-EF00-00000000beef";
        for (scope, device, unique) in [
            (Scope::Gpu, uuid, true),
            (Scope::Other, uuid, false),
            (Scope::Gpu, "GPU-0", false),
            (Scope::Gpu, "GPU-5a1c0000x1234-abcd-ef00-00000000beef", false),
            (Scope::Gpu, "GPU-5a1c0000-1234-abcd-ef00-00000000beef/1", false),
            (Scope::Gpu, "0000:3b:00.0", false),
        ] {
            assert_eq!(is_unique(&AccountKey::new(scope, device).expect("a device")), unique, "{scope} {device}");
        }
    }
}
