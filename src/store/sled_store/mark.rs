//! How far the database was acknowledged, told beside it.
//!
//! A database file that lost its end opens without complaint at an older commit (observed). The mark
//! shows that: it is written after a commit is on disk and never synced itself, so it may lag behind
//! the database after a power cut but never runs ahead of a sound one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::directory;
use crate::port::StoreError;

/// The mark's file, in the database's directory.
pub(crate) struct Mark(File);

impl Mark {
    /// Opens the mark of the database in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        Ok(Self(directory::open_for_writing(&directory.join("acknowledged"), false)?))
    }

    /// The commit that was acknowledged last, as far as the mark knows: 0 where it says nothing.
    pub(crate) fn read(&self) -> u64 {
        let mut stored = [0; 16];
        // A power cut may leave the mark empty or torn; then it cannot help, and does not hinder.
        let whole = self.0.read_exact_at(&mut stored, 0).is_ok();
        let commit = stored.first_chunk().map_or(0, |commit| u64::from_le_bytes(*commit));
        if whole && stored == with_check(commit) { commit } else { 0 }
    }

    /// Notes that a commit is on disk.
    pub(crate) fn write(&self, commit: u64) {
        if let Err(error) = self.0.write_all_at(&with_check(commit), 0) {
            tracing::warn!(%error, "the mark of acknowledged commits was not written");
        }
    }
}

fn with_check(commit: u64) -> [u8; 16] {
    let commit = commit.to_le_bytes();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&commit);
    bytes[8..].copy_from_slice(&blake3::hash(&commit).as_bytes()[..8]);
    bytes
}
