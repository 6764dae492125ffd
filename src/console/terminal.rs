//! What the terminal can show.

use std::io::{IsTerminal, stdout};

/// Width of a table where there is no terminal to fit into: nothing is cut off in a file or a pipe.
const UNBOUND: u16 = u16::MAX;

/// How text may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns to fit into.
    pub width: u16,
    /// Whether colour and bold are welcome.
    pub color: bool,
}

/// How text on the standard output may look: plain and unbound unless it is a terminal; no colour
/// where `NO_COLOR` is set and not empty, or the terminal is a dumb one.
#[must_use]
pub fn look() -> Look {
    let is_terminal = stdout().is_terminal();
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let width = if is_terminal { comfy_table::Table::new().width().unwrap_or(UNBOUND) } else { UNBOUND };
    Look { width, color: is_terminal && !is_set("NO_COLOR") && !is_dumb }
}
