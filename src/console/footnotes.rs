//! What stands below the cost table: by which rules the energy is billed, and which hosts to look at.

use cost::Answer;

use crate::figures::{duration, percent, plain};

/// Most hosts that a line names; the rest is counted.
const NAMED: usize = 5;

/// How the energy came about, where it is not simply what meters showed.
pub(crate) fn methods(answer: &Answer) -> Vec<String> {
    let (total, quality) = (&answer.total, &answer.total.quality);
    let has = |code: &str| total.methods.iter().any(|method| method == code);
    let mut lines = Vec::new();
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
