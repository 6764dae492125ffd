//! What is wrong with a JSON body, told by field and place, in words that say nothing of how it is read here.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::problem::Problem;

/// Reads an object.
///
/// # Errors
/// A problem that names the member at fault.
pub(super) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Problem> {
    if !text.trim_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Problem::bad_request("wrong-type", "the body must be a JSON object, {…}"),
            Err(error) => fault(text, &error),
        });
    }
    serde_json::from_str(text).map_err(|error| fault(text, &error))
}

/// The same of bytes.
///
/// # Errors
/// As [`read`]; also if they are no text.
pub(super) fn read_bytes<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Problem> {
    read(utf8(bytes)?)
}

/// The text of a body.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| Problem::bad_request("malformed-json", error.to_string()))
}

fn fault(text: &str, error: &serde_json::Error) -> Problem {
    let told = error.to_string();
    let code = match () {
        () if told.starts_with("unknown field") => "unknown-field",
        () if told.starts_with("missing field") => "missing-field",
        () if told.starts_with("duplicate field") => "duplicate-field",
        () if error.is_data() => "wrong-type",
        () => "malformed-json",
    };
    if code != "wrong-type" {
        return Problem::bad_request(code, told);
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let plain = told.strip_suffix(&place).unwrap_or(&told);
    let words = match plain.split_once(", expected ") {
        Some((given, must)) => {
            let given = given.strip_prefix("invalid value: ").or(given.strip_prefix("invalid type: ")).unwrap_or(given);
            let given = given.replace("sequence", "a list").replace("map", "an object");
            format!("must be {}, not {given}", wanted(must))
        }
        None => plain.to_owned(),
    };
    match member(text, error.line(), error.column()) {
        Some(field) => Problem::bad_request(code, format!("{field}: {words}{place}")).with("field", json!(field)),
        None => Problem::bad_request(code, format!("{words}{place}")),
    }
}

/// What a member must be, for people.
fn wanted(type_name: &str) -> &str {
    match type_name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "a borrowed string" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// The member that a reader had come to at this place: `jobs[3].cores`.
fn member(text: &str, line: usize, column: usize) -> Option<String> {
    let before: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let read = text.as_bytes().get(..before.saturating_add(column).min(text.len()))?;
    // Each level is a key, or a number in a list.
    let mut levels: Vec<(String, Option<usize>)> = Vec::new();
    let (mut at, mut word) = (0, String::new());
    while let Some(byte) = read.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let from = at;
                while read.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if read[at] == b'\\' { 2 } else { 1 };
                }
                word = String::from_utf8_lossy(read.get(from..at.min(read.len()))?).into_owned();
                at += 1;
            }
            b':' => levels.last_mut()?.0 = std::mem::take(&mut word),
            b'{' => levels.push((String::new(), None)),
            b'[' => levels.push((String::new(), Some(0))),
            b'}' | b']' if at < read.len() => drop(levels.pop()),
            b',' => match levels.last_mut()? {
                (_, Some(number)) => *number += 1,
                (key, None) => key.clear(),
            },
            _ => {}
        }
    }
    // A list or an object that is itself what should not be there has just begun.
    if matches!(read.last(), Some(b'[' | b'{')) {
        levels.pop();
    }
    let path = levels.into_iter().fold(String::new(), |path, (key, number)| match number {
        Some(number) => format!("{path}[{number}]"),
        None if path.is_empty() || key.is_empty() => path + &key,
        None => format!("{path}.{key}"),
    });
    (!path.is_empty()).then(|| path.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only how it is read is looked at")]
    struct Body {
        name: String,
        #[serde(default)]
        cores: u32,
        #[serde(default)]
        parts: Vec<Part>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only how it is read is looked at")]
    struct Part {
        id: String,
        #[serde(default)]
        seq: u64,
    }

    #[test]
    fn a_fault_names_its_member_and_nothing_of_ours() {
        for (text, code, field, says) in [
            (
                r#"{"name": "a", "cores": -1}"#,
                "wrong-type",
                "cores",
                "must be a whole number, 0 or more, not integer `-1`",
            ),
            ("{\"name\": \"a\",\n \"cores\": \"x\"}", "wrong-type", "cores", "at line 2"),
            (r#"{"name": 7}"#, "wrong-type", "name", "must be text"),
            (r#"{"name": ["b"]}"#, "wrong-type", "name", "not a list"),
            (r#"{"name": {"b": 1}}"#, "wrong-type", "name", "not an object"),
            (
                r#"{"name": "a\"b,", "parts": [{"id": "x"}, {"id": "y", "seq": -2}]}"#,
                "wrong-type",
                "parts[1].seq",
                "-2",
            ),
            (r#"{"name": "a", "parts": 3}"#, "wrong-type", "parts", "must be a list"),
            ("[]", "wrong-type", "", "must be a JSON object"),
            ("7", "wrong-type", "", "must be a JSON object"),
            (r#"{"name": "a", "x": 1}"#, "unknown-field", "", "`x`"),
            ("{}", "missing-field", "", "`name`"),
            (r#"{"name": "a""#, "malformed-json", "", "line 1"),
            ("", "malformed-json", "", ""),
        ] {
            let told = read::<Body>(text).expect_err(text).document();
            let detail = told["detail"].as_str().unwrap_or_default();
            assert_eq!(
                (told["code"].as_str(), told["field"].as_str().unwrap_or("")),
                (Some(code), field),
                "{text}: {told}"
            );
            assert!(detail.contains(says), "{text}: {told}");
            for ours in ["struct", "u32", "u64", "enum", "variant", "sequence"] {
                assert!(!detail.contains(ours), "{text}: {told}");
            }
        }
    }
}
