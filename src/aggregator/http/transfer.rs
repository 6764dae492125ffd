//! How answers travel: compressed where that pays, and not at all where the asker has them already.
//!
//! An answer that has an `etag` is held against `if-none-match` here, for every route.

use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, VARY,
};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse};

/// From this size on it pays to compress: below, the packet is sent all the same.
const WORTH: u64 = 1024;
/// What becomes smaller.
const TEXT: [&str; 7] = [
    "application/javascript",
    "application/json",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "image/svg+xml",
];
/// What is written piece by piece and may be compressed so: whole, it would fill the memory.
const PIECES: [&str; 2] = ["text/plain", "application/openmetrics-text"];

/// Marks what goes as it is: what is small already, packed already, or an endless stream of events.
///
/// # Errors
/// Those of what is inside.
pub async fn choose<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let pays = match response.response().body().size() {
        BodySize::None => false,
        BodySize::Sized(size) => size >= WORTH && (TEXT.contains(&essence) || PIECES.contains(&essence)),
        BodySize::Stream => PIECES.contains(&essence),
    };
    if !pays {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(response)
}

/// Finishes the headers of an answer, and leaves its body out if the asker has it.
///
/// # Errors
/// Those of what is inside.
pub async fn settle<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let mut response = next.call(request).await?;
    let status = response.status();
    let headers = response.headers_mut();
    let coding = headers.get(CONTENT_ENCODING).map(|coding| coding.as_bytes() == b"identity");
    match coding {
        // It is the absence of a coding, and has no name in an answer.
        Some(true) => drop(headers.remove(CONTENT_ENCODING)),
        // Two codings are the same figures, not the same bytes (RFC 9110, 8.8.3.3).
        Some(false) => weaken(headers),
        None => {}
    }
    let tag = headers.get(ETAG).cloned();
    let Some(tag) = tag.filter(|_| status == StatusCode::OK) else { return Ok(response.map_into_left_body()) };
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if !is_known(response.request(), tag.to_str().unwrap_or_default()) {
        return Ok(response.map_into_left_body());
    }
    let (request, full) = response.into_parts();
    let mut short = HttpResponse::NotModified().finish();
    for name in [ETAG, CACHE_CONTROL, VARY] {
        copy(full.headers(), short.headers_mut(), name);
    }
    Ok(ServiceResponse::new(request, short.map_into_boxed_body()).map_into_right_body())
}

/// Whether whoever asks has the answer of this tag: `if-none-match` names it, or anything.
pub(super) fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let tag = strong(tag);
    let mut named = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    named.any(|names| names.split(',').any(|name| name.trim() == "*" || strong(name) == tag))
}

fn weaken(headers: &mut HeaderMap) {
    let strong = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| !tag.starts_with("W/"));
    if let Some(weak) = strong.and_then(|tag| HeaderValue::try_from(format!("W/{tag}")).ok()) {
        headers.insert(ETAG, weak);
    }
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, name: HeaderName) {
    if let Some(value) = from.get(&name) {
        to.insert(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use actix_web::http::header::ACCEPT_ENCODING;
    use actix_web::middleware::{Compress, from_fn};
    use actix_web::test::{TestRequest, call_service, init_service, read_body};
    use actix_web::web::{self, Bytes};
    use actix_web::{App, HttpResponse};
    use flate2::read::GzDecoder;
    use futures_util::stream;

    use super::*;

    const ROWS: &str = "a,b,c,1234567890\n";

    /// An answer of a kind, in one piece or in many, with a tag if it has one.
    async fn answer(path: web::Path<(String, usize, bool)>) -> HttpResponse {
        let (kind, lines, whole) = path.into_inner();
        let mut response = HttpResponse::Ok();
        response.content_type(kind.replace('~', "/")).insert_header((ETAG, "\"t\""));
        if whole {
            return response.body(ROWS.repeat(lines));
        }
        response.streaming(stream::iter((0..lines).map(|_| Ok::<_, Error>(Bytes::from_static(ROWS.as_bytes())))))
    }

    /// Status, coding, tag and body.
    async fn fetched(path: &str, known: Option<&str>, accept: &str) -> (u16, String, String, Vec<u8>) {
        let app = App::new()
            .wrap(from_fn(choose))
            .wrap(Compress::default())
            .wrap(from_fn(settle))
            .route("/{kind}/{lines}/{whole}", web::get().to(answer));
        let app = init_service(app).await;
        let mut request = TestRequest::get().uri(path).insert_header((ACCEPT_ENCODING, accept));
        if let Some(known) = known {
            request = request.insert_header((IF_NONE_MATCH, known));
        }
        let response = call_service(&app, request.to_request()).await;
        let header = |name| response.headers().get(name).map_or(String::new(), |v| v.to_str().unwrap().to_owned());
        let (status, coding, tag) = (response.status().as_u16(), header(CONTENT_ENCODING), header(ETAG));
        (status, coding, tag, read_body(response).await.to_vec())
    }

    #[actix_web::test]
    async fn large_text_is_compressed_and_means_the_same() {
        for path in ["/text~csv/1000/true", "/application~json/1000/true", "/text~plain/1000/false"] {
            let (status, coding, tag, body) = fetched(path, None, "gzip").await;
            assert_eq!((status, coding.as_str(), tag.as_str()), (200, "gzip", "W/\"t\""), "{path}");
            assert!(body.len() < 1000, "{path}: {}", body.len());
            let mut text = String::new();
            GzDecoder::new(&*body).read_to_string(&mut text).expect("gzip");
            assert_eq!(text, ROWS.repeat(1000), "{path}");
        }
    }

    #[actix_web::test]
    async fn what_is_small_binary_or_a_stream_of_events_goes_as_it_is() {
        for (path, lines) in [
            ("/text~csv/10/true", 10),
            ("/application~octet-stream/1000/true", 1000),
            ("/application~octet-stream/1000/false", 1000),
            ("/text~event-stream/1000/false", 1000),
        ] {
            let (status, coding, tag, body) = fetched(path, None, "gzip, deflate, br").await;
            assert_eq!((status, coding.as_str(), tag.as_str()), (200, "", "\"t\""), "{path}");
            assert_eq!(body, ROWS.repeat(lines).as_bytes(), "{path}");
        }
        let (_, coding, tag, body) = fetched("/text~csv/1000/true", None, "identity").await;
        assert_eq!((coding.as_str(), tag.as_str(), body.len()), ("", "\"t\"", 1000 * ROWS.len()));
    }

    #[actix_web::test]
    async fn whoever_has_an_answer_is_not_sent_it_again() {
        for known in ["\"t\"", "W/\"t\"", "\"other\", W/\"t\"", "*"] {
            for accept in ["gzip", "identity"] {
                let (status, coding, tag, body) = fetched("/text~csv/1000/true", Some(known), accept).await;
                assert_eq!((status, coding.as_str(), body.len()), (304, "", 0), "{known}");
                assert!(tag.ends_with("\"t\""), "{tag}");
            }
        }
        let (status, _, _, body) = fetched("/text~csv/1000/true", Some("\"other\""), "identity").await;
        assert_eq!((status, body.len()), (200, 1000 * ROWS.len()));
    }
}
