//! The JSON form of a post: one owner, any number of readings.
//!
//! A body that cannot be understood is refused as a whole (400, with the place). A *reading* that
//! cannot be booked is not: it is named in the answer with its reason, and the rest goes on.
//! Numbers are taken from their text, so that none passes through a binary fraction.

use std::collections::BTreeMap;

use energy::NumberedPost;
use meter::{Id, Owner, OwnerKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body;
use super::ingest::label_fault;
use super::problem::Problem;
use super::readings::Readings;

/// Longest stream name in bytes: a UUID is 36.
const STREAM_MAX: usize = 128;

/// A post of readings: exactly one of `host`, `chassis` and `meter`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IngestBody)]
pub(super) struct IngestBody<'a> {
    /// Whose counting `seq` is: a random UUID, one per sender and owner.
    #[schema(min_length = 1, max_length = 128)]
    stream: String,
    /// Counts the stream's posts from 1 without a hole.
    #[schema(minimum = 1)]
    seq: u64,
    /// `default` if absent.
    cluster: Option<String>,
    host: Option<String>,
    chassis: Option<String>,
    meter: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    /// Recorded data, may be older than 35 days.
    import: bool,
    #[serde(borrow)]
    readings: Vec<Reading<'a>>,
}

/// A reading as it is written. Raw, because what is wrong with one must not refuse the others.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading<'a> {
    /// `chassis cpu dram gpu accelerator switch storage pdu facility other`.
    #[serde(borrow)]
    #[schema(value_type = String, required)]
    pub(crate) scope: Option<&'a RawValue>,
    /// A name that stays: a GPU UUID, `package-0`, `wall`.
    #[serde(borrow)]
    #[schema(value_type = String, required)]
    pub(crate) device: Option<&'a RawValue>,
    /// The instant in Unix milliseconds.
    #[serde(borrow)]
    #[schema(value_type = i64, required)]
    pub(crate) at_ms: Option<&'a RawValue>,
    /// Power.
    #[serde(borrow)]
    #[schema(value_type = Option<f64>)]
    pub(crate) watts: Option<&'a RawValue>,
    /// How often it is read; 60000 if absent.
    #[serde(borrow)]
    #[schema(value_type = Option<u64>)]
    pub(crate) period_ms: Option<&'a RawValue>,
    /// A counter.
    #[serde(borrow)]
    #[schema(value_type = Option<f64>)]
    pub(crate) joules: Option<&'a RawValue>,
    /// Changes when the counter begins anew.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub(crate) epoch: Option<&'a RawValue>,
    /// Where the counter wraps to 0.
    #[serde(borrow)]
    #[schema(value_type = Option<f64>)]
    pub(crate) wraps_at_joules: Option<&'a RawValue>,
}

/// Decodes and checks a body.
///
/// # Errors
/// A [`Problem`] if the body as a whole cannot be understood.
pub fn decode(bytes: &[u8]) -> Result<NumberedPost, Problem> {
    let text = body::utf8(bytes)?;
    match body::read(text) {
        Ok(body) => checked(&body, bytes),
        // Python and others write NaN and Infinity, which is no JSON. Those readings are refused, not
        // the others with them.
        Err(problem) => match quote_non_numbers(text) {
            Some(quoted) => checked(&body::read(&quoted)?, bytes),
            None => Err(problem),
        },
    }
}

fn checked(body: &IngestBody<'_>, bytes: &[u8]) -> Result<NumberedPost, Problem> {
    if body.seq == 0 {
        return Err(Problem::bad_request("bad-seq", "seq counts from 1"));
    }
    let owner = owner(body)?;
    if let Some(fault) = body.labels.as_ref().and_then(label_fault) {
        return Err(Problem::bad_request("bad-label", fault));
    }
    let mut readings = Readings::default();
    for (index, reading) in body.readings.iter().enumerate() {
        readings.add(index, reading)?;
    }
    let (context, records, unnamed) = readings.finish();
    Ok(NumberedPost {
        stream: stream_id(&body.stream)?,
        seq: body.seq,
        body: digest(bytes),
        owner,
        labels: body.labels.clone(),
        context,
        import: body.import,
        records,
        unnamed,
    })
}

fn owner(body: &IngestBody<'_>) -> Result<Owner, Problem> {
    let named = [(OwnerKind::Host, &body.host), (OwnerKind::Chassis, &body.chassis), (OwnerKind::Meter, &body.meter)];
    let mut named = named.into_iter().filter_map(|(kind, name)| name.as_ref().map(|name| (kind, name)));
    let (Some((kind, name)), None) = (named.next(), named.next()) else {
        return Err(Problem::bad_request("bad-owner", "a body has exactly one of host, chassis and meter"));
    };
    Owner::new(body.cluster.as_deref().unwrap_or("default"), kind, name)
        .map_err(|error| Problem::bad_request("bad-name", error.to_string()))
}

/// A UUID is taken as its bytes, any other name by its digest.
fn stream_id(name: &str) -> Result<Id, Problem> {
    if name.is_empty() || name.len() > STREAM_MAX {
        let detail = format!("stream must be a name of 1 to {STREAM_MAX} bytes; best is a random UUID");
        return Err(Problem::bad_request("bad-stream", detail));
    }
    let digits: String = name.chars().filter(|c| *c != '-').collect();
    let is_uuid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    match u128::from_str_radix(&digits, 16) {
        Ok(id) if is_uuid => Ok(id.to_be_bytes()),
        _ => Ok(digest(name.as_bytes())),
    }
}

/// The first 16 bytes of the BLAKE3.
fn digest(bytes: &[u8]) -> Id {
    let mut id = Id::default();
    id.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    id
}

/// Puts `NaN`, `Infinity` and `-Infinity` outside of strings into quotes; nothing if there are none.
fn quote_non_numbers(text: &str) -> Option<String> {
    let mut quoted = String::with_capacity(text.len() + 64);
    let (mut rest, mut found) = (text, false);
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        let (before, here) = rest.split_at(at);
        quoted.push_str(before);
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| here.starts_with(word));
        let length = match word {
            Some(word) => {
                found = true;
                quoted.extend(["\"", word, "\""]);
                rest = &here[word.len()..];
                continue;
            }
            None if here.starts_with('"') => string_length(here),
            None => 1,
        };
        quoted.push_str(&here[..length]);
        rest = &here[length..];
    }
    quoted.push_str(rest);
    found.then_some(quoted)
}

/// The bytes of the string literal that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
