//! Where the aggregator of a data directory listens, for who finds the directory locked.
//!
//! The file stays when the aggregator ends; whoever reads it has seen that the lock is held.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file in the data directory.
const FILE: &str = "listening";

/// Notes where the aggregator listens. Nothing depends on it but convenience, so a failure is logged.
pub(crate) fn leave(data: &Path, addr: SocketAddr) {
    let (partial, path) = (data.join("listening.partial"), data.join(FILE));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
    let written = file.and_then(|mut file| writeln!(file, "http://{addr}")).and_then(|()| fs::rename(&partial, &path));
    if let Err(error) = written {
        tracing::warn!("failed to write {}: {error}", path.display());
    }
}

/// The address of the aggregator that works on this data directory, if one does.
#[must_use]
pub fn find(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join(FILE)).ok()?;
    let addr: SocketAddr = text.trim().strip_prefix("http://")?.parse().ok()?;
    Some(format!("http://{addr}"))
}
