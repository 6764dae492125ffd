//! Backups: images that an operator puts somewhere, and the way back from one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::audit::{Report, audit_image};
use crate::directory::{self, io_error};
use crate::export::ImageFile;
use crate::port::StoreError;

/// A backup that is being written. Until [`BackupFile::finish`] it has another name; dropped before,
/// nothing is left of it.
#[derive(Debug)]
pub struct BackupFile {
    file: File,
    partial: PathBuf,
    directory: PathBuf,
}

impl BackupFile {
    /// Begins a backup in `directory`, which is made if it is missing (for its owner only). One that
    /// is there keeps its permissions; the file is for its owner only in any case.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it cannot be written there.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        if !directory.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io_error(directory))?;
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            directory::sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
        let partial = directory.join(format!("backup-{}.partial", std::process::id()));
        // Never through a link, and never into what somebody else is writing.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = match options.open(&partial) {
            // What is left of a process of the same number that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&partial).and_then(|()| options.open(&partial))
            }
            opened => opened,
        };
        let file = file.map_err(io_error(&partial))?;
        Ok(Self { file, partial, directory: directory.into() })
    }

    /// Puts the backup on disk, verifies it, and gives it its name; returns its path and what it holds.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it did not arrive whole; [`StoreError::Io`] if the disk fails.
    /// Nothing is left in either case.
    pub fn finish(self) -> Result<(PathBuf, Report), StoreError> {
        self.file.sync_all().map_err(io_error(&self.partial))?;
        let report = audit_image(&self.partial)?;
        let path =
            self.directory.join(format!("backup-{:020}-{:020}.image", report.identity.generation, report.commit));
        fs::rename(&self.partial, &path).map_err(io_error(&path))?;
        directory::sync_directory(&self.directory)?;
        Ok((path, report))
    }
}

impl Write for BackupFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BackupFile {
    fn drop(&mut self) {
        // Gone already if it got its name.
        let _ = fs::remove_file(&self.partial);
    }
}

/// The images that `place` means: a file itself; of a directory all images in it, the newest first by
/// what their heads say. Their checksums are not verified here.
///
/// # Errors
/// [`StoreError::Absent`] if there is no such place, or no image in it.
pub fn images_at(place: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let absent = |why| Err(StoreError::Absent { path: place.into(), why });
    if !place.exists() {
        return absent("there is no such file or directory");
    }
    if !place.is_dir() {
        return Ok(vec![place.into()]);
    }
    let is_image = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "image");
    let position = |path: &PathBuf| {
        let head = ImageFile::open_unverified(path).ok();
        head.map_or((0, 0), |head| (head.identity.generation, head.commit))
    };
    let mut images: Vec<_> = directory::entries(place)?.into_iter().filter(is_image).collect();
    images.sort_by_cached_key(|path| std::cmp::Reverse((position(path), path.clone())));
    if images.is_empty() { absent("there is no image (*.image) in this directory") } else { Ok(images) }
}
