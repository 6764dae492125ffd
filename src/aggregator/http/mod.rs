//! The HTTP interface: the route table, and what all routes share.

pub mod acts;
pub mod backup;
mod body;
pub mod budgets;
pub mod chassis;
pub mod codes;
pub mod devices;
pub mod events;
pub mod explain;
pub mod head;
pub mod health;
pub mod hosts;
pub mod ingest;
pub mod ingest_json;
mod inventory;
pub mod jobs;
pub mod limits;
mod listing;
pub mod meters;
pub mod metrics;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod rates;
pub mod read;
pub mod readings;
pub mod reconcile;
pub mod report;
pub mod respond;
pub mod rollup;
pub mod statements;
pub mod top;
pub mod transfer;
pub mod unmatched;
mod written;

use actix_web::{HttpRequest, HttpResponse, web};

use problem::Problem;

/// Every route. Each file registers its own paths.
pub fn configure(cfg: &mut web::ServiceConfig) {
    ingest::configure(cfg);
    // Before the hosts' own route, whose pattern would take theirs.
    acts::configure(cfg);
    backup::configure(cfg);
    inventory::configure(cfg);
    jobs::configure(cfg);
    meters::configure(cfg);
    read::configure(cfg);
    statements::configure(cfg);
    health::configure(cfg);
    openapi::configure(cfg);
    cfg.default_service(web::to(nowhere));
}

async fn nowhere(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::not_found("no-such-path", format!("there is nothing at {}", request.path())))
}
