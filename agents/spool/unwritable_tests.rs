//! A disk that is away: full, read-only, or something else lies in its place.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use super::folder::Folder;
use super::room_tests::{assert_exact, booked, fill};
use super::*;

const MACHINE: Id = [7; 16];

/// A folder that can be switched off, as a full or read-only disk is.
#[derive(Debug)]
struct Flaky(Folder, Arc<AtomicBool>);

#[derive(Debug)]
struct FlakyFile(Box<dyn Medium>, Arc<AtomicBool>);

fn away() -> SpoolError {
    SpoolError::Io("/spool".into(), io::ErrorKind::StorageFull.into())
}

impl Disk for Flaky {
    fn segments(&self) -> Result<Vec<u64>, SpoolError> {
        self.0.segments()
    }
    fn segment(&self, number: u64, create: bool) -> Result<Box<dyn Medium>, SpoolError> {
        if create && self.1.load(Ordering::Relaxed) {
            return Err(away());
        }
        Ok(Box::new(FlakyFile(self.0.segment(number, create)?, Arc::clone(&self.1))))
    }
    fn replace(&self, number: u64, bytes: &[u8]) -> Result<Box<dyn Medium>, SpoolError> {
        if self.1.load(Ordering::Relaxed) {
            return Err(away());
        }
        Ok(Box::new(FlakyFile(self.0.replace(number, bytes)?, Arc::clone(&self.1))))
    }
    fn remove(&self, number: u64) -> Result<(), SpoolError> {
        self.0.remove(number)
    }
    fn state(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        self.0.state()
    }
    fn set_state(&self, payload: &[u8]) -> Result<(), SpoolError> {
        if self.1.load(Ordering::Relaxed) { Err(away()) } else { self.0.set_state(payload) }
    }
}

impl Medium for FlakyFile {
    fn append(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.1.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { self.0.append(bytes, at) }
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.cut(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(at, into)
    }
    fn outlives_process(&self) -> bool {
        true
    }
}

#[test]
fn a_disk_that_comes_back_gets_what_was_held_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    let full = Arc::new(AtomicBool::new(false));
    let disk = Flaky(Folder::open(&path).expect("opens"), Arc::clone(&full));
    let mut spool = Spool::open_on(Box::new(disk), MACHINE, 64 << 10).expect("opens");
    fill(&mut spool, 0..=50);
    full.store(true, Ordering::Relaxed);
    fill(&mut spool, 51..=400);
    spool.sync();
    assert!(spool.degraded());
    full.store(false, Ordering::Relaxed);
    fill(&mut spool, 401..=410);
    spool.sync();
    assert!(!spool.degraded());
    fill(&mut spool, 411..=420);
    let (stream, head) = (spool.stream(), spool.head());
    drop(spool);
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    assert_eq!((spool.stream(), spool.head()), (stream, head), "as if the disk had never been away");
    assert_exact(&booked(&mut spool), 420);
}

#[test]
fn full_of_unacknowledged_records_on_a_full_disk_it_coalesces_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    let full = Arc::new(AtomicBool::new(false));
    let disk = Flaky(Folder::open(&path).expect("opens"), Arc::clone(&full));
    let mut spool = Spool::open_on(Box::new(disk), MACHINE, 64 << 10).expect("opens");
    fill(&mut spool, 0..=500);
    full.store(true, Ordering::Relaxed);
    fill(&mut spool, 501..=9000);
    assert!(spool.degraded() && spool.dropped() == 0 && spool.bytes() <= 64 << 10);
    full.store(false, Ordering::Relaxed);
    spool.sync();
    assert!(!spool.degraded());
    drop(spool);
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    assert_exact(&booked(&mut spool), 9000);
}

#[test]
fn a_folder_that_cannot_be_opened_at_the_start_is_moved_into_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    let mut before = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    fill(&mut before, 0..=30);
    drop(before);
    let aside = folder.path().join("aside");
    fs::rename(&path, &aside).expect("a folder of ours");
    fs::write(&path, "in the way").expect("a file");
    assert!(Spool::open(&path, MACHINE, 64 << 10).is_err());
    let mut spool = Spool::in_memory_until(&path, MACHINE, 64 << 10).expect("memory");
    fill(&mut spool, 31..=60);
    spool.sync();
    assert!(spool.degraded());
    fs::remove_file(&path).expect("a file");
    fs::rename(&aside, &path).expect("a folder of ours");
    let stream = spool.stream();
    spool.sync();
    assert!(!spool.degraded() && spool.stream() != stream);
    fill(&mut spool, 61..=70);
    drop(spool);
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    assert_exact(&booked(&mut spool), 70);
}

#[test]
fn what_a_folder_on_a_full_disk_holds_is_sent_before_what_is_new() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool");
    let mut before = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    fill(&mut before, 0..=30);
    drop(before);
    // The agent before this one delivered up to second 27; then its disk was full, and it was killed.
    let full = Arc::new(AtomicBool::new(true));
    let disk = Flaky(Folder::open(&path).expect("opens"), Arc::clone(&full));
    let mut spool = Spool::open_on(Box::new(disk), MACHINE, 64 << 10).expect("what is there can be read");
    assert!(spool.degraded());
    fill(&mut spool, 31..=60);
    // A ledger that got 31 after 27 would have joined the two, and fenced 28 to 30.
    assert_exact(&booked(&mut spool), 60);
    full.store(false, Ordering::Relaxed);
    spool.sync();
    assert!(!spool.degraded());
    let (stream, head) = (spool.stream(), spool.head());
    drop(spool);
    let mut spool = Spool::open(&path, MACHINE, 64 << 10).expect("opens");
    assert_eq!((spool.stream(), spool.head()), (stream, head), "as if the disk had never been away");
    assert_exact(&booked(&mut spool), 60);
}
