//! The Unix socket: one message a line, one answer a line.
//!
//! The answer comes when the mark is in the spool's hands, which save it to disk within five seconds. Whoever hangs
//! holds a place among sixty-four for five seconds and blocks nobody.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, chownat};
use rustix::process::Gid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::desk::Desk;
use super::message::{self, LINE_MAX};
use super::refused::Refused;
use super::tally::Way;

/// Connections at once; more are closed unheard.
const CONNECTIONS_MAX: usize = 64;
/// Messages of one connection.
const LINES_MAX: usize = 10_000;
/// Most bytes of a line that is too long that are passed over, so that its answer arrives.
const REST_MAX: u64 = 16 << 20;
/// How long a line may take to arrive, and an answer to be taken.
const LINE_TIME: Duration = Duration::from_secs(5);
/// Who may speak: the owner and the group.
const MODE: u32 = 0o660;

/// Where a socket lies, so that it can be taken away.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    inode: (u64, u64),
}

impl Place {
    /// Takes the socket away, if it is still this one.
    pub fn leave(&self) {
        if inode(&self.path) == Some(self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Makes the socket. A stale one is replaced; anything else in its place, and a socket that somebody listens on,
/// are left alone.
///
/// # Errors
/// Why not, in words.
pub fn listen(path: &Path, group: &str) -> Result<(UnixListener, Place), String> {
    let folder = path.parent().ok_or("it is no path of a file")?;
    make_folder(folder)?;
    let group = if group.is_empty() { None } else { Some(gid(group, Path::new("/etc/group"))?) };
    is_free(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Under its own name it is reachable only once its permissions are set.
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    let listener = UnixListener::bind(&temporary).map_err(said)?;
    let ready = fs::set_permissions(&temporary, Permissions::from_mode(MODE))
        .and_then(|()| match group {
            Some(group) => Ok(chownat(CWD, &temporary, None, Some(group), AtFlags::SYMLINK_NOFOLLOW)?),
            None => Ok(()),
        })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = ready {
        let _ = fs::remove_file(&temporary);
        return Err(said(error));
    }
    let inode = inode(path).ok_or("the socket is gone")?;
    Ok((listener, Place { path: path.into(), inode }))
}

/// The folder must be a real one, and not everybody's: whoever can write there could take the socket's place.
fn make_folder(folder: &Path) -> Result<(), String> {
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    }
    let found = fs::symlink_metadata(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if !found.is_dir() {
        return Err(format!("{} is no folder; links are not followed", folder.display()));
    }
    if found.mode() & 0o002 != 0 {
        return Err(format!("{} is writable for everybody: chmod o-w, or another folder", folder.display()));
    }
    Ok(())
}

fn is_free(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", path.display())),
        Ok(found) if !found.file_type().is_socket() => {
            Err(format!("{} is there and no socket: it is left alone", path.display()))
        }
        // A socket that nobody listens on refuses at once.
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err("another agent listens there".into()),
            Err(_) => Ok(()),
        },
    }
}

/// A group by number, or by name as the file of the local groups has it.
fn gid(group: &str, file: &Path) -> Result<Gid, String> {
    let of = |id: &str| id.parse().ok().filter(|id| *id != u32::MAX).map(Gid::from_raw);
    if let Some(gid) = of(group) {
        return Ok(gid);
    }
    let lines = fs::read_to_string(file).unwrap_or_default();
    let named = lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)).flatten()
    });
    let unknown = || {
        format!(
            "jobs.socket_group = {group:?}: {} has no such group; of one that is kept elsewhere give the number",
            file.display()
        )
    };
    named.and_then(of).ok_or_else(unknown)
}

/// Answers whoever connects.
pub async fn serve(listener: UnixListener, desk: Rc<Desk>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of files, or the caller is gone again: neither is cured by haste.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
        let desk = Rc::clone(&desk);
        actix_rt::spawn(async move {
            // Whatever goes wrong here is the caller's.
            let _ = converse(stream, &desk).await;
            drop(permit);
        });
    }
}

async fn converse(mut stream: UnixStream, desk: &Desk) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read);
    let mut line = Vec::new();
    for _ in 0..LINES_MAX {
        line.clear();
        let mut limited = (&mut lines).take(LINE_MAX as u64 + 1);
        let arrives = limited.read_until(b'\n', &mut line);
        let Ok(arrived) = tokio::time::timeout(LINE_TIME, arrives).await else { return Ok(()) };
        if arrived? == 0 {
            return Ok(());
        }
        let too_long = line.len() > LINE_MAX;
        let answer = if too_long {
            let refused = Refused::Malformed(format!("longer than {LINE_MAX} bytes"));
            desk.tally().refuse(&refused);
            told(&refused)
        } else {
            answer(&line, desk).await
        };
        let text = format!("{answer}\n");
        let taken = tokio::time::timeout(LINE_TIME, write.write_all(text.as_bytes())).await;
        if too_long {
            // Closed with something unread, the caller would see no answer.
            let mut rest = lines.take(REST_MAX);
            let _ = tokio::time::timeout(LINE_TIME, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
            return Ok(());
        }
        if taken.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn answer(line: &[u8], desk: &Desk) -> Value {
    let text = std::str::from_utf8(line).map_err(|_| Refused::Malformed("it is not UTF-8".into()));
    let word = text.and_then(|text| message::read(text.trim()));
    let word = word.inspect_err(|refused| desk.tally().refuse(refused));
    let heard = match word {
        Ok(word) => desk.hear(&word, Way::Socket).await,
        Err(refused) => Err(refused),
    };
    match heard {
        Ok(at) => json!({"ok": true, "at": shown(at)}),
        Err(refused) => told(&refused),
    }
}

fn told(refused: &Refused) -> Value {
    let mut answer = json!({"error": refused.to_string()});
    if refused.is_passing() {
        answer["later"] = Value::Bool(true);
    }
    answer
}

/// Nanoseconds since the Unix epoch in words.
fn shown(at: i64) -> String {
    jiff::Timestamp::from_nanosecond(at.into()).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Blocking;

    use super::*;

    #[actix_rt::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run").join("agent.sock");
        let (first, place) = listen(&path, "").expect("the first");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, MODE);
        assert!(Blocking::connect(&path).is_ok());
        assert!(listen(&path, "").expect_err("taken").contains("another agent"));
        drop(first);
        assert!(path.exists(), "stale");
        let (_second, newer) = listen(&path, "").expect("replaced");
        place.leave();
        assert!(path.exists(), "the older agent leaves the newer one's socket alone");
        newer.leave();
        assert!(!path.exists());
    }

    #[actix_rt::test]
    async fn nothing_but_a_socket_is_replaced_and_no_link_is_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "precious").expect("written");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("a link");
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).expect("a link");
        for name in ["file", "link", "dangling"] {
            assert!(listen(&at(name), "").expect_err(name).contains("left alone"), "{name}");
        }
        assert_eq!(fs::read_to_string(at("file")).expect("still there"), "precious");
        std::os::unix::fs::symlink(folder.path(), at("folder")).expect("a link");
        assert!(listen(&at("folder/agent.sock"), "").expect_err("a linked folder").contains("links"));
        fs::create_dir(at("open")).expect("a folder");
        fs::set_permissions(at("open"), Permissions::from_mode(0o777)).expect("open");
        assert!(listen(&at("open/agent.sock"), "").expect_err("everybody's").contains("everybody"));
    }

    #[test]
    fn a_group_is_a_number_or_a_local_name() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "root:x:0:\nslurm:x:64030:alice,bob\n").expect("written");
        let raw = |group: &str| gid(group, file.path()).map(Gid::as_raw);
        assert_eq!((raw("slurm"), raw("1234")), (Ok(64030), Ok(1234)));
        assert!(raw("munge").expect_err("no such group").contains("give the number"));
    }
}
