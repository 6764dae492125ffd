//! Asking an exporter for its page, or a Prometheus server what it remembers.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, TRANSFER_ENCODING};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use super::settings::ScrapeSettings;
use crate::http;
use crate::link::root_cause;

/// Longest page that is read, in bytes: node_exporter of a big node writes one, a page of pods a few million.
const BODY_MAX: usize = 16 << 20;
/// Longest answer of a server that is asked for a few hours of one target, in bytes.
const ANSWER_MAX: usize = 64 << 20;
/// Longest explanation of a refusal that is read, in bytes.
const REFUSAL_MAX: usize = 1 << 20;
const FORM: &str = "application/x-www-form-urlencoded";
/// What is understood, best first: the text format has the timestamps that are told apart without a doubt.
const FORMATS: &str = "text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";

/// Why there is no answer, without the address and without secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// It is longer than what is read, or than what a server is willing to look up.
    #[error("{0}")]
    TooLong(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// How to ask exporters that are scraped alike.
#[derive(Clone)]
pub(super) struct Scraper {
    client: Client,
    user: String,
    secret: Secret,
}

/// Where a secret stands. It is fetched for every request: tokens of Kubernetes change every hour.
#[derive(Clone)]
enum Secret {
    None,
    Password(Place),
    Token(Place),
}

#[derive(Clone)]
enum Place {
    File(PathBuf),
    Variable(String),
}

impl Scraper {
    /// # Errors
    /// If the certificates cannot be read or there can be no client.
    pub(super) fn new(settings: &ScrapeSettings, timeout: Duration) -> Result<Self, String> {
        let mut client = http::client(timeout);
        if settings.insecure {
            client = client.tls_danger_accept_invalid_certs(true);
        } else if !settings.ca_file.as_os_str().is_empty() {
            let wrong = |why: &dyn std::fmt::Display| format!("ca_file {}: {why}", settings.ca_file.display());
            let pem = std::fs::read(&settings.ca_file).map_err(|error| wrong(&error))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))?;
            if certificates.is_empty() {
                return Err(wrong(&"holds no certificate"));
            }
            client = client.tls_certs_only(certificates);
        } else if settings.url.starts_with("http://") {
            // The system's certificates would cost a few megabytes.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| root_cause(&error))?;
        Ok(Self { client, user: settings.user.clone(), secret: Secret::of(settings) })
    }

    /// The page.
    ///
    /// # Errors
    /// Why there is none, without the address and without secrets.
    pub(super) async fn page(&self, url: &Url) -> Result<Vec<u8>, String> {
        let request = self.client.get(url.clone()).header(ACCEPT, FORMATS);
        let response = self.with_secret(request)?.send().await.map_err(|error| root_cause(&error))?;
        match response.status() {
            StatusCode::OK => body(response, BODY_MAX).await.map_err(|error| error.to_string()),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(format!("answers {status}: look at user, password and token of this target"))
            }
            status => Err(format!("answers {status}")),
        }
    }

    /// The answer to a form.
    ///
    /// # Errors
    /// Why there is none; [`PageError::TooLong`] where less should be asked for.
    pub(super) async fn post(&self, url: &Url, form: &[(&str, &str)]) -> Result<Vec<u8>, PageError> {
        let mut encoded = url.clone();
        encoded.query_pairs_mut().clear().extend_pairs(form);
        let body_text = encoded.query().unwrap_or_default().to_owned();
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, FORM).body(body_text);
        let request = self.with_secret(request).map_err(PageError::Other)?;
        let response = request.send().await.map_err(|error| PageError::Other(root_cause(&error)))?;
        let status = response.status();
        if status == StatusCode::OK {
            return body(response, ANSWER_MAX).await;
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(PageError::Other(format!(
                "answers {status}: look at --user, --password-file and --token-file"
            )));
        }
        let said = body(response, REFUSAL_MAX).await.unwrap_or_default();
        let said = serde_json::from_slice::<Refused>(&said).map(|refused| refused.error).unwrap_or_default();
        let told = format!("answers {status}: {said}");
        // The server's own limit, `--query.max-samples`.
        Err(if said.contains("too many samples") { PageError::TooLong(told) } else { PageError::Other(told) })
    }

    fn with_secret(&self, request: RequestBuilder) -> Result<RequestBuilder, String> {
        Ok(match &self.secret {
            Secret::None => request,
            Secret::Password(place) => request.basic_auth(&self.user, Some(place.fetch()?)),
            Secret::Token(place) => request.bearer_auth(place.fetch()?),
        })
    }
}

/// What a Prometheus server says when it refuses.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

async fn body(mut response: reqwest::Response, most: usize) -> Result<Vec<u8>, PageError> {
    let has_length = response.content_length().is_some() || response.headers().contains_key(TRANSFER_ENCODING);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| PageError::Other(root_cause(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            return Err(PageError::TooLong(format!("the page is longer than {} MiB", most >> 20)));
        }
    }
    if !has_length {
        // Nobody said where it ends: half a line may hold half a number.
        let lines = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        body.truncate(lines);
    }
    Ok(body)
}

impl Secret {
    fn of(settings: &ScrapeSettings) -> Self {
        let file = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| Place::File(path.clone()));
        let variable = |name: &String| (!name.is_empty()).then(|| Place::Variable(name.clone()));
        let password = file(&settings.password_file).or_else(|| variable(&settings.password_env));
        let token = file(&settings.token_file).or_else(|| variable(&settings.token_env));
        match (password, token) {
            (Some(place), _) => Self::Password(place),
            (None, Some(place)) => Self::Token(place),
            (None, None) => Self::None,
        }
    }
}

impl Place {
    /// The secret: the first line of the file, or the variable's value.
    fn fetch(&self) -> Result<String, String> {
        match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(text.lines().next().unwrap_or_default().to_owned())
            }
            Self::Variable(name) => {
                std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "correct horse\nsecond line\n").expect("written");
        assert_eq!(Place::File(file.path().into()).fetch().as_deref(), Ok("correct horse"));
        let error = Place::File("/nowhere/token".into()).fetch().expect_err("no file");
        assert!(error.contains("/nowhere/token"), "{error}");
        let error = Place::Variable("WATTLEDGER_NO_SUCH".into()).fetch().expect_err("no variable");
        assert!(error.contains("WATTLEDGER_NO_SUCH"), "{error}");
    }

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let settings = ScrapeSettings { ca_file: file.path().into(), ..ScrapeSettings::default() };
        let Err(error) = Scraper::new(&settings, Duration::from_secs(1)) else { panic!("no certificate") };
        assert!(error.contains(&file.path().display().to_string()), "{error}");
        assert!(Scraper::new(&ScrapeSettings::default(), Duration::from_secs(1)).is_ok());
    }
}
