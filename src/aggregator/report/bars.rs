//! Groups side by side: what each used and costs, the largest first.

use cost::{Answer, Row};

use super::charts::shown;
use crate::page::words::{self, Figure};
use crate::page::{costs_of, width};

/// Most groups that are shown.
const GROUPS_MAX: usize = 12;

/// Groups side by side.
#[derive(Debug)]
pub struct Bars {
    pub(super) title: &'static str,
    pub(super) key: String,
    pub(super) rows: Vec<BarRow>,
    pub(super) more: usize,
}

/// One group.
#[derive(Debug)]
pub struct BarRow {
    pub(super) name: String,
    pub(super) energy: Figure,
    pub(super) costs: Vec<String>,
    pub(super) share: String,
    pub(super) bar: String,
}

impl Bars {
    /// The groups of an answer by `key`; nothing where there are none.
    pub(super) fn of(title: &'static str, key: &str, answer: &Answer) -> Option<Self> {
        let mut rows: Vec<&Row> = answer.rows.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.energy_uj));
        let largest = rows.first()?.energy_kwh;
        let total = answer.total.energy_kwh;
        let row = |row: &&Row| BarRow {
            name: shown(row.value(key)).to_owned(),
            energy: words::energy(row.energy_kwh),
            costs: costs_of(row),
            share: words::percent(row.energy_kwh, total),
            bar: width(row.energy_kwh, largest),
        };
        Some(Self {
            title,
            key: key.to_owned(),
            more: rows.len().saturating_sub(GROUPS_MAX),
            rows: rows.iter().take(GROUPS_MAX).map(row).collect(),
        })
    }
}
