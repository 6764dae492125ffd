//! `GET /api/v1/report`: the rollup as people and finance take it.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::problem::Problem;
use super::rollup::answer;
use crate::app::App;
use crate::query::{COST_PARAMETERS, Params};

/// The formats there are.
const FORMATS: [&str; 2] = ["json", "csv"];
/// The formats that are agreed on but not built.
const LATER: [&str; 2] = ["html", "focus"];

/// Answers the request.
///
/// # Errors
/// A problem that names the parameter at fault, or the formats there are.
pub async fn report(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let known: Vec<&str> = COST_PARAMETERS.into_iter().chain(["format"]).collect();
    let params = Params::read(request.query_string(), &known)?;
    if let Some(format) = params.get("format").filter(|format| LATER.contains(format)) {
        let detail = format!("this version cannot write format={format}; it writes {}", FORMATS.join(", "));
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "format-not-available", detail)
            .with("parameter", json!("format"))
            .with("known", json!(FORMATS)));
    }
    let format = params.one_of("format", &FORMATS)?;
    let answer = answer(app, params).await?;
    let body = if format == "csv" { cost::to_csv(&answer) } else { answer.to_json() };
    let body = body.map_err(|error| Problem::internal("write the answer", &error))?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    if format == "csv" {
        response.content_type("text/csv; charset=utf-8; header=present");
        response.insert_header((CONTENT_DISPOSITION, "attachment; filename=\"wattledger-report.csv\""));
    } else {
        response.content_type("application/json");
    }
    Ok(response.body(body))
}
