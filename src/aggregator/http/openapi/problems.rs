//! Problems as the document tells them: one form, and which statuses a kind of question may meet.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

/// What went wrong (RFC 9457).
#[derive(ToSchema)]
#[schema(example = json!({
    "type": "urn:wattledger:problem:unknown-key", "title": "unknown key", "status": 400, "code": "unknown-key",
    "detail": "by: there is no key \"teem\"; known are cluster, host, team", "parameter": "by",
    "known": ["cluster", "host", "team"],
}))]
pub struct ProblemDocument {
    /// The code as a URN.
    pub r#type: String,
    /// The code in words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// Stable: for programs. docs/API.md says what each means.
    pub code: String,
    /// What was wrong with what, for people.
    pub detail: String,
    /// The parameter at fault.
    pub parameter: Option<String>,
    /// What would have been right.
    pub known: Option<Vec<String>>,
    /// Members of some codes: `expected`, `hosts`, `limit_bytes`…
    #[schema(additional_properties)]
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// What any question may meet.
#[derive(IntoResponses)]
pub enum Refused {
    /// The question cannot be understood: an unknown parameter, key or word. Nothing was done.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(ProblemDocument),
    /// The aggregator failed; its log says why.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemDocument),
}

/// What a question about one thing may meet.
#[derive(IntoResponses)]
pub enum NotThere {
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemDocument),
}

/// What a short id may meet.
#[derive(IntoResponses)]
pub enum Ambiguous {
    /// Several have that name: `known` lists the full ids.
    #[response(status = 409, content_type = "application/problem+json")]
    Ambiguous(ProblemDocument),
}

/// What a question of energy may meet.
#[derive(IntoResponses)]
pub enum TooMuch {
    /// The answer would grow too large, or is about too many jobs: ask for less.
    #[response(status = 422, content_type = "application/problem+json")]
    TooMuch(ProblemDocument),
}

/// What whoever sends a body may meet.
#[derive(IntoResponses)]
pub enum Unsent {
    /// The body did not arrive in time.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(ProblemDocument),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemDocument),
    /// The content type is none that is taken here.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(ProblemDocument),
}

/// What may be otherwise in a moment.
#[derive(IntoResponses)]
pub enum ComeAgain {
    /// Nothing was done: come again after `retry-after` seconds.
    #[response(
        status = 503, content_type = "application/problem+json",
        headers(("retry-after" = u32, description = "Seconds.")),
    )]
    ComeAgain(ProblemDocument),
}

/// What administrators may meet.
#[derive(IntoResponses)]
pub enum Elsewhere {
    /// The call does not come from the aggregator's own machine.
    #[response(status = 403, content_type = "application/problem+json")]
    NotFromHere(ProblemDocument),
}

/// What questions about money may meet.
#[derive(IntoResponses)]
pub enum Hidden {
    /// It is about money, which this aggregator does not show.
    #[response(status = 403, content_type = "application/problem+json")]
    CostHidden(ProblemDocument),
}

/// What contradicts the ledger.
#[derive(IntoResponses)]
pub enum Contradicts {
    /// It contradicts what the ledger holds: the code says how.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(ProblemDocument),
}
