//! Files of targets in the JSON format of Prometheus' `file_sd`, as the sources over the network read them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Longest file of targets that is read, in bytes: 100 000 targets of 160 bytes.
const FILE_MAX: u64 = 16 << 20;

/// Targets that have their labels in common.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    /// Addresses, such as `node001:9100`.
    pub(super) targets: Vec<String>,
    /// Their labels; what these mean is the source's affair.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

/// The groups of a file.
///
/// # Errors
/// What is wrong with it, without its name.
pub(super) fn groups(path: &Path) -> Result<Vec<Group>, String> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if about.len() > FILE_MAX {
        return Err(format!("is longer than {} MiB", FILE_MAX >> 20));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
