//! `GET /api/v1/openapi.json`: the interface as a document, made from the code; `GET /api/v1/docs`: the same as a page
//! to try it out. The page is embedded and loads nothing from elsewhere.

use std::sync::{Arc, LazyLock};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG};
use actix_web::{HttpRequest, HttpResponse, web};
use utoipa::openapi::OpenApi as Document;
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::Config;

use super::codes::CODES;
use super::problem::Problem;
use super::{
    acts, backup, budgets, chassis, devices, events, explain, health, hosts, ingest, inventory, jobs, meters, metrics,
    page, rates, reconcile, report, rollup, statements, top, unmatched,
};
use crate::query::Params;

pub mod parameters;
pub mod problems;

use problems::{NotThere, Refused};

/// What the page may load: itself. Swagger UI sets styles of its elements, and has pictures in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Where the document is, as seen from the page: also behind a proxy that puts a path before ours.
const FROM_PAGE: &str = "openapi.json";

/// The document with its hash, written once.
static WRITTEN: LazyLock<Result<(String, String), String>> = LazyLock::new(|| {
    let text = document().to_json().map_err(|error| error.to_string())?;
    let tag = format!("\"{}\"", blake3::hash(text.as_bytes()).to_hex());
    Ok((text, tag))
});

pub(crate) fn configure(routes: &mut web::ServiceConfig) {
    routes
        .service(web::resource("/api/v1/openapi.json").route(web::get().to(openapi)))
        .service(web::resource("/api/v1/docs").route(web::get().to(docs)))
        .service(web::resource("/api/v1/docs/{file}").route(web::get().to(docs_file)));
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wattledger",
        description = "The energy ledger of a GPU and HPC fleet: each joule counted once, and priced.\n\n\
            Every answer tells the moment of its figures as `as_of`. Lists come in pages: `limit` items, then \
            `next_cursor` for the next one. Energy is told in joules, kWh and, exact, as whole microjoules in a string; \
            money as a decimal string per currency. What was not measured is said to be so: null is not zero.\n\n\
            An error is `application/problem+json` with a stable `code`. Unknown parameters are refused.\n\n\
            Limits: a body has at most 1 MiB, a question 32 parameters, a page 10,000 items.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This aggregator")),
    tags(
        (name = "energy", description = "Energy, cost, carbon and their quality."),
        (name = "fleet", description = "Hosts, chassis and accounts as they are now."),
        (name = "jobs", description = "Jobs, and measurements of people."),
        (name = "billing", description = "Closed months, prices, budgets."),
        (name = "ingest", description = "Readings in."),
        (name = "administration", description = "For callers on the aggregator's own machine."),
        (name = "operation", description = "The aggregator itself."),
    ),
    paths(
        ingest::ingest,
        rollup::rollup,
        report::report,
        explain::explain,
        reconcile::reconcile,
        hosts::list,
        hosts::one,
        chassis::list,
        chassis::one,
        devices::list,
        devices::one,
        top::top,
        unmatched::list,
        inventory::get,
        inventory::put,
        jobs::list,
        jobs::take,
        jobs::one,
        jobs::stop,
        meters::list,
        meters::start,
        meters::one,
        meters::stop,
        statements::list,
        statements::close,
        statements::one,
        rates::rates,
        budgets::list,
        acts::list,
        acts::rebind,
        acts::retire,
        acts::unretire,
        backup::backup,
        metrics::metrics,
        health::healthz,
        health::readyz,
        events::events,
        page::page,
        page::host,
        page::chassis,
        page::device,
        page::asset,
        openapi,
        docs,
        docs_file,
    ),
    modifiers(&Facts),
)]
struct Api;

/// What is known elsewhere: the version, and the codes of problems.
struct Facts;

impl Modify for Facts {
    fn modify(&self, document: &mut Document) {
        env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
        let codes = CODES.iter().map(|code| format!("`{}`", code.code)).collect::<Vec<_>>().join(" ");
        let described = document.info.description.get_or_insert_default();
        described.push_str("\n\nCodes: ");
        described.push_str(&codes);
        let items = document.paths.paths.values_mut();
        let operations = items.flat_map(|item| [&mut item.get, &mut item.post, &mut item.put].into_iter().flatten());
        for told in operations.filter_map(|operation| operation.description.as_mut()) {
            // What a handler's documentation says of errors is for whoever reads the code: the answers say it here.
            told.truncate(told.find("# Errors").unwrap_or(told.len()));
        }
    }
}

/// The document.
#[must_use]
pub fn document() -> Document {
    Api::openapi()
}

/// Serves the document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "operation", summary = "This document",
    responses(
        (status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object,
            headers(("etag" = String))),
        (status = 304, description = "As it was: `if-none-match` names it."),
        Refused,
    ),
)]
pub(super) async fn openapi(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::read(request.query_string(), &[])?;
    let (text, tag) = WRITTEN.as_ref().map_err(|why| Problem::internal("write the document", why))?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((ETAG, tag.as_str()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(text.as_str()))
}

/// Serves the page.
#[utoipa::path(
    get, path = "/api/v1/docs", tag = "operation", summary = "Documentation to try out",
    responses(
        (status = 200, description = "A page that loads nothing from elsewhere.", content_type = "text/html", body = String),
        (status = 304, description = "As it was: `if-none-match` names it."),
        Refused,
    ),
)]
pub(super) async fn docs(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::read(request.query_string(), &[])?;
    let (page, kind) = of_page("index.html")?;
    // Its files lie one level below.
    let page = String::from_utf8_lossy(&page).replace("=\"./", "=\"docs/").replace("=\"index.css", "=\"docs/index.css");
    Ok(embedded(page.replace("<title>Swagger UI</title>", "<title>wattledger API</title>").into_bytes(), kind))
}

/// Serves a file of the page.
#[utoipa::path(
    get, path = "/api/v1/docs/{file}", tag = "operation", summary = "A file of the documentation",
    params(("file" = String, Path, description = "Its name.", example = "swagger-ui.css")),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/css"), (String = "text/javascript"), (String = "text/html"), (String = "image/png"),
        )),
        (status = 304, description = "As it was: `if-none-match` names it."),
        Refused,
        NotThere,
    ),
)]
pub(super) async fn docs_file(file: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::read(request.query_string(), &[])?;
    let (bytes, kind) = of_page(&file)?;
    Ok(embedded(bytes, kind))
}

/// A file of the page as it is embedded, and its media type.
fn of_page(file: &str) -> Result<(Vec<u8>, String), Problem> {
    let config = Config::from(FROM_PAGE).validator_url("none").try_it_out_enabled(true).use_base_layout();
    let found = utoipa_swagger_ui::serve(file, Arc::new(config));
    let found = found.map_err(|error| Problem::internal("make the documentation", &error))?;
    let found = found.ok_or_else(|| {
        let shown: String = file.chars().take(200).collect();
        Problem::not_found("no-such-path", format!("the documentation has no file {shown:?}"))
    })?;
    Ok((found.bytes.into_owned(), found.content_type))
}

fn embedded(bytes: Vec<u8>, kind: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((ETAG, format!("\"{}\"", blake3::hash(&bytes).to_hex())))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header(("x-content-type-options", "nosniff"))
        .insert_header(("referrer-policy", "no-referrer"))
        .body(bytes)
}
