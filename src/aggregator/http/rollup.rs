//! `GET /api/v1/rollup`: energy, cost, carbon and quality per group and step.

use actix_web::{HttpRequest, HttpResponse, web};
use cost::Answer;

use super::problem::Problem;
use super::read::off_thread;
use crate::app::App;
use crate::lines::Figures;
use crate::query::{COST_PARAMETERS, CostQuery, Params, label_keys};

/// Answers the request.
///
/// # Errors
/// A problem that names the parameter at fault.
pub async fn rollup(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &COST_PARAMETERS)?;
    let answer = answer(app, params).await?;
    let body = answer.to_json().map_err(|error| Problem::internal("write the answer", &error))?;
    Ok(HttpResponse::Ok().content_type("application/json").insert_header(("cache-control", "no-store")).body(body))
}

/// The answer to a question of cost, worked out off the HTTP threads.
pub(super) async fn answer(app: web::Data<App>, params: Params) -> Result<Answer, Problem> {
    off_thread(move || {
        let ((snapshot, topology, now), card) = (app.moment(), app.rates.load());
        let labels = label_keys(&snapshot, &topology.inventory);
        let query = CostQuery::read(&params, &labels, now, &app.settings.server.timezone)?;
        let factor = app.settings.meter_factor();
        let figures = Figures { snapshot: &snapshot, store: &*app.store, topology: &topology, now, factor };
        query.answer(&figures, &card)
    })
    .await
}
