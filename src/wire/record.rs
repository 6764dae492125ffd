//! Records and contexts by themselves: canonical bytes for the spool and the digest.
//!
//! Format (numbers are LEB128 in their shortest form, signed ones zigzag):
//! ```text
//! record  = 01 · context id (8 bytes, little-endian) · at · count · sample…
//!         | 02 · context id (8 bytes, little-endian) · at · summary (see `summary`)
//!         | 03 · context id (8 bytes, little-endian) · at · mark (see `mark`)
//! sample  = device · tag · [power mW] · [counter µJ] · [refusal (1 byte)]    tag: 1 power, 2 counter, 4 refused
//! context = 01 · clock (00 | 01 boot id (16 bytes)) · signed wall offset · count · device…
//! device  = scope (1 byte) · name length · name · period ns · limit mW · (00 | 01 modulus µJ) · epoch
//! ```

use meter::hash::stable_hash;
use meter::{AccountKey, Clock, Context, DeviceDecl, Microjoules, Milliwatts, Record, Refusal, Sample, Scope};

use crate::leb::{Reader, put, zigzag};
use crate::mark::{decode_mark, encode_mark, mark_weight};
use crate::summary::{decode_summary, encode_summary};
use crate::{DEVICES_MAX, WireError};

/// The version byte of canonical bytes.
const CANONICAL: u8 = 1;
/// That of a record which is a summary.
const SUMMARY: u8 = 2;
/// That of a record which is a mark.
const MARK: u8 = 3;

/// Tag bits of a sample: what follows.
pub(crate) const POWER: u8 = 1;
pub(crate) const COUNTER: u8 = 2;
pub(crate) const REFUSED: u8 = 4;

/// The tag of a sample.
pub(crate) fn tag_of(sample: &Sample) -> u8 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(sample.power.is_some(), POWER) | bit(sample.counter.is_some(), COUNTER) | bit(sample.refused.is_some(), REFUSED)
}

/// Reads a refusal's storage number.
pub(crate) fn refusal(reader: &mut Reader<'_>) -> Result<Refusal, WireError> {
    Refusal::from_number(reader.byte()?).ok_or(WireError::Malformed("an unknown refusal"))
}

/// What a record counts for under [`crate::SAMPLES_MAX`].
#[must_use]
pub fn weight(record: &Record) -> usize {
    let summary = record.summary.as_ref().map_or(0, |summary| 4 * summary.spans.len() + summary.refused.len());
    record.samples.len() + summary + record.mark.as_ref().map_or(0, |mark| mark_weight(mark))
}

/// The canonical bytes of a record.
#[must_use]
pub fn encode_record(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + 8 * record.samples.len());
    encode_record_into(record, &mut bytes);
    bytes
}

/// Appends the canonical bytes of a record to a buffer.
pub fn encode_record_into(record: &Record, into: &mut Vec<u8>) {
    let form = match (&record.summary, &record.mark) {
        (Some(_), _) => SUMMARY,
        (None, Some(_)) => MARK,
        (None, None) => CANONICAL,
    };
    into.push(form);
    into.extend_from_slice(&record.context.to_le_bytes());
    put(record.at, into);
    if let Some(summary) = &record.summary {
        return encode_summary(summary, record.at, into);
    }
    if let Some(mark) = &record.mark {
        return encode_mark(mark, into);
    }
    put(record.samples.len() as u64, into);
    for sample in &record.samples {
        put(u64::from(sample.device), into);
        into.push(tag_of(sample));
        if let Some(power) = sample.power {
            put(power.0, into);
        }
        if let Some(counter) = sample.counter {
            put(counter.0, into);
        }
        if let Some(reason) = sample.refused {
            into.push(reason as u8);
        }
    }
}

/// Reads a record from its canonical bytes.
///
/// # Errors
/// [`WireError`] if the bytes are not exactly one record, its devices do not ascend, or it holds
/// more than [`DEVICES_MAX`] samples or [`crate::SPANS_MAX`] spans.
pub fn decode_record(bytes: &[u8]) -> Result<Record, WireError> {
    let mut reader = Reader::new(bytes);
    let form = reader.byte()?;
    if ![CANONICAL, SUMMARY, MARK].contains(&form) {
        return Err(WireError::Version(form));
    }
    let context = u64::from_le_bytes(reader.array()?);
    let at = reader.number()?;
    if form == SUMMARY {
        let summary = Some(Box::new(decode_summary(&mut reader, at)?));
        reader.finish()?;
        return Ok(Record { context, at, summary, ..Record::default() });
    }
    if form == MARK {
        let mark = Some(Box::new(decode_mark(&mut reader)?));
        reader.finish()?;
        return Ok(Record { context, at, mark, ..Record::default() });
    }
    let count = reader.count("samples of a record", DEVICES_MAX)?;
    // A sample is at least two bytes: a false count cannot reserve more than the bytes could fill.
    let mut samples = Vec::with_capacity(count.min(reader.left() / 2));
    let mut next = 0;
    for _ in 0..count {
        let sample = decode_sample(&mut reader)?;
        if usize::from(sample.device) < next {
            return Err(WireError::Malformed("devices out of order"));
        }
        next = usize::from(sample.device) + 1;
        samples.push(sample);
    }
    reader.finish()?;
    Ok(Record { context, at, samples, ..Record::default() })
}

fn decode_sample(reader: &mut Reader<'_>) -> Result<Sample, WireError> {
    let device = reader.count("the index of a device", DEVICES_MAX - 1)? as u16;
    let tag = reader.byte()?;
    if tag > POWER | COUNTER | REFUSED {
        return Err(WireError::Malformed("an unknown sample tag"));
    }
    let mut sample = Sample { device, ..Sample::default() };
    if tag & POWER != 0 {
        sample.power = Some(Milliwatts(reader.number()?));
    }
    if tag & COUNTER != 0 {
        sample.counter = Some(Microjoules(reader.number()?));
    }
    if tag & REFUSED != 0 {
        sample.refused = Some(refusal(reader)?);
    }
    Ok(sample)
}

/// The canonical bytes of a context.
#[must_use]
pub fn encode_context(context: &Context) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 + 64 * context.devices.len());
    bytes.push(CANONICAL);
    match &context.clock {
        Clock::Utc => bytes.push(0),
        Clock::Boot(boot) => {
            bytes.push(1);
            bytes.extend_from_slice(boot);
        }
    }
    put(zigzag(context.wall_offset_ns), &mut bytes);
    put(context.devices.len() as u64, &mut bytes);
    for device in &context.devices {
        bytes.push(device.key.scope as u8);
        put(device.key.device.len() as u64, &mut bytes);
        bytes.extend_from_slice(device.key.device.as_bytes());
        put(device.period_ns, &mut bytes);
        put(device.limit.0, &mut bytes);
        match device.modulus {
            None => bytes.push(0),
            Some(modulus) => {
                bytes.push(1);
                put(modulus.0, &mut bytes);
            }
        }
        put(device.epoch, &mut bytes);
    }
    bytes
}

/// Reads a context from its canonical bytes; device names are checked.
///
/// # Errors
/// [`WireError`] if the bytes are not exactly one context, or a name cannot be one.
pub fn decode_context(bytes: &[u8]) -> Result<Context, WireError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    let clock = match reader.byte()? {
        0 => Clock::Utc,
        1 => Clock::Boot(reader.array()?),
        _ => return Err(WireError::Malformed("an unknown clock")),
    };
    let wall_offset_ns = reader.signed()?;
    let count = reader.count("devices of a context", DEVICES_MAX)?;
    // A device is at least six bytes.
    let mut devices = Vec::with_capacity(count.min(reader.left() / 6));
    for _ in 0..count {
        devices.push(decode_device(&mut reader)?);
    }
    reader.finish()?;
    Ok(Context { clock, wall_offset_ns, devices })
}

fn decode_device(reader: &mut Reader<'_>) -> Result<DeviceDecl, WireError> {
    let scope = scope(reader.byte()?)?;
    let length = reader.count("bytes of a device name", meter::key::DEVICE_MAX)?;
    let name = str::from_utf8(reader.bytes(length)?).map_err(|_| WireError::Malformed("a name that is not UTF-8"))?;
    Ok(DeviceDecl {
        key: AccountKey::new(scope, name)?,
        period_ns: reader.number()?,
        limit: Milliwatts(reader.number()?),
        modulus: match reader.byte()? {
            0 => None,
            1 => Some(Microjoules(reader.number()?)),
            _ => return Err(WireError::Malformed("an unknown modulus tag")),
        },
        epoch: reader.number()?,
    })
}

/// The scope with this storage number.
pub(crate) fn scope(number: u8) -> Result<Scope, WireError> {
    Scope::ALL.get(usize::from(number)).copied().ok_or(WireError::Malformed("an unknown scope"))
}

/// The id of a context: the first 8 bytes, little-endian, of the BLAKE3 of its canonical bytes.
#[must_use]
pub fn context_id(context: &Context) -> u64 {
    stable_hash(&encode_context(context))
}

fn version(reader: &mut Reader<'_>) -> Result<(), WireError> {
    match reader.byte()? {
        CANONICAL => Ok(()),
        other => Err(WireError::Version(other)),
    }
}
