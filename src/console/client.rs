//! One question to an aggregator, over HTTP.

use std::error::Error;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use crate::error::ConsoleError;

/// Longest wait for a connection: an aggregator that is there accepts at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer: a year by host of a large fleet takes seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A problem document, RFC 9457.
#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    title: Option<String>,
}

/// The body of `GET {server}{path}?{query}`.
pub(crate) async fn get(server: &str, path: &str, query: &[(&str, &str)]) -> Result<String, ConsoleError> {
    let url = address(server, path, query)?;
    // Fails if a provider is installed already: then there is one, which is all that is needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let unreachable = |error: reqwest::Error| ConsoleError::Unreachable { server: server.into(), why: root(&error) };
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .user_agent(concat!("wattledger/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(unreachable)?;
    let answer = client.get(url).send().await.map_err(unreachable)?;
    let status = answer.status();
    let body = answer.text().await.map_err(unreachable)?;
    if status.is_success() {
        return Ok(body);
    }
    Err(serde_json::from_str::<Problem>(&body).map_or_else(
        |_| ConsoleError::NotUnderstood { server: server.into(), why: format!("it says {status}") },
        |problem| ConsoleError::Refused {
            status: status.as_u16(),
            code: problem.code,
            detail: problem.detail.or(problem.title).unwrap_or_else(|| status.to_string()),
        },
    ))
}

fn address(server: &str, path: &str, query: &[(&str, &str)]) -> Result<Url, ConsoleError> {
    let bad = || ConsoleError::BadServer(server.into());
    let with_scheme = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let mut url = Url::parse(&with_scheme).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad());
    }
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}{path}"));
    url.query_pairs_mut().extend_pairs(query);
    Ok(url)
}

/// The innermost reason: "Connection refused" says more than "error sending request".
fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_becomes_an_address() {
        let query = [("where", "host=node[01-20],team=a|b"), ("window", "2026-10-01T00:00:00+02:00,1")];
        for (server, start) in [
            ("http://127.0.0.1:9810", "http://127.0.0.1:9810/api/v1/report?where="),
            ("127.0.0.1:9810", "http://127.0.0.1:9810/api/v1/report?where="),
            ("https://power.example.org/ledger/", "https://power.example.org/ledger/api/v1/report?where="),
        ] {
            let url = address(server, "/api/v1/report", &query).expect(server);
            assert!(url.as_str().starts_with(start), "{url}");
            let read: Vec<_> = url.query_pairs().collect();
            assert_eq!(read[0].1, query[0].1);
            assert_eq!(read[1].1, query[1].1);
        }
        for bad in ["", "ftp://x", "http://", "file:///etc/passwd", "://"] {
            assert!(address(bad, "/", &[]).is_err(), "{bad}");
        }
    }
}
