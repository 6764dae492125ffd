//! `/api/v1/jobs`: jobs are told, ended, listed.
//!
//! Best a machine's own agent is told of its jobs; this is for schedulers that speak HTTP, for people, and for
//! jobs of the past. What is told here of now is exact for readings that have not arrived yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, guard, web};
use billing::Figures;
use cost::{Where, Window};
use meter::{Allocation, Mark, Owner, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::body;
use super::limits;
use super::listing::Page;
use super::openapi::parameters::{PageParameters, SelectParameter};
use super::openapi::problems::{ComeAgain, Contradicts, NotThere, ProblemDocument, Refused, TooMuch, Unsent};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::jobs::devices;
use crate::jobs::listed::{HoldView, Job, JobView, jobs_in, with_energy};
use crate::jobs::said::{Body, Instant, Told};
use crate::jobs::telling::{NAMED_MAX, Taken, keep_past, tell};
use crate::query::{Params, Zone, cost_keys, cost_problem, rfc3339};

/// How long ago the newest job of an id may have ended that is asked for by it.
const LOOK_BACK_NS: i64 = 400 * 86_400 * meter::SECOND_NS;

pub(crate) fn configure(routes: &mut web::ServiceConfig) {
    // An id may end in `/stop`: only POST is about that.
    routes
        .service(web::resource("/api/v1/jobs").route(web::get().to(list)).route(web::post().to(take)))
        .service(web::resource("/api/v1/jobs/{id:.+}/stop").guard(guard::Post()).to(stop))
        .service(web::resource("/api/v1/jobs/{id:.+}").route(web::get().to(one)));
}

/// A page of jobs.
#[derive(Serialize, ToSchema)]
pub(super) struct JobsPage {
    as_of: String,
    /// The window used.
    window: WindowView,
    /// The newest first.
    jobs: Vec<JobView>,
    next_cursor: Option<String>,
}

/// From when to when.
#[derive(Serialize, ToSchema)]
pub(super) struct WindowView {
    start: String,
    end: String,
}

/// One job.
#[derive(Serialize, ToSchema)]
pub(super) struct JobAnswer {
    as_of: String,
    job: Option<JobView>,
    /// Machine by machine.
    on: Vec<HoldView>,
}

/// How a job is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the document alone tells of it")]
pub(super) enum StateWord {
    /// It runs on some machine.
    Running,
    /// It has ended on all of them.
    Ended,
}

/// A job that was told.
#[derive(Serialize, ToSchema)]
pub(super) struct JobTaken {
    id: String,
    job: Taken,
}

/// Jobs that were told.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct JobsTaken {
    /// How many are new.
    taken: u64,
    /// How many had been told before.
    known: u64,
    /// Problems, each with the job's `id`.
    #[schema(value_type = Vec<ProblemDocument>)]
    refused: Vec<Value>,
    /// Machines that never reported, of the jobs that were taken: nothing is known of their energy yet. At most 100…
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    unknown_hosts: Vec<Arc<str>>,
    /// …of so many.
    unknown_host_count: u64,
}

/// The answer to one job, or to several.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the document alone tells of it")]
pub(super) enum JobsTold {
    /// One.
    One(JobTaken),
    /// Several.
    Many(JobsTaken),
}

/// The JSON of a body. A browser sends it only where it was allowed to: that keeps other sites' forms out.
pub(super) async fn document<T: serde::de::DeserializeOwned>(
    app: &App,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Problem> {
    body::read_bytes(&json_of(app, request, payload).await?)
}

async fn json_of(app: &App, request: &HttpRequest, payload: web::Payload) -> Result<web::Bytes, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let detail = format!("the content type must be application/json, not {kind:?}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let body = limits::read(app, request, payload).await?;
    Ok(if body.bytes.is_empty() { web::Bytes::from_static(b"{}") } else { body.bytes })
}

/// Takes a job, or several.
#[utoipa::path(
    post, path = "/api/v1/jobs", operation_id = "tell_jobs", tag = "jobs", summary = "Tell of a job, or of several",
    description = "Of now (without `stop`) or of the past. At most 1,000 jobs and 20,000 hosts; told again, nothing changes.",
    request_body(content = Body, description = "At most 1 MiB.",
        example = json!({"id": "4711", "user": "ada", "account": "nlp", "hosts": "node-17", "devices": ["GPU-5a1c"]})),
    responses(
        (status = 200, description = "What became of it.", body = JobsTold),
        Refused, NotThere, Contradicts, Unsent, ComeAgain,
    ),
)]
pub(super) async fn take(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = json_of(&app, &request, payload).await?;
    let body = match Body::is_many(&bytes) {
        true => Body::Many(body::read_bytes(&bytes)?),
        false => Body::One(Box::new(body::read_bytes(&bytes)?)),
    };
    let now = (app.books.now)();
    let told = body.jobs(now)?;
    let (mut past, mut results) = (Vec::new(), Vec::with_capacity(told.jobs.len()));
    let (snapshot, topology, _) = app.books.moment();
    for (id, job) in told.jobs {
        match job.and_then(|job| devices::require(&job.on, &snapshot, &topology).map(|()| job)) {
            Ok(job) if job.stop.is_some() => past.push(job),
            Ok(job) => results.push((id, begin(&app, &job).await)),
            Err(problem) => results.push((id, Err(problem))),
        }
    }
    if !past.is_empty() {
        let kept = keep_past(&app, past).await?;
        results.extend(kept.into_iter().map(|(id, taken)| (id, Ok(taken))));
    }
    if told.is_one {
        let (id, taken) = results.pop().ok_or_else(|| Problem::internal("take a job", &"it is gone"))?;
        return Ok(answer(&JobTaken { id, job: taken? }));
    }
    let mut sum = JobsTaken::default();
    let mut unknown = BTreeSet::new();
    for (id, result) in results {
        if let Ok(taken) = &result {
            unknown.extend(taken.unknown_hosts.iter().cloned());
        }
        match result {
            Ok(taken) if taken.is_known() => sum.known += 1,
            Ok(_) => sum.taken += 1,
            Err(problem) => {
                let mut document = problem.document();
                document["id"] = json!(id);
                sum.refused.push(document);
            }
        }
    }
    sum.unknown_host_count = unknown.len() as u64;
    sum.unknown_hosts = unknown.into_iter().take(NAMED_MAX).collect();
    Ok(answer(&sum))
}

/// A job begins, now or when it says.
async fn begin(app: &web::Data<App>, job: &Told) -> Result<Taken, Problem> {
    let snapshot = app.books.published.load();
    let is_same = |(owner, allocation): &(Owner, Arc<Allocation>)| {
        let holds = snapshot.owner(owner).map_or(&[][..], |view| &view.state.holds);
        let is_it = |at: Utc| job.start.is_none_or(|start| start == at);
        holds.iter().any(|hold| hold.allocation == *allocation && is_it(hold.from))
    };
    if job.on.iter().all(is_same) {
        return Ok(Taken::known(&job.on));
    }
    let at = job.start.unwrap_or_else(|| (app.books.now)());
    let marks = job
        .on
        .iter()
        .filter(|on| !is_same(on))
        .map(|(owner, allocation)| (owner.clone(), Mark::Start(Arc::clone(allocation))));
    let mut taken = tell(app, at, marks.collect()).await?;
    taken.start = Some(rfc3339(at));
    Ok(taken)
}

/// What a stop may say.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = JobStopSaid)]
pub(super) struct StopSaid {
    /// Needed where several clusters run a job of that id.
    cluster: Option<String>,
    /// When; now if absent.
    stop: Option<Instant>,
}

/// Ends a job on all its machines.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/stop", operation_id = "stop_job", tag = "jobs", summary = "End a job on all its machines",
    params(("id" = String, Path, description = "Its id.", example = "4711")),
    request_body(content = StopSaid, description = "May be empty.", example = json!({})),
    responses(
        (status = 200, description = "What became of it.", body = JobTaken),
        Refused, NotThere, Contradicts, TooMuch, Unsent, ComeAgain,
    ),
)]
pub(super) async fn stop(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let said: StopSaid = document(&app, &request, payload).await?;
    let now = (app.books.now)();
    let at = said.stop.map(|said| said.read("stop", now)).transpose()?.unwrap_or(now);
    let (cluster, id) = (said.cluster, id.into_inner());
    let snapshot = app.books.published.load();
    let is_meant = |owner: &Owner| cluster.as_deref().is_none_or(|cluster| &*owner.cluster == cluster);
    let running: Vec<(Owner, Utc)> = snapshot
        .owners()
        .filter(|view| is_meant(&view.state.owner))
        .flat_map(|view| view.state.holds.iter().map(|hold| (&view.state.owner, hold)))
        .filter(|(_, hold)| *hold.allocation.id == *id)
        .map(|(owner, hold)| (owner.clone(), hold.from))
        .collect();
    if running.is_empty() {
        // Told again, or by the agent before: what ended has ended.
        let job = find(app, cluster.as_deref(), &id).await?;
        let hosts = job.hosts().len();
        let job = Taken::ended(job.until.map(rfc3339), hosts);
        return Ok(answer(&JobTaken { id, job }));
    }
    let clusters: BTreeSet<&str> = running.iter().map(|(owner, _)| &*owner.cluster).collect();
    if clusters.len() > 1 {
        let detail = format!("a job {id:?} runs in several clusters: name one of {clusters:?} in the body");
        return Err(Problem::conflict("ambiguous-id", detail).with("known", json!(clusters)));
    }
    if let Some((owner, from)) = running.iter().find(|(_, from)| at < *from) {
        let detail = format!("stop: the job begins on {} at {}, which is later", owner.name, rfc3339(*from));
        return Err(Problem::bad_request("bad-job", detail));
    }
    let marks = running.into_iter().map(|(owner, _)| (owner, Mark::Stop(id.as_str().into())));
    let mut taken = tell(&app, at, marks.collect()).await?;
    taken.stop = Some(rfc3339(at));
    Ok(answer(&JobTaken { id, job: taken }))
}

/// The newest job of an id.
async fn find(app: web::Data<App>, cluster: Option<&str>, id: &str) -> Result<Job, Problem> {
    let (cluster, id) = (cluster.map(str::to_owned), id.to_owned());
    off_thread(move || {
        let (snapshot, topology, now) = app.books.moment();
        let figures = app.books.figures(&snapshot, &topology, now);
        newest(&figures, cluster.as_deref(), &id)
    })
    .await
}

/// The newest job of an id, which may name its cluster: `c1/4711`.
fn newest(figures: &Figures<'_>, cluster: Option<&str>, id: &str) -> Result<Job, Problem> {
    let span = Utc(figures.now.0.saturating_sub(LOOK_BACK_NS))..Utc(figures.now.0.saturating_add(1));
    let named = id.split_once('/').filter(|_| cluster.is_none());
    let is_wanted = |owner: &Owner, job: &Allocation| {
        let is_it = *job.id == *id && cluster.is_none_or(|cluster| *owner.cluster == *cluster);
        is_it || named.is_some_and(|(cluster, id)| *owner.cluster == *cluster && *job.id == *id)
    };
    let jobs = jobs_in(figures, &span, is_wanted)?;
    let newest = jobs.into_values().next();
    newest.ok_or_else(|| {
        let shown: String = id.chars().take(200).collect();
        Problem::not_found("no-such-job", format!("there is no job {shown:?} of the last 400 days"))
    })
}

/// Shows one job, machine by machine.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", operation_id = "get_job", tag = "jobs", summary = "One job, machine by machine",
    params(("id" = String, Path, description = "Its id, or `cluster/id`: the newest of the last 400 days.", example = "4711")),
    responses((status = 200, description = "The job.", body = JobAnswer), Refused, NotThere, TooMuch),
)]
pub(super) async fn one(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    Params::read(request.query_string(), &[])?;
    off_thread(move || {
        let ((snapshot, topology, now), card) = (app.books.moment(), app.books.rates.load());
        let figures = app.books.figures(&snapshot, &topology, now);
        let job = newest(&figures, None, &id)?;
        let labels = cost_keys(&app.books, &Params::default(), &snapshot, &topology.inventory)?;
        let view = with_energy(&figures, &card, &[&job], "", &labels)?.pop();
        let view = if app.books.hides_money() { view.map(JobView::without_money) } else { view };
        Ok(JobAnswer { as_of: rfc3339(snapshot.as_of), job: view, on: job.holds() })
    })
    .await
    .map(|body| answer(&body))
}

/// Lists the jobs of a window, the newest first.
#[utoipa::path(
    get, path = "/api/v1/jobs", operation_id = "list_jobs", tag = "jobs", summary = "The jobs that ran in a window",
    params(
        ("window" = Option<String>, Query, description = "As of a rollup; 24h if absent.", example = "24h"),
        SelectParameter,
        ("state" = inline(Option<StateWord>), Query, description = "Only those."),
        PageParameters,
    ),
    responses((status = 200, description = "A page of jobs, each with all that it used.", body = JobsPage), Refused, TooMuch),
)]
pub(super) async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["window", "where", "state", "limit", "cursor"])?;
    let page = Page::read(&params)?;
    let state = params.one_of("state", &["", "running", "ended"])?.to_owned();
    off_thread(move || {
        let ((snapshot, topology, now), card) = (app.books.moment(), app.books.rates.load());
        let zone = Zone::of(&app.books.settings.server.timezone).map_err(|error| cost_problem(&error))?;
        let window = Window::parse(params.get("window").unwrap_or("24h"), now, &zone.tz);
        let window = window.map_err(|error| cost_problem(&error))?;
        let labels = cost_keys(&app.books, &params, &snapshot, &topology.inventory)?;
        let text = params.get("where").unwrap_or("");
        let select =
            Where::parse(text, &labels).map_err(|error| cost_problem(&error))?.with_axes(&app.books.settings.axes());
        let figures = app.books.figures(&snapshot, &topology, now);
        let is_wanted = |owner: &Owner, job: &Allocation| {
            let view = snapshot.owner(owner).map(|view| &**view);
            let agent = view.map_or(&[][..], |view| &view.state.labels);
            select.selects_job(job, &topology.labels(owner, now, agent))
                && super::hosts::is_selected(&select, owner, view, &topology, now)
        };
        let jobs = jobs_in(&figures, &(window.start()..window.end()), is_wanted)?;
        let is_in_state = |job: &Job| match state.as_str() {
            "running" => job.until.is_none(),
            "ended" => job.until.is_some(),
            _ => true,
        };
        let paged = page.of(jobs, |job| is_in_state(&job).then_some(job));
        let these: Vec<&Job> = paged.items.iter().collect();
        let mut views: Vec<JobView> = with_energy(&figures, &card, &these, text, &labels)?;
        if app.books.hides_money() {
            views = views.into_iter().map(JobView::without_money).collect();
        }
        Ok(JobsPage {
            as_of: rfc3339(snapshot.as_of),
            window: WindowView { start: rfc3339(window.start()), end: rfc3339(window.end()) },
            jobs: views,
            next_cursor: paged.next_cursor,
        })
    })
    .await
    .map(|body| answer(&body))
}
