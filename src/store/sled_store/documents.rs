//! Documents: named values beside rows and history, one by one, with a commit, or many at once.

use std::ops::ControlFlow;

use super::draft::{Draft, document_content};
use super::engine::Engine;
use super::keys::{self, RunKey};
use super::{SledStore, reading};
use crate::port::StoreError;

/// Most documents written in one batch, and most that are read while a commit has to wait…
const BATCH: usize = 1000;
/// …and most bytes of them.
const BATCH_BYTES: usize = 4 << 20;

/// A name and a content.
type Document = (String, Vec<u8>);

impl SledStore {
    /// Puts documents in one batch.
    pub(super) fn put_batch(&self, documents: &[Document]) -> Result<(), StoreError> {
        let _alone = self.write_alone();
        let engine = self.engine_for_writing()?;
        let (number, totals) = (self.view().commit + 1, self.view().totals);
        let mut draft = Draft::new(number, totals);
        fill(&engine, &mut draft, documents.iter())?;
        self.write(&engine, number, draft, &[])
    }

    /// Calls `each` with the documents of these names. Commits wait only while a page of them is read.
    pub(super) fn each_document(
        &self,
        from: &str,
        until: &str,
        each: &mut dyn FnMut(String, Vec<u8>),
    ) -> Result<(), StoreError> {
        let mut from = from.to_owned();
        loop {
            let page = {
                // What a running commit puts is not acknowledged yet.
                let _alone = self.write_alone();
                page(&*self.engine_for_writing()?, &from, until)?
            };
            let Some((last, _)) = page.last() else { return Ok(()) };
            // The next possible name: none holds a zero.
            from = format!("{last}\u{1}");
            page.into_iter().for_each(|(name, bytes)| each(name, bytes));
        }
    }
}

/// Puts documents into a draft, each in place of the one before.
pub(super) fn fill<'a>(
    engine: &Engine,
    draft: &mut Draft,
    documents: impl Iterator<Item = &'a Document>,
) -> Result<(), StoreError> {
    for (name, bytes) in documents {
        let before = reading::read_document(engine, name)?.map(|before| before.len());
        draft.document(name, bytes, before);
    }
    Ok(())
}

/// Documents in batches that the engine takes well.
pub(super) fn batches(documents: Vec<Document>) -> Vec<Vec<Document>> {
    let mut batches: Vec<Vec<Document>> = Vec::new();
    let mut bytes = 0;
    for document in documents {
        bytes += document.1.len();
        let is_full = |batch: &Vec<Document>| batch.len() >= BATCH || bytes > BATCH_BYTES;
        match batches.last_mut() {
            Some(batch) if !is_full(batch) => batch.push(document),
            _ => {
                bytes = document.1.len();
                batches.push(vec![document]);
            }
        }
    }
    batches
}

/// The first documents with names from `from` to before `until`.
fn page(engine: &Engine, from: &str, until: &str) -> Result<Vec<Document>, StoreError> {
    let mut page = Vec::new();
    let mut bytes = 0;
    engine.each_run_while(
        keys::documents_from(from, until),
        |_| true,
        |key, stored| {
            let document = named(engine, &key, stored)?;
            bytes += document.1.len();
            page.push(document);
            Ok(if page.len() < BATCH && bytes < BATCH_BYTES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        },
    )?;
    Ok(page)
}

/// A stored document.
pub(super) fn named(engine: &Engine, key: &RunKey, stored: Vec<u8>) -> Result<Document, StoreError> {
    let name = key.document_name().ok_or_else(|| engine.damaged("a document without a name"))?;
    Ok((name.to_owned(), document_content(stored).map_err(|e| engine.damaged(e))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let document = |n: usize, len: usize| (format!("{n:05}"), vec![0; len]);
        let many: Vec<_> = (0..2500).map(|n| document(n, 10)).collect();
        let batches_of_many = batches(many.clone());
        assert_eq!(batches_of_many.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!(batches_of_many.concat(), many);
        let large: Vec<_> = (0..5).map(|n| document(n, 3 << 20)).collect();
        assert_eq!(batches(large).len(), 5);
        assert!(batches(vec![]).is_empty());
    }
}
