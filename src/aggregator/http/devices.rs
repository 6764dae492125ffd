//! `GET /api/v1/devices` and `/api/v1/devices/{id}`: every account, reference meters included.
//!
//! An id is `cluster/kind/name/scope:device`; the device alone does where only one account has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use cost::Where;
use meter::Owner;
use serde_json::json;

use super::hosts::is_selected;
use super::listing::{Page, owner_key};
use super::problem::Problem;
use super::read::{json as answer, off_thread};
use crate::app::App;
use crate::hosts_view::{DeviceView, device_views};
use crate::published::OwnerView;
use crate::query::{Params, cost_problem, label_keys, rfc3339};

/// Lists accounts.
///
/// # Errors
/// A problem that names the parameter at fault.
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["limit", "cursor", "where"])?;
    let page = Page::read(&params)?;
    off_thread(move || {
        let (snapshot, topology, now) = app.moment();
        let select = params.get("where").map(|text| Where::parse(text, &label_keys(&snapshot, &topology.inventory)));
        let select = select.transpose().map_err(|error| cost_problem(&error))?.unwrap_or_default();
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
        let summary = app.summaries.of(&app).ok();
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
        Ok(json!({
            "as_of": rfc3339(snapshot.as_of), "devices": paged.items, "next_cursor": paged.next_cursor,
        }))
    })
    .await
    .map(|body| answer(&body))
}

/// Shows one account.
///
/// # Errors
/// 404 if there is none, 409 if several accounts have that device.
pub async fn one(app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (snapshot, now) = (app.published.load(), (app.now)());
    let id: &str = &id;
    let mut found = Vec::new();
    for view in snapshot.owners() {
        let state = &view.state;
        let is_meant = |key: &meter::AccountKey| *key.device == *id || format!("{}/{key}", state.owner) == id;
        if state.keys.iter().any(is_meant) {
            found.extend(device_views(state, now).filter(|shown| shown.device == id || shown.id == id));
        }
    }
    let shown: String = id.chars().take(200).collect();
    match &found[..] {
        [] => Err(Problem::not_found("no-such-device", format!("there is no account {shown:?}"))),
        [device] => Ok(answer(&json!({ "as_of": rfc3339(snapshot.as_of), "device": device }))),
        several => {
            let ids: Vec<&str> = several.iter().map(|device| device.id.as_str()).collect();
            let detail = format!("several accounts have the device {shown:?}: name one of {}", ids.join(", "));
            Err(Problem::new(StatusCode::CONFLICT, "ambiguous-id", detail).with("known", json!(ids)))
        }
    }
}
