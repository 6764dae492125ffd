//! `GET /api/v1/chassis` and `/api/v1/chassis/{id}`: how each BMC or enclosure is.

use actix_web::{HttpRequest, HttpResponse, web};
use meter::OwnerKind;
use serde::Serialize;
use utoipa::ToSchema;

use super::hosts::{StateParameter, list_kind, one_kind};
use super::openapi::parameters::{PageParameters, SelectParameter};
use super::openapi::problems::{Ambiguous, NotThere, Refused};
use super::problem::Problem;
use super::respond::json as answer;
use crate::app::App;
use crate::hosts_view::{DeviceView, HostView};

/// A page of chassis.
#[derive(Serialize, ToSchema)]
pub(super) struct ChassisPage {
    as_of: String,
    chassis: Vec<HostView>,
    next_cursor: Option<String>,
}

/// One chassis.
#[derive(Serialize, ToSchema)]
pub(super) struct ChassisAnswer {
    as_of: String,
    chassis: HostView,
    devices: Vec<DeviceView>,
    chassis_devices: Vec<DeviceView>,
}

/// Lists chassis.
///
/// # Errors
/// A problem that names the parameter at fault.
#[utoipa::path(
    get, path = "/api/v1/chassis", operation_id = "list_chassis", tag = "fleet", summary = "How each BMC or enclosure is",
    params(PageParameters, SelectParameter, StateParameter),
    responses((status = 200, description = "A page of chassis.", body = ChassisPage), Refused),
)]
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (as_of, paged) = list_kind(app, request, OwnerKind::Chassis).await?;
    Ok(answer(&ChassisPage { as_of, chassis: paged.items, next_cursor: paged.next_cursor }))
}

/// Shows one chassis with its accounts.
///
/// # Errors
/// 404 if there is none, 409 if several clusters have one of that name.
#[utoipa::path(
    get, path = "/api/v1/chassis/{id}", operation_id = "get_chassis", tag = "fleet", summary = "One chassis with its accounts",
    params(("id" = String, Path, description = "A name, or `cluster/name`.", example = "enc-1")),
    responses((status = 200, description = "The chassis.", body = ChassisAnswer), Refused, NotThere, Ambiguous),
)]
pub async fn one(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let one = one_kind(app, id.into_inner(), OwnerKind::Chassis, &request).await?;
    let (as_of, chassis, devices, chassis_devices) = (one.as_of, one.owner, one.devices, one.chassis_devices);
    Ok(answer(&ChassisAnswer { as_of, chassis, devices, chassis_devices }))
}
