//! One question to an aggregator, over HTTP.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, ClientBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::ConsoleError;

/// The aggregator that is asked if none is named.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:9810";

/// Longest wait for a connection: an aggregator that is there accepts at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer: a year by host of a large fleet takes seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest silence within an answer that may take any time in all.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

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
    let client = client(server, Client::builder().timeout(ANSWER_TIMEOUT))?;
    text(server, client.get(url).send().await).await
}

/// What an answer says.
///
/// # Errors
/// [`ConsoleError::NotUnderstood`].
pub(crate) fn understand<'a, T: Deserialize<'a>>(server: &str, body: &'a str) -> Result<T, ConsoleError> {
    serde_json::from_str(body).map_err(|why| not_understood(server, &why))
}

/// What was understood as indented JSON, with the end of a line.
///
/// # Errors
/// [`ConsoleError::NotUnderstood`].
pub(crate) fn written<T: Serialize>(server: &str, what: &T) -> Result<String, ConsoleError> {
    let text = serde_json::to_string_pretty(what).map_err(|why| not_understood(server, &why))?;
    Ok(text + "\n")
}

fn not_understood(server: &str, why: &serde_json::Error) -> ConsoleError {
    ConsoleError::NotUnderstood { server: server.into(), why: why.to_string() }
}

/// Asks for every page of a list, one after another; `take` keeps what is on a page, and gives the next one's cursor.
pub(crate) async fn pages<T: DeserializeOwned>(
    server: &str,
    path: &str,
    query: &[(&str, &str)],
    mut take: impl FnMut(T) -> Option<String>,
) -> Result<(), ConsoleError> {
    let mut cursor: Option<String> = None;
    loop {
        let at = cursor.as_deref().map(|cursor| ("cursor", cursor));
        let query: Vec<(&str, &str)> = query.iter().copied().chain(at).collect();
        let body = get(server, path, &query).await?;
        cursor = take(understand(server, &body)?);
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// The body of `POST {server}{path}` with a JSON document.
pub(crate) async fn post(server: &str, path: &str, document: String) -> Result<String, ConsoleError> {
    let url = address(server, path, &[])?;
    let client = client(server, Client::builder().timeout(ANSWER_TIMEOUT))?;
    let request = client.post(url).header(CONTENT_TYPE, "application/json").body(document);
    text(server, request.send().await).await
}

/// Writes the body of `GET {server}{path}` to `out`, a file at `to`; `progress` is told the bytes so far.
pub(crate) async fn download(
    server: &str,
    path: &str,
    out: &mut impl Write,
    to: &Path,
    progress: impl Fn(u64),
) -> Result<(), ConsoleError> {
    let url = address(server, path, &[])?;
    let client = client(server, Client::builder().read_timeout(SILENCE_TIMEOUT))?;
    let answer = client.get(url).send().await.map_err(|error| unreachable(server, &error))?;
    if !answer.status().is_success() {
        return Err(refused(server, answer).await);
    }
    let (mut answer, mut bytes) = (answer, 0);
    let broken = |error: &reqwest::Error| ConsoleError::BrokenOff { server: server.into(), why: root(error) };
    while let Some(piece) = answer.chunk().await.map_err(|error| broken(&error))? {
        out.write_all(&piece).map_err(|why| ConsoleError::File { path: to.into(), why })?;
        bytes += piece.len() as u64;
        progress(bytes);
    }
    Ok(())
}

fn client(server: &str, builder: ClientBuilder) -> Result<Client, ConsoleError> {
    // Fails if a provider is installed already: then there is one, which is all that is needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = builder.connect_timeout(CONNECT_TIMEOUT);
    let builder = builder.user_agent(concat!("wattledger/", env!("CARGO_PKG_VERSION")));
    builder.build().map_err(|error| unreachable(server, &error))
}

/// The text of an answer, or what the aggregator refused.
async fn text(server: &str, answer: reqwest::Result<Response>) -> Result<String, ConsoleError> {
    let answer = answer.map_err(|error| unreachable(server, &error))?;
    if answer.status().is_success() {
        return answer.text().await.map_err(|error| unreachable(server, &error));
    }
    Err(refused(server, answer).await)
}

/// What an answer that is no success says.
async fn refused(server: &str, answer: Response) -> ConsoleError {
    let status = answer.status();
    let body = match answer.text().await {
        Ok(body) => body,
        Err(error) => return unreachable(server, &error),
    };
    serde_json::from_str::<Problem>(&body).map_or_else(
        |_| ConsoleError::NotUnderstood { server: server.into(), why: format!("it says {status}") },
        |problem| ConsoleError::Refused {
            status: status.as_u16(),
            code: problem.code,
            detail: problem.detail.or(problem.title).unwrap_or_else(|| status.to_string()),
        },
    )
}

fn unreachable(server: &str, error: &reqwest::Error) -> ConsoleError {
    ConsoleError::Unreachable { server: server.into(), why: root(error) }
}

/// Whether this is an address at all.
pub(crate) fn check(server: &str) -> Result<(), ConsoleError> {
    address(server, "/", &[]).map(drop)
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
