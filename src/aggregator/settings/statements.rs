//! How months close, and who bills.

use serde::{Deserialize, Serialize};

/// How months close, and who bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Statements {
    /// The name under which energy is billed, in FOCUS files and on reports.
    pub issuer: String,
    /// The day of the next month on which a month closes by itself; 0 for never.
    pub close_after_day: u32,
    /// A month closes if readings cover at least this share of the time they were expected for, in percent.
    pub coverage_min_percent: u32,
    /// For how many months after its own a closed month is looked at for adjustments.
    pub adjust_months: u32,
}

impl Default for Statements {
    fn default() -> Self {
        Self { issuer: "wattledger".into(), close_after_day: 5, coverage_min_percent: 99, adjust_months: 12 }
    }
}
