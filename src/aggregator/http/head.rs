//! `HEAD`: the headers of the `GET`, without its body (RFC 9110, 9.3.2), for every route that has one.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpRequest};

/// Marks a request that was a `HEAD` before [`as_get`] made it a `GET`.
struct WasHead;

/// A body that is as large as another, and of which nothing is sent.
#[derive(Debug)]
pub struct Unsent(BodySize);

impl MessageBody for Unsent {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

/// Answers a `HEAD` as a `GET` whose body is dropped before it is read: one without end would never be.
///
/// # Errors
/// Those of what is inside.
pub async fn as_get<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, Unsent>>, Error> {
    if request.method() != Method::HEAD {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    }
    request.head_mut().method = Method::GET;
    request.extensions_mut().insert(WasHead);
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| EitherBody::right(Unsent(body.size()))))
}

/// Whether only the headers are wanted.
pub(super) fn only(request: &HttpRequest) -> bool {
    request.extensions().contains::<WasHead>()
}

/// The method that was sent.
pub(super) fn method(request: &HttpRequest) -> Method {
    if only(request) { Method::HEAD } else { request.method().clone() }
}

/// The methods of a path with `HEAD`, if they have `GET`.
pub(super) fn allowed(allow: HeaderValue) -> HeaderValue {
    let named = allow.to_str().unwrap_or_default();
    let has = |method: &str| named.split(',').any(|name| name.trim() == method);
    if has("GET") && !has("HEAD") { HeaderValue::try_from(format!("{named}, HEAD")).unwrap_or(allow) } else { allow }
}
