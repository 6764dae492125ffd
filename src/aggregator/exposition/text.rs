//! The two text formats of metrics, written by hand: one HELP and TYPE per family, then its series.
//!
//! Prometheus text 0.0.4 and OpenMetrics 1.0 differ here in the name on a counter's HELP and TYPE lines
//! and in the closing `# EOF`.

use std::fmt::Write as _;

use meter::Energy;

/// The format that a scraper asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A family: name, kind and what people read about it.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The full name, `_total` included.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
}

impl Format {
    /// What the `Accept` header asks for: OpenMetrics if it is named, else Prometheus text.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The answer's content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Writes the HELP and TYPE lines of a family.
    pub fn head(self, out: &mut String, family: &Family) {
        let name = match (self, family.kind) {
            (Self::OpenMetrics, Kind::Counter) => family.name.strip_suffix("_total").unwrap_or(family.name),
            _ => family.name,
        };
        let kind = if family.kind == Kind::Counter { "counter" } else { "gauge" };
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
    }

    /// Writes what closes an exposition.
    pub fn end(self, out: &mut String) {
        if self == Self::OpenMetrics {
            out.push_str("# EOF\n");
        }
    }
}

/// Writes the series' name and labels and the space before its value.
pub fn series<'a>(out: &mut String, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.push_str(name);
    let mut between = '{';
    for (key, value) in labels {
        out.push(between);
        out.push_str(key);
        out.push_str("=\"");
        escape(out, value);
        out.push('"');
        between = ',';
    }
    out.push_str(if between == '{' { " " } else { "} " });
}

/// Writes a label value: the one place where `\`, `"` and line feeds are escaped.
pub fn escape(out: &mut String, value: &str) {
    // Nearly every value is plain: one pass over the bytes, one copy.
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return out.push_str(value);
    }
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// Writes an energy in joules and ends the line: exact to the microjoule, never by way of a float.
pub fn joules(out: &mut String, energy: Energy) {
    let uj = energy.microjoules();
    let sign = if uj < 0 { "-" } else { "" };
    let (whole, rest) = (uj.unsigned_abs() / 1_000_000, uj.unsigned_abs() % 1_000_000);
    let _ = if rest == 0 { writeln!(out, "{sign}{whole}") } else { writeln!(out, "{sign}{whole}.{rest:06}") };
}

/// Writes a whole number of thousandths (watts from milliwatts) and ends the line.
pub fn thousandths(out: &mut String, value: u64) {
    let (whole, rest) = (value / 1000, value % 1000);
    let _ = if rest == 0 { writeln!(out, "{whole}") } else { writeln!(out, "{whole}.{rest:03}") };
}

/// Writes nanoseconds as seconds, to the millisecond, and ends the line.
pub fn seconds(out: &mut String, ns: i64) {
    let ms = ns.div_euclid(1_000_000);
    let sign = if ms < 0 { "-" } else { "" };
    out.push_str(sign);
    thousandths(out, ms.unsigned_abs());
}

/// Writes any printable value and ends the line.
pub fn value(out: &mut String, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{value}");
}

/// The label names under which the keys of labels are exposed: Prometheus allows fewer characters.
///
/// A character that is not allowed becomes `_`. A key whose name is taken by one of our own labels, or
/// by a key that sorts before it, is exposed as `label_…`; where that is taken too, `label_…_2`.
#[must_use]
pub fn label_names<'a>(keys: impl IntoIterator<Item = &'a str>, ours: &[&str]) -> Vec<(&'a str, String)> {
    let mut taken: std::collections::BTreeSet<String> = ours.iter().map(ToString::to_string).collect();
    let mut keys: Vec<(&str, String)> = keys.into_iter().map(|key| (key, plain(key))).collect();
    // Keys that need no change keep their names, whatever else there is.
    keys.sort_by(|(a, a_plain), (b, b_plain)| (a != a_plain, a).cmp(&(b != b_plain, b)));
    for (_, name) in &mut keys {
        if !taken.insert(name.clone()) {
            let base = format!("label_{name}");
            let free = (2..).map(|n: u32| format!("{base}_{n}"));
            let first = std::iter::once(base.clone()).chain(free).find(|candidate| !taken.contains(candidate));
            *name = first.unwrap_or(base);
            taken.insert(name.clone());
        }
    }
    keys
}

fn plain(key: &str) -> String {
    let kept = |(index, c): (usize, char)| match c {
        'a'..='z' | 'A'..='Z' | '_' => c,
        '0'..='9' if index > 0 => c,
        _ => '_',
    };
    let name: String = key.char_indices().map(kept).collect();
    // Names that begin with two underscores are Prometheus' own.
    if name.starts_with("__") { format!("label{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn label_values_are_escaped_as_the_format_says() {
        let line = written(|out| series(out, "m", [("a", "q\"b\\n\nend"), ("b", "ü<&>\t")]));
        assert_eq!(line, "m{a=\"q\\\"b\\\\n\\nend\",b=\"ü<&>\t\"} ");
        assert_eq!(written(|out| series(out, "m", [])), "m ");
    }

    #[test]
    fn joules_are_exact_where_a_float_is_not() {
        // 2^53 + 1 microjoules, the first that an f64 cannot hold; and 33 years of 10 MW.
        for (uj, text) in [
            (9_007_199_254_740_993, "9007199254.740993\n"),
            (10_413_792_000_000_000_001, "10413792000000.000001\n"),
            (1_500_000, "1.500000\n"),
            (2_000_000, "2\n"),
            (0, "0\n"),
        ] {
            assert_eq!(written(|out| joules(out, Energy::from_microjoules(uj))), text);
        }
        assert_eq!(written(|out| joules(out, -Energy::from_microjoules(250_000))), "-0.250000\n");
    }

    #[test]
    fn keys_that_collide_are_told_apart() {
        let names =
            label_names(["team", "k8s.io/team", "k8s-io/team", "host", "k8s_io_team", "a.b"], &["cluster", "host"]);
        let named: std::collections::BTreeMap<_, _> = names.iter().map(|(k, n)| (*k, n.as_str())).collect();
        assert_eq!(named["team"], "team");
        assert_eq!(named["host"], "label_host");
        assert_eq!(named["a.b"], "a_b");
        assert_eq!(named["k8s_io_team"], "k8s_io_team");
        assert_eq!(named["k8s-io/team"], "label_k8s_io_team");
        assert_eq!(named["k8s.io/team"], "label_k8s_io_team_2");
    }
}
