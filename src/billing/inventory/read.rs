//! Reading inventory files.
//!
//! CSV: a header row; one of `host`, `chassis`, `meter` names the owner (host patterns such as
//! `node[001-128]` stand for many); `cluster`, `valid_from`, `valid_to` (exclusive), `in_service`,
//! `retired`, `alias_of` are optional; with `host`, the column `chassis` says where the host sits.
//! Every other column is a label. An empty cell says nothing. Lines that begin with `#` are comments.
//! JSON: Prometheus file_sd; see [`super::file_sd`].

use std::collections::BTreeSet;
use std::path::Path;

use super::row::{COLUMNS, Cells, Rows};
use super::{Fault, Inventory, InventoryError, file_sd};

/// Largest file read: a million rows of 256 bytes.
const FILE_MAX: u64 = 256 << 20;

/// What is said of a file in which nothing is.
const EMPTY: &str = "the file is empty: a header alone (host,site) or [] says that nothing is in it, and to have no \
                     inventory leave files.inventory empty";

/// Reads a file; its first character tells JSON from CSV.
///
/// # Errors
/// [`InventoryError`] with everything that is wrong with it.
pub fn inventory_file(path: &Path) -> Result<Inventory, InventoryError> {
    let file = path.display().to_string();
    let unreadable = |what: String| InventoryError { file: file.clone(), faults: vec![Fault::new(0, "", what)] };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_MAX {
        return Err(unreadable(format!("{size} bytes; {FILE_MAX} are the most")));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    inventory(&file, &bytes)
}

/// Reads an inventory from memory; `file` is only its name, for messages.
///
/// # Errors
/// As [`inventory_file`].
pub fn inventory(file: &str, bytes: &[u8]) -> Result<Inventory, InventoryError> {
    let wrong = |faults| InventoryError { file: file.into(), faults };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}'),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() as u64;
            return Err(wrong(vec![Fault::new(line, "", "not UTF-8")]));
        }
    };
    if text.trim().is_empty() {
        // Emptied by accident, or cut off by a full disk: every label and date would be gone at once.
        return Err(wrong(vec![Fault::new(0, "", EMPTY)]));
    }
    let rows = if text.trim_start().starts_with(['[', '{']) { file_sd::rows(text) } else { csv_rows(text) };
    rows.finish().map_err(wrong)
}

/// The rows of a CSV file.
fn csv_rows(text: &str) -> Rows {
    let mut rows = Rows::default();
    let mut reader =
        csv::ReaderBuilder::new().comment(Some(b'#')).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => {
            rows.faults.push(Fault::new(1, "", error.to_string()));
            return rows;
        }
    };
    check_header(&header, &mut rows);
    if !rows.faults.is_empty() {
        return rows;
    }
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                rows.faults.push(Fault::new(line, "", error.to_string()));
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != header.len() {
            let what = format!("{} cells where the header has {}", record.len(), header.len());
            rows.faults.push(Fault::new(line, "", what));
            continue;
        }
        let cells: Cells<'_> = header.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty()).collect();
        rows.add(line, &cells);
    }
    rows
}

/// A header needs a column that names owners, and no column twice.
fn check_header(header: &csv::StringRecord, rows: &mut Rows) {
    let mut seen = BTreeSet::new();
    for column in header {
        if column.is_empty() {
            rows.faults.push(Fault::new(1, "", "a column without a name"));
        } else if !seen.insert(column) {
            rows.faults.push(Fault::new(1, column, "named twice"));
        }
    }
    if !COLUMNS[..3].iter().any(|column| seen.contains(column)) {
        rows.faults.push(Fault::new(1, "", "none of the columns host, chassis, meter"));
    }
}
