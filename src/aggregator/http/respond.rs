//! How the read path answers.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::problem::Problem;

/// A JSON answer; figures of now must not be kept by anyone on the way.
pub(super) fn json(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(body)
}

/// Runs what blocks (the store is read) off the HTTP threads.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    web::block(work).await.map_err(|error| Problem::internal("answer the question", &error))?
}
