//! Settings: defaults < file < environment < flags.
//!
//! Every key can be set by environment, `WATTLEDGER_AGENT__SECTION__KEY`. An unknown key in a file,
//! and a variable that looks like one of ours and matches nothing, are refused by name: a typo must
//! not silently leave a default in force.

use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use meter::{Labels, reading};
use serde::{Deserialize, Deserializer, Serialize};

use crate::jobs::settings::JobsSettings;
use crate::metrics::settings::MetricsSettings;
use crate::sources::SourcesSettings;
use crate::sources::rapl::PERIOD_MAX_MS;
use crate::{identity, link};

/// What our environment variables begin with.
const PREFIX: &str = "WATTLEDGER_AGENT";

/// All settings of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who this machine is, and where its state is kept.
    pub agent: AgentSettings,
    /// Labels of this host; the aggregator's inventory takes precedence over them.
    pub labels: Labels,
    /// The way to the aggregator.
    pub uplink: UplinkSettings,
    /// What is kept until the ledger has it.
    pub spool: SpoolSettings,
    /// Where the agent shows how it is.
    pub metrics: MetricsSettings,
    /// How it is told of jobs.
    pub jobs: JobsSettings,
    /// What is read.
    pub sources: SourcesSettings,
}

/// Who this machine is, and where its state is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// The host's name; empty for the lower-case short name of the machine.
    pub host: String,
    /// The cluster it belongs to.
    pub cluster: String,
    /// Where the spool lies; empty for the usual place, see [`Settings::state_dir`].
    pub state_dir: PathBuf,
}

/// The way to the aggregator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UplinkSettings {
    /// Aggregators, tried in order.
    #[serde(deserialize_with = "list")]
    pub servers: Vec<String>,
    /// Seconds between posts.
    pub interval_s: u64,
    /// Longest time for one request, in seconds.
    pub timeout_s: u64,
}

/// What is kept until the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolSettings {
    /// Most mebibytes of this host's own readings kept.
    pub max_mib: u64,
    /// Most mebibytes kept for each other owner that this agent reads on behalf of.
    pub target_max_mib: u64,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self { host: String::new(), cluster: "default".into(), state_dir: PathBuf::new() }
    }
}

impl Default for UplinkSettings {
    fn default() -> Self {
        Self { servers: vec!["http://127.0.0.1:9810".into()], interval_s: 10, timeout_s: 10 }
    }
}

impl Default for SpoolSettings {
    /// Five days of ten devices at one reading per second; of others three weeks of a BMC at a reading every
    /// 30 s, or a day and a half of a hundred devices scraped every 15 s, so that a thousand BMCs fit into 4 GiB.
    fn default() -> Self {
        Self { max_mib: 64, target_max_mib: 4 }
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or holds something that is no setting.
    #[error("{}: {_1}", _0.display())]
    File(PathBuf, config::ConfigError),
    /// A variable holds something that its setting cannot be.
    #[error("environment: {0}")]
    Environment(config::ConfigError),
    /// A variable that looks like ours and is none.
    #[error(
        "the environment variable {0} matches no setting; a setting is {PREFIX}__SECTION__KEY, such as {PREFIX}__UPLINK__INTERVAL_S"
    )]
    Variable(String),
    /// A value out of its range.
    #[error("{0}")]
    Value(String),
}

impl Settings {
    /// Reads the settings from a file, if given, and these environment variables.
    ///
    /// # Errors
    /// [`ConfigError`] that names file or variable and key.
    pub fn load(file: Option<&Path>, variables: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut builder =
            Config::builder().add_source(Config::try_from(&Self::default()).map_err(ConfigError::Environment)?);
        if let Some(path) = file {
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
            let in_file = |error| ConfigError::File(path.into(), error);
            // By itself first, so that an error is known to be the file's.
            builder.clone().build().map_err(in_file)?.try_deserialize::<Self>().map_err(in_file)?;
        }
        check_variables(variables)?;
        let ours = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).cloned().collect();
        let environment = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").source(Some(ours));
        let settings: Self = builder
            .add_source(environment)
            .build()
            .and_then(Config::try_deserialize)
            .map_err(ConfigError::Environment)?;
        settings.check()?;
        Ok(settings)
    }

    /// Where the spool lies: as configured, else `/var/lib/wattledger-agent` for root, else
    /// `$XDG_STATE_HOME/wattledger-agent` or `~/.local/state/wattledger-agent`.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        if !self.agent.state_dir.as_os_str().is_empty() {
            return self.agent.state_dir.clone();
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
        match state {
            Some(state) if !rustix::process::geteuid().is_root() => state.join("wattledger-agent"),
            _ => "/var/lib/wattledger-agent".into(),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: String| Err(ConfigError::Value(text));
        for (key, cluster, host) in
            [("agent.cluster", &*self.agent.cluster, "any"), ("agent.host", "default", &self.agent.host)]
        {
            if let Err(why) = identity::owner(cluster, host) {
                return wrong(format!("{key}: {why}"));
            }
        }
        for server in &self.uplink.servers {
            if let Err(why) = link::address(server) {
                return wrong(format!("uplink.servers: {why}"));
            }
        }
        if self.uplink.interval_s == 0 || self.uplink.interval_s > 3600 {
            return wrong(format!("uplink.interval_s = {}: it lies between 1 and 3600", self.uplink.interval_s));
        }
        if self.uplink.timeout_s == 0 || self.uplink.timeout_s > 300 {
            return wrong(format!("uplink.timeout_s = {}: it lies between 1 and 300", self.uplink.timeout_s));
        }
        for (key, mib) in [("max_mib", self.spool.max_mib), ("target_max_mib", self.spool.target_max_mib)] {
            if mib == 0 || mib > 1 << 20 {
                return wrong(format!("spool.{key} = {mib}: it lies between 1 and 1048576"));
            }
        }
        if self.sources.rapl.period_ms > PERIOD_MAX_MS {
            let given = self.sources.rapl.period_ms;
            return wrong(format!(
                "sources.rapl.period_ms = {given}: at most {PERIOD_MAX_MS}, or wraps of the counters cannot be told"
            ));
        }
        self.metrics.check().map_err(ConfigError::Value)?;
        self.jobs.check().map_err(ConfigError::Value)?;
        if self.labels.len() > reading::LABELS_MAX {
            return wrong(format!("labels: {} are more than the {} allowed", self.labels.len(), reading::LABELS_MAX));
        }
        for (key, value) in &self.labels {
            if !reading::label_key_is_valid(key) || !reading::label_value_is_valid(value) {
                return wrong(format!("labels.{key} = {value:?}: no label can be so"));
            }
        }
        self.sources.redfish.check().map_err(ConfigError::Value)?;
        self.sources.prometheus.check().map_err(ConfigError::Value)
    }
}

/// Refuses variables that look like ours and set nothing.
fn check_variables(variables: &[(String, String)]) -> Result<(), ConfigError> {
    let known = serde_json::to_value(Settings::default()).unwrap_or_default();
    for (name, _) in variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let path = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix("__")).unwrap_or_default();
        let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        if !leads_to_a_setting(&known, &path) {
            return Err(ConfigError::Variable(name.clone()));
        }
    }
    Ok(())
}

fn leads_to_a_setting(known: &serde_json::Value, path: &[String]) -> bool {
    match (known, path) {
        // An empty table takes keys of people's own choice: labels, further chips.
        (serde_json::Value::Object(table), [own]) if table.is_empty() => !own.is_empty(),
        (serde_json::Value::Object(table), [key, rest @ ..]) => {
            table.get(key).is_some_and(|below| leads_to_a_setting(below, rest))
        }
        (serde_json::Value::Object(_), []) => false,
        (_, rest) => rest.is_empty(),
    }
}

/// A list, or text with commas between its items, as an environment variable gives it.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Items(Vec<String>),
        Text(String),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Items(items) => items,
        List::Text(text) => {
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings::load(None, &variables.iter().map(own).collect::<Vec<_>>())
    }

    fn in_file(text: &str) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).expect("a file");
        Settings::load(Some(&path), &[])
    }

    #[test]
    fn the_example_file_is_complete_and_holds_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/agent.toml");
        assert_eq!(Settings::load(Some(&path), &[]).expect("a good file"), Settings::default());
        let text = std::fs::read_to_string(path).expect("a file");
        let mut keys = Vec::new();
        collect(&serde_json::to_value(Settings::default()).expect("JSON"), &mut keys);
        for key in keys {
            let set = text.lines().any(|line| line.trim_start_matches("# ").split(" = ").next() == Some(&key));
            assert!(set, "{key} is not in configs/agent.toml");
        }
    }

    fn collect(value: &serde_json::Value, keys: &mut Vec<String>) {
        for (key, below) in value.as_object().into_iter().flatten() {
            if below.is_object() { collect(below, keys) } else { keys.push(key.clone()) }
        }
    }

    #[test]
    fn the_environment_overrides_every_key() {
        let settings = with(&[
            ("WATTLEDGER_AGENT__UPLINK__INTERVAL_S", "7"),
            ("WATTLEDGER_AGENT__UPLINK__SERVERS", "http://a:1, http://b:2"),
            ("WATTLEDGER_AGENT__AGENT__HOST", "007"),
            ("WATTLEDGER_AGENT__LABELS__TEAM", "nlp"),
            ("WATTLEDGER_AGENT__SOURCES__RAPL__ENABLED", "false"),
            ("WATTLEDGER_AGENT__SOURCES__IPMI__COMMAND", "ipmitool,dcmi,power,reading"),
            ("PATH", "/bin"),
            ("WATTLEDGER_LOG", "debug"),
        ])
        .expect("good variables");
        assert_eq!(settings.uplink.interval_s, 7);
        assert_eq!(settings.uplink.servers, ["http://a:1", "http://b:2"]);
        assert_eq!(settings.agent.host, "007", "text stays as it is");
        assert_eq!(settings.labels["team"], "nlp");
        assert!(!settings.sources.rapl.enabled);
        assert_eq!(settings.sources.ipmi.command, ["ipmitool", "dcmi", "power", "reading"]);
    }

    #[test]
    fn a_variable_that_matches_nothing_is_refused_by_name() {
        for name in [
            "WATTLEDGER_AGENT__UPLINK__INTERVALL_S",
            "WATTLEDGER_AGENT__UPLINK",
            "WATTLEDGER_AGENT_UPLINK__INTERVAL_S",
            "WATTLEDGER_AGENT_LOG",
            "WATTLEDGER_AGENT__",
            "WATTLEDGER_AGENT__LABELS__A__B",
        ] {
            let error = with(&[(name, "7")]).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_file() {
        for text in ["[uplink]\nintervall_s = 3", "colour = 1", "[sources.rapll]\nenabled = true"] {
            let error = in_file(text).expect_err(text).to_string();
            assert!(error.contains("agent.toml") && error.contains("unknown field"), "{error}");
        }
        assert!(in_file("[uplink]\ninterval_s = 3").expect("a good file").uplink.interval_s == 3);
        assert!(in_file("[sources.rapl]\nperiod_ms = 15000").is_ok());
        let error = in_file("[sources.rapl]\nperiod_ms = 15001").expect_err("two wraps could pass unseen");
        assert!(error.to_string().contains("sources.rapl.period_ms"), "{error}");
        for (text, key) in [
            ("[agent]\nhost = \"a b\"", "agent.host"),
            ("[agent]\ncluster = \"a/b\"", "agent.cluster"),
            ("[uplink]\nservers = [\"http://a:1\", \"b:2\"]", "uplink.servers: \"b:2\""),
        ] {
            let error = in_file(text).expect_err(text).to_string();
            assert!(error.starts_with(key), "{error}");
        }
        assert!(in_file("[uplink]\ninterval_s = 0").is_err() && in_file("[labels]\nteam = \"a\\nb\"").is_err());
        assert!(Settings::load(Some(Path::new("/nowhere/agent.toml")), &[]).is_err());
    }
}
