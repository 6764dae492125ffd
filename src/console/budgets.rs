//! `wattledger budgets`: where budgets stand this month.

use std::fmt::Write as _;

use clap::Args;
use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use cost::budget::{Method, Standing, Standings, State};
use rust_decimal::Decimal;

use crate::client::{self, DEFAULT_SERVER};
use crate::error::ConsoleError;
use crate::figures::{NOTHING, grouped, percent, plain};
use crate::format::Format;
use crate::report::write_out;

/// Where it is answered.
const PATH: &str = "/api/v1/budgets";

/// Which aggregator's budgets.
#[derive(Args, Clone, Debug)]
pub struct BudgetsArgs {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// Prints where budgets stand.
///
/// # Errors
/// [`ConsoleError`] as for any question.
pub async fn budgets(args: &BudgetsArgs) -> Result<(), ConsoleError> {
    let body = client::get(&args.server, PATH, &[]).await?;
    let answer: Standings = client::understand(&args.server, &body)?;
    let text = match args.format {
        Format::Table => render(&answer),
        Format::Json => format!("{}\n", body.trim_end()),
    };
    write_out(text.as_bytes()).map_err(ConsoleError::Output)
}

fn render(answer: &Standings) -> String {
    let mut out = String::new();
    if answer.budgets.is_empty() {
        out += "there are no budgets: name a file with them in the aggregator's configuration, [budgets] file\n";
    } else {
        let header = ["BUDGET", "MONTH", "LIMIT", "USED", "SHARE", "FORECAST", "SHARE", "COVERED", "STATE", "CROSSED"];
        let mut table = Table::new();
        table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Disabled).force_no_tty().set_header(header);
        for (index, column) in table.column_iter_mut().enumerate() {
            let is_figure = (2..8).contains(&index);
            column.set_cell_alignment(if is_figure { CellAlignment::Right } else { CellAlignment::Left });
        }
        answer.budgets.iter().for_each(|budget| {
            table.add_row(row(budget));
        });
        table.lines().for_each(|line| {
            let _ = writeln!(out, "{}", line.trim_end());
        });
        answer.budgets.iter().flat_map(notes).for_each(|note| {
            let _ = writeln!(out, "{}", plain(&note));
        });
    }
    if let Some(why) = &answer.file_problem {
        let _ = writeln!(
            out,
            "the budgets file as it is now is not in force: {}",
            why.lines().map(plain).collect::<Vec<_>>().join("; ")
        );
    }
    out
}

fn row(budget: &Standing) -> [String; 10] {
    let figure = |value: Decimal| format!("{} {}", grouped(shortened(value)), budget.unit);
    let share = |value: Decimal| format!("{} %", (value * Decimal::ONE_HUNDRED).round_dp(1));
    let state = match budget.state {
        State::Ok => "within",
        State::Warning => "warning",
        State::Exceeded => "EXCEEDED",
    };
    let crossed = budget.thresholds.iter().filter(|threshold| threshold.crossed);
    let crossed: Vec<String> = crossed.map(|threshold| format!("{} %", threshold.percent)).collect();
    [
        plain(&budget.name).into_owned(),
        budget.month.clone(),
        figure(budget.limit),
        figure(budget.used),
        share(budget.used_share),
        budget.forecast.map_or(NOTHING.into(), figure),
        budget.forecast_share.map_or(NOTHING.into(), share),
        percent(budget.covered_seconds, budget.expected_seconds, false),
        state.into(),
        if crossed.is_empty() { NOTHING.into() } else { crossed.join(", ") },
    ]
}

/// Two decimals do for large figures.
fn shortened(value: Decimal) -> Decimal {
    if value.scale() > 2 && value.abs() >= Decimal::ONE_HUNDRED { value.round_dp(2) } else { value }
}

/// What a line has no room for.
fn notes(budget: &Standing) -> Vec<String> {
    let name = &budget.name;
    let mut notes = Vec::new();
    let by = budget.basis.map(|basis| match basis.method {
        Method::ByWeekday => format!("by weekday, from {} covered days", basis.days),
        Method::LastDays => format!("from the last {} covered days", basis.days),
        Method::SinceFirstReading => "from the hours since the first reading".into(),
    });
    match by {
        Some(by) => notes.push(format!("{name}: forecast {by}; time without readings is not filled in")),
        None => notes.push(format!("{name}: no forecast yet: less than an hour is known")),
    }
    if budget.unpriced_kwh != 0.0 {
        notes.push(format!("{name}: {} kWh have no price and are not in it", budget.unpriced_kwh));
    }
    if let Some(delivery) = &budget.webhook {
        let problem = delivery.last_problem.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        if delivery.pending + delivery.given_up > 0 {
            let (pending, given_up) = (delivery.pending, delivery.given_up);
            notes.push(format!("{name}: {pending} messages wait, {given_up} were given up{problem}"));
        }
    }
    notes
}
