//! `GET /api/v1/chassis` and `/api/v1/chassis/{id}`: how each BMC or enclosure is.

use actix_web::{HttpRequest, HttpResponse, web};
use meter::OwnerKind;

use super::hosts::{list_kind, one_kind};
use super::problem::Problem;
use crate::app::App;

/// Lists chassis.
///
/// # Errors
/// A problem that names the parameter at fault.
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    list_kind(app, request, OwnerKind::Chassis, "chassis").await
}

/// Shows one chassis with its accounts.
///
/// # Errors
/// 404 if there is none, 409 if several clusters have one of that name.
pub async fn one(app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    one_kind(app, id.into_inner(), OwnerKind::Chassis).await
}
