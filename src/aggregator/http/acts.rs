//! Administration: `POST /api/v1/hosts/{id}/rebind`, `…/retire`, `…/unretire`, and `GET /api/v1/acts`.
//!
//! For callers on this machine only, for as long as there are no tokens: see `caller`.

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, FORWARDED, HOST, VIA};
use actix_web::{HttpRequest, HttpResponse, guard, web};
use meter::{Owner, OwnerKind, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::hosts::resolve;
use super::limits::{self, turned_away};
use super::listing::{Page, newest_first};
use super::openapi::parameters::PageParameters;
use super::openapi::problems::{Ambiguous, ComeAgain, Elsewhere, NotThere, Refused, Unsent};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::acts::{Act, Deed};
use crate::app::App;
use crate::door::{Told, Work};
use crate::query::{Params, rfc3339};
use crate::refused::hex;

/// Longest name of who acts, in bytes.
const BY_MAX: usize = 128;

pub(crate) fn configure(cfg: &mut web::ServiceConfig) {
    // Only POST: a host may bear any of these names.
    let act = |path| web::resource(path).guard(guard::Post());
    cfg.service(act("/api/v1/hosts/{id:.+}/rebind").to(rebind))
        .service(act("/api/v1/hosts/{id:.+}/retire").to(retire))
        .service(act("/api/v1/hosts/{id:.+}/unretire").to(unretire))
        .service(web::resource("/api/v1/acts").route(web::get().to(list)));
}

/// The address of a caller on this machine.
///
/// There are no tokens yet, so only who works on the aggregator's machine may administer. A proxy on it
/// lets others in: what came through one is refused, too. The host asked for must be an address or
/// `localhost`, so that a page whose name was pointed here cannot ask through somebody's browser.
///
/// # Errors
/// 403 for everybody else.
pub(super) fn caller(request: &HttpRequest) -> Result<IpAddr, Problem> {
    let refuse = |why: &str| {
        let detail = format!("{why}: administration is for callers on the aggregator's own machine");
        Err(Problem::new(StatusCode::FORBIDDEN, "not-from-here", detail))
    };
    let headers = request.headers();
    if headers.contains_key(FORWARDED) || headers.contains_key(VIA) || headers.contains_key("x-forwarded-for") {
        return refuse("the call came through a proxy");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
    let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if !is_address && !host.eq_ignore_ascii_case("localhost") {
        return refuse("the call does not name this machine by its address");
    }
    match request.peer_addr().map(|peer| peer.ip().to_canonical()) {
        Some(peer) if peer.is_loopback() => Ok(peer),
        _ => refuse("the call comes from another machine"),
    }
}

/// What a call may say.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ActSaid)]
pub(super) struct Said {
    /// Who acts, by their own word.
    by: String,
    /// From when on a host is retired, as RFC 3339; now if absent.
    #[schema(format = DateTime)]
    at: Option<String>,
}

/// An act that was done.
#[derive(Serialize, ToSchema)]
pub(super) struct ActDone {
    /// The host, `cluster/name`.
    host: String,
    act: Act,
}

/// A page of acts.
#[derive(Serialize, ToSchema)]
pub(super) struct ActsPage {
    as_of: String,
    /// The newest first.
    acts: Vec<Act>,
    next_cursor: Option<String>,
}

/// Who calls and what they say.
async fn said(app: &App, request: &HttpRequest, payload: web::Payload) -> Result<(Said, IpAddr), Problem> {
    told(app, request, payload, |said: &Said| &said.by).await
}

/// What a caller on this machine says, and their address; `by` is who they say they are. A browser sends
/// JSON only where it was allowed to: that keeps other sites' forms out.
pub(super) async fn told<T: serde::de::DeserializeOwned>(
    app: &App,
    request: &HttpRequest,
    payload: web::Payload,
    by: fn(&T) -> &str,
) -> Result<(T, IpAddr), Problem> {
    let from = caller(request)?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        let detail = format!("the content type must be application/json, not {kind:?}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let body = limits::read(app, request, payload).await?;
    let said: T = serde_json::from_slice(&body.bytes)
        .map_err(|error| Problem::bad_request("malformed-act", format!("the body: {error}")))?;
    let name = by(&said);
    if name.len() > BY_MAX || name.chars().any(char::is_control) {
        let detail = format!("`by` has at most {BY_MAX} bytes and no control characters");
        return Err(Problem::bad_request("malformed-act", detail));
    }
    Ok((said, from))
}

/// The host that an act is about.
fn host(app: &App, id: &str) -> Result<Owner, Problem> {
    let (snapshot, topology, _) = app.books.moment();
    resolve(&snapshot, &topology, OwnerKind::Host, id)
}

/// Records an act; on disk when this returns.
async fn record(app: web::Data<App>, act: Act, owner: Owner, retired: Option<Utc>) -> Result<(), Problem> {
    off_thread(move || {
        app.acts.record(act, &owner, retired).map_err(|error| {
            tracing::error!("failed to record an act: {error}");
            Problem::come_again("store-failed", "the act could not be recorded; nothing was done, ask again")
        })
    })
    .await
}

/// Gives a host's name to another machine.
#[utoipa::path(
    post, path = "/api/v1/hosts/{id}/rebind", tag = "administration", summary = "Give a host's name to another machine",
    description = "To the machine that was refused under it; if none was, to the next one that reports.",
    params(("id" = String, Path, description = "A name, or `cluster/name`.", example = "node-17")),
    request_body(content = Said, description = "At most 1 MiB.", example = json!({"by": "alice"})),
    responses(
        (status = 200, description = "Done, and recorded.", body = ActDone),
        Refused, NotThere, Ambiguous, Elsewhere, Unsent, ComeAgain,
    ),
)]
pub(super) async fn rebind(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (said, from) = said(&app, &request, payload).await?;
    let owner = host(&app, &id)?;
    let bound = app.books.published.load().owner(&owner).and_then(|view| view.state.fingerprint);
    let Some(bound) = bound else {
        let detail = format!("no machine is bound to {owner}: the next one that reports itself under it will be");
        return Err(Problem::conflict("not-bound", detail));
    };
    let to = app.refused.machine(&owner);
    let (old, new) = (Some(hex(&bound)), to.as_ref().map(hex));
    let at = rfc3339((app.books.now)());
    let act = Act { at, act: Deed::Rebind, owner: owner.to_string(), by: said.by, from: from.to_string(), old, new };
    record(app.clone(), act.clone(), owner.clone(), None).await?;
    let ticket = app.ledger.enter(0).map_err(|refused| turned_away(&app, refused))?;
    match app.ledger.ask(Work::Rebind(Box::new(owner.clone()), to), ticket).await {
        Ok(Told::Rebound(Some(_))) => {
            app.refused.forget(&owner);
            Ok(done(&owner, &act))
        }
        _ => Err(Problem::come_again("store-failed", "the act is recorded, but the ledger could not do it; ask again")),
    }
}

/// Takes a host out of service.
#[utoipa::path(
    post, path = "/api/v1/hosts/{id}/retire", tag = "administration", summary = "Take a host out of service",
    description = "No readings are expected of it from then on; what still comes in is booked and billed.",
    params(("id" = String, Path, description = "A name, or `cluster/name`.", example = "node-17")),
    request_body(content = Said, description = "At most 1 MiB.", example = json!({"by": "alice"})),
    responses(
        (status = 200, description = "Done, and recorded.", body = ActDone),
        Refused, NotThere, Ambiguous, Elsewhere, Unsent, ComeAgain,
    ),
)]
pub(super) async fn retire(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (said, from) = said(&app, &request, payload).await?;
    let (owner, now) = (host(&app, &id)?, (app.books.now)());
    let at = match &said.at {
        None => now,
        Some(text) => {
            let at = text.parse::<jiff::Timestamp>().map_err(|error| error.to_string());
            let at = at.and_then(|at| i64::try_from(at.as_nanosecond()).map_err(|error| error.to_string()));
            let at = at.map(Utc).and_then(|at| if at > now { Err("it is in the future".into()) } else { Ok(at) });
            at.map_err(|why| Problem::bad_request("bad-instant", format!("`at` {text:?}: {why}")))?
        }
    };
    let done = finish(app.clone(), said.by, from, owner.clone(), Deed::Retire, Some(at)).await?;
    let ticket = app.ledger.enter(0).map_err(|refused| turned_away(&app, refused))?;
    match app.ledger.ask(Work::Release(Box::new(owner), at), ticket).await {
        Ok(Told::Released(_)) => Ok(done),
        _ => {
            Err(Problem::come_again("store-failed", "the act is recorded, but the host's jobs did not end; ask again"))
        }
    }
}

/// Takes a retirement back.
#[utoipa::path(
    post, path = "/api/v1/hosts/{id}/unretire", tag = "administration", summary = "Take a retirement back",
    params(("id" = String, Path, description = "A name, or `cluster/name`.", example = "node-17")),
    request_body(content = Said, description = "At most 1 MiB.", example = json!({"by": "alice"})),
    responses(
        (status = 200, description = "Done, and recorded.", body = ActDone),
        Refused, NotThere, Ambiguous, Elsewhere, Unsent, ComeAgain,
    ),
)]
pub(super) async fn unretire(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (said, from) = said(&app, &request, payload).await?;
    let owner = host(&app, &id)?;
    if !app.acts.retirements().load().contains_key(&owner) {
        let detail = match app.books.inventory.load().retired(&owner) {
            Some(_) => format!("{owner} is retired by the inventory: change it there"),
            None => format!("{owner} is not retired"),
        };
        return Err(Problem::conflict("not-retired", detail));
    }
    finish(app, said.by, from, owner, Deed::Unretire, None).await
}

async fn finish(
    app: web::Data<App>,
    by: String,
    from: IpAddr,
    owner: Owner,
    deed: Deed,
    retired: Option<Utc>,
) -> Result<HttpResponse, Problem> {
    let old = app.acts.retirements().load().get(&owner).copied().map(rfc3339);
    let (at, new) = (rfc3339((app.books.now)()), retired.map(rfc3339));
    let act = Act { at, act: deed, owner: owner.to_string(), by, from: from.to_string(), old, new };
    record(app, act.clone(), owner.clone(), retired).await?;
    Ok(done(&owner, &act))
}

/// The answer to an act that was done.
fn done(owner: &Owner, act: &Act) -> HttpResponse {
    answer(&ActDone { host: format!("{}/{}", owner.cluster, owner.name), act: act.clone() })
}

/// Lists the newest acts.
#[utoipa::path(
    get, path = "/api/v1/acts", operation_id = "list_acts", tag = "administration", summary = "What administrators did",
    description = "The newest 10,000 are kept.",
    params(PageParameters),
    responses((status = 200, description = "A page of acts.", body = ActsPage), Refused, Elsewhere),
)]
pub(super) async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    caller(&request)?;
    let params = Params::read(request.query_string(), &["limit", "cursor"])?;
    let page = Page::read(&params)?;
    let paged = page.of(newest_first(app.acts.newest(usize::MAX), |act| &act.at), Some);
    let as_of = rfc3339(app.books.published.load().as_of);
    Ok(answer(&ActsPage { as_of, acts: paged.items, next_cursor: paged.next_cursor }))
}
