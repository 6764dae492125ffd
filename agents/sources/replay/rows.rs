//! One recorded file: header, rows, and which of them are wanted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use flate2::read::MultiGzDecoder;
use meter::{AccountKey, DeviceDecl, Microjoules, Milliwatts, Owner, OwnerKind, Refusal, Sample, Scope};

use super::{ReplayError, ReplayOptions};

/// One reading as it stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) at_ns: u64,
    pub(super) owner: Owner,
    pub(super) key: AccountKey,
    period_ns: Option<u64>,
    power: Option<Result<Milliwatts, Refusal>>,
    counter: Option<Result<Microjoules, Refusal>>,
    epoch: u64,
    modulus: Option<Microjoules>,
}

impl Row {
    /// Whether there is anything in it; an empty `watts` is "no reading".
    pub(super) fn has_value(&self) -> bool {
        self.power.is_some() || self.counter.is_some()
    }

    /// Writes what the row says about its device into the declaration.
    pub(super) fn declare(&self, decl: &mut DeviceDecl) {
        if self.counter.is_some() {
            (decl.epoch, decl.modulus) = (self.epoch, self.modulus);
        }
        if let Some(period_ns) = self.period_ns {
            decl.period_ns = period_ns;
        }
    }

    /// The row's values as a sample.
    pub(super) fn sample(&self, device: u16) -> Sample {
        let refused = self.power.and_then(Result::err).or(self.counter.and_then(Result::err));
        let (power, counter) = (self.power.and_then(Result::ok), self.counter.and_then(Result::ok));
        Sample { device, power, counter, refused }
    }
}

/// Where each column is.
#[derive(Default)]
struct Columns {
    ts_ms: Option<usize>,
    ts: Option<usize>,
    owners: Vec<(OwnerKind, usize)>,
    cluster: Option<usize>,
    scope: Option<usize>,
    device: Option<usize>,
    period_ms: Option<usize>,
    watts: Option<usize>,
    joules: Option<usize>,
    epoch: Option<usize>,
    wraps_at_joules: Option<usize>,
    /// Columns to select by, and the values wanted.
    wheres: Vec<(usize, Vec<String>)>,
}

/// Reads the wanted rows of one file.
pub(super) fn read_file(path: &Path, options: &ReplayOptions, into: &mut Vec<Row>) -> Result<(), ReplayError> {
    let failed = |error| ReplayError::File { file: path.into(), error };
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(open(path).map_err(failed)?);
    let csv_error = |error: csv::Error| {
        let line = error.position().map_or(1, |position| line_at(path, position.byte()));
        let what = match error.into_kind() {
            csv::ErrorKind::Io(error) => return ReplayError::File { file: path.into(), error },
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{len} values where the header names {expected_len} columns: is the line cut off?")
            }
            csv::ErrorKind::Utf8 { .. } => "not UTF-8 text: is this a CSV file?".into(),
            other => format!("{other:?}"),
        };
        ReplayError::Row { file: path.into(), line, what }
    };
    let header = reader.headers().map_err(csv_error)?.clone();
    let columns = Columns::find(&header, options).map_err(|what| {
        let columns = header.iter().collect::<Vec<_>>().join(", ");
        ReplayError::Header { file: path.into(), what, columns }
    })?;
    let mut parser = Parser { columns, host: options.host.as_deref(), owners: HashMap::new(), keys: HashMap::new() };
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(csv_error)? {
        if !parser.wanted(&record) {
            continue;
        }
        into.push(parser.row(&record).map_err(|what| {
            let line = record.position().map_or(1, |position| line_at(path, position.byte()));
            ReplayError::Row { file: path.into(), line, what }
        })?);
    }
    Ok(())
}

/// Opens a file, unpacking it if it starts as gzip does: names lie.
fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(path)?);
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// The line, counted from 1, of the record that the parser says begins at `byte`: it means the end of
/// the record before, so blank lines and half a CRLF may lie between. Only asked when there is an error.
fn line_at(path: &Path, byte: u64) -> u64 {
    let mut before = Vec::new();
    let Ok(mut file) = open(path) else { return 1 };
    // What cannot be read again here is only missing from a message.
    let _ = file.by_ref().take(byte).read_to_end(&mut before);
    let blanks = BufReader::new(file).bytes().map_while(Result::ok).take_while(|byte| matches!(byte, b'\r' | b'\n'));
    let lines = before.into_iter().chain(blanks).filter(|byte| *byte == b'\n').count();
    1 + lines as u64
}

impl Columns {
    fn find(header: &StringRecord, options: &ReplayOptions) -> Result<Self, String> {
        let mut columns = Self::default();
        for (index, name) in header.iter().enumerate() {
            let place = match name {
                "ts_ms" => &mut columns.ts_ms,
                "ts" => &mut columns.ts,
                "cluster" => &mut columns.cluster,
                "scope" => &mut columns.scope,
                "device" => &mut columns.device,
                "period_ms" => &mut columns.period_ms,
                "watts" => &mut columns.watts,
                "joules" => &mut columns.joules,
                "epoch" => &mut columns.epoch,
                "wraps_at_joules" => &mut columns.wraps_at_joules,
                name => {
                    if let Ok(kind) = name.parse() {
                        columns.owners.push((kind, index));
                    }
                    continue;
                }
            };
            if place.replace(index).is_some() {
                return Err(format!("the column {name} is there twice"));
            }
        }
        if columns.ts_ms.is_none() && columns.ts.is_none() {
            return Err("there is no column ts_ms (Unix milliseconds) or ts (RFC 3339)".into());
        }
        if columns.watts.is_none() && columns.joules.is_none() {
            return Err("there is no column watts or joules".into());
        }
        if columns.owners.is_empty() && options.host.is_none() {
            return Err("there is no column host, chassis or meter: name the host with --host NAME".into());
        }
        for (column, value) in &options.wheres {
            let index = header.iter().position(|name| name == column);
            let index = index.ok_or_else(|| format!("--where {column}={value}: there is no column {column}"))?;
            match columns.wheres.iter_mut().find(|(known, _)| *known == index) {
                Some((_, values)) => values.push(value.clone()),
                None => columns.wheres.push((index, vec![value.clone()])),
            }
        }
        Ok(columns)
    }
}

/// Turns rows into readings; names are checked once each.
struct Parser<'a> {
    columns: Columns,
    host: Option<&'a str>,
    owners: HashMap<(OwnerKind, String, String), Owner>,
    keys: HashMap<(Scope, String), AccountKey>,
}

impl Parser<'_> {
    fn wanted(&self, record: &StringRecord) -> bool {
        let value = |index| record.get(index).unwrap_or("");
        self.columns.wheres.iter().all(|(index, values)| values.iter().any(|wanted| wanted == value(*index)))
    }

    fn row(&mut self, record: &StringRecord) -> Result<Row, String> {
        let text = |index: Option<usize>| index.and_then(|index| record.get(index)).filter(|text| !text.is_empty());
        let at_ns = instant(text(self.columns.ts_ms), text(self.columns.ts))?;
        let owner = self.owner(record)?;
        let scope = text(self.columns.scope).map_or(Ok(Scope::Chassis), str::parse).map_err(|e| e.to_string())?;
        let device = text(self.columns.device).unwrap_or("");
        let key = match self.keys.get(&(scope, device.to_owned())) {
            Some(key) => key.clone(),
            None => {
                let key = AccountKey::new(scope, device).map_err(|error| format!("device: {error}"))?;
                self.keys.insert((scope, device.into()), key.clone());
                key
            }
        };
        let counter = text(self.columns.joules).map(Microjoules::from_joules_text);
        Ok(Row {
            at_ns,
            owner,
            key,
            period_ns: text(self.columns.period_ms).map(period).transpose()?,
            power: text(self.columns.watts).map(Milliwatts::from_watts_text),
            epoch: if counter.is_some() { meter::hash::epoch(text(self.columns.epoch).unwrap_or("")) } else { 0 },
            counter,
            modulus: text(self.columns.wraps_at_joules).map(modulus).transpose()?,
        })
    }

    fn owner(&mut self, record: &StringRecord) -> Result<Owner, String> {
        let text = |index: usize| record.get(index).filter(|text| !text.is_empty());
        let mut named = self.columns.owners.iter().filter_map(|&(kind, index)| Some((kind, text(index)?)));
        let (kind, name) = match (named.next(), named.next(), self.host) {
            (Some((kind, name)), None, _) => (kind, name),
            (Some((a, first)), Some((b, second)), _) => {
                return Err(format!("names {a} {first} and {b} {second}: a reading belongs to one of them"));
            }
            (None, _, Some(host)) => (OwnerKind::Host, host),
            (None, _, None) => return Err("names no host, chassis or meter".into()),
        };
        let cluster = self.columns.cluster.and_then(text).unwrap_or("default");
        let id = (kind, cluster.to_owned(), name.to_owned());
        if let Some(owner) = self.owners.get(&id) {
            return Ok(owner.clone());
        }
        let owner = Owner::new(cluster, kind, name).map_err(|error| format!("{kind} {name:?}: {error}"))?;
        self.owners.insert(id, owner.clone());
        Ok(owner)
    }
}

/// The instant in nanoseconds since the Unix epoch.
fn instant(ts_ms: Option<&str>, ts: Option<&str>) -> Result<u64, String> {
    let ns = match (ts_ms, ts) {
        (Some(text), _) => {
            text.parse::<i128>().map_err(|_| format!("ts_ms {text:?} is not a whole number of ms"))? * 1_000_000
        }
        (None, Some(text)) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| format!("ts {text:?} is not RFC 3339, such as 2026-10-01T00:00:00Z"))?
            .as_nanosecond(),
        (None, None) => return Err("no ts_ms or ts".into()),
    };
    // Ledger time is an i64 of nanoseconds and a record's instant is not negative: 1970 to 2262.
    let possible = u64::try_from(ns).ok().filter(|&ns| i64::try_from(ns).is_ok());
    possible.ok_or_else(|| format!("{} lies outside 1970 to 2262: is it in ms?", ts_ms.or(ts).unwrap_or("")))
}

fn period(text: &str) -> Result<u64, String> {
    let ms = text.parse::<u64>().ok().filter(|&ms| ms > 0);
    let ns = ms.and_then(|ms| ms.checked_mul(1_000_000));
    ns.ok_or_else(|| format!("period_ms {text:?} is not a whole number of ms above 0"))
}

fn modulus(text: &str) -> Result<Microjoules, String> {
    let wrap = Microjoules::from_joules_text(text).ok().filter(|wrap| wrap.0 > 0);
    wrap.ok_or_else(|| format!("wraps_at_joules {text:?} is not a number above 0"))
}
