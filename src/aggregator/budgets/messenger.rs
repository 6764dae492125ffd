//! Tells webhooks of crossings: one message at a time, tried again for half a day, never with a redirect.

use std::sync::Mutex;
use std::time::Duration;

use actix_web::web;
use cost::budget::{Budget, Secret, Webhook};
use meter::Utc;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tracing::{info, warn};

use super::crossing::Crossing;
use super::since;
use crate::query::rfc3339;

/// Longest time that one message may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after each attempt that failed; after the last one a message is given up.
const WAITS: [u64; 9] = [2, 10, 30, 120, 600, 1800, 3600, 10_800, 21_600];
/// Longest secret in bytes.
const SECRET_MAX: u64 = 4096;

/// Sends messages.
#[derive(Default)]
pub(super) struct Messenger {
    client: Mutex<Option<Client>>,
}

/// What became of an attempt.
enum Outcome {
    Delivered,
    /// It may work later.
    Failed(String),
    /// It never will.
    Refused(String),
}

impl Messenger {
    /// Tries to tell of a crossing; `budget` is its own as the file is now. Tells how the crossing stands then.
    pub(super) async fn send(&self, budget: Option<&Budget>, crossing: Crossing, now: fn() -> Utc) -> Crossing {
        let outcome = self.attempt(budget.and_then(|budget| budget.webhook.as_ref()), &crossing).await;
        settled(crossing, outcome, now())
    }

    async fn attempt(&self, webhook: Option<&Webhook>, crossing: &Crossing) -> Outcome {
        let (Some(webhook), Some(message)) = (webhook, &crossing.message) else {
            return Outcome::Refused("the budget has no webhook any more".into());
        };
        match self.post(webhook, message.to_string()).await {
            Ok(status) if status.is_success() => Outcome::Delivered,
            Ok(status) if is_final(status) => Outcome::Refused(format!("the webhook answers {status}")),
            Ok(status) => Outcome::Failed(format!("the webhook answers {status}")),
            Err(why) => Outcome::Failed(why),
        }
    }

    async fn post(&self, webhook: &Webhook, body: String) -> Result<StatusCode, String> {
        let client = self.client()?;
        let mut request = client.post(&webhook.url).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(secret) = webhook.secret.clone() {
            let header = web::block(move || header(&secret)).await.map_err(|error| error.to_string())??;
            request = request.header(AUTHORIZATION, header);
        }
        // The address may be a secret: an error is told without it.
        request.send().await.map(|answer| answer.status()).map_err(|error| root(&error.without_url()))
    }

    fn client(&self) -> Result<Client, String> {
        let mut known = self.client.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        // Fails if a provider is installed already: then there is one, which is all that is needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT).redirect(Policy::none());
        let builder = builder.user_agent(concat!("wattledger/", env!("CARGO_PKG_VERSION")));
        let client = builder.build().map_err(|error| root(&error))?;
        Ok(known.insert(client).clone())
    }
}

pub(super) fn is_due(crossing: &Crossing, now: Utc) -> bool {
    let waits = crossing.attempts.checked_sub(1).and_then(|attempt| WAITS.get(usize::try_from(attempt).ok()?));
    waits.is_none_or(|seconds| since(now, Utc(crossing.tried_ns)) >= Duration::from_secs(*seconds))
}

/// An answer that no repetition changes. `408` and `429` ask for one.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// The crossing after an attempt.
fn settled(mut crossing: Crossing, outcome: Outcome, now: Utc) -> Crossing {
    crossing.attempts += 1;
    crossing.tried_ns = now.0;
    let budget = crossing.budget.clone();
    match outcome {
        Outcome::Delivered => {
            info!(budget, "a crossing was told");
            (crossing.delivered_at, crossing.problem, crossing.message) = (Some(rfc3339(now)), None, None);
        }
        Outcome::Failed(why) if usize::try_from(crossing.attempts).is_ok_and(|count| count <= WAITS.len()) => {
            warn!(budget, why, attempt = crossing.attempts, "a crossing could not be told; it is tried again");
            crossing.problem = Some(why);
        }
        Outcome::Failed(why) | Outcome::Refused(why) => {
            warn!(budget, why, "a crossing could not be told and is given up");
            (crossing.problem, crossing.message, crossing.given_up) = (Some(why), None, true);
        }
    }
    crossing
}

/// The header that proves who calls; never shown.
fn header(secret: &Secret) -> Result<HeaderValue, String> {
    let text = match secret {
        Secret::File(path) => {
            let told = |why: &dyn std::fmt::Display| format!("the secret's file cannot be read: {why}");
            let length = std::fs::metadata(path).map_err(|error| told(&error))?.len();
            if length > SECRET_MAX {
                return Err(told(&"it is longer than 4096 bytes"));
            }
            std::fs::read_to_string(path).map_err(|error| told(&error))?
        }
        Secret::Variable(name) => std::env::var(name).map_err(|_| format!("the variable {name} is not set"))?,
    };
    let text = text.trim();
    if text.is_empty() {
        return Err("the secret is empty".into());
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|_| "the secret holds what no header may".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

/// The innermost reason.
fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use meter::SECOND_NS;

    use super::super::crossing::What;
    use super::*;

    fn pending() -> Crossing {
        Crossing {
            budget: "b".into(),
            what: What::Used(50),
            at: String::new(),
            message: Some(serde_json::json!({})),
            attempts: 0,
            tried_ns: 0,
            delivered_at: None,
            given_up: false,
            problem: None,
        }
    }

    #[test]
    fn a_message_is_tried_ten_times_in_half_a_day_and_then_given_up() {
        let (mut crossing, mut now, mut attempts) = (pending(), Utc(0), 0);
        while crossing.is_pending() {
            if is_due(&crossing, now) {
                crossing = settled(crossing, Outcome::Failed("no answer".into()), now);
                attempts += 1;
            }
            now = Utc(now.0 + SECOND_NS);
        }
        assert_eq!((attempts, crossing.given_up), (10, true));
        let hours = now.0 / SECOND_NS / 3600;
        assert!((10..12).contains(&hours), "{hours} h");
    }

    #[test]
    fn what_is_delivered_or_refused_is_not_tried_again() {
        let delivered = settled(pending(), Outcome::Delivered, Utc(0));
        assert!(!delivered.is_pending() && delivered.delivered_at.is_some() && !delivered.given_up);
        let refused = settled(pending(), Outcome::Refused("404".into()), Utc(0));
        assert!(!refused.is_pending() && refused.given_up);
        assert!(is_final(StatusCode::NOT_FOUND) && !is_final(StatusCode::TOO_MANY_REQUESTS));
        assert!(!is_final(StatusCode::BAD_GATEWAY));
    }
}
