//! What can be wrong with a question or a rate card, and how it is said.

use std::fmt;

use meter::hostlist::HostListError;

/// A question that cannot be answered, or a rate card that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    /// The `window` is none.
    #[error("window {text:?}: {why}")]
    Window {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The `step` is none.
    #[error("step {0:?} is none of 15m, 1h, 1d, 1mo")]
    Step(String),
    /// The `tz` is none.
    #[error("tz {0:?} is no IANA time zone such as UTC or Europe/Paris")]
    Zone(String),
    /// A key of `by` or `where` that nothing here has.
    #[error("{parameter}: there is no key {key:?}; known are {known}")]
    UnknownKey {
        /// `by` or `where`.
        parameter: &'static str,
        /// The key.
        key: String,
        /// The keys there are, separated by commas.
        known: String,
    },
    /// A term of `where` that is not `key=value` or `key!=value`.
    #[error("where: {term:?} {why}")]
    Where {
        /// The term.
        term: String,
        /// What is wrong with it.
        why: String,
    },
    /// An axis of attribution that is none.
    #[error("the axis {name:?}: {why}")]
    Axis {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A host list or pattern that cannot be read.
    #[error(transparent)]
    HostList(#[from] HostListError),
    /// A rate card with faults, in the order of the file.
    #[error("{}", list(.0))]
    Rates(Vec<Fault>),
    /// A foreign tariff that cannot be converted.
    #[error("this tariff cannot be converted: {0}")]
    Tariff(String),
    /// Usage of a slot outside the window that was asked for: a fault of the caller.
    #[error("usage of the slot {0} lies outside the window")]
    OutsideWindow(i32),
    /// More rows than an answer may have.
    #[error("the answer would have more than {0} rows: ask for a longer step, a shorter window or fewer keys in by")]
    TooManyRows(usize),
    /// A statement that is kept cannot be read.
    #[error("a statement cannot be read: {0}")]
    Statement(String),
    /// A figure could not be written.
    #[error("failed to write the answer: {0}")]
    Write(String),
}

impl CostError {
    /// A stable code for `application/problem+json`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Window { .. } => "bad-window",
            Self::Step(_) => "bad-step",
            Self::Zone(_) => "bad-tz",
            Self::UnknownKey { .. } => "unknown-key",
            Self::Where { .. } => "bad-where",
            Self::Axis { .. } => "bad-axis",
            Self::HostList(_) => "bad-host-list",
            Self::Rates(_) => "bad-rates",
            Self::Tariff(_) => "bad-tariff",
            Self::TooManyRows(_) => "too-many-rows",
            Self::OutsideWindow(_) | Self::Statement(_) | Self::Write(_) => "internal",
        }
    }

    /// The parameter of the question that is at fault, if one is.
    #[must_use]
    pub const fn parameter(&self) -> Option<&'static str> {
        match self {
            Self::Window { .. } => Some("window"),
            Self::Step(_) | Self::TooManyRows(_) => Some("step"),
            Self::Zone(_) => Some("tz"),
            Self::UnknownKey { parameter, .. } => Some(parameter),
            Self::Where { .. } | Self::HostList(_) => Some("where"),
            Self::Axis { .. }
            | Self::Rates(_)
            | Self::Tariff(_)
            | Self::OutsideWindow(_)
            | Self::Statement(_)
            | Self::Write(_) => None,
        }
    }
}

/// One fault of a configuration text: where and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file that it is in, where that is not the one that was given.
    pub file: Option<String>,
    /// The line, from 1; 0 where it is not known.
    pub line: usize,
    /// The key, or empty.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

/// The first characters of a text that a stranger sent, for a message.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
