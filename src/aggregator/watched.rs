//! A file that is followed: read at start, read again when it changes, kept if the new one is bad.
//!
//! The file's time, size and inode are looked at every [`LOOK_EVERY`]: this works on every file
//! system, through symlinks (how Kubernetes swaps a ConfigMap) and for editors that replace files.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

/// How often files are looked at: soon enough for a person who waits for it.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the value from its file; the error is told to people as it is.
type Read<T> = dyn Fn(&Path) -> Result<T, String> + Send + Sync;

/// The value of a file that is followed.
pub struct Watched<T> {
    current: ArcSwap<T>,
    failure: ArcSwapOption<String>,
    source: Option<Source<T>>,
}

struct Source<T> {
    path: PathBuf,
    read: Box<Read<T>>,
    seen: Mutex<Option<Stamp>>,
}

/// What tells one version of a file from the next.
type Stamp = (i64, i64, u64, u64, u64);

/// What a look at the file brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The file is as it was.
    Unchanged,
    /// The file changed and is in force.
    Reloaded,
    /// The file changed and cannot be used: what was in force stays.
    Kept(String),
}

impl<T> Watched<T> {
    /// A value that comes from no file.
    #[must_use]
    pub fn fixed(value: T) -> Self {
        Self { current: ArcSwap::from_pointee(value), failure: ArcSwapOption::empty(), source: None }
    }

    /// Reads the file and follows it from here on.
    ///
    /// # Errors
    /// What `read` says of the file: nothing is in force yet that could be kept.
    pub fn open(
        path: impl Into<PathBuf>,
        read: impl Fn(&Path) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let path = path.into();
        // The stamp first: a change between the two is seen again, never missed.
        let seen = Mutex::new(stamp(&path));
        let current = ArcSwap::from_pointee(read(&path)?);
        Ok(Self { current, failure: ArcSwapOption::empty(), source: Some(Source { path, read: Box::new(read), seen }) })
    }

    /// What is in force.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// The file, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.source.as_ref().map(|source| source.path.as_path())
    }

    /// Why the file as it is now is not in force, if it is not.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<String>> {
        self.failure.load_full()
    }

    /// Looks at the file and reads it if it changed. Blocks for as long as reading takes.
    pub fn look(&self) -> Look {
        let Some(source) = &self.source else { return Look::Unchanged };
        let stamp = stamp(&source.path);
        {
            let mut seen = source.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == stamp {
                return Look::Unchanged;
            }
            *seen = stamp;
        }
        let file = source.path.display();
        match (source.read)(&source.path) {
            Ok(value) => {
                self.current.store(Arc::new(value));
                self.failure.store(None);
                tracing::info!(%file, "file reloaded");
                Look::Reloaded
            }
            Err(why) => {
                tracing::warn!(%file, %why, "the changed file cannot be used; what was in force stays");
                self.failure.store(Some(Arc::new(why.clone())));
                Look::Kept(why)
            }
        }
    }

    /// Looks at the file for ever. Reading happens off the caller's thread.
    pub async fn follow(self: Arc<Self>)
    where
        T: Send + Sync + 'static,
    {
        if self.source.is_none() {
            return;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let this = Arc::clone(&self);
            if actix_web::web::block(move || this.look()).await.is_err() {
                tracing::error!("reading a followed file panicked; what was in force stays");
            }
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path()).field("failure", &self.failure()).finish_non_exhaustive()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino(), meta.dev()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(path: &Path) -> Result<u32, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        text.trim().parse().map_err(|_| format!("{text:?} is no number"))
    }

    #[test]
    fn a_bad_file_keeps_the_old_value_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("value");
        std::fs::write(&path, "1").expect("written");
        let watched = Watched::open(&path, number).expect("a good file");
        assert_eq!((*watched.load(), watched.look()), (1, Look::Unchanged));

        std::fs::write(&path, "rubbish").expect("written");
        assert!(matches!(watched.look(), Look::Kept(why) if why.contains("rubbish")));
        assert_eq!(*watched.load(), 1);
        assert!(watched.failure().is_some());
        assert_eq!(watched.look(), Look::Unchanged, "the same bad file is told once");

        std::fs::write(&path, "22").expect("written");
        assert_eq!((watched.look(), *watched.load(), watched.failure()), (Look::Reloaded, 22, None));

        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(watched.look(), Look::Kept(_)));
        assert_eq!(*watched.load(), 22);
    }

    #[test]
    fn a_bad_file_at_start_is_an_error() {
        assert!(Watched::open("/nowhere/at/all", number).is_err());
    }
}
