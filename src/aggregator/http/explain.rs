//! `GET /api/v1/explain`: how one host's figure came about.

use actix_web::{HttpRequest, HttpResponse, web};
use cost::Window;
use cost::explain::Explanation;
use meter::OwnerKind;
use serde_json::json;

use super::hosts::resolve;
use super::openapi::problems::{Ambiguous, NotThere, Refused, TooMuch};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::explain::{Question, explain as work};
use crate::query::{Params, Zone, cost_problem};

/// Answers the request. `host` is a name or `cluster/name`; a chassis that no host sits in is billed like one.
///
/// # Errors
/// A problem that names the parameter at fault; 404 if there is no such host.
#[utoipa::path(
    get, path = "/api/v1/explain", tag = "energy", summary = "How one host's figure came about",
    params(
        ("host" = String, Query, description = "A name, or `cluster/name`.", example = "node-17"),
        ("window" = String, Query, description = "As of a rollup; at most 400 days.", example = "24h"),
        ("tz" = Option<String>, Query, description = "The IANA zone of the window.", example = "Europe/Paris"),
    ),
    responses(
        (status = 200, description = "Accounts, holes, boundary, slots, prices.", body = Explanation),
        Refused, NotThere, Ambiguous, TooMuch,
    ),
)]
pub async fn explain(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["host", "window", "tz"])?;
    let needed = |name: &'static str, like: &str| {
        params.get(name).map(str::to_owned).ok_or_else(|| {
            Problem::bad_request("missing-parameter", format!("{name} is needed, such as {name}={like}"))
                .with("parameter", json!(name))
        })
    };
    let (host, window) = (needed("host", "node-17")?, needed("window", "24h")?);
    off_thread(move || {
        let ((snapshot, topology, now), card) = (app.books.moment(), app.books.rates.load());
        let zone = Zone::of(params.get("tz").unwrap_or(&app.books.settings.server.timezone));
        let zone = zone.map_err(|error| cost_problem(&error))?;
        let window = Window::parse(&window, now, &zone.tz).map_err(|error| cost_problem(&error))?;
        let owner = resolve(&snapshot, &topology, OwnerKind::Host, &host).or_else(|problem| {
            let chassis = resolve(&snapshot, &topology, OwnerKind::Chassis, &host);
            chassis.ok().filter(|chassis| topology.hosts_of(chassis).is_none()).ok_or(problem)
        })?;
        let figures = app.books.figures(&snapshot, &topology, now);
        let told = work(&Question { owner, window, zone }, &figures, &card, &app.statements)?;
        Ok(if app.books.hides_money() { told.without_money() } else { told })
    })
    .await
    .map(|body| answer(&body))
}
