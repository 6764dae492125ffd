//! Reads the body of a post, within limits of size, time and memory.
//!
//! Memory is counted before the first byte is read. A body is read even if it will be refused:
//! otherwise the connection would have to close, and a wave of refusals became a wave of handshakes.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use wire::BODY_MAX;

use super::problem::Problem;
use crate::app::{App, Stats};
use crate::door::{Ticket, Unavailable};

/// A body, and the room in memory it holds.
pub(crate) struct Body {
    /// The body as it came.
    pub(crate) bytes: Bytes,
    /// Its room.
    pub(crate) ticket: Ticket,
}

/// Reads the body of `request`.
pub(crate) async fn read(app: &App, request: &HttpRequest, payload: Payload) -> Result<Body, Problem> {
    let stated = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if stated.is_some_and(|length| length > BODY_MAX) {
        return Err(too_large());
    }
    let ticket = app.ledger.enter(stated.unwrap_or(BODY_MAX));
    let deadline = Duration::from_secs(app.books.settings.limits.body_deadline_s);
    let read = collect(payload, stated.unwrap_or(0), ticket.is_ok());
    let bytes = tokio::time::timeout(deadline, read).await.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", deadline.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail)
    })??;
    Stats::add(&app.stats.body_bytes, bytes.len() as u64);
    Ok(Body { bytes, ticket: ticket.map_err(|refused| turned_away(app, refused))? })
}

/// Collects the body, or reads past it.
async fn collect(mut payload: Payload, expected: usize, keep: bool) -> Result<Bytes, Problem> {
    let mut body = BytesMut::with_capacity(if keep { expected } else { 0 });
    let mut length = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::bad_request("body-incomplete", error.to_string()))?;
        length += chunk.len();
        if length > BODY_MAX {
            return Err(too_large());
        }
        if keep {
            body.extend_from_slice(&chunk);
        }
    }
    Ok(body.freeze())
}

fn too_large() -> Problem {
    let detail = format!("a body may have {BODY_MAX} bytes: send more posts of fewer readings");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail).with("limit_bytes", BODY_MAX.into())
}

/// The answer to a post that was not booked and should come again.
pub(crate) fn turned_away(app: &App, refused: Unavailable) -> Problem {
    match refused {
        Unavailable::Overloaded => {
            Stats::bump(&app.stats.turned_away);
            Problem::come_again("overloaded", "too much is in flight; nothing of this post was booked, send it again")
        }
        Unavailable::StoreFailed => Problem::come_again(
            "store-failed",
            "the ledger could not be written; nothing of this post was booked, send it again",
        ),
        Unavailable::Closed => Problem::come_again("shutting-down", "the aggregator is shutting down; send it again"),
    }
}
