//! `/api/v1/inventory`: labels, topology and service dates as they are in force, and the file behind them.
//!
//! `GET` lists the owners; `?format=file` gives the file as it is, with an `ETag`. `PUT` replaces the file, after
//! it was read as a whole and found good: for callers on this machine only, as all administration.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use billing::inventory::read::inventory;
use billing::inventory::{ALWAYS, Entry};
use meter::{Owner, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::acts::caller;
use super::limits;
use super::listing::{Page, owner_key};
use super::openapi::parameters::PageParameters;
use super::openapi::problems::{ComeAgain, Contradicts, Elsewhere, ProblemDocument, Refused, Unsent};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::acts::{Act, Deed};
use crate::app::App;
use crate::query::{Params, rfc3339};

pub(crate) fn configure(routes: &mut web::ServiceConfig) {
    routes.service(web::resource("/api/v1/inventory").route(web::get().to(get)).route(web::put().to(put)));
}

/// An owner that the inventory names.
#[derive(Serialize, ToSchema)]
#[schema(as = InventoryOwner)]
pub(super) struct Named {
    /// `host`, `chassis` or `meter`.
    kind: &'static str,
    cluster: String,
    name: String,
    in_service: Option<String>,
    retired: Option<String>,
    alias_of: Option<String>,
    labels: Vec<Held>,
}

/// Labels and the chassis, for as long as they hold.
#[derive(Serialize, ToSchema)]
#[schema(as = InventorySpan)]
pub(super) struct Held {
    from: Option<String>,
    until: Option<String>,
    #[schema(value_type = BTreeMap<String, String>)]
    labels: meter::Labels,
    chassis: Option<String>,
}

/// A page of the inventory.
#[derive(Serialize, ToSchema)]
pub(super) struct InventoryPage {
    as_of: String,
    /// The file, if there is one.
    file: Option<String>,
    /// Why the file as it is now is not in force, if it is not.
    failure: Option<String>,
    owners: Vec<Named>,
    next_cursor: Option<String>,
}

/// An inventory that was put in place.
#[derive(Serialize, ToSchema)]
pub(super) struct InventoryPut {
    /// How many owners it names.
    owners: usize,
}

/// The inventory as JSON.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the document alone tells of it")]
pub(super) enum InventoryForms {
    /// A page of owners.
    Page(InventoryPage),
    /// The file, where that is a Prometheus file_sd.
    #[schema(value_type = Vec<Object>)]
    File(Vec<serde_json::Value>),
}

/// In which form.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the document alone tells of it")]
pub(super) enum InventoryForm {
    /// Owner by owner.
    Json,
    /// The file as it is.
    File,
}

impl Named {
    fn of(owner: &Owner, entry: &Entry, retired: Option<Utc>) -> Self {
        // All of time has no border.
        let border = |at: Utc| (at != ALWAYS.start && at != ALWAYS.end).then(|| rfc3339(at));
        let held = entry.spans.iter().map(|span| Held {
            from: border(span.valid.start),
            until: border(span.valid.end),
            labels: meter::Labels::clone(&span.labels),
            chassis: span.chassis.as_ref().map(|chassis| chassis.name.to_string()),
        });
        Self {
            kind: owner.kind.word(),
            cluster: owner.cluster.to_string(),
            name: owner.name.to_string(),
            in_service: entry.in_service.map(rfc3339),
            retired: retired.map(rfc3339),
            alias_of: entry.alias_of.as_ref().map(|other| other.name.to_string()),
            labels: held.collect(),
        }
    }
}

/// Lists what the inventory says, or sends its file.
#[utoipa::path(
    get, path = "/api/v1/inventory", operation_id = "get_inventory", tag = "fleet",
    summary = "Labels, topology and service dates in force",
    params(
        ("format" = inline(Option<InventoryForm>), Query, description = "`file` for the file as it is, with its `etag`."),
        PageParameters,
    ),
    responses(
        (status = 200, description = "A page of owners, or the file.", content(
            (InventoryForms = "application/json"), (String = "text/csv"),
        )),
        (status = 304, description = "As it was: `if-none-match` names it."),
        Refused, Contradicts,
    ),
)]
pub(super) async fn get(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["format", "limit", "cursor"])?;
    if params.one_of("format", &["json", "file"])? == "file" {
        let (bytes, tag) = off_thread(move || read(&file(&app)?)).await?;
        let kind = if bytes.trim_ascii_start().starts_with(b"[") { "application/json" } else { "text/csv" };
        let mut response = HttpResponse::Ok();
        return Ok(response
            .content_type(kind)
            .insert_header((ETAG, tag))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(bytes));
    }
    let page = Page::read(&params)?;
    off_thread(move || {
        let known = app.books.inventory.load();
        let keyed: BTreeMap<_, _> = known.entries().map(|one| (owner_key(one.0), one)).collect();
        let paged = page.of(keyed, |(owner, entry)| Some(Named::of(owner, entry, known.retired(owner))));
        Ok(InventoryPage {
            as_of: rfc3339((app.books.now)()),
            file: app.books.inventory.path().map(|path| path.display().to_string()),
            failure: app.books.inventory.failure().map(|why| why.to_string()),
            owners: paged.items,
            next_cursor: paged.next_cursor,
        })
    })
    .await
    .map(|body| answer(&body))
}

/// The file that is followed, behind links, so that replacing it leaves those as they are.
fn file(app: &App) -> Result<PathBuf, Problem> {
    let Some(path) = app.books.inventory.path() else {
        let detail = "this aggregator has no inventory file: name one in its configuration, [files] inventory";
        return Err(Problem::conflict("no-inventory-file", detail));
    };
    path.canonicalize().map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::conflict("inventory-file-unusable", format!("{}: {error}; nothing was changed", path.display()))
}

fn read(path: &Path) -> Result<(Vec<u8>, String), Problem> {
    let bytes = std::fs::read(path).map_err(|error| unusable(path, &error))?;
    let tag = tag(&bytes);
    Ok((bytes, tag))
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", blake3::hash(bytes).to_hex())
}

/// Replaces the file.
#[utoipa::path(
    put, path = "/api/v1/inventory", operation_id = "put_inventory", tag = "administration",
    summary = "Replace the inventory's file, as a whole or not at all",
    params(("if-match" = Option<String>, Header, description = "The `etag` of the file that was changed.")),
    request_body(description = "At most 1 MiB.", content(
        (String = "text/csv", example = "host,team,site\nnode-17,nlp,par1\n"), (Vec<Object> = "application/json"),
    )),
    responses(
        (status = 200, description = "In place and in force.", body = InventoryPut, headers(("etag" = String))),
        (status = 412, description = "It is not the one that `if-match` names.", body = ProblemDocument,
            content_type = "application/problem+json"),
        Refused, Elsewhere, Contradicts, Unsent, ComeAgain,
    ),
)]
pub(super) async fn put(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    Params::read(request.query_string(), &[])?;
    let from = caller(&request)?;
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["text/csv", "application/json"].contains(&kind.as_str()) {
        let detail = format!("the content type must be text/csv, or application/json for file_sd, not {kind:?}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let expected = header(IF_MATCH).to_owned();
    let body = limits::read(&app, &request, payload).await?.bytes;
    let (owners, tag) = off_thread(move || replace(&app, &body, &expected, &from.to_string())).await?;
    Ok(HttpResponse::Ok()
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(InventoryPut { owners }))
}

/// Puts a good file in the place of the one that is there, and into force; on disk when this returns. Gives how many
/// owners it names, and its tag.
fn replace(app: &App, body: &[u8], expected: &str, from: &str) -> Result<(usize, String), Problem> {
    let path = file(app)?;
    let (old, before) = read(&path)?;
    // Sent packed, the tag was weak: the bytes that came out are the same.
    if !expected.is_empty()
        && expected != "*"
        && !expected.split(',').any(|one| one.trim().trim_start_matches("W/") == before)
    {
        let detail = "the inventory is not the one that If-Match names: read it again, and put the change into that";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "inventory-changed", detail));
    }
    let known = inventory("body", body).map_err(|error| {
        let faults =
            error.faults.iter().map(|fault| json!({"line": fault.line, "column": fault.column, "what": fault.what}));
        let faults: Vec<_> = faults.take(50).collect();
        Problem::bad_request("bad-inventory", error.to_string()).with("faults", json!(faults))
    })?;
    let after = tag(body);
    if old == body {
        return Ok((known.entries().count(), after));
    }
    write(&path, body).map_err(|error| unusable(&path, &error))?;
    app.books.inventory.look();
    let act = Act {
        at: rfc3339((app.books.now)()),
        act: Deed::Inventory,
        owner: path.display().to_string(),
        by: String::new(),
        from: from.to_owned(),
        old: Some(before),
        new: Some(after.clone()),
    };
    if let Err(error) = app.acts.note(vec![act]) {
        // What is in force is the file's, which is on disk: only the note of it is missing.
        tracing::error!("failed to record that the inventory was replaced: {error}");
    }
    Ok((known.entries().count(), after))
}

/// Replaces a file by one of the same mode, at once or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mode = std::fs::metadata(path)?.permissions();
    let mut new = tempfile::Builder::new().prefix(".inventory-").tempfile_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().set_permissions(mode)?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}
