//! `GET /api/v1/top`: the biggest consumers now.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use cost::{By, HostInfo, Where};
use meter::{Milliwatts, OwnerKind};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::openapi::parameters::SelectParameter;
use super::openapi::problems::Refused;
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::hosts_view::watts;
use crate::query::{Params, cost_problem, label_keys, rfc3339};
use crate::whole::Fleet;

/// The biggest consumers.
#[derive(Serialize, ToSchema)]
pub(super) struct TopAnswer {
    as_of: String,
    /// The keys of the groups.
    by: Vec<String>,
    /// The biggest first.
    rows: Vec<TopRow>,
    /// How many groups there are.
    groups: usize,
    /// The power of all of them.
    total_watts: f64,
}

/// One group.
#[derive(Serialize, ToSchema)]
pub(super) struct TopRow {
    by: BTreeMap<String, String>,
    watts: f64,
    /// How many hosts that is.
    hosts: usize,
}

/// Answers the request. Groups are those of a rollup, but for `scope` and `device`.
///
/// # Errors
/// A problem that names the parameter at fault.
#[utoipa::path(
    get, path = "/api/v1/top", tag = "fleet", summary = "The biggest consumers now",
    params(
        ("by" = Option<String>, Query, description = "As of a rollup, but for `scope` and `device`.", example = "team"),
        ("limit" = Option<u32>, Query, description = "Groups; 10 if absent.", minimum = 1, maximum = 10000),
        SelectParameter,
    ),
    responses((status = 200, description = "Groups by power.", body = TopAnswer), Refused),
)]
pub async fn top(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["by", "limit", "where"])?;
    let limit = params.number("limit", 10, 1..=10_000)?;
    off_thread(move || {
        let (snapshot, topology, now) = app.books.moment();
        let labels = label_keys(&snapshot, &topology.inventory);
        let by = By::parse(params.get("by").unwrap_or("host"), &labels).map_err(|error| cost_problem(&error))?;
        let select = Where::parse(params.get("where").unwrap_or(""), &labels).map_err(|error| cost_problem(&error))?;
        if by.splits_hosts() || select.splits_hosts() {
            let detail = "top knows whole hosts only: by=scope, by=device and where on them need /api/v1/rollup";
            return Err(Problem::bad_request("unknown-key", detail).with("parameter", json!("by")));
        }
        let mut groups: BTreeMap<Vec<String>, (u64, usize)> = BTreeMap::new();
        for whole in Fleet::new(&snapshot, &topology, now).all() {
            let owner = whole.owner;
            let Some(Milliwatts(power)) = whole.watts() else { continue };
            let agent = whole.own.map_or(&[][..], |state| &state.labels);
            let labels = topology.labels(owner, now, agent);
            let shown = topology.inventory.canonical(owner);
            // As in a rollup: a chassis that measures no host is in itself.
            let is_chassis = shown.kind == OwnerKind::Chassis;
            let chassis = if is_chassis { Some(shown) } else { topology.chassis_at(shown, now) };
            let chassis = chassis.map(|chassis| &*chassis.name);
            let info = HostInfo { cluster: &shown.cluster, name: &shown.name, chassis, labels: &labels };
            if select.selects_host(&info) {
                let key = by.dimensions().iter().map(|dimension| dimension.of_host(&info).to_owned()).collect();
                let group = groups.entry(key).or_default();
                *group = (group.0 + power, group.1 + 1);
            }
        }
        let mut order: Vec<_> = groups.into_iter().collect();
        order.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let total: u64 = order.iter().map(|(_, (power, _))| power).sum();
        let names = by.names();
        let rows = order.iter().take(limit).map(|(key, (power, hosts))| {
            let by = names.iter().cloned().zip(key.iter().cloned()).collect();
            TopRow { by, watts: watts(Milliwatts(*power)), hosts: *hosts }
        });
        Ok(TopAnswer {
            as_of: rfc3339(snapshot.as_of),
            rows: rows.collect(),
            by: names,
            groups: order.len(),
            total_watts: watts(Milliwatts(total)),
        })
    })
    .await
    .map(|body| answer(&body))
}
