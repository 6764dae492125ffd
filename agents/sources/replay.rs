//! Recorded readings from CSV files, as records that go the same way as live ones.
//!
//! **Format.** A header row, then one reading per row; gzip is recognised by its first bytes. Columns:
//! `ts_ms` (Unix ms) or `ts` (RFC 3339); `host`, `chassis` or `meter`; optional `cluster`, `scope`
//! (`chassis` if absent), `device`, `period_ms`; `watts` and/or `joules`, with `epoch` and
//! `wraps_at_joules`. Other columns serve to select rows. Rows need not be sorted and several files
//! are merged.
//!
//! **Missing is never zero.** An empty `watts` is no reading. A value that is none (text, NaN, negative,
//! a sentinel) is passed on with the reason it is refused. A row that cannot be understood at all is
//! an error that names file and line.
//!
//! **Period.** Without `period_ms` an account's period is the median of the distances between its
//! consecutive distinct stamps, rows without reading included: they too show how often it was asked.

mod rows;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use meter::{AccountKey, Clock, Context, DeviceDecl, Milliwatts, Owner, OwnerKind, Record, Sample};

use rows::{Row, read_file};

/// What was recorded of one owner.
#[derive(Clone, Debug)]
pub struct RecordedOwner {
    /// Whose readings they are.
    pub owner: Owner,
    /// What the records refer to; more than one where a counter's epoch or modulus changed.
    pub contexts: Vec<Context>,
    /// One record per instant with every device that has a value then, in order of time. Two readings
    /// of one device at one instant are two records.
    pub records: Vec<Record>,
}

/// Which rows to take, and whose they are.
#[derive(Clone, Debug, Default)]
pub struct ReplayOptions {
    /// The host that all rows belong to, instead of what they say.
    pub host: Option<String>,
    /// Rows to take: those whose column has this value; of several values for one column, any.
    pub wheres: Vec<(String, String)>,
}

/// Why recorded readings cannot be replayed; says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file cannot be opened or read.
    #[error("{}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The header row lacks something.
    #[error("{}, line 1: {what}; the columns are: {columns}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// What is missing and what to do.
        what: String,
        /// The columns there are.
        columns: String,
    },
    /// A row cannot be understood.
    #[error("{}, line {line}: {what}", file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong and what to do.
        what: String,
    },
    /// There is nothing to replay.
    #[error("{0}")]
    Nothing(String),
    /// The rows do not fit together.
    #[error("{0}")]
    Owner(String),
}

/// Reads recorded files and arranges their readings by owner and instant.
///
/// # Errors
/// [`ReplayError`] with file and line for what cannot be understood, if no row is left, or if
/// [`ReplayOptions::host`] would pour several owners into one.
pub fn load(files: &[PathBuf], options: &ReplayOptions) -> Result<Vec<RecordedOwner>, ReplayError> {
    let mut rows = Vec::new();
    for file in files {
        read_file(file, options, &mut rows)?;
    }
    if rows.is_empty() {
        let wheres: Vec<String> = options.wheres.iter().map(|(column, value)| format!("{column}={value}")).collect();
        let which = if wheres.is_empty() { String::new() } else { format!(" with {}", wheres.join(", ")) };
        return Err(ReplayError::Nothing(format!("no row{which} in {} files", files.len())));
    }
    if let Some(host) = &options.host {
        rename(&mut rows, host)?;
    }
    let mut owners: BTreeMap<Owner, Vec<Row>> = BTreeMap::new();
    for row in rows {
        owners.entry(row.owner.clone()).or_default().push(row);
    }
    owners.into_iter().map(|(owner, rows)| arrange(owner, rows)).collect()
}

/// Gives every row to one host.
fn rename(rows: &mut [Row], host: &str) -> Result<(), ReplayError> {
    let mut named: Vec<&Owner> = rows.iter().map(|row| &row.owner).collect();
    named.sort_unstable();
    named.dedup();
    if named.len() > 1 {
        let (count, first, last) = (named.len(), named[0], named[named.len() - 1]);
        return Err(ReplayError::Owner(format!(
            "the rows belong to {count} owners ({first} … {last}) and --host {host} would pour them into one: \
             select one with --where, or leave --host out"
        )));
    }
    let cluster = rows[0].owner.cluster.clone();
    let owner = Owner::new(&cluster, OwnerKind::Host, host)
        .map_err(|error| ReplayError::Owner(format!("--host {host:?}: {error}")))?;
    for row in rows {
        row.owner = owner.clone();
    }
    Ok(())
}

/// Turns one owner's rows into contexts and records.
fn arrange(owner: Owner, mut rows: Vec<Row>) -> Result<RecordedOwner, ReplayError> {
    // Stable: rows of one instant stay in the order of the file.
    rows.sort_by_key(|row| row.at_ns);
    let medians = medians(&rows);
    let mut indices: BTreeMap<AccountKey, u16> = BTreeMap::new();
    rows.retain(Row::has_value);
    for row in &rows {
        indices.entry(row.key.clone()).or_default();
    }
    if indices.len() > wire::DEVICES_MAX {
        return Err(ReplayError::Owner(format!(
            "{owner} has {} devices and at most {} are possible: is a column missing that tells owners apart?",
            indices.len(),
            wire::DEVICES_MAX
        )));
    }
    let mut devices: Vec<DeviceDecl> = Vec::with_capacity(indices.len());
    for ((key, index), number) in indices.iter_mut().zip(0..) {
        *index = number;
        let period_ns = medians.get(key).copied().unwrap_or(0);
        devices.push(DeviceDecl { key: key.clone(), period_ns, limit: Milliwatts(0), modulus: None, epoch: 0 });
    }
    // A counter's epoch is known from its first row on; declaring it from the start saves a context.
    for row in rows.iter().rev() {
        row.declare(&mut devices[usize::from(indices[&row.key])]);
    }
    let mut builder = Builder { devices, ids: HashMap::new(), contexts: Vec::new(), records: Vec::new() };
    for instant in rows.chunk_by(|a, b| a.at_ns == b.at_ns) {
        builder.instant(instant, &indices);
    }
    Ok(RecordedOwner { owner, contexts: builder.contexts, records: builder.records })
}

/// Makes records, and a context whenever a declaration changed.
struct Builder {
    devices: Vec<DeviceDecl>,
    ids: HashMap<Vec<DeviceDecl>, u64>,
    contexts: Vec<Context>,
    records: Vec<Record>,
}

impl Builder {
    /// Books the rows of one instant: one record, or more if a device is there more than once.
    fn instant(&mut self, rows: &[Row], indices: &BTreeMap<AccountKey, u16>) {
        let mut samples: Vec<Sample> = Vec::with_capacity(rows.len());
        for row in rows {
            let device = indices[&row.key];
            if samples.iter().any(|sample| sample.device == device) {
                self.record(row.at_ns, &mut samples);
            }
            row.declare(&mut self.devices[usize::from(device)]);
            samples.push(row.sample(device));
        }
        if let Some(row) = rows.first() {
            self.record(row.at_ns, &mut samples);
        }
    }

    fn record(&mut self, at: u64, samples: &mut Vec<Sample>) {
        samples.sort_unstable_by_key(|sample| sample.device);
        let context = self.context();
        self.records.push(Record { context, at, samples: std::mem::take(samples), ..Record::default() });
    }

    fn context(&mut self) -> u64 {
        if let Some(&id) = self.ids.get(&self.devices) {
            return id;
        }
        let context = Context { clock: Clock::Utc, wall_offset_ns: 0, devices: self.devices.clone() };
        let id = wire::context_id(&context);
        self.ids.insert(self.devices.clone(), id);
        self.contexts.push(context);
        id
    }
}

/// Every account's median distance between consecutive distinct stamps, in nanoseconds. The rows are
/// in order of time.
fn medians(rows: &[Row]) -> BTreeMap<AccountKey, u64> {
    let mut stamps: BTreeMap<&AccountKey, Vec<u64>> = BTreeMap::new();
    for row in rows {
        stamps.entry(&row.key).or_default().push(row.at_ns);
    }
    let median = |stamps: &[u64]| {
        let mut steps: Vec<u64> = stamps.windows(2).map(|pair| pair[1] - pair[0]).filter(|&step| step > 0).collect();
        steps.sort_unstable();
        match steps.len() {
            0 => 0,
            n if n % 2 == 1 => steps[n / 2],
            n => steps[n / 2 - 1].midpoint(steps[n / 2]),
        }
    };
    stamps.into_iter().map(|(key, stamps)| (key.clone(), median(&stamps))).collect()
}

#[cfg(test)]
mod tests;
