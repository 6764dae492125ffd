//! Where statements are kept: compressed documents in the store, and one list of all.
//!
//! A statement's parts are written first, the list last: what is not in the list was never closed. A
//! statement is never written twice and never removed.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use cost::closing::{Closed, Head};
use cost::{CostError, error};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};
use utoipa::ToSchema;

/// The list's name.
const LIST: &str = "statements";
/// The version of its form.
const FORM: u32 = 1;
/// Bytes of one part: half of what a document may have.
const PART_MAX: usize = 32 << 20;
/// Longest statement before compression: 2 million facts of half a kilobyte.
const TEXT_MAX: u64 = 1 << 30;
/// Statements that are kept in memory once read.
const READ_MAX: usize = 4;

/// Why a statement cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// What is kept is not what was written.
    #[error("the statement {0} is damaged: {1}")]
    Damaged(String, String),
    /// It cannot be understood or written.
    #[error(transparent)]
    Cost(#[from] error::CostError),
}

/// What the list says of a statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatementEntry)]
pub struct Entry {
    /// What it is.
    #[serde(flatten)]
    pub head: Head,
    /// How many bytes it has.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes, as hexadecimal digits.
    pub blake3: String,
    /// In how many parts it is kept.
    parts: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct List {
    form: u32,
    /// Oldest first.
    statements: Vec<Entry>,
    /// Months of which every site is closed.
    complete: BTreeSet<String>,
}

/// The statements of a store.
pub(super) struct Shelf {
    store: Arc<dyn Store>,
    list: Mutex<List>,
    read: Mutex<VecDeque<(String, Arc<Closed>)>>,
}

impl Shelf {
    pub(super) fn load(store: Arc<dyn Store>) -> Result<Self, ShelfError> {
        let damaged = |why: String| ShelfError::Damaged(format!("list {LIST:?}"), why);
        let list = match store.document(LIST)? {
            None => List { form: FORM, statements: Vec::new(), complete: BTreeSet::new() },
            Some(bytes) => serde_json::from_slice::<List>(&bytes).map_err(|error| damaged(error.to_string()))?,
        };
        if list.form != FORM {
            return Err(damaged(format!("form {} is one this program does not know", list.form)));
        }
        Ok(Self { store, list: Mutex::new(list), read: Mutex::default() })
    }

    /// All of them, the newest month first, of each the newest version first.
    pub(super) fn list(&self) -> Vec<Entry> {
        self.those(|_| true)
    }

    /// Those that are wanted, in the order of [`Shelf::list`].
    fn those(&self, is_wanted: impl Fn(&Head) -> bool) -> Vec<Entry> {
        let wanted = |entry: &&Entry| is_wanted(&entry.head);
        let mut all: Vec<Entry> = self.lock().statements.iter().filter(wanted).cloned().collect();
        all.sort_by(|a, b| {
            let key = |entry: &Entry| (std::cmp::Reverse(entry.head.period.clone()), entry.head.site.clone());
            key(a).cmp(&key(b)).then(b.head.version.cmp(&a.head.version))
        });
        all
    }

    /// The newest version of each month and site that is wanted; all versions of one are of the same window.
    pub(super) fn newest_of(&self, is_wanted: impl Fn(&Head) -> bool) -> Vec<Entry> {
        let mut all = self.those(is_wanted);
        all.dedup_by(|next, kept| (&next.head.period, &next.head.site) == (&kept.head.period, &kept.head.site));
        all
    }

    /// The newest version of each site's statement of a month, by site.
    pub(super) fn newest(&self, period: &str) -> Vec<Entry> {
        self.newest_of(|head| head.period == period)
    }

    pub(super) fn is_complete(&self, period: &str) -> bool {
        self.lock().complete.contains(period)
    }

    /// Puts statements in place; on disk when this returns. `complete` is a month that has no open site left.
    pub(super) fn put(&self, statements: &[Closed], complete: Option<&str>) -> Result<Vec<Entry>, ShelfError> {
        let entries = statements.iter().map(|closed| self.put_parts(closed)).collect::<Result<Vec<_>, _>>()?;
        let mut list = self.lock();
        let mut next = list.clone();
        next.statements.extend(entries.iter().cloned());
        next.complete.extend(complete.map(str::to_owned));
        let bytes = serde_json::to_vec(&next).map_err(|error| CostError::Write(error.to_string()))?;
        self.store.put_document(LIST, &bytes)?;
        *list = next;
        Ok(entries)
    }

    fn put_parts(&self, closed: &Closed) -> Result<Entry, ShelfError> {
        let text = closed.to_json()?;
        let packed = pack(&text).map_err(|error| CostError::Write(error.to_string()))?;
        let mut parts = 0;
        for part in packed.chunks(PART_MAX) {
            self.store.put_document(&name(&closed.head, parts), part)?;
            parts += 1;
        }
        let blake3 = blake3::hash(&text).to_hex().to_string();
        Ok(Entry { head: closed.head.clone(), bytes: text.len() as u64, blake3, parts })
    }

    /// The bytes of a statement, as they were written.
    pub(super) fn bytes(&self, entry: &Entry) -> Result<Vec<u8>, ShelfError> {
        let damaged = |why: &str| ShelfError::Damaged(entry.head.id.clone(), why.to_owned());
        let mut packed = Vec::new();
        for part in 0..entry.parts {
            let bytes = self.store.document(&name(&entry.head, part))?;
            packed.extend(bytes.ok_or_else(|| damaged("a part is missing"))?);
        }
        let mut text = Vec::new();
        let read = ZlibDecoder::new(&*packed).take(TEXT_MAX).read_to_end(&mut text);
        read.map_err(|error| damaged(&error.to_string()))?;
        if blake3::hash(&text).to_hex().as_str() != entry.blake3 {
            return Err(damaged("its bytes are not those that were written"));
        }
        Ok(text)
    }

    pub(super) fn read(&self, entry: &Entry) -> Result<Arc<Closed>, ShelfError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = read.iter().find(|(id, _)| *id == entry.head.id) {
            return Ok(Arc::clone(known));
        }
        let closed = Arc::new(Closed::read(&self.bytes(entry)?)?);
        read.push_front((entry.head.id.clone(), Arc::clone(&closed)));
        read.truncate(READ_MAX);
        Ok(closed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(head: &Head, part: u32) -> String {
    format!("statement/{}/{}/{part:04}", head.period, head.id)
}

fn pack(text: &[u8]) -> std::io::Result<Vec<u8>> {
    if text.len() as u64 >= TEXT_MAX {
        return Err(std::io::Error::other("a statement has at most 1 GiB"));
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}
