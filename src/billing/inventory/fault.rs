//! What is wrong with an inventory file, and where.

use std::fmt;

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1; 0 for the whole file.
    pub line: u64,
    /// The column's or key's name; empty if the whole line is meant.
    pub column: String,
    /// What is wrong with it.
    pub what: String,
}

/// A file that cannot be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InventoryError {
    /// The file's name.
    pub file: String,
    /// What is wrong, in the order of lines.
    pub faults: Vec<Fault>,
}

/// Most faults that are told one by one: the rest of a file that is something else helps nobody.
const TOLD_MAX: usize = 50;

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().take(TOLD_MAX).enumerate() {
            let between = if index == 0 { "" } else { "\n" };
            write!(f, "{between}{}:", self.file)?;
            if fault.line > 0 {
                write!(f, "{}:", fault.line)?;
            }
            f.write_str(" ")?;
            if !fault.column.is_empty() {
                write!(f, "{}: ", fault.column.escape_debug())?;
            }
            f.write_str(&fault.what)?;
        }
        match self.faults.len().saturating_sub(TOLD_MAX) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more", self.file),
        }
    }
}

impl Fault {
    /// A fault in one cell.
    pub(crate) fn new(line: u64, column: &str, what: impl Into<String>) -> Self {
        Self { line, column: column.into(), what: what.into() }
    }
}
