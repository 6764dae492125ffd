//! Settings of the source `prometheus`, and what can be wrong with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use meter::{Labels, OwnerKind, hostlist, reading};
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// The powercap zones that are read, by the kernel's names less their numbers.
const ZONES: [&str; 5] = ["package", "dram", "core", "uncore", "psys"];

/// Settings of the source `prometheus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusSettings {
    /// Whether to scrape the targets.
    pub enabled: bool,
    /// Milliseconds between readings of one target. Exporters have new values every 5 to 30 s, and a page of a
    /// large node is a megabyte that somebody has to write.
    pub period_ms: u64,
    /// Longest time for one request, in milliseconds.
    pub timeout_ms: u64,
    /// What is scraped.
    pub targets: Vec<ScrapeSettings>,
}

/// Exporters that are scraped alike. One of `hosts`, `chassis`, `meters` and `file_sd` says whose readings
/// these are: nothing that an exporter says of itself does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeSettings {
    /// The hosts, as a host list: `node[001-128]`.
    pub hosts: String,
    /// The chassis (BMCs, enclosures), as a host list.
    pub chassis: String,
    /// Reference meters (PDUs), as a host list.
    pub meters: String,
    /// A file that names them with their addresses, in the JSON format of Prometheus' `file_sd`.
    pub file_sd: PathBuf,
    /// `http://{host}:9400/metrics`, with `{host}` for the owner's name.
    pub url: String,
    /// Labels that a series must have, where a page holds several machines: `node = "{host}"`.
    pub only: BTreeMap<String, String>,
    /// What the exporter's configuration puts before every metric's name.
    pub prefix: String,
    /// What the files `max_energy_range_uj` of these machines' powercap zones hold, in µJ, by the zone's name:
    /// `package = 262143328850`. No page says it, and without it nothing is booked over a wrap.
    pub max_energy_range_uj: BTreeMap<String, u64>,
    /// Labels of these owners.
    pub labels: Labels,
    /// Milliseconds between readings, in place of the source's.
    pub period_ms: Option<u64>,
    /// The user's name, for basic authentication.
    pub user: String,
    /// A file whose first line is the password.
    pub password_file: PathBuf,
    /// The environment variable that holds the password.
    pub password_env: String,
    /// A file whose first line is a bearer token.
    pub token_file: PathBuf,
    /// The environment variable that holds a bearer token.
    pub token_env: String,
    /// A file of certificates (PEM) that vouch for the exporter's, in place of the system's.
    pub ca_file: PathBuf,
    /// Whether any certificate will do: then anybody on the way can read password and token.
    pub insecure: bool,
}

impl Default for PrometheusSettings {
    fn default() -> Self {
        Self { enabled: true, period_ms: 15_000, timeout_ms: 10_000, targets: Vec::new() }
    }
}

impl PrometheusSettings {
    /// Looks at everything that can be known without asking anybody.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub fn check(&self) -> Result<(), String> {
        period("sources.prometheus.period_ms", self.period_ms)?;
        if !(100..=120_000).contains(&self.timeout_ms) {
            let ms = self.timeout_ms;
            return Err(format!("sources.prometheus.timeout_ms = {ms}: it lies between 100 and 120000"));
        }
        for (place, target) in self.targets.iter().enumerate() {
            target.check().map_err(|why| format!("sources.prometheus.targets[{place}]{why}"))?;
        }
        Ok(())
    }
}

fn period(key: &str, ms: u64) -> Result<(), String> {
    if (100..=3_600_000).contains(&ms) { Ok(()) } else { Err(format!("{key} = {ms}: it lies between 100 and 3600000")) }
}

impl ScrapeSettings {
    /// Whose readings these are, as a host list; nothing where a file says so.
    pub(super) fn owners(&self) -> Option<(OwnerKind, &str)> {
        let lists =
            [(OwnerKind::Host, &self.hosts), (OwnerKind::Chassis, &self.chassis), (OwnerKind::Meter, &self.meters)];
        lists.into_iter().find(|(_, list)| !list.is_empty()).map(|(kind, list)| (kind, list.as_str()))
    }

    fn check(&self) -> Result<(), String> {
        if let Some(ms) = self.period_ms {
            period(".period_ms", ms)?;
        }
        let named = [&self.hosts, &self.chassis, &self.meters].into_iter().filter(|list| !list.is_empty()).count();
        let by_file = !self.file_sd.as_os_str().is_empty();
        match (named, by_file) {
            (0, true) if self.url.is_empty() => {}
            (0, true) => return Err(".url: the addresses stand in the file that .file_sd names".into()),
            (1, false) => self.check_addresses()?,
            (0, false) => return Err(" does not say whose readings it gives: hosts, chassis, meters or file_sd".into()),
            _ => return Err(" names several owners: keep one of hosts, chassis, meters, file_sd".into()),
        }
        for (key, value) in &self.labels {
            if !reading::label_key_is_valid(key) || !reading::label_value_is_valid(value) {
                return Err(format!(".labels.{key} = {value:?}: no label can be so"));
            }
        }
        for (zone, range) in &self.max_energy_range_uj {
            if !ZONES.contains(&zone.as_str()) || *range == 0 {
                let zones = ZONES.join(", ");
                return Err(format!(".max_energy_range_uj.{zone} = {range}: it is above 0, for one of {zones}"));
            }
        }
        self.check_access()
    }

    fn check_addresses(&self) -> Result<(), String> {
        let Some((kind, list)) = self.owners() else { return Ok(()) };
        let names = hostlist::expand(list).map_err(|why| format!(".{}: {why}", key_of(kind)))?;
        let Some(first) = names.first() else { return Ok(()) };
        let selects = self.only.values().any(|value| value.contains("{host}"));
        if names.len() > 1 && !self.url.contains("{host}") && !selects {
            return Err(format!(".url has no {{host}}: all of .{} would have one and the same page", key_of(kind)));
        }
        address(&self.url.replace("{host}", first)).map(|_| ()).map_err(|why| format!(".url: {why}"))
    }

    fn check_access(&self) -> Result<(), String> {
        let is_given = [
            !self.password_file.as_os_str().is_empty(),
            !self.password_env.is_empty(),
            !self.token_file.as_os_str().is_empty(),
            !self.token_env.is_empty(),
        ];
        let given = is_given.into_iter().filter(|given| *given).count();
        if given > 1 {
            return Err(" has several secrets: keep one of password_file, password_env, token_file, token_env".into());
        }
        let (has_user, has_password) = (!self.user.is_empty(), is_given[0] || is_given[1]);
        if has_user != has_password {
            return Err(": .user belongs to .password_file or .password_env".into());
        }
        if self.insecure && !self.ca_file.as_os_str().is_empty() {
            return Err(" has several ways to trust: keep one of ca_file and insecure".into());
        }
        Ok(())
    }
}

fn key_of(kind: OwnerKind) -> &'static str {
    match kind {
        OwnerKind::Host => "hosts",
        OwnerKind::Chassis => "chassis",
        OwnerKind::Meter => "meters",
    }
}

/// An address that can be asked. Without a path it is that of the metrics.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let wrong = || "it looks like http://{host}:9400/metrics".to_owned();
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    // Never shown again: it may be a password.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong in an address: use user, password_file and the like".into());
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong());
    }
    if matches!(url.path(), "" | "/") {
        url.set_path("/metrics");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<PrometheusSettings, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn whatever_is_wrong_is_named_by_its_key() {
        let target = |fields: &str| format!(r#"{{"targets": [{{{fields}}}]}}"#);
        let at = r#""url": "http://{host}:1", "hosts": "n1""#;
        for (text, parts) in [
            (r#"{"period_ms": 5}"#.into(), vec!["sources.prometheus.period_ms = 5"]),
            (r#"{"timeout_ms": 0}"#.into(), vec!["sources.prometheus.timeout_ms"]),
            (target(""), vec!["targets[0]", "whose"]),
            (target(r#""hosts": "n1", "chassis": "c1", "url": "http://a""#), vec!["targets[0]", "several owners"]),
            (target(r#""hosts": "n[1-", "url": "http://{host}""#), vec!["targets[0].hosts", "["]),
            (target(r#""hosts": "n[1-2]", "url": "http://a""#), vec!["targets[0].url", "{host}", ".hosts"]),
            (target(r#""hosts": "n1""#), vec!["targets[0].url", "http://"]),
            (target(r#""hosts": "n1", "url": "ftp://{host}""#), vec!["targets[0].url"]),
            (target(r#""hosts": "n1", "url": "http://u:hunter2@a""#), vec!["targets[0].url", "credentials"]),
            (target(r#""file_sd": "/f.json", "url": "http://a""#), vec!["targets[0].url", "file_sd"]),
            (target(&format!(r#"{at}, "period_ms": 1"#)), vec!["targets[0].period_ms = 1"]),
            (target(&format!(r#"{at}, "labels": {{"a b": "c"}}"#)), vec!["targets[0].labels.a b"]),
            (
                target(&format!(r#"{at}, "max_energy_range_uj": {{"pkg": 1}}"#)),
                vec!["max_energy_range_uj.pkg", "package"],
            ),
            (target(&format!(r#"{at}, "max_energy_range_uj": {{"dram": 0}}"#)), vec!["max_energy_range_uj.dram = 0"]),
            (target(&format!(r#"{at}, "user": "u""#)), vec!["targets[0]", ".user", "password_file"]),
            (target(&format!(r#"{at}, "password_env": "P""#)), vec!["targets[0]", ".user"]),
            (target(&format!(r#"{at}, "token_env": "P", "token_file": "/t""#)), vec!["targets[0]", "several secrets"]),
            (target(&format!(r#"{at}, "insecure": true, "ca_file": "/c""#)), vec!["targets[0]", "several ways"]),
            (target(&format!(r#"{at}, "password": "hunter2""#)), vec!["unknown field", "password"]),
        ] {
            let complaint = match parse(&text) {
                Ok(settings) => settings.check().expect_err(&text),
                Err(why) => why,
            };
            for part in parts {
                assert!(complaint.contains(part), "{part:?} is not in {complaint:?}");
            }
            assert!(!complaint.contains("hunter2"), "{complaint}");
        }
    }

    #[test]
    fn good_settings_are_good() {
        for fields in [
            r#""hosts": "node[001-128]", "url": "http://{host}:9400""#,
            r#""hosts": "node[001-128]", "url": "http://eardbd:9011/", "only": {"node": "{host}"}"#,
            r#""chassis": "bmc-1", "url": "https://exporter/metrics?target=10.0.0.1", "insecure": true"#,
            r#""meters": "pdu-[1-2]", "url": "http://x/metrics?target={host}", "user": "u", "password_env": "P""#,
            r#""file_sd": "/etc/targets.json", "token_file": "/run/token""#,
        ] {
            let settings = parse(&format!(r#"{{"targets": [{{{fields}}}]}}"#)).expect(fields);
            assert_eq!(settings.check(), Ok(()), "{fields}");
        }
        assert_eq!(PrometheusSettings::default().check(), Ok(()));
        assert_eq!(address("http://n:9400").expect("an address").as_str(), "http://n:9400/metrics");
        assert_eq!(address("http://n/probe?target=x").expect("an address").as_str(), "http://n/probe?target=x");
    }
}
