//! One row of an inventory, whatever format it came in: cells become owners, dates and labels.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use meter::reading::{LABELS_MAX, label_key_is_valid, label_value_is_valid};
use meter::{Labels, Owner, OwnerKind, Utc};

use super::{ALWAYS, Entry, Fault, Inventory, Span};

/// Column names with a meaning of their own; every other column is a label.
pub const COLUMNS: [&str; 9] =
    ["host", "chassis", "meter", "cluster", "valid_from", "valid_to", "in_service", "retired", "alias_of"];

/// Names that a query or a metric uses already, so that no label may have them.
const RESERVED: [&str; 9] = ["host", "chassis", "meter", "cluster", "kind", "scope", "device", "gen", "reason"];

/// In the column `chassis`: the host sits in none.
const NO_CHASSIS: &str = "-";

/// Most owners that one file may name: ten times the largest fleet known.
const OWNERS_MAX: usize = 1_000_000;

/// Collects rows, and everything that is wrong with them.
#[derive(Default)]
pub(super) struct Rows {
    entries: BTreeMap<Owner, Entry>,
    pub(super) faults: Vec<Fault>,
}

/// The cells of one row by column; empty cells are left out.
pub(super) type Cells<'a> = BTreeMap<&'a str, &'a str>;

/// What a row says, apart from whom it is about.
struct Said {
    span: Span,
    in_service: Option<Utc>,
    retired: Option<Utc>,
    alias_of: Option<Owner>,
    sits_alone: bool,
}

impl Rows {
    /// Takes one row in.
    pub(super) fn add(&mut self, line: u64, cells: &Cells<'_>) {
        let before = self.faults.len();
        let cluster = cells.get("cluster").copied().unwrap_or("default");
        let owners = self.owners(line, cluster, cells);
        let said = self.said(line, cluster, cells);
        if self.faults.len() > before {
            return;
        }
        for owner in owners {
            self.place(owner, &said);
        }
    }

    /// The whole inventory, or everything that is wrong.
    pub(super) fn finish(mut self) -> Result<Inventory, Vec<Fault>> {
        let chains: Vec<Fault> = self.entries.iter().filter_map(|(owner, entry)| self.chained(owner, entry)).collect();
        self.faults.extend(chains);
        if !self.faults.is_empty() {
            self.faults.sort_by_key(|fault| fault.line);
            return Err(self.faults);
        }
        Ok(Inventory { entries: self.entries, ..Inventory::default() })
    }

    /// An alias of an alias would make the name shown depend on the order of look-ups.
    fn chained(&self, owner: &Owner, entry: &Entry) -> Option<Fault> {
        let line = entry.spans.first().map_or(0, |span| span.line);
        let alias = entry.alias_of.as_ref()?;
        if alias == owner {
            return Some(Fault::new(line, "alias_of", format!("{} is an alias of itself", owner.name)));
        }
        if entry.spans.iter().any(|span| span.chassis.is_some()) {
            return Some(Fault::new(line, "chassis", format!("{} is an alias: say it of {}", owner.name, alias.name)));
        }
        let further = self.entries.get(alias)?.alias_of.as_ref()?;
        let what = format!("{} is itself an alias of {}; name that", alias.name, further.name);
        Some(Fault::new(line, "alias_of", what))
    }

    /// Whom the row is about. With `host`, the column `chassis` says where the host sits.
    fn owners(&mut self, line: u64, cluster: &str, cells: &Cells<'_>) -> Vec<Owner> {
        let kinds = OwnerKind::ALL.into_iter().filter_map(|kind| Some((kind, *cells.get(kind.word())?)));
        let named: Vec<(OwnerKind, &str)> = kinds.collect();
        let (kind, pattern) = match named[..] {
            [(kind, name)] | [(kind @ OwnerKind::Host, name), (OwnerKind::Chassis, _)] => (kind, name),
            [] => return self.fault(line, "host", "names no host, chassis or meter".into()),
            _ => return self.fault(line, "meter", "a row is about one owner, but names two".into()),
        };
        let names = match cost::expand(pattern) {
            Ok(names) => names,
            Err(error) => return self.fault(line, kind.word(), error.to_string()),
        };
        if self.entries.len() + names.len() > OWNERS_MAX {
            return self.fault(line, kind.word(), format!("more than {OWNERS_MAX} owners"));
        }
        let owners: Result<Vec<Owner>, _> = names.iter().map(|name| Owner::new(cluster, kind, name)).collect();
        owners.unwrap_or_else(|error| self.fault(line, kind.word(), error.to_string()))
    }

    /// What the row says.
    fn said(&mut self, line: u64, cluster: &str, cells: &Cells<'_>) -> Said {
        let valid = self.time(line, cells, "valid_from").unwrap_or(ALWAYS.start)
            ..self.time(line, cells, "valid_to").unwrap_or(ALWAYS.end);
        let (in_service, retired) = (self.time(line, cells, "in_service"), self.time(line, cells, "retired"));
        for (column, start, end) in
            [("valid_to", Some(valid.start), Some(valid.end)), ("retired", in_service, retired.or(Some(ALWAYS.end)))]
        {
            if start.zip(end).is_some_and(|(start, end)| start >= end) {
                self.faults.push(Fault::new(line, column, "ends before it begins"));
            }
        }
        let host = cells.get("host").filter(|_| cells.contains_key("chassis")).map(|_| OwnerKind::Chassis);
        let sits_alone = host.is_some() && cells.get("chassis") == Some(&NO_CHASSIS);
        let chassis = host.filter(|_| !sits_alone).and_then(|kind| self.other(line, cluster, kind, "chassis", cells));
        let kind = OwnerKind::ALL.into_iter().find(|kind| cells.contains_key(kind.word()));
        let alias_of = self.other(line, cluster, kind.unwrap_or(OwnerKind::Host), "alias_of", cells);
        let labels = self.labels(line, cells).into();
        Said { span: Span { valid, labels, chassis, line }, in_service, retired, alias_of, sits_alone }
    }

    /// Another owner that a cell names.
    fn other(&mut self, line: u64, cluster: &str, kind: OwnerKind, column: &str, cells: &Cells<'_>) -> Option<Owner> {
        let owner = Owner::new(cluster, kind, cells.get(column)?);
        owner.map_err(|error| self.faults.push(Fault::new(line, column, error.to_string()))).ok()
    }

    /// The labels: every column that has no meaning of its own.
    fn labels(&mut self, line: u64, cells: &Cells<'_>) -> Labels {
        let mut labels = Labels::new();
        for (&key, &value) in cells.iter().filter(|(key, _)| !COLUMNS.contains(key)) {
            if !label_key_is_valid(key) || RESERVED.contains(&key) {
                self.faults.push(Fault::new(line, key, "cannot be used as a label"));
            } else if !label_value_is_valid(value) {
                self.faults.push(Fault::new(
                    line,
                    key,
                    "the value is longer than 256 bytes or holds control characters",
                ));
            } else {
                labels.insert(key.into(), value.into());
            }
        }
        if labels.len() > LABELS_MAX {
            self.faults.push(Fault::new(line, "", format!("{} labels; {LABELS_MAX} are allowed", labels.len())));
        }
        labels
    }

    /// The instant in a cell, if there is one.
    fn time(&mut self, line: u64, cells: &Cells<'_>, column: &str) -> Option<Utc> {
        let text = cells.get(column)?;
        let at = instant(text);
        if at.is_none() {
            let what = format!("{text:?} is neither a date (2026-10-01, from midnight UTC) nor RFC 3339");
            self.faults.push(Fault::new(line, column, what));
        }
        at
    }

    /// Adds what a row says to one owner, unless it contradicts an earlier row.
    fn place(&mut self, owner: Owner, said: &Said) {
        let line = said.span.line;
        let entry = self.entries.entry(owner.clone()).or_default();
        let overlaps = |span: &&Span| span.valid.start < said.span.valid.end && said.span.valid.start < span.valid.end;
        if let Some(other) = entry.spans.iter().find(overlaps) {
            let what = format!("{} already has a row for this time, at line {}", owner.name, other.line);
            return self.faults.push(Fault::new(line, owner.kind.word(), what));
        }
        let at = entry.spans.partition_point(|span| span.valid.start < said.span.valid.start);
        entry.spans.insert(at, said.span.clone());
        entry.sits_alone |= said.sits_alone;
        let agree = [
            ("in_service", merge(&mut entry.in_service, &said.in_service)),
            ("retired", merge(&mut entry.retired, &said.retired)),
            ("alias_of", merge(&mut entry.alias_of, &said.alias_of)),
        ];
        for (column, _) in agree.iter().filter(|(_, agrees)| !agrees) {
            self.faults.push(Fault::new(line, column, format!("differs from an earlier row of {}", owner.name)));
        }
    }

    fn fault<T>(&mut self, line: u64, column: &str, what: String) -> Vec<T> {
        self.faults.push(Fault::new(line, column, what));
        Vec::new()
    }
}

/// Takes over what a row says; whether it agrees with what earlier rows said.
fn merge<T: Clone + PartialEq>(known: &mut Option<T>, said: &Option<T>) -> bool {
    match (known.as_ref(), said) {
        (_, None) => true,
        (Some(known), Some(said)) => known == said,
        (None, Some(said)) => {
            *known = Some(said.clone());
            true
        }
    }
}

/// A date (its midnight in UTC) or an RFC 3339 instant.
fn instant(text: &str) -> Option<Utc> {
    let timestamp: Timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        // Only the plain form: jiff would also take 20261001, which is as likely a serial number.
        Err(_) if text.len() == 10 => text.parse::<Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
        Err(_) => return None,
    };
    i64::try_from(timestamp.as_nanosecond()).ok().map(Utc)
}
