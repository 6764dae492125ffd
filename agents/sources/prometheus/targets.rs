//! The targets that the settings name, and those of files in the format of Prometheus' `file_sd`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use meter::{Labels, Owner, OwnerKind, hostlist, reading};
use reqwest::Url;

use super::client::Scraper;
use super::page::Selection;
use super::scrape::Scrape;
use super::settings::{PrometheusSettings, ScrapeSettings, address};
use crate::sources::{file_sd, period_ns};

/// Where a page is and whose readings it gives.
struct Place {
    url: Url,
    owner: Owner,
    labels: Labels,
}

/// All targets of now.
///
/// # Errors
/// What is wrong, with key or file.
pub(super) fn targets(settings: &PrometheusSettings, cluster: &str) -> Result<Vec<Scrape>, String> {
    let mut targets = Vec::new();
    let mut seen = BTreeSet::new();
    for (place, entry) in settings.targets.iter().enumerate() {
        let at = |why: String| format!("sources.prometheus.targets[{place}]{why}");
        let scraper =
            Scraper::new(entry, Duration::from_millis(settings.timeout_ms)).map_err(|why| at(format!(": {why}")))?;
        for place in places(entry, cluster).map_err(at)? {
            let target = scrape(place, entry, settings, scraper.clone());
            if !seen.insert((target.address.clone(), target.owner.clone())) {
                return Err(at(format!(": {} is scraped for {} already", target.address, target.owner)));
            }
            targets.push(target);
        }
    }
    Ok(targets)
}

fn scrape(place: Place, entry: &ScrapeSettings, settings: &PrometheusSettings, scraper: Scraper) -> Scrape {
    let with_name = |(label, value): (&String, &String)| (label.clone(), value.replace("{host}", &place.owner.name));
    let selection = Selection {
        kind: place.owner.kind,
        prefix: entry.prefix.clone(),
        only: entry.only.iter().map(with_name).collect(),
        ranges: entry.max_energy_range_uj.clone(),
    };
    let period = period_ns(entry.period_ms.unwrap_or(settings.period_ms));
    Scrape::new(place.url, place.owner, place.labels, selection, period, scraper)
}

fn places(entry: &ScrapeSettings, cluster: &str) -> Result<Vec<Place>, String> {
    let Some((kind, list)) = entry.owners() else {
        return of_file(&entry.file_sd, &entry.labels, cluster).map_err(|why| format!(".file_sd: {why}"));
    };
    let names = hostlist::expand(list).map_err(|why| format!(": {why}"))?;
    let place = |name: &String| {
        let url = address(&entry.url.replace("{host}", name)).map_err(|why| format!(".url: {why}"))?;
        let owner = Owner::new(cluster, kind, name).map_err(|why| format!(": {name:?}: {why}"))?;
        Ok(Place { url, owner, labels: entry.labels.clone() })
    };
    names.iter().map(place).collect()
}

/// The targets of a file. The label `host`, `chassis` or `meter` says whose readings a target gives; without
/// one it is the host of the address, by its short name. Other labels are the owner's.
fn of_file(path: &Path, labels: &Labels, cluster: &str) -> Result<Vec<Place>, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let mut places = Vec::new();
    for (number, group) in file_sd::groups(path).map_err(wrong)?.into_iter().enumerate() {
        for target in &group.targets {
            let place = of_group(target, &group.labels, labels, cluster);
            places.push(place.map_err(|why| wrong(format!("group {number}, {target:?}: {why}")))?);
        }
    }
    Ok(places)
}

fn of_group(target: &str, said: &BTreeMap<String, String>, ours: &Labels, cluster: &str) -> Result<Place, String> {
    let label = |name: &str| said.get(name).map(String::as_str);
    let scheme = label("__scheme__").unwrap_or("http");
    let path = label("__metrics_path__").unwrap_or("/metrics");
    let mut url = address(&format!("{scheme}://{target}{path}"))?;
    let parameters = said.iter().filter_map(|(name, value)| Some((name.strip_prefix("__param_")?, value)));
    for (name, value) in parameters {
        url.query_pairs_mut().append_pair(name, value);
    }
    let owners = [(OwnerKind::Host, "host"), (OwnerKind::Chassis, "chassis"), (OwnerKind::Meter, "meter")];
    let mut named = owners.iter().filter_map(|(kind, key)| Some((*kind, label(key)?.to_owned())));
    let (kind, name) = match (named.next(), named.next()) {
        (Some(named), None) => named,
        (Some(_), Some(_)) => return Err("names several owners: keep one of the labels host, chassis, meter".into()),
        (None, _) => (OwnerKind::Host, short_name(&url)?),
    };
    let owner = Owner::new(cluster, kind, &name).map_err(|why| format!("{name:?}: {why}"))?;
    let mut labels = ours.clone();
    for (key, value) in said.iter().filter(|(key, _)| !key.starts_with("__")) {
        if owners.iter().any(|(_, owner)| owner == key) {
            continue;
        }
        if !reading::label_key_is_valid(key) || !reading::label_value_is_valid(value) {
            return Err(format!("label {key:?} = {value:?}: no label can be so"));
        }
        labels.insert(key.clone(), value.clone());
    }
    Ok(Place { url, owner, labels })
}

/// The host's name in an address: short and in lower case, as hosts call themselves here.
fn short_name(url: &Url) -> Result<String, String> {
    let host = url.host_str().unwrap_or_default();
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err("an address without a name: say with the label `host` whose readings these are".into());
    }
    Ok(host.split('.').next().unwrap_or(host).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::settings::PrometheusSettings;
    use super::*;

    fn named(settings: &str) -> Result<Vec<String>, String> {
        let settings: PrometheusSettings = serde_json::from_str(settings).expect(settings);
        let shown = |target: &Scrape| format!("{} {} {:?}", target.owner, target.address, target.labels);
        Ok(targets(&settings, "c1")?.iter().map(shown).collect())
    }

    #[test]
    fn host_lists_become_targets() {
        let found = named(
            r#"{"targets": [
                {"hosts": "node[09-10]", "url": "http://{host}:9400", "labels": {"team": "nlp"}},
                {"hosts": "node[09-10]", "url": "http://ear:9011", "only": {"node": "{host}"}},
                {"chassis": "enc1", "url": "https://x/metrics?target={host}", "insecure": true}]}"#,
        );
        let expected = [
            r#"c1/host/node09 http://node09:9400/metrics {"team": "nlp"}"#,
            r#"c1/host/node10 http://node10:9400/metrics {"team": "nlp"}"#,
            "c1/host/node09 http://ear:9011/metrics node=node09 {}",
            "c1/host/node10 http://ear:9011/metrics node=node10 {}",
            "c1/chassis/enc1 https://x/metrics?target=enc1 {}",
        ];
        assert_eq!(found.expect("targets"), expected);
    }

    #[test]
    fn a_target_that_is_there_twice_is_named() {
        let entry = r#"{"hosts": "n1", "url": "http://{host}"}"#;
        let error = named(&format!(r#"{{"targets": [{entry}, {entry}]}}"#)).expect_err("twice");
        assert!(error.contains("targets[1]") && error.contains("c1/host/n1"), "{error}");
    }

    #[test]
    fn a_file_names_targets_as_prometheus_reads_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let with = |text: &str| {
            std::fs::write(file.path(), text).expect("written");
            named(&format!(r#"{{"targets": [{{"file_sd": {:?}, "labels": {{"site": "a"}}}}]}}"#, file.path()))
        };
        let found = with(
            r#"[{"targets": ["Node1.example:9100", "node2:9100"], "labels": {"team": "nlp", "__scheme__": "https"}},
                {"targets": ["exporter:9348"], "labels": {"chassis": "bmc-7", "__param_target": "10.0.0.7"}},
                {"targets": ["10.0.0.9:9100"], "labels": {"host": "node9", "__metrics_path__": "/m"}}]"#,
        );
        let expected = [
            r#"c1/host/node1 https://node1.example:9100/metrics {"site": "a", "team": "nlp"}"#,
            r#"c1/host/node2 https://node2:9100/metrics {"site": "a", "team": "nlp"}"#,
            r#"c1/chassis/bmc-7 http://exporter:9348/metrics?target=10.0.0.7 {"site": "a"}"#,
            r#"c1/host/node9 http://10.0.0.9:9100/m {"site": "a"}"#,
        ];
        assert_eq!(found.expect("targets"), expected);
        for (bad, why) in [
            ("", "EOF"),
            (r#"[{"targets": ["10.0.0.9:9100"]}]"#, "label `host`"),
            (r#"[{"targets": ["a:1"], "labels": {"host": "a", "meter": "b"}}]"#, "several owners"),
            (r#"[{"targets": ["a b:1"]}]"#, "a b:1"),
            (r#"[{"targets": ["u:hunter2@a"]}]"#, "credentials"),
            (r#"[{"targets": ["a:1"], "labels": {"1 x": "y"}}]"#, "1 x"),
        ] {
            let error = with(bad).expect_err(bad);
            assert!(error.contains(&file.path().display().to_string()) && error.contains(why), "{bad}: {error}");
        }
    }
}
