//! The page's word on how far its figures can be trusted.

use energy::Flag;
use meter::Refusal;

use super::words;
use crate::hosts_view::{HostState, fenced};
use crate::published::Snapshot;
use crate::summary::Summary;

/// A fact about the data: what, how much, and whether somebody should look.
pub struct Fact {
    pub(super) what: &'static str,
    pub(super) value: String,
    pub(super) more: String,
    pub(super) is_bad: bool,
}

/// The facts, in the order in which they matter.
pub(super) fn facts(snapshot: &Snapshot, summary: &Summary, hosts: [usize; 5]) -> Vec<Fact> {
    let quality = &summary.month.total.quality;
    let energy = summary.month.total.energy_joules;
    let covered = words::percent(quality.covered_seconds, quality.expected_seconds);
    let is_thin = quality.covered_seconds < 0.99 * quality.expected_seconds;
    let silent = hosts[HostState::Silent as usize];
    let never = hosts[HostState::NeverSeen as usize];
    vec![
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
        refused(snapshot),
        fenced_fact(snapshot),
        flagged(snapshot),
        fact("Silent hosts", silent.to_string(), "have stopped sending".into(), silent > 0),
        fact("Never seen", never.to_string(), "are in the inventory without a reading".into(), never > 0),
    ]
}

fn fact(what: &'static str, value: String, more: String, is_bad: bool) -> Fact {
    Fact { what, value, more, is_bad }
}

fn refused(snapshot: &Snapshot) -> Fact {
    let mut counts = [0_u64; Refusal::ALL.len()];
    for (reason, count) in snapshot.owners().flat_map(|view| &view.state.refused) {
        counts[*reason as usize] += count;
    }
    let total: u64 = counts.iter().sum();
    let mut reasons: Vec<_> = Refusal::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{} {}", words::count(*count), reason.code())).collect();
    let more = if total == 0 { "no reading had to be turned away".into() } else { words.join(", ") };
    fact("Refused readings", words::count(total), more, total > 0)
}

fn fenced_fact(snapshot: &Snapshot) -> Fact {
    let joules: meter::Energy = snapshot.owners().map(|view| fenced(&view.state)).sum();
    let figure = words::energy(joules.kwh());
    let more = "reported twice, booked once".into();
    fact("Fenced", format!("{}\u{a0}{}", figure.number, figure.unit), more, false)
}

fn flagged(snapshot: &Snapshot) -> Fact {
    let accounts = || snapshot.owners().flat_map(|view| &view.state.accounts);
    let count = accounts().filter(|account| account.rare().is_some_and(|rare| rare.flags != 0)).count();
    let by_flag = Flag::ALL.into_iter().map(|flag| (flag, accounts().filter(|a| a.is_flagged(flag)).count()));
    let words: Vec<String> =
        by_flag.filter(|(_, count)| *count > 0).map(|(flag, count)| format!("{count} {}", flag.code())).collect();
    let more = if count == 0 { "no account needs a look".into() } else { words.join(", ") };
    fact("Flagged accounts", count.to_string(), more, count > 0)
}
