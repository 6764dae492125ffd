//! `GET /api/v1/devices` and `/api/v1/devices/{id}`: every account, reference meters included.
//!
//! An id is `cluster/kind/name/scope:device`; the device alone does where only one account has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use billing::published::{OwnerView, Snapshot};
use cost::Where;
use meter::{Owner, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::hosts::{is_selected, refuse_jobs};
use super::listing::{Page, owner_key};
use super::openapi::parameters::{PageParameters, SelectParameter};
use super::openapi::problems::{Ambiguous, NotThere, Refused};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::hosts_view::{DeviceView, device_views};
use crate::query::{Params, cost_problem, label_keys, rfc3339};

/// Most ids that are named to choose from: every host of a fleet may have a `gpu-0`.
const IDS_MAX: usize = 20;

/// A page of accounts.
#[derive(Serialize, ToSchema)]
pub(super) struct DevicesPage {
    as_of: String,
    devices: Vec<DeviceView>,
    next_cursor: Option<String>,
}

/// One account.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceAnswer<'a> {
    as_of: String,
    device: &'a DeviceView,
}

/// Lists accounts.
///
/// # Errors
/// A problem that names the parameter at fault.
#[utoipa::path(
    get, path = "/api/v1/devices", operation_id = "list_devices", tag = "fleet", summary = "Every account, reference meters included",
    params(PageParameters, SelectParameter),
    responses((status = 200, description = "A page of accounts.", body = DevicesPage), Refused),
)]
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["limit", "cursor", "where"])?;
    let page = Page::read(&params)?;
    off_thread(move || {
        let (snapshot, topology, now) = app.books.moment();
        let select = params.get("where").map(|text| Where::parse(text, &label_keys(&snapshot, &topology.inventory)));
        let select = select.transpose().map_err(|error| cost_problem(&error))?.unwrap_or_default();
        refuse_jobs(&select)?;
        let owners: BTreeMap<String, _> =
            snapshot.owners().map(|view| (owner_key(&view.state.owner), Arc::clone(view))).collect();
        let of_owner = |(key, view): (String, Arc<OwnerView>)| {
            let state = &view.state;
            let listed = is_selected(&select, &state.owner, Some(&view), &topology, now);
            let accounts = state.keys.iter().filter(|key| listed && select.selects_line(Some(key.scope), &key.device));
            let ids: BTreeMap<String, String> =
                accounts.map(|account| (format!("{key} {account}"), format!("{}/{account}", state.owner))).collect();
            ids.into_iter().map(move |(key, id)| (key, (Arc::clone(&view), id)))
        };
        let summary = app.summaries.of(&app.books).ok();
        let doubts = |owner: &Owner| summary.as_ref().map_or_else(Vec::new, |of| of.flags_of(owner, &topology, now));
        let keyed = owners.into_iter().flat_map(of_owner);
        let mut last: Option<(String, BTreeMap<String, DeviceView>)> = None;
        let paged = page.of(keyed, |(view, id)| {
            let owner = view.state.owner.canonical();
            if last.as_ref().is_none_or(|(of, _)| *of != owner) {
                let doubts = doubts(&view.state.owner);
                let views = device_views(&view.state, now).map(|view| view.with_doubts(&doubts));
                let views = views.map(|view| (view.id.clone(), view)).collect();
                last = Some((owner, views));
            }
            last.as_mut().and_then(|(_, views)| views.remove(&id))
        });
        Ok(DevicesPage { as_of: rfc3339(snapshot.as_of), devices: paged.items, next_cursor: paged.next_cursor })
    })
    .await
    .map(|body| answer(&body))
}

/// Shows one account.
///
/// # Errors
/// 404 if there is none, 409 if several accounts have that device.
#[utoipa::path(
    get, path = "/api/v1/devices/{id}", operation_id = "get_device", tag = "fleet", summary = "One account",
    params(("id" = String, Path, description = "A device, or `cluster/kind/owner/scope:device`.", example = "GPU-5a1c")),
    responses((status = 200, description = "The account.", body = DeviceAnswer), Refused, NotThere, Ambiguous),
)]
pub async fn one(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::read(request.query_string(), &[])?;
    let (snapshot, now) = (app.books.published.load(), (app.books.now)());
    let (_, device) = resolve(&snapshot, now, &id)?;
    Ok(answer(&DeviceAnswer { as_of: rfc3339(snapshot.as_of), device: &device }))
}

/// The account that an id means, with its owner's row.
///
/// # Errors
/// 404 if there is none, 409 if several accounts have that device.
pub(super) fn resolve(snapshot: &Snapshot, now: Utc, id: &str) -> Result<(Arc<OwnerView>, DeviceView), Problem> {
    let mut found = Vec::new();
    for view in snapshot.owners() {
        let state = &view.state;
        let is_meant = |key: &meter::AccountKey| *key.device == *id || format!("{}/{key}", state.owner) == id;
        if state.keys.iter().any(is_meant) {
            let meant = device_views(state, now).filter(|shown| shown.device == id || shown.id == id);
            found.extend(meant.map(|shown| (Arc::clone(view), shown)));
        }
    }
    let shown: String = id.chars().take(200).collect();
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().take(IDS_MAX).map(|(_, device)| device.id.as_str()).collect();
        let more = if found.len() > IDS_MAX { format!(" or {} more", found.len() - IDS_MAX) } else { String::new() };
        let detail = format!("several accounts have the device {shown:?}: name one of {}{more}", ids.join(", "));
        return Err(Problem::new(StatusCode::CONFLICT, "ambiguous-id", detail).with("known", json!(ids)));
    }
    found.pop().ok_or_else(|| Problem::not_found("no-such-device", format!("there is no account {shown:?}")))
}
