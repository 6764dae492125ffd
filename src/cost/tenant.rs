//! Whose energy it is: a job's, nobody's on a machine that runs jobs, or that of a machine that runs none.
//!
//! A job has an id, a user, an account and labels; they are keys of `by` and `where` as `job.id`,
//! `job.user`, `job.account` and `job.<label>`. An *axis* is one key made of several by first match:
//! `team = ["job.account", "team"]` is the account of the job, else the host's label.

use std::sync::Arc;

use meter::{Allocation, Labels};

use crate::error::CostError;

/// What the line of energy is called that no job held on machines that run jobs.
pub const IDLE: &str = "(idle)";
/// What the line of energy is called that belongs to what runs no jobs: machines that were never told of
/// one, enclosures without hosts, switches, storage.
pub const SHARED: &str = "(unattributed)";

/// What keys of jobs begin with.
const PREFIX: &str = "job.";
/// Most keys of one axis: as many as a person can read.
const SOURCES_MAX: usize = 8;

/// A key of jobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobKey {
    /// The id.
    Id,
    /// Who runs it.
    User,
    /// Who pays for it.
    Account,
    /// Another label of it, by its key as it is written in questions: `job.partition`.
    Label(Arc<str>),
}

/// Where an axis takes its value from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Job(JobKey),
    Host(Arc<str>),
}

/// A key made of several by first match: the first of its sources that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axis {
    pub(crate) name: Arc<str>,
    pub(crate) sources: Vec<Source>,
}

/// What becomes of energy that no job held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// It is a line of its own.
    #[default]
    Separate,
    /// It goes to whom the host's label names.
    Owner,
    /// It is spread over the jobs of the same row, in proportion to their energy.
    Proportional,
}

/// What becomes of the energy that no job held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Of machines that run jobs.
    pub idle: Policy,
    /// Of what runs none.
    pub shared: Policy,
}

/// Whose energy a row or line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// That of jobs, or of whom a label names.
    #[default]
    Held,
    /// Nobody's, on machines that run jobs.
    Idle,
    /// That of what runs no jobs.
    Shared,
}

impl JobKey {
    pub(crate) const FIXED: [Self; 3] = [Self::Id, Self::User, Self::Account];

    /// Reads a key such as `job.user`; nothing if it is none. `is_known` tells whether jobs have a label of
    /// such a key.
    pub(crate) fn read(key: &str, is_known: impl Fn(&str) -> bool) -> Option<Self> {
        let fixed = Self::FIXED.into_iter().find(|fixed| fixed.name() == key);
        fixed.or_else(|| (key.starts_with(PREFIX) && is_known(key)).then(|| Self::Label(key.into())))
    }

    /// The key as it is written: `job.user`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Id => "job.id",
            Self::User => "job.user",
            Self::Account => "job.account",
            Self::Label(key) => key,
        }
    }

    /// The name behind `job.`: a host's label of that name says who owns it.
    pub(crate) fn last_name(&self) -> &str {
        self.name().strip_prefix(PREFIX).unwrap_or_default()
    }

    /// What a job says of it; empty if nothing.
    #[must_use]
    pub fn of<'a>(&self, job: &'a Allocation) -> &'a str {
        match self {
            Self::Id => &job.id,
            Self::User => &job.user,
            Self::Account => &job.account,
            Self::Label(_) => job.labels.get(self.last_name()).map_or("", String::as_str),
        }
    }
}

/// The key in questions for a label of jobs: `job.partition`.
#[must_use]
pub fn label_key(label: &str) -> String {
    format!("{PREFIX}{label}")
}

impl Axis {
    /// An axis by the keys that it takes its value from, first match first: `job.…`, or labels of hosts.
    ///
    /// # Errors
    /// [`CostError::Axis`] if the name or a key cannot be one, or there are none or more than 8.
    pub fn new(name: &str, keys: &[String]) -> Result<Self, CostError> {
        let bad = |why: String| CostError::Axis { name: name.chars().take(80).collect(), why };
        let is_key = |key: &str| meter::reading::label_key_is_valid(key);
        if !is_key(name) || name.starts_with(PREFIX) || FIXED_WORDS.contains(&name) {
            return Err(bad("its name must be a label's key, and none of those that every host has".into()));
        }
        if keys.is_empty() || keys.len() > SOURCES_MAX {
            return Err(bad(format!("it needs 1 to {SOURCES_MAX} keys such as [\"job.account\", \"team\"]")));
        }
        let source = |key: &String| {
            if FIXED_WORDS.contains(&key.as_str()) || !is_key(key) {
                return Err(bad(format!("{key:?} is neither a label of hosts nor a key of jobs")));
            }
            let job = JobKey::read(key, |_| true);
            Ok(job.map_or_else(|| Source::Host(key.as_str().into()), Source::Job))
        };
        Ok(Self { name: name.into(), sources: keys.iter().map(source).collect::<Result<_, _>>()? })
    }

    /// The key that questions use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys of jobs among its sources.
    pub(crate) fn job_keys(&self) -> impl Iterator<Item = &JobKey> {
        self.sources.iter().filter_map(|source| match source {
            Source::Job(key) => Some(key),
            Source::Host(_) => None,
        })
    }

    /// The first that is not empty, for a job with these values on a host with these labels.
    pub(crate) fn first<'a>(&'a self, job: impl Fn(&'a JobKey) -> &'a str, labels: &'a Labels) -> &'a str {
        let found = self.sources.iter().find_map(|source| match source {
            Source::Job(key) => Some(job(key)).filter(|value| !value.is_empty()),
            Source::Host(key) => given(labels, key),
        });
        found.unwrap_or("")
    }

    /// The first label of a host among its sources that is not empty.
    pub(crate) fn of_host<'a>(&self, labels: &'a Labels) -> Option<&'a str> {
        self.sources.iter().find_map(|source| match source {
            Source::Job(_) => None,
            Source::Host(key) => given(labels, key),
        })
    }
}

/// Keys that are neither labels nor of jobs.
const FIXED_WORDS: [&str; 5] = ["cluster", "host", "chassis", "scope", "device"];

/// A label that is there and not empty.
pub(crate) fn given<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

impl Policy {
    /// The words, the default first.
    pub const WORDS: [&str; 3] = ["separate", "owner", "proportional"];

    /// The policy of a word; nothing if it is none.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        let all = [Self::Separate, Self::Owner, Self::Proportional];
        all.into_iter().zip(Self::WORDS).find(|(_, known)| *known == word).map(|(policy, _)| policy)
    }
}

impl Policies {
    /// What becomes of the energy of a class.
    pub(crate) const fn of(self, class: Class) -> Policy {
        match class {
            Class::Idle => self.idle,
            Class::Shared => self.shared,
            Class::Held => Policy::Separate,
        }
    }
}

impl Class {
    /// The stable word of rows that are no job's.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Held => None,
            Self::Idle => Some("idle"),
            Self::Shared => Some("unattributed"),
        }
    }

    /// What stands in place of a job's values.
    pub(crate) const fn shown(self) -> &'static str {
        match self {
            Self::Held => "",
            Self::Idle => IDLE,
            Self::Shared => SHARED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_read_strictly() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let axis = Axis::new("team", &keys(&["job.account", "team"])).expect("an axis");
        assert_eq!(axis.job_keys().collect::<Vec<_>>(), [&JobKey::Account]);
        let labels: Labels = [("team".to_owned(), "nlp".to_owned())].into();
        assert_eq!((axis.of_host(&labels), axis.of_host(&Labels::new())), (Some("nlp"), None));
        for (name, sources) in
            [("host", &["team"][..]), ("job.x", &["team"]), ("team", &[]), ("team", &["device"]), ("team", &["a b"])]
        {
            let told = Axis::new(name, &keys(sources)).expect_err(name).to_string();
            assert!(told.contains(name), "{told}");
        }
    }

    #[test]
    fn keys_of_jobs_name_what_a_job_says() {
        let labels = [("partition".to_owned(), "gpu".to_owned())].into();
        let job = Allocation { id: "7".into(), user: "ann".into(), labels, ..Allocation::default() };
        let read = |key: &str| JobKey::read(key, |known| known == "job.partition");
        for (key, value) in [("job.id", "7"), ("job.user", "ann"), ("job.account", ""), ("job.partition", "gpu")] {
            assert_eq!(read(key).expect(key).of(&job), value);
        }
        assert!(read("job.qos").is_none() && read("partition").is_none());
    }
}
