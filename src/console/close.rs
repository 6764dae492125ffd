//! `wattledger close`: freezes a month's statement, on the aggregator's own machine.

use std::fmt::Write;

use clap::Args;
use cost::closing::{Head, Sum};
use serde::Deserialize;
use serde_json::json;

use crate::client::{self, DEFAULT_SERVER, understand};
use crate::error::ConsoleError;
use crate::figures::{percent, plain};
use crate::footnotes::sum;
use crate::format::Format;
use crate::host::user;
use crate::report::write_out;

/// Where months are closed.
const PATH: &str = "/api/v1/statements";

/// Which month to close.
///
/// A closed month never changes: later energy, prices and labels appear as adjustments in the next open
/// month. A month closes only if readings cover enough of it.
#[derive(Args, Clone, Debug)]
pub struct CloseArgs {
    /// The month, such as 2026-10; it must be over
    #[arg(value_name = "MONTH")]
    pub period: String,
    /// Only this site, "(none)" for hosts that name none; all that are open if not given
    #[arg(long)]
    pub site: Option<String>,
    /// Close it although readings are missing, or nothing in it has a price
    #[arg(long)]
    pub allow_incomplete: bool,
    /// Put a new version, of the figures of now, in place of a closed one whose adjustments are not billed yet
    #[arg(long, requires = "site")]
    pub restate: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The aggregator; it must run on this machine
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

#[derive(Deserialize)]
struct Done {
    statements: Vec<Head>,
}

/// Closes a month and says what it came to.
///
/// # Errors
/// [`ConsoleError`] if the aggregator does not answer or refuses; nothing was closed then.
pub async fn close(args: &CloseArgs) -> Result<(), ConsoleError> {
    let said = json!({
        "period": args.period,
        "site": args.site,
        "allow_incomplete": args.allow_incomplete,
        "restate": args.restate,
        "by": user(),
    });
    let body = client::post(&args.server, PATH, said.to_string()).await?;
    let done: Done = understand(&args.server, &body)?;
    let told = if args.format == Format::Json { format!("{body}\n") } else { listed(&done.statements) };
    write_out(told.as_bytes()).map_err(ConsoleError::Output)
}

fn listed(heads: &[Head]) -> String {
    let mut out = String::new();
    for head in heads {
        let site = if head.site.is_empty() { "(none)".into() } else { plain(&head.site) };
        let coverage = percent(head.coverage.covered_seconds, head.coverage.expected_seconds, false);
        let incomplete = if head.coverage.incomplete { ", closed incomplete" } else { "" };
        let (period, version) = (plain(&head.period), head.version);
        let _ = writeln!(out, "closed  {period}  site {site}  {}  version {version}", plain(&head.id));
        let _ = writeln!(out, "        {}  coverage {coverage}{incomplete}", sum(&head.total));
        if head.total.unpriced_kwh != 0.0 {
            let unpriced = head.total.unpriced_kwh;
            let _ = writeln!(out, "        of which {unpriced:.3} kWh have no price: no rate was in force for them");
        }
        if head.adjustments_total != Sum::default() {
            let (adjusted, bill) = (sum(&head.adjustments_total), sum(&head.bill));
            let _ = writeln!(out, "        adjustments of earlier months {adjusted}; to be paid {bill}");
        }
    }
    out
}
