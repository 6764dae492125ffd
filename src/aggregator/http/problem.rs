//! Errors as people and programs get them: `application/problem+json` (RFC 9457) with a stable code.
//!
//! There is one `impl ResponseError`. Nothing of the inside leaks: what a caller cannot change goes
//! to the log, and the answer says only that it failed.

use std::fmt;

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::middleware::{ErrorHandlerResponse, ErrorHandlers};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde_json::{Map, Value, json};

use super::head;

/// The media type of problems.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong with a request.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// Seconds after which to come again.
    retry_after: Option<u32>,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem with a stable kebab-case code and a sentence that says what was wrong with what.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None, more: Map::new() }
    }

    /// 400: the request cannot be understood.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 403: it is nothing but money, which is hidden here.
    #[must_use]
    pub fn cost_hidden(what: &str) -> Self {
        let detail = format!("{what}, and this aggregator shows no money: [server] show_cost = false");
        Self::new(StatusCode::FORBIDDEN, "cost-hidden", detail)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 409: it contradicts what the ledger holds.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 503: come again; nothing of the request was booked.
    #[must_use]
    pub fn come_again(code: &'static str, detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// 500: a failure of ours, which goes to the log only.
    #[must_use]
    pub fn internal(doing: &'static str, why: &dyn fmt::Display) -> Self {
        tracing::error!("failed to {doing}: {why}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("failed to {doing}; the aggregator's log says why"),
        )
    }

    /// Adds a member for programs.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.more.insert(member.into(), value);
        self
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// What was wrong with what.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut all = self.more.clone();
        all.insert("type".into(), json!(format!("urn:wattledger:problem:{}", self.code)));
        all.insert("title".into(), json!(self.code.replace('-', " ")));
        all.insert("status".into(), json!(self.status.as_u16()));
        all.insert("code".into(), json!(self.code));
        all.insert("detail".into(), json!(self.detail));
        Value::Object(all)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status);
        response.content_type(CONTENT_TYPE);
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.body(self.document().to_string())
    }
}

/// Turns every error that is no problem document yet (an unknown path, a wrong method, a query that
/// cannot be read) into one.
pub fn handlers<B: MessageBody + 'static>() -> ErrorHandlers<B> {
    ErrorHandlers::new().default_handler(|response: ServiceResponse<B>| {
        // The framework's own errors are plain text, or nothing.
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        if !kind.is_empty() && !kind.starts_with("text/plain") {
            return Ok(ErrorHandlerResponse::Response(response.map_into_left_body()));
        }
        let problem = of_framework(&response);
        let (request, response) = response.into_parts();
        let mut answer = problem.error_response();
        if let Some(allow) = response.headers().get(header::ALLOW).cloned() {
            answer.headers_mut().insert(header::ALLOW, head::allowed(allow));
        }
        Ok(ErrorHandlerResponse::Response(ServiceResponse::new(request, answer.map_into_right_body())))
    })
}

/// What the framework meant.
fn of_framework<B>(response: &ServiceResponse<B>) -> Problem {
    let status = response.status();
    let path = response.request().path();
    // Errors about a request say what was wrong with it; those of ours may tell too much.
    let told = response.response().error().filter(|_| status.is_client_error()).map(ToString::to_string);
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => ("no-such-path", format!("there is nothing at {path}")),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method-not-allowed", format!("{} is not possible on {path}", head::method(response.request())))
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("body-too-large", told.unwrap_or_else(|| "the body is too large".into())),
        StatusCode::REQUEST_TIMEOUT => ("body-too-slow", "the request did not arrive in time".into()),
        status if status.is_client_error() => {
            ("bad-request", told.unwrap_or_else(|| "the request cannot be understood".into()))
        }
        _ => {
            if let Some(error) = response.response().error() {
                tracing::error!("{path} failed: {error}");
            }
            ("internal", "the aggregator failed; its log says why".into())
        }
    };
    Problem::new(status, code, detail)
}
