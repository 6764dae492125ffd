//! What `wattledger-agent probe` says of the ear for jobs.

use std::path::Path;

use serde_json::{Value, json};

use super::kubernetes;
use crate::config::Settings;

/// One way of hearing, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// The way: `socket`, `files`, `kubelet`.
    pub by: &'static str,
    /// Where; empty if nowhere.
    pub place: String,
    /// How it stands, in words.
    pub state: String,
}

/// Looks at every way of hearing that the settings name.
pub async fn look(settings: &Settings) -> Vec<Hearing> {
    let jobs = &settings.jobs;
    let mut found = Vec::new();
    let mut add = |by, place: Option<&Path>, state: String| {
        let place = place.map(|place| place.display().to_string()).unwrap_or_default();
        found.push(Hearing { by, place, state });
    };
    match jobs.socket() {
        Some(socket) => {
            let state = match tokio::net::UnixStream::connect(&socket).await {
                Ok(_) => "an agent listens".into(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "no agent listens now".into(),
                Err(error) => format!("no agent listens now ({error})"),
            };
            add("socket", Some(&socket), state);
        }
        None => add("socket", None, "off: see [jobs] socket".into()),
    }
    match jobs.drop_dir(&settings.state_dir()) {
        Some(folder) if folder.is_dir() => add("files", Some(&folder), "files called *.json are taken".into()),
        Some(folder) => add("files", Some(&folder), "a running agent makes it".into()),
        None => add("files", None, "off: see [jobs] drop_dir".into()),
    }
    if jobs.kubernetes.enabled {
        let state = match kubernetes::list(&jobs.kubernetes.socket).await {
            Ok(pods) => format!("the kubelet answers: {} pods", pods.pods.len()),
            Err(why) => why,
        };
        add("kubelet", Some(&jobs.kubernetes.socket), state);
    } else {
        add("kubelet", None, "off: see [jobs.kubernetes] enabled".into());
    }
    found
}

/// For scripts.
#[must_use]
pub fn json(hearings: &[Hearing]) -> Value {
    let by = |hearing: &Hearing| json!({"by": hearing.by, "place": hearing.place, "state": hearing.state});
    json!({"source": "jobs", "state": "heard", "by": hearings.iter().map(by).collect::<Vec<_>>()})
}
