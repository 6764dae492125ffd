//! `POST /api/v1/ingest`: bytes become `meter` types here, on the HTTP workers; junk is refused here.
//! 200 means on disk.

use std::mem::size_of;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use energy::{AppendOutcome, NumberedPost, PostOutcome, Rejection, Tally};
use meter::reading::{LABELS_MAX, label_key_is_valid, label_value_is_valid};
use meter::{Labels, Record, Sample};
use serde::Serialize;
use store::Identity;
use utoipa::ToSchema;
use wire::{Answer, AppendAnswer, Post, WireError};

use super::ingest_json::{self, IngestBody};
use super::limits::{self, Body, turned_away};
use super::openapi::problems::ProblemDocument;
use super::openapi::problems::{ComeAgain, Contradicts, Refused, Unsent};
use super::problem::Problem;
use crate::app::{App, Stats};
use crate::door::{Told, Unavailable, Work};

pub(crate) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/api/v1/ingest").route(web::post().to(ingest)));
}

/// The forms a body may have.
enum Form {
    Native,
    Json,
}

/// The answer to a post in JSON.
#[derive(Serialize, ToSchema)]
pub(super) struct IngestAnswer {
    /// The post's number: it is on disk.
    durable_seq: u64,
    /// Readings booked.
    booked: u64,
    /// Readings of time that was covered already: not booked.
    fenced: u64,
    /// Readings that cannot be booked, each named and counted.
    refused: Vec<RefusedReading>,
}

/// Readings of one device that cannot be booked for one reason.
#[derive(Serialize, ToSchema)]
pub(super) struct RefusedReading {
    scope: String,
    device: String,
    /// A stable word.
    #[schema(example = "power-not-finite")]
    reason: &'static str,
    count: u64,
}

/// Takes a post.
#[utoipa::path(
    post, path = "/api/v1/ingest", tag = "ingest", summary = "Readings in; 200 means on disk",
    description = "The same `(stream, seq)` with the same body: the same answer, nothing booked twice. A refused reading \
        never blocks the rest of its batch. A body has at most 1 MiB.",
    request_body(content((IngestBody = "application/json", example = json!({
        "stream": "0d3c0000-0000-4000-8000-000000000017", "seq": 1, "host": "node-17", "labels": {"team": "nlp"},
        "import": true,
        "readings": [{"scope": "gpu", "device": "GPU-5a1c", "at_ms": 1_793_491_200_000_u64, "watts": 412.5, "period_ms": 1000}],
    })), (Vec<u8> = "application/vnd.wattledger.v1+bincode"))),
    responses(
        (status = 200, description = "On disk.", content(
            (IngestAnswer = "application/json"), (Vec<u8> = "application/vnd.wattledger.v1+bincode"),
        )),
        (status = 507, description = "The ledger has as many accounts as it may.", body = ProblemDocument,
            content_type = "application/problem+json"),
        Refused, Contradicts, Unsent, ComeAgain,
    ),
)]
pub(super) async fn ingest(
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let form = form(&request);
    let body = limits::read(&app, &request, payload).await?;
    match form {
        Ok(Form::Native) => native(&app, body).await,
        Ok(Form::Json) => numbered(&app, body).await,
        Err(problem) => Err(problem),
    }
}

/// The body's form, by its media type.
fn form(request: &HttpRequest) -> Result<Form, Problem> {
    let refuse =
        |detail: String| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let coding = header(CONTENT_ENCODING);
    if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
        return refuse(format!("bodies are taken as they are, not in the content encoding {coding:?}"));
    }
    let kind = header(CONTENT_TYPE);
    let essence = kind.split(';').next().unwrap_or("").trim();
    match essence {
        essence if essence.eq_ignore_ascii_case(wire::CONTENT_TYPE) => Ok(Form::Native),
        essence if essence.eq_ignore_ascii_case("application/json") => Ok(Form::Json),
        _ => refuse(format!("the content type must be application/json or {}, not {kind:?}", wire::CONTENT_TYPE)),
    }
}

async fn native(app: &App, mut body: Body) -> Result<HttpResponse, Problem> {
    let post = decode_post(&body.bytes).inspect_err(|_| Stats::bump(&app.stats.bodies_refused))?;
    let samples = post.appends.iter().flat_map(|append| &append.records).map(wire::weight).sum::<usize>();
    let records = post.appends.iter().map(|append| append.records.len()).sum::<usize>();
    let bytes = samples * size_of::<Sample>() + records * size_of::<Record>();
    app.ledger.widen(&mut body.ticket, bytes).map_err(|refused| turned_away(app, refused))?;
    drop(body.bytes);
    if let (Some(sent), Some(first)) = (&post.sent, post.appends.first()) {
        app.skews.note(&first.owner, sent.wall_ns, (app.books.now)());
    }

    let told = app.ledger.ask(Work::Appends(translate(post)), body.ticket).await;
    let Told::Appends(outcomes) = told.map_err(|refused| turned_away(app, refused))? else {
        return Err(turned_away(app, Unavailable::Closed));
    };
    app.refused.note(&outcomes, (app.books.now)());
    let bytes = wire::encode_answer(&reply(outcomes, app.books.identity))
        .map_err(|error| Problem::internal("encode an answer", &error))?;
    Stats::bump(&app.stats.posts);
    Ok(HttpResponse::Ok().content_type(wire::CONTENT_TYPE).body(bytes))
}

fn decode_post(bytes: &[u8]) -> Result<Post, Problem> {
    wire::decode_post(bytes).map_err(|error| {
        let code = match &error {
            WireError::Version(_) => "wire-version",
            WireError::Name(_) => "bad-name",
            _ => "malformed-post",
        };
        Problem::bad_request(code, error.to_string())
    })
}

/// The appends as the ledger takes them.
#[must_use]
pub fn translate(post: Post) -> Vec<energy::Append> {
    let sent = post.sent.map(|sent| energy::Sent { boot: sent.boot, boot_ns: sent.boot_ns, wall_ns: sent.wall_ns });
    let hello = |hello: wire::Hello| energy::Hello {
        fingerprint: hello.fingerprint,
        labels: hello.labels,
        contexts: hello.contexts.into_iter().map(|context| (wire::context_id(&context), context)).collect(),
    };
    let append = |append: wire::Append| energy::Append {
        end: append.end(),
        stream: append.stream,
        owner: append.owner,
        hello: append.hello.map(hello),
        base: append.base,
        import: append.import,
        sent,
        records: append.records,
        live: append.live,
    };
    post.appends.into_iter().map(append).collect()
}

/// What is wrong with labels, if anything is.
pub(crate) fn label_fault(labels: &Labels) -> Option<String> {
    if labels.len() > LABELS_MAX {
        return Some(format!("{} labels are more than the {LABELS_MAX} allowed", labels.len()));
    }
    let (key, _) = labels.iter().find(|(key, value)| !label_key_is_valid(key) || !label_value_is_valid(value))?;
    let shown: String = key.chars().take(80).collect();
    Some(format!(
        "the label {shown:?} cannot be used: a key is a letter followed by letters, digits, _ - . / \
         (at most 64 bytes), a value has at most 256 bytes and no control characters"
    ))
}

/// The answer to a post, once what it rests on is on disk.
#[must_use]
pub fn reply(outcomes: Vec<AppendOutcome>, identity: Identity) -> Answer {
    let answers = outcomes.into_iter().map(answer).collect();
    Answer { ledger: identity.ledger, generation: identity.generation, answers }
}

/// The ledger's outcome in the words of the wire.
fn answer(outcome: AppendOutcome) -> AppendAnswer {
    match outcome {
        AppendOutcome::Applied { at, tally: Tally { booked, fenced, refused } } => {
            let refused = refused.into_iter().take(wire::REFUSED_MAX).filter_map(|count| {
                let energy::RefusedCount { scope, device, reason, count } = count;
                Some(wire::RefusedCount { scope: scope.parse().ok()?, device, reason, count })
            });
            AppendAnswer::Durable { at, booked, fenced, refused: refused.collect() }
        }
        AppendOutcome::Stands(at) => AppendAnswer::Stands(at),
        AppendOutcome::SayHello => AppendAnswer::SayHello,
        AppendOutcome::Rejected(why) => AppendAnswer::Rejected { code: why.code().into(), detail: why.to_string() },
    }
}

async fn numbered(app: &App, mut body: Body) -> Result<HttpResponse, Problem> {
    let post = ingest_json::decode(&body.bytes).inspect_err(|_| Stats::bump(&app.stats.bodies_refused))?;
    app.ledger.widen(&mut body.ticket, weight(&post)).map_err(|refused| turned_away(app, refused))?;
    drop(body.bytes);
    let told = app.ledger.ask(Work::Numbered(Box::new(post)), body.ticket).await;
    let Told::Numbered(outcome) = told.map_err(|refused| turned_away(app, refused))? else {
        return Err(turned_away(app, Unavailable::Closed));
    };
    let (seq, tally) = settle(outcome)?;
    Stats::bump(&app.stats.posts_json);
    let refused = tally.refused.into_iter().map(|refused| RefusedReading {
        scope: refused.scope,
        device: refused.device,
        reason: refused.reason.code(),
        count: refused.count,
    });
    let refused = refused.collect();
    Ok(HttpResponse::Ok().json(IngestAnswer { durable_seq: seq, booked: tally.booked, fenced: tally.fenced, refused }))
}

/// The bytes that a decoded post holds.
fn weight(post: &NumberedPost) -> usize {
    let samples = post.records.iter().map(|record| record.samples.capacity() * size_of::<Sample>()).sum::<usize>();
    samples + post.records.len() * size_of::<Record>() + post.context.devices.len() * size_of::<meter::DeviceDecl>()
}

/// The tally of a post that is on disk; a problem for one that contradicts its stream.
fn settle(outcome: PostOutcome) -> Result<(u64, Tally), Problem> {
    match outcome {
        PostOutcome::Applied { seq, tally } | PostOutcome::Repeated { seq, tally } => Ok((seq, tally)),
        PostOutcome::BodyDiffers => Err(Problem::conflict(
            "body-differs",
            "this number of the stream was used for another body; count on, or open a new stream",
        )),
        PostOutcome::Older { oldest_kept } => Err(Problem::conflict(
            "older-number",
            "this number is older than the answers kept for the stream; open a new stream",
        )
        .with("oldest_kept", oldest_kept.into())),
        PostOutcome::Expected(expected) => Err(Problem::conflict(
            "number-gap",
            format!("this number leaves a hole in the stream; {expected} is the next one"),
        )
        .with("expected", expected.into())),
        PostOutcome::Rejected(why) => {
            let status = match why {
                Rejection::BoundElsewhere { .. } | Rejection::ClockSetBack { .. } => StatusCode::CONFLICT,
                Rejection::AccountCap(_) => StatusCode::INSUFFICIENT_STORAGE,
            };
            Err(Problem::new(status, why.code(), why.to_string()))
        }
    }
}
