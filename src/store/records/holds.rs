//! Allocations that ended, as documents: one per machine and hold, found by the hour in which it ended.
//!
//! **Name.** `hold/`, the end's hour since the Unix epoch in 8 digits, `/`, 16 hex digits of the owner's
//! hash, 16 of the hash over the job's id and the start. So what is told or imported twice is one document,
//! and all that may overlap a window are those of the hours from its beginning on.
//!
//! **Content.** A record as rows are: the owner is in it, because the name has its hash only.

use std::ops::Range;
use std::sync::Arc;

use bincode::{BorrowDecode, Encode};
use meter::hash::stable_hash;
use meter::{Allocation, Hold, Owner, Utc};

use super::{RecordError, decode, encode};

/// What the names of these documents begin with.
pub const HOLDS: &str = "hold/";

/// Nanoseconds in an hour.
pub(super) const HOUR_NS: i64 = 3_600_000_000_000;
/// The last hour that a name can tell: the year 13,378.
const HOUR_MAX: i64 = 99_999_999;

/// Version 1. Frozen.
#[derive(Debug, Encode, BorrowDecode)]
struct HoldV1<'a> {
    owner: &'a str,
    from: i64,
    until: i64,
    allocation: AllocationV1<'a>,
}

/// An allocation. Frozen.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct AllocationV1<'a> {
    id: &'a str,
    user: &'a str,
    account: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    devices: Vec<&'a str>,
    cores: u32,
    cores_of: u32,
}

/// The name and the content of the document that keeps an ended hold; nothing if it still runs.
#[must_use]
pub fn encode_hold(owner: &Owner, hold: &Hold) -> Option<(String, Vec<u8>)> {
    let until = hold.until?;
    let canonical = owner.canonical();
    let start = [&hold.from.0.to_le_bytes(), hold.allocation.id.as_bytes()].concat();
    let (whose, which) = (stable_hash(canonical.as_bytes()), stable_hash(&start));
    let name = format!("{}{whose:016x}{which:016x}", hour_name(until.0.div_euclid(HOUR_NS)));
    let allocation = AllocationV1::from(&*hold.allocation);
    Some((name, encode(1, &HoldV1 { owner: &canonical, from: hold.from.0, until: until.0, allocation })))
}

/// Reads the content of such a document.
///
/// # Errors
/// [`RecordError`] if the bytes are none.
pub fn decode_hold(bytes: &[u8]) -> Result<(Owner, Hold), RecordError> {
    let hold = match bytes.split_first() {
        None => return Err(RecordError::Empty),
        Some((1, rest)) => decode::<HoldV1>(rest)?,
        Some((other, _)) => return Err(RecordError::Version(*other)),
    };
    let owner = hold.owner.parse().map_err(|_| RecordError::Content("an owner's name that is none"))?;
    let allocation = Arc::new(hold.allocation.into_allocation());
    Ok((owner, Hold { from: Utc(hold.from), until: Some(Utc(hold.until)), allocation }))
}

/// The names, end exclusive, of the holds that ended in these hours since the Unix epoch.
#[must_use]
pub fn hold_names(hours: Range<i32>) -> Range<String> {
    hour_name(hours.start.into())..hour_name(hours.end.into())
}

fn hour_name(hour: i64) -> String {
    format!("{HOLDS}{:08}/", hour.clamp(0, HOUR_MAX))
}

impl<'a> From<&'a Allocation> for AllocationV1<'a> {
    fn from(allocation: &'a Allocation) -> Self {
        Self {
            id: &allocation.id,
            user: &allocation.user,
            account: &allocation.account,
            labels: allocation.labels.iter().map(|(key, value)| (&key[..], &value[..])).collect(),
            devices: allocation.devices.iter().map(|device| &device[..]).collect(),
            cores: allocation.cores,
            cores_of: allocation.cores_of,
        }
    }
}

impl AllocationV1<'_> {
    pub(super) fn into_allocation(self) -> Allocation {
        Allocation {
            id: self.id.into(),
            user: self.user.into(),
            account: self.account.into(),
            labels: self.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            devices: self.devices.into_iter().map(Arc::from).collect(),
            cores: self.cores,
            cores_of: self.cores_of,
        }
    }
}
