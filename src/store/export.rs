//! Exports: a store's whole image of one commit in one file, to begin again from if the database is
//! lost or damaged.
//!
//! **Format.** 16 bytes of name, a version byte, frames, and the BLAKE3 of all that. A frame is a
//! length (4 bytes, little-endian) and that many bytes of one encoded item; length 0 ends them. The
//! first item is the head, the last one tells how many lie between.
//!
//! **Writing.** Into a temporary file, synced, renamed, and the directory synced: under its final
//! name an export is whole or absent. Its name orders by generation, then by commit. A backup is the
//! same image, written wherever an operator wants it ([`write_image`]).
//!
//! **Reading.** The checksum of the whole file is verified before anything of it is used.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};

use crate::directory::{self, io_error};
use crate::port::{DOCUMENT_MAX, HistoryEntry, Identity, ImageItem, Row, Store, StoreError};

/// What an export begins with.
const MAGIC: &[u8; 16] = b"wattledger image";
/// The version of the format.
const VERSION: u8 = 1;
/// Longest frame in bytes: the longest document and its name.
const FRAME_MAX: usize = DOCUMENT_MAX + 4096;
/// What is said of a file that is something else.
const NO_IMAGE: &str = "it is no export or backup of a ledger";
/// How exports are called.
const SUFFIX: &str = "image";
/// What an export is called until it is whole.
const PARTIAL: &str = "export.partial";

/// What a frame holds. Frozen: a change needs a new [`VERSION`].
#[derive(Encode, Decode)]
enum ItemV1 {
    Head { ledger: [u8; 16], generation: u64, commit: u64 },
    Row { owner: String, version: u64, bytes: Vec<u8> },
    History { owner: String, hour: i32, version: u64, bytes: Vec<u8> },
    Document { name: String, bytes: Vec<u8> },
    End { items: u64 },
}

/// Writes the image of `store` into `directory` and keeps the newest `keep` exports there. Returns
/// the file; if nothing was committed since the last export, that one stands.
///
/// # Errors
/// [`StoreError`] if the store cannot be read or the file not be written; earlier exports stay.
pub fn export_to(store: &dyn Store, directory: &Path, keep: usize) -> Result<PathBuf, StoreError> {
    directory::prepare(directory)?;
    let generation = store.identity().generation;
    let named = |commit: u64| directory.join(format!("export-{generation:020}-{commit:020}.{SUFFIX}"));
    let standing = named(store.commit_number());
    if standing.exists() {
        return Ok(standing);
    }
    let partial = directory.join(PARTIAL);
    let written = write_partial(store, &partial);
    if written.is_err() {
        // On a full disk what was begun would take the last room from commits. If it cannot be removed either,
        // the next export overwrites it.
        let _ = fs::remove_file(&partial);
    }
    let path = named(written?);
    fs::rename(&partial, &path).map_err(io_error(&path))?;
    directory::sync_directory(directory)?;
    for old in exports_in(directory)?.into_iter().skip(keep.max(1)) {
        fs::remove_file(&old).map_err(io_error(&old))?;
    }
    Ok(path)
}

/// Writes an image that has no final name yet; gives its commit.
fn write_partial(store: &dyn Store, partial: &Path) -> Result<u64, StoreError> {
    let out = BufWriter::with_capacity(1 << 20, directory::open_for_writing(partial, true)?);
    let mut file = ImageWriter::new(out, partial);
    let commit = file.write_image(store)?;
    let file = file.finish()?.into_inner().map_err(|error| io_error(partial)(error.into_error()))?;
    file.sync_all().map_err(io_error(partial))?;
    Ok(commit)
}

/// The exports in a directory, newest first; none if there is no such directory.
///
/// # Errors
/// [`StoreError::Io`] if the directory cannot be read.
pub fn exports_in(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let is_export = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("export-") && name.ends_with(".image")
    };
    let mut exports: Vec<PathBuf> = directory::entries(directory)?.into_iter().filter(is_export).collect();
    exports.sort_unstable_by(|a, b| b.cmp(a));
    Ok(exports)
}

/// The generation and the commit that an export's name tells.
pub(crate) fn position_of(export: &Path) -> Option<(u64, u64)> {
    let (generation, commit) = export.file_stem()?.to_str()?.strip_prefix("export-")?.split_once('-')?;
    Some((generation.parse().ok()?, commit.parse().ok()?))
}

/// Writes the image of `store` to `out`, whatever that is, and returns its commit. Commits go on
/// meanwhile. Whoever reads it knows by its checksum whether it arrived whole.
///
/// # Errors
/// [`StoreError`] if the store cannot be read or `out` not be written.
pub fn write_image(store: &dyn Store, out: impl Write) -> Result<u64, StoreError> {
    let mut image = ImageWriter::new(out, Path::new("the image"));
    let commit = image.write_image(store)?;
    image.finish()?.flush().map_err(io_error(Path::new("the image")))?;
    Ok(commit)
}

struct ImageWriter<W> {
    out: W,
    hash: blake3::Hasher,
    path: PathBuf,
}

impl<W: Write> ImageWriter<W> {
    fn new(out: W, path: &Path) -> Self {
        Self { out, hash: blake3::Hasher::new(), path: path.into() }
    }

    fn write_image(&mut self, store: &dyn Store) -> Result<u64, StoreError> {
        self.write(MAGIC)?;
        self.write(&[VERSION])?;
        let Identity { ledger, generation } = store.identity();
        // The head's own commit number is a lower bound, known before the image; the file's name has
        // the exact one, and numbering goes on after the larger of it and what a restore needs.
        self.item(&ItemV1::Head { ledger, generation, commit: store.commit_number() })?;
        let mut items = 0;
        let commit = store.image(&mut |item| {
            items += 1;
            self.item(&match item {
                ImageItem::Row(row) => {
                    ItemV1::Row { owner: row.owner.canonical(), version: row.version, bytes: row.bytes }
                }
                ImageItem::History(entry) => ItemV1::History {
                    owner: entry.owner.canonical(),
                    hour: entry.hour,
                    version: entry.version,
                    bytes: entry.bytes,
                },
                ImageItem::Document { name, bytes } => ItemV1::Document { name, bytes },
            })
        })?;
        self.item(&ItemV1::End { items })?;
        self.write(&0_u32.to_le_bytes())?;
        Ok(commit)
    }

    fn item(&mut self, item: &ItemV1) -> Result<(), StoreError> {
        let bytes = bincode::encode_to_vec(item, bincode::config::standard())
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        let len = u32::try_from(bytes.len()).map_err(|_| StoreError::Failed("an item beyond 4 GiB".into()))?;
        self.write(&len.to_le_bytes())?;
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.out.write_all(bytes).map_err(io_error(&self.path))
    }

    fn finish(mut self) -> Result<W, StoreError> {
        let hash = self.hash.finalize();
        self.out.write_all(hash.as_bytes()).map_err(io_error(&self.path))?;
        Ok(self.out)
    }
}

/// An export that was verified and can be read.
pub(crate) struct ImageFile {
    path: PathBuf,
    input: BufReader<File>,
    /// Whose image it is.
    pub identity: Identity,
    /// A commit number that the restored store must not go below.
    pub commit: u64,
}

impl ImageFile {
    /// Verifies the file and reads its head.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        verify_checksum(path)?;
        Self::open_unverified(path)
    }

    /// Reads the head of a file that may be damaged behind it.
    pub(crate) fn open_unverified(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(io_error(path))?;
        let identity = Identity { ledger: [0; 16], generation: 0 };
        let mut image = Self { path: path.into(), input: BufReader::with_capacity(1 << 20, file), identity, commit: 0 };
        let mut begin = [0; MAGIC.len() + 1];
        image.input.read_exact(&mut begin).map_err(io_error(path))?;
        if begin[..MAGIC.len()] != *MAGIC {
            return Err(image.damaged(NO_IMAGE));
        }
        if begin[MAGIC.len()] != VERSION {
            return Err(image.damaged("its format is one that this program does not know"));
        }
        let Some(ItemV1::Head { ledger, generation, commit }) = image.next()? else {
            return Err(image.damaged("it has no head"));
        };
        (image.identity, image.commit) = (Identity { ledger, generation }, commit);
        Ok(image)
    }

    /// Reads all items.
    pub(crate) fn read(mut self, mut each: impl FnMut(ImageItem) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut seen = 0;
        loop {
            let item = match self.next()? {
                Some(ItemV1::Row { owner, version, bytes }) => {
                    ImageItem::Row(Row { owner: self.owner(&owner)?, version, bytes })
                }
                Some(ItemV1::History { owner, hour, version, bytes }) => {
                    ImageItem::History(HistoryEntry { owner: self.owner(&owner)?, hour, version, bytes })
                }
                Some(ItemV1::Document { name, bytes }) => ImageItem::Document { name, bytes },
                Some(ItemV1::End { items }) if items == seen => return Ok(()),
                _ => return Err(self.damaged("it has fewer or more items than it says")),
            };
            seen += 1;
            each(item)?;
        }
    }

    fn next(&mut self) -> Result<Option<ItemV1>, StoreError> {
        let mut len = [0; 4];
        self.input.read_exact(&mut len).map_err(io_error(&self.path))?;
        let len = u32::from_le_bytes(len) as usize;
        if len == 0 {
            return Ok(None);
        }
        if len > FRAME_MAX {
            return Err(self.damaged("an item is longer than any can be"));
        }
        let mut frame = vec![0; len];
        self.input.read_exact(&mut frame).map_err(io_error(&self.path))?;
        let config = bincode::config::standard().with_limit::<{ FRAME_MAX + 4096 }>();
        match bincode::decode_from_slice(&frame, config) {
            Ok((item, used)) if used == len => Ok(Some(item)),
            Ok(_) => Err(self.damaged("an item is shorter than its frame")),
            Err(error) => Err(self.damaged(error)),
        }
    }

    fn owner(&self, text: &str) -> Result<meter::Owner, StoreError> {
        text.parse().map_err(|error| self.damaged(error))
    }

    fn damaged(&self, why: impl ToString) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), why: why.to_string() }
    }
}

fn verify_checksum(path: &Path) -> Result<(), StoreError> {
    let damaged = |why: &str| Err(StoreError::Damaged { path: path.into(), why: why.into() });
    let file = File::open(path).map_err(io_error(path))?;
    let len = file.metadata().map_err(io_error(path))?.len();
    let trailer = blake3::OUT_LEN as u64;
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut begin = [0; MAGIC.len()];
    if len < MAGIC.len() as u64 || input.read_exact(&mut begin).is_err() || begin != *MAGIC {
        return damaged(NO_IMAGE);
    }
    if len < MAGIC.len() as u64 + 1 + trailer {
        return damaged("it is too short to be an export");
    }
    let mut hash = blake3::Hasher::new();
    hash.update(&begin);
    let rest = len - trailer - MAGIC.len() as u64;
    std::io::copy(&mut input.by_ref().take(rest), &mut hash).map_err(io_error(path))?;
    let mut expected = [0; blake3::OUT_LEN];
    input.read_exact(&mut expected).map_err(io_error(path))?;
    if hash.finalize() != expected {
        damaged("its checksum does not match: it was cut short or changed")
    } else {
        Ok(())
    }
}
