//! The bytes of an owner's state, of its history, and of the jobs that it held.
//!
//! **Format.** A version byte, then a frozen struct of that version in bincode's varint form. The
//! structs in `v1` and `v2` are written once and never changed; what the ledger computes with may change
//! freely, the conversion then changes with it.
//!
//! **Migration.** A new version gets a module of its own and an arm in [`decode_row`] or
//! [`decode_hour`] that reads the old struct and converts it; writing always uses the newest. Rows
//! are rewritten as their owners report; history keeps the version it was written in.
//!
//! **Limits.** Decoding never panics, never reserves more than [`DECODED_MAX`], and refuses bytes that
//! are left over: a record is exactly one struct.

mod cells;
mod holds;
mod live;
mod v1;
mod v2;

use bincode::{BorrowDecode, Encode};
use energy::{HourBlock, OwnerState};
use meter::Owner;

pub use holds::{HOLDS, decode_hold, encode_hold, hold_names};

/// Most memory a record may decode to, in bytes: four times a row at every cap.
pub const DECODED_MAX: usize = 32 << 20;

/// The version written today, of rows and of history.
const VERSION: u8 = 2;

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No byte at all.
    #[error("a record of no bytes")]
    Empty,
    /// Written by a newer program.
    #[error("a record of version {0}, which this program does not know")]
    Version(u8),
    /// Not the struct that the version byte promises.
    #[error("a record that cannot be decoded: {0}")]
    Malformed(String),
    /// The struct, but with a value that no writer writes.
    #[error("a record with {0}")]
    Content(&'static str),
}

/// The bytes of an owner's row. The owner's name is the row's key and not in it.
#[must_use]
pub fn encode_row(state: &OwnerState) -> Vec<u8> {
    encode(VERSION, &v2::RowV2::from(state))
}

/// Reads an owner's row.
///
/// # Errors
/// [`RecordError`] if the bytes are none.
pub fn decode_row(owner: &Owner, bytes: &[u8]) -> Result<OwnerState, RecordError> {
    match bytes.split_first() {
        None => Err(RecordError::Empty),
        Some((1, rest)) => decode::<v1::RowV1>(rest)?.into_state(owner.clone()),
        Some((2, rest)) => decode::<v2::RowV2>(rest)?.into_state(owner.clone()),
        Some((other, _)) => Err(RecordError::Version(*other)),
    }
}

/// The bytes of a posting. Its hour is its key and not in it.
#[must_use]
pub fn encode_hour(block: &HourBlock) -> Vec<u8> {
    encode(VERSION, &v2::HourV2::from(block))
}

/// Reads a posting.
///
/// # Errors
/// [`RecordError`] if the bytes are none.
pub fn decode_hour(hour: i32, bytes: &[u8]) -> Result<HourBlock, RecordError> {
    match bytes.split_first() {
        None => Err(RecordError::Empty),
        Some((1, rest)) => decode::<v1::HourV1>(rest)?.into_block(hour),
        Some((2, rest)) => decode::<v2::HourV2>(rest)?.into_block(hour),
        Some((other, _)) => Err(RecordError::Version(*other)),
    }
}

fn encode(version: u8, record: &impl Encode) -> Vec<u8> {
    let mut bytes = vec![version];
    // Writing to memory cannot fail, and these structs hold nothing that has no encoding.
    let written = bincode::encode_into_std_write(record, &mut bytes, bincode::config::standard());
    assert!(written.is_ok(), "a record did not encode: {written:?}");
    bytes
}

fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, RecordError> {
    let config = bincode::config::standard().with_limit::<DECODED_MAX>();
    match bincode::borrow_decode_from_slice(bytes, config) {
        Ok((record, used)) if used == bytes.len() => Ok(record),
        Ok(_) => Err(RecordError::Malformed("bytes are left over".into())),
        Err(error) => Err(RecordError::Malformed(error.to_string())),
    }
}
