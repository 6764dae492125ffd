//! The port: what the ledger asks of a store, in words that any engine can keep.
//!
//! An owner's row is one opaque value with a version. A commit names, per owner, the version it was
//! computed from and replaces row and postings together or not at all: counters are a pure function
//! of accepted records, so two aggregators that work on the same owner can never both win.

use std::ops::Range;
use std::path::PathBuf;

use meter::{Id, Owner};

/// Longest row or posting in bytes. An owner at its cap of 512 accounts, each with 64 holes, needs
/// about 5 MB; the rest is room.
pub const ROW_MAX: usize = 16 << 20;

/// Longest document in bytes: an inventory of 100,000 hosts is about 20 MB.
pub const DOCUMENT_MAX: usize = 64 << 20;

/// Longest document name in bytes.
pub const DOCUMENT_NAME_MAX: usize = 128;

/// An owner's row as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose row.
    pub owner: Owner,
    /// Its version: never 0, grows with each commit.
    pub version: u64,
    /// The encoded state; see [`crate::records`].
    pub bytes: Vec<u8>,
}

/// What one commit changes of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerCommit {
    /// Whose row.
    pub owner: Owner,
    /// The version that the change was computed from; 0 if there was no row.
    pub expect: u64,
    /// The version after it; greater than `expect`.
    pub next: u64,
    /// The whole new row.
    pub row: Vec<u8>,
    /// Postings to the history: hours since the Unix epoch and the encoded deltas.
    pub history: Vec<(i32, Vec<u8>)>,
    /// Documents that change with the row, by name: in place of those before, and not written if the owner
    /// loses.
    pub documents: Vec<(String, Vec<u8>)>,
}

/// What became of one owner's part of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Row, postings and documents are on disk.
    Won,
    /// Somebody else's version stands (carried along; nothing if there is no row): nothing of this
    /// owner was written.
    Lost(Option<Row>),
}

/// One posting. Several postings of one owner and hour add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Whose posting.
    pub owner: Owner,
    /// Hours since the Unix epoch.
    pub hour: i32,
    /// The row version that wrote it: whoever holds an older row leaves the posting out.
    pub version: u64,
    /// The encoded deltas.
    pub bytes: Vec<u8>,
}

/// Which postings to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Of these owners; of all if absent.
    pub owners: Option<Vec<Owner>>,
    /// Of these hours since the Unix epoch, end exclusive.
    pub hours: Range<i32>,
}

/// Which ledger this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random, made with the store; a restored store keeps it.
    pub ledger: Id,
    /// Unix milliseconds of creation or of the last restore: counters may step back only where this
    /// changes.
    pub generation: u64,
}

impl Identity {
    /// That of a store restored at `now_ms` (Unix time in milliseconds): another generation, because its
    /// counters may have stepped back.
    #[must_use]
    pub fn restored(self, now_ms: u64) -> Self {
        if meter::mutant(meter::Mutant::KeepGeneration) {
            return self;
        }
        // A clock that was set back must not repeat a generation.
        Self { generation: now_ms.max(self.generation + 1), ..self }
    }
}

/// What an acknowledgement means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// The engine's name.
    pub engine: &'static str,
    /// Whether what was acknowledged outlives a kill of the process.
    pub survives_crash: bool,
    /// Whether it outlives a power cut, as far as the disk keeps what it was told to sync.
    pub survives_power_loss: bool,
    /// The same in a sentence, for people.
    pub words: &'static str,
}

/// One piece of a store's whole image, as an export carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageItem {
    /// A row.
    Row(Row),
    /// A posting.
    History(HistoryEntry),
    /// A document.
    Document {
        /// Its name.
        name: String,
        /// Its content.
        bytes: Vec<u8>,
    },
}

/// What a store answers when it cannot.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process works on this directory.
    #[error(
        "{} is in use by another wattledger process: stop that one, or name another data directory",
        .0.display()
    )]
    Locked(PathBuf),
    /// A file or directory that somebody else could change or that leads elsewhere.
    #[error("{} is refused: {why}", path.display())]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        why: &'static str,
    },
    /// There is nothing where something must be.
    #[error("{}: {why}", path.display())]
    Absent {
        /// Where.
        path: PathBuf,
        /// What is missing, and what to do.
        why: &'static str,
    },
    /// What is on disk is not what was written.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// Which file or directory.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The database was taken away while in use: deleted, moved, or another put in its place. What was
    /// acknowledged can still be read and exported through the handle that is open.
    #[error(
        "{} was deleted or moved while it was in use: nothing more can be kept. Start again: the newest \
         export is restored, and agents send the rest",
        .0.display()
    )]
    Gone(PathBuf),
    /// A commit that no caller may make; nothing was written.
    #[error("the commit for {owner} is refused: {why}")]
    BadCommit {
        /// Which owner.
        owner: Owner,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A document that cannot be kept; nothing was written.
    #[error("the document {name:?} is refused: {why}")]
    BadDocument {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The engine failed. Nothing was acknowledged; whether it was written shows when rows are loaded again.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where rows and history are kept.
///
/// Reads show acknowledged commits only. They may run beside a commit: every row is then the one
/// before or the one after it.
pub trait Store: Send + Sync {
    /// The rows of `owners`, in their order; nothing where there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot read.
    fn load(&self, owners: &[Owner]) -> Result<Vec<Option<Row>>, StoreError>;

    /// Compares and sets many rows; returns, in the same order, after what won is on disk together.
    ///
    /// # Errors
    /// [`StoreError::BadCommit`] if an owner comes twice, `next` does not exceed `expect` or a value
    /// is too long, [`StoreError::BadDocument`]: nothing is written. Any other error leaves open what was written (all winners or
    /// none): load the rows again.
    fn commit(&self, commits: Vec<OwnerCommit>) -> Result<Vec<Outcome>, StoreError>;

    /// Every row of these partitions, by partition.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot read.
    fn scan(&self, parts: Range<u8>, each: &mut dyn FnMut(Row)) -> Result<(), StoreError>;

    /// The postings asked for: by partition, within it by hour, within it as they were written.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot read.
    fn history(&self, query: &HistoryQuery, each: &mut dyn FnMut(HistoryEntry)) -> Result<(), StoreError>;

    /// Digests of the history of a partition, one for each of these UTC days (since the Unix epoch): the same where
    /// the postings are the same, and zero where there are none. A posting that is added changes that of its day.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot read.
    fn stamps(&self, part: u8, days: Range<i32>) -> Result<Vec<u128>, StoreError> {
        let mut stamps = vec![0_u128; days.len()];
        let query = HistoryQuery { owners: None, hours: days.start * 24..days.end * 24 };
        self.history(&query, &mut |entry| {
            let day = usize::try_from(entry.hour.div_euclid(24) - days.start).ok();
            let stamp = day.filter(|_| entry.owner.part() == part).and_then(|day| stamps.get_mut(day));
            if let Some(stamp) = stamp {
                *stamp = stamp.wrapping_add(posting_stamp(&entry.owner, entry.hour, entry.version, &entry.bytes));
            }
        })?;
        Ok(stamps)
    }

    /// Which ledger this is.
    fn identity(&self) -> Identity;

    /// What an acknowledgement means here.
    fn durability(&self) -> Durability;

    /// Keeps a small named document, in place of the one before; on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::BadDocument`] if name or content are too long, else as [`Store::commit`].
    fn put_document(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_documents(vec![(name.into(), bytes.into())])
    }

    /// Keeps many documents, each in place of the one before; on disk when this returns. Of a name that comes
    /// twice the last one counts. Each is there whole or not at all; after an error some may be.
    ///
    /// # Errors
    /// [`StoreError::BadDocument`] if a name or content is too long: nothing is written. Else as
    /// [`Store::commit`].
    fn put_documents(&self, documents: Vec<(String, Vec<u8>)>) -> Result<(), StoreError>;

    /// A document, if it was ever put.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot read.
    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// The documents with names from `from` to before `until`, in the names' order (that of their bytes).
    /// What is put meanwhile may be among them or not.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot read.
    fn documents(&self, from: &str, until: &str, each: &mut dyn FnMut(String, Vec<u8>)) -> Result<(), StoreError>;

    /// The number of the last commit.
    fn commit_number(&self) -> u64;

    /// The whole image of one commit, whose number is returned: rows, history and documents can
    /// never be of different moments. Commits go on meanwhile.
    ///
    /// # Errors
    /// The engine's, or the first that `each` answers.
    fn image(&self, each: &mut dyn FnMut(ImageItem) -> Result<(), StoreError>) -> Result<u64, StoreError>;

    /// Gives back to the disk what is needless, if that is much. Commits wait meanwhile, for about as long as
    /// an image takes. Called now and then, after an image.
    ///
    /// # Errors
    /// The engine's; what was acknowledged stays.
    fn tidy(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The digest of one posting.
pub(crate) fn posting_stamp(owner: &Owner, hour: i32, version: u64, bytes: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(owner.canonical().as_bytes()).update(&[0]);
    hasher.update(&hour.to_be_bytes()).update(&version.to_be_bytes()).update(bytes);
    let mut stamp = [0; 16];
    stamp.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_be_bytes(stamp)
}

/// Whether these commits keep the rules that every engine relies on.
pub(crate) fn check_commits(commits: &[OwnerCommit]) -> Result<(), StoreError> {
    let mut seen = std::collections::HashSet::with_capacity(commits.len());
    for commit in commits {
        let refuse = |why| Err(StoreError::BadCommit { owner: commit.owner.clone(), why });
        if !seen.insert(&commit.owner) {
            return refuse("the owner comes twice in one commit");
        }
        if commit.next <= commit.expect {
            return refuse("the version does not grow");
        }
        if commit.row.len() > ROW_MAX || commit.history.iter().any(|(_, bytes)| bytes.len() > ROW_MAX) {
            return refuse("a row or posting is longer than 16 MiB");
        }
        check_documents(&commit.documents)?;
    }
    Ok(())
}

/// Whether all of these documents may be kept.
pub(crate) fn check_documents(documents: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
    documents.iter().try_for_each(|(name, bytes)| check_document(name, bytes))
}

/// Whether a document may be kept.
fn check_document(name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let refuse = |why| Err(StoreError::BadDocument { name: name.chars().take(DOCUMENT_NAME_MAX).collect(), why });
    if name.is_empty() || name.len() > DOCUMENT_NAME_MAX || name.contains('\0') {
        return refuse("a name has 1 to 128 bytes, none of them zero");
    }
    if bytes.len() > DOCUMENT_MAX {
        return refuse("it is longer than 64 MiB");
    }
    Ok(())
}
