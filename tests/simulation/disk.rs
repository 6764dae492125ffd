//! A disk for a spool that forgets, on a power loss, whatever it was not told to sync, and that can be
//! full.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agents::spool::{Disk, Medium, SpoolError};
use meter::{Context, Id, Record};

use crate::rng::Rng;

/// The files of one folder.
#[derive(Debug, Default)]
struct Image {
    segments: BTreeMap<u64, Arc<Mutex<File>>>,
    /// Deleted, but the folder was not synced since: a power loss brings them back.
    deleted: BTreeMap<u64, Arc<Mutex<File>>>,
    state: Option<Vec<u8>>,
    full: bool,
    /// How often something was deleted or replaced.
    evictions: u64,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// So many of them survive a power loss for certain.
    synced: usize,
}

/// A handle: clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Mutex<Image>>);

#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    file: Arc<Mutex<File>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimDisk {
    fn image(&self) -> MutexGuard<'_, Image> {
        held(&self.0)
    }

    /// Fills the disk, or makes room.
    pub(crate) fn fill(&self, full: bool) {
        self.image().full = full;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.image().full
    }

    /// How often something was deleted or replaced so far.
    pub(crate) fn evictions(&self) -> u64 {
        self.image().evictions
    }

    /// Loses what was not synced, or a part of it.
    pub(crate) fn lose_power(&self, rng: &mut Rng) {
        let mut image = self.image();
        let back = std::mem::take(&mut image.deleted);
        for (number, file) in back {
            if rng.percent(50) {
                image.segments.entry(number).or_insert(file);
            }
        }
        for file in image.segments.values() {
            let mut file = held(file);
            let lost = (file.bytes.len() - file.synced) as u64;
            let kept = file.synced + rng.below(lost + 1) as usize;
            file.bytes.truncate(kept);
            file.synced = kept;
        }
    }

    /// A copy of everything there is, as a snapshot of the machine holds it.
    pub(crate) fn copy(&self) -> Self {
        let image = self.image();
        let copied = |files: &BTreeMap<u64, Arc<Mutex<File>>>| {
            files.iter().map(|(number, file)| (*number, Arc::new(Mutex::new(held(file).clone())))).collect()
        };
        let (segments, deleted) = (copied(&image.segments), copied(&image.deleted));
        let copy =
            Image { segments, deleted, state: image.state.clone(), full: image.full, evictions: image.evictions };
        Self(Arc::new(Mutex::new(copy)))
    }

    /// Every intact record on the disk with its context, read without the spool's own code.
    pub(crate) fn records(&self) -> Vec<(Arc<Context>, Record)> {
        let image = self.image();
        let (mut records, mut contexts) = (Vec::new(), BTreeMap::<u64, Arc<Context>>::new());
        for file in image.segments.values() {
            let file = held(file);
            let mut rest = &file.bytes[..];
            while let Some((kind, payload, behind)) = frame(rest) {
                rest = behind;
                if kind == 1
                    && let Ok(context) = wire::decode_context(payload)
                {
                    contexts.insert(wire::context_id(&context), Arc::new(context));
                } else if kind == 2
                    && let Ok(record) = wire::decode_record(payload)
                    && let Some(context) = contexts.get(&record.context)
                {
                    records.push((Arc::clone(context), record));
                }
            }
        }
        records
    }
}

/// One frame: kind, payload, what follows it.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length == 0 || length > rest.len() || crc32fast::hash(&rest[..length]) != checksum {
        return None;
    }
    Some((rest[0], &rest[1..length], &rest[length..]))
}

fn no_room() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn refused(error: io::Error) -> SpoolError {
    SpoolError::Io("simulated".into(), error)
}

impl Disk for SimDisk {
    fn segments(&self) -> Result<Vec<u64>, SpoolError> {
        Ok(self.image().segments.keys().copied().collect())
    }

    fn segment(&self, number: u64, create: bool) -> Result<Box<dyn Medium>, SpoolError> {
        let mut image = self.image();
        let known = image.segments.get(&number).cloned();
        let file = match known {
            Some(file) => file,
            None if !create => return Err(refused(io::ErrorKind::NotFound.into())),
            None if image.full => return Err(refused(no_room())),
            None => Arc::clone(image.segments.entry(number).or_default()),
        };
        if create {
            image.deleted.clear();
        }
        Ok(Box::new(Handle { disk: self.clone(), file }))
    }

    fn replace(&self, number: u64, bytes: &[u8]) -> Result<Box<dyn Medium>, SpoolError> {
        let mut image = self.image();
        if image.full {
            return Err(refused(no_room()));
        }
        let file = Arc::new(Mutex::new(File { bytes: bytes.into(), synced: bytes.len() }));
        image.segments.insert(number, Arc::clone(&file));
        image.deleted.clear();
        image.evictions += 1;
        Ok(Box::new(Handle { disk: self.clone(), file }))
    }

    fn remove(&self, number: u64) -> Result<(), SpoolError> {
        let mut image = self.image();
        if let Some(file) = image.segments.remove(&number) {
            image.deleted.insert(number, file);
        }
        image.evictions += 1;
        Ok(())
    }

    fn state(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        Ok(self.image().state.clone())
    }

    fn set_state(&self, payload: &[u8]) -> Result<(), SpoolError> {
        let mut image = self.image();
        if image.full {
            return Err(refused(no_room()));
        }
        image.state = Some(payload.into());
        image.deleted.clear();
        Ok(())
    }
}

impl Medium for Handle {
    fn append(&mut self, bytes: &[u8], _: u64) -> io::Result<()> {
        if self.disk.is_full() {
            return Err(no_room());
        }
        held(&self.file).bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(held(&self.file).bytes.len() as u64)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let mut file = held(&self.file);
        file.bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        file.synced = file.synced.min(file.bytes.len());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut file = held(&self.file);
        file.synced = file.bytes.len();
        Ok(())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let file = held(&self.file);
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let found = file.bytes.get(start..start.saturating_add(into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn outlives_process(&self) -> bool {
        true
    }
}

/// Machines are told apart by 16 bytes.
pub(crate) const fn fingerprint(number: u8) -> Id {
    [number; 16]
}
