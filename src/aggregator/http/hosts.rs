//! `GET /api/v1/hosts` and `/api/v1/hosts/{id}`: how each host is.
//!
//! An id is `cluster/name`; the name alone does where no other cluster has it too.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use cost::{HostInfo, Where};
use energy::OwnerState;
use meter::{Owner, OwnerKind, Utc};
use serde_json::json;

use super::listing::{Page, owner_key};
use super::problem::Problem;
use super::read::{json as answer, off_thread};
use crate::app::App;
use crate::hosts_view::{DeviceView, HostState, HostView, device_views, host_view};
use crate::published::{OwnerView, Snapshot};
use crate::query::{Params, cost_problem, label_keys, rfc3339};
use crate::topology::Topology;
use crate::whole::Whole;

/// Lists hosts.
///
/// # Errors
/// A problem that names the parameter at fault.
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    list_kind(app, request, OwnerKind::Host, "hosts").await
}

/// Shows one host with its accounts.
///
/// # Errors
/// 404 if there is none, 409 if several clusters have one of that name.
pub async fn one(app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    one_kind(app, id.into_inner(), OwnerKind::Host).await
}

/// Owners of one kind, by listing key: those with readings, and those that only the inventory or a BMC names.
pub(super) fn owners<'a>(
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    kind: OwnerKind,
) -> BTreeMap<String, (&'a Owner, Option<&'a OwnerView>)> {
    let named = topology.inventory.entries().map(|(owner, _)| owner).chain(topology.linked_hosts());
    let named = named.map(|owner| (owner, None));
    let read = snapshot.owners().map(|view| (&view.state.owner, Some(&**view)));
    let all = named.chain(read).filter(|(owner, _)| owner.kind == kind);
    all.map(|(owner, view)| (owner_key(owner), (owner, view))).collect()
}

pub(super) async fn list_kind(
    app: web::Data<App>,
    request: HttpRequest,
    kind: OwnerKind,
    member: &'static str,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["limit", "cursor", "where", "state"])?;
    let page = Page::read(&params)?;
    let words: Vec<&str> = std::iter::once("").chain(HostState::ALL.map(HostState::word)).collect();
    let state = params.one_of("state", &words)?.to_owned();
    off_thread(move || {
        let (snapshot, topology, now) = app.moment();
        let select = params.get("where").map(|text| Where::parse(text, &label_keys(&snapshot, &topology.inventory)));
        let select = select.transpose().map_err(|error| cost_problem(&error))?;
        let summary = app.summaries.of(&app).ok();
        let doubts = |owner: &Owner| summary.as_ref().map_or_else(Vec::new, |of| of.flags_of(owner, &topology, now));
        let wanted = |(owner, view): (&Owner, Option<&OwnerView>)| {
            let selected = select.as_ref().is_none_or(|select| is_selected(select, owner, view, &topology, now));
            let whole = selected.then(|| Whole::new(owner, &snapshot, &topology, now))?;
            let shown = host_view(&whole, &topology, now);
            let shown = shown.with_refused(app.refused.of(owner)).with_doubts(&doubts(owner));
            (state.is_empty() || shown.state.word() == state).then_some(shown)
        };
        let paged = page.of(owners(&snapshot, &topology, kind), wanted);
        Ok(json!({
            "as_of": rfc3339(snapshot.as_of), member: paged.items, "next_cursor": paged.next_cursor,
        }))
    })
    .await
    .map(|body| answer(&body))
}

/// Whether `where` selects an owner with the labels it has now.
pub(super) fn is_selected(
    select: &Where,
    owner: &Owner,
    view: Option<&OwnerView>,
    topology: &Topology,
    now: Utc,
) -> bool {
    let agent = view.map_or(&[][..], |view| &view.state.labels);
    let labels = topology.labels(owner, now, agent);
    let chassis = if owner.kind == OwnerKind::Chassis { Some(owner) } else { topology.chassis_at(owner, now) };
    let chassis = chassis.map(|chassis| &*chassis.name);
    select.selects_host(&HostInfo { cluster: &owner.cluster, name: &owner.name, chassis, labels: &labels })
}

pub(super) async fn one_kind(app: web::Data<App>, id: String, kind: OwnerKind) -> Result<HttpResponse, Problem> {
    off_thread(move || {
        let (snapshot, topology, now) = app.moment();
        let owner = resolve(&snapshot, &topology, kind, &id)?;
        let whole = Whole::new(&owner, &snapshot, &topology, now);
        let doubts = app.summaries.of(&app).map_or_else(|_| Vec::new(), |of| of.flags_of(&owner, &topology, now));
        let shown: HostView = host_view(&whole, &topology, now).with_refused(app.refused.of(&owner));
        let of = |state: Option<&OwnerState>| -> Vec<DeviceView> {
            let views = state.into_iter().flat_map(|state| device_views(state, now));
            views.map(|view| view.with_doubts(&doubts)).collect()
        };
        Ok(json!({
            "as_of": rfc3339(snapshot.as_of), kind.word(): shown.with_doubts(&doubts),
            "devices": of(whole.own), "chassis_devices": of(whole.chassis),
        }))
    })
    .await
    .map(|body| answer(&body))
}

/// The owner that an id means.
pub(super) fn resolve(snapshot: &Snapshot, topology: &Topology, kind: OwnerKind, id: &str) -> Result<Owner, Problem> {
    let (cluster, name) = id.split_once('/').map_or((None, id), |(cluster, name)| (Some(cluster), name));
    let named = topology.inventory.entries().map(|(owner, _)| owner).chain(topology.linked_hosts());
    let known = snapshot.owners().map(|view| &view.state.owner).chain(named);
    let meant = |owner: &&Owner| {
        owner.kind == kind && &*owner.name == name && cluster.is_none_or(|cluster| &*owner.cluster == cluster)
    };
    let found: BTreeSet<&Owner> = known.filter(meant).collect();
    let shown: String = id.chars().take(200).collect();
    match found.into_iter().collect::<Vec<_>>()[..] {
        [] => Err(Problem::not_found("no-such-owner", format!("there is no {kind} {shown:?}"))),
        [owner] => Ok(owner.clone()),
        ref several => {
            let ids: Vec<String> = several.iter().map(|owner| format!("{}/{}", owner.cluster, owner.name)).collect();
            let detail = format!("several clusters have a {kind} {shown:?}: name one of {}", ids.join(", "));
            Err(Problem::new(StatusCode::CONFLICT, "ambiguous-id", detail).with("known", json!(ids)))
        }
    }
}
