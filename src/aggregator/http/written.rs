//! Answers in their formats, written off the HTTP threads and sent from them.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, ETAG};
use cost::statement::Status;
use cost::{Answer, Issuer};
use jiff::tz::TimeZone;

use super::problem::Problem;
use crate::app::App;
use crate::query::{Zone, cost_problem};
use crate::report::Report;
use crate::statements;

/// The formats there are.
pub(super) const FORMATS: [&str; 4] = ["json", "csv", "html", "focus"];
/// Why there is no FOCUS where money is hidden.
pub(super) const FOCUS_IS_MONEY: &str = "a FOCUS file is what energy costs";
/// What a page may load: nothing but its own style and icon.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// An answer that is written.
pub(super) struct Written {
    form: Form,
    /// Whether it is of closed months only: whoever has it may keep it.
    keeps: bool,
    body: Vec<u8>,
}

enum Form {
    Json,
    /// JSON that never changes, with the hash of its bytes.
    Kept(String),
    Html,
    /// CSV, and the name of the file.
    Csv(&'static str),
}

impl Written {
    /// As JSON.
    pub(super) fn json(answer: &Answer) -> Result<Self, Problem> {
        let body = answer.to_json().map_err(|error| failed(&error))?;
        Ok(Self { form: Form::Json, keeps: is_closed(answer), body: body.into_bytes() })
    }

    /// JSON that was written long ago.
    pub(super) fn kept(body: Vec<u8>, hash: &str) -> Self {
        Self { form: Form::Kept(format!("\"{hash}\"")), keeps: true, body }
    }

    /// As CSV.
    pub(super) fn csv(answer: &Answer) -> Result<Self, Problem> {
        let body = cost::to_csv(answer).map_err(|error| failed(&error))?;
        Ok(Self { form: Form::Csv("report"), keeps: is_closed(answer), body: body.into_bytes() })
    }

    /// As FOCUS.
    pub(super) fn focus(app: &App, answer: &Answer) -> Result<Self, Problem> {
        let zone = Zone::of(&app.books.settings.server.timezone).map_err(|error| cost_problem(&error))?;
        let card = app.books.rates.load();
        let zone_of = |site: &str| -> TimeZone { statements::zone_of(site, &card, &zone).tz };
        let account = format!("wattledger:{}", crate::refused::hex(&app.books.identity.ledger));
        let invoice = |site: &str| answer.statements.iter().find(|one| one.site == site).map(|one| one.id.clone());
        let name = &app.books.settings.statements.issuer;
        let issuer = Issuer { name, account: &account, zone_of: &zone_of, invoice_of: &invoice };
        let body = cost::to_focus(answer, &issuer).map_err(|error| failed(&error))?;
        Ok(Self { form: Form::Csv("focus"), keeps: is_closed(answer), body: body.into_bytes() })
    }

    /// As a page that loads nothing.
    pub(super) fn html(report: &Report) -> Result<Self, Problem> {
        let body = report.to_html().map_err(|error| failed(&error))?;
        Ok(Self { form: Form::Html, keeps: is_closed(&report.answer), body: body.into_bytes() })
    }

    /// The response.
    pub(super) fn respond(self) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        // Figures of now must not be kept by anyone on the way.
        response.insert_header((CACHE_CONTROL, if self.keeps { "no-cache" } else { "no-store" }));
        if self.keeps && !matches!(self.form, Form::Kept(_)) {
            response.insert_header((ETAG, format!("\"{}\"", blake3::hash(&self.body).to_hex())));
        }
        match self.form {
            Form::Json => response.content_type("application/json"),
            Form::Kept(tag) => response.content_type("application/json").insert_header((ETAG, tag)),
            Form::Html => response
                .content_type("text/html; charset=utf-8")
                .insert_header((CONTENT_SECURITY_POLICY, POLICY))
                .insert_header(("x-content-type-options", "nosniff"))
                .insert_header(("referrer-policy", "no-referrer")),
            Form::Csv(name) => response
                .content_type("text/csv; charset=utf-8; header=present")
                .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"wattledger-{name}.csv\""))),
        };
        response.body(self.body)
    }
}

/// Whether an answer stays as it is.
fn is_closed(answer: &Answer) -> bool {
    answer.status == Status::Closed
}

/// What went wrong while an answer was written.
pub(super) fn failed(error: &dyn std::fmt::Display) -> Problem {
    Problem::internal("write the answer", error)
}
