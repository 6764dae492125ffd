//! Budgets.

use serde::{Deserialize, Serialize};

/// Budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetRules {
    /// The file with them (TOML), read again when it changes; empty for none.
    pub file: String,
}
