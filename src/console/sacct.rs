//! Slurm's accounting as `sacct --parsable2` prints it, made into jobs.
//!
//! What is needed: `JobIDRaw` (or `JobID`), `NodeList`, `Start`, `End`; what is used if it is there: `User`, `Account`, `Partition`,
//! `QOS`, `AllocCPUS`, `AllocTRES`. Steps (`17.batch`, `17.0`) are parts of their job and passed over. Slurm tells
//! how many cores and GPUs a job had in all, not which: they are taken to be spread evenly over its nodes.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use meter::hostlist::Pattern;
use serde::Serialize;

/// Nodes of one job at most: as many as the largest machine has.
const NODES_MAX: usize = 100_000;

/// A past job, as the aggregator takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PastJob {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) account: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) hosts: Vec<Node>,
    pub(crate) start: String,
    pub(crate) stop: String,
}

/// One of its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) cores: u32,
    pub(crate) cores_of: u32,
}

/// How lines are to be understood.
pub(crate) struct Reading {
    /// The zone of the times, which Slurm prints without one.
    pub(crate) zone: TimeZone,
    /// How many cores nodes have: the first pattern that matches.
    pub(crate) cores_of: Vec<(Pattern, u32)>,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) jobs: Vec<PastJob>,
    /// Steps of jobs, passed over.
    pub(crate) steps: usize,
    /// Jobs that still run.
    pub(crate) running: usize,
    /// Jobs that never ran, or for no time.
    pub(crate) never_ran: usize,
    /// Jobs whose cores or GPUs are not spread evenly over their nodes: these are left out.
    pub(crate) uneven: usize,
    /// Lines that cannot be understood: number and why.
    pub(crate) bad: Vec<(usize, String)>,
}

/// The columns that are used, by place.
struct Columns {
    id: usize,
    nodes: usize,
    start: usize,
    end: usize,
    user: Option<usize>,
    account: Option<usize>,
    labels: Vec<(&'static str, usize)>,
    cpus: Option<usize>,
    tres: Option<usize>,
}

enum Line {
    Job(PastJob, bool),
    Step,
    Running,
    NeverRan,
}

impl Reading {
    /// Reads what `sacct` printed.
    ///
    /// # Errors
    /// What the first line lacks: without its header nothing can be understood.
    pub(crate) fn read(&self, text: &str) -> Result<Told, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (_, header) = lines.next().ok_or("the file is empty")?;
        let columns = Columns::of(header)?;
        let mut told = Told::default();
        for (number, line) in lines {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            match self.line(&columns, &cells) {
                Ok(Line::Job(job, uneven)) => {
                    told.uneven += usize::from(uneven);
                    told.jobs.push(job);
                }
                Ok(Line::Step) => told.steps += 1,
                Ok(Line::Running) => told.running += 1,
                Ok(Line::NeverRan) => told.never_ran += 1,
                Err(why) => told.bad.push((number + 1, why)),
            }
        }
        Ok(told)
    }

    fn line(&self, columns: &Columns, cells: &[&str]) -> Result<Line, String> {
        let cell = |place: usize| cells.get(place).copied().ok_or("has fewer columns than the header");
        let given = |place: Option<usize>| place.map_or(Ok(""), cell);
        let id = cell(columns.id)?;
        if id.is_empty() {
            return Err("has no JobID".into());
        }
        if id.contains('.') {
            return Ok(Line::Step);
        }
        let (start, end) = (cell(columns.start)?, cell(columns.end)?);
        if is_unknown(start) || is_unset(cell(columns.nodes)?) {
            return Ok(Line::NeverRan);
        }
        if is_unknown(end) {
            return Ok(Line::Running);
        }
        let (start, stop) = (self.instant(start)?, self.instant(end)?);
        if stop < start {
            return Err(format!("ends before it begins: {start}, {stop}"));
        }
        if stop == start {
            return Ok(Line::NeverRan);
        }
        let nodes = nodes(cell(columns.nodes)?)?;
        let cpus = number("AllocCPUS", given(columns.cpus)?)?;
        let gpus = gpus(given(columns.tres)?)?;
        let (cores, gpus) = (even(cpus, nodes.len()), even(gpus, nodes.len()));
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for &(label, place) in &columns.labels {
            let value = cell(place)?;
            if !value.is_empty() {
                labels.insert(label.into(), value.into());
            }
        }
        if let Some(gpus) = gpus.filter(|gpus| *gpus > 0) {
            labels.insert(cost::tenancy::GPUS_LABEL.into(), gpus.to_string());
        }
        let node = |host: String| {
            let cores_of = self.cores_of.iter().find(|(pattern, _)| pattern.matches(&host)).map_or(0, |(_, of)| *of);
            // More than there are (hyper-threads counted apart) is all of them.
            let cores = cores.unwrap_or(0).min(if cores_of == 0 { u32::MAX } else { cores_of });
            Node { host, cores, cores_of }
        };
        let is_uneven = cores.is_none() || gpus.is_none();
        let job = PastJob {
            id: id.into(),
            user: given(columns.user)?.into(),
            account: given(columns.account)?.into(),
            labels,
            hosts: nodes.into_iter().map(node).collect(),
            start: start.to_string(),
            stop: stop.to_string(),
        };
        Ok(Line::Job(job, is_uneven))
    }

    /// A time as Slurm prints it, in the zone; or Unix seconds (`SLURM_TIME_FORMAT=%s`).
    fn instant(&self, text: &str) -> Result<jiff::Timestamp, String> {
        let bad = |why: String| format!("has a time that is none, {text:?}: {why}");
        if let Ok(seconds) = text.parse::<i64>() {
            return jiff::Timestamp::from_second(seconds).map_err(|error| bad(error.to_string()));
        }
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(at);
        }
        let local: DateTime = text.parse().map_err(|error: jiff::Error| bad(error.to_string()))?;
        // Of an hour that is there twice the first one, as the C library takes it.
        let zoned = local.to_zoned(self.zone.clone()).map_err(|error| bad(error.to_string()))?;
        Ok(zoned.timestamp())
    }
}

impl Columns {
    fn of(header: &str) -> Result<Self, String> {
        let names: Vec<String> = header.split('|').map(|name| name.trim().to_ascii_lowercase()).collect();
        let place = |name: &str| names.iter().position(|known| known == &name.to_ascii_lowercase());
        let needed = |name: &str| {
            place(name).ok_or_else(|| {
                format!(
                    "the first line has no column {name}; print it with sacct --parsable2 --allusers \
                     --format=JobIDRaw,User,Account,Partition,NodeList,Start,End,AllocCPUS,AllocTRES"
                )
            })
        };
        let labels = [("partition", "Partition"), ("qos", "QOS")];
        Ok(Self {
            // A task of an array is `4711_3` to people, and a number of its own to prolog and epilog, which may have
            // told of it already.
            id: place("JobIDRaw").map_or_else(|| needed("JobID"), Ok)?,
            nodes: needed("NodeList")?,
            start: needed("Start")?,
            end: needed("End")?,
            user: place("User"),
            account: place("Account"),
            labels: labels.into_iter().filter_map(|(label, name)| Some((label, place(name)?))).collect(),
            cpus: place("AllocCPUS"),
            tres: place("AllocTRES"),
        })
    }
}

fn is_unknown(time: &str) -> bool {
    time.is_empty() || ["unknown", "none", "n/a"].contains(&time.to_ascii_lowercase().as_str())
}

fn is_unset(nodes: &str) -> bool {
    is_unknown(nodes) || nodes.eq_ignore_ascii_case("none assigned") || nodes == "(null)"
}

/// The nodes of a list such as `gpu[01-04],login1`.
fn nodes(list: &str) -> Result<Vec<String>, String> {
    let mut depth = 0_i32;
    let parts = list.split(|c: char| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth == 0
    });
    let mut all = Vec::new();
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        all.extend(meter::hostlist::expand(part).map_err(|error| error.to_string())?);
        if all.len() > NODES_MAX {
            return Err(format!("names more than {NODES_MAX} nodes"));
        }
    }
    if all.is_empty() { Err("names no nodes".into()) } else { Ok(all) }
}

fn number(name: &str, text: &str) -> Result<u32, String> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| format!("has a {name} that is no number: {text:?}")) }
}

/// The GPUs of `billing=8,cpu=64,gres/gpu:a100=4,gres/gpu=4,mem=…`: the plain count, or the sum of the kinds.
fn gpus(tres: &str) -> Result<u32, String> {
    let pairs = tres.split(',').filter_map(|pair| pair.split_once('='));
    let (mut plain, mut kinds) = (None, 0);
    for (name, value) in pairs {
        if name == "gres/gpu" {
            plain = Some(number(name, value)?);
        } else if name.starts_with("gres/gpu:") {
            kinds += number(name, value)?;
        }
    }
    Ok(plain.unwrap_or(kinds))
}

/// What each of several nodes has; nothing if it is not the same for all.
fn even(all: u32, nodes: usize) -> Option<u32> {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
    all.is_multiple_of(nodes).then_some(all / nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: [&str; 12] = [
        "JobID|User|Account|Partition|NodeList|Start|End|AllocCPUS|AllocTRES|State",
        "4711|ann|phys|gpu|gpu[01-02]|2026-10-05T10:07:13|2026-10-05T11:22:48|32|billing=32,cpu=32,gres/gpu:a100=4,gres/gpu=4,node=2|COMPLETED",
        "4711.batch|||||2026-10-05T10:07:13|2026-10-05T11:22:48|16|cpu=16|COMPLETED",
        "4711.extern|||||2026-10-05T10:07:13|2026-10-05T11:22:48|32||COMPLETED",
        "4712_3|bob|chem|cpu|cpu7,gpu[01,03]|1791187200|1791187260|3|cpu=3|FAILED",
        "4713|bob|chem|cpu|cpu7|2026-10-05T12:00:00|Unknown|4||RUNNING",
        "4714_[5-9]|bob|chem|cpu|None assigned|Unknown|Unknown|0||PENDING",
        "4715|bob|chem|cpu|cpu7|2026-10-05T12:00:00|2026-10-05T12:00:00|4||CANCELLED",
        "4716|bob|chem|cpu|cpu[7-|2026-10-05T12:00:00|2026-10-05T13:00:00|4||COMPLETED",
        "4717|bob|chem|cpu|cpu7|yesterday|2026-10-05T13:00:00|4||COMPLETED",
        "4718|bob|chem",
        "4719|eve|phys|gpu|gpu[01-02]|2026-10-05T10:00:00|2026-10-05T11:00:00|3|gres/gpu=3|COMPLETED",
    ];

    fn reading(zone: &str) -> Reading {
        let pattern = |text: &str| Pattern::parse(text).expect("a pattern");
        Reading {
            zone: TimeZone::get(zone).expect("a zone"),
            cores_of: vec![(pattern("gpu*"), 64), (pattern("cpu*"), 2)],
        }
    }

    #[test]
    fn jobs_are_told_from_steps_and_from_what_never_ran() {
        let told = reading("Europe/Berlin").read(&FILE.join("\n")).expect("a header");
        let ids: Vec<&str> = told.jobs.iter().map(|job| &*job.id).collect();
        assert_eq!(ids, ["4711", "4712_3", "4719"]);
        assert_eq!((told.steps, told.running, told.never_ran, told.uneven), (2, 1, 2, 1));
        let lines: Vec<usize> = told.bad.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [9, 10, 11], "{:?}", told.bad);
        let first = &told.jobs[0];
        assert_eq!((&*first.user, &*first.account, &*first.labels["partition"]), ("ann", "phys", "gpu"));
        assert_eq!((&*first.start, &*first.stop), ("2026-10-05T08:07:13Z", "2026-10-05T09:22:48Z"));
        let node = |host: &str, cores, cores_of| Node { host: host.into(), cores, cores_of };
        assert_eq!(first.hosts, [node("gpu01", 16, 64), node("gpu02", 16, 64)]);
        assert_eq!(first.labels["gpus"], "2");
        let second = &told.jobs[1];
        assert_eq!(second.start, "2026-10-05T08:00:00Z");
        assert_eq!(second.hosts, [node("cpu7", 1, 2), node("gpu01", 1, 64), node("gpu03", 1, 64)]);
        assert!(!told.jobs[2].labels.contains_key("gpus") && told.jobs[2].hosts[0].cores == 0, "not spread evenly");
    }

    #[test]
    fn tasks_of_arrays_go_by_the_number_that_their_hooks_knew() {
        let file = "JobID|JobIDRaw|NodeList|Start|End\n4711_3|4714|cpu7|1791187200|1791187260\n\
                    4711_3.batch|4714.batch|cpu7|1791187200|1791187260\n";
        let told = reading("UTC").read(file).expect("a header");
        let ids: Vec<&str> = told.jobs.iter().map(|job| &*job.id).collect();
        assert_eq!((ids, told.steps), (vec!["4714"], 1));
    }

    #[test]
    fn a_file_without_its_header_is_refused_with_the_command() {
        for text in ["", "4711|ann|phys\n", "JobID|NodeList|Start\n"] {
            let told = reading("UTC").read(text).expect_err("no header");
            assert!(text.is_empty() || told.contains("sacct --parsable2"), "{told}");
        }
    }

    #[test]
    fn gpus_are_counted_once() {
        for (tres, count) in [
            ("cpu=4,gres/gpu=2,gres/gpu:a100=2", 2),
            ("gres/gpu:a100=2,gres/gpu:h100=1", 3),
            ("cpu=4,mem=8G", 0),
            ("", 0),
        ] {
            assert_eq!(gpus(tres), Ok(count), "{tres}");
        }
        assert!(gpus("gres/gpu=many").is_err());
    }
}
