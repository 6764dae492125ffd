//! `GET /`, `/hosts/{id}`, `/chassis/{id}`, `/devices/{id}` and what they load: pages for people, with headers that let nothing but themselves in.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use askama::Template;
use meter::OwnerKind;

use super::devices;
use super::hosts::resolve;
use super::openapi::parameters::SelectParameter;
use super::openapi::problems::{Contradicts, NotThere, Refused};
use super::problem::Problem;
use super::respond::off_thread;
use crate::app::App;
use crate::asked::Range;
use crate::page::PageView;
use crate::page::device::DevicePage;
use crate::page::frame::{ProblemView, SCRIPT, STYLE};
use crate::page::owner::OwnerPage;
use crate::page::view::View;
use crate::page::waiting::WaitingPage;
use crate::query::Params;
use crate::ready::ready;

/// Nothing but the page's own style, script and figures.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// For how long a page of a large ledger waits for its figures before it says that they are being made.
const PATIENCE: Duration = Duration::from_secs(1);

/// The dashboard. What is wrong with a request is said on a page to browsers, and as a problem to programs.
#[utoipa::path(
    get, path = "/", tag = "operation", summary = "The dashboard",
    params(
        ("range" = Option<String>, Query, description = "`1h`, `24h`, `7d` or `30d`.", example = "24h"),
        ("by" = Option<String>, Query, description = "What rows are: one key of a rollup.", example = "team"),
        SelectParameter,
        ("sort" = Option<String>, Query, description = "`energy`, `power` or `name`.", example = "energy"),
        ("state" = Option<String>, Query, description = "Hosts of one state, with `by=host`.", example = "live"),
        ("page" = Option<u32>, Query, description = "Which page of rows, from 1.", minimum = 1, maximum = 100_000),
    ),
    responses((status = 200, description = "A page that loads nothing from elsewhere.", content_type = "text/html", body = String), Refused),
)]
pub async fn page(app: web::Data<App>, request: HttpRequest) -> HttpResponse {
    let server = {
        let connection = request.connection_info();
        format!("{}://{}", connection.scheme(), connection.host())
    };
    let query = request.query_string().to_owned();
    shown(app, &request, move |app| written(&PageView::new(app, View::read(&query)?, server)?)).await
}

/// The page of one host.
#[utoipa::path(
    get, path = "/hosts/{id}", tag = "operation", summary = "A host's page of the dashboard",
    params(
        ("id" = String, Path, description = "`cluster/name`, or the name alone.", example = "node-1"),
        ("range" = Option<String>, Query, description = "`1h`, `24h`, `7d` or `30d`.", example = "24h"),
    ),
    responses(
        (status = 200, description = "A page that loads nothing from elsewhere.", content_type = "text/html", body = String),
        Refused, NotThere, Contradicts,
    ),
)]
pub async fn host(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> HttpResponse {
    owner(app, id.into_inner(), request, OwnerKind::Host).await
}

/// The page of one chassis.
#[utoipa::path(
    get, path = "/chassis/{id}", operation_id = "chassis_page", tag = "operation", summary = "A chassis' page of the dashboard",
    params(
        ("id" = String, Path, description = "`cluster/name`, or the name alone.", example = "enc-1"),
        ("range" = Option<String>, Query, description = "`1h`, `24h`, `7d` or `30d`.", example = "24h"),
    ),
    responses(
        (status = 200, description = "A page that loads nothing from elsewhere.", content_type = "text/html", body = String),
        Refused, NotThere, Contradicts,
    ),
)]
pub async fn chassis(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> HttpResponse {
    owner(app, id.into_inner(), request, OwnerKind::Chassis).await
}

async fn owner(app: web::Data<App>, id: String, request: HttpRequest, kind: OwnerKind) -> HttpResponse {
    let query = request.query_string().to_owned();
    let make = move |app: &App| {
        let range = Range::read(&Params::read(&query, &["range"])?)?;
        let (snapshot, topology, _) = app.books.moment();
        let owner = resolve(&snapshot, &topology, kind, &id)?;
        written(&OwnerPage::new(app, &owner, range)?)
    };
    shown(app, &request, make).await
}

/// The page of one device.
#[utoipa::path(
    get, path = "/devices/{id}", operation_id = "device_page", tag = "operation", summary = "A device's page of the dashboard",
    params(
        ("id" = String, Path, description = "A device, or `cluster/kind/owner/scope:device`.", example = "GPU-5a1c"),
        ("range" = Option<String>, Query, description = "`1h`, `24h`, `7d` or `30d`.", example = "24h"),
    ),
    responses(
        (status = 200, description = "A page that loads nothing from elsewhere.", content_type = "text/html", body = String),
        Refused, NotThere, Contradicts,
    ),
)]
pub async fn device(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> HttpResponse {
    let query = request.query_string().to_owned();
    let make = move |app: &App| {
        let range = Range::read(&Params::read(&query, &["range"])?)?;
        let (snapshot, _, now) = app.books.moment();
        let (row, view) = devices::resolve(&snapshot, now, &id)?;
        written(&DevicePage::new(app, &row, view, range)?)
    };
    shown(app, &request, make).await
}

/// A page, or the one that is shown while there are no figures yet.
async fn shown(
    app: web::Data<App>,
    request: &HttpRequest,
    make: impl FnOnce(&App) -> Result<String, Problem> + Send + 'static,
) -> HttpResponse {
    let waited = ready(&app, PATIENCE).await;
    let made = off_thread(move || match waited {
        Ok(()) => make(&app),
        Err(since) => written(&WaitingPage::new(&app, since)?),
    });
    answer(request, made.await)
}

/// Style and script of the dashboard. Their address has a part that changes with their content.
///
/// # Errors
/// 404 if there is none of that name.
#[utoipa::path(
    get, path = "/assets/{file}", tag = "operation", summary = "A file of the dashboard",
    params(
        ("file" = String, Path, description = "Its name.", example = "page.css"),
        ("v" = Option<String>, Query, description = "Which content: an address with it may be kept for ever."),
    ),
    responses(
        (status = 200, description = "The file.", content((String = "text/css"), (String = "text/javascript"))),
        Refused, NotThere,
    ),
)]
pub async fn asset(file: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["v"])?;
    let (kind, body) = match file.as_str() {
        "page.css" => ("text/css; charset=utf-8", STYLE),
        "live.js" => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return Err(Problem::not_found("no-such-path", format!("there is nothing at {}", request.path()))),
    };
    let kept = if params.get("v").is_none() { "no-cache" } else { "public, max-age=31536000, immutable" };
    Ok(HttpResponse::Ok()
        .content_type(kind)
        .insert_header((CACHE_CONTROL, kept))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(body))
}

fn written(view: &impl Template) -> Result<String, Problem> {
    view.render().map_err(|error| Problem::internal("render the page", &error))
}

/// A page; or one that says what is wrong, to whoever takes pages.
fn answer(request: &HttpRequest, made: Result<String, Problem>) -> HttpResponse {
    let (status, html) = match made {
        Ok(html) => (StatusCode::OK, html),
        Err(problem) => match ProblemView::new(&problem).render() {
            Ok(html) if takes_pages(request) => (problem.status_code(), html),
            _ => return problem.error_response(),
        },
    };
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header(("x-content-type-options", "nosniff"))
        .insert_header(("referrer-policy", "same-origin"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(html)
}

/// Whether a browser asks.
fn takes_pages(request: &HttpRequest) -> bool {
    request
        .headers()
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}
