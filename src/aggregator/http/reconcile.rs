//! `GET /api/v1/reconcile`: facility ▸ PDU ▸ chassis ▸ components, and an invoice beside them.

use actix_web::{HttpRequest, HttpResponse, web};
use cost::Window;
use cost::reconcile::{Invoice, Reconciliation};
use rust_decimal::Decimal;
use serde_json::json;

use super::openapi::problems::{Hidden, Refused, TooMuch};
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::query::{Params, Zone, cost_problem};
use crate::reconcile::{Question, reconcile as work};

/// The tolerance unless asked otherwise: what two good meters differ by.
const TOLERANCE: &str = "2%";

/// Answers the request.
///
/// # Errors
/// A problem that names the parameter at fault.
#[utoipa::path(
    get, path = "/api/v1/reconcile", tag = "energy", summary = "Facility, PDU, chassis, components, and an invoice",
    params(
        ("window" = String, Query, description = "As of a rollup; at most 400 days.", example = "2026-10"),
        ("site" = Option<String>, Query, description = "One site; all of them if absent."),
        ("tz" = Option<String>, Query, description = "The IANA zone of the window.", example = "Europe/Paris"),
        ("tolerance" = Option<String>, Query, description = "How far a ratio may be off; 2% if absent.", example = "2%"),
        ("invoice" = Option<String>, Query, description = "`kwh=…,amount=…,currency=…`: one of the first two is needed.",
            example = "kwh=41000,amount=9020"),
    ),
    responses((status = 200, description = "Each level beside the next.", body = Reconciliation), Refused, Hidden, TooMuch),
)]
pub async fn reconcile(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let known = ["window", "site", "tz", "tolerance", "invoice"];
    let params = Params::read(request.query_string(), &known)?;
    off_thread(move || {
        let ((snapshot, topology, now), card) = (app.books.moment(), app.books.rates.load());
        let zone = Zone::of(params.get("tz").unwrap_or(&app.books.settings.server.timezone));
        let zone = zone.map_err(|error| cost_problem(&error))?;
        let window = params.get("window").ok_or_else(|| {
            let detail = "window is needed, such as window=lastmonth or window=2026-10";
            Problem::bad_request("missing-parameter", detail).with("parameter", json!("window"))
        })?;
        let window = Window::parse(window, now, &zone.tz).map_err(|error| cost_problem(&error))?;
        let question = Question {
            window,
            site: params.get("site").map(site).transpose()?,
            zone,
            tolerance: tolerance(params.get("tolerance").unwrap_or(TOLERANCE))?,
            invoice: params.get("invoice").map(invoice).transpose()?,
        };
        let is_hidden = app.books.hides_money();
        if is_hidden && question.invoice.as_ref().is_some_and(Invoice::has_amount) {
            return Err(Problem::cost_hidden("the invoice's amount would be compared with what energy costs")
                .with("parameter", json!("invoice")));
        }
        let figures = app.books.figures(&snapshot, &topology, now);
        let told = work(&question, &figures, &card, &app.statements)?;
        Ok(if is_hidden { told.without_money() } else { told })
    })
    .await
    .map(|body| answer(&body))
}

fn bad(parameter: &str, why: &str) -> Problem {
    Problem::bad_request("bad-parameter", format!("{parameter}: {why}")).with("parameter", json!(parameter))
}

fn site(text: &str) -> Result<String, Problem> {
    if meter::reading::label_value_is_valid(text) && !text.contains('"') {
        Ok(text.to_owned())
    } else {
        Err(bad("site", "no label has such a value"))
    }
}

fn invoice(text: &str) -> Result<Invoice, Problem> {
    text.parse().map_err(|why: String| bad("invoice", &why))
}

/// `2%` or `0.02`.
fn tolerance(text: &str) -> Result<Decimal, Problem> {
    let (digits, is_percent) = text.trim().strip_suffix('%').map_or((text, false), |digits| (digits, true));
    let number = Decimal::from_str_exact(digits.trim()).ok();
    let share = number.map(|number| if is_percent { number / Decimal::ONE_HUNDRED } else { number });
    let share = share.filter(|share| *share >= Decimal::ZERO && *share < Decimal::ONE);
    share.map(|share| share.round_dp(9)).ok_or_else(|| bad("tolerance", "write a share below one, such as 2% or 0.02"))
}
