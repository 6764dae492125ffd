//! Where the targets are: expanded from the settings' patterns and from files in Prometheus' `file_sd` format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meter::{Labels, Owner, hostlist, reading};
use reqwest::Url;

use super::settings::{Kind, RedfishSettings, TargetSettings};
use super::tls::{Trust, fingerprint};
use crate::sources::file_sd;

/// One address, and what the configuration says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) url: Url,
    pub(super) owner: Owner,
    pub(super) kind: Kind,
    pub(super) labels: Labels,
    pub(super) profile: Option<String>,
    pub(super) trust: Trust,
    pub(super) period_ms: u64,
    pub(super) outlets: bool,
}

/// The targets that the settings name themselves; reads no file.
///
/// # Errors
/// What is wrong, with the key.
pub(super) fn configured(settings: &RedfishSettings, cluster: &str) -> Result<Vec<Place>, String> {
    let mut all = Vec::new();
    for (number, target) in settings.targets.iter().enumerate() {
        let at = |why: String| format!("sources.redfish.targets[{number}]{why}");
        for (host, address, name) in names(target).map_err(at)? {
            let labels = host.iter().map(|host| ("hw.host".to_owned(), host.clone())).collect();
            all.push(place(settings, cluster, target, (&address, &name), labels).map_err(at)?);
        }
    }
    Ok(all)
}

/// All targets of the settings and of the files they name; each address once.
///
/// # Errors
/// What is wrong, with the key or the file.
pub(super) fn places(settings: &RedfishSettings, cluster: &str) -> Result<Vec<Place>, String> {
    let mut all = configured(settings, cluster)?;
    for file in &settings.file_sd {
        all.append(&mut from_file(settings, cluster, file).map_err(|why| format!("{}: {why}", file.display()))?);
    }
    let mut seen: BTreeMap<String, Owner> = BTreeMap::new();
    for place in &all {
        if let Some(other) = seen.insert(place.url.to_string(), place.owner.clone()) {
            return Err(format!(
                "sources.redfish: {} is there twice, for {other} and {}: its readings would be counted twice",
                place.url.origin().ascii_serialization(),
                place.owner
            ));
        }
    }
    Ok(all)
}

/// Host, address and name of each machine that a target stands for.
fn names(target: &TargetSettings) -> Result<Vec<(Option<String>, String, String)>, String> {
    if !target.hosts.is_empty() {
        let hosts = hostlist::expand(&target.hosts).map_err(|why| format!(".hosts: {why}"))?;
        let name = if target.name.is_empty() { "bmc-{host}" } else { &target.name };
        let of = |host: String| {
            let (address, name) = (target.address.replace("{host}", &host), name.replace("{host}", &host));
            (Some(host), address, name)
        };
        return Ok(hosts.into_iter().map(of).collect());
    }
    // The brackets of an IPv6 address are no list.
    let addresses = if target.address.contains("://[") {
        vec![target.address.clone()]
    } else {
        hostlist::expand(&target.address).map_err(|why| format!(".address: {why}"))?
    };
    let names = match target.name.as_str() {
        "" => vec![String::new(); addresses.len()],
        name => hostlist::expand(name).map_err(|why| format!(".name: {why}"))?,
    };
    if names.len() != addresses.len() {
        return Err(format!(".name makes {} names for {} addresses", names.len(), addresses.len()));
    }
    Ok(addresses.into_iter().zip(names).map(|(address, name)| (None, address, name)).collect())
}

fn place(
    settings: &RedfishSettings,
    cluster: &str,
    target: &TargetSettings,
    (address, name): (&str, &str),
    labels: Labels,
) -> Result<Place, String> {
    let (url, host) = url(address, target.insecure)?;
    let name = if name.is_empty() { host } else { name.to_owned() };
    let owner = Owner::new(cluster, target.kind.owner(), &name).map_err(|why| format!(".name = {name:?}: {why}"))?;
    let profile = settings.profile_of(&target.profile)?.map(str::to_owned);
    let period_ms = if target.period_ms > 0 { target.period_ms } else { settings.period_ms };
    let (kind, outlets) = (target.kind, target.outlets);
    Ok(Place { url, owner, kind, labels, profile, trust: trust(target)?, period_ms, outlets })
}

/// The base of an address, and the host in it.
fn url(address: &str, insecure: bool) -> Result<(Url, String), String> {
    // It is only repeated where it is known to hold no password.
    let url =
        Url::parse(address).map_err(|error| format!(".address is none ({error}): it looks like https://bmc-1.mgmt"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(".address holds user or password: they belong in a profile".into());
    }
    let host = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned());
    match (url.scheme(), host) {
        ("https", Some(host)) => Ok((url, host)),
        ("http", Some(host)) if insecure => Ok((url, host)),
        ("http", Some(_)) => Err(format!(
            ".address = {address:?}: without TLS anybody on the way can read the password; insecure = true allows it"
        )),
        (scheme, _) => Err(format!(".address begins with {scheme}: it looks like https://bmc-1.mgmt")),
    }
}

fn trust(target: &TargetSettings) -> Result<Trust, String> {
    if target.insecure {
        return Ok(Trust::Anybody);
    }
    if !target.ca_file.as_os_str().is_empty() {
        return Ok(Trust::File(target.ca_file.clone()));
    }
    if target.pin.is_empty() {
        return Ok(Trust::System);
    }
    let pin =
        fingerprint(&target.pin).ok_or_else(|| format!(".pin = {:?}: it is sha256: and 64 digits", target.pin))?;
    Ok(Trust::Pin(pin))
}

/// The targets of a file. The labels `host`, `name`, `profile`, `kind`, `outlets`, `ca_file`, `pin` and
/// `insecure` are settings, as in the configuration; others become labels of the owner.
fn from_file(settings: &RedfishSettings, cluster: &str, file: &Path) -> Result<Vec<Place>, String> {
    let mut all = Vec::new();
    for (number, group) in file_sd::groups(file)?.into_iter().enumerate() {
        for address in &group.targets {
            let at = |why: String| format!("group {number}{why}");
            let (target, labels) = settings_of(group.labels.clone()).map_err(at)?;
            let address = if address.contains("://") { address.clone() } else { format!("https://{address}") };
            let name = match (&target.name, labels.get("hw.host")) {
                (name, Some(host)) if name.is_empty() => format!("bmc-{host}"),
                (name, _) => name.clone(),
            };
            all.push(place(settings, cluster, &target, (&address, &name), labels).map_err(at)?);
        }
    }
    Ok(all)
}

/// Divides the labels of a group into settings and what become labels of the owner.
fn settings_of(mut given: BTreeMap<String, String>) -> Result<(TargetSettings, Labels), String> {
    let mut take = |key: &str| given.remove(key).unwrap_or_default();
    let flag = |key: &str, text: String| match text.as_str() {
        "" | "false" => Ok(false),
        "true" => Ok(true),
        _ => Err(format!(".{key} = {text:?}: it is true or false")),
    };
    let host = take("host");
    let kind = match take("kind").as_str() {
        "" | "chassis" => Kind::Chassis,
        "meter" => Kind::Meter,
        other => return Err(format!(".kind = {other:?}: it is chassis or meter")),
    };
    let target = TargetSettings {
        name: take("name"),
        profile: take("profile"),
        kind,
        outlets: flag("outlets", take("outlets"))?,
        ca_file: PathBuf::from(take("ca_file")),
        pin: take("pin"),
        insecure: flag("insecure", take("insecure"))?,
        ..TargetSettings::default()
    };
    let mut labels: Labels = given.into_iter().filter(|(key, _)| !key.starts_with("__")).collect();
    if let Some((key, value)) =
        labels.iter().find(|(key, value)| !reading::label_key_is_valid(key) || !reading::label_value_is_valid(value))
    {
        return Err(format!(".labels: {key} = {value:?}: no label can be so"));
    }
    if !host.is_empty() {
        labels.insert("hw.host".into(), host);
    }
    Ok((target, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> RedfishSettings {
        serde_json::from_str(json).expect(json)
    }

    fn targets(fields: &str) -> Result<Vec<Place>, String> {
        places(&settings(&format!(r#"{{"targets": [{{{fields}}}]}}"#)), "hpc")
    }

    fn listed(fields: &str) -> Vec<(String, String, Option<String>)> {
        let places = targets(fields).expect(fields);
        let one = |place: Place| (place.url.to_string(), place.owner.to_string(), place.labels.get("hw.host").cloned());
        places.into_iter().map(one).collect()
    }

    #[test]
    fn patterns_and_ranges_make_one_target_per_machine() {
        let host = |n: &str| Some(format!("node{n}"));
        assert_eq!(
            listed(r#""hosts": "node[09-10]", "address": "https://bmc-{host}.mgmt""#),
            [
                ("https://bmc-node09.mgmt/".into(), "hpc/chassis/bmc-node09".into(), host("09")),
                ("https://bmc-node10.mgmt/".into(), "hpc/chassis/bmc-node10".into(), host("10")),
            ]
        );
        assert_eq!(
            listed(r#""address": "https://10.0.3.[7-8]""#),
            [
                ("https://10.0.3.7/".into(), "hpc/chassis/10.0.3.7".into(), None),
                ("https://10.0.3.8/".into(), "hpc/chassis/10.0.3.8".into(), None),
            ]
        );
        assert_eq!(
            listed(r#""address": "https://pdu[1-2]", "name": "rack[7,9]", "kind": "meter""#)[1],
            ("https://pdu2/".into(), "hpc/meter/rack9".into(), None)
        );
        assert_eq!(listed(r#""address": "https://[fd00::7]:8443""#)[0].1, "hpc/chassis/fd00::7");
        let slow = targets(r#""address": "https://a", "period_ms": 30000"#).expect("a target");
        assert_eq!(slow[0].period_ms, 30_000);
    }

    #[test]
    fn a_wrong_target_is_named_and_its_password_is_not() {
        for (fields, part) in [
            (r#""address": "https://root:hunter2@bmc""#, "profile"),
            (r#""address": "http://bmc""#, "insecure"),
            (r#""address": "ftp://bmc""#, "https://"),
            (r#""address": "root:hunter2@bmc""#, "https://"),
            (r#""address": "https://n[1-2]", "name": "a""#, "1 names for 2 addresses"),
            (r#""address": "https://n[1-""#, "[ without its ]"),
            (r#""address": "https://n", "name": "a b""#, "targets[0].name"),
            (r#""address": "https://n", "profile": "ops""#, "targets[0].profile"),
        ] {
            let why = targets(fields).expect_err(fields);
            assert!(why.contains(part) && why.contains("targets[0]") && !why.contains("hunter2"), "{why}");
        }
        let twice = places(
            &settings(r#"{"targets": [{"address": "https://a"}, {"address": "https://a", "name": "b"}]}"#),
            "default",
        );
        assert!(twice.is_err_and(|why| why.contains("twice")));
    }

    #[test]
    fn a_file_says_the_same_by_labels() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let with = |text: &str| {
            std::fs::write(file.path(), text).expect("written");
            let mut settings = settings(r#"{"profiles": {"ops": {"user": "u", "password_env": "A"}}}"#);
            settings.file_sd = vec![file.path().into()];
            places(&settings, "default")
        };
        let found = with(
            r#"[{"targets": ["10.0.0.1", "https://10.0.0.2:8443"], "labels": {"row": "7", "__meta_x": "y"}},
                {"targets": ["bmc9"], "labels": {"host": "node9", "profile": "ops", "insecure": "true"}}]"#,
        )
        .expect("targets");
        assert_eq!(found[0].url.as_str(), "https://10.0.0.1/");
        assert_eq!(found[0].labels, Labels::from([("row".into(), "7".into())]));
        assert_eq!(found[1].owner.to_string(), "default/chassis/10.0.0.2");
        assert_eq!(found[2].owner.to_string(), "default/chassis/bmc-node9");
        assert_eq!((found[2].labels["hw.host"].as_str(), &found[2].trust), ("node9", &Trust::Anybody));
        assert_eq!(found[2].profile.as_deref(), Some("ops"));
        for (text, part) in [
            ("{}", "expected a sequence"),
            (r#"[{"targets": ["a"], "labels": {"kind": "toaster"}}]"#, "group 0.kind"),
            (r#"[{"targets": ["a"], "labels": {"profile": "x"}}]"#, "group 0.profile"),
            (r#"[{"targets": ["http://a"]}]"#, "group 0.address"),
            (r#"[{"target": ["a"]}]"#, "unknown field"),
        ] {
            let why = with(text).expect_err(text);
            assert!(why.contains(part) && why.contains(&file.path().display().to_string()), "{why}");
        }
    }
}
