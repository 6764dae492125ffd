//! `wattledger reconcile`: what the meters of a site say of the same energy, side by side.

use std::fmt::Write as _;

use clap::Args;
use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use cost::reconcile::{Compared, InvoiceCheck, LevelFigures, Place, Reconciliation, Site, Step, Verdict};
use rust_decimal::Decimal;

use crate::client::{self, DEFAULT_SERVER};
use crate::error::ConsoleError;
use crate::figures::{NOTHING, fine_kwh, grouped, instant, percent, plain};
use crate::footnotes::closed;
use crate::format::Format;
use crate::report::write_out;

/// Where it is answered.
const PATH: &str = "/api/v1/reconcile";

/// What to reconcile.
#[derive(Args, Clone, Debug)]
pub struct ReconcileArgs {
    /// A month such as 2026-10, lastmonth, 7d, or START,END (RFC 3339 or Unix seconds, end exclusive)
    #[arg(long, default_value = "lastmonth")]
    pub window: String,
    /// Only this site; every site with a reference meter if not given
    #[arg(long)]
    pub site: Option<String>,
    /// The supplier's bill: kwh=1234.5, amount=456.78,currency=EUR, or both
    #[arg(long, value_name = "kwh=…,amount=…")]
    pub invoice: Option<String>,
    /// How far a ratio may be off
    #[arg(long, default_value = "2%")]
    pub tolerance: String,
    /// The time zone that decides days and months, such as Europe/Paris; the server's if not given
    #[arg(long)]
    pub tz: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// Prints the reconciliation.
///
/// # Errors
/// [`ConsoleError::NotReconciled`] (exit code 1) if a comparison is beyond the tolerance or cannot be made; else as
/// for any question.
pub async fn reconcile(args: &ReconcileArgs) -> Result<(), ConsoleError> {
    let optional = [("site", &args.site), ("invoice", &args.invoice), ("tz", &args.tz)];
    let given = optional.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
    let query: Vec<(&str, &str)> =
        [("window", args.window.as_str()), ("tolerance", args.tolerance.as_str())].into_iter().chain(given).collect();
    let body = client::get(&args.server, PATH, &query).await?;
    let answer: Reconciliation = client::understand(&args.server, &body)?;
    let text = match args.format {
        Format::Table => render(&answer),
        Format::Json => format!("{}\n", body.trim_end()),
    };
    write_out(text.as_bytes()).map_err(ConsoleError::Output)?;
    match answer.verdict {
        Verdict::Within => Ok(()),
        verdict => Err(ConsoleError::NotReconciled(reasons(&answer, verdict))),
    }
}

/// Which comparisons have the verdict, in a line.
fn reasons(answer: &Reconciliation, verdict: Verdict) -> String {
    let of_site = |site: &Site| {
        let name = site.site.as_deref().map(|site| format!("{}: ", plain(site))).unwrap_or_default();
        let steps = site.steps.iter().filter(|step| step.verdict == verdict);
        let steps = steps.map(|step| format!("{name}{} ▸ {}: {}", step.upper.word(), step.lower.word(), step.why));
        let compared = site.invoice.iter().flat_map(|invoice| invoice.kwh.iter().chain(&invoice.amount));
        let compared = compared.filter(|compared| compared.verdict == verdict);
        steps.chain(compared.map(|compared| format!("{name}invoice: {}", compared.why))).collect::<Vec<_>>()
    };
    let all: Vec<String> = answer.sites.iter().flat_map(of_site).collect();
    let share = (answer.tolerance * Decimal::ONE_HUNDRED).normalize();
    match (verdict, all.is_empty()) {
        (Verdict::Beyond, _) => format!("beyond the tolerance of {share} %: {}", all.join("; ")),
        (_, true) => "there is nothing to compare: no meter was read in this window".to_owned(),
        _ => format!("it cannot be told: {}", all.join("; ")),
    }
}

/// The reconciliation for people. It ends with a newline.
fn render(answer: &Reconciliation) -> String {
    let mut out = String::new();
    let at = |at| instant(at, &answer.tz, "%Y-%m-%d %H:%M");
    let share = (answer.tolerance * Decimal::ONE_HUNDRED).normalize();
    for site in &answer.sites {
        let name = site.site.as_deref().map_or("all sites".into(), |name| format!("site {}", plain(name)));
        let (from, until) = (at(answer.window.start), at(answer.window.end));
        let _ = writeln!(out, "{name}, {from} to {until} {}, tolerance {share} %\n", plain(&answer.tz));
        out += &levels(site, &answer.tz);
        if !site.steps.is_empty() {
            out.push('\n');
            out += &steps(site);
        }
        for line in footer(site) {
            let _ = writeln!(out, "\n{line}");
        }
        out.push('\n');
    }
    out
}

fn levels(site: &Site, tz: &str) -> String {
    let mut table = table(["LEVEL", "METERS", "kWh", "ESTIMATED", "COVERED", "READ"]);
    for level in &site.levels {
        let at = |at| instant(at, tz, "%Y-%m-%d %H:%M");
        let is_inside = level.level == Place::Components;
        let read = level.read.map_or(NOTHING.into(), |read| format!("{} to {}", at(read.start), at(read.end)));
        let members = if is_inside { NOTHING.into() } else { grouped(level.members.into()) };
        let covered = if is_inside { NOTHING.into() } else { covered(level) };
        let estimated = percent(level.estimated_kwh, level.energy_kwh, true);
        let read = if is_inside { NOTHING.into() } else { read };
        table.add_row([level.level.word().into(), members, fine_kwh(&[], level.energy_uj).1, estimated, covered, read]);
    }
    drawn(table)
}

fn covered(level: &LevelFigures) -> String {
    percent(level.covered_seconds, level.expected_seconds, false)
}

fn steps(site: &Site) -> String {
    let mut table = table(["STEP", "OUTER kWh", "INNER kWh", "DIFFERENCE", "RATIO", "COMPARED", "VERDICT"]);
    for step in &site.steps {
        let (parts, outer) = fine_kwh(&[step.lower_uj, step.difference_uj], step.upper_uj);
        let ratio = step.ratio.map_or(NOTHING.into(), |ratio| format!("{ratio:.6}"));
        let name = format!("{} ▸ {}", step.upper.word(), step.lower.word());
        let verdict = format!("{}: {}", word(step.verdict), plain(&step.why));
        table.add_row([name, outer, parts[0].clone(), parts[1].clone(), ratio, compared(step), verdict]);
    }
    drawn(table)
}

fn compared(step: &Step) -> String {
    if let Some((hosts, left_out)) = step.hosts {
        let rest = if left_out > 0 { format!(", {left_out} left out") } else { String::new() };
        return format!("{hosts} hosts{rest}");
    }
    let hours = Decimal::new(i64::try_from(step.slots).unwrap_or(i64::MAX), 0) / Decimal::from(4);
    let partial =
        if step.partial_slots > 0 { format!(", {} slots in part", step.partial_slots) } else { String::new() };
    format!("{} h{partial}", hours.normalize())
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Within => "within",
        Verdict::Beyond => "beyond",
        Verdict::Unknown => "unknown",
    }
}

fn footer(site: &Site) -> Vec<String> {
    let mut lines = Vec::new();
    for step in site.steps.iter().filter(|step| step.left_out.slots > 0) {
        let out = &step.left_out;
        lines.push(format!(
            "not compared: {} quarter hours in which {} ({:.3} kWh) and {} ({:.3} kWh) were read for different times",
            out.slots,
            step.upper.word(),
            out.upper_kwh,
            step.lower.word(),
            out.lower_kwh,
        ));
    }
    lines.extend(site.pue.as_ref().map(|pue| {
        format!("PUE: {} by the facility's meter, {} billed", pue.implied.normalize(), pue.billed.normalize())
    }));
    lines.extend(site.invoice.as_ref().map(invoice));
    lines.extend(site.closed.as_ref().map(closed));
    lines.extend(site.notes.iter().map(|note| plain(note).into_owned()));
    lines
}

fn invoice(check: &InvoiceCheck) -> String {
    let basis = match check.basis {
        Place::Facility => "the facility's meter",
        _ => "what is billed, times its PUE",
    };
    let mut lines = vec![format!("invoice against {basis}:")];
    let currency = check.currency.map_or("money".to_owned(), |currency| currency.to_string());
    for (name, compared) in [("kWh", &check.kwh), (&*currency, &check.amount)] {
        lines.extend(compared.as_ref().map(|compared| one(name, compared)));
    }
    if !check.complete {
        let share = percent(check.coverage, 1.0, false);
        lines.push(format!("  measured for {share} of the window only: a difference may be what nobody measured"));
    }
    lines.join("\n")
}

fn one(name: &str, compared: &Compared) -> String {
    let (theirs, ours, off) = (grouped(compared.invoice), grouped(compared.ours), grouped(compared.difference));
    let verdict = format!("{}: {}", word(compared.verdict), plain(&compared.why));
    format!("  {name}: invoice {theirs}, ours {ours}, difference {off}; {verdict}")
}

/// A table without lines; figures lean right.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Disabled).force_no_tty().set_header(header);
    for (index, column) in table.column_iter_mut().enumerate() {
        let is_figure = (1..N - 1).contains(&index);
        column.set_cell_alignment(if is_figure { CellAlignment::Right } else { CellAlignment::Left });
    }
    table
}

fn drawn(table: Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
