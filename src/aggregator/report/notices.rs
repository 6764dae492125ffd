//! What a reader must know before believing the figures, in plain sentences.

use std::collections::BTreeSet;

use cost::{Answer, Row, UNATTRIBUTED};

use super::charts::shown;
use crate::page::words;

/// Below this coverage a figure deserves a second look.
const COVERAGE_LOW: f64 = 0.99;
/// Above this share of estimates a figure deserves a second look.
const ESTIMATED_HIGH: f64 = 0.05;

/// A sentence, and whether somebody should act on it.
#[derive(Debug)]
pub struct Notice {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

/// Whether readings are missing.
pub(super) fn is_thin(row: &Row) -> bool {
    let quality = &row.quality;
    quality.expected_seconds > 0.0 && quality.covered_seconds < COVERAGE_LOW * quality.expected_seconds
}

/// Everything there is to say about an answer.
pub(super) fn notices(answer: &Answer) -> Vec<Notice> {
    let total = &answer.total;
    let told = [
        made_up(answer),
        overlapped(answer),
        adjusted(answer),
        unpriced(total),
        coverage(total),
        estimated(total),
        unattributed(answer),
        flagged(answer),
    ];
    told.into_iter().flatten().collect()
}

fn bad(text: String) -> Option<Notice> {
    Some(Notice { text, is_bad: true })
}

fn made_up(answer: &Answer) -> Option<Notice> {
    let hosts = answer.made_up_hosts?;
    bad(format!("Simulated or replayed data: {hosts} of the hosts that count here are not live machines."))
}

fn overlapped(answer: &Answer) -> Option<Notice> {
    let months: BTreeSet<&str> = answer.overlapped_statements.iter().map(|one| one.period.as_str()).collect();
    let months: Vec<&str> = months.into_iter().collect();
    let told = match &*months {
        [] => return None,
        [month] => format!("{month} is closed, and bills are of its statements."),
        [first, .., last] => format!("Months from {first} to {last} are closed, and bills are of their statements."),
    };
    let text = format!("{told} What this page shows is worked out from today's ledger, and is no bill.");
    Some(Notice { text, is_bad: false })
}

fn adjusted(answer: &Answer) -> Option<Notice> {
    let bill = answer.bill.as_ref()?;
    if answer.cost_hidden {
        return bad("Adjustments of closed months fall due here; see below.".to_owned());
    }
    let amount = |cost: &cost::Cost| format!("{}\u{a0}{}", words::grouped(&cost.amount.to_string()), cost.currency);
    let amounts: Vec<String> = bill.cost.iter().map(amount).collect();
    bad(format!(
        "Adjustments of closed months fall due here: with them {} are to be paid; see below.",
        amounts.join(" + ")
    ))
}

fn unpriced(total: &Row) -> Option<Notice> {
    if total.unpriced_kwh == 0.0 {
        return None;
    }
    let energy = words::energy(total.unpriced_kwh);
    bad(format!(
        "{}\u{a0}{} have no price: no rate was in force for them. They are in the energy, and in no amount.",
        energy.number, energy.unit
    ))
}

fn coverage(total: &Row) -> Option<Notice> {
    if !is_thin(total) {
        return None;
    }
    let (covered, expected) = (total.quality.covered_seconds, total.quality.expected_seconds);
    let missing = words::grouped(&format!("{:.1}", (expected - covered) / 3600.0));
    bad(format!(
        "{missing} host-hours have no readings ({} are covered). What was used then is not billed, except where \
         an estimate is named.",
        words::percent(covered, expected)
    ))
}

fn estimated(total: &Row) -> Option<Notice> {
    let estimated = total.quality.estimated_joules;
    if estimated <= 0.0 {
        return None;
    }
    let share = words::percent(estimated, total.energy_joules);
    let is_bad = estimated > ESTIMATED_HIGH * total.energy_joules;
    Some(Notice { text: format!("{share} of the energy fills gaps between readings by a stated rule."), is_bad })
}

/// Lines that belong to nobody's device or job.
fn unattributed(answer: &Answer) -> Option<Notice> {
    let is_rest = |row: &&Row| row.line.is_some() || answer.by.iter().any(|key| is_rest_name(row.value(key)));
    let rest: Vec<&Row> = answer.rows.iter().filter(is_rest).collect();
    let energy = words::energy(rest.iter().map(|row| row.energy_kwh).sum());
    let names: std::collections::BTreeSet<&str> =
        rest.iter().flat_map(|row| answer.by.iter().map(|key| row.value(key))).filter(|v| is_rest_name(v)).collect();
    let names: Vec<&str> = names.into_iter().map(shown).collect();
    (!rest.is_empty()).then(|| Notice {
        text: format!(
            "{}\u{a0}{} stand on lines of their own ({}): metered, and explained by no component or job.",
            energy.number,
            energy.unit,
            names.join(", ")
        ),
        is_bad: false,
    })
}

fn is_rest_name(value: &str) -> bool {
    value == UNATTRIBUTED || value == "(unattributed)" || value == "(idle)"
}

fn flagged(answer: &Answer) -> Option<Notice> {
    let hosts = match answer.flagged_hosts {
        0 => return None,
        1 => "One host has".to_owned(),
        many => format!("{} hosts have", words::count(many)),
    };
    bad(format!("{hosts} readings that contradict each other; see below. Nothing was rewritten because of it."))
}
