//! Summaries in canonical bytes.
//!
//! ```text
//! summary = span count · span… · refusal count · (device · reason (1 byte) · count)…
//! span    = device · tag · from · length · [power mW] · [counter µJ] · [power mW] · [counter µJ]
//!           · energy (counter) · energy (integrated) · readings
//! energy  = µJ · half picojoules beyond them
//! ```
//! `from` is how long before the record's instant the span begins, `length` its length, both in
//! nanoseconds. Tag: 1 power and 2 counter at its beginning, 4 power and 8 counter at its end.

use meter::{Energy, MICROJOULE, Microjoules, Milliwatts, Reading, Span, Summary};

use crate::leb::{Reader, put};
use crate::record::refusal;
use crate::{DEVICES_MAX, SPANS_MAX, WireError};

/// Every tag bit.
const TAGS: u8 = 0b1111;

/// Appends a summary whose record is dated `at`.
pub(crate) fn encode_summary(summary: &Summary, at: u64, into: &mut Vec<u8>) {
    put(summary.spans.len() as u64, into);
    for span in &summary.spans {
        put(u64::from(span.device), into);
        into.push(tag(&span.from) | tag(&span.to) << 2);
        put(at.wrapping_sub(span.from.at), into);
        put(span.to.at.wrapping_sub(span.from.at), into);
        for reading in [&span.from, &span.to] {
            reading.power.into_iter().for_each(|power| put(power.0, into));
            reading.counter.into_iter().for_each(|counter| put(counter.0, into));
        }
        put_energy(span.counter, into);
        put_energy(span.integrated, into);
        put(span.readings, into);
    }
    put(summary.refused.len() as u64, into);
    for (device, reason, count) in &summary.refused {
        put(u64::from(*device), into);
        into.push(*reason as u8);
        put(*count, into);
    }
}

fn tag(reading: &Reading) -> u8 {
    u8::from(reading.power.is_some()) | u8::from(reading.counter.is_some()) << 1
}

/// No span reaches 2^64 µJ: that is 5 GWh of one device.
fn put_energy(energy: Energy, into: &mut Vec<u8>) {
    put(u64::try_from(energy.microjoules()).unwrap_or(0), into);
    put(u64::try_from(energy.0.rem_euclid(MICROJOULE)).unwrap_or(0), into);
}

/// Reads a summary whose record is dated `at`.
pub(crate) fn decode_summary(reader: &mut Reader<'_>, at: u64) -> Result<Summary, WireError> {
    let count = reader.count("spans of a record", SPANS_MAX)?;
    // A span is at least nine bytes: a false count cannot reserve more than the bytes could fill.
    let mut spans: Vec<Span> = Vec::with_capacity(count.min(reader.left() / 9));
    for _ in 0..count {
        let span = decode_span(reader, at)?;
        if spans.last().is_some_and(|last| (last.device, last.to.at) > (span.device, span.from.at)) {
            return Err(WireError::Malformed("spans out of order"));
        }
        spans.push(span);
    }
    let count = reader.count("refusals of a record", SPANS_MAX)?;
    let mut refused = Vec::with_capacity(count.min(reader.left() / 3));
    for _ in 0..count {
        refused.push((device(reader)?, refusal(reader)?, reader.number()?));
    }
    Ok(Summary { spans, refused })
}

fn decode_span(reader: &mut Reader<'_>, at: u64) -> Result<Span, WireError> {
    let device = device(reader)?;
    let tag = reader.byte()?;
    if tag > TAGS || tag & 0b11 == 0 || tag & 0b1100 == 0 {
        return Err(WireError::Malformed("an unknown span tag"));
    }
    let outside = WireError::Malformed("a span outside its record");
    let from = at.checked_sub(reader.number()?).ok_or(outside.clone())?;
    let to = from.checked_add(reader.number()?).filter(|to| *to <= at).ok_or(outside)?;
    let from = reading(reader, from, tag)?;
    let to = reading(reader, to, tag >> 2)?;
    let (counter, integrated) = (energy(reader)?, energy(reader)?);
    let readings = reader.number()?;
    let is_instant = from.at == to.at;
    if is_instant && (from != to || counter != Energy::ZERO || integrated != Energy::ZERO) {
        return Err(WireError::Malformed("energy in no time"));
    }
    Ok(Span { device, from, to, counter, integrated, readings })
}

fn device(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    Ok(reader.count("the index of a device", DEVICES_MAX - 1)? as u16)
}

fn reading(reader: &mut Reader<'_>, at: u64, tag: u8) -> Result<Reading, WireError> {
    let power = if tag & 1 != 0 { Some(Milliwatts(reader.number()?)) } else { None };
    let counter = if tag & 2 != 0 { Some(Microjoules(reader.number()?)) } else { None };
    Ok(Reading { at, power, counter })
}

fn energy(reader: &mut Reader<'_>) -> Result<Energy, WireError> {
    let (microjoules, rest) = (reader.number()?, i128::from(reader.number()?));
    if rest >= MICROJOULE {
        return Err(WireError::Malformed("an energy with idle parts"));
    }
    Ok(Energy(Energy::from_microjoules(microjoules).0 + rest))
}
