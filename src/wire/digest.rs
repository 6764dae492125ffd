//! The digest chain: what a stream's prefix is, in 16 bytes.

use meter::{Digest, Position, Record};

use crate::record::encode_record_into;

/// The digest after a record, from the digest before it: the first 16 bytes of the BLAKE3 of
/// `before` followed by the record's canonical bytes.
#[must_use]
pub fn chain(before: &Digest, record: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(before.len() + record.len());
    bytes.extend_from_slice(before);
    bytes.extend_from_slice(record);
    first_16(&bytes)
}

/// Where a stream that stood at `base` stands after more records.
#[must_use]
pub fn advance(base: Position, records: &[Record]) -> Position {
    let mut at = base;
    // One buffer for all: digest in front, canonical record behind it.
    let mut bytes = Vec::with_capacity(256);
    for record in records {
        bytes.clear();
        bytes.extend_from_slice(&at.digest);
        encode_record_into(record, &mut bytes);
        at = Position { seq: at.seq.saturating_add(1), digest: first_16(&bytes) };
    }
    at
}

fn first_16(bytes: &[u8]) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    digest
}
