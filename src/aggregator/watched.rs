//! A file that is followed: read at start, read again when it changes, kept if the new one is bad.
//!
//! The file's time, size and inode are looked at every [`LOOK_EVERY`]: this works on every file
//! system, through symlinks (how Kubernetes swaps a ConfigMap) and for editors that replace files. A file
//! may name others; it is read again when any of them changes, and all of them come into force at once.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

/// How often files are looked at: soon enough for a person who waits for it.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the value from its file and those it names; the error is told to people as it is.
type Read<T> = dyn Fn(&Path, &mut Files) -> Result<T, String> + Send + Sync;

/// Largest file that another may name: 28 years of quarter-hours.
const FILE_MAX: u64 = 64 << 20;

/// The files that were read for a value, as they were then.
#[derive(Debug, Default)]
pub struct Files(Vec<(PathBuf, Option<Stamp>)>);

impl Files {
    /// The text of a file that belongs to the value: at most 64 MiB.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn text(&mut self, path: &Path) -> Result<String, String> {
        // The stamp first: a change between the two is seen again, never missed.
        self.0.push((path.to_owned(), stamp(path)));
        let told = |why: &dyn fmt::Display| format!("{} cannot be read: {why}", path.display());
        let size = std::fs::metadata(path).map_err(|error| told(&error))?.len();
        if size > FILE_MAX {
            return Err(told(&format!("it has {size} bytes; {FILE_MAX} are the most")));
        }
        std::fs::read_to_string(path).map_err(|error| told(&error))
    }

    fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, seen)| stamp(path) != *seen)
    }
}

/// The value of a file that is followed.
pub struct Watched<T> {
    current: ArcSwap<T>,
    failure: ArcSwapOption<String>,
    source: Option<Source<T>>,
}

struct Source<T> {
    path: PathBuf,
    read: Box<Read<T>>,
    seen: Mutex<Files>,
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
        Self::open_with(path, move |path, files| {
            files.0.push((path.to_owned(), stamp(path)));
            read(path)
        })
    }

    /// The same for a file that names others: `read` reads all of them, the file itself too, by [`Files::text`].
    ///
    /// # Errors
    /// As [`Watched::open`].
    pub fn open_with(
        path: impl Into<PathBuf>,
        read: impl Fn(&Path, &mut Files) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let (path, mut files) = (path.into(), Files::default());
        let current = ArcSwap::from_pointee(read(&path, &mut files)?);
        let source = Source { path, read: Box::new(read), seen: Mutex::new(files) };
        Ok(Self { current, failure: ArcSwapOption::empty(), source: Some(source) })
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
        if !source.seen.lock().unwrap_or_else(PoisonError::into_inner).have_changed() {
            return Look::Unchanged;
        }
        let mut files = Files::default();
        let read = (source.read)(&source.path, &mut files);
        *source.seen.lock().unwrap_or_else(PoisonError::into_inner) = files;
        let file = source.path.display();
        match read {
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
    fn a_file_is_read_again_when_one_that_it_names_changes_or_appears() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("sum"), folder.path().join("other"));
        std::fs::write(&path, "other").expect("written");
        std::fs::write(&other, "5").expect("written");
        let watched = Watched::open_with(&path, |path, files| {
            let name = files.text(path)?;
            let text = files.text(&path.with_file_name(name.trim()))?;
            text.trim().parse::<u32>().map_err(|error| error.to_string())
        });
        let watched = watched.expect("good files");
        assert_eq!((*watched.load(), watched.look()), (5, Look::Unchanged));
        std::fs::write(&other, "66").expect("written");
        assert_eq!((watched.look(), *watched.load()), (Look::Reloaded, 66));
        std::fs::remove_file(&other).expect("removed");
        assert!(matches!(watched.look(), Look::Kept(why) if why.contains("other")));
        assert_eq!((*watched.load(), watched.look()), (66, Look::Unchanged));
        std::fs::write(&other, "7").expect("written");
        assert_eq!((watched.look(), *watched.load()), (Look::Reloaded, 7), "it was missing, and is there");
    }

    #[test]
    fn a_bad_file_at_start_is_an_error() {
        assert!(Watched::open("/nowhere/at/all", number).is_err());
    }
}
