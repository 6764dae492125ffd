//! Machines that report themselves under a name that is bound to another.
//!
//! Kept in memory: a machine that is refused asks again for as long as it runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use energy::{AppendOutcome, Rejection};
use meter::{Id, Owner, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::query::rfc3339;

/// Names for which the newest refused machine is remembered; who invents names must not fill the memory.
const NAMES_MAX: usize = 10_000;

/// The machines refused of late, by the name they asked for.
#[derive(Debug, Default)]
pub struct RefusedMachines(Mutex<BTreeMap<String, Refused>>);

#[derive(Clone, Copy, Debug)]
struct Refused {
    machine: Id,
    first: Utc,
    last: Utc,
}

/// A refused machine, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedMachine {
    /// Its fingerprint.
    pub machine: String,
    /// When it first asked since the aggregator started, or since another machine did.
    pub first_refused: String,
    /// When it last asked.
    pub last_refused: String,
}

impl RefusedMachines {
    /// Notes who was refused among these outcomes. A machine is logged once.
    pub fn note(&self, outcomes: &[AppendOutcome], now: Utc) {
        for outcome in outcomes {
            let AppendOutcome::Rejected(rejection @ Rejection::BoundElsewhere { owner, theirs, .. }) = outcome else {
                continue;
            };
            let mut names = self.names();
            let name = owner.to_string();
            let known = names.get_mut(&name).filter(|refused| refused.machine == *theirs);
            if let Some(known) = known {
                known.last = now;
                continue;
            }
            if names.len() >= NAMES_MAX
                && let Some(oldest) = names.iter().min_by_key(|(_, refused)| refused.last).map(|(name, _)| name.clone())
            {
                names.remove(&oldest);
            }
            names.insert(name, Refused { machine: *theirs, first: now, last: now });
            tracing::warn!("{rejection}");
        }
    }

    /// The machine last refused under a name.
    #[must_use]
    pub fn of(&self, owner: &Owner) -> Option<RefusedMachine> {
        let refused = *self.names().get(&owner.to_string())?;
        Some(RefusedMachine {
            machine: hex(&refused.machine),
            first_refused: rfc3339(refused.first),
            last_refused: rfc3339(refused.last),
        })
    }

    /// The fingerprint of the machine last refused under a name.
    #[must_use]
    pub fn machine(&self, owner: &Owner) -> Option<Id> {
        self.names().get(&owner.to_string()).map(|refused| refused.machine)
    }

    /// Whether no machine was refused of late.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    /// Forgets who was refused under a name: it was bound anew.
    pub fn forget(&self, owner: &Owner) {
        self.names().remove(&owner.to_string());
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fingerprint as people see it.
#[must_use]
pub fn hex(id: &Id) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, theirs: u8) -> [AppendOutcome; 1] {
        let owner = Box::new(Owner::host(name).expect("a good name"));
        [AppendOutcome::Rejected(Rejection::BoundElsewhere { owner, bound: [1; 16], theirs: [theirs; 16] })]
    }

    #[test]
    fn the_newest_refused_machine_of_a_name_is_remembered_until_it_is_bound() {
        let (names, owner) = (RefusedMachines::default(), Owner::host("n1").expect("a good name"));
        names.note(&refused("n1", 2), Utc(1_000_000_000));
        names.note(&refused("n1", 2), Utc(9_000_000_000));
        let found = names.of(&owner).expect("refused");
        assert_eq!(found.machine, "02".repeat(16));
        assert_eq!((&*found.first_refused, &*found.last_refused), ("1970-01-01T00:00:01Z", "1970-01-01T00:00:09Z"));
        names.note(&refused("n1", 3), Utc(10_000_000_000));
        assert_eq!(names.machine(&owner), Some([3; 16]));
        names.forget(&owner);
        assert_eq!((names.of(&owner), names.machine(&owner)), (None, None));
    }

    #[test]
    fn invented_names_push_out_the_oldest() {
        let names = RefusedMachines::default();
        for number in 0..=NAMES_MAX {
            names.note(&refused(&format!("n{number}"), 2), Utc(number as i64));
        }
        assert_eq!(names.names().len(), NAMES_MAX);
        assert!(names.of(&Owner::host("n0").expect("a good name")).is_none());
    }
}
