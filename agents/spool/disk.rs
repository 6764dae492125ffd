//! What a spool is written to: a folder, memory, or what a test puts in their place.

use std::fmt::Debug;
use std::io;

use super::SpoolError;

/// Where a spool keeps its segments and its state.
pub trait Disk: Debug + Send {
    /// The numbers of the segments there are, ascending.
    ///
    /// # Errors
    /// [`SpoolError`] if they cannot be listed.
    fn segments(&self) -> Result<Vec<u64>, SpoolError>;

    /// Opens a segment, or makes it.
    ///
    /// # Errors
    /// [`SpoolError`] if that is impossible.
    fn segment(&self, number: u64, create: bool) -> Result<Box<dyn Medium>, SpoolError>;

    /// Replaces a segment as a whole; on disk when this returns. The old one or the new one is there, never
    /// a mixture.
    ///
    /// # Errors
    /// [`SpoolError`]; the old one stays.
    fn replace(&self, number: u64, bytes: &[u8]) -> Result<Box<dyn Medium>, SpoolError>;

    /// Deletes a segment.
    ///
    /// # Errors
    /// [`SpoolError`] if that is impossible.
    fn remove(&self, number: u64) -> Result<(), SpoolError>;

    /// The state as it was last set; nothing if there is none or it is damaged.
    ///
    /// # Errors
    /// [`SpoolError`] if it cannot be read.
    fn state(&self) -> Result<Option<Vec<u8>>, SpoolError>;

    /// Replaces the state as a whole; on disk when this returns.
    ///
    /// # Errors
    /// [`SpoolError`]; the old one stays.
    fn set_state(&self, payload: &[u8]) -> Result<(), SpoolError>;
}

/// One segment's bytes.
pub trait Medium: Debug + Send {
    /// Appends bytes at the end, which is at `at`; what was written of a failed attempt is cut off again.
    ///
    /// # Errors
    /// The system's.
    fn append(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// How many bytes there are.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are none.
    ///
    /// # Errors
    /// The system's.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Cuts off everything from `len` on.
    ///
    /// # Errors
    /// The system's.
    fn cut(&mut self, len: u64) -> io::Result<()>;

    /// Makes the bytes survive a power loss.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;

    /// Fills `into` with the bytes from `at` on.
    ///
    /// # Errors
    /// The system's; there may be fewer bytes.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// Whether a restarted process would find the bytes again.
    fn outlives_process(&self) -> bool;
}

/// Memory: survives nothing, but sampling goes on.
#[derive(Debug, Default)]
pub(crate) struct Memory(Vec<u8>);

impl Medium for Memory {
    fn append(&mut self, bytes: &[u8], _: u64) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let found = self.0.get(start..start.saturating_add(into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn outlives_process(&self) -> bool {
        false
    }
}
