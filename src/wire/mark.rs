//! Marks in canonical bytes.
//!
//! ```text
//! mark       = 00 · allocation | 01 · id | 02                     begins | ends | a cut
//! allocation = id · user · account · count · (key · value)… · count · device… · cores · cores of the machine
//! text       = length · UTF-8
//! ```
//! Labels ascend by key and devices by name, each once.

use std::sync::Arc;

use meter::job::{CORES_MAX, JOB_DEVICES_MAX, JOB_NAME_MAX, check_job_name};
use meter::key::DEVICE_MAX;
use meter::reading::{LABEL_KEY_MAX, LABEL_VALUE_MAX, LABELS_MAX};
use meter::{Allocation, Labels, Mark};

use crate::WireError;
use crate::leb::{Reader, put};

const START: u8 = 0;
const STOP: u8 = 1;
const CUT: u8 = 2;

/// What is said of a mark that no encoder writes.
const MALFORMED: WireError = WireError::Malformed("a mark that cannot be one");

/// Appends a mark.
pub(crate) fn encode_mark(mark: &Mark, into: &mut Vec<u8>) {
    match mark {
        Mark::Start(allocation) => {
            into.push(START);
            encode_allocation(allocation, into);
        }
        Mark::Stop(id) => {
            into.push(STOP);
            put_text(id, into);
        }
        Mark::Cut => into.push(CUT),
    }
}

fn encode_allocation(allocation: &Allocation, into: &mut Vec<u8>) {
    for text in [&allocation.id, &allocation.user, &allocation.account] {
        put_text(text, into);
    }
    put(allocation.labels.len() as u64, into);
    for text in allocation.labels.iter().flat_map(|(key, value)| [key, value]) {
        put_text(text, into);
    }
    put(allocation.devices.len() as u64, into);
    allocation.devices.iter().for_each(|device| put_text(device, into));
    put(u64::from(allocation.cores), into);
    put(u64::from(allocation.cores_of), into);
}

fn put_text(text: &str, into: &mut Vec<u8>) {
    put(text.len() as u64, into);
    into.extend_from_slice(text.as_bytes());
}

/// Reads a mark; everything in it is checked.
pub(crate) fn decode_mark(reader: &mut Reader<'_>) -> Result<Mark, WireError> {
    match reader.byte()? {
        START => decode_allocation(reader).map(|allocation| Mark::Start(Arc::new(allocation))),
        STOP => {
            let id = text(reader, JOB_NAME_MAX)?;
            check_job_name("id", id, 1).map_err(|_| MALFORMED)?;
            Ok(Mark::Stop(id.into()))
        }
        CUT => Ok(Mark::Cut),
        _ => Err(WireError::Malformed("an unknown kind of mark")),
    }
}

fn decode_allocation(reader: &mut Reader<'_>) -> Result<Allocation, WireError> {
    let [id, user, account] =
        [text(reader, JOB_NAME_MAX)?, text(reader, JOB_NAME_MAX)?, text(reader, JOB_NAME_MAX)?].map(Into::into);
    let mut labels = Labels::new();
    for _ in 0..reader.count("labels of a job", LABELS_MAX)? {
        let (key, value) = (text(reader, LABEL_KEY_MAX)?, text(reader, LABEL_VALUE_MAX)?);
        let is_next = labels.last_key_value().is_none_or(|(last, _)| &last[..] < key);
        if !is_next {
            return Err(WireError::Malformed("labels of a job out of order"));
        }
        labels.insert(key.into(), value.into());
    }
    let count = reader.count("devices of a job", JOB_DEVICES_MAX)?;
    // A name is at least two bytes.
    let mut devices: Vec<Arc<str>> = Vec::with_capacity(count.min(reader.left() / 2));
    for _ in 0..count {
        let device = text(reader, DEVICE_MAX)?;
        if devices.last().is_some_and(|last| &**last >= device) {
            return Err(WireError::Malformed("devices of a job out of order"));
        }
        devices.push(device.into());
    }
    let [cores, cores_of] = [cores(reader)?, cores(reader)?];
    Allocation { id, user, account, labels, devices, cores, cores_of }.checked().map_err(|_| MALFORMED)
}

fn cores(reader: &mut Reader<'_>) -> Result<u32, WireError> {
    let cores = reader.count("cores of a machine", CORES_MAX as usize)?;
    u32::try_from(cores).map_err(|_| MALFORMED)
}

fn text<'a>(reader: &mut Reader<'a>, max: usize) -> Result<&'a str, WireError> {
    let length = reader.count("bytes of a job's text", max)?;
    str::from_utf8(reader.bytes(length)?).map_err(|_| WireError::Malformed("a text that is not UTF-8"))
}

/// What a mark counts for under [`crate::SAMPLES_MAX`].
pub(crate) fn mark_weight(mark: &Mark) -> usize {
    match mark {
        Mark::Start(allocation) => 1 + allocation.labels.len() + allocation.devices.len(),
        Mark::Stop(_) | Mark::Cut => 1,
    }
}
