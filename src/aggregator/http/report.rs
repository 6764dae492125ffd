//! `GET /api/v1/report`: the rollup as people and finance take it.

use actix_web::{HttpRequest, HttpResponse, web};
use cost::{Answer, By, Step};

use super::openapi::parameters::{CostParameters, FormatParameter};
use super::openapi::problems::{Hidden, Refused, TooMuch};
use super::problem::Problem;
use super::respond::off_thread;
use super::written::{FOCUS_IS_MONEY, FORMATS, Written};
use crate::app::App;
use crate::query::{COST_PARAMETERS, CostQuery, Params};
use crate::report::Report;
use crate::report::closed::of_statements;
use crate::report::gather::{default_grouping, gather};
use crate::statements::desk::Desk;

/// Answers the request.
///
/// # Errors
/// A problem that names the parameter at fault, or the formats there are.
#[utoipa::path(
    get, path = "/api/v1/report", tag = "energy", summary = "The rollup as people and finance take it",
    params(CostParameters, FormatParameter),
    responses(
        (status = 200, description = "The report in the form asked for.", content(
            (Answer = "application/json"), (String = "text/csv"), (String = "text/html"),
        )),
        (status = 304, description = "A closed month as it was: `if-none-match` names it."),
        Refused,
        Hidden,
        TooMuch,
    ),
)]
pub async fn report(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let known: Vec<&str> = COST_PARAMETERS.into_iter().chain(["format"]).collect();
    let params = Params::read(request.query_string(), &known)?;
    let format = params.one_of("format", &FORMATS)?.to_owned();
    if format == "focus" && app.books.hides_money() {
        return Err(Problem::cost_hidden(FOCUS_IS_MONEY));
    }
    off_thread(move || {
        let desk = Desk::new(&app.books, &app.statements, &params)?;
        let query = desk.read(&params)?;
        match format.as_str() {
            "html" => Written::html(&page(&app, &desk, query, &params)?),
            "focus" => Written::focus(&app, &focus_answer(&app, &desk, query)?),
            "csv" => Written::csv(&desk.answer(&query)?),
            _ => Written::json(&desk.answer(&query)?),
        }
    })
    .await
    .map(Written::respond)
}

/// The report of a question. Blocks while the store is read.
fn page(app: &App, desk: &Desk<'_>, mut query: CostQuery, params: &Params) -> Result<Report, Problem> {
    if query.by.dimensions().is_empty() {
        query.by = desk.source().by(&default_grouping(&desk.labels))?;
    }
    let closed = app.statements.closed(&query)?.unwrap_or_default();
    let answer = desk.answer(&query)?;
    let report = match of_statements(&closed, answer.clone()) {
        Some(report) => report,
        None => gather(&desk.source(), &query, answer)?,
    };
    let filter = params.get("where").unwrap_or_default().to_owned();
    let report = Report { filter, issuer: app.books.settings.statements.issuer.clone(), ..report };
    Ok(if app.books.hides_money() { report.without_money() } else { report })
}

/// What FOCUS needs: the site of every row, since it decides the billing period. By host and day where
/// nothing is said; a closed month as it was closed.
fn focus_answer(app: &App, desk: &Desk<'_>, mut query: CostQuery) -> Result<Answer, Problem> {
    let labels = &desk.labels;
    let by = std::mem::take(&mut query.by);
    let by = if by.dimensions().is_empty() { By::default().and("cluster", labels).and("host", labels) } else { by };
    query.by = by.and("site", labels);
    if query.step.is_none() {
        if let Some(closed) = app.statements.closed_answer(&query)? {
            return Ok(closed);
        }
        query.step = Some(Step::Day);
    }
    desk.by_billing_period(&query)
}
