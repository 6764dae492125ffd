//! The question behind a view of the dashboard.

use meter::SECOND_NS;

use crate::http::problem::Problem;
use crate::query::Params;

/// A stretch of time up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Range {
    /// An hour.
    Hour,
    /// A day, which is what is shown if nothing is said.
    Day,
    /// A week.
    Week,
    /// 30 days.
    Month,
}

impl Range {
    /// Every range, from the shortest.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// As a window of the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["1h", "24h", "7d", "30d"][self as usize]
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        ["1 hour", "24 hours", "7 days", "30 days"][self as usize]
    }

    /// As the query of an address; nothing for the one that is shown if nothing is said.
    #[must_use]
    pub fn query(self) -> String {
        if self == Self::Day { String::new() } else { format!("?range={}", self.word()) }
    }

    /// The one that the parameter `range` names.
    ///
    /// # Errors
    /// A 400 problem that lists them.
    pub fn read(params: &Params) -> Result<Self, Problem> {
        let word = params.one_of("range", &["24h", "1h", "7d", "30d"])?;
        Ok(Self::ALL.into_iter().find(|one| one.word() == word).unwrap_or(Self::Day))
    }

    /// Its length.
    #[must_use]
    pub const fn ns(self) -> i64 {
        [1, 24, 7 * 24, 30 * 24][self as usize] * 3600 * SECOND_NS
    }
}

/// The question behind a view: range, keys, filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The window.
    pub range: Range,
    /// A comma list of keys.
    pub by: String,
    /// What counts.
    pub filter: String,
    /// What the course over time is divided by; empty for nothing.
    pub along: &'static str,
}
