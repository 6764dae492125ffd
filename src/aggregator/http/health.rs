//! `/healthz`: the process answers. `/readyz`: it can book and persist.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// Whether the process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    /// `alive`.
    status: &'static str,
}

/// Whether it can book and persist.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    ready: bool,
    /// Why not.
    reasons: Vec<&'static str>,
}

pub(crate) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/healthz").route(web::get().to(healthz)));
    cfg.service(web::resource("/readyz").route(web::get().to(readyz)));
}

/// Answers.
#[utoipa::path(
    get, path = "/healthz", tag = "operation", summary = "Whether the process answers",
    responses((status = 200, description = "It does.", body = Alive)),
)]
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Alive { status: "alive" })
}

/// Tells whether the ledger books and persists.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", summary = "Whether it can book and persist",
    responses(
        (status = 200, description = "It can.", body = Ready),
        (status = 503, description = "It cannot: `reasons` says why.", body = Ready),
    ),
)]
pub(super) async fn readyz(app: web::Data<App>) -> HttpResponse {
    let reasons = app.health.reasons();
    let mut response = if reasons.is_empty() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(Ready { ready: reasons.is_empty(), reasons })
}
