//! Jobs as a machine is told of them: who holds which of its devices and cores, since when.
//!
//! A [`Mark`] is one word about one machine: an allocation begins, one ends, or a measurement cuts here.
//! It is put into the machine's stream between the readings before and after it, so that the ledger can
//! cut what it books at that very instant, however late the stream arrives.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::DEVICE_MAX;
use crate::reading::{LABELS_MAX, Labels, label_key_is_valid, label_value_is_valid};
use crate::time::Utc;

/// Longest job id, user and account in bytes: a Slurm array task or a Kubernetes UID with pod is shorter.
pub const JOB_NAME_MAX: usize = 128;
/// Most devices of one allocation on one machine: more than any board carries, partitions included.
pub const JOB_DEVICES_MAX: usize = 256;
/// Most cores that a machine may have.
pub const CORES_MAX: u32 = 65_536;

/// What one job holds on one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// The job's id, unique within its cluster for as long as it runs (`4711`, `4711_3`, a pod's UID).
    pub id: Arc<str>,
    /// Who runs it; empty if unknown.
    #[serde(default)]
    pub user: Arc<str>,
    /// Who pays for it (Slurm's account, a project); empty if unknown.
    #[serde(default)]
    pub account: Arc<str>,
    /// What else is known of it: `partition`, `namespace`, `pod`.
    #[serde(default)]
    pub labels: Labels,
    /// The devices that it holds, by the names of their accounts (`GPU-5a1c…`); ascending, each once.
    #[serde(default)]
    pub devices: Vec<Arc<str>>,
    /// How many of the machine's cores it holds; zero if it holds none or nobody said.
    #[serde(default)]
    pub cores: u32,
    /// How many cores the machine has; zero if nobody said, and then `cores` counts for nothing.
    #[serde(default)]
    pub cores_of: u32,
}

/// One word about a machine's jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// An allocation begins. Begun again under the same id it replaces the one that runs.
    Start(Arc<Allocation>),
    /// The job of this id ends on this machine.
    Stop(Arc<str>),
    /// A measurement begins or ends: what is booked is cut here, and nobody is charged.
    Cut,
}

/// An allocation and the time for which it was held on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// From here on.
    pub from: Utc,
    /// Up to here, exclusive; nothing while it runs.
    pub until: Option<Utc>,
    /// What is held.
    pub allocation: Arc<Allocation>,
}

/// Why an allocation is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// A text that cannot be an id, user or account.
    #[error(
        "{field} {text:?} must have {least} to {JOB_NAME_MAX} bytes, no control characters, and not begin with '('"
    )]
    Name {
        /// Which field.
        field: &'static str,
        /// The text, shortened.
        text: String,
        /// Fewest bytes: an id is needed, the rest may be empty.
        least: usize,
    },
    /// A label that cannot be one.
    #[error("the label {0:?} is none: a key begins with a letter, a value has at most 256 bytes; at most 32 labels")]
    Label(String),
    /// Devices that cannot be an allocation's.
    #[error("devices: {0}")]
    Devices(String),
    /// More cores than the machine has, or than any has.
    #[error("cores: {cores} of {of} is no share of a machine's cores")]
    Cores {
        /// Cores held.
        cores: u32,
        /// Cores there are.
        of: u32,
    },
}

impl Allocation {
    /// Checks what somebody sent, and puts the devices in order.
    ///
    /// # Errors
    /// [`JobError`] names the field that cannot be used.
    pub fn checked(mut self) -> Result<Self, JobError> {
        check_job_name("id", &self.id, 1)?;
        check_job_name("user", &self.user, 0)?;
        check_job_name("account", &self.account, 0)?;
        let is_bad = |(key, value): &(&String, &String)| !label_key_is_valid(key) || !label_value_is_valid(value);
        if let Some((key, _)) = self.labels.iter().find(is_bad) {
            return Err(JobError::Label(key.chars().take(80).collect()));
        }
        if self.labels.len() > LABELS_MAX {
            return Err(JobError::Label(format!("{} labels", self.labels.len())));
        }
        self.devices.sort();
        self.devices.dedup();
        if self.devices.len() > JOB_DEVICES_MAX {
            return Err(JobError::Devices(format!("more than {JOB_DEVICES_MAX}")));
        }
        let is_device = |name: &Arc<str>| !name.is_empty() && name.len() <= DEVICE_MAX && label_value_is_valid(name);
        if let Some(name) = self.devices.iter().find(|name| !is_device(name)) {
            return Err(JobError::Devices(format!(
                "{:?} is no device's name",
                name.chars().take(80).collect::<String>()
            )));
        }
        let is_share = self.cores_of <= CORES_MAX && (self.cores_of == 0 || self.cores <= self.cores_of);
        if !is_share || self.cores > CORES_MAX {
            return Err(JobError::Cores { cores: self.cores, of: self.cores_of });
        }
        Ok(self)
    }
}

/// Checks a job's id, user or account. A leading parenthesis is kept for lines that are nobody's, such as
/// `(idle)`.
///
/// # Errors
/// [`JobError::Name`].
pub fn check_job_name(field: &'static str, text: &str, least: usize) -> Result<(), JobError> {
    let fits = (least..=JOB_NAME_MAX).contains(&text.len());
    if fits && label_value_is_valid(text) && !text.starts_with('(') {
        return Ok(());
    }
    Err(JobError::Name { field, text: text.chars().take(80).collect(), least })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> Allocation {
        Allocation { id: id.into(), ..Allocation::default() }
    }

    #[test]
    fn what_is_no_allocation_is_refused_by_field() {
        assert!(job("4711_3").checked().is_ok());
        for (bad, word) in [
            (job(""), "id"),
            (job("(idle)"), "id"),
            (Allocation { user: "a\nb".into(), ..job("1") }, "user"),
            (Allocation { account: "x".repeat(129).into(), ..job("1") }, "account"),
            (Allocation { cores: 9, cores_of: 8, ..job("1") }, "cores"),
            (Allocation { devices: vec!["".into()], ..job("1") }, "devices"),
            (Allocation { labels: [("1x".to_owned(), String::new())].into(), ..job("1") }, "label"),
        ] {
            let told = bad.checked().expect_err(word).to_string();
            assert!(told.contains(word), "{told}");
        }
    }

    #[test]
    fn devices_are_put_in_order_and_count_once() {
        let devices = ["b", "a", "b"].map(Arc::from).to_vec();
        let checked = Allocation { devices, ..job("1") }.checked().expect("an allocation");
        assert_eq!(checked.devices, ["a", "b"].map(Arc::from));
    }
}
