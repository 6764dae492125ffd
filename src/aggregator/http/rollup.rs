//! `GET /api/v1/rollup`: energy, cost, carbon and quality per group and step.

use actix_web::{HttpRequest, HttpResponse, web};
use cost::Answer;

use super::openapi::parameters::CostParameters;
use super::openapi::problems::{Refused, TooMuch};
use super::problem::Problem;
use super::respond::off_thread;
use super::written::Written;
use crate::app::App;
use crate::query::{COST_PARAMETERS, Params};
use crate::statements::desk::Desk;

/// Answers the request.
///
/// # Errors
/// A problem that names the parameter at fault.
#[utoipa::path(
    get, path = "/api/v1/rollup", tag = "energy", summary = "Energy, cost, carbon and quality per group and step",
    description = "The `energy_uj` of any two `by` over the same window and `where` add up to the same number. At most \
        200,000 rows.",
    params(CostParameters),
    responses((status = 200, description = "Rows by group and interval, and their total.", body = Answer), Refused, TooMuch),
)]
pub async fn rollup(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &COST_PARAMETERS)?;
    off_thread(move || {
        let desk = Desk::new(&app.books, &app.statements, &params)?;
        let query = desk.read(&params)?;
        Written::json(&desk.answer(&query)?)
    })
    .await
    .map(Written::respond)
}
