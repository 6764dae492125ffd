//! The routes of the read path.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::problem::Problem;
use super::{chassis, devices, hosts, metrics, page, report, rollup, top, unmatched};

/// Adds the routes.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .route("/", web::get().to(page::page))
        .route("/metrics", web::get().to(metrics::metrics))
        .route("/api/v1/rollup", web::get().to(rollup::rollup))
        .route("/api/v1/report", web::get().to(report::report))
        .route("/api/v1/top", web::get().to(top::top))
        .route("/api/v1/unmatched", web::get().to(unmatched::list))
        .route("/api/v1/hosts", web::get().to(hosts::list))
        .route("/api/v1/hosts/{id:.+}", web::get().to(hosts::one))
        .route("/api/v1/chassis", web::get().to(chassis::list))
        .route("/api/v1/chassis/{id:.+}", web::get().to(chassis::one))
        .route("/api/v1/devices", web::get().to(devices::list))
        .route("/api/v1/devices/{id:.+}", web::get().to(devices::one));
}

/// A JSON answer; figures of now must not be kept by anyone on the way.
pub(super) fn json(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(body)
}

/// Runs what blocks (the store is read) off the HTTP threads.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    web::block(work).await.map_err(|error| Problem::internal("answer the question", &error))?
}
