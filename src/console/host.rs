//! `wattledger host`: administration of hosts, on the aggregator's own machine.

use std::fmt::Write;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::{self, DEFAULT_SERVER, understand};
use crate::error::ConsoleError;
use crate::figures::plain;
use crate::format::Format;
use crate::report::write_out;
use crate::unmatched::{UnmatchedArgs, unmatched};

/// What to do with a host.
#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    /// What to do
    #[command(subcommand)]
    pub command: HostCommand,
}

/// The commands there are.
#[derive(Clone, Debug, Subcommand)]
pub enum HostCommand {
    /// Give a host's name to another machine
    ///
    /// A name is bound to the first machine that reports itself under it; another one is refused. This gives
    /// the name to the machine that was refused, or, if none was, to the next one that reports itself. The
    /// machine before is refused from then on. No energy is lost or moved: refused agents keep their readings.
    Rebind(ActArgs),
    /// Take a host out of service
    ///
    /// Nothing is expected of it any more. Its energy stays in every report, and what it still reports is
    /// booked and flagged.
    Retire {
        /// Which host
        #[command(flatten)]
        act: ActArgs,
        /// From when on, if not from now (RFC 3339, such as 2026-10-31T12:00:00Z)
        #[arg(long, value_name = "TIME", conflicts_with = "undo")]
        at: Option<String>,
        /// Put it into service again
        #[arg(long)]
        undo: bool,
    },
    /// List BMCs without host, hosts without BMC, and what matches several
    Unmatched(UnmatchedArgs),
    /// List what administrators did, the newest first
    Acts {
        /// Acts to list
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// The aggregator; it must run on this machine
        #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
        server: String,
    },
}

/// Which host, and where.
#[derive(Args, Clone, Debug)]
pub struct ActArgs {
    /// The host's name
    pub name: String,
    /// Its cluster; needed where several have a host of this name
    #[arg(long)]
    pub cluster: Option<String>,
    /// The aggregator; it must run on this machine
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// An act as the aggregator recorded it.
#[derive(Deserialize, Serialize)]
struct Act {
    at: String,
    act: String,
    owner: String,
    by: String,
    from: String,
    old: Option<String>,
    new: Option<String>,
}

#[derive(Deserialize)]
struct Done {
    host: String,
    act: Act,
}

#[derive(Deserialize, Serialize)]
struct Acts {
    acts: Vec<Act>,
}

/// Asks the aggregator to act, and says what it did.
///
/// # Errors
/// [`ConsoleError`] if it does not answer or refuses; nothing was done then.
pub async fn host(args: &HostArgs) -> Result<(), ConsoleError> {
    let told = match &args.command {
        HostCommand::Rebind(act) => rebound(&ask(act, "rebind", None).await?),
        HostCommand::Retire { act, undo: true, .. } => {
            format!("{} is in service again\n", plain(&ask(act, "unretire", None).await?.host))
        }
        HostCommand::Retire { act, at, .. } => {
            let done = ask(act, "retire", at.as_deref()).await?;
            let since = done.act.new.unwrap_or_default();
            format!("{} is retired since {}; its energy stays in every report\n", plain(&done.host), plain(&since))
        }
        HostCommand::Unmatched(args) => unmatched(args).await?,
        HostCommand::Acts { limit, format, server } => {
            let limit = limit.to_string();
            let body = client::get(server, "/api/v1/acts", &[("limit", &limit)]).await?;
            let acts: Acts = understand(server, &body)?;
            if *format == Format::Json { format!("{body}\n") } else { listed(&acts.acts) }
        }
    };
    write_out(told.as_bytes()).map_err(ConsoleError::Output)
}

async fn ask(args: &ActArgs, deed: &str, at: Option<&str>) -> Result<Done, ConsoleError> {
    let id = match &args.cluster {
        Some(cluster) => format!("{cluster}/{}", args.name),
        None => args.name.clone(),
    };
    let said = match at {
        Some(at) => json!({ "by": user(), "at": at }),
        None => json!({ "by": user() }),
    };
    let body = client::post(&args.server, &format!("/api/v1/hosts/{id}/{deed}"), said.to_string()).await?;
    understand(&args.server, &body)
}

/// Who acts: whom `sudo` stands for, else the user. A word, no proof.
pub(crate) fn user() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| name.len() <= 128 && !name.chars().any(char::is_control)).unwrap_or_default()
}

fn rebound(done: &Done) -> String {
    let host = plain(&done.host);
    let old = done.act.old.as_deref().map_or("no machine".into(), |old| format!("machine {}", plain(old)));
    match &done.act.new {
        Some(new) => {
            format!("{host} is bound to machine {}, which had been refused; {old} is refused from now on\n", plain(new))
        }
        None => format!("{host} was bound to {old}; the next machine that reports itself under the name will be\n"),
    }
}

fn listed(acts: &[Act]) -> String {
    let mut text = String::new();
    for act in acts {
        let by = if act.by.is_empty() { "somebody" } else { &act.by };
        let from = |value: &Option<String>| value.as_deref().map_or("–", |value| value).to_owned();
        let line = format!(
            "{}  {:<8}  {}  {} → {}  by {by} from {}",
            act.at,
            act.act,
            act.owner,
            from(&act.old),
            from(&act.new),
            act.from
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", plain(&line));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(old: Option<&str>, new: Option<&str>) -> Act {
        Act {
            at: "2026-11-01T00:00:00Z".into(),
            act: "rebind".into(),
            owner: "default/host/n1".into(),
            by: "ada\u{1b}".into(),
            from: "127.0.0.1".into(),
            old: old.map(Into::into),
            new: new.map(Into::into),
        }
    }

    #[test]
    fn a_rebind_is_told_with_both_machines() {
        let told = |new| rebound(&Done { host: "default/n1".into(), act: act(Some("0a"), new) });
        assert_eq!(
            told(Some("0b")),
            "default/n1 is bound to machine 0b, which had been refused; machine 0a is refused from now on\n"
        );
        assert_eq!(
            told(None),
            "default/n1 was bound to machine 0a; the next machine that reports itself under the name will be\n"
        );
    }

    #[test]
    fn acts_are_a_line_each_without_orders_to_the_terminal() {
        let text = listed(&[act(Some("0a"), None), act(None, Some("0b"))]);
        assert_eq!(
            text.lines().next(),
            Some("2026-11-01T00:00:00Z  rebind    default/host/n1  0a → –  by ada\u{fffd} from 127.0.0.1")
        );
        assert_eq!(text.lines().count(), 2);
    }
}
