//! What stands at the top level.

use std::collections::BTreeSet;

use crate::{none, read, root};

/// The visible top level; everything else there begins with a dot.
const TOP: [&str; 9] =
    ["Cargo.toml", "Cargo.lock", "src", "agents", "configs", "tests", "docs", "README.md", "LICENSE"];

/// Compares the names at the top with the list; those that git ignores do not count.
fn top(present: &BTreeSet<String>, ignored: &BTreeSet<String>) -> Vec<String> {
    let expected: BTreeSet<&str> = TOP.into_iter().collect();
    let surplus = present
        .iter()
        .filter(|name| !name.starts_with('.') && !ignored.contains(*name) && !expected.contains(name.as_str()));
    let missing = expected.iter().filter(|name| !present.contains(**name));
    surplus
        .map(|name| format!("{name}: not of the top level; it belongs in one of the folders, or gets a dot"))
        .chain(missing.map(|name| format!("{name}: missing at the top level")))
        .collect()
}

#[test]
fn the_top_level_is_the_card() {
    let entries = std::fs::read_dir(root()).expect("the repository");
    let present = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    let ignored = read(&root().join(".gitignore")).lines().map(|line| line.trim_matches('/').to_owned()).collect();
    none(&top(&present, &ignored));
}

#[test]
fn a_stray_file_and_a_missing_one_are_seen() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let all: Vec<&str> = TOP.into_iter().chain(["target", ".ci"]).collect();
    none(&top(&names(&all), &names(&["target"])));
    assert_eq!(
        top(&names(&all), &names(&[])),
        ["target: not of the top level; it belongs in one of the folders, or gets a dot"]
    );
    assert_eq!(top(&names(&all[1..]), &names(&["target"])), ["Cargo.toml: missing at the top level"]);
}
