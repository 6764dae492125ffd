//! `wattledger-agent probe`: every power source this machine could have.

pub mod targets;

use meter::{SECOND_NS, Sample, Scope};
use serde_json::{Value, json};

use crate::guard::{Panicked, guarded};
use crate::jobs::report::{self, Hearing};
use crate::sources::{self, FoundDevice, Probe, Roots, SourcesSettings};

/// What one source found.
#[derive(Debug)]
pub struct Finding {
    /// The source's name.
    pub source: &'static str,
    /// What it found, or why not.
    pub probe: Probe,
}

/// Probes every enabled source.
#[must_use]
pub fn look(settings: &SourcesSettings, roots: &Roots) -> Vec<Finding> {
    let probe = |mut source: Box<dyn sources::Source>| {
        let probe = guarded(|| source.probe());
        let probe = probe.unwrap_or_else(|Panicked(said)| Probe::Absent { why: format!("panicked: {said}") });
        Finding { source: source.name(), probe }
    };
    sources::all(settings, roots).into_iter().map(probe).collect()
}

/// For people: one paragraph per source, one line per device, one per thing left out. Long lines are
/// folded at `width` columns, if given.
#[must_use]
pub fn table(
    findings: &[Finding],
    targets: &[targets::TargetFinding],
    hearings: &[Hearing],
    width: Option<usize>,
) -> String {
    let devices: Vec<&FoundDevice> = findings.iter().flat_map(|finding| devices(&finding.probe)).collect();
    let names = devices.iter().map(|device| device.decl.key.device.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { source, probe } in findings {
        match probe {
            Probe::Absent { why } => fold(&mut text, &format!("{source:<10} absent  "), why, width),
            Probe::Found { devices, note } => {
                let head = format!("{source:<10} found   ");
                fold(&mut text, &head, &format!("{} {}", devices.len(), plural(devices.len())), width);
                for device in devices {
                    line(&mut text, device, names, width);
                }
                notes(&mut text, note.as_deref().unwrap_or_default(), width);
            }
        }
    }
    targets::table(targets, width, &mut text);
    for (number, Hearing { by, place, state }) in hearings.iter().enumerate() {
        let head = format!("{:<10} {by:<7} ", if number == 0 { "jobs" } else { "" });
        let words = if place.is_empty() { state.clone() } else { format!("{place}: {state}") };
        fold(&mut text, &head, &words, width);
    }
    let measures_all = |device: &&FoundDevice| device.decl.key.scope == Scope::Chassis;
    text.push('\n');
    let summary = match devices.len() {
        0 => "No power source of this machine can be read.",
        _ if devices.iter().any(measures_all) => "The machine as a whole has a meter: its parts explain what it draws.",
        _ => {
            "No meter of the whole machine here: unless its BMC or PDU is read elsewhere, its energy is the sum of its parts."
        }
    };
    fold(&mut text, "", summary, width);
    text
}

/// A device, its values and what it is; `names` is the length of the longest name.
fn line(text: &mut String, device: &FoundDevice, names: usize, width: Option<usize>) {
    let (key, now) = (&device.decl.key, now(device.now.as_ref()));
    let head = format!("  {:<11} {:<names$}  {now:>24}  ", key.scope.word(), key.device);
    fold(text, &head, &format!("{}{}", device.about, renewal(device)), width);
}

fn devices(probe: &Probe) -> &[FoundDevice] {
    match probe {
        Probe::Found { devices, .. } => devices,
        Probe::Absent { .. } => &[],
    }
}

/// A source's note: what to know, and below it what was left out, each on a line of its own.
fn notes(text: &mut String, note: &str, width: Option<usize>) {
    let (known, left_out) = note.split_once("left out: ").unwrap_or((note, ""));
    let known = known.trim_end().trim_end_matches('.');
    if !known.is_empty() {
        fold(text, "  note: ", known, width);
    }
    for item in left_out.split("; ").filter(|item| !item.is_empty()) {
        fold(text, "  left out: ", item, width);
    }
}

/// How often a meter has a new value, where that is slower than a person expects.
fn renewal(device: &FoundDevice) -> String {
    match device.decl.period_ns / SECOND_NS.unsigned_abs() {
        0 | 1 => String::new(),
        seconds => format!(", every {seconds} s"),
    }
}

/// Appends a line; what is longer than `width` goes on below its own beginning.
fn fold(text: &mut String, head: &str, words: &str, width: Option<usize>) {
    text.push_str(head);
    // Beside a very long beginning there would be one word per line.
    let indent = if width.is_some_and(|width| head.len() * 2 > width) { 4 } else { head.len() };
    let mut column = head.len();
    for (n, word) in words.split(' ').enumerate() {
        let space = usize::from(n > 0);
        if space > 0 && width.is_some_and(|width| column + space + word.len() > width) {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if space > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "device" } else { "devices" }
}

/// A device's values in words: `412.5 W`, `1234.567890 J`.
fn now(sample: Option<&Sample>) -> String {
    let Some(sample) = sample else { return "no value".into() };
    let watts = sample.power.map(|power| format!("{} W", power.watts().normalize()));
    let joules = sample.counter.map(|counter| format!("{}.{:06} J", counter.0 / 1_000_000, counter.0 % 1_000_000));
    let refused = sample.refused.map(|reason| format!("refused: {reason}"));
    let parts: Vec<String> = [watts, joules, refused].into_iter().flatten().collect();
    if parts.is_empty() { "no value".into() } else { parts.join(", ") }
}

/// For scripts: an array of sources, then targets, then how jobs are heard of.
#[must_use]
pub fn json(findings: &[Finding], targets: &[targets::TargetFinding], hearings: &[Hearing]) -> String {
    let sources: Vec<Value> = findings
        .iter()
        .map(|finding| match &finding.probe {
            Probe::Absent { why } => json!({"source": finding.source, "state": "absent", "why": why}),
            Probe::Found { devices, note } => json!({
                "source": finding.source,
                "state": "found",
                "note": note,
                "devices": devices.iter().map(device).collect::<Vec<_>>(),
            }),
        })
        .chain(targets.iter().map(targets::json))
        .chain((!hearings.is_empty()).then(|| report::json(hearings)))
        .collect();
    format!("{:#}\n", Value::Array(sources))
}

#[expect(clippy::cast_precision_loss, reason = "presentation only; the integers stand beside them")]
fn device(device: &FoundDevice) -> Value {
    let (decl, now) = (&device.decl, device.now.unwrap_or_default());
    json!({
        "scope": decl.key.scope.word(),
        "device": &*decl.key.device,
        "about": device.about,
        "period_ms": decl.period_ns as f64 / 1e6,
        "limit_watts": (decl.limit.0 > 0).then_some(decl.limit.0 as f64 / 1e3),
        "wraps_at_joules": decl.modulus.map(|modulus| modulus.0 as f64 / 1e6),
        "watts": now.power.map(|power| power.0 as f64 / 1e3),
        "joules": now.counter.map(|counter| counter.0 as f64 / 1e6),
        "counter_uj": now.counter.map(|counter| counter.0.to_string()),
        "refused": now.refused.map(meter::Refusal::code),
    })
}

#[cfg(test)]
mod tests {
    use meter::{AccountKey, DeviceDecl, Microjoules, Milliwatts};

    use super::*;

    fn findings() -> Vec<Finding> {
        let decl = DeviceDecl {
            key: AccountKey::new(Scope::Cpu, "package-0").expect("a good name"),
            period_ns: 1_000_000_000,
            limit: Milliwatts(0),
            modulus: Some(Microjoules(262_143_328_850)),
            epoch: 7,
        };
        let now =
            Sample { counter: Some(Microjoules(1_234_567_890)), power: Some(Milliwatts(412_500)), ..Sample::default() };
        let device = FoundDevice { decl, about: "a package".into(), now: Some(now) };
        vec![
            Finding { source: "nvml", probe: Probe::Absent { why: "libnvidia-ml.so.1 is missing".into() } },
            Finding {
                source: "rapl",
                probe: Probe::Found {
                    devices: vec![device],
                    note: Some("the zone is new. left out: mmio twice; psys at zero".into()),
                },
            },
        ]
    }

    #[test]
    fn people_see_value_and_reason() {
        let text = table(&findings(), &[], &[], None);
        for part in [
            "absent  libnvidia-ml.so.1 is missing",
            "found   1 device",
            "412.5 W, 1234.567890 J",
            "  note: the zone is new\n  left out: mmio twice\n  left out: psys at zero\n",
            "No meter of the whole machine",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(table(&[], &[], &[], None).contains("No power source"));
    }

    #[test]
    fn long_lines_are_folded_between_words_and_nothing_is_lost() {
        let plain = table(&findings(), &[], &[], None);
        let folded = table(&findings(), &[], &[], Some(44));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&plain), words(&folded));
        let too_long = |line: &&str| line.len() > 44 && line.trim().contains(' ') && !line.contains("412.5 W");
        assert_eq!(folded.lines().find(too_long), None, "{folded}");
        assert!(folded.lines().count() > plain.lines().count());
    }

    #[test]
    fn scripts_get_the_same() {
        let found: Value = serde_json::from_str(&json(&findings(), &[], &[])).expect("JSON");
        assert_eq!(found[0]["state"], "absent");
        assert_eq!(found[1]["devices"][0]["counter_uj"], "1234567890");
        assert_eq!(found[1]["devices"][0]["limit_watts"], Value::Null, "what is not declared is no zero");
    }
}
