//! `GET /api/v1/hosts` and `/api/v1/hosts/{id}`: how each host is.
//!
//! An id is `cluster/name`; the name alone does where no other cluster has it too.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use billing::published::{OwnerView, Snapshot};
use billing::topology::Topology;
use cost::{HostInfo, Where};
use energy::OwnerState;
use meter::{Owner, OwnerKind, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::listing::{Page, Paged, owner_key};
use super::openapi::parameters::{PageParameters, SelectParameter};
use super::openapi::problems::{Ambiguous, NotThere, Refused};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::hosts_view::{DeviceView, HostView, device_views, host_view};
use crate::query::{Params, cost_problem, label_keys, rfc3339};
use crate::vitals::HostState;
use crate::whole::Fleet;

/// A page of hosts.
#[derive(Serialize, ToSchema)]
pub(super) struct HostsPage {
    as_of: String,
    hosts: Vec<HostView>,
    next_cursor: Option<String>,
}

/// One host.
#[derive(Serialize, ToSchema)]
pub(super) struct HostAnswer {
    as_of: String,
    host: HostView,
    /// Its own accounts.
    devices: Vec<DeviceView>,
    /// Those of the chassis that it sits in.
    chassis_devices: Vec<DeviceView>,
}

/// In which state.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StateParameter {
    /// Only those in this state.
    #[param(inline)]
    pub state: Option<HostState>,
}

/// One owner with its accounts.
pub(super) struct OneOwner {
    pub(super) as_of: String,
    pub(super) owner: HostView,
    pub(super) devices: Vec<DeviceView>,
    pub(super) chassis_devices: Vec<DeviceView>,
}

/// Lists hosts.
///
/// # Errors
/// A problem that names the parameter at fault.
#[utoipa::path(
    get, path = "/api/v1/hosts", operation_id = "list_hosts", tag = "fleet", summary = "How each host is",
    params(PageParameters, SelectParameter, StateParameter),
    responses((status = 200, description = "A page of hosts.", body = HostsPage), Refused),
)]
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (as_of, paged) = list_kind(app, request, OwnerKind::Host).await?;
    Ok(answer(&HostsPage { as_of, hosts: paged.items, next_cursor: paged.next_cursor }))
}

/// Shows one host with its accounts.
///
/// # Errors
/// 404 if there is none, 409 if several clusters have one of that name.
#[utoipa::path(
    get, path = "/api/v1/hosts/{id}", operation_id = "get_host", tag = "fleet", summary = "One host with its accounts",
    params(("id" = String, Path, description = "A name, or `cluster/name`.", example = "node-17")),
    responses((status = 200, description = "The host.", body = HostAnswer), Refused, NotThere, Ambiguous),
)]
pub async fn one(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let one = one_kind(app, id.into_inner(), OwnerKind::Host, &request).await?;
    let (as_of, host, devices, chassis_devices) = (one.as_of, one.owner, one.devices, one.chassis_devices);
    Ok(answer(&HostAnswer { as_of, host, devices, chassis_devices }))
}

/// Owners of one kind, by listing key: those with readings, and those that only the inventory or a BMC names.
pub(super) fn owners<'a>(
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    kind: OwnerKind,
) -> BTreeMap<String, (&'a Owner, Option<&'a OwnerView>)> {
    let named = topology.inventory.entries().map(|(owner, _)| owner).chain(topology.linked_hosts());
    let named = named.chain(topology.linked_chassis()).map(|owner| (owner, None));
    let read = snapshot.owners().map(|view| (&view.state.owner, Some(&**view)));
    let all = named.chain(read).filter(|(owner, _)| owner.kind == kind);
    all.map(|(owner, view)| (owner_key(owner), (owner, view))).collect()
}

pub(super) async fn list_kind(
    app: web::Data<App>,
    request: HttpRequest,
    kind: OwnerKind,
) -> Result<(String, Paged<HostView>), Problem> {
    let params = Params::read(request.query_string(), &["limit", "cursor", "where", "state"])?;
    let page = Page::read(&params)?;
    let words: Vec<&str> = std::iter::once("").chain(HostState::ALL.map(HostState::word)).collect();
    let state = params.one_of("state", &words)?.to_owned();
    off_thread(move || {
        let (snapshot, topology, now) = app.books.moment();
        let select = params.get("where").map(|text| Where::parse(text, &label_keys(&snapshot, &topology.inventory)));
        let select = select.transpose().map_err(|error| cost_problem(&error))?;
        select.as_ref().map_or(Ok(()), refuse_jobs)?;
        let summary = app.summaries.of(&app.books).ok();
        let doubts = |owner: &Owner| summary.as_ref().map_or_else(Vec::new, |of| of.flags_of(owner, &topology, now));
        let fleet = Fleet::new(&snapshot, &topology, now);
        let wanted = |(owner, view)| {
            let selected = select.as_ref().is_none_or(|select| is_selected(select, owner, view, &topology, now));
            let whole = selected.then(|| fleet.whole(owner))?;
            let shown = host_view(&whole, &topology, now);
            let shown = shown.with_refused(app.refused.of(owner)).with_doubts(&doubts(owner));
            (state.is_empty() || shown.state.word() == state).then_some(shown)
        };
        let paged = page.of(owners(&snapshot, &topology, kind), wanted);
        Ok((rfc3339(snapshot.as_of), paged))
    })
    .await
}

/// Keys of jobs select energy, not machines.
///
/// # Errors
/// A 400 problem if `where` names one.
pub(super) fn refuse_jobs(select: &Where) -> Result<(), Problem> {
    if !select.asks_jobs() {
        return Ok(());
    }
    let detail = "where: keys of jobs select energy, not machines: ask /api/v1/rollup or /api/v1/jobs";
    Err(Problem::bad_request("unknown-key", detail).with("parameter", json!("where")))
}

/// Whether `where` selects an owner with the labels it has now.
pub(crate) fn is_selected(
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

pub(super) async fn one_kind(
    app: web::Data<App>,
    id: String,
    kind: OwnerKind,
    request: &HttpRequest,
) -> Result<OneOwner, Problem> {
    Params::read(request.query_string(), &[])?;
    off_thread(move || {
        let (snapshot, topology, now) = app.books.moment();
        let owner = resolve(&snapshot, &topology, kind, &id)?;
        let whole = Fleet::new(&snapshot, &topology, now).whole(&owner);
        let doubts = app.summaries.of(&app.books).map_or_else(|_| Vec::new(), |of| of.flags_of(&owner, &topology, now));
        let shown: HostView = host_view(&whole, &topology, now).with_refused(app.refused.of(&owner));
        let of = |state: Option<&OwnerState>| -> Vec<DeviceView> {
            let views = state.into_iter().flat_map(|state| device_views(state, now));
            views.map(|view| view.with_doubts(&doubts)).collect()
        };
        Ok(OneOwner {
            as_of: rfc3339(snapshot.as_of),
            owner: shown.with_doubts(&doubts),
            devices: of(whole.own),
            chassis_devices: of(whole.chassis),
        })
    })
    .await
}

/// The owner that an id means.
pub(super) fn resolve(snapshot: &Snapshot, topology: &Topology, kind: OwnerKind, id: &str) -> Result<Owner, Problem> {
    let (cluster, name) = id.split_once('/').map_or((None, id), |(cluster, name)| (Some(cluster), name));
    let named = topology.inventory.entries().map(|(owner, _)| owner).chain(topology.linked_hosts());
    let named = named.chain(topology.linked_chassis());
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
