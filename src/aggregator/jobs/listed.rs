//! Jobs as they are listed: over all their machines, with what they used from beginning to end.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use billing::holds::{HOLDS_MAX, each_hold};
use billing::{BillingError, Figures};
use cost::{By, Carbon, Cost, RateCard, Row, Where, Window};
use meter::{Allocation, Hold, Owner, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::problem::Problem;
use crate::query::{CostQuery, HeldQuery, Zone, cost_problem, lines_problem, rfc3339};

/// A cluster and an id.
type Name = (Arc<str>, Arc<str>);

/// A job with its machines.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its cluster.
    pub cluster: Arc<str>,
    /// What is the same on all its machines.
    pub allocation: Arc<Allocation>,
    /// When it began on the first of them.
    pub from: Utc,
    /// When it ended on the last; nothing while it runs on any.
    pub until: Option<Utc>,
    /// By machine and beginning.
    pub on: BTreeMap<(Owner, Utc), Hold>,
}

/// A job as answers carry it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    #[schema(value_type = String)]
    id: Arc<str>,
    #[schema(value_type = String)]
    cluster: Arc<str>,
    #[schema(value_type = String)]
    user: Arc<str>,
    #[schema(value_type = String)]
    account: Arc<str>,
    #[schema(value_type = BTreeMap<String, String>)]
    labels: meter::Labels,
    /// `running` or `ended`.
    state: &'static str,
    #[schema(value_type = Vec<String>)]
    hosts: Vec<Arc<str>>,
    start: String,
    stop: Option<String>,
    energy_uj: String,
    energy_joules: f64,
    energy_kwh: f64,
    facility_kwh: f64,
    estimated_joules: f64,
    /// How much of it was divided by time or number, not by readings.
    apportioned_joules: f64,
    covered_seconds: f64,
    expected_seconds: f64,
    cost: Vec<Cost>,
    unpriced_kwh: f64,
    carbon: Carbon,
    /// Whether money is left out, as the aggregator is configured; absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cost_hidden: bool,
}

/// What a job holds on one machine, as answers carry it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobHold)]
pub struct HoldView {
    #[schema(value_type = String)]
    host: Arc<str>,
    start: String,
    stop: Option<String>,
    #[schema(value_type = Vec<String>)]
    devices: Vec<Arc<str>>,
    cores: u32,
    cores_of: u32,
}

/// The jobs that ran in a span of time, the newest first, by a key to list them by.
///
/// # Errors
/// A problem if the store fails.
pub fn jobs_in(
    figures: &Figures<'_>,
    span: &Range<Utc>,
    is_wanted: impl Fn(&Owner, &Allocation) -> bool,
) -> Result<BTreeMap<String, Job>, Problem> {
    // An id that comes again much later is another job: what does not touch is told apart.
    let mut holds: BTreeMap<Name, Vec<(Owner, Hold)>> = BTreeMap::new();
    let mut count = 0;
    each_hold(figures, span, &mut |owner, hold| {
        if !is_wanted(&owner, &hold.allocation) {
            return;
        }
        count += 1;
        if count <= HOLDS_MAX {
            let key = (Arc::clone(&owner.cluster), Arc::clone(&hold.allocation.id));
            holds.entry(key).or_default().push((owner, hold.clone()));
        }
    })
    .map_err(|error| lines_problem(&error))?;
    if count > HOLDS_MAX {
        return Err(lines_problem(&BillingError::TooManyHolds(count)));
    }
    let mut jobs = BTreeMap::new();
    for ((cluster, id), mut of_id) in holds {
        of_id.sort_by_key(|(owner, hold)| (hold.from, owner.clone()));
        for job in runs(&cluster, of_id) {
            // The newest first.
            jobs.insert(format!("{:020} {cluster} {id}", i128::from(i64::MAX) - i128::from(job.from.0)), job);
        }
    }
    Ok(jobs)
}

/// The jobs of one id: holds that overlap are one.
fn runs(cluster: &Arc<str>, holds: Vec<(Owner, Hold)>) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for (owner, hold) in holds {
        let job = match jobs.last_mut().filter(|job| job.until.is_none_or(|until| until >= hold.from)) {
            Some(job) => job,
            None => {
                let (allocation, from) = (Arc::clone(&hold.allocation), hold.from);
                let until = Some(hold.from);
                jobs.push(Job { cluster: Arc::clone(cluster), allocation, from, until, on: BTreeMap::new() });
                let Some(job) = jobs.last_mut() else { continue };
                job
            }
        };
        job.until = job.until.zip(hold.until).map(|(one, other)| one.max(other));
        job.on.insert((owner, hold.from), hold);
    }
    jobs
}

impl Job {
    /// The machines, each once.
    #[must_use]
    pub fn hosts(&self) -> Vec<Arc<str>> {
        let hosts: BTreeSet<&Owner> = self.on.keys().map(|(owner, _)| owner).collect();
        hosts.into_iter().map(|owner| Arc::clone(&owner.name)).collect()
    }

    /// What it holds, machine by machine.
    #[must_use]
    pub fn holds(&self) -> Vec<HoldView> {
        let view = |((owner, _), hold): (&(Owner, Utc), &Hold)| HoldView {
            host: Arc::clone(&owner.name),
            start: rfc3339(hold.from),
            stop: hold.until.map(rfc3339),
            devices: hold.allocation.devices.clone(),
            cores: hold.allocation.cores,
            cores_of: hold.allocation.cores_of,
        };
        self.on.iter().map(view).collect()
    }

    fn view(&self, row: Option<&Row>) -> JobView {
        let job = &self.allocation;
        let (quality, uj) = (row.map(|row| row.quality).unwrap_or_default(), row.map_or(0, |row| row.energy_uj));
        JobView {
            id: Arc::clone(&job.id),
            cluster: Arc::clone(&self.cluster),
            user: Arc::clone(&job.user),
            account: Arc::clone(&job.account),
            labels: job.labels.clone(),
            state: if self.until.is_none() { "running" } else { "ended" },
            hosts: self.hosts(),
            start: rfc3339(self.from),
            stop: self.until.map(rfc3339),
            energy_uj: uj.to_string(),
            energy_joules: row.map_or(0.0, |row| row.energy_joules),
            energy_kwh: row.map_or(0.0, |row| row.energy_kwh),
            facility_kwh: row.map_or(0.0, |row| row.facility_kwh),
            estimated_joules: quality.estimated_joules,
            apportioned_joules: quality.apportioned_joules,
            covered_seconds: quality.covered_seconds,
            expected_seconds: quality.expected_seconds,
            cost: row.map_or_else(Vec::new, |row| row.cost.clone()),
            unpriced_kwh: row.map_or(0.0, |row| row.unpriced_kwh),
            carbon: row.map(|row| row.carbon).unwrap_or_default(),
            cost_hidden: false,
        }
    }
}

impl JobView {
    /// The same without money.
    #[must_use]
    pub fn without_money(self) -> Self {
        Self { cost: Vec::new(), unpriced_kwh: 0.0, cost_hidden: true, ..self }
    }
}

/// Jobs with what they used, whole, of what `select` leaves. Blocks while the store is read.
///
/// # Errors
/// A problem if the store fails or there is too much.
pub fn with_energy(
    figures: &Figures<'_>,
    card: &RateCard,
    jobs: &[&Job],
    select: &str,
    labels: &BTreeSet<String>,
) -> Result<Vec<JobView>, Problem> {
    // Jobs of one id cannot be told apart by it: each is asked for apart.
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let is_other =
            |other: &usize| jobs[*other].allocation.id != job.allocation.id || jobs[*other].cluster != job.cluster;
        match rounds.iter_mut().find(|round| round.iter().all(is_other)) {
            Some(round) => round.push(index),
            None => rounds.push(vec![index]),
        }
    }
    let mut views: Vec<(usize, JobView)> = Vec::with_capacity(jobs.len());
    for round in rounds {
        let these: Vec<&Job> = round.iter().map(|&index| jobs[index]).collect();
        let rows = energy_of(figures, card, &these, select, labels)?;
        for (&index, job) in round.iter().zip(these) {
            views.push((index, job.view(rows.get(&(job.cluster.to_string(), job.allocation.id.to_string())))));
        }
    }
    views.sort_by_key(|(index, _)| *index);
    Ok(views.into_iter().map(|(_, view)| view).collect())
}

fn energy_of(
    figures: &Figures<'_>,
    card: &RateCard,
    jobs: &[&Job],
    select: &str,
    labels: &BTreeSet<String>,
) -> Result<BTreeMap<(String, String), Row>, Problem> {
    let from = jobs.iter().map(|job| job.from).min().unwrap_or(figures.now);
    let until = jobs.iter().map(|job| job.until.unwrap_or(figures.now)).max().unwrap_or(figures.now);
    if until <= from {
        return Ok(BTreeMap::new());
    }
    let any =
        |values: BTreeSet<&str>| values.into_iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join("|");
    let names = jobs.iter().flat_map(|job| job.on.keys().map(|(owner, _)| &*owner.name)).collect();
    // An id with a quote in it cannot be named; then all of these hosts' jobs are summed.
    let ids: BTreeSet<&str> = jobs.iter().map(|job| &*job.allocation.id).collect();
    let by_id = if ids.iter().any(|id| id.contains('"')) { String::new() } else { format!("job.id={}", any(ids)) };
    let terms = [select.to_owned(), format!("host={}", any(names)), by_id];
    let terms: Vec<String> = terms.into_iter().filter(|term| !term.is_empty()).collect();
    let read = || {
        Ok(CostQuery {
            window: Window::around(from, until)?,
            by: By::parse("cluster,job.id", labels)?,
            select: Where::parse(&terms.join(","), labels)?,
            step: None,
            zone: Zone::of("UTC")?,
            held: HeldQuery { within: Some(from..until), ..HeldQuery::default() },
        })
    };
    let query: CostQuery = read().map_err(|error| cost_problem(&error))?;
    let answer = query.answer(figures, card)?;
    let key = |row: &Row| (row.value("cluster").to_owned(), row.value("job.id").to_owned());
    Ok(answer.rows.into_iter().map(|row| (key(&row), row)).collect())
}
