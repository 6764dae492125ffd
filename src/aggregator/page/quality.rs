//! The page's word on how far its figures can be trusted.

use super::view::View;
use super::words;
use crate::board::{Board, Facts};
use crate::summary::Summary;
use crate::vitals::HostState;

/// A fact about the data: what, how much, and whether somebody should look.
pub(super) struct Fact {
    pub(super) what: &'static str,
    pub(super) value: String,
    pub(super) more: String,
    pub(super) is_bad: bool,
    /// Where those are listed that it is about.
    pub(super) href: Option<String>,
}

/// The facts, in the order in which they matter.
pub(super) fn facts(board: &Board, summary: &Summary, view: &View) -> Vec<Fact> {
    let quality = &summary.month.total.quality;
    let energy = summary.month.total.energy_joules;
    let covered = words::percent(quality.covered_seconds, quality.expected_seconds);
    let is_thin = quality.covered_seconds < 0.99 * quality.expected_seconds;
    let mut facts = vec![
        fact("Coverage this month", covered, "of the time readings were expected".into(), is_thin),
        fact(
            "Estimated",
            words::percent(quality.estimated_joules, energy),
            "of this month's energy fills gaps by rule".into(),
            quality.estimated_joules > 0.01 * energy,
        ),
        fact(
            "From outer meters",
            words::percent(quality.metered_joules, energy),
            "the rest is summed from components".into(),
            false,
        ),
        refused(&board.facts),
        fenced(&board.facts),
        flagged(&board.facts),
    ];
    let states = [
        ("Silent hosts", HostState::Silent, "have stopped sending", true),
        ("Never seen", HostState::NeverSeen, "are in the inventory without a reading", true),
        ("Switched off", HostState::Off, "by what their BMC says", false),
        ("Retired", HostState::Retired, "are out of service", false),
    ];
    for (what, state, more, is_bad) in states {
        let count = board.states[state as usize];
        if is_bad || count > 0 {
            let hosts = View { by: "host".into(), state: Some(state), ..View::default().over(view.range) };
            let href = (count > 0).then(|| hosts.href());
            facts.push(Fact { href, ..fact(what, words::count(count as u64), more.into(), is_bad && count > 0) });
        }
    }
    facts
}

const fn fact(what: &'static str, value: String, more: String, is_bad: bool) -> Fact {
    Fact { what, value, more, is_bad, href: None }
}

fn refused(facts: &Facts) -> Fact {
    let total: u64 = facts.refused.iter().map(|(_, count)| count).sum();
    let words: Vec<String> =
        facts.refused.iter().map(|(reason, count)| format!("{} {reason}", words::count(*count))).collect();
    let more = if total == 0 { "no reading had to be turned away".into() } else { words.join(", ") };
    fact("Refused readings", words::count(total), more, total > 0)
}

fn fenced(facts: &Facts) -> Fact {
    let figure = words::energy(facts.fenced.kwh());
    fact("Fenced", format!("{}\u{a0}{}", figure.number, figure.unit), "reported twice, booked once".into(), false)
}

fn flagged(facts: &Facts) -> Fact {
    let words: Vec<String> = facts.flags.iter().map(|(flag, count)| format!("{count} {flag}")).collect();
    let more = if facts.flagged == 0 { "no meter or device needs a look".into() } else { words.join(", ") };
    fact("Flagged meters", facts.flagged.to_string(), more, facts.flagged > 0)
}
