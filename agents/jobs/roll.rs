//! The jobs that run here as far as was told, kept in the state folder, so that what ended while nobody listened is
//! ended: with the boot that it ran on, or, of pods, while the agent was away.
//!
//! It is a convenience and no ledger: what is lost of it with a power failure is a job whose end has to be told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meter::Id;
use serde::{Deserialize, Serialize};

use super::write_whole;

/// Most jobs that run on a machine at once.
pub const JOBS_MAX: usize = 4096;
const FILE: &str = "jobs.json";
/// Far more than as many jobs take.
const FILE_MAX: u64 = 4 << 20;

/// Who told of a job, and a hash of what was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether it is a pod, whose end the kubelet tells.
    pub pod: bool,
    /// The hash of the allocation.
    pub hash: u64,
}

/// What is written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Page {
    boot: String,
    running: BTreeMap<Arc<str>, Told>,
}

/// The jobs that run here.
#[derive(Debug)]
pub struct Roll {
    folder: PathBuf,
    page: Page,
    /// Jobs of an earlier boot.
    left: Vec<Arc<str>>,
    is_told: bool,
}

impl Roll {
    /// The roll in a state folder, as of this boot.
    #[must_use]
    pub fn open(folder: &Path, boot: Id) -> Self {
        let mut page = read(&folder.join(FILE));
        let boot = boot.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut left = Vec::new();
        if page.boot != boot {
            left = std::mem::take(&mut page.running).into_keys().collect();
            page.boot = boot;
        }
        Self { folder: folder.into(), page, left, is_told: false }
    }

    /// Jobs that ran when an earlier boot ended, and so ended with it; each is given out until it is struck off.
    #[must_use]
    pub fn left(&self) -> &[Arc<str>] {
        &self.left
    }

    /// What was told of a job that runs.
    #[must_use]
    pub fn told(&self, id: &str) -> Option<&Told> {
        self.page.running.get(id)
    }

    /// The pods that run.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<str>> {
        self.page.running.iter().filter(|(_, told)| told.pod).map(|(id, _)| Arc::clone(id)).collect()
    }

    /// How many jobs run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.page.running.len()
    }

    /// Whether none runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.page.running.is_empty()
    }

    /// Whether a job can be added.
    #[must_use]
    pub fn has_room_for(&self, id: &str) -> bool {
        self.len() < JOBS_MAX || self.page.running.contains_key(id)
    }

    /// Notes that a job begins.
    pub fn add(&mut self, id: Arc<str>, told: Told) {
        self.left.retain(|left| *left != id);
        self.page.running.insert(id, told);
        self.save();
    }

    /// Notes that a job ended.
    pub fn strike(&mut self, id: &str) {
        let was_left = self.left.len();
        self.left.retain(|left| **left != *id);
        if self.page.running.remove(id).is_some() || self.left.len() != was_left {
            self.save();
        }
    }

    /// Writes it. If that is impossible it is said once: until it can be written nothing is lost but with the
    /// process.
    fn save(&mut self) {
        // What an earlier boot left is written again until it is ended, under a boot that never is.
        let page = if self.left.is_empty() { &self.page } else { return };
        let text = serde_json::to_vec(page).unwrap_or_default();
        match write_whole(&self.folder, FILE, &text, 0o600) {
            Ok(()) => self.is_told = false,
            Err(error) if !std::mem::replace(&mut self.is_told, true) => {
                tracing::warn!(path = %self.folder.join(FILE).display(), %error, "which jobs run here cannot be noted: should the agent or the machine end first, their ends have to be told");
            }
            Err(_) => {}
        }
    }
}

fn read(path: &Path) -> Page {
    let text = std::fs::metadata(path).and_then(|file| match file.len() {
        0..=FILE_MAX => std::fs::read(path),
        _ => Err(std::io::Error::other("it is too long")),
    });
    let text = match text {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Page::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "which jobs ran here cannot be read");
            return Page::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "which jobs ran here cannot be read");
        Page::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Told {
        Told { pod: false, hash: 1 }
    }

    #[test]
    fn what_runs_is_found_again_and_ends_with_its_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut roll = Roll::open(folder.path(), [1; 16]);
        roll.add("4711".into(), job());
        roll.add("ml/train-0".into(), Told { pod: true, hash: 2 });
        roll.add("4712".into(), job());
        roll.strike("4712");
        let mut again = Roll::open(folder.path(), [1; 16]);
        assert_eq!((again.len(), again.left().len(), again.pods()), (2, 0, vec![Arc::from("ml/train-0")]));
        assert_eq!(again.told("4711"), Some(&job()));
        again.strike("4711");
        let mut other = Roll::open(folder.path(), [2; 16]);
        assert_eq!((other.len(), other.left()), (0, &[Arc::from("ml/train-0")][..]));
        // Until it was ended it is offered again.
        other.add("4713".into(), job());
        assert_eq!(Roll::open(folder.path(), [2; 16]).left().len(), 1);
        other.strike("ml/train-0");
        let last = Roll::open(folder.path(), [2; 16]);
        assert_eq!((last.len(), last.left().len()), (1, 0));
    }

    #[test]
    fn what_cannot_be_read_is_an_empty_roll() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), "not JSON").expect("written");
        assert!(Roll::open(folder.path(), [1; 16]).is_empty());
        assert!(Roll::open(&folder.path().join("nowhere"), [1; 16]).is_empty());
    }

    #[test]
    fn no_more_jobs_are_noted_than_a_machine_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut roll = Roll::open(&folder.path().join("nowhere"), [1; 16]);
        let full = (0..JOBS_MAX).map(|id| (Arc::from(id.to_string()), job()));
        assert!(roll.has_room_for("new"));
        roll.page.running.extend(full);
        assert!(!roll.has_room_for("new") && roll.has_room_for("7"));
    }
}
