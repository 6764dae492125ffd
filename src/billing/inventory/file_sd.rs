//! Prometheus' file_sd JSON as an inventory: `[{"targets": ["node-17:9100"], "labels": {"team": "nlp"}}]`.
//!
//! A target's host part names the host; its port says nothing here. Labels that begin with `__` are
//! Prometheus' own and are left out. The keys `cluster`, `valid_from`, … mean what the CSV columns do.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Fault;
use super::row::{Cells, Rows};

#[derive(Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The rows of a file_sd file: one per target.
pub(super) fn rows(text: &str) -> Rows {
    let mut rows = Rows::default();
    let groups: Vec<&RawValue> = match serde_json::from_str(text) {
        Ok(groups) => groups,
        Err(error) => {
            rows.faults.push(Fault::new(error.line() as u64, "", error.to_string()));
            return rows;
        }
    };
    for raw in groups {
        let line = line_of(text, raw.get());
        match serde_json::from_str::<Group>(raw.get()) {
            Ok(group) => add(line, &group, &mut rows),
            Err(error) => {
                // serde_json counts from the group's own first line.
                rows.faults.push(Fault::new(line + (error.line() as u64).saturating_sub(1), "", error.to_string()));
            }
        }
    }
    rows
}

fn add(line: u64, group: &Group, rows: &mut Rows) {
    let labels = group.labels.iter().filter(|(key, value)| !key.starts_with("__") && !value.is_empty());
    let said: Cells<'_> = labels.map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let named = ["host", "chassis", "meter"].iter().any(|kind| said.contains_key(kind));
    if named && group.targets.len() == 1 {
        return rows.add(line, &said);
    }
    for target in &group.targets {
        let mut cells = said.clone();
        cells.insert("host", host_part(target));
        rows.add(line, &cells);
    }
}

/// `node-17` of `node-17:9100` and of `http://node-17:9100/metrics`.
fn host_part(target: &str) -> &str {
    let target = target.split_once("://").map_or(target, |(_, rest)| rest);
    let target = target.split('/').next().unwrap_or(target);
    match target.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => target,
    }
}

/// The line on which `part` of `text` begins: both are slices of one string.
fn line_of(text: &str, part: &str) -> u64 {
    let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len());
    1 + text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() as u64
}
