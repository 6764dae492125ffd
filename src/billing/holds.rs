//! What jobs held: those that run are in the rows, those that ended are documents of the store.
//!
//! A question reads the holds of its window once. A hold that ended more than [`LONGEST_DAYS`] after the window
//! does not count in it: no scheduler lets a job run for so long, and else all that ever ended later would have to
//! be read. One that still runs counts whenever it began.

use std::collections::HashMap;
use std::ops::Range;

use cost::tenancy::GPUS_LABEL;
use cost::{Held, Rollup};
use meter::hash::stable_hash;
use meter::{Hold, Owner, SECOND_NS, Utc};

use crate::error::BillingError;
use crate::figures::Figures;
use crate::lines::Attribution;

pub mod known;

use known::ended;

/// The longest hold that is looked for after the end of a window.
pub const LONGEST_DAYS: i32 = 62;
/// Most holds of one question: a month of 1,000 nodes with 32 jobs a day each, about 200 MB.
pub const HOLDS_MAX: usize = 1_000_000;

const HOUR_NS: i64 = 3600 * SECOND_NS;

/// Who held what in a span of time, for lines of a rollup.
///
/// # Errors
/// [`BillingError`] if the store fails, or there are more than [`HOLDS_MAX`] holds.
pub fn attribution(
    figures: &Figures<'_>,
    span: &Range<Utc>,
    rollup: &mut Rollup<'_>,
) -> Result<Attribution, BillingError> {
    let known = &figures.snapshot.jobs;
    known.refresh(figures.store)?;
    let mut held: HashMap<Owner, Vec<Held>> = HashMap::new();
    let mut count = 0;
    each_hold(figures, span, &mut |owner, hold| {
        count += 1;
        if count <= HOLDS_MAX {
            let one = held_of(&owner, hold, rollup);
            held.entry(owner).or_default().push(one);
        }
    })?;
    if count > HOLDS_MAX {
        return Err(BillingError::TooManyHolds(count));
    }
    Ok(Attribution { held, told: known.told(), within: None })
}

/// Every hold that overlaps a span of time: those that run first, then those that ended.
///
/// # Errors
/// [`BillingError`] if the store fails or holds what cannot be read.
pub fn each_hold(
    figures: &Figures<'_>,
    span: &Range<Utc>,
    each: &mut dyn FnMut(Owner, &Hold),
) -> Result<(), BillingError> {
    let overlaps =
        |hold: &Hold| hold.from < span.end && hold.until.is_none_or(|until| until > span.start && until > hold.from);
    for view in figures.snapshot.owners() {
        for hold in view.state.holds.iter().filter(|hold| overlaps(hold)) {
            each(view.state.owner.clone(), hold);
        }
    }
    let hour = |at: Utc| i32::try_from(at.0.div_euclid(HOUR_NS)).unwrap_or(i32::MAX);
    let hours = hour(span.start)..hour(span.end).saturating_add(LONGEST_DAYS * 24 + 1);
    ended(figures.store, hours, &mut |owner, hold| {
        if overlaps(&hold) {
            each(owner, &hold);
        }
    })
}

fn held_of(owner: &Owner, hold: &Hold, rollup: &mut Rollup<'_>) -> Held {
    let job = &hold.allocation;
    let gpus = job.labels.get(GPUS_LABEL).filter(|_| job.devices.is_empty());
    Held {
        from: hold.from,
        until: hold.until.unwrap_or(Utc(i64::MAX)),
        tenant: rollup.tenant(job),
        job: stable_hash(format!("{}/{}", owner.cluster, job.id).as_bytes()),
        devices: job.devices.as_slice().into(),
        cores: job.cores,
        cores_of: job.cores_of,
        gpus: gpus.and_then(|gpus| gpus.parse().ok()).unwrap_or(0),
    }
}
