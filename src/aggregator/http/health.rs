//! `/healthz`: the process answers. `/readyz`: it can book and persist.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::app::App;

pub(crate) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/healthz").route(web::get().to(healthz)));
    cfg.service(web::resource("/readyz").route(web::get().to(readyz)));
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

async fn readyz(app: web::Data<App>) -> HttpResponse {
    let reasons = app.health.reasons();
    let mut response = if reasons.is_empty() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(json!({ "ready": reasons.is_empty(), "reasons": reasons }))
}
