//! Closed months: `GET /api/v1/statements`, `/api/v1/statements/{period}`, and `POST` to close one.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use cost::closing::{Closed, Head};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::acts::told;
use super::listing::Page;
use super::openapi::parameters::{FormatParameter, PageParameters};
use super::openapi::problems::{ComeAgain, Contradicts, Elsewhere, Hidden, NotThere, Refused, TooMuch, Unsent};
use super::problem::Problem;
use super::respond::{json as answer_json, off_thread};
use super::transfer::is_known;
use super::written::{FOCUS_IS_MONEY, FORMATS, Written, failed as unwritten};
use crate::app::App;
use crate::query::{Params, rfc3339};
use crate::report::Report;
use crate::report::closed::of_statements;
use crate::statements::close::Order;
use crate::statements::desk::Desk;
use crate::statements::unpriced::notice;
use crate::statements::{Entry, ShelfError};

/// How a site without a name is written where one is asked for.
const NO_SITE: &str = "(none)";
/// Longest name of a site, in bytes: as labels have.
const SITE_MAX: usize = 1024;

pub(crate) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/api/v1/statements").route(web::get().to(list)).route(web::post().to(close)))
        .service(web::resource("/api/v1/statements/{period}").route(web::get().to(one)));
}

/// What a call to close a month says.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = CloseSaid)]
pub(super) struct Said {
    /// The month.
    #[schema(required, example = "2026-10")]
    period: String,
    /// One site; `(none)` for hosts that name none.
    site: Option<String>,
    /// Close it although too little is known of it.
    allow_incomplete: bool,
    /// Put a new version in place of one that is closed.
    restate: bool,
    /// Who acts, by their own word.
    by: String,
}

/// What was closed.
#[derive(Serialize, ToSchema)]
pub(super) struct ClosedNow {
    statements: Vec<Head>,
    /// Whether money is left out, as the aggregator is configured; absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cost_hidden: bool,
    /// What to know of them: energy without a price.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notices: Vec<String>,
}

/// A statement as JSON.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the document alone tells of it")]
pub(super) enum StatementForms {
    /// Itself.
    Kept(Box<Closed>),
    /// An answer made of it.
    Asked(Box<cost::Answer>),
}

/// A page of statements.
#[derive(Serialize, ToSchema)]
pub(super) struct StatementsPage {
    as_of: String,
    /// The newest month first, of each the newest version first.
    statements: Vec<Entry>,
    next_cursor: Option<String>,
    /// Whether money is left out, as the aggregator is configured; absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cost_hidden: bool,
}

/// Closes a month.
#[utoipa::path(
    post, path = "/api/v1/statements", operation_id = "close_month", tag = "billing", summary = "Close a month",
    description = "For callers on the aggregator's own machine. A closed statement stays as it is, byte for byte; what \
        becomes known later appears as adjustments in the next open month.",
    request_body(content = Said, description = "At most 1 MiB.", example = json!({"period": "2026-10", "by": "alice"})),
    responses(
        (status = 200, description = "Closed, site by site.", body = ClosedNow),
        Refused, Elsewhere, Contradicts, TooMuch, Unsent, ComeAgain,
    ),
)]
pub(super) async fn close(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (said, from) = told::<Said>(&app, &request, payload, |said| &said.by).await?;
    if said.period.is_empty() {
        let detail = "the body names no `period`, such as {\"period\":\"2026-10\"}";
        return Err(Problem::bad_request("missing-parameter", detail).with("parameter", json!("period")));
    }
    if said.site.as_ref().is_some_and(|site| site.len() > SITE_MAX) {
        return Err(Problem::bad_request("bad-parameter", format!("`site` has at most {SITE_MAX} bytes")));
    }
    let order = Order {
        period: said.period,
        site: said.site.map(|site| if site == NO_SITE { String::new() } else { site }),
        allow_incomplete: said.allow_incomplete,
        restate: said.restate,
        by: said.by,
        ..Order::default()
    };
    let cost_hidden = app.books.hides_money();
    let mut heads = off_thread(move || {
        let desk = Desk::new(&app.books, &app.statements, &Params::default())?;
        desk.close(order, &app.acts, &from.to_string())
    })
    .await?;
    // Said with the money, and without it: what has no price is energy.
    let notices = heads.iter().filter_map(notice).collect();
    if cost_hidden {
        heads.iter_mut().for_each(Head::hide_money);
    }
    Ok(answer_json(&ClosedNow { statements: heads, notices, cost_hidden }))
}

/// Lists closed months.
#[utoipa::path(
    get, path = "/api/v1/statements", operation_id = "list_statements", tag = "billing", summary = "Closed months",
    params(
        PageParameters,
        ("site" = Option<String>, Query, description = "Of one site; `(none)` for hosts that name none.", example = "par1"),
    ),
    responses((status = 200, description = "A page of statements.", body = StatementsPage), Refused),
)]
pub(super) async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["site", "limit", "cursor"])?;
    let page = Page::read(&params)?;
    let mut all = app.statements.list();
    if let Some(site) = params.get("site") {
        all.retain(|entry| entry.head.site == if site == NO_SITE { "" } else { site });
    }
    let cost_hidden = app.books.hides_money();
    if cost_hidden {
        all.iter_mut().for_each(|entry| entry.head.hide_money());
    }
    let keyed: BTreeMap<String, Entry> = all.into_iter().map(|entry| (listing_key(&entry), entry)).collect();
    let paged = page.of(keyed, Some);
    let as_of = rfc3339(app.books.published.load().as_of);
    Ok(answer_json(&StatementsPage { as_of, statements: paged.items, next_cursor: paged.next_cursor, cost_hidden }))
}

/// The newest month first, then by site, of each the newest version first: what is added later shifts nothing.
fn listing_key(entry: &Entry) -> String {
    let turned = |c: char| c.to_digit(10).and_then(|digit| char::from_digit(9 - digit, 10)).unwrap_or(c);
    let period: String = entry.head.period.chars().map(turned).collect();
    format!("{period} {} {:010}", entry.head.site, u32::MAX - entry.head.version)
}

/// Shows a statement.
#[utoipa::path(
    get, path = "/api/v1/statements/{period}", operation_id = "get_statement", tag = "billing", summary = "One closed month",
    description = "As JSON without `by` it is the statement itself, the same bytes for ever; else an answer made of it.",
    params(
        ("period" = String, Path, description = "The month.", example = "2026-10"),
        ("site" = Option<String>, Query, description = "Needed where several sites are closed; `(none)` for hosts that name none."),
        ("version" = Option<u32>, Query, description = "The newest if absent.", example = 1),
        ("by" = Option<String>, Query, description = "Groups; keys that the statement has.", example = "team"),
        FormatParameter,
    ),
    responses(
        (status = 200, description = "The statement.", headers(("etag" = String)), content(
            (StatementForms = "application/json"), (String = "text/csv"), (String = "text/html"),
        )),
        (status = 304, description = "As it was: `if-none-match` names it."),
        Refused, Hidden, NotThere,
    ),
)]
pub(super) async fn one(
    app: web::Data<App>,
    period: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["site", "version", "format", "by"])?;
    let format = params.one_of("format", &FORMATS)?.to_owned();
    if !is_period(&period) {
        let shown: String = period.chars().take(80).collect();
        return Err(Problem::bad_request("bad-period", format!("{shown:?} is no month such as 2026-10")));
    }
    let entry = find(&app, &period, &params)?;
    let is_itself = format == "json" && params.get("by").is_none();
    if app.books.hides_money() && (is_itself || format == "focus") {
        let why = "the statement itself is whole, with its money; `by` or `format=html` make something of it";
        return Err(Problem::cost_hidden(if is_itself { why } else { FOCUS_IS_MONEY }));
    }
    if is_itself && is_known(&request, &format!("\"{}\"", entry.blake3)) {
        return Ok(Written::kept(Vec::new(), &entry.blake3).respond());
    }
    off_thread(move || {
        if is_itself {
            let bytes = app.statements.bytes(&entry).map_err(|error| failed(&error))?;
            return Ok(Written::kept(bytes, &entry.blake3));
        }
        written(&app, &entry, &params, &format)
    })
    .await
    .map(Written::respond)
}

/// Whether a text is written as months are.
fn is_period(text: &str) -> bool {
    let (year, month) = text.split_once('-').unwrap_or_default();
    let is_number = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
    is_number(year, 4) && is_number(month, 2) && month.parse().is_ok_and(|month: u8| (1..=12).contains(&month))
}

/// A statement in another form than its own.
fn written(app: &App, entry: &Entry, params: &Params, format: &str) -> Result<Written, Problem> {
    let closed = app.statements.read(entry).map_err(|error| failed(&error))?;
    let usual = if format == "html" { closed.chart_key.as_str() } else { "cluster,host" };
    let by = params.get("by").unwrap_or(usual).split(',').map(str::trim).filter(|key| !key.is_empty());
    let mut by: Vec<String> = by.map(str::to_owned).collect();
    let known = closed.keys();
    if let Some(unknown) = by.iter().find(|key| !known.contains(key.as_str())) {
        let known: Vec<&str> = known.into_iter().collect();
        let unknown: String = unknown.chars().take(80).collect();
        let detail = format!("by: this statement has no key {unknown:?}; known are {}", known.join(", "));
        return Err(Problem::bad_request("unknown-key", detail)
            .with("parameter", json!("by"))
            .with("known", json!(known)));
    }
    if format == "focus" && !by.iter().any(|key| key == "site") {
        by.push("site".to_owned());
    }
    let is_hidden = app.books.hides_money();
    let answer = if is_hidden { closed.answer(&by).without_money() } else { closed.answer(&by) };
    match format {
        "csv" => Written::csv(&answer),
        "focus" => Written::focus(app, &answer),
        "html" => {
            let report = of_statements(&[closed], answer).ok_or_else(|| unwritten(&"no statement"))?;
            let report = Report { issuer: app.books.settings.statements.issuer.clone(), ..report };
            Written::html(&if is_hidden { report.without_money() } else { report })
        }
        _ => Written::json(&answer),
    }
}

/// The statement that is asked for: the newest version if none is named.
fn find(app: &App, period: &str, params: &Params) -> Result<Entry, Problem> {
    let mut all = app.statements.list();
    all.retain(|entry| entry.head.period == period);
    if let Some(site) = params.get("site") {
        all.retain(|entry| entry.head.site == if site == NO_SITE { "" } else { site });
    }
    let shown = |entry: &Entry| if entry.head.site.is_empty() { NO_SITE.to_owned() } else { entry.head.site.clone() };
    let mut sites: Vec<String> = all.iter().map(shown).collect();
    sites.dedup();
    if sites.len() > 1 {
        let detail = format!("{period} is closed at several sites, name one with site=: {}", sites.join(", "));
        return Err(Problem::bad_request("several-sites", detail)
            .with("parameter", json!("site"))
            .with("known", json!(sites)));
    }
    if let Some(version) = params.get("version") {
        all.retain(|entry| entry.head.version.to_string() == version);
    }
    let shown: String = period.chars().take(80).collect();
    all.into_iter().next().ok_or_else(|| {
        Problem::not_found("no-such-statement", format!("{shown:?} is not closed there, or has no such version"))
    })
}

fn failed(error: &ShelfError) -> Problem {
    Problem::internal("read a statement", error)
}
