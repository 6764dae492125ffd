//! Jobs as somebody tells them: read strictly, made into what machines hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use meter::{Allocation, Owner, OwnerKind, Utc};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::http::problem::Problem;

mod reading;

/// Jobs of one post.
pub const JOBS_MAX: usize = 1000;
/// Hosts of one post, over all its jobs.
const HOSTS_MAX: usize = 20_000;

/// The body of a post: one job, or several.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = JobsSaid)]
pub enum Body {
    /// Several.
    Many(Many),
    /// One.
    One(Box<Said>),
}

/// Several jobs of one cluster.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManyJobs)]
pub struct Many {
    cluster: Option<String>,
    jobs: Vec<Said>,
}

/// A job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobSaid)]
pub struct Said {
    id: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    account: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    cluster: Option<String>,
    host: Option<String>,
    hosts: Option<Hosts>,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default)]
    cores: u32,
    #[serde(default)]
    cores_of: u32,
    start: Option<Instant>,
    stop: Option<Instant>,
}

/// Its hosts: a list such as `node[01-04]`, or one by one.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = JobHosts)]
enum Hosts {
    List(String),
    Each(Vec<OneHost>),
}

#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = JobHost)]
enum OneHost {
    Name(String),
    Held(HostHeld),
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobHostHeld)]
struct HostHeld {
    host: String,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default)]
    cores: u32,
    #[serde(default)]
    cores_of: u32,
}

/// An instant: RFC 3339, or Unix seconds.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Instant {
    /// RFC 3339, or Unix seconds as text.
    Text(String),
    /// Unix seconds.
    Seconds(serde_json::Number),
}

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        let of = |kind| Object::builder().schema_type(kind);
        let text = of(Type::String).description(Some("RFC 3339, or Unix seconds"));
        let seconds = of(Type::Number).description(Some("Unix seconds"));
        OneOfBuilder::new().item(text).item(seconds).examples(["2026-10-05T12:00:00Z"]).into()
    }
}

impl ToSchema for Instant {}

/// A job that was understood.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its cluster.
    pub cluster: Arc<str>,
    /// Its id.
    pub id: Arc<str>,
    /// What it holds on each machine.
    pub on: Vec<(Owner, Arc<Allocation>)>,
    /// When it begins; now if nobody said.
    pub start: Option<Utc>,
    /// When it ended, if it did.
    pub stop: Option<Utc>,
}

/// A job's id, and the job or why it is refused.
pub type OneJob = (String, Result<Told, Problem>);

/// The jobs of a post.
pub struct Understood {
    /// One after the other.
    pub jobs: Vec<OneJob>,
    /// Whether the post is about one, not a list of one.
    pub is_one: bool,
}

/// Only whether there are several.
#[derive(Deserialize)]
struct Kind {
    jobs: Option<serde::de::IgnoredAny>,
}

impl Body {
    /// Whether a body is about several jobs.
    #[must_use]
    pub fn is_many(bytes: &[u8]) -> bool {
        serde_json::from_slice::<Kind>(bytes).is_ok_and(|kind| kind.jobs.is_some())
    }

    /// The jobs, each understood or refused by itself.
    ///
    /// # Errors
    /// A problem if there are too many.
    pub fn jobs(self, now: Utc) -> Result<Understood, Problem> {
        let (cluster, all, is_one) = match self {
            Self::One(one) => (None, vec![*one], true),
            Self::Many(many) => (many.cluster, many.jobs, false),
        };
        if all.len() > JOBS_MAX {
            let detail = format!("a post has at most {JOBS_MAX} jobs");
            return Err(Problem::bad_request("too-many-jobs", detail));
        }
        let cluster = cluster.as_deref();
        let jobs: Vec<OneJob> = all.into_iter().map(|said| (said.id.clone(), said.told(cluster, now))).collect();
        let hosts: usize = jobs.iter().filter_map(|(_, job)| job.as_ref().ok()).map(|job| job.on.len()).sum();
        if hosts > HOSTS_MAX {
            let detail = format!("a post names at most {HOSTS_MAX} hosts: send fewer jobs at a time");
            return Err(Problem::bad_request("too-many-hosts", detail));
        }
        Ok(Understood { jobs, is_one })
    }
}

impl Said {
    fn told(self, cluster: Option<&str>, now: Utc) -> Result<Told, Problem> {
        let start = self.start.map(|said| said.read("start", now)).transpose()?;
        let stop = self.stop.map(|said| said.read("stop", now)).transpose()?;
        if let (Some(start), Some(stop)) = (start, stop)
            && stop < start
        {
            return Err(bad("stop", "it lies before start"));
        }
        if stop.is_some() && start.is_none() {
            return Err(bad("start", "a job that has a stop needs a start; to end one that runs, post to …/stop"));
        }
        let cluster: Arc<str> = self.cluster.as_deref().or(cluster).unwrap_or("default").into();
        let id: Arc<str> = self.id.into();
        let job = Allocation {
            id: Arc::clone(&id),
            user: self.user.into(),
            account: self.account.into(),
            labels: self.labels.into_iter().collect(),
            ..Allocation::default()
        };
        let one = HostHeld { host: String::new(), devices: self.devices, cores: self.cores, cores_of: self.cores_of };
        let mut on: BTreeMap<Owner, Arc<Allocation>> = BTreeMap::new();
        for (name, held) in hosts(self.host, self.hosts, one)? {
            let owner = Owner::new(&cluster, OwnerKind::Host, &name).map_err(|why| bad("hosts", &why.to_string()))?;
            let devices = held.devices.into_iter().map(Arc::from).collect();
            let allocation = Allocation { devices, cores: held.cores, cores_of: held.cores_of, ..job.clone() };
            let allocation = allocation.checked().map_err(|why| Problem::bad_request("bad-job", why.to_string()))?;
            if on.insert(owner, Arc::new(allocation)).is_some() {
                return Err(bad("hosts", &format!("{name} is named twice")));
            }
        }
        Ok(Told { cluster, id, on: on.into_iter().collect(), start, stop })
    }
}

/// The hosts by name, with what is held on each.
fn hosts(one: Option<String>, several: Option<Hosts>, all: HostHeld) -> Result<Vec<(String, HostHeld)>, Problem> {
    let like = |names: Vec<String>| names.into_iter().map(|name| (name.clone(), all.copy(name))).collect();
    let expanded = |list: &str| expand(list).map_err(|why| bad("hosts", &why));
    let has_own = !all.devices.is_empty() || all.cores > 0 || all.cores_of > 0;
    let found: Vec<(String, HostHeld)> = match (one, several) {
        (Some(list), None) | (None, Some(Hosts::List(list))) => like(expanded(&list)?),
        (None, Some(Hosts::Each(each))) => {
            let mut found = Vec::new();
            for one in each {
                match one {
                    OneHost::Name(name) => found.extend(like(expanded(&name)?)),
                    OneHost::Held(_) if has_own => {
                        return Err(bad("devices", "they belong beside the host, where hosts are given one by one"));
                    }
                    OneHost::Held(held) => {
                        let names = expanded(&held.host)?;
                        found.extend(names.into_iter().map(|name| (name.clone(), held.copy(name))));
                    }
                }
            }
            found
        }
        (Some(_), Some(_)) => return Err(bad("hosts", "a job has either host or hosts")),
        (None, None) => Vec::new(),
    };
    if found.is_empty() { Err(bad("hosts", "a job runs on at least one host")) } else { Ok(found) }
}

impl HostHeld {
    fn copy(&self, host: String) -> Self {
        Self { host, devices: self.devices.clone(), cores: self.cores, cores_of: self.cores_of }
    }
}

/// The names of `node[01-04],login1`.
fn expand(list: &str) -> Result<Vec<String>, String> {
    let mut depth = 0_i32;
    let parts = list.split(|c: char| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth == 0
    });
    let mut names = Vec::new();
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        names.extend(meter::hostlist::expand(part).map_err(|error| error.to_string())?);
    }
    Ok(names)
}

/// How far ahead of our clock a job may begin or end: as far as another clock may be.
const AHEAD_NS: i64 = 600 * meter::SECOND_NS;

impl Instant {
    /// The instant, which may lie as far ahead as a clock may.
    ///
    /// # Errors
    /// A problem that names the field.
    pub fn read(&self, name: &'static str, now: Utc) -> Result<Utc, Problem> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Seconds(number) => number.to_string(),
        };
        let fault =
            |why: String| Problem::bad_request("bad-instant", format!("{name}: {why}")).with("field", name.into());
        let at = cost::window::read_instant(&text)
            .ok_or_else(|| fault(format!("{:?} is neither RFC 3339 nor Unix seconds", shown(&text))))?;
        if at.0 > now.0.saturating_add(AHEAD_NS) { Err(fault("it lies in the future".into())) } else { Ok(at) }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

fn bad(field: &'static str, why: &str) -> Problem {
    Problem::bad_request("bad-job", format!("{field}: {why}")).with("field", field.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Utc = Utc(1_793_491_200_000_000_000);

    fn read(body: &str) -> Result<Vec<Result<Told, String>>, String> {
        let body = match Body::is_many(body.as_bytes()) {
            true => serde_json::from_str(body).map(Body::Many),
            false => serde_json::from_str(body).map(|one| Body::One(Box::new(one))),
        };
        let body = body.map_err(|error| error.to_string())?;
        let understood = body.jobs(NOW).map_err(|problem| problem.to_string())?;
        Ok(understood.jobs.into_iter().map(|(_, job)| job.map_err(|problem| problem.to_string())).collect())
    }

    fn hosts_of(body: &str) -> String {
        let told = read(body).expect(body).remove(0).expect(body);
        let one = |(owner, job): &(Owner, Arc<Allocation>)| {
            format!("{}/{}:{}:{}/{}", owner.cluster, owner.name, job.devices.join("+"), job.cores, job.cores_of)
        };
        told.on.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn hosts_are_told_in_each_way_people_write_them() {
        for (body, hosts) in [
            (r#"{"id":"1","host":"n7","devices":["b","a"],"cores":1,"cores_of":4}"#, "default/n7:a+b:1/4"),
            (r#"{"id":"1","hosts":"n[1-2],login","cores":2}"#, "default/login::2/0 default/n1::2/0 default/n2::2/0"),
            (r#"{"id":"1","cluster":"c","hosts":["n1",{"host":"n2","devices":["x"]}]}"#, "c/n1::0/0 c/n2:x:0/0"),
            (
                r#"{"cluster":"c","jobs":[{"id":"1","hosts":[{"host":"n[1-2]","cores":3,"cores_of":8}]}]}"#,
                "c/n1::3/8 c/n2::3/8",
            ),
        ] {
            assert_eq!(hosts_of(body), hosts, "{body}");
        }
    }

    #[test]
    fn instants_are_unix_seconds_or_rfc_3339() {
        let body = r#"{"id":"1","host":"n","start":1793300000.5,"stop":"2026-10-31T00:00:01+02:00"}"#;
        let told = read(body).expect("jobs").remove(0).expect("a job");
        assert_eq!(told.start, Some(Utc(1_793_300_000_500_000_000)));
        assert_eq!(told.stop, Some(Utc(1_793_397_601_000_000_000)));
    }

    #[test]
    fn what_is_no_job_is_refused_by_field_and_alone() {
        for (body, word) in [
            (r#"{"id":"1"}"#, "hosts"),
            (r#"{"id":"","host":"n"}"#, "id"),
            (r#"{"id":"1","host":"n","hosts":["m"]}"#, "hosts"),
            (r#"{"id":"1","hosts":["n","n"]}"#, "twice"),
            (r#"{"id":"1","host":"n/../x"}"#, "hosts"),
            (r#"{"id":"1","host":"n","cores":9,"cores_of":8}"#, "cores"),
            (r#"{"id":"1","host":"n","start":"noon"}"#, "start"),
            (r#"{"id":"1","host":"n","start":1793500000}"#, "future"),
            (r#"{"id":"1","host":"n","stop":1793400000}"#, "start"),
            (r#"{"id":"1","host":"n","start":1793400000,"stop":1793300000}"#, "before start"),
        ] {
            let told = read(body).expect(body).remove(0).expect_err(body);
            assert!(told.contains(word), "{body}: {told}");
        }
        let two = read(r#"{"jobs":[{"id":"1"},{"id":"2","host":"n"}]}"#).expect("two");
        assert!(two[0].is_err() && two[1].is_ok());
        assert!(read(r#"{"id":"1","host":"n","gpu":1}"#).is_err());
    }
}
