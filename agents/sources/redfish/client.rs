//! HTTP to one Redfish service: a session that is used again, one request at a time, no redirects.
//!
//! The URLs and answers in errors hold no credentials: those go in headers and bodies only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::json;

use super::document::{Document, is_path};
use super::profile::Profile;

/// Largest answer that is read: an HPE chassis with all its links has 40 kB.
const BODY_MAX: usize = 1 << 20;

/// Longest wait that a BMC can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

const TOKEN: &str = "X-Auth-Token";
const ROOT: &str = "/redfish/v1/";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// It cannot be reached, or not in time, or breaks off.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It says that it is too busy.
    #[error("is too busy ({0})")]
    Busy(StatusCode, Option<Duration>),
    /// It does not let us in, or nobody tries at the moment.
    #[error("{0}")]
    Denied(String),
    /// There is no such resource.
    #[error("has no {0}")]
    Missing(String),
    /// Something else than what was asked for.
    #[error("{0}")]
    Wrong(String),
}

/// The way to one service.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    address: String,
    profile: Option<Arc<Profile>>,
    session: Option<Session>,
    /// Where sessions are made.
    sessions: Option<String>,
}

#[derive(Debug)]
struct Session {
    token: HeaderValue,
    /// Where it is deleted.
    path: Option<String>,
}

/// An HTTP client; several services that are trusted alike share one.
///
/// # Errors
/// If TLS cannot be set up.
pub(super) fn http(tls: rustls::ClientConfig, timeout: Duration) -> Result<reqwest::Client, String> {
    crate::http::client(timeout).tls_backend_preconfigured(tls).build().map_err(|error| root_cause(&error))
}

impl Client {
    pub(super) fn new(http: reqwest::Client, base: Url, profile: Option<Arc<Profile>>) -> Self {
        let address = base.origin().ascii_serialization();
        Self { http, base, address, profile, session: None, sessions: None }
    }

    /// The service, without credentials.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The text of a resource. A session that has ended is replaced once.
    pub(super) async fn get(&mut self, path: &str) -> Result<String, NoAnswer> {
        let had_session = self.session.is_some();
        let response = self.ask(path).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.answer(path, response).await;
        }
        drain(response).await;
        if had_session {
            // It may have expired, or the BMC was started anew.
            self.session = None;
            let response = self.ask(path).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return self.answer(path, response).await;
            }
        }
        // Let in and then refused: a session that nobody deletes stays for half an hour.
        self.close().await;
        Err(self.denied())
    }

    /// The service's root, which anybody may read, and with it where sessions are made.
    pub(super) async fn greet(&mut self) -> Result<String, NoAnswer> {
        let response = send(self.request(Method::GET, ROOT)?).await?;
        let text = self.answer(ROOT, response).await?;
        let links = Document::parse(&text).map_err(NoAnswer::Wrong)?.field("Links");
        self.sessions = links.and_then(|links| links.link("Sessions"));
        Ok(text)
    }

    /// Asks for a resource with what credentials there are.
    async fn ask(&mut self, path: &str) -> Result<Response, NoAnswer> {
        let request = self.request(Method::GET, path)?;
        let Some(profile) = self.profile.clone() else { return send(request).await };
        if profile.is_basic() {
            let attempt = profile.attempt().await.map_err(NoAnswer::Denied)?;
            let response = send(request.basic_auth(attempt.user, Some(attempt.secret.expose()))).await?;
            if response.status().is_success() {
                profile.accepted();
            }
            return Ok(response);
        }
        if self.session.is_none() {
            self.session = Some(self.log_in(&profile).await?);
        }
        let request = match &self.session {
            Some(session) => request.header(TOKEN, session.token.clone()),
            None => request,
        };
        send(request).await
    }

    async fn log_in(&self, profile: &Profile) -> Result<Session, NoAnswer> {
        let attempt = profile.attempt().await.map_err(NoAnswer::Denied)?;
        let path = self.sessions.as_deref().unwrap_or(SESSIONS);
        let body = json!({ "UserName": attempt.user, "Password": attempt.secret.expose() });
        let response = send(self.request(Method::POST, path)?.json(&body)).await?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) {
            drain(response).await;
            return Err(self.denied());
        }
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Err(NoAnswer::Denied("has no sessions: set basic = true in its profile".into()));
        }
        let headers = response.headers().clone();
        let text = self.answer(path, response).await?;
        profile.accepted();
        session(&headers, &text)
    }

    /// Notes that name and password, or what a session of them may do, were not enough.
    fn denied(&self) -> NoAnswer {
        match &self.profile {
            Some(profile) => {
                profile.refused(&self.address, Instant::now());
                NoAnswer::Denied("refuses user or password (401)".into())
            }
            None => NoAnswer::Denied("asks for a user: set profile (401)".into()),
        }
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, NoAnswer> {
        let url = self.base.join(path).map_err(|error| NoAnswer::Wrong(format!("{path}: {error}")))?;
        if url.origin() != self.base.origin() {
            return Err(NoAnswer::Wrong(format!("{path}: leads to another machine")));
        }
        Ok(self.http.request(method, url).header("Accept", "application/json").header("OData-Version", "4.0"))
    }

    async fn answer(&self, path: &str, response: Response) -> Result<String, NoAnswer> {
        let status = response.status();
        if status.is_success() {
            return body(path, response).await;
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        drain(response).await;
        Err(match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => NoAnswer::Missing(path.into()),
            StatusCode::TOO_MANY_REQUESTS => NoAnswer::Busy(status, retry_after),
            StatusCode::FORBIDDEN => NoAnswer::Wrong(format!("{path}: the user may not read it (403)")),
            _ if status.is_server_error() => NoAnswer::Busy(status, retry_after),
            _ if status.is_redirection() => {
                NoAnswer::Wrong(format!("{path}: redirects ({status}), which is not followed: credentials stay here"))
            }
            _ => NoAnswer::Wrong(format!("{path}: {status}")),
        })
    }

    /// Ends the session, if there is one: BMCs have few.
    pub(super) async fn close(&mut self) {
        let Some(Session { token, path: Some(path) }) = self.session.take() else { return };
        if let Ok(request) = self.request(Method::DELETE, &path) {
            // It ends by itself later where this does not arrive.
            let _ = request.header(TOKEN, token).send().await;
        }
    }
}

/// The session of an answer to a login.
fn session(headers: &HeaderMap, text: &str) -> Result<Session, NoAnswer> {
    let mut token = headers.get(TOKEN).cloned().ok_or_else(|| NoAnswer::Wrong("logs us in without a token".into()))?;
    token.set_sensitive(true);
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let path = location.and_then(path_of).or_else(|| Document::parse(text).ok()?.reference());
    Ok(Session { token, path })
}

/// The path of a location, which may be a whole URL; the request goes to our BMC whatever it says.
fn path_of(location: &str) -> Option<String> {
    let path = match Url::parse(location) {
        Ok(url) => url.path().to_owned(),
        Err(_) => location.to_owned(),
    };
    is_path(&path).then_some(path)
}

async fn send(request: RequestBuilder) -> Result<Response, NoAnswer> {
    request.send().await.map_err(|error| NoAnswer::Unreachable(root_cause(&error)))
}

async fn body(path: &str, mut response: Response) -> Result<String, NoAnswer> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| NoAnswer::Unreachable(root_cause(&error)))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > BODY_MAX {
            return Err(NoAnswer::Wrong(format!("{path}: the answer is larger than 1 MiB")));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads an answer that nobody needs to its end, so that the connection can be used again.
async fn drain(response: Response) {
    let _ = body("", response).await;
}

/// What the system or TLS said, without the wrappings, which hold the URL.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    // What our own check of certificates says, as rustls passes it on.
    text.strip_prefix("unexpected error: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_deleted_where_it_was_made_and_nowhere_else() {
        let with = |location: Option<&str>, text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TOKEN, HeaderValue::from_static("t0ken"));
            if let Some(location) = location {
                headers.insert(LOCATION, HeaderValue::from_str(location).expect("a header"));
            }
            session(&headers, text).expect("a session")
        };
        let path = "/redfish/v1/SessionService/Sessions/7";
        for location in [path.to_owned(), format!("https://bmc{path}"), format!("https://evil:1{path}")] {
            assert_eq!(with(Some(&location), "").path.as_deref(), Some(path), "{location}");
        }
        let body = format!("{{\"@odata.id\": {path:?}}}");
        assert_eq!(with(None, &body).path.as_deref(), Some(path));
        assert_eq!(with(None, "").path, None);
        assert!(!format!("{:?}", with(None, "")).contains("t0ken"));
        assert!(session(&HeaderMap::new(), &body).is_err());
    }
}
