//! `GET /api/v1/budgets`: where budgets stand this month.

use actix_web::{HttpRequest, HttpResponse, web};
use cost::budget::Standings;

use super::openapi::problems::{ComeAgain, Refused, TooMuch};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::exposition::text::{self, Family, Format, Kind};
use crate::query::Params;

/// Lists every budget.
///
/// # Errors
/// A problem if the store fails.
#[utoipa::path(
    get, path = "/api/v1/budgets", operation_id = "list_budgets", tag = "billing", summary = "Where budgets stand this month",
    responses((status = 200, description = "Every budget, in the order of the file.", body = Standings), Refused, TooMuch, ComeAgain),
)]
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::read(request.query_string(), &[])?;
    let hides_money = app.books.hides_money();
    let standings = off_thread(move || app.budgets.of(&app.books)).await?;
    if hides_money {
        return Ok(answer(&Standings::clone(&standings).without_money()));
    }
    Ok(answer(&*standings))
}

/// Writes the families of budgets, as they were last worked out.
pub(super) fn metrics(app: &App, format: Format, out: &mut String) {
    let Some(standings) = app.budgets.newest().filter(|standings| !standings.budgets.is_empty()) else { return };
    let gauge = |name, help| Family { name, kind: Kind::Gauge, help };
    let used = gauge("wattledger_budget_used_ratio", "How much of a budget this month has used, as a share.");
    format.head(out, &used);
    for budget in &standings.budgets {
        text::series(out, used.name, [("budget", budget.name.as_str())]);
        text::value(out, budget.used_share);
    }
    let forecast = gauge(
        "wattledger_budget_forecast_ratio",
        "How much of a budget this month will have used at its end, as a share. Only budgets with a forecast.",
    );
    if standings.budgets.iter().any(|budget| budget.forecast_share.is_some()) {
        format.head(out, &forecast);
    }
    for (budget, share) in standings.budgets.iter().filter_map(|budget| Some((budget, budget.forecast_share?))) {
        text::series(out, forecast.name, [("budget", budget.name.as_str())]);
        text::value(out, share);
    }
    let crossed = gauge(
        "wattledger_budget_threshold_crossed",
        "1 where so many percent of a budget are used this month, else 0.",
    );
    format.head(out, &crossed);
    for budget in &standings.budgets {
        for threshold in &budget.thresholds {
            let percent = threshold.percent.to_string();
            text::series(out, crossed.name, [("budget", budget.name.as_str()), ("threshold", &percent)]);
            text::value(out, u8::from(threshold.crossed));
        }
    }
}
