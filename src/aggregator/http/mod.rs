//! The HTTP interface: the route table, and what all routes share.

pub mod acts;
pub mod backup;
pub mod chassis;
pub mod devices;
pub mod health;
pub mod hosts;
pub mod ingest;
pub mod ingest_json;
pub mod limits;
mod listing;
pub mod metrics;
pub mod page;
pub mod problem;
pub mod read;
pub mod readings;
pub mod report;
pub mod rollup;
pub mod top;
pub mod unmatched;

use actix_web::{HttpRequest, HttpResponse, web};

use problem::Problem;

/// Every route. Each file registers its own paths.
pub fn configure(cfg: &mut web::ServiceConfig) {
    ingest::configure(cfg);
    // Before the hosts' own route, whose pattern would take theirs.
    acts::configure(cfg);
    backup::configure(cfg);
    read::configure(cfg);
    health::configure(cfg);
    cfg.default_service(web::to(nowhere));
}

async fn nowhere(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::not_found("no-such-path", format!("there is nothing at {}", request.path())))
}
