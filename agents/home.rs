//! Where the streams' spools lie: one folder per owner, with the owner's name in it.
//!
//! An agent that reads on behalf of others keeps a stream for each of them. What a run before left behind is
//! found again by the name in the folder, also if nothing is read for that owner any more.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use meter::{Id, Labels, Owner, reading};

use crate::config::Settings;
use crate::outbox::Lane;
use crate::spool::{Spool, SpoolError};

/// The file in a folder that names its owner.
const OWNER_FILE: &str = "owner";

/// The folder of all spools, and how large they may become.
#[derive(Clone, Debug)]
pub struct Home {
    /// The state folder.
    path: PathBuf,
    /// Of this machine: a spool that another one wrote was copied.
    fingerprint: Id,
    own_max_bytes: u64,
    target_max_bytes: u64,
}

impl Home {
    /// The home that the settings describe.
    #[must_use]
    pub fn new(settings: &Settings, fingerprint: Id) -> Self {
        Self {
            path: settings.state_dir(),
            fingerprint,
            own_max_bytes: settings.spool.max_mib.max(1) << 20,
            target_max_bytes: settings.spool.target_max_mib.max(1) << 20,
        }
    }

    fn folder(&self, owner: &Owner) -> PathBuf {
        self.path.join(format!("spool-{:016x}", owner.stable_hash()))
    }

    /// This machine's own stream. A folder that must not be used is an error; a disk that does not work is
    /// not: then memory has to do, and the log says so.
    ///
    /// # Errors
    /// [`SpoolError`] that says what to do about it.
    pub fn own(&self, owner: &Owner, labels: Labels) -> Result<Lane, SpoolError> {
        let path = self.folder(owner);
        let spool = match Spool::open(&path, self.fingerprint, self.own_max_bytes) {
            Err(SpoolError::Io(at, error)) => {
                tracing::error!(path = %at.display(), %error, "the spool cannot be opened: readings are held in memory and would be lost with the process; free the disk or give --state-dir, it is tried again every few seconds");
                Spool::in_memory_until(&path, self.fingerprint, self.own_max_bytes)
            }
            other => other,
        }?;
        Ok(Lane::live(owner.clone(), Some(self.fingerprint), labels, spool))
    }

    /// A stream on behalf of another owner. If its folder cannot be used memory has to do, until it can.
    ///
    /// # Errors
    /// [`SpoolError::Random`].
    pub fn on_behalf(&self, owner: &Owner, labels: Labels) -> Result<Lane, SpoolError> {
        let path = self.folder(owner);
        let spool = match Spool::open(&path, self.fingerprint, self.target_max_bytes) {
            Ok(spool) => {
                if let Err(error) = write_owner(&path, owner, &labels) {
                    tracing::warn!(path = %path.display(), %error, "whose spool this is cannot be noted: should it not be read again after a restart, what is left there is not delivered");
                }
                spool
            }
            Err(SpoolError::Random(error)) => return Err(SpoolError::Random(error)),
            Err(error) => {
                tracing::error!(%owner, %error, "the spool cannot be opened: this owner's readings are held in memory and would be lost with the process");
                Spool::in_memory_until(&path, self.fingerprint, self.target_max_bytes)?
            }
        };
        Ok(Lane::live(owner.clone(), None, labels, spool))
    }

    /// Notes the labels of an owner, for the case that nothing is read for it after a restart.
    pub fn note(&self, owner: &Owner, labels: &Labels) {
        // What cannot be noted is asked again by the next probe.
        let _ = write_owner(&self.folder(owner), owner, labels);
    }

    /// The owners, other than this machine, that a run before kept streams for; and how many spools there
    /// are that name none.
    #[must_use]
    pub fn left_behind(&self, own: &Owner) -> (Vec<(Owner, Labels)>, usize) {
        let own = self.folder(own);
        let (mut owners, mut unnamed) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_spool = entry.file_name().to_str().is_some_and(|name| name.starts_with("spool-"));
            if !is_spool || path == own || !path.is_dir() {
                continue;
            }
            match fs::read_to_string(path.join(OWNER_FILE)).ok().and_then(|text| parse_owner(&text)) {
                Some((owner, labels)) if self.folder(&owner) == path => owners.push((owner, labels)),
                _ => unnamed += 1,
            }
        }
        owners.sort();
        (owners, unnamed)
    }
}

/// Owner and labels as lines: `default/chassis/bmc-7`, then `key=value`.
fn write_owner(folder: &Path, owner: &Owner, labels: &Labels) -> std::io::Result<()> {
    let mut text = format!("{owner}\n");
    for (key, value) in labels {
        text.push_str(&format!("{key}={value}\n"));
    }
    let path = folder.join(OWNER_FILE);
    if fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let fresh = folder.join("owner.new");
    let no_links = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).custom_flags(no_links).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    fs::rename(fresh, path)
}

fn parse_owner(text: &str) -> Option<(Owner, Labels)> {
    let mut lines = text.lines();
    let owner = lines.next()?.parse().ok()?;
    let pairs = lines.filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(key, value)| reading::label_key_is_valid(key) && reading::label_value_is_valid(value));
    Some((owner, pairs.take(reading::LABELS_MAX).map(|(key, value)| (key.into(), value.into())).collect()))
}

#[cfg(test)]
mod tests {
    use meter::OwnerKind;

    use super::*;

    #[test]
    fn what_a_run_before_left_is_found_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::default();
        settings.agent.state_dir = folder.path().join("state");
        let home = Home::new(&settings, [1; 16]);
        let (own, bmc) = (
            Owner::host("n1").expect("a good name"),
            Owner::new("c", OwnerKind::Chassis, "bmc-1").expect("a good name"),
        );
        assert_eq!(home.left_behind(&own), (vec![], 0), "not even a folder");
        let labels = Labels::from([("hw.serial".into(), "A=1".into()), ("rack".into(), "r 1".into())]);
        drop(home.own(&own, Labels::new()).expect("opens"));
        drop(home.on_behalf(&bmc, labels.clone()).expect("opens"));
        fs::create_dir(home.path.join("spool-0123456789abcdef")).expect("a folder");
        assert_eq!(home.left_behind(&own), (vec![(bmc.clone(), labels)], 1));
        home.note(&bmc, &Labels::new());
        assert_eq!(home.left_behind(&own).0, [(bmc.clone(), Labels::new())]);
        assert_eq!(home.left_behind(&bmc), (vec![], 2), "by another name the machine's own spool is somebody's");
    }
}
