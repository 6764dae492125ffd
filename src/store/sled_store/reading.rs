//! Reading rows, history and documents out of runs.

use std::ops::Range;

use meter::Owner;

use super::documents::named;
use super::draft::document_content;
use super::engine::Engine;
use super::index::{PartIndex, Place};
use super::keys::{self, RunKey};
use super::runs::RunReader;
use crate::port::{HistoryEntry, Row, StoreError};

/// One row, or nothing if it moved since `place` was looked up.
pub(super) fn read_row(engine: &Engine, owner: &Owner, place: Place) -> Result<Option<Row>, StoreError> {
    let run = RunKey::rows(owner.part(), place.commit);
    let bytes = engine.read(&run, place.offset as usize, place.len as usize)?;
    Ok(bytes.map(|bytes| Row { owner: owner.clone(), version: place.version, bytes }))
}

/// The rows of a partition; nothing if a commit rewrote it meanwhile.
pub(super) fn read_part(engine: &Engine, part: u8, index: &PartIndex) -> Result<Option<Vec<Row>>, StoreError> {
    let mut rows = Vec::with_capacity(index.rows.len());
    for (&commit, &len) in &index.runs {
        let Some(run) = engine.read(&RunKey::rows(part, commit), 0, whole(len))? else { return Ok(None) };
        for entry in RunReader::new(&run).map_err(|e| engine.damaged(e))? {
            let entry = entry.map_err(|e| engine.damaged(e))?;
            if stands(index, &entry.owner, commit, entry.offset) {
                rows.push(Row { owner: entry.owner, version: entry.version, bytes: entry.bytes.to_vec() });
            }
        }
    }
    Ok(Some(rows))
}

/// The postings of one partition up to a commit.
pub(super) fn read_history(
    engine: &Engine,
    part: u8,
    hours: &Range<i32>,
    until: u64,
    each: &mut dyn FnMut(HistoryEntry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    // Runs of a commit that is not acknowledged yet are not read, so they cannot be half there.
    let acknowledged = |run: &RunKey| run.commit().is_some_and(|commit| commit <= until);
    engine.each_run(keys::history_of(part, hours), acknowledged, |key, run| {
        let hour = key.hour().ok_or_else(|| engine.damaged("a key of no known form"))?;
        for entry in RunReader::new(&run).map_err(|e| engine.damaged(e))? {
            let entry = entry.map_err(|e| engine.damaged(e))?;
            let bytes = entry.bytes.to_vec();
            each(HistoryEntry { owner: entry.owner, hour, version: entry.version, bytes })?;
        }
        Ok(())
    })
}

pub(super) fn read_documents(engine: &Engine) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let mut documents = Vec::new();
    engine.each_run(
        keys::documents(),
        |_| true,
        |key, stored| {
            documents.push(named(engine, &key, stored)?);
            Ok(())
        },
    )?;
    Ok(documents)
}

pub(super) fn read_document(engine: &Engine, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let mut document = None;
    let key = RunKey::document(name);
    engine.each_run(
        key.chunks(0..usize::MAX),
        |_| true,
        |_, stored| {
            document = Some(document_content(stored).map_err(|e| engine.damaged(e))?);
            Ok(())
        },
    )?;
    Ok(document)
}

/// Whether the entry at this place is the owner's row, not one replaced since.
pub(super) fn stands(index: &PartIndex, owner: &Owner, commit: u64, offset: usize) -> bool {
    index.rows.get(owner).is_some_and(|place| place.commit == commit && place.offset as usize == offset)
}

pub(super) fn whole(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
