//! The drop folder: files with one message a line, for whatever cannot speak to a socket or came while nobody
//! listened.
//!
//! Files called `*.json` are read in the order of their names, once they are renamed into the folder or closed
//! there, and deleted when their marks are on disk. A file that cannot be used goes to `rejected/`, with its reasons
//! beside it. The kernel says when something comes: while nothing does, nothing is done.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::desk::Desk;
use super::message;
use super::refused::Refused;
use super::tally::Way;
use super::write_whole;

/// Largest file in bytes, and most lines of one.
const FILE_MAX: u64 = 1 << 20;
const LINES_MAX: usize = 10_000;
/// Most files taken at one look; those of the lowest names.
const FILES_MAX: usize = 1000;
/// Most files kept in `rejected/`, reasons included: the oldest names go first.
const REJECTED_MAX: usize = 200;
/// How soon a file is tried again whose devices may still be found.
const AGAIN: Duration = Duration::from_secs(2);
/// How often the folder is looked at although nobody said that something came: it may be on another machine's disk,
/// or have been taken away.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How a look at the folder went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// All files were taken.
    Done,
    /// There are more.
    More,
    /// One has to wait, and those behind it.
    Wait,
}

/// Takes files for as long as the agent runs.
pub async fn follow(folder: &Path, desk: &Desk) {
    let mut told = None;
    loop {
        let watch = match watch(folder) {
            Ok(watch) => watch,
            Err(why) => {
                if told.replace(why.clone()).as_ref() != Some(&why) {
                    tracing::warn!(folder = %folder.display(), why, "files about jobs are not taken; jobs.drop_dir names another folder, or \"off\"");
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
        };
        if told.take().is_some() {
            tracing::info!(folder = %folder.display(), "files about jobs are taken again");
        }
        take_until_gone(folder, &watch, desk).await;
    }
}

/// The kernel's word that something came to a folder.
type Watch = AsyncFd<OwnedFd>;

/// Makes the folder if it is not there, and asks the kernel to say when something comes.
#[expect(deprecated, reason = "its heir is unsafe for types that swap descriptors; an OwnedFd does not")]
fn watch(folder: &Path) -> Result<Option<Watch>, String> {
    let said = |error: std::io::Error| error.to_string();
    match fs::DirBuilder::new().create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(said(error)),
        _ => {}
    }
    if !fs::symlink_metadata(folder).map_err(said)?.is_dir() {
        return Err("it is no folder; links are not followed".into());
    }
    let events = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    let watched = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).and_then(|watch| {
        inotify::add_watch(&watch, folder, events | WatchFlags::ONLYDIR)?;
        Ok(watch)
    });
    // Without it (no more watches, another kind of disk) the folder is looked at every now and then.
    Ok(watched.ok().and_then(|watch| AsyncFd::new(watch).ok()))
}

async fn take_until_gone(folder: &Path, watch: &Option<Watch>, desk: &Desk) {
    loop {
        let look = take(folder, desk).await;
        let pause = match look {
            Look::Done => LOOK_EVERY,
            Look::More => Duration::ZERO,
            Look::Wait => AGAIN,
        };
        let comes = async {
            match watch {
                Some(watch) if look == Look::Done => something_came(watch).await,
                _ => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(pause, comes).await;
        if !folder.is_dir() {
            return;
        }
    }
}

/// Returns when the kernel says that something came; what it says in detail is to be seen in the folder.
async fn something_came(watch: &Watch) {
    let Ok(mut ready) = watch.readable().await else { return std::future::pending().await };
    let mut events = [0_u8; 4096];
    while rustix::io::read(watch.get_ref(), &mut events[..]).is_ok_and(|length| length > 0) {}
    ready.clear_ready();
}

/// Takes what is there.
async fn take(folder: &Path, desk: &Desk) -> Look {
    let names = names(folder);
    let mut taken = Vec::new();
    let mut look = if names.len() > FILES_MAX { Look::More } else { Look::Done };
    for name in names.iter().take(FILES_MAX) {
        let path = folder.join(name);
        match hear(&path, desk).await {
            Ok(()) => taken.push(path),
            Err(Trouble::Later) => {
                look = Look::Wait;
                break;
            }
            Err(Trouble::Rejected(why)) => reject(folder, name, &why),
        }
    }
    if !taken.is_empty() {
        // A file is let go of only when its marks cannot be lost any more.
        desk.save().await;
        for path in taken {
            if let Err(error) = fs::remove_file(&path) {
                tracing::error!(path = %path.display(), %error, "a file about jobs was taken and cannot be deleted: it would be taken again");
                look = Look::Wait;
            }
        }
    }
    look
}

/// The files to take, in the order of their names.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".json") && !name.starts_with('.')).take(100 * FILES_MAX).collect();
    names.sort();
    names
}

/// Why a file was not taken as it is.
enum Trouble {
    /// It will be, later.
    Later,
    /// It cannot be, for these reasons.
    Rejected(String),
}

async fn hear(path: &Path, desk: &Desk) -> Result<(), Trouble> {
    let refuse = |refused: Refused| {
        desk.tally().refuse(&refused);
        Trouble::Rejected(refused.to_string())
    };
    let text = content(path).map_err(|why| refuse(Refused::Malformed(why)))?;
    let lines: Vec<(usize, &str)> = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
    if lines.len() > LINES_MAX {
        return Err(refuse(Refused::Malformed(format!("more than {LINES_MAX} lines"))));
    }
    // All are checked first: what is put into the stream cannot be taken back.
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (number, line) in lines {
        match message::read(line.trim()).and_then(|word| desk.check(&word)) {
            Ok(ready) => good.push(ready),
            Err(refused) if refused.is_passing() => return Err(Trouble::Later),
            Err(refused) => {
                desk.tally().refuse(&refused);
                bad.push(format!("line {}: {refused}", number + 1));
            }
        }
    }
    for ready in good {
        if desk.put(ready, Way::File).await.is_err() {
            return Err(Trouble::Later);
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(Trouble::Rejected(bad.join("\n"))) }
}

/// A file's text. Links, pipes and what is too long are none.
fn content(path: &Path) -> Result<String, String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|error| error.to_string())?;
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no plain file".into());
    }
    let mut text = String::new();
    let read = file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if read as u64 > FILE_MAX { Err(format!("longer than {FILE_MAX} bytes")) } else { Ok(text) }
}

/// Puts a file aside with the reasons beside it.
fn reject(folder: &Path, name: &str, why: &str) {
    let rejected = folder.join("rejected");
    let said = why.lines().next().unwrap_or_default();
    tracing::warn!(file = name, why = said, "a file about jobs is rejected; see rejected/ beside it");
    let _ = fs::DirBuilder::new().create(&rejected);
    // First, so that whoever finds the file finds the reason.
    let _ = write_whole(&rejected, &format!("{name}.reason"), format!("{why}\n").as_bytes(), 0o644);
    if fs::rename(folder.join(name), rejected.join(name)).is_err() {
        // It must not be taken for a new one for ever.
        let _ = fs::remove_file(folder.join(name));
    }
    forget(&rejected);
}

/// Keeps the newest names only.
fn forget(rejected: &Path) {
    let entries = fs::read_dir(rejected).map(|entries| entries.flatten().map(|entry| entry.path()));
    let Ok(entries) = entries else { return };
    let mut all: Vec<PathBuf> = entries.collect();
    all.sort();
    for path in all.iter().take(all.len().saturating_sub(REJECTED_MAX)) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.json"), "{}").expect("written");
        std::os::unix::fs::symlink(at("a.json"), at("link.json")).expect("a link");
        fs::create_dir(at("folder.json")).expect("a folder");
        fs::write(at("long.json"), vec![b' '; FILE_MAX as usize + 1]).expect("written");
        assert_eq!(content(&at("a.json")), Ok("{}".into()));
        for (name, why) in [("link.json", "symbolic link"), ("folder.json", "no plain file"), ("long.json", "longer")] {
            let told = content(&at(name)).expect_err(name);
            assert!(told.contains(why), "{name}: {told}");
        }
    }

    #[test]
    fn files_are_taken_by_their_names_and_unfinished_ones_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["2.json", "10.json", ".3.json.77", "notes.txt", "1.json"] {
            fs::write(folder.path().join(name), "").expect("written");
        }
        assert_eq!(names(folder.path()), ["1.json", "10.json", "2.json"]);
    }

    #[test]
    fn what_is_rejected_is_kept_with_its_reason_but_not_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..REJECTED_MAX {
            let name = format!("{number:03}.json");
            fs::write(folder.path().join(&name), "x").expect("written");
            reject(folder.path(), &name, "line 1: no message\nline 2: no message");
        }
        let kept = fs::read_dir(folder.path().join("rejected")).expect("there").count();
        assert_eq!(kept, REJECTED_MAX);
        let reason = fs::read_to_string(folder.path().join("rejected/199.json.reason")).expect("a reason");
        assert!(reason.ends_with("line 2: no message\n"));
        assert!(names(folder.path()).is_empty());
    }
}
