//! Arrows between crates, and crates that only one room may know.

use std::collections::{BTreeMap, BTreeSet};

use toml::Table;

use crate::{files, none, read, root, shown};

/// Our crates, and which of our crates each one names. A new arrow is a decision: it needs a page in
/// `docs/decisions/` before a line here.
const ARROWS: [(&str, &[&str]); 10] = [
    ("wattledger", &["aggregator", "agents", "billing", "console", "cost", "meter", "store"]),
    ("wattledger-meter", &[]),
    ("wattledger-wire", &["meter"]),
    ("wattledger-energy", &["meter"]),
    ("wattledger-cost", &["meter"]),
    ("wattledger-store", &["energy", "meter"]),
    ("wattledger-billing", &["cost", "energy", "meter", "store"]),
    ("wattledger-aggregator", &["billing", "cost", "energy", "meter", "store", "wire"]),
    ("wattledger-console", &["cost", "meter"]),
    ("wattledger-agents", &["energy", "meter", "wire"]),
];

/// Outside crates that only these of ours may name.
const ROOMS: [(&str, &[&str]); 12] = [
    ("sled", &["wattledger-store"]),
    ("crossbeam-epoch", &["wattledger-store"]),
    ("nvml-wrapper", &["wattledger-agents"]),
    ("nvml-wrapper-sys", &["wattledger-agents"]),
    ("ipmi-rs", &["wattledger-agents"]),
    ("actix-web", &["wattledger-aggregator"]),
    ("actix", &["wattledger-aggregator", "wattledger-agents"]),
    ("askama", &["wattledger-aggregator"]),
    ("ratatui", &["wattledger-console"]),
    ("bincode", &["wattledger-wire", "wattledger-store"]),
    ("utoipa", &["wattledger-cost", "wattledger-billing", "wattledger-aggregator"]),
    ("utoipa-swagger-ui", &["wattledger-aggregator"]),
];

/// The crates that know no clock, file, socket, actor or async runtime.
const PURE: [&str; 4] = ["wattledger-meter", "wattledger-wire", "wattledger-energy", "wattledger-cost"];

/// What a pure crate must not reach, not even through another crate.
const IMPURE: [&str; 16] = [
    "actix",
    "actix-rt",
    "actix-web",
    "async-std",
    "axum",
    "config",
    "crossbeam-epoch",
    "hyper",
    "mio",
    "nvml-wrapper",
    "reqwest",
    "rustix",
    "sled",
    "socket2",
    "tokio",
    "tracing-subscriber",
];

/// Packages by name: their own `version` and what they depend on.
type Lock = Vec<(String, String, Vec<String>)>;

fn manifests() -> Vec<Table> {
    let mut all: Vec<_> = files("src", &["Cargo.toml"]);
    all.extend([root().join("Cargo.toml"), root().join("agents/Cargo.toml")]);
    all.iter().map(|path| read(path).parse().unwrap_or_else(|why| panic!("{}: {why}", shown(path)))).collect()
}

fn name(manifest: &Table) -> &str {
    manifest["package"]["name"].as_str().unwrap_or_default()
}

/// What a manifest names in these sections, targets' own tables included.
fn named(manifest: &Table, sections: &[&str]) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(|all| all.as_table()).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(|target| target.as_table()).chain([manifest]);
    tables
        .flat_map(|table| sections.iter().filter_map(|section| table.get(*section)?.as_table()))
        .flat_map(|dependencies| dependencies.keys().cloned())
        .collect()
}

const NORMAL: [&str; 2] = ["dependencies", "build-dependencies"];
const ALL: [&str; 3] = ["dependencies", "build-dependencies", "dev-dependencies"];

/// Compares the arrows drawn in manifests with the allowed ones. Tests may use no more than the code, but for
/// those of the whole house, which stand above every crate.
fn arrows(manifests: &[Table]) -> Vec<String> {
    let ours: BTreeSet<&str> = ARROWS.iter().filter_map(|(name, _)| name.strip_prefix("wattledger-")).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut complaints = Vec::new();
    for manifest in manifests {
        let name = name(manifest);
        let Some(expected) = allowed.get(name) else {
            complaints.push(format!("{name}: a crate that the house does not know"));
            continue;
        };
        let drawn = |sections| -> BTreeSet<String> {
            named(manifest, sections)
                .into_iter()
                .filter(|to| ours.contains(&to.trim_start_matches("wattledger-")))
                .collect()
        };
        let normal = drawn(&NORMAL);
        let all = if name == "wattledger" { normal.clone() } else { drawn(&ALL) };
        for to in all.iter().filter(|to| !expected.contains(&to.as_str())) {
            complaints.push(format!("{name} -> {to}: a new arrow"));
        }
        for to in expected.iter().filter(|to| !normal.contains(**to)) {
            complaints.push(format!(
                "{name} -> {to}: the arrow is gone; take it from the list, and from docs/ARCHITECTURE.md"
            ));
        }
    }
    complaints
}

/// Complains about an outside crate named by one of ours that must not know it.
fn rooms(manifests: &[Table]) -> Vec<String> {
    let mut complaints = Vec::new();
    for manifest in manifests {
        for dependency in named(manifest, &ALL) {
            let room = ROOMS.iter().find(|(outside, _)| *outside == dependency);
            if let Some((outside, allowed)) = room
                && !allowed.contains(&name(manifest))
            {
                complaints.push(format!(
                    "{} names {outside}, which only {} may know",
                    name(manifest),
                    allowed.join(", ")
                ));
            }
        }
    }
    complaints
}

fn lock(text: &str) -> Lock {
    let table: Table = text.parse().expect("a lock file");
    let text =
        |package: &toml::Value, key: &str| package.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let dependencies = |package: &toml::Value| -> Vec<String> {
        let list = package.get("dependencies").and_then(|all| all.as_array()).into_iter().flatten();
        list.filter_map(|one| Some(one.as_str()?.split(' ').next()?.to_owned())).collect()
    };
    let packages = table["package"].as_array().into_iter().flatten();
    packages.map(|package| (text(package, "name"), text(package, "version"), dependencies(package))).collect()
}

/// Complains about what a pure crate can reach through any chain of normal dependencies.
fn reach(manifests: &[Table], lock: &Lock) -> Vec<String> {
    let mut complaints = Vec::new();
    for manifest in manifests.iter().filter(|manifest| PURE.contains(&name(manifest))) {
        let mut open: Vec<String> = named(manifest, &NORMAL).into_iter().collect();
        let mut seen: BTreeSet<String> = open.iter().cloned().collect();
        while let Some(next) = open.pop() {
            if IMPURE.contains(&next.as_str()) {
                complaints.push(format!("{} reaches {next}", name(manifest)));
            }
            for (_, _, dependencies) in lock.iter().filter(|(name, ..)| *name == next) {
                open.extend(dependencies.iter().filter(|one| seen.insert((*one).clone())).cloned());
            }
        }
    }
    complaints
}

/// The essential bans of `.deny.toml`, which so are checked also where cargo-deny is not.
fn bans(lock: &Lock) -> Vec<String> {
    let versions = |crate_name: &str| -> Vec<&str> {
        lock.iter().filter(|(name, ..)| name == crate_name).map(|(_, version, _)| version.as_str()).collect()
    };
    let mut complaints = Vec::new();
    for (name, version) in [("bincode", "2.0.1"), ("sled", "0.34.7")] {
        if versions(name) != [version] {
            complaints.push(format!("{name}: {:?} is locked, {version} is the one we know", versions(name)));
        }
    }
    // Draining sled's garbage works only on the very copy that sled uses.
    if versions("crossbeam-epoch").len() != 1 {
        complaints.push(format!("crossbeam-epoch: {:?}, exactly one copy may be there", versions("crossbeam-epoch")));
    }
    for name in ["openssl-sys", "aws-lc-sys"] {
        if !versions(name).is_empty() {
            complaints.push(format!("{name} is locked"));
        }
    }
    complaints
}

#[test]
fn the_arrows_are_the_designed_ones() {
    let manifests = manifests();
    assert_eq!(manifests.len(), ARROWS.len(), "every crate of the house was read");
    none(&arrows(&manifests));
}

#[test]
fn each_outside_crate_has_its_room() {
    none(&rooms(&manifests()));
}

#[test]
fn pure_crates_reach_nothing_impure() {
    none(&reach(&manifests(), &lock(&read(&root().join("Cargo.lock")))));
}

#[test]
fn the_lock_file_keeps_the_bans() {
    none(&bans(&lock(&read(&root().join("Cargo.lock")))));
}

fn manifest(text: &str) -> Table {
    text.parse().expect("a manifest")
}

#[test]
fn a_back_arrow_is_seen_also_in_tests_and_targets() {
    for section in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
        let bad = manifest(&format!("package.name = 'wattledger-meter'\n[{section}]\nstore.workspace = true"));
        assert_eq!(arrows(&[bad]), ["wattledger-meter -> store: a new arrow"], "{section}");
    }
    let renamed = manifest("package.name = 'wattledger-meter'\n[dependencies]\nwattledger-store.path = '../store'");
    assert_eq!(arrows(&[renamed]).len(), 1);
}

#[test]
fn an_unknown_crate_and_a_vanished_arrow_are_seen() {
    assert_eq!(arrows(&[manifest("package.name = 'wattledger-core'")]).len(), 1);
    assert_eq!(arrows(&[manifest("package.name = 'wattledger-wire'")]).len(), 1);
}

#[test]
fn a_second_user_of_sled_is_seen() {
    let bad = manifest("package.name = 'wattledger-agents'\n[dev-dependencies]\nsled = '0.34'");
    assert_eq!(rooms(&[bad]), ["wattledger-agents names sled, which only wattledger-store may know"]);
}

#[test]
fn a_pure_crate_is_followed_through_others() {
    let energy = manifest("package.name = 'wattledger-energy'\n[dependencies]\na = '1'");
    let through = lock(
        "[[package]]\nname = 'a'\nversion = '1'\ndependencies = ['b 2']\n[[package]]\nname = 'b'\nversion = '2'\ndependencies = ['tokio']",
    );
    assert_eq!(reach(&[energy], &through), ["wattledger-energy reaches tokio"]);
}

#[test]
fn a_banned_version_and_a_second_copy_are_seen() {
    let package = |name: &str, version: &str| format!("[[package]]\nname = '{name}'\nversion = '{version}'\n");
    let good = package("bincode", "2.0.1") + &package("sled", "0.34.7") + &package("crossbeam-epoch", "0.9.18");
    none(&bans(&lock(&good)));
    assert_eq!(bans(&lock(&(good.clone() + &package("bincode", "3.0.0")))).len(), 1);
    assert_eq!(bans(&lock(&(good.clone() + &package("crossbeam-epoch", "0.8.2")))).len(), 1);
    assert_eq!(bans(&lock(&(good + &package("aws-lc-sys", "0.30.0")))).len(), 1);
}
