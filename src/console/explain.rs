//! `wattledger explain`: how one host's figure came about, such that a person can add it up again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use cost::explain::{AccountStory, EdgeStory, Explanation, Kinds, Role, SlotStory};
use cost::window::read_instant;
use rust_decimal::Decimal;

use crate::client::{self, DEFAULT_SERVER};
use crate::error::ConsoleError;
use crate::figures::{NOTHING, duration, fine_kwh, grouped, instant, plain};
use crate::footnotes::closed;
use crate::format::Format;
use crate::report::write_out;

/// Where it is answered.
const PATH: &str = "/api/v1/explain";
/// How instants are printed.
const AT: &str = "%Y-%m-%d %H:%M:%S";

/// What to explain.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// The host, as NAME or CLUSTER/NAME
    #[arg(long)]
    pub host: String,
    /// 24h 7d today lastmonth, a month such as 2026-10, or START,END (RFC 3339 or Unix seconds, end exclusive)
    #[arg(long)]
    pub window: String,
    /// Every quarter of an hour, not summed by day
    #[arg(long)]
    pub slots: bool,
    /// The time zone that decides days and months, such as Europe/Paris; the server's if not given
    #[arg(long)]
    pub tz: Option<String>,
    /// How to print it; JSON has every slot
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// Prints the explanation.
///
/// # Errors
/// [`ConsoleError`] as for any question.
pub async fn explain(args: &ExplainArgs) -> Result<(), ConsoleError> {
    let tz = args.tz.iter().map(|tz| ("tz", tz.as_str()));
    let query: Vec<(&str, &str)> =
        [("host", args.host.as_str()), ("window", args.window.as_str())].into_iter().chain(tz).collect();
    let body = client::get(&args.server, PATH, &query).await?;
    let answer: Explanation = client::understand(&args.server, &body)?;
    let text = match args.format {
        Format::Table => render(&answer, args.slots),
        Format::Json => format!("{}\n", body.trim_end()),
    };
    write_out(text.as_bytes()).map_err(ConsoleError::Output)
}

/// The explanation for people. It ends with a newline.
fn render(answer: &Explanation, every_slot: bool) -> String {
    let parts =
        [head(answer), accounts(answer), holes(answer), billed(answer), slots(answer, every_slot), total(answer)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn head(answer: &Explanation) -> String {
    let at = |at| instant(at, &answer.tz, AT);
    let mut out = String::new();
    let (from, until) = (at(answer.window.start), at(answer.window.end));
    let _ =
        writeln!(out, "{} ({}), {from} to {until} {}", plain(&answer.host), plain(&answer.cluster), plain(&answer.tz));
    match &answer.expected {
        Some(span) => {
            let _ = writeln!(out, "readings are expected from {} to {}", at(span.start), at(span.end));
        }
        None => out += "no readings are expected in this window\n",
    }
    if let Some(figure) = &answer.closed {
        let _ = writeln!(out, "{}", closed(figure));
    }
    if !answer.aliases.is_empty() {
        let _ = writeln!(out, "with what is read under its other names: {}", plain(&answer.aliases.join(", ")));
    }
    for labels in &answer.labels {
        let words: Vec<String> = labels.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let words = if words.is_empty() { "no labels".to_owned() } else { words.join(" ") };
        let chassis = labels.chassis.as_ref().map(|name| format!(", in chassis {name}")).unwrap_or_default();
        let span = &labels.span;
        let _ = writeln!(out, "from {} to {}: {}", at(span.start), at(span.end), plain(&format!("{words}{chassis}")));
    }
    out
}

fn kinds(kinds: &Kinds) -> i128 {
    kinds.counter_uj + kinds.integrated_uj + kinds.estimated_uj
}

fn name(account: &AccountStory) -> String {
    let owner = if account.owner_kind == "host" { String::new() } else { format!("{} ", account.owner) };
    plain(&format!("{owner}{}:{}", account.scope, account.device)).into_owned()
}

fn accounts(answer: &Explanation) -> String {
    let header = ["ACCOUNT", "IS A", "FROM", "TO", "EVER kWh", "HERE kWh", "COUNTED", "JOINED", "ESTIMATED", "COVERED"];
    let mut table = table(header, 4);
    for account in &answer.accounts {
        let at = |text: &str| read_instant(text).map_or_else(|| text.into(), |at| instant(at, &answer.tz, AT));
        let of = &account.window;
        let (parts, here) = fine_kwh(&[of.counter_uj, of.integrated_uj, of.estimated_uj], kinds(of));
        let role = match (account.role, account.billed_slots) {
            (Role::Meter, Some(slots)) => format!("meter, billed in {slots} slots"),
            (Role::Meter, None) => "meter".into(),
            (Role::Component, _) => "component".into(),
            (Role::Reference, _) => "reference, never billed".into(),
        };
        let ever = fine_kwh(&[], kinds(&account.lifetime)).1;
        let (first, last) = (at(&account.first_reading), at(&account.last_reading));
        let [counted, joined, estimated] = [0, 1, 2].map(|part| parts[part].clone());
        let covered = duration(account.covered_seconds);
        table.add_row([name(account), role, first, last, ever, here, counted, joined, estimated, covered]);
    }
    drawn(&table)
}

fn holes(answer: &Explanation) -> String {
    let mut out = String::new();
    let end = |end: &EdgeStory| {
        let at = read_instant(&end.at).map_or_else(|| end.at.clone(), |at| instant(at, &answer.tz, AT));
        let watts = end.watts.map(|watts| format!(" at {watts} W")).unwrap_or_default();
        let counter = end.counter_uj.map(|uj| format!(" at counter {} J", Decimal::new(uj as i64, 6).normalize()));
        format!("{at}{watts}{}", counter.unwrap_or_default())
    };
    for account in &answer.accounts {
        for hole in &account.holes {
            let booked = match hole.estimated_uj {
                0 => "nothing booked".to_owned(),
                uj => format!("{} kWh estimated", fine_kwh(&[], uj).1),
            };
            let _ = writeln!(out, "hole in {}: {} to {}, {booked}", name(account), end(&hole.from), end(&hole.until));
        }
        if account.final_holes > 0 {
            let _ = writeln!(out, "{}: {} further holes, uncovered for good", name(account), account.final_holes);
        }
    }
    out
}

fn billed(answer: &Explanation) -> String {
    let mut table = table(["BILLED", "kWh"], 1);
    let lines = &answer.boundary.lines;
    let energies: Vec<i128> = lines.iter().map(|line| line.energy_uj).collect();
    let (printed, whole) = fine_kwh(&energies, answer.total.energy_uj);
    for (line, kwh) in lines.iter().zip(printed) {
        let name = if line.device.is_empty() { line.scope.clone() } else { format!("{}:{}", line.scope, line.device) };
        table.add_row([plain(&name).into_owned(), kwh]);
    }
    table.add_row(["total".to_owned(), whole]);
    let quality = &answer.total.quality;
    let mut out = drawn(&table);
    let spans = [
        ("billed at a meter", quality.metered_seconds),
        ("summed from components", quality.summed_seconds),
        ("components times the meter's usual ratio", quality.ratio_seconds),
    ];
    let told = spans.iter().filter(|(_, seconds)| *seconds > 0.5);
    let told: Vec<String> = told.map(|(what, seconds)| format!("{what} for {}", duration(*seconds))).collect();
    if !told.is_empty() {
        let _ = writeln!(out, "{}; by the rules {}", told.join(", "), answer.boundary.methods.join(", "));
    }
    out
}

/// The notes below the slots: charges that the columns do not show.
fn charges(answer: &Explanation) -> Vec<String> {
    let mut notes = Vec::new();
    let with =
        |of: fn(&SlotStory) -> Option<Decimal>| answer.slots.iter().filter_map(move |slot| Some((slot, of(slot)?)));
    let mut surcharges: Vec<Decimal> = with(|slot| slot.surcharge).map(|(_, share)| share).collect();
    surcharges.dedup();
    notes.extend(surcharges.first().map(|share| {
        format!("with a surcharge of {} % on energy and overhead", (share * Decimal::ONE_HUNDRED).normalize())
    }));
    for (slot, price) in with(|slot| slot.demand_per_kwh) {
        let at = read_instant(&slot.start).map_or_else(|| slot.start.clone(), |at| instant(at, &answer.tz, AT));
        notes
            .push(format!("the site's peak is at {at}: there each kWh at the facility bears {price} as demand charge"));
    }
    let mut fixed: Vec<Decimal> = with(|slot| slot.fixed_per_kwh).map(|(_, price)| price).collect();
    fixed.dedup();
    notes.extend(fixed.iter().map(|price| format!("each kWh bears {price} of a month's fixed charge")));
    notes
}

/// What a slot is priced by: the card's line, the price, the PUE.
type Price = (Option<usize>, Option<Decimal>, Option<Decimal>);

/// Slots summed up for a line.
#[derive(Default)]
struct Sum {
    uj: i128,
    covered: f64,
    prices: Vec<Price>,
    amounts: BTreeMap<String, Decimal>,
}

impl Sum {
    fn add(&mut self, slot: &SlotStory) {
        self.uj += slot.energy_uj;
        self.covered += slot.covered_seconds;
        let price = (slot.rate_line, slot.price_per_kwh, slot.pue);
        if !self.prices.contains(&price) {
            self.prices.push(price);
        }
        if let Some((currency, amount)) = slot.currency.zip(slot.amount) {
            *self.amounts.entry(currency.to_string()).or_default() += amount;
        }
    }
}

fn slots(answer: &Explanation, every_slot: bool) -> String {
    let format = if every_slot { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d" };
    let mut sums: Vec<(String, Sum)> = Vec::new();
    for slot in &answer.slots {
        let Some(at) = read_instant(&slot.start) else { continue };
        let title = instant(at, &answer.tz, format);
        // In the night in which clocks go back two slots have one name: each is a line of its own.
        if every_slot || sums.last().is_none_or(|(last, _)| *last != title) {
            sums.push((title, Sum::default()));
        }
        if let Some((_, sum)) = sums.last_mut() {
            sum.add(slot);
        }
    }
    let first = if every_slot { "SLOT" } else { "DAY" };
    let mut header = vec![first, "kWh", "COVERED", "PUE"];
    if !answer.cost_hidden {
        header.splice(3..3, ["PRICE PER kWh"]);
        header.extend(["CARD LINE", "AMOUNT"]);
    }
    let mut table = table(header, 1);
    let energies: Vec<i128> = sums.iter().map(|(_, sum)| sum.uj).collect();
    let (printed, _) = fine_kwh(&energies, answer.total.energy_uj);
    for ((title, sum), kwh) in sums.iter().zip(printed) {
        let of = |text: fn(&Price) -> Option<String>| {
            let mut all: Vec<String> = sum.prices.iter().map(|price| text(price).unwrap_or(NOTHING.into())).collect();
            all.dedup();
            if all.len() == 1 { all.remove(0) } else { format!("{} of them", all.len()) }
        };
        let price = of(|price| Some(price.1?.to_string()));
        let pue = of(|price| Some(price.2?.to_string()));
        if answer.cost_hidden {
            table.add_row([title.clone(), kwh, duration(sum.covered), pue]);
            continue;
        }
        let line = of(|price| Some(price.0?.to_string()));
        let amounts: Vec<String> =
            sum.amounts.iter().map(|(currency, amount)| format!("{} {currency}", grouped(*amount))).collect();
        let amounts = if amounts.is_empty() { "unpriced".to_owned() } else { amounts.join(", ") };
        table.add_row([title.clone(), kwh, duration(sum.covered), price, pue, line, amounts]);
    }
    if sums.is_empty() { String::new() } else { drawn(&table) }
}

fn total(answer: &Explanation) -> String {
    let mut out = String::new();
    for note in charges(answer) {
        let _ = writeln!(out, "{note}");
    }
    for rate in &answer.rates {
        let site = rate.site.as_ref().map_or("every site".to_owned(), |site| format!("site {}", plain(site)));
        let since = rate.valid_from.as_ref().map(|since| format!(", since {}", plain(since))).unwrap_or_default();
        let _ = writeln!(out, "line {} of the rate card: {site}, {}{since}", rate.line, rate.currency);
    }
    let kwh = fine_kwh(&[], answer.total.energy_uj).1;
    let _ = writeln!(out, "total {kwh} kWh, {} µJ", grouped(whole(answer.total.energy_uj)));
    for cost in &answer.total.cost {
        let exact = answer.exact.get(&cost.currency).map(|exact| format!(" ({exact} before rounding)"));
        let _ = writeln!(out, "{} {}{}", grouped(cost.amount), cost.currency, exact.unwrap_or_default());
        let parts = &cost.parts;
        let named = [
            ("energy", parts.energy),
            ("overhead of the plant", parts.pue_overhead),
            ("demand", parts.demand),
            ("fixed", parts.fixed),
        ];
        let told = named.into_iter().filter(|(_, part)| !part.is_zero());
        let told: Vec<String> = told.map(|(name, part)| format!("{name} {}", grouped(part))).collect();
        if told.len() > 1 {
            let _ = writeln!(out, "  {}", told.join(", "));
        }
    }
    if answer.total.unpriced_kwh != 0.0 {
        let _ = writeln!(out, "{} kWh have no price", answer.total.unpriced_kwh);
    }
    out
}

fn whole(number: i128) -> Decimal {
    Decimal::try_from_i128_with_scale(number, 0).unwrap_or(Decimal::MAX)
}

/// A table without lines; figures, from column `first` on, lean right.
fn table<'a>(header: impl IntoIterator<Item = &'a str>, first: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(PLAIN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty()
        .set_header(header.into_iter().collect::<Vec<&str>>());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if index >= first { CellAlignment::Right } else { CellAlignment::Left });
    }
    table
}

fn drawn(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
