//! One line of an exporter's page: the Prometheus text format and OpenMetrics, as exporters write them.
//!
//! Every line stands for itself: one that cannot be read is refused and the next one is looked at. `HELP`
//! and `TYPE` lines say nothing that is needed here, so it does not matter how often they come.

use std::borrow::Cow;

/// Longest line that is read, in bytes: real ones stay below a few thousand.
const LINE_MAX: usize = 1 << 16;
/// Most labels of one series: Kepler has a dozen, a pod's annotations a few dozen.
const LABELS_MAX: usize = 64;

/// Label names and values, in the order of the line.
type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// A series and its value, as they stand in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series<'a> {
    /// The metric's name.
    pub(super) name: &'a str,
    pub(super) labels: Labels<'a>,
    /// The value's text, whatever it is.
    pub(super) value: &'a str,
    /// The exporter's own timestamp in milliseconds since the Unix epoch, if it gave one.
    pub(super) at_ms: Option<i64>,
}

/// A line that is no series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The metric's name at the start of a line; nothing for comments, blank lines and names in quotes.
pub(super) fn name_of(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t')).unwrap_or(line.len());
    let name = &line[..end];
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    (!name.is_empty() && name.iter().all(is_name)).then_some(name)
}

impl<'a> Series<'a> {
    /// Reads a line whose name is known to be one, see [`name_of`].
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        if line.len() > LINE_MAX {
            return Err(Malformed);
        }
        let line = std::str::from_utf8(line).map_err(|_| Malformed)?.trim_end();
        let (name, rest) = line.split_at(name_of(line.as_bytes()).ok_or(Malformed)?.len());
        let rest = rest.trim_start();
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => labels(inside)?,
            None => (Vec::new(), rest),
        };
        // What an exemplar says is no part of the series.
        let rest = rest.split(" # ").next().unwrap_or_default().trim();
        let mut words = rest.split_ascii_whitespace();
        let value = words.next().filter(|word| !word.starts_with('#')).ok_or(Malformed)?;
        let at_ms = words.next().map(|word| instant(word).ok_or(Malformed)).transpose()?;
        if words.next().is_some() {
            return Err(Malformed);
        }
        Ok(Self { name, labels, value, at_ms })
    }

    /// The value of a label; empty if there is none, which means the same in this format. The case of the
    /// label's name does not matter: exporters change it (`Hostname`, `GPU_UUID`).
    pub(super) fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// Labels and what follows their closing brace.
fn labels(mut rest: &str) -> Result<(Labels<'_>, &str), Malformed> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        if labels.len() == LABELS_MAX {
            return Err(Malformed);
        }
        let (name, after) = rest.split_once('=').ok_or(Malformed)?;
        let name = name.trim_end();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(Malformed);
        }
        let (value, after) = quoted(after.trim_start().strip_prefix('"').ok_or(Malformed)?)?;
        labels.push((name, value));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return Err(Malformed),
        };
    }
}

/// Text up to its closing quote, and what follows it.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), Malformed> {
    let mut plain: Option<String> = None;
    let mut from = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let last = &text[from..at];
                let value = plain.map_or(Cow::Borrowed(last), |plain| Cow::Owned(plain + last));
                return Ok((value, &text[at + 1..]));
            }
            b'\\' => {
                let escaped = text[at + 1..].chars().next().ok_or(Malformed)?;
                let plain = plain.get_or_insert_default();
                plain.push_str(&text[from..at]);
                match escaped {
                    'n' => plain.push('\n'),
                    '\\' | '"' => plain.push(escaped),
                    // Not an escape of the format: both characters stand, as Prometheus reads it.
                    other => plain.extend(['\\', other]),
                }
                at += 1 + escaped.len_utf8();
                from = at;
            }
            _ => at += 1,
        }
    }
    Err(Malformed)
}

/// Milliseconds since the Unix epoch: the text format writes whole milliseconds, OpenMetrics seconds with
/// decimals. Seconds pass 10^11 in the year 5138, milliseconds did so in 1973.
#[expect(clippy::cast_possible_truncation, reason = "checked to lie within")]
fn instant(text: &str) -> Option<i64> {
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite() && number.abs() < 1e16)?;
    let ms = if number.abs() < 1e11 { number * 1000.0 } else { number };
    Some(ms.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Series<'_>, Malformed> {
        Series::parse(line.as_bytes())
    }

    #[test]
    fn lines_are_read_as_exporters_write_them() {
        for (line, labels, value, at_ms) in [
            ("a_b 1", vec![], "1", None),
            ("a_b{} 1.5e+06\r", vec![], "1.5e+06", None),
            ("a:b{x=\"1\"} NaN", vec![("x", "1")], "NaN", None),
            ("a { x = \"1\" , y=\"2\", } +Inf", vec![("x", "1"), ("y", "2")], "+Inf", None),
            ("a{x=\"1\"}2", vec![("x", "1")], "2", None),
            ("a\t{x=\"\"}\t2\t1395066363000", vec![("x", "")], "2", Some(1_395_066_363_000)),
            ("a{x=\"1\"} 2 1520879607.789", vec![("x", "1")], "2", Some(1_520_879_607_789)),
            ("a{x=\"1\"} 2 -3982045", vec![("x", "1")], "2", Some(-3_982_045_000)),
            (r#"a{x="C:\\d \"q\" n\nl \x }{,="} 2"#, vec![("x", "C:\\d \"q\" n\nl \\x }{,=")], "2", None),
            (r#"a{x="1"} 2 # {trace_id="KOO5S4vxi0o"} 0.67"#, vec![("x", "1")], "2", None),
            (r#"a{x="1"} 2 1520879607 # {trace_id="oHg5 # SJ"} 9 1"#, vec![("x", "1")], "2", Some(1_520_879_607_000)),
            ("a{x=\"ä # ü\"} {{POWER_0}}", vec![("x", "ä # ü")], "{{POWER_0}}", None),
        ] {
            let series = parse(line).unwrap_or_else(|_| panic!("{line}"));
            let found: Vec<(&str, &str)> = series.labels.iter().map(|(name, value)| (*name, &**value)).collect();
            assert_eq!((found, series.value, series.at_ms), (labels, value, at_ms), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        for line in [
            "a",
            "a{x=\"1\"}",
            "a{x=\"1\" 2",
            "a{x=1} 2",
            "a{x=\"1} 2",
            "a{x=\"1\\",
            "a{x=\"1\"y=\"2\"} 2",
            "a{x} 2",
            "a{=\"1\"} 2",
            "a{x-y=\"1\"} 2",
            "a 1 2 3",
            "a 1 soon",
            "a # 1",
            "a{x=\"1\"} 2 NaN",
        ] {
            assert_eq!(parse(line), Err(Malformed), "{line}");
        }
        assert_eq!(Series::parse(b"a{x=\"\xff\"} 1"), Err(Malformed));
        assert!(parse(&format!("a{{x=\"{}\"}} 1", "y".repeat(LINE_MAX))).is_err());
        let many: Vec<String> = (0..=LABELS_MAX).map(|n| format!("l{n}=\"\"")).collect();
        assert!(parse(&format!("a{{{}}} 1", many.join(","))).is_err());
        assert!(parse(&format!("a{{{}}} 1", many[1..].join(","))).is_ok());
    }

    #[test]
    fn names_are_found_without_reading_the_line() {
        for (line, name) in [
            ("node_load1 0.5", Some("node_load1")),
            ("x{", Some("x")),
            ("# HELP x y", None),
            ("", None),
            (" x 1", None),
            ("{\"x\"} 1", None),
            ("<html>", None),
        ] {
            assert_eq!(name_of(line.as_bytes()), name.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn labels_are_found_whatever_their_case() {
        let series = parse(r#"a{UUID="GPU-1",Hostname="n"} 1"#).expect("a series");
        assert_eq!((series.label("uuid"), series.label("hostname"), series.label("gpu")), ("GPU-1", "n", ""));
    }
}
