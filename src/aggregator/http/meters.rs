//! `/api/v1/meters`: named measurements of people.

use actix_web::{HttpRequest, HttpResponse, web};
use meter::{Mark, Owner, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::jobs::document;
use super::listing::Page;
use super::openapi::parameters::PageParameters;
use super::openapi::problems::{ComeAgain, NotThere, Refused, TooMuch, Unsent};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::jobs::said::Instant;
use crate::jobs::telling::{cut, cut_now};
use crate::meters::{Desk, FILTER_MAX, Measurement, MeasurementView, NAME_MAX};
use crate::query::{Params, Zone, cost_keys, cost_problem, rfc3339};

pub(crate) fn configure(routes: &mut web::ServiceConfig) {
    routes
        .service(web::resource("/api/v1/meters").route(web::get().to(list)).route(web::post().to(start)))
        .service(web::resource("/api/v1/meters/{id}/stop").route(web::post().to(stop)))
        .service(web::resource("/api/v1/meters/{id}").route(web::get().to(one)));
}

/// What a beginning may say.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = MeterStartSaid)]
pub(super) struct StartSaid {
    /// What people call it.
    #[schema(max_length = 128)]
    name: String,
    /// Whom it is about, as of a rollup.
    #[serde(rename = "where")]
    #[schema(max_length = 4096)]
    filter: String,
    /// When it begins; now if absent.
    start: Option<Instant>,
    /// When it ended, of one of the past.
    stop: Option<Instant>,
}

/// What an end may say.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = MeterStopSaid)]
pub(super) struct StopSaid {
    /// When; now if absent.
    stop: Option<Instant>,
}

/// A page of measurements.
#[derive(Serialize, ToSchema)]
pub(super) struct MetersPage {
    as_of: String,
    /// The newest first.
    meters: Vec<MeasurementView>,
    next_cursor: Option<String>,
}

/// Works on a desk of this moment, off the HTTP threads.
async fn at_desk<T: Send + 'static>(
    app: &web::Data<App>,
    work: impl FnOnce(&Desk<'_>) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let app = app.clone();
    off_thread(move || {
        let ((snapshot, topology, now), card) = (app.books.moment(), app.books.rates.load());
        let labels = cost_keys(&app.books, &Params::default(), &snapshot, &topology.inventory)?;
        let figures = app.books.figures(&snapshot, &topology, now);
        let hides_money = app.books.hides_money();
        work(&Desk { figures, card: &card, labels: &labels, recent: &app.recent, hides_money })
    })
    .await
}

/// Cuts what is booked of these owners at an instant, or now; tells when that was.
async fn cut_at(app: &web::Data<App>, owners: &[Owner], at: Option<Utc>) -> Result<Utc, Problem> {
    let Some(at) = at else { return cut_now(app, owners).await };
    cut(app, owners.iter().map(|owner| (owner.clone(), at, Mark::Cut)).collect()).await?;
    Ok(at)
}

/// Begins a measurement, now or when it says.
#[utoipa::path(
    post, path = "/api/v1/meters", operation_id = "start_meter", tag = "jobs", summary = "Begin a measurement",
    description = "What the selected hosts use between two instants; exact for readings that have not arrived yet.",
    request_body(content = StartSaid, description = "At most 1 MiB.", example = json!({"name": "training", "where": "host=node-17"})),
    responses((status = 200, description = "It has begun.", body = MeasurementView), Refused, TooMuch, Unsent, ComeAgain),
)]
pub(super) async fn start(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let said: StartSaid = document(&app, &request, payload).await?;
    let name = if said.name.is_empty() { "measurement".to_owned() } else { said.name };
    if name.len() > NAME_MAX || name.chars().any(char::is_control) || said.filter.len() > FILTER_MAX {
        let detail = format!("name has at most {NAME_MAX} bytes and no control characters, where at most {FILTER_MAX}");
        return Err(Problem::bad_request("bad-meter", detail));
    }
    let now = (app.books.now)();
    let from = said.start.map(|said| said.read("start", now)).transpose()?;
    let until = said.stop.map(|said| said.read("stop", now)).transpose()?;
    if until.is_some_and(|until| until < from.unwrap_or(now)) {
        return Err(Problem::bad_request("bad-meter", "stop: it lies before start"));
    }
    let filter = said.filter;
    let (owners, chassis) = {
        let filter = filter.clone();
        at_desk(&app, move |desk| desk.owners(&filter)).await?
    };
    if owners.is_empty() {
        let detail = format!("where={filter:?} selects no host that has reported");
        return Err(Problem::bad_request("nothing-selected", detail).with("parameter", json!("where")));
    }
    let mut noise = [0_u8; 4];
    getrandom::fill(&mut noise).map_err(|error| Problem::internal("draw a random number", &error))?;
    let all: Vec<Owner> = owners.into_iter().chain(chassis).collect();
    let begun = cut_at(&app, &all, from).await?;
    let mut one = Measurement::new(&name, &filter, begun, u32::from_le_bytes(noise));
    if until.is_some() {
        one.stop = Some(cut_at(&app, &all, until).await?.0);
    }
    keep(&app, one.clone()).await?;
    shown(&app, one).await
}

async fn keep(app: &web::Data<App>, one: Measurement) -> Result<(), Problem> {
    let app = app.clone();
    off_thread(move || {
        one.keep(&*app.books.store).map_err(|error| {
            tracing::error!("failed to keep a measurement: {error}");
            Problem::come_again("store-failed", "the measurement could not be kept; ask again")
        })
    })
    .await
}

async fn find(app: &web::Data<App>, id: String) -> Result<Measurement, Problem> {
    let app = app.clone();
    off_thread(move || {
        let found = Measurement::find(&*app.books.store, &id);
        let shown: String = id.chars().take(80).collect();
        found
            .map_err(|error| Problem::internal("read a measurement", &error))?
            .ok_or_else(|| Problem::not_found("no-such-meter", format!("there is no measurement {shown:?}")))
    })
    .await
}

async fn shown(app: &web::Data<App>, one: Measurement) -> Result<HttpResponse, Problem> {
    let view = at_desk(app, move |desk| desk.view(&one)).await?;
    Ok(answer(&view))
}

/// Ends a measurement. One that has ended stays as it is.
#[utoipa::path(
    post, path = "/api/v1/meters/{id}/stop", operation_id = "stop_meter", tag = "jobs", summary = "End a measurement",
    params(("id" = String, Path, description = "Its id.", example = "1793491200000-0000002a")),
    request_body(content = StopSaid, description = "May be empty.", example = json!({})),
    responses((status = 200, description = "It has ended.", body = MeasurementView), Refused, NotThere, TooMuch, Unsent, ComeAgain),
)]
pub(super) async fn stop(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let said: StopSaid = document(&app, &request, payload).await?;
    let now = (app.books.now)();
    let at = said.stop.map(|said| said.read("stop", now)).transpose()?;
    let mut one = find(&app, id.into_inner()).await?;
    if one.stop.is_none() {
        if at.unwrap_or(now).0 < one.start {
            return Err(Problem::bad_request("bad-meter", "stop: it lies before the measurement began"));
        }
        let filter = one.filter.clone();
        let (owners, chassis) = at_desk(&app, move |desk| desk.owners(&filter)).await?;
        let all: Vec<Owner> = owners.into_iter().chain(chassis).collect();
        one.stop = Some(cut_at(&app, &all, at).await?.0);
        keep(&app, one.clone()).await?;
    }
    shown(&app, one).await
}

/// Shows a measurement.
#[utoipa::path(
    get, path = "/api/v1/meters/{id}", operation_id = "get_meter", tag = "jobs", summary = "One measurement, so far or to its end",
    params(("id" = String, Path, description = "Its id.", example = "1793491200000-0000002a")),
    responses((status = 200, description = "The measurement.", body = MeasurementView), Refused, NotThere, TooMuch),
)]
pub(super) async fn one(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    Params::read(request.query_string(), &[])?;
    let one = find(&app, id.into_inner()).await?;
    shown(&app, one).await
}

/// Lists the measurements that began in a window, the newest first.
#[utoipa::path(
    get, path = "/api/v1/meters", operation_id = "list_meters", tag = "jobs", summary = "Measurements that began in a window",
    params(
        ("window" = Option<String>, Query, description = "As of a rollup; 30d if absent.", example = "30d"),
        PageParameters,
    ),
    responses((status = 200, description = "A page of measurements.", body = MetersPage), Refused, TooMuch),
)]
pub(super) async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["window", "limit", "cursor"])?;
    let page = Page::read(&params)?;
    let zone = Zone::of(&app.books.settings.server.timezone).map_err(|error| cost_problem(&error))?;
    let window = params.get("window").unwrap_or("30d");
    let window = cost::Window::parse(window, (app.books.now)(), &zone.tz).map_err(|error| cost_problem(&error))?;
    at_desk(&app, move |desk| {
        let all = Measurement::all(desk.figures.store, &(window.start()..window.end()));
        let all = all.map_err(|error| Problem::internal("read measurements", &error))?;
        let newest_first = |one: Measurement| (format!("{:020}{}", i64::MAX - one.start, one.id), one);
        let keyed: std::collections::BTreeMap<String, Measurement> = all.into_iter().map(newest_first).collect();
        let paged = page.of(keyed, Some);
        let views = paged.items.iter().map(|one| desk.view(one)).collect::<Result<Vec<MeasurementView>, Problem>>()?;
        let as_of = rfc3339(desk.figures.snapshot.as_of);
        Ok(MetersPage { as_of, meters: views, next_cursor: paged.next_cursor })
    })
    .await
    .map(|body| answer(&body))
}
