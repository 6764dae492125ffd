//! `GET /api/v1/events`: the fleet's power once a second, as server-sent events.

use std::time::Duration;

use actix_web::{HttpRequest, Responder, web};
use actix_web_lab::sse::{Data, Event, Sse};
use futures_util::stream;
use serde_json::json;

use super::openapi::problems::{ComeAgain, Refused};
use super::problem::Problem;
use crate::app::App;
use crate::events::{LISTENERS_MAX, News};
use crate::query::Params;

/// How long a listener waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);
/// A comment after so long without news, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams until the listener leaves or the aggregator ends. Each event is named `power`; its data is JSON: `as_of`,
/// `watts` (null while no reading is fresh), `hosts` by state, `shown` (number and unit for people).
///
/// # Errors
/// 503 if all seats are taken.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "fleet", summary = "The fleet's power, once a second",
    responses(
        (status = 200, description = "Server-sent events, until either side ends.", content_type = "text/event-stream", body = String),
        Refused, ComeAgain,
    ),
)]
pub async fn events(app: web::Data<App>, request: HttpRequest) -> Result<impl Responder, Problem> {
    Params::read(request.query_string(), &[])?;
    let Some((mut news, seat)) = app.events.listen() else {
        let detail = format!("{LISTENERS_MAX} listeners are connected, which is the most; come again later");
        return Err(Problem::come_again("too-many-listeners", detail).with("limit", json!(LISTENERS_MAX)));
    };
    // The newest there is goes out at once.
    news.mark_changed();
    let stream = stream::unfold((news, seat), |(mut news, seat)| async move {
        loop {
            news.changed().await.ok()?;
            let now = news.borrow_and_update().clone();
            match now {
                News::None => {}
                News::Power(power) => {
                    return Some((Event::Data(Data::new(&*power).event("power")), (news, seat)));
                }
                News::End => return None,
            }
        }
    });
    Ok(Sse::from_infallible_stream(stream).with_retry_duration(RETRY).with_keep_alive(KEEP_ALIVE))
}
