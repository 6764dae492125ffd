//! The way to the aggregator: HTTP/1.1 with kept-alive connections, one request at a time.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use wire::{Answer, WireError};

use crate::http;

/// Longest wait that an aggregator can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// First and longest back-off.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A list of aggregators, tried in order.
#[derive(Debug)]
pub struct Link {
    client: Client,
    servers: Vec<Url>,
    current: usize,
}

/// Why a post was not answered.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address of an aggregator cannot be one.
    #[error("{0:?} is no address of an aggregator: it looks like http://host:9810")]
    Address(String),
    /// No aggregator is configured.
    #[error("no aggregator is configured: give --server http://host:9810")]
    NoServer,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
    /// Nobody answers.
    #[error("cannot reach {server}: {why}; is `wattledger serve` running there?")]
    Unreachable {
        /// The aggregator.
        server: String,
        /// What the system said.
        why: String,
    },
    /// It is too busy, or cannot store anything at the moment.
    #[error("{server} cannot take readings at the moment ({status})")]
    Busy {
        /// The aggregator.
        server: String,
        /// Its status.
        status: StatusCode,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The body is too large for it.
    #[error("the post is too large for {0}")]
    TooLarge(String),
    /// It does not accept the request.
    #[error("{server} refuses the post ({status}): {detail}")]
    Refused {
        /// The aggregator.
        server: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        detail: String,
    },
    /// What it answers is no answer.
    #[error("the answer of {server} cannot be read: {why}")]
    Garbled {
        /// The aggregator.
        server: String,
        /// What is wrong with it.
        why: WireError,
    },
}

/// Where an aggregator takes readings, by its address.
pub(crate) fn address(text: &str) -> Result<Url, LinkError> {
    let base = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    base.and_then(|base| base.join("/api/v1/ingest").ok()).ok_or_else(|| LinkError::Address(text.to_owned()))
}

impl Link {
    /// A link to these aggregators; a request takes at most `timeout`.
    ///
    /// # Errors
    /// [`LinkError`] if an address is none, or there is none.
    pub fn new(servers: &[String], timeout: Duration) -> Result<Self, LinkError> {
        let servers: Vec<Url> = servers.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(LinkError::NoServer);
        }
        let mut client = http::client(timeout);
        if servers.iter().all(|url| url.scheme() == "http") {
            // The system's certificates would cost a few megabytes.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| LinkError::Client(root_cause(&error)))?;
        Ok(Self { client, servers, current: 0 })
    }

    /// Posts a body to the aggregator that answered last, else to the others in turn.
    ///
    /// # Errors
    /// The [`LinkError`] of the last one tried.
    pub async fn post(&mut self, body: &[u8]) -> Result<Answer, LinkError> {
        let mut last = LinkError::NoServer;
        for _ in 0..self.servers.len() {
            let server = self.servers[self.current].clone();
            let body = body.to_vec();
            match self.post_to(server, body).await {
                Err(error @ (LinkError::Unreachable { .. } | LinkError::Busy { .. })) => last = error,
                other => return other,
            }
            self.current = (self.current + 1) % self.servers.len();
        }
        Err(last)
    }

    async fn post_to(&self, url: Url, body: Vec<u8>) -> Result<Answer, LinkError> {
        let server = url.origin().ascii_serialization();
        let unreachable =
            |error: &reqwest::Error| LinkError::Unreachable { server: server.clone(), why: root_cause(error) };
        let request = self.client.post(url).header(CONTENT_TYPE, wire::CONTENT_TYPE).body(body);
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if status == StatusCode::OK {
            let body = read_body(response, wire::BODY_MAX).await.map_err(|error| unreachable(&error))?;
            return wire::decode_answer(&body).map_err(|why| LinkError::Garbled { server, why });
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            // Read to its end, so that the connection can be used again.
            let _ = read_body(response, 1 << 16).await;
            return Err(LinkError::Busy { server, status, retry_after });
        }
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            return Err(LinkError::TooLarge(server));
        }
        let body = read_body(response, 1 << 16).await.unwrap_or_default();
        Err(LinkError::Refused { server, status, detail: detail(&body) })
    }
}

/// The body of a response, or as much of it as `max`.
async fn read_body(mut response: reqwest::Response, max: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > max {
            break;
        }
    }
    Ok(body)
}

/// What a problem document says, on one line.
fn detail(body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name| problem.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let text = field("detail").or_else(|| field("title")).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// What the system said, without the wrappings: `Connection refused (os error 111)`.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Full-jitter back-off: doubling up to half a minute, for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Begins again with the shortest wait.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row so far.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait after a failure. `random` is uniform; an aggregator's own wish is a lower bound.
    pub fn next(&mut self, error: &LinkError, random: u64) -> Duration {
        let most = BACKOFF.0.saturating_mul(1 << self.failures.min(10)).min(BACKOFF.1);
        self.failures = self.failures.saturating_add(1);
        let asked = match error {
            LinkError::Busy { retry_after: Some(asked), .. } => *asked,
            // Nothing that a quick repetition could mend.
            LinkError::Refused { .. } | LinkError::Garbled { .. } => return BACKOFF.1,
            _ => Duration::ZERO,
        };
        let jitter = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        asked + Duration::from_nanos(random % jitter)
    }
}

/// A random number; constant if the system has none, which costs no more than the jitter.
#[must_use]
pub fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> LinkError {
        LinkError::Unreachable { server: "http://x".into(), why: "refused".into() }
    }

    #[test]
    fn back_off_doubles_with_full_jitter_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let mut most = Vec::new();
        for _ in 0..9 {
            // The largest remainder of each bound is one nanosecond below it.
            let bound = BACKOFF.0.saturating_mul(1 << backoff.failures()).min(BACKOFF.1);
            most.push(backoff.next(&refused(), bound.as_nanos() as u64 - 1).as_secs_f64() * 2.0);
        }
        let halves: Vec<f64> = most.into_iter().map(f64::round).collect();
        assert_eq!(halves, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        backoff.reset();
        assert_eq!(backoff.next(&refused(), 0), Duration::ZERO);
    }

    #[test]
    fn the_aggregator_may_ask_for_more_patience() {
        let busy = |seconds| LinkError::Busy {
            server: "http://x".into(),
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let wait = Backoff::default().next(&busy(7), 123);
        assert!(wait >= Duration::from_secs(7) && wait < Duration::from_secs(8), "{wait:?}");
    }

    #[test]
    fn addresses_are_checked_at_the_start() {
        for bad in ["", "node:9810", "ftp://x", "http://"] {
            assert!(Link::new(&[bad.into()], Duration::from_secs(1)).is_err(), "{bad:?}");
        }
        assert!(Link::new(&[], Duration::from_secs(1)).is_err());
        assert!(Link::new(&["http://[::1]:9810".into(), "https://a.example/".into()], Duration::from_secs(1)).is_ok());
    }
}
