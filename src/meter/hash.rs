//! The one hash from text or bytes to a number that is stored or sent. Frozen: it decides where rows
//! lie on disk, which context a record means, and whether two counters count from the same start.

/// The first 8 bytes, little-endian, of the BLAKE3 of `bytes`.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The number of a counter epoch's name: the same from every source and client. Never zero, which says
/// that there is no counter.
#[must_use]
pub fn epoch(name: &str) -> u64 {
    stable_hash(name.as_bytes()).max(1)
}
