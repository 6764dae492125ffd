//! Jobs on their way into the ledger: marks of now, and holds of the past.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use actix_web::web;
use energy::{MarkOutcome, OwnerState};
use futures_util::future::join_all;
use meter::{Allocation, Hold, Mark, Owner, SECOND_NS, Utc};
use serde::{Serialize, Serializer};
use store::records;
use utoipa::ToSchema;

use super::said::Told;
use crate::app::App;
use crate::door::{Told as Answered, Work};
use crate::http::limits::turned_away;
use crate::http::problem::Problem;
use crate::http::respond::off_thread;

const HOUR_NS: i64 = 3600 * SECOND_NS;
/// A job that ended less than this ago: some of its readings may still be on their way.
const FRESH_NS: u64 = 900 * SECOND_NS as u64;
/// How often it is tried to be quicker than the readings of now; those of a clock that is ahead always win.
const NOW_TRIES: usize = 5;
/// Marks that wait for the ledger at a time.
const AT_ONCE: usize = 256;
/// Most names of an answer.
pub const NAMED_MAX: usize = 100;

/// What became of a job.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Taken {
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// Whether it had been told before.
    pub known: bool,
    /// On how many machines.
    pub hosts: usize,
    /// Accounts of these machines whose readings will be divided at that very instant…
    pub exact_accounts: usize,
    /// …and those whose slot is apportioned by time, because they had booked beyond it.
    pub apportioned_accounts: usize,
    /// Machines that never reported: nothing is known of their energy yet. An answer names at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "some")]
    #[schema(value_type = Vec<String>)]
    pub unknown_hosts: Vec<Arc<str>>,
    /// Other running jobs that hold one of the same devices: they share it evenly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub beside: Vec<Arc<str>>,
}

impl Taken {
    /// Nothing new.
    #[must_use]
    pub fn known(on: &[(Owner, Arc<Allocation>)]) -> Self {
        Self { known: true, hosts: on.len(), ..Self::default() }
    }

    /// A job of so many machines that has ended before.
    #[must_use]
    pub fn ended(stop: Option<String>, hosts: usize) -> Self {
        Self { known: true, stop, hosts, ..Self::default() }
    }

    /// Whether it had been told before.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// Counts the accounts of a machine by whether a past job's instants divide them exactly, as far as its row
    /// tells.
    fn count(&mut self, machine: Option<&OwnerState>, start: Utc, stop: Utc) {
        let Some(state) = machine else { return };
        for (index, account) in state.accounts.iter().enumerate() {
            let is_exact = |at: Utc| {
                let is_outside = at <= account.first.at || at >= account.frontier.at || at == at.slot().start();
                let cuts = state.open.iter().flat_map(|open| &open.cuts);
                is_outside
                    || cuts.filter(|cut| cut.at == at).any(|cut| cut.cells.get(index).is_some_and(Option::is_some))
            };
            if is_exact(start) && is_exact(stop) {
                self.exact_accounts += 1;
            } else {
                self.apportioned_accounts += 1;
            }
        }
    }

    fn note_unknown(&mut self, owner: &Owner) {
        self.unknown_hosts.push(Arc::clone(&owner.name));
    }

    fn note(&mut self, owner: &Owner, at: Utc, outcome: &MarkOutcome) -> Result<(), Problem> {
        match outcome {
            // Slots are apart in any case.
            MarkOutcome::Marked(count) if at == at.slot().start() => self.exact_accounts += count.exact + count.late,
            MarkOutcome::Marked(count) => {
                self.exact_accounts += count.exact;
                self.apportioned_accounts += count.late;
            }
            MarkOutcome::UnknownOwner => self.note_unknown(owner),
            // It has ended meanwhile.
            MarkOutcome::UnknownJob => {}
            MarkOutcome::Refused(reason) => {
                let detail = format!("{} does not take the job: {}", owner.name, reason.code());
                return Err(Problem::conflict("job-refused", detail));
            }
        }
        Ok(())
    }
}

fn some<S: Serializer>(names: &[Arc<str>], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(names.iter().take(NAMED_MAX))
}

/// Tells machines of marks at an instant; on disk when this returns. What measures a machine from outside, its
/// chassis, is cut there as well.
///
/// # Errors
/// A problem if the ledger does not take them now: the same may be told again. Or if a machine cannot hold more.
pub async fn tell(app: &web::Data<App>, at: Utc, marks: Vec<(Owner, Mark)>) -> Result<Taken, Problem> {
    let (snapshot, topology, _) = app.books.moment();
    let mut taken = Taken { hosts: marks.len(), beside: beside(app, &marks), ..Taken::default() };
    let chassis = marks.iter().filter_map(|(owner, _)| topology.chassis_at(owner, at));
    let chassis: std::collections::BTreeSet<&Owner> = chassis.filter(|owner| snapshot.owner(owner).is_some()).collect();
    let cuts: Vec<(Owner, Mark)> = chassis.into_iter().map(|owner| (owner.clone(), Mark::Cut)).collect();
    let marks: Vec<(Owner, Utc, Mark)> = marks.into_iter().chain(cuts).map(|(owner, mark)| (owner, at, mark)).collect();
    for batch in marks.chunks(AT_ONCE) {
        let told = join_all(batch.iter().map(|(owner, at, mark)| tell_one(app, owner, *at, mark))).await;
        for ((owner, at, _), outcome) in batch.iter().zip(told) {
            taken.note(owner, *at, &outcome?)?;
        }
    }
    if taken.hosts > 0 && taken.unknown_hosts.len() == taken.hosts {
        let names = taken.unknown_hosts[..taken.hosts.min(NAMED_MAX)].join(", ");
        let detail = format!("no machine has reported under {names} yet: tell the job again when one has");
        return Err(Problem::not_found("no-such-host", detail));
    }
    Ok(taken)
}

/// Cuts what is booked of owners at instants; on disk when this returns. Tells for how many accounts that came too
/// late.
///
/// # Errors
/// A problem if the ledger does not take it now: the same may be told again.
pub async fn cut(app: &web::Data<App>, cuts: Vec<(Owner, Utc, Mark)>) -> Result<usize, Problem> {
    let mut late = 0;
    for batch in cuts.chunks(AT_ONCE) {
        let told = join_all(batch.iter().map(|(owner, at, mark)| tell_one(app, owner, *at, mark))).await;
        for outcome in told {
            late += if let MarkOutcome::Marked(count) = outcome? { count.late } else { 0 };
        }
    }
    Ok(late)
}

/// Cuts what is booked of owners now, and tells when that was. A reading that was quicker than this word is no reason
/// to apportion: then a moment later is now.
///
/// # Errors
/// As [`cut`].
pub async fn cut_now(app: &web::Data<App>, owners: &[Owner]) -> Result<Utc, Problem> {
    let mut tries = 0;
    loop {
        let at = (app.books.now)();
        let late = cut(app, owners.iter().map(|owner| (owner.clone(), at, Mark::Cut)).collect()).await?;
        tries += 1;
        if late == 0 || tries == NOW_TRIES {
            return Ok(at);
        }
    }
}

async fn tell_one(app: &web::Data<App>, owner: &Owner, at: Utc, mark: &Mark) -> Result<MarkOutcome, Problem> {
    let ticket = app.ledger.enter(0).map_err(|refused| turned_away(app, refused))?;
    let work = Work::Mark(Box::new(owner.clone()), at, mark.clone());
    match app.ledger.ask(work, ticket).await.map_err(|refused| turned_away(app, refused))? {
        Answered::Marked(outcome) => Ok(outcome),
        _ => Err(Problem::internal("mark jobs", &"the ledger answered something else")),
    }
}

/// Running jobs that hold one of the same devices.
fn beside(app: &App, marks: &[(Owner, Mark)]) -> Vec<Arc<str>> {
    let snapshot = app.books.published.load();
    let mut beside = Vec::new();
    for (owner, mark) in marks {
        let (Mark::Start(job), Some(view)) = (mark, snapshot.owner(owner)) else { continue };
        for other in view.state.holds.iter().map(|hold| &hold.allocation).filter(|other| other.id != job.id) {
            let is_shared = other.devices.iter().any(|device| job.devices.contains(device));
            if is_shared && beside.len() < NAMED_MAX && !beside.contains(&other.id) {
                beside.push(Arc::clone(&other.id));
            }
        }
    }
    beside
}

/// Keeps jobs that have ended, as far as nobody told of them before; on disk when this returns.
///
/// A job is known on a machine if one of its id ended there within the time that it took, give or take an hour. One
/// that runs there still is ended instead.
///
/// # Errors
/// A problem if the store or the ledger fails: the same may be told again.
pub async fn keep_past(app: &web::Data<App>, jobs: Vec<Told>) -> Result<Vec<(String, Taken)>, Problem> {
    let mut taken = Vec::with_capacity(jobs.len());
    let still = app.books.published.load();
    for job in &jobs {
        let Some(stop) = job.stop else { continue };
        let runs = |owner: &Owner| {
            let holds = still.owner(owner).map_or(&[][..], |view| &view.state.holds);
            holds.iter().any(|hold| hold.allocation.id == job.id && hold.from <= stop && Some(stop) > job.start)
        };
        let marks: Vec<(Owner, Mark)> = job
            .on
            .iter()
            .filter(|(owner, _)| runs(owner))
            .map(|(owner, _)| (owner.clone(), Mark::Stop(Arc::clone(&job.id))))
            .collect();
        if !marks.is_empty() {
            tell(app, stop, marks).await?;
        }
        let begun = job.start.filter(|_| (app.books.now)().since(stop) < FRESH_NS);
        let edges = begun.into_iter().flat_map(|start| [start, stop]);
        let cuts = edges.flat_map(|at| job.on.iter().map(move |(owner, _)| (owner.clone(), at, Mark::Cut)));
        cut(app, cuts.collect()).await?;
    }
    let app = app.clone();
    off_thread(move || {
        let known = known_among(&app, &jobs)?;
        let (mut documents, mut spans) = (Vec::new(), Vec::new());
        let (now, topology, _) = app.books.moment();
        for job in &jobs {
            let Some((start, stop)) = job.start.zip(job.stop) else { continue };
            let mut one = Taken { hosts: job.on.len(), known: true, ..Taken::default() };
            (one.start, one.stop) = (Some(crate::query::rfc3339(start)), Some(crate::query::rfc3339(stop)));
            for (owner, allocation) in &job.on {
                let view = now.owner(owner);
                // One that its chassis measures is known, and one that has another name now.
                let others = topology.links_of(owner).iter().map(|link| &link.chassis);
                let names = others.chain([owner, topology.inventory.canonical(owner)]);
                if names.into_iter().all(|name| now.owner(name).is_none()) {
                    one.note_unknown(owner);
                }
                let told = known.get(owner).and_then(|of| of.get(&job.id)).map_or(&[][..], Vec::as_slice);
                if start == stop || told.iter().any(|(from, until)| *from < stop && start < *until) {
                    continue;
                }
                one.known = false;
                one.count(view.map(|view| &*view.state), start, stop);
                let hold = Hold { from: start, until: Some(stop), allocation: Arc::clone(allocation) };
                documents.extend(records::encode_hold(owner, &hold));
                spans.push(start..stop);
            }
            taken.push((job.id.to_string(), one));
        }
        app.books.store.put_documents(documents).map_err(|error| {
            tracing::error!("failed to keep jobs: {error}");
            Problem::come_again("store-failed", "the jobs could not be kept; tell them again")
        })?;
        let told = jobs.iter().flat_map(|job| job.on.iter().map(|(owner, allocation)| (owner, &**allocation)));
        app.books.published.load().jobs.note(told);
        // A closed month in which somebody held something now differs from its statement.
        app.statements.late.touch(spans);
        Ok(taken)
    })
    .await
}

/// The spans for which these jobs are known to have held these machines.
type Spans = HashMap<Owner, BTreeMap<Arc<str>, Vec<(Utc, Utc)>>>;

fn known_among(app: &App, jobs: &[Told]) -> Result<Spans, Problem> {
    let ids: std::collections::BTreeSet<&str> = jobs.iter().map(|job| &*job.id).collect();
    let stops = || jobs.iter().filter_map(|job| job.stop);
    let hour = |at: Utc| i32::try_from(at.0.div_euclid(HOUR_NS)).unwrap_or(i32::MAX);
    let (Some(first), Some(last)) = (stops().min(), stops().max()) else { return Ok(Spans::new()) };
    let names = records::hold_names(hour(first).saturating_sub(1)..hour(last).saturating_add(2));
    let (mut known, mut failed) = (Spans::new(), None);
    let read =
        app.books.store.documents(&names.start, &names.end, &mut |_, bytes| match records::decode_hold(&bytes) {
            Ok((owner, hold)) if ids.contains(&*hold.allocation.id) => {
                let Some(until) = hold.until else { return };
                let of_owner = known.entry(owner).or_default();
                of_owner.entry(Arc::clone(&hold.allocation.id)).or_default().push((hold.from, until));
            }
            Ok(_) => {}
            Err(error) => failed = Some(error),
        });
    read.map_err(|error| Problem::internal("read jobs", &error))?;
    failed.map_or(Ok(known), |error| Err(Problem::internal("read jobs", &error)))
}
