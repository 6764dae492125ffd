//! `wattledger rates`: what applies now, and cards from elsewhere.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{ContentArrangement, Table};
use cost::rates::outlook::{Outlook, SitePrice, Terms};
use cost::urdb::{Converted, Options, convert};
use rust_decimal::Decimal;

use crate::client::{self, DEFAULT_SERVER};
use crate::error::ConsoleError;
use crate::figures::plain;
use crate::footnotes::not_in_force;
use crate::format::Format;
use crate::report::{write_out, write_whole};

/// Where what applies is answered.
const PATH: &str = "/api/v1/rates";
/// Prices that are asked for at a time.
const PAGE: &str = "1000";
/// Largest file of a foreign tariff.
const FILE_MAX: u64 = 64 << 20;

/// What to do with rates.
#[derive(Args, Clone, Debug)]
pub struct RatesArgs {
    #[command(subcommand)]
    command: RatesCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum RatesCommand {
    /// Print what applies now at each site, until when, and what comes next.
    Show(ShowArgs),
    /// Convert a tariff from elsewhere into a rate card.
    #[command(subcommand)]
    Import(ImportCommand),
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    server: String,
}

#[derive(Clone, Debug, Subcommand)]
enum ImportCommand {
    /// A tariff of the OpenEI Utility Rate Database, as its API answers (JSON).
    Urdb(UrdbArgs),
}

#[derive(Args, Clone, Debug)]
struct UrdbArgs {
    /// The answer, saved to a file
    file: PathBuf,
    /// The IANA time zone of the tariff's hours, such as America/New_York: the file does not say
    #[arg(long)]
    timezone: Option<String>,
    /// The site it is for; every site without a rate of its own if not given
    #[arg(long)]
    site: Option<String>,
    /// Which of several tariffs of the file, from 1
    #[arg(long)]
    item: Option<usize>,
    /// Let the database's dates limit the rate
    #[arg(long)]
    dated: bool,
    /// Write to this file instead of the standard output; it appears whole or not at all
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Does what was asked.
///
/// # Errors
/// [`ConsoleError`]; a file that is no tariff is one of usage.
pub async fn rates(args: &RatesArgs) -> Result<(), ConsoleError> {
    match &args.command {
        RatesCommand::Show(args) => show(args).await,
        RatesCommand::Import(ImportCommand::Urdb(args)) => urdb(args),
    }
}

async fn show(args: &ShowArgs) -> Result<(), ConsoleError> {
    let mut whole = Outlook::default();
    let keep = |mut page: Outlook| {
        let next = page.next_cursor.take();
        whole.prices.append(&mut page.prices);
        whole = Outlook { prices: std::mem::take(&mut whole.prices), ..page };
        next
    };
    client::pages(&args.server, PATH, &[("limit", PAGE)], keep).await?;
    let text = match args.format {
        Format::Table => render(&whole),
        Format::Json => client::written(&args.server, &whole)?,
    };
    write_out(text.as_bytes()).map_err(ConsoleError::Output)
}

#[expect(clippy::print_stderr, reason = "what a conversion leaves out must be seen beside its data")]
fn urdb(args: &UrdbArgs) -> Result<(), ConsoleError> {
    let bad = |why: String| ConsoleError::BadInput { path: args.file.clone(), why };
    let size = std::fs::metadata(&args.file).map_err(|error| bad(error.to_string()))?.len();
    if size > FILE_MAX {
        return Err(bad(format!("it has {size} bytes; {FILE_MAX} are the most")));
    }
    let text = std::fs::read_to_string(&args.file).map_err(|error| bad(error.to_string()))?;
    let (timezone, site) = (args.timezone.as_deref(), args.site.as_deref());
    let options = Options { timezone, site, item: args.item, dated: args.dated };
    let Converted { toml, notes } = convert(&text, &options).map_err(|error| bad(error.to_string()))?;
    for note in notes {
        eprintln!("note: {}", plain(&note));
    }
    match &args.output {
        Some(path) => write_whole(path, toml.as_bytes()).map_err(|why| ConsoleError::File { path: path.clone(), why }),
        None => write_out(toml.as_bytes()).map_err(ConsoleError::Output),
    }
}

/// What applies, for people.
pub(crate) fn render(outlook: &Outlook) -> String {
    let mut text = match &outlook.file {
        Some(file) => format!("{}, as of {}\n", plain(file), outlook.as_of),
        None => "no rate card is configured: energy is reported as unpriced\n".to_owned(),
    };
    if outlook.failure.is_some() {
        let _ = write!(text, "\n{}", not_in_force(outlook.failure.as_deref()));
    }
    let mut table = Table::new();
    table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Disabled).force_no_tty().set_header([
        "FOR",
        "FROM",
        "PER KWH",
        "PERIOD",
        "PUE",
        "G CO2E/KWH",
        "CHARGES",
        "RATE",
    ]);
    for price in &outlook.prices {
        for row in rows(price) {
            table.add_row(row.each_ref().map(|cell| plain(cell)));
        }
    }
    if !outlook.prices.is_empty() {
        text.push('\n');
        for line in table.lines() {
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    for series in &outlook.series {
        let (file, of) = (plain(&series.file), &series.figure);
        let _ = writeln!(text, "\n{file} (line {}): {of} from {} to {}", series.line, series.from, series.to);
        for (from, to) in &series.first_gaps {
            let _ = writeln!(text, "  GAP {from} to {to}: that energy is unpriced");
        }
        if series.gaps > series.first_gaps.len() {
            let _ = writeln!(text, "  and {} gaps more", series.gaps - series.first_gaps.len());
        }
    }
    text
}

fn rows(price: &SitePrice) -> Vec<[String; 8]> {
    let labels: Vec<String> = price.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let who = if labels.is_empty() { "(every other)".to_owned() } else { labels.join(" ") };
    let now = row(who, "now".into(), price.now.as_ref());
    let next = price.next.iter().map(|change| row(String::new(), change.from.clone(), change.terms.as_ref()));
    std::iter::once(now).chain(next).collect()
}

fn row(who: String, from: String, terms: Option<&Terms>) -> [String; 8] {
    let Some(terms) = terms else {
        let none = || "–".to_owned();
        return [who, from, "no rate: unpriced".into(), none(), none(), none(), none(), none()];
    };
    let or_none = |figure: Option<Decimal>| figure.map_or_else(|| "–".to_owned(), |figure| figure.to_string());
    let price =
        terms.price_per_kwh.map_or_else(|| "none: unpriced".into(), |price| format!("{price} {}", terms.currency));
    let charges = [("/kW", terms.demand_per_kw), ("/month", terms.fixed_per_month), ("× energy", terms.overhead_share)];
    let charges: Vec<String> = charges.iter().filter_map(|(per, due)| Some(format!("{}{per}", (*due)?))).collect();
    let name = terms.rate.clone().unwrap_or_else(|| format!("line {}", terms.line));
    let version = terms.version.as_ref().map_or_else(String::new, |version| format!(" v{version}"));
    [
        who,
        from,
        price,
        terms.period.clone().unwrap_or_else(|| "–".into()),
        terms.pue.to_string(),
        or_none(terms.carbon_g_per_kwh),
        if charges.is_empty() { "–".into() } else { charges.join(" + ") },
        name + &version,
    ]
}
