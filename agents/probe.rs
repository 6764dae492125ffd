//! `wattledger-agent probe`: every power source this machine could have.

use std::fmt::Write;

use meter::Sample;
use serde_json::{Value, json};

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
    let probe = |mut source: Box<dyn sources::Source>| Finding { source: source.name(), probe: source.probe() };
    sources::all(settings, roots).into_iter().map(probe).collect()
}

/// For people: one paragraph per source, one line per device.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    let devices = findings.iter().flat_map(|finding| match &finding.probe {
        Probe::Found { devices, .. } => devices.as_slice(),
        Probe::Absent { .. } => &[],
    });
    let width = devices.map(|device| device.decl.key.device.len()).max().unwrap_or(0);
    for finding in findings {
        // Writing to a String cannot fail.
        let _ = match &finding.probe {
            Probe::Absent { why } => writeln!(text, "{:<10} absent  {why}", finding.source),
            Probe::Found { devices, note } => {
                let _ = writeln!(text, "{:<10} found   {} {}", finding.source, devices.len(), plural(devices.len()));
                for device in devices {
                    let key = &device.decl.key;
                    let now = now(device.now.as_ref());
                    let _ = writeln!(
                        text,
                        "  {:<11} {:<width$}  {now:>24}  {}",
                        key.scope.word(),
                        key.device,
                        device.about
                    );
                }
                match note {
                    Some(note) => writeln!(text, "  note: {note}"),
                    None => Ok(()),
                }
            }
        };
    }
    text
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

/// For scripts: an array of sources.
#[must_use]
pub fn json(findings: &[Finding]) -> String {
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
    use meter::{AccountKey, DeviceDecl, Microjoules, Milliwatts, Scope};

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
                probe: Probe::Found { devices: vec![device], note: Some("mmio left out".into()) },
            },
        ]
    }

    #[test]
    fn people_see_value_and_reason() {
        let text = table(&findings());
        for part in [
            "absent  libnvidia-ml.so.1 is missing",
            "found   1 device",
            "412.5 W, 1234.567890 J",
            "note: mmio left out",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn scripts_get_the_same() {
        let found: Value = serde_json::from_str(&json(&findings())).expect("JSON");
        assert_eq!(found[0]["state"], "absent");
        assert_eq!(found[1]["devices"][0]["counter_uj"], "1234567890");
        assert_eq!(found[1]["devices"][0]["limit_watts"], Value::Null, "what is not declared is no zero");
    }
}
