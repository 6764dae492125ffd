//! Where budgets stand, as they were last worked out.

use cost::budget::{Standing, State};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::view::View;
use super::{width, words};
use crate::app::App;

/// Most budgets that are listed.
const BUDGETS_MAX: usize = 20;

/// One budget.
pub(super) struct BudgetRow {
    pub(super) name: String,
    /// The view of what counts.
    pub(super) href: String,
    pub(super) used: String,
    pub(super) limit: String,
    pub(super) share: String,
    pub(super) forecast: String,
    /// Widths: what is used, and what will be.
    pub(super) bar: String,
    pub(super) ahead: String,
    pub(super) word: &'static str,
    pub(super) is_bad: bool,
}

/// The budgets, those in trouble first; those of energy only where money is not shown.
pub(super) fn rows(app: &App, view: &View, money: bool) -> Vec<BudgetRow> {
    let Some(standings) = app.budgets.newest() else { return Vec::new() };
    let is_shown = |standing: &&Standing| money || standing.unit == "kWh";
    let mut shown: Vec<&Standing> = standings.budgets.iter().filter(is_shown).collect();
    let weight = |standing: &Standing| (standing.state as u8, standing.used_share);
    shown.sort_by_key(|standing| std::cmp::Reverse(weight(standing)));
    shown.into_iter().take(BUDGETS_MAX).map(|standing| row(standing, view)).collect()
}

fn row(standing: &Standing, view: &View) -> BudgetRow {
    let share = |part: Decimal| part.to_f64().unwrap_or(0.0);
    let amount = |figure: Decimal| {
        let digits = if standing.unit == "kWh" { 1 } else { 2 };
        format!("{}\u{a0}{}", words::grouped(&figure.round_dp(digits).to_string()), standing.unit)
    };
    let forecast = match (standing.forecast, standing.forecast_share) {
        (Some(total), Some(part)) => format!("{} ({})", amount(total), words::percent(share(part), 1.0)),
        _ => "not known yet".into(),
    };
    let of = View { filter: standing.filter.clone(), page: 1, state: None, ..view.clone() };
    BudgetRow {
        name: standing.name.clone(),
        href: of.href(),
        used: amount(standing.used),
        limit: amount(standing.limit),
        share: words::percent(share(standing.used_share), 1.0),
        forecast,
        bar: width(share(standing.used_share), 1.0),
        ahead: width(standing.forecast_share.map_or(0.0, share), 1.0),
        word: word(standing.state),
        is_bad: standing.state != State::Ok,
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Ok => "within",
        State::Warning => "warning",
        State::Exceeded => "exceeded",
    }
}
