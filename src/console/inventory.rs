//! `wattledger inventory`: labels, topology and service dates in force, and whether they fit the fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{ContentArrangement, Table};
use serde::{Deserialize, Serialize};

use crate::client::{self, DEFAULT_SERVER};
use crate::error::ConsoleError;
use crate::figures::{NOTHING, plain};
use crate::footnotes::not_in_force;
use crate::format::Format;
use crate::report::write_out;

/// Where the inventory is asked for.
const PATH: &str = "/api/v1/inventory";
/// Entries asked for at a time.
const PAGE: &str = "1000";
/// The state of a host that only the inventory knows.
const NEVER_SEEN: &str = "never_seen";

/// What to do with the inventory.
#[derive(Args, Clone, Debug)]
pub struct InventoryArgs {
    /// What to do
    #[command(subcommand)]
    pub command: InventoryCommand,
}

/// The commands there are.
#[derive(Clone, Debug, Subcommand)]
pub enum InventoryCommand {
    /// Print what is in force: labels, chassis, service dates, other names
    Show(AskArgs),
    /// Tell what is wrong with a file; without one, what in a running fleet the inventory does not fit
    ///
    /// With FILE, every fault with its line and column; no aggregator is needed. Without, an aggregator is asked:
    /// whether the newest version of its file is in force, which hosts report that it does not name, and which it
    /// names that never reported. The exit code is 0 if there is nothing to tell.
    Check {
        /// A file that may become the inventory: CSV, or Prometheus file_sd JSON
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// How and whom to ask
        #[command(flatten)]
        ask: AskArgs,
    },
}

/// How and whom to ask.
#[derive(Args, Clone, Debug)]
pub struct AskArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// A page of the inventory; then all of it.
#[derive(Default, Deserialize, Serialize)]
struct Known {
    as_of: String,
    file: Option<String>,
    failure: Option<String>,
    owners: Vec<Named>,
    #[serde(skip_serializing)]
    next_cursor: Option<String>,
}

/// An owner that the inventory names.
#[derive(Deserialize, Serialize)]
struct Named {
    kind: String,
    cluster: String,
    name: String,
    in_service: Option<String>,
    retired: Option<String>,
    alias_of: Option<String>,
    labels: Vec<Held>,
}

/// Labels and the chassis, for as long as they hold.
#[derive(Deserialize, Serialize)]
struct Held {
    from: Option<String>,
    until: Option<String>,
    labels: BTreeMap<String, String>,
    chassis: Option<String>,
}

#[derive(Deserialize)]
struct Hosts {
    hosts: Vec<Host>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Host {
    cluster: String,
    host: String,
    state: String,
}

/// What does not fit.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Misfits {
    /// Why the newest version of the file is not in force.
    failure: Option<String>,
    /// Hosts that report and that the inventory does not name.
    unnamed: Vec<String>,
    /// Hosts that it names and that never reported.
    never_seen: Vec<String>,
}

/// Shows the inventory in force, or checks it against the fleet.
///
/// # Errors
/// [`ConsoleError`] if the aggregator does not answer; [`ConsoleError::Incomplete`] if something does not fit.
pub async fn inventory(args: &InventoryArgs) -> Result<(), ConsoleError> {
    match &args.command {
        InventoryCommand::Show(ask) => {
            let known = known(&ask.server).await?;
            print(ask, &known, table)
        }
        InventoryCommand::Check { ask, .. } => {
            let known = known(&ask.server).await?;
            let misfits = Misfits::of(&known, &hosts(&ask.server).await?);
            print(ask, &misfits, |misfits| misfits.told(&known))?;
            match misfits.count() {
                0 => Ok(()),
                1 => Err(ConsoleError::Incomplete("the inventory does not fit in one point".into())),
                count => Err(ConsoleError::Incomplete(format!("the inventory does not fit in {count} points"))),
            }
        }
    }
}

fn print<T: Serialize>(ask: &AskArgs, what: &T, table: impl FnOnce(&T) -> String) -> Result<(), ConsoleError> {
    let text = match ask.format {
        Format::Table => table(what),
        Format::Json => client::written(&ask.server, what)?,
    };
    write_out(text.as_bytes()).map_err(ConsoleError::Output)
}

/// All pages of the inventory.
async fn known(server: &str) -> Result<Known, ConsoleError> {
    let mut whole = Known::default();
    let keep = |mut page: Known| {
        let next = page.next_cursor.take();
        whole.owners.append(&mut page.owners);
        whole = Known { owners: std::mem::take(&mut whole.owners), ..page };
        next
    };
    client::pages(server, PATH, &[("limit", PAGE)], keep).await?;
    Ok(whole)
}

/// All hosts there are.
async fn hosts(server: &str) -> Result<Vec<Host>, ConsoleError> {
    let mut hosts = Vec::new();
    let keep = |page: Hosts| {
        hosts.extend(page.hosts);
        page.next_cursor
    };
    client::pages(server, "/api/v1/hosts", &[("limit", PAGE)], keep).await?;
    Ok(hosts)
}

impl Misfits {
    fn of(known: &Known, hosts: &[Host]) -> Self {
        let named = known.owners.iter().filter(|owner| owner.kind == "host");
        let named: BTreeSet<(&str, &str)> = named.map(|owner| (&*owner.cluster, &*owner.name)).collect();
        let id = |host: &Host| format!("{}/{}", host.cluster, host.host);
        let is_named = |host: &&Host| named.contains(&(&*host.cluster, &*host.host));
        Self {
            failure: known.failure.clone(),
            unnamed: hosts.iter().filter(|host| !is_named(host)).map(id).collect(),
            never_seen: hosts.iter().filter(|host| host.state == NEVER_SEEN).map(id).collect(),
        }
    }

    fn count(&self) -> usize {
        usize::from(self.failure.is_some()) + self.unnamed.len() + self.never_seen.len()
    }

    fn told(&self, known: &Known) -> String {
        let mut text = String::new();
        text.push_str(&not_in_force(self.failure.as_deref()));
        for (hosts, what) in [
            (&self.unnamed, "reports, and the inventory does not name it: its energy has no labels but the agent's"),
            (&self.never_seen, "is in the inventory and never reported: no agent there, or another name"),
        ] {
            for host in hosts {
                let _ = writeln!(text, "{}: {what}", plain(host));
            }
        }
        if self.count() == 0 {
            let file = known.file.as_deref().map_or("no inventory is configured".into(), plain);
            let _ = writeln!(text, "{file}: {} owners, every host fits", known.owners.len());
        }
        text
    }
}

/// The inventory for people: a row for each span of time in which labels and chassis stay as they are.
fn table(known: &Known) -> String {
    let mut text = match &known.file {
        Some(file) => format!("{}, as of {}\n", plain(file), plain(&known.as_of)),
        None => "no inventory is configured ([files] inventory): hosts have the labels that their agents give\n".into(),
    };
    text.push_str(&not_in_force(known.failure.as_deref()));
    if known.owners.is_empty() {
        return text;
    }
    let mut table = Table::new();
    let columns = ["KIND", "NAME", "CHASSIS", "LABELS", "FROM", "UNTIL", "NOTES"];
    table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Disabled).force_no_tty().set_header(columns);
    for owner in &known.owners {
        for row in owner.rows() {
            table.add_row(row.each_ref().map(|cell| plain(cell)));
        }
    }
    text.push('\n');
    text.extend(table.lines().map(|line| format!("{}\n", line.trim_end())));
    text
}

impl Named {
    fn rows(&self) -> Vec<[String; 7]> {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING.to_owned());
        let name = format!("{}/{}", self.cluster, self.name);
        let notes = self.notes();
        let row = |held: &Held| {
            let labels: Vec<String> = held.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let labels = if labels.is_empty() { NOTHING.to_owned() } else { labels.join(" ") };
            let (from, until) = (or_none(&held.from), or_none(&held.until));
            [self.kind.clone(), name.clone(), or_none(&held.chassis), labels, from, until, notes.clone()]
        };
        if self.labels.is_empty() {
            let none = || NOTHING.to_owned();
            return vec![[self.kind.clone(), name.clone(), none(), none(), none(), none(), notes.clone()]];
        }
        self.labels.iter().map(row).collect()
    }

    fn notes(&self) -> String {
        let notes = [
            self.alias_of.as_ref().map(|other| format!("another name of {other}")),
            self.in_service.as_ref().map(|at| format!("in service since {at}")),
            self.retired.as_ref().map(|at| format!("retired {at}")),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        if notes.is_empty() { NOTHING.to_owned() } else { notes.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known(failure: Option<&str>) -> Known {
        let span = |from: Option<&str>, team: &str| json!({"from": from, "until": null, "labels": {"team": team}, "chassis": "bmc-1"});
        let owner = |name: &str, alias: Option<&str>, spans: serde_json::Value| {
            json!({"kind": "host", "cluster": "default", "name": name, "in_service": null,
                "retired": null, "alias_of": alias, "labels": spans})
        };
        let both = json!([span(None, "nlp"), span(Some("2026-10-01T00:00:00Z"), "vision\u{1b}")]);
        serde_json::from_value(json!({
            "as_of": "2026-11-01T00:00:00Z", "file": "/etc/inventory.csv", "failure": failure, "next_cursor": null,
            "owners": [owner("n1", None, both), owner("n1-ib", Some("n1"), json!([]))],
        }))
        .expect("an inventory")
    }

    fn host(name: &str, state: &str) -> Host {
        Host { cluster: "default".into(), host: name.into(), state: state.into() }
    }

    #[test]
    fn every_span_is_a_row_without_orders_to_the_terminal() {
        let text = table(&known(Some("line 2: what")));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "/etc/inventory.csv, as of 2026-11-01T00:00:00Z");
        assert_eq!(
            lines[1..3],
            ["THE NEWEST VERSION OF THE FILE IS NOT IN FORCE, THE ONE BEFORE IT IS:", "  line 2: what"]
        );
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words(lines[5]), "host default/n1 bmc-1 team=nlp – – –");
        assert_eq!(words(lines[6]), "host default/n1 bmc-1 team=vision\u{fffd} 2026-10-01T00:00:00Z – –");
        assert_eq!(words(lines[7]), "host default/n1-ib – – – – another name of n1");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let known = known(None);
        let good = Misfits::of(&known, &[host("n1", "live")]);
        assert_eq!((good.count(), good.told(&known)), (0, "/etc/inventory.csv: 2 owners, every host fits\n".into()));
        let bad = Misfits::of(&known, &[host("n1", NEVER_SEEN), host("n2", "silent")]);
        assert_eq!((&*bad.unnamed, &*bad.never_seen), (&["default/n2".into()][..], &["default/n1".into()][..]));
        let told = bad.told(&known);
        assert!(told.contains("default/n2: reports, and") && told.contains("default/n1: is in"), "{told}");
    }
}
