//! The reading side of a backup: an aggregator's image, as it comes.

use std::io::Write;
use std::path::Path;

use crate::client;
use crate::error::ConsoleError;

/// Where the image is to be had.
const PATH: &str = "/api/v1/backup";

/// Writes the image of a running aggregator's store to `out`, which is a file at `to`. Whether it
/// arrived whole is for its checksum to say. `progress` is told the bytes so far.
///
/// # Errors
/// [`ConsoleError`] if the aggregator does not answer, refuses, or breaks off.
pub async fn backup(server: &str, out: &mut impl Write, to: &Path, progress: impl Fn(u64)) -> Result<(), ConsoleError> {
    client::download(server, PATH, out, to, progress).await
}
