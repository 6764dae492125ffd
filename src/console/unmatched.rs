//! `wattledger host unmatched`: what is joined to nothing, and why.

use clap::{Args, ValueEnum};
use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{ContentArrangement, Table};
use serde::{Deserialize, Serialize};

use crate::client::{self, DEFAULT_SERVER};
use crate::error::ConsoleError;
use crate::figures::plain;
use crate::format::Format;

/// Entries asked for at a time.
const PAGE: &str = "1000";

/// What to list.
#[derive(Args, Clone, Debug)]
pub struct UnmatchedArgs {
    /// Only this kind
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// BMCs and enclosures without host
    Chassis,
    /// Hosts without BMC
    Host,
    /// What matches several
    Ambiguous,
    /// Links to a chassis that nobody has reported
    Link,
}

#[derive(Deserialize)]
struct Page {
    unmatched: Vec<Entry>,
    next_cursor: Option<String>,
}

/// An entry as the aggregator gives it.
#[derive(Deserialize, Serialize)]
struct Entry {
    kind: String,
    id: String,
    cluster: String,
    owner: String,
    name: String,
    reason: String,
    detail: String,
    candidates: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<String>,
}

/// The whole list, as it is printed.
///
/// # Errors
/// [`ConsoleError`] if the aggregator does not answer or says what nobody understands.
pub(crate) async fn unmatched(args: &UnmatchedArgs) -> Result<String, ConsoleError> {
    let kind = args.kind.and_then(|kind| kind.to_possible_value());
    let mut query = vec![("limit", PAGE)];
    query.extend(kind.as_ref().map(|kind| ("kind", kind.get_name())));
    let mut all = Vec::new();
    let keep = |page: Page| {
        all.extend(page.unmatched);
        page.next_cursor
    };
    client::pages(&args.server, "/api/v1/unmatched", &query, keep).await?;
    match args.format {
        Format::Table => Ok(listed(&all)),
        Format::Json => client::written(&args.server, &all),
    }
}

fn listed(all: &[Entry]) -> String {
    if all.is_empty() {
        return "every host has its BMC, every BMC its host\n".into();
    }
    let mut table = Table::new();
    table
        .load_style(PLAIN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty()
        .set_header(["KIND", "WHO", "REASON", "COULD BE", "WHY"]);
    for entry in all {
        let who = format!("{} {}", entry.owner, entry.id);
        let others = entry.named.clone().unwrap_or_else(|| match entry.candidates.is_empty() {
            true => "–".into(),
            false => entry.candidates.join(" "),
        });
        table.add_row([&entry.kind, &who, &entry.reason, &others, &entry.detail].map(|text| plain(text)));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_a_line_each_without_orders_to_the_terminal() {
        let entry = |name: &str, candidates: &[&str]| Entry {
            kind: "ambiguous".into(),
            id: format!("default/{name}"),
            cluster: "default".into(),
            owner: "chassis".into(),
            name: name.into(),
            reason: "several-hosts".into(),
            detail: "several hosts have its UUID or serial number".into(),
            candidates: candidates.iter().map(|name| (*name).to_owned()).collect(),
            named: None,
        };
        let text = listed(&[entry("bmc-1\u{1b}", &["a", "b"]), entry("bmc-2", &[])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(words[..6], ["ambiguous", "chassis", "default/bmc-1\u{fffd}", "several-hosts", "a", "b"]);
        assert!(lines[2].contains(" – "), "{text}");
        assert!(listed(&[]).starts_with("every host"));
    }
}
