//! What stands below the cost table: by which rules the energy is billed, and which hosts to look at.

use cost::closing::{Adjustment, ClosedFigure, Original, Sum};
use cost::{Answer, Cost};

use crate::figures::{duration, grouped, kwh, percent, plain};

/// Most hosts that a line names; the rest is counted.
const NAMED: usize = 5;
/// Most adjustments with a line of their own.
const ADJUSTED: usize = 20;

/// What became known of closed months and is billed here, and what is to be paid.
pub(crate) fn adjustments(answer: &Answer) -> Vec<String> {
    let line = |one: &Adjustment| {
        // The site is named already.
        let is_said = |key: &str, value: &str| key == "site" && value == one.original.site;
        let group = one.by.iter().filter(|(key, value)| !is_said(key, value));
        let group: Vec<String> = group.map(|(key, value)| format!("{}={}", plain(key), plain(value))).collect();
        let at =
            if one.original.site.is_empty() { String::new() } else { format!(" at {}", plain(&one.original.site)) };
        let group = if group.is_empty() { String::new() } else { format!(", {}", group.join(" ")) };
        format!("adjustment of {}{at}{group}: {}", plain(&one.original.period), sum(&one.sum))
    };
    let mut lines: Vec<String> = answer.adjustments.iter().take(ADJUSTED).map(line).collect();
    let more = answer.adjustments.len().saturating_sub(ADJUSTED);
    if more > 0 {
        lines.push(format!("and {more} more adjustments; --format csv has them all"));
    }
    let what = if answer.cost_hidden { "with all adjustments" } else { "to be paid, with all adjustments" };
    lines.extend(answer.bill.as_ref().map(|bill| format!("{what}: {}", sum(bill))));
    lines
}

/// What an amount is made of, where that is not energy alone: the parts add up to it.
pub(crate) fn parts(cost: &Cost) -> Option<String> {
    let parts = &cost.parts;
    let more = [
        (parts.pue_overhead, "for the plant's (PUE)"),
        (parts.demand, "for demand"),
        (parts.fixed, "for fixed charges and overhead share"),
    ];
    let more: Vec<String> = more
        .into_iter()
        .filter(|(part, _)| !part.is_zero())
        .map(|(part, what)| format!(", {} {what}", grouped(part)))
        .collect();
    let line = format!("{}: {} for the machines' energy{}", cost.currency, grouped(parts.energy), more.concat());
    (!more.is_empty()).then_some(line)
}

/// Energy and what it costs, in one line.
pub(crate) fn sum(sum: &Sum) -> String {
    let costs = sum.cost.iter().map(|cost| format!("{} {}", grouped(cost.amount), cost.currency));
    [format!("{} kWh", kwh(&[], sum.energy_uj).1)].into_iter().chain(costs).collect::<Vec<_>>().join(", ")
}

/// Which statements a figure of today is about, and whether they say the same.
pub(crate) fn closed(figure: &ClosedFigure) -> String {
    let named = |one: &Original| {
        let at = if one.site.is_empty() { String::new() } else { format!(" at {}", plain(&one.site)) };
        format!("{}{at} by statement {}, version {}", plain(&one.period), plain(&one.id), one.version)
    };
    let named: Vec<String> = figure.statements.iter().map(named).collect();
    let beside = match (&figure.total, figure.differs) {
        (Some(total), Some(true)) => {
            format!("it has {}: the figure of today DIFFERS, and is due as an adjustment", sum(total))
        }
        (Some(_), _) => "it has the same figure as today".to_owned(),
        (None, _) if figure.is_closed => "this is a part of its month, of which it has no figure".to_owned(),
        (None, _) => "the window reaches beyond what is closed, so there is no figure of theirs for it".to_owned(),
    };
    format!("closed: {}; {beside}", named.join(", "))
}

/// That there are statements, of which these figures are not.
pub(crate) fn overlapped(answer: &Answer) -> Option<String> {
    let named = |one: &Original| {
        let site = if one.site.is_empty() { "(none)".into() } else { plain(&one.site) };
        format!("{} at {site}", plain(&one.period))
    };
    let mut all: Vec<String> = answer.overlapped_statements.iter().take(NAMED).map(named).collect();
    let more = answer.overlapped_statements.len().saturating_sub(NAMED);
    if more > 0 {
        all.push(format!("{more} more"));
    }
    let told = "closed in part, and these figures are those of today, not of statements";
    (!all.is_empty())
        .then(|| format!("{told}: {} (wattledger report --where site=… --tz … asks for one)", all.join(", ")))
}

/// How the energy came about, where it is not simply what meters showed.
pub(crate) fn methods(answer: &Answer) -> Vec<String> {
    let (total, quality) = (&answer.total, &answer.total.quality);
    let has = |code: &str| total.methods.iter().any(|method| method == code);
    let mut lines: Vec<String> = answer.made_up_hosts.iter().map(|hosts| made_up(*hosts)).collect();
    if has("component-sum") && has_both(answer) {
        let share = percent(quality.metered_seconds, quality.covered_seconds, false);
        lines.push(format!("billed at meters for {share} of the covered time, else summed from components"));
    } else if has("component-sum") {
        lines.push("summed from components: power supplies, fans and what else has no sensor is missing".to_owned());
    }
    if quality.ratio_seconds > 0.5 {
        let missed = duration(quality.ratio_seconds);
        lines.push(format!("meters missed {missed} of host time: components times their usual ratio, as estimated"));
    }
    match (has("shared-chassis/component-energy"), has("shared-chassis/even")) {
        (true, true) => {
            lines.push("shared chassis are split by the energy of components, evenly where none is read".into())
        }
        (true, false) => lines.push("shared chassis are split by the energy of components".into()),
        (false, true) => lines.push("shared chassis are split evenly: no component is read".into()),
        (false, false) => {}
    }
    lines
}

/// That a file that is followed has faults, and which; nothing if it has none.
pub(crate) fn not_in_force(failure: Option<&str>) -> String {
    let Some(failure) = failure else { return String::new() };
    let faults: String = failure.lines().map(|line| format!("  {}\n", plain(line))).collect();
    format!("THE NEWEST VERSION OF THE FILE IS NOT IN FORCE, THE ONE BEFORE IT IS:\n{faults}")
}

/// That figures are of hosts that are no live machines.
pub(crate) fn made_up(hosts: u64) -> String {
    match hosts {
        1 => "made up: one host is simulated or replayed, no live machine".to_owned(),
        _ => format!("made up: {hosts} hosts are simulated or replayed, no live machines"),
    }
}

fn has_both(answer: &Answer) -> bool {
    answer.total.quality.metered_seconds > 0.5 || answer.total.quality.ratio_seconds > 0.5
}

/// The hosts to look at, a line for each reason.
pub(crate) fn flags(answer: &Answer) -> Vec<String> {
    let reasons = answer.total.flags.keys();
    reasons.map(|flag| format!("{}: {}", words(flag), names(answer, flag))).collect()
}

/// What a flag means; a newer server may know more of them.
fn words(flag: &str) -> String {
    match flag {
        "meter-below-components" => "the meter shows less than the components inside it".into(),
        "container-below-contents" => "a domain shows less than what it contains".into(),
        "same-device-elsewhere" => "a device was read at several hosts, and is billed at one".into(),
        other => plain(other).into_owned(),
    }
}

/// The hosts with a flag, the worst first.
fn names(answer: &Answer, flag: &str) -> String {
    let flagged = || answer.flagged.iter().filter(|host| host.flags.contains_key(flag));
    let mut names: Vec<String> = flagged().take(NAMED).map(|host| plain(&host.host).into_owned()).collect();
    let more = flagged().count().saturating_sub(NAMED);
    // The answer itself names no more than so many.
    let is_cut = answer.flagged_hosts > answer.flagged.len() as u64;
    match (more, is_cut) {
        (0, false) => {}
        (more, false) => names.push(format!("and {more} more")),
        (_, true) => names.push("and more".into()),
    }
    names.join(", ")
}
