//! Links in the pages lead somewhere.

use std::path::Path;

use crate::{files, none, read, root, shown};

/// The targets of a page's `[text](target)` links, code left out, with their line numbers.
fn targets(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // What stands between backticks is code: every second piece.
        let prose: String = line.split('`').step_by(2).collect();
        for piece in prose.split("](").skip(1) {
            let target = piece.split([')', ' ']).next().unwrap_or_default();
            found.push((number + 1, target.trim_matches(['<', '>']).to_owned()));
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    headings.map(|text| text.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// Complains about links of `page` (at `path`) to files or headings that are not there.
fn dead(path: &Path, page: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, target) in targets(page) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let there = match file {
            "" => path.to_path_buf(),
            absolute if absolute.starts_with('/') => root().join(absolute.trim_start_matches('/')),
            relative => path.parent().unwrap_or(root()).join(relative),
        };
        let text = if file.is_empty() { Some(page.to_owned()) } else { std::fs::read_to_string(&there).ok() };
        let heading_missing = || text.is_some_and(|text| !anchors(&text).iter().any(|one| one == anchor));
        if !there.exists() && !file.is_empty()
            || !anchor.is_empty() && file.is_empty() | file.ends_with(".md") && heading_missing()
        {
            complaints.push(format!("{}:{line}: the link ({target}) leads nowhere", shown(path)));
        }
    }
    complaints
}

#[test]
fn every_link_in_the_pages_leads_somewhere() {
    let mut pages = files("docs", &[".md"]);
    pages.extend(files("configs", &[".md"]));
    pages.push(root().join("README.md"));
    none(&pages.iter().flat_map(|path| dead(path, &read(path))).collect::<Vec<_>>());
}

#[test]
fn a_dead_link_and_a_dead_anchor_are_seen() {
    let here = root().join("docs/page.md");
    let good = "# A heading, so\n[a](../Cargo.toml) [b](https://example.org/x) [c](#a-heading-so) `[d](code.md)`\n```\n[e](fenced.md)\n```";
    none(&dead(&here, good));
    assert_eq!(dead(&here, "[a](missing.md)"), ["docs/page.md:1: the link (missing.md) leads nowhere"]);
    assert_eq!(dead(&here, "# Heading\n\n[b](#other)"), ["docs/page.md:3: the link (#other) leads nowhere"]);
}
