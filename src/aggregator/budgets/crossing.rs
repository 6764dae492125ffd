//! A threshold of a budget that was crossed, and who was told of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// So many percent are used.
    Used(u32),
    /// The forecast reaches all of it.
    Forecast,
}

/// One crossing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Crossing {
    pub(super) budget: String,
    pub(super) what: What,
    /// When it was seen, in RFC 3339.
    pub(super) at: String,
    /// The message, as long as somebody is to be told.
    pub(super) message: Option<Value>,
    /// How many times it was sent.
    pub(super) attempts: u32,
    /// When it was sent last, in nanoseconds since the Unix epoch.
    pub(super) tried_ns: i64,
    pub(super) delivered_at: Option<String>,
    pub(super) given_up: bool,
    /// What was wrong the last time.
    pub(super) problem: Option<String>,
}

impl Crossing {
    /// Whether somebody is still to be told.
    pub(super) fn is_pending(&self) -> bool {
        self.message.is_some()
    }
}
