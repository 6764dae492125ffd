//! The records of an append as one byte string.
//!
//! Records of one context resemble their predecessors, so each is written as its difference to the
//! one before it in the same context. Format, version 1:
//! ```text
//! pack     = context count · (context id (8 bytes, little-endian) · units)… · record count · record…
//! units    = time unit + 4 · counter unit          unit 0, 1, 2, 3: multiples of 1, 10^3, 10^6, 10^9
//! record   = 2 · context's place + (1 if a shape follows) · [shape] · signed second difference of time · value…
//! shape    = run count · (devices skipped · devices · tag)…            else: the shape of the one before
//! value    = what the tag says: signed difference of power · signed second difference of counter · refusal;
//!            00 for a sample that holds nothing
//! ```
//! A summary or a mark is packed as a record without samples. Behind the records may follow, each at most once and in
//! this order, what most appends do not have:
//! ```text
//! summaries = 01 · count · (record's place · length · canonical bytes)…
//! live      = 02 · count · (length · canonical bytes)…
//! marks     = 03 · count · (record's place · length · canonical bytes)…
//! ```
//! Differences are taken modulo 2^64, so that any value has an encoding and none overflows. Each
//! sample costs at least a byte: a short string cannot become a large one in memory.

use meter::{Microjoules, Milliwatts, Record, Sample};

use crate::leb::{Reader, put, zigzag};
use crate::record::{COUNTER, POWER, REFUSED, decode_record, encode_record, refusal, tag_of};
use crate::{CONTEXTS_MAX, DEVICES_MAX, LIVE_MAX, RECORDS_MAX, SAMPLES_MAX, WireError, weight};

/// What may follow the records.
const SUMMARIES: u8 = 1;
const LIVE: u8 = 2;
const MARKS: u8 = 3;

/// The units that times and counters are counted in: most clocks are read in µs or ms, NVML counts mJ.
const UNITS: [u64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// What a context's next record is compared with. Both ends keep the same.
#[derive(Default)]
struct Past {
    id: u64,
    at_unit: u64,
    counter_unit: u64,
    at: u64,
    at_step: u64,
    /// Device and tag of each sample of the last record.
    shape: Vec<(u16, u8)>,
    /// By device.
    values: Vec<Values>,
}

#[derive(Clone, Copy, Default)]
struct Values {
    power: u64,
    counter: u64,
    counter_step: u64,
}

/// Appends the packed form of `records`, and of those that only show the present.
pub(crate) fn pack(records: &[Record], live: &[Record], into: &mut Vec<u8>) -> Result<(), WireError> {
    WireError::cap("records of an append", records.len(), RECORDS_MAX)?;
    WireError::cap("records of the present", live.len(), LIVE_MAX)?;
    let mut pasts = survey(records)?;
    put(pasts.len() as u64, into);
    for past in &pasts {
        into.extend_from_slice(&past.id.to_le_bytes());
        into.push(place(&UNITS, past.at_unit) | place(&UNITS, past.counter_unit) << 2);
    }
    put(records.len() as u64, into);
    let mut last = 0;
    for record in records {
        if pasts[last].id != record.context {
            last = pasts.iter().position(|past| past.id == record.context).unwrap_or(0);
        }
        pack_record(record, last, &mut pasts[last], into)?;
    }
    pack_whole(SUMMARIES, records, |record| record.summary.is_some(), into);
    if !live.is_empty() {
        into.push(LIVE);
        put(live.len() as u64, into);
        live.iter().for_each(|record| put_whole(record, into));
    }
    pack_whole(MARKS, records, |record| record.mark.is_some(), into);
    Ok(())
}

/// Records that hold more than samples, as a section of their own.
fn pack_whole(section: u8, records: &[Record], is_one: impl Fn(&Record) -> bool, into: &mut Vec<u8>) {
    let whole = || records.iter().enumerate().filter(|(_, record)| is_one(record));
    let count = whole().count();
    if count == 0 {
        return;
    }
    into.push(section);
    put(count as u64, into);
    for (place, record) in whole() {
        put(place as u64, into);
        put_whole(record, into);
    }
}

fn put_whole(record: &Record, into: &mut Vec<u8>) {
    let bytes = encode_record(record);
    put(bytes.len() as u64, into);
    into.extend_from_slice(&bytes);
}

fn place(units: &[u64; 4], unit: u64) -> u8 {
    units.iter().position(|&one| one == unit).unwrap_or(0) as u8
}

/// The contexts in use, in order of appearance, with the largest units that divide all their values.
fn survey(records: &[Record]) -> Result<Vec<Past>, WireError> {
    let mut pasts: Vec<Past> = Vec::new();
    for record in records {
        let known = pasts.iter().rposition(|past| past.id == record.context);
        let past = match known {
            Some(place) => &mut pasts[place],
            None => {
                WireError::cap("contexts of an append", pasts.len() + 1, CONTEXTS_MAX)?;
                pasts.push(Past { id: record.context, at_unit: UNITS[3], counter_unit: UNITS[3], ..Past::default() });
                let end = pasts.len() - 1;
                &mut pasts[end]
            }
        };
        past.at_unit = dividing(past.at_unit, record.at);
        for counter in record.samples.iter().filter_map(|sample| sample.counter) {
            past.counter_unit = dividing(past.counter_unit, counter.0);
        }
    }
    Ok(pasts)
}

/// The largest unit, at most `unit`, of which `value` is a multiple.
fn dividing(mut unit: u64, value: u64) -> u64 {
    while unit > 1 && !value.is_multiple_of(unit) {
        unit /= 1000;
    }
    unit
}

fn pack_record(record: &Record, place: usize, past: &mut Past, into: &mut Vec<u8>) -> Result<(), WireError> {
    let same = record.samples.len() == past.shape.len()
        && !past.shape.is_empty()
        && record
            .samples
            .iter()
            .zip(&past.shape)
            .all(|(sample, &(device, tag))| (sample.device, tag_of(sample)) == (device, tag));
    put(2 * place as u64 + u64::from(!same), into);
    if !same {
        past.reshape(record.samples.iter().map(|sample| (sample.device, tag_of(sample))))?;
        put_shape(&past.shape, into);
    }
    let at = record.at / past.at_unit;
    let step = at.wrapping_sub(past.at);
    put(zigzag(step.wrapping_sub(past.at_step).cast_signed()), into);
    (past.at, past.at_step) = (at, step);
    for sample in &record.samples {
        let values = &mut past.values[usize::from(sample.device)];
        if let Some(Milliwatts(power)) = sample.power {
            put(zigzag(power.wrapping_sub(values.power).cast_signed()), into);
            values.power = power;
        }
        if let Some(Microjoules(counter)) = sample.counter {
            let counter = counter / past.counter_unit;
            let step = counter.wrapping_sub(values.counter);
            put(zigzag(step.wrapping_sub(values.counter_step).cast_signed()), into);
            (values.counter, values.counter_step) = (counter, step);
        }
        if let Some(reason) = sample.refused {
            into.push(reason as u8);
        }
        if tag_of(sample) == 0 {
            into.push(0);
        }
    }
    Ok(())
}

/// Writes a shape as runs of neighbouring devices with the same tag.
fn put_shape(shape: &[(u16, u8)], into: &mut Vec<u8>) {
    let follows = |a: &(u16, u8), b: &(u16, u8)| a.0 + 1 == b.0 && a.1 == b.1;
    put(shape.chunk_by(follows).count() as u64, into);
    let mut next = 0;
    for run in shape.chunk_by(follows) {
        put(u64::from(run[0].0 - next), into);
        put(run.len() as u64, into);
        into.push(run[0].1);
        next = run[run.len() - 1].0 + 1;
    }
}

impl Past {
    /// Takes over a new shape, checking that devices ascend within bounds.
    fn reshape(&mut self, shape: impl Iterator<Item = (u16, u8)>) -> Result<(), WireError> {
        self.shape.clear();
        let mut next = 0;
        for (device, tag) in shape {
            WireError::cap("the index of a device", usize::from(device), DEVICES_MAX - 1)?;
            if device < next {
                return Err(WireError::Malformed("devices out of order"));
            }
            next = device + 1;
            self.shape.push((device, tag));
        }
        if self.values.len() < usize::from(next) {
            self.values.resize(usize::from(next), Values::default());
        }
        Ok(())
    }
}

/// Reads packed records, and those that only show the present. `budget` is how many samples the post
/// may still hold; it is lowered.
pub(crate) fn unpack(bytes: &[u8], budget: &mut usize) -> Result<(Vec<Record>, Vec<Record>), WireError> {
    let mut reader = Reader::new(bytes);
    let mut pasts = Vec::new();
    for _ in 0..reader.count("contexts of an append", CONTEXTS_MAX)? {
        let id = u64::from_le_bytes(reader.array()?);
        let units = reader.byte()?;
        if units > 0b1111 {
            return Err(WireError::Malformed("unknown units"));
        }
        let unit = |place: u8| UNITS[usize::from(place & 0b11)];
        pasts.push(Past { id, at_unit: unit(units), counter_unit: unit(units >> 2), ..Past::default() });
    }
    let count = reader.count("records of an append", RECORDS_MAX)?;
    // A record is at least two bytes: a false count cannot reserve more than the bytes could fill.
    let mut records = Vec::with_capacity(count.min(reader.left() / 2));
    for _ in 0..count {
        records.push(unpack_record(&mut reader, &mut pasts, budget)?);
    }
    let mut live = Vec::new();
    let mut last = 0;
    while reader.left() > 0 {
        let left = reader.left();
        let section = reader.byte()?;
        if section <= last {
            return Err(WireError::LeftOver(left));
        }
        last = section;
        match section {
            SUMMARIES => unpack_whole(&mut reader, &mut records, |record| record.summary.is_some(), budget)?,
            MARKS => unpack_whole(&mut reader, &mut records, |record| record.mark.is_some(), budget)?,
            LIVE => {
                for _ in 0..reader.count("records of the present", LIVE_MAX)? {
                    live.push(whole(&mut reader, budget)?);
                }
            }
            _ => return Err(WireError::Malformed("an unknown section")),
        }
    }
    Ok((records, live))
}

/// Puts records that hold more than samples in the places that were left for them.
fn unpack_whole(
    reader: &mut Reader<'_>,
    records: &mut [Record],
    is_one: impl Fn(&Record) -> bool,
    budget: &mut usize,
) -> Result<(), WireError> {
    for _ in 0..reader.count("summaries or marks of an append", RECORDS_MAX)? {
        let place = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
        let record = whole(reader, budget)?;
        let stub = records.get_mut(place).ok_or(WireError::Malformed("a summary or mark of no record"))?;
        let fits = is_one(&record) && *stub == Record { summary: None, mark: None, ..record.clone() };
        if !fits {
            return Err(WireError::Malformed("a summary or mark of another record"));
        }
        *stub = record;
    }
    Ok(())
}

/// A record in its canonical bytes, with their length in front.
fn whole(reader: &mut Reader<'_>, budget: &mut usize) -> Result<Record, WireError> {
    let length = reader.count("bytes of a record", crate::BODY_MAX)?;
    let record = decode_record(reader.bytes(length)?)?;
    spend(budget, weight(&record))?;
    Ok(record)
}

fn spend(budget: &mut usize, samples: usize) -> Result<(), WireError> {
    let (got, max) = (SAMPLES_MAX + 1, SAMPLES_MAX);
    *budget = budget.checked_sub(samples).ok_or(WireError::TooMany { what: "samples of a post", got, max })?;
    Ok(())
}

fn unpack_record(reader: &mut Reader<'_>, pasts: &mut [Past], budget: &mut usize) -> Result<Record, WireError> {
    let head = reader.number()?;
    let place = usize::try_from(head / 2).unwrap_or(usize::MAX);
    let past = pasts.get_mut(place).ok_or(WireError::Malformed("an undeclared context"))?;
    if head % 2 == 1 {
        read_shape(reader, past)?;
    } else if past.shape.is_empty() {
        return Err(WireError::Malformed("a record without shape"));
    }
    spend(budget, past.shape.len())?;
    past.at_step = past.at_step.wrapping_add(reader.signed()?.cast_unsigned());
    past.at = past.at.wrapping_add(past.at_step);
    let at = past.at.checked_mul(past.at_unit).ok_or(WireError::Malformed("an instant beyond 64 bits"))?;
    if reader.left() < past.shape.len() {
        return Err(WireError::Truncated);
    }
    let mut samples = Vec::with_capacity(past.shape.len());
    for &(device, tag) in &past.shape {
        let mut sample = Sample { device, ..Sample::default() };
        let values = &mut past.values[usize::from(device)];
        if tag & POWER != 0 {
            values.power = values.power.wrapping_add(reader.signed()?.cast_unsigned());
            sample.power = Some(Milliwatts(values.power));
        }
        if tag & COUNTER != 0 {
            values.counter_step = values.counter_step.wrapping_add(reader.signed()?.cast_unsigned());
            values.counter = values.counter.wrapping_add(values.counter_step);
            let counter = values.counter.checked_mul(past.counter_unit);
            sample.counter = Some(Microjoules(counter.ok_or(WireError::Malformed("a counter beyond 64 bits"))?));
        }
        if tag & REFUSED != 0 {
            sample.refused = Some(refusal(reader)?);
        }
        if tag == 0 && reader.byte()? != 0 {
            return Err(WireError::Malformed("an empty sample with content"));
        }
        samples.push(sample);
    }
    Ok(Record { context: past.id, at, samples, ..Record::default() })
}

fn read_shape(reader: &mut Reader<'_>, past: &mut Past) -> Result<(), WireError> {
    let runs = reader.count("runs of a shape", DEVICES_MAX)?;
    let mut shape = Vec::new();
    let mut next = 0;
    for _ in 0..runs {
        let first = next + reader.count("the index of a device", DEVICES_MAX - 1)?;
        let length = reader.count("samples of a record", DEVICES_MAX)?;
        let tag = reader.byte()?;
        if tag > POWER | COUNTER | REFUSED {
            return Err(WireError::Malformed("an unknown sample tag"));
        }
        next = first + length;
        WireError::cap("the index of a device", next, DEVICES_MAX)?;
        shape.extend((first..next).map(|device| (device as u16, tag)));
    }
    past.reshape(shape.into_iter())
}
