//! Settings of the source `redfish`, and what can be wrong with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use meter::OwnerKind;
use serde::{Deserialize, Serialize};

use super::places::configured;

/// Settings of the source `redfish`: BMCs and power distribution units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedfishSettings {
    /// Whether to read the targets.
    pub enabled: bool,
    /// Milliseconds between readings of one target. BMCs have a new value every second to every minute, and
    /// answer in 0.1 to 2 s on a processor of their own that has other things to do.
    pub period_ms: u64,
    /// Longest time for one request, in milliseconds.
    pub timeout_ms: u64,
    /// Who logs in, by name.
    pub profiles: BTreeMap<String, ProfileSettings>,
    /// What is read.
    pub targets: Vec<TargetSettings>,
    /// Files that name further targets, in the JSON format of Prometheus' `file_sd`; read again when they change.
    pub file_sd: Vec<PathBuf>,
}

/// Who logs in. The password stands in a file, a variable or the output of a command, never here.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileSettings {
    /// The user's name.
    pub user: String,
    /// A file whose first line is the password.
    pub password_file: PathBuf,
    /// The environment variable that holds the password.
    pub password_env: String,
    /// A command and its arguments whose first line of output is the password. No shell.
    pub password_command: Vec<String>,
    /// Whether to send name and password with every request in place of a session.
    pub basic: bool,
}

/// Machines that are read alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetSettings {
    /// The hosts whose BMCs these are, as a host list: `node[001-050]`. Empty where it is not known.
    pub hosts: String,
    /// `https://…`, with `{host}` for the host's name; without `hosts` a host list by itself.
    pub address: String,
    /// The name of the chassis, with `{host}`. Empty: `bmc-{host}`, or what the address names.
    pub name: String,
    /// Who logs in; may be empty where there is one profile.
    pub profile: String,
    /// What it is: the `chassis` of a machine, or a power distribution unit, which is a `meter`.
    pub kind: Kind,
    /// Milliseconds between readings of these, in place of the source's; zero for that.
    pub period_ms: u64,
    /// Of a power distribution unit: whether its outlets are read too, with one request each.
    pub outlets: bool,
    /// A file of certificates (PEM) that vouch for the target's, in place of the system's.
    pub ca_file: PathBuf,
    /// The fingerprint of the one certificate that is trusted: `sha256:` and 64 hexadecimal digits.
    pub pin: String,
    /// Whether any certificate will do, or none: then anybody on the way can read the password.
    pub insecure: bool,
}

/// What a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A BMC: the chassis of a machine.
    #[default]
    Chassis,
    /// A power distribution unit.
    Meter,
}

impl Kind {
    pub(super) const fn owner(self) -> OwnerKind {
        match self {
            Self::Chassis => OwnerKind::Chassis,
            Self::Meter => OwnerKind::Meter,
        }
    }
}

impl Default for RedfishSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            period_ms: 10_000,
            timeout_ms: 10_000,
            profiles: BTreeMap::new(),
            targets: Vec::new(),
            file_sd: Vec::new(),
        }
    }
}

impl RedfishSettings {
    /// Looks at everything that can be known without asking anybody.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub fn check(&self) -> Result<(), String> {
        check_period(self.period_ms).map_err(|why| format!("sources.redfish{why}"))?;
        if !(100..=120_000).contains(&self.timeout_ms) {
            return Err(format!("sources.redfish.timeout_ms = {}: it lies between 100 and 120000", self.timeout_ms));
        }
        for (name, profile) in &self.profiles {
            profile.check().map_err(|why| format!("sources.redfish.profiles.{name}{why}"))?;
        }
        for (place, target) in self.targets.iter().enumerate() {
            let at = |why: String| format!("sources.redfish.targets[{place}]{why}");
            target.check().map_err(at)?;
            self.profile_of(&target.profile).map_err(at)?;
        }
        configured(self, "default").map(drop)
    }

    /// Whether there is anything to read.
    pub(in crate::sources) const fn is_used(&self) -> bool {
        self.enabled && !(self.targets.is_empty() && self.file_sd.is_empty())
    }

    /// The profile of this name; without a name the only one there is. Nothing if there is none at all.
    pub(super) fn profile_of<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, String> {
        let known = || self.profiles.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match (name, self.profiles.len()) {
            ("", 0) => Ok(None),
            ("", 1) => Ok(self.profiles.keys().next().map(String::as_str)),
            ("", _) => Err(format!(".profile is missing, and there are several: {}", known())),
            (name, _) if self.profiles.contains_key(name) => Ok(Some(name)),
            (name, _) => Err(format!(".profile = {name:?}: sources.redfish.profiles has {}", or_none(&known()))),
        }
    }
}

fn check_period(period_ms: u64) -> Result<(), String> {
    let fits = (100..=3_600_000).contains(&period_ms);
    if fits { Ok(()) } else { Err(format!(".period_ms = {period_ms}: it lies between 100 and 3600000")) }
}

fn or_none(list: &str) -> &str {
    if list.is_empty() { "none" } else { list }
}

impl std::fmt::Debug for ProfileSettings {
    /// Without the arguments of the command, which may hold a password themselves.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProfileSettings")
            .field("user", &self.user)
            .field("password_file", &self.password_file)
            .field("password_env", &self.password_env)
            .field("password_command", &self.password_command.first())
            .field("basic", &self.basic)
            .finish()
    }
}

impl ProfileSettings {
    fn check(&self) -> Result<(), String> {
        let given = [
            !self.password_file.as_os_str().is_empty(),
            !self.password_env.is_empty(),
            !self.password_command.is_empty(),
        ];
        match given.into_iter().filter(|given| *given).count() {
            _ if self.user.is_empty() => Err(".user is missing".into()),
            0 => Err(" has no password: give password_file, password_env or password_command".into()),
            1 => Ok(()),
            _ => Err(" has several passwords: keep one of password_file, password_env, password_command".into()),
        }
    }
}

impl TargetSettings {
    fn check(&self) -> Result<(), String> {
        if self.address.is_empty() {
            return Err(".address is missing: it looks like https://bmc-{host}.mgmt".into());
        }
        if !self.hosts.is_empty() {
            meter::hostlist::expand(&self.hosts).map_err(|why| format!(".hosts: {why}"))?;
            if !self.address.contains("{host}") {
                return Err(".address has no {host}: all of .hosts would have one and the same BMC".into());
            }
            if !self.name.is_empty() && !self.name.contains("{host}") {
                return Err(".name has no {host}: all of .hosts would have one and the same chassis".into());
            }
        } else if self.address.contains("{host}") || self.name.contains("{host}") {
            return Err(" says {host}, but .hosts is missing".into());
        }
        if self.period_ms > 0 {
            check_period(self.period_ms)?;
        }
        let ways = [!self.ca_file.as_os_str().is_empty(), !self.pin.is_empty(), self.insecure];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(" has several ways to trust: keep one of ca_file, pin, insecure".into());
        }
        if !self.pin.is_empty() {
            super::tls::fingerprint(&self.pin)
                .ok_or_else(|| format!(".pin = {:?}: it is sha256: and 64 hexadecimal digits", self.pin))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let settings: Result<RedfishSettings, _> = toml_like(text);
        match settings {
            Ok(settings) => settings.check().expect_err(text),
            Err(why) => why,
        }
    }

    fn toml_like(json: &str) -> Result<RedfishSettings, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn whatever_is_wrong_is_named_by_its_key() {
        let target = |fields: &str| format!(r#"{{"targets": [{{{fields}}}]}}"#);
        for (text, parts) in [
            (r#"{"period_ms": 5}"#.into(), vec!["sources.redfish.period_ms = 5"]),
            (r#"{"timeout_ms": 0}"#.into(), vec!["sources.redfish.timeout_ms"]),
            (r#"{"profiles": {"ops": {}}}"#.into(), vec!["profiles.ops.user"]),
            (r#"{"profiles": {"ops": {"user": "u"}}}"#.into(), vec!["profiles.ops", "password_file"]),
            (
                r#"{"profiles": {"ops": {"user": "u", "password_env": "A", "password_file": "/b"}}}"#.into(),
                vec!["profiles.ops", "several"],
            ),
            (
                r#"{"profiles": {"ops": {"user": "u", "password": "hunter2"}}}"#.into(),
                vec!["unknown field", "password"],
            ),
            (target(""), vec!["targets[0].address"]),
            (target(r#""address": "https://a", "period_ms": 5"#), vec!["targets[0].period_ms = 5"]),
            (target(r#""hosts": "n[1-", "address": "https://{host}""#), vec!["targets[0].hosts", "["]),
            (target(r#""hosts": "n[1-2]", "address": "https://bmc""#), vec!["targets[0].address", "{host}"]),
            (target(r#""hosts": "n1", "address": "https://{host}", "name": "x""#), vec!["targets[0].name", "{host}"]),
            (target(r#""address": "https://{host}""#), vec!["targets[0]", ".hosts is missing"]),
            (target(r#""address": "https://a", "profile": "ops""#), vec!["targets[0].profile", "ops", "none"]),
            (target(r#""address": "https://a", "insecure": true, "pin": "sha256:00""#), vec!["targets[0]", "several"]),
            (target(r#""address": "https://a", "pin": "sha256:00""#), vec!["targets[0].pin", "64"]),
            (target(r#""address": "http://a""#), vec!["targets[0].address", "insecure = true"]),
            (target(r#""address": "https://u:hunter2@a""#), vec!["targets[0].address", "profile"]),
        ] {
            let complaint = complaint(&text);
            for part in parts {
                assert!(complaint.contains(part), "{part:?} is not in {complaint:?}");
            }
            assert!(!complaint.contains("hunter2"), "{complaint}");
        }
    }

    #[test]
    fn the_only_profile_need_not_be_named() {
        let profile = r#"{"user": "u", "password_env": "A"}"#;
        let one = toml_like(&format!(r#"{{"profiles": {{"ops": {profile}}}}}"#)).expect("settings");
        assert_eq!(one.profile_of(""), Ok(Some("ops")));
        let two = toml_like(&format!(r#"{{"profiles": {{"a": {profile}, "b": {profile}}}}}"#)).expect("settings");
        assert_eq!(two.profile_of("b"), Ok(Some("b")));
        assert!(two.profile_of("").is_err_and(|why| why.contains("a, b")));
        assert_eq!(RedfishSettings::default().profile_of(""), Ok(None));
        assert_eq!(RedfishSettings::default().check(), Ok(()));
    }
}
