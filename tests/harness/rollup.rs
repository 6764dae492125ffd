//! What a server says about energy: rollup rows and metrics, strictly read.

use std::collections::BTreeMap;

use serde_json::Value;

use super::get;

/// A rollup row; energy as the exact integer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) by: BTreeMap<String, String>,
    pub(crate) energy_uj: i128,
    pub(crate) integrated_joules: f64,
    pub(crate) counter_joules: f64,
    pub(crate) estimated_joules: f64,
    pub(crate) covered_seconds: f64,
    pub(crate) expected_seconds: f64,
}

impl Row {
    fn of(row: &Value) -> Self {
        let number = |pointer: &str| {
            row.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number {pointer} in {row}"))
        };
        let by = row["by"].as_object().unwrap_or_else(|| panic!("no `by` in {row}"));
        let energy = row["energy_uj"].as_str().unwrap_or_else(|| panic!("`energy_uj` is no string in {row}"));
        Self {
            by: by.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
            energy_uj: energy.parse().unwrap_or_else(|why| panic!("energy_uj {energy:?}: {why}")),
            integrated_joules: number("/quality/integrated_joules"),
            counter_joules: number("/quality/counter_joules"),
            estimated_joules: number("/quality/estimated_joules"),
            covered_seconds: number("/quality/covered_seconds"),
            expected_seconds: number("/quality/expected_seconds"),
        }
    }
}

/// `START,END` in Unix seconds: the whole slots around two instants in Unix milliseconds.
pub(crate) fn slots_around(first_ms: i64, last_ms: i64) -> String {
    format!("{},{}", first_ms.div_euclid(900_000) * 900, (last_ms.div_euclid(900_000) + 1) * 900)
}

/// The rollup rows of a query such as `window=…&by=host`.
pub(crate) fn rows(server: &str, query: &str) -> Vec<Row> {
    let document = get(&format!("{server}/api/v1/rollup?{query}")).json();
    let rows = document["rows"].as_array().unwrap_or_else(|| panic!("no `rows` in {document}"));
    rows.iter().map(Row::of).collect()
}

/// The one row of a window without grouping.
pub(crate) fn rollup(server: &str, window: &str, filter: &str) -> Row {
    let filter = if filter.is_empty() { String::new() } else { format!("&where={filter}") };
    let mut rows = rows(server, &format!("window={window}&by=cluster{filter}"));
    assert_eq!(rows.len(), 1, "one cluster was reported: {rows:?}");
    rows.remove(0)
}

/// The series of a metric: labels as printed between the braces, and value.
pub(crate) fn series(server: &str, metric: &str) -> Vec<(String, f64)> {
    let page = get(&format!("{server}/metrics"));
    assert_eq!(page.status, 200, "{}", page.body);
    let lines = page.body.lines().filter_map(|line| line.strip_prefix(metric));
    lines
        .filter_map(|rest| {
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels.to_owned(), value.split(' ').next()?.parse().expect("a number")))
        })
        .collect()
}

/// The sum of a metric's series that carry this label text (`host="a"`).
pub(crate) fn counter(server: &str, metric: &str, label: &str) -> f64 {
    series(server, metric).iter().filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).sum()
}

/// How many readings were refused by this reason.
pub(crate) fn refused(server: &str, reason: &str) -> u64 {
    let count = counter(server, "wattledger_readings_refused_total", &format!("reason=\"{reason}\""));
    assert!(count >= 0.0 && count.fract() == 0.0, "{count} readings");
    count as u64
}
