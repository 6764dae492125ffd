//! How a card names a file of slots.

use std::ops::Range;

use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::card_file::{CARBON_MAX, Files, PRICE_MAX};
use super::series::{Format, Series};
use super::values::{Reader, Value};
use crate::money::NANO;

/// A kind of series: the key that names it, its columns with their units, its bounds.
pub(super) struct SeriesKind {
    key: &'static str,
    columns: &'static [(&'static str, i64)],
    bounds: (i64, i64),
}

/// Prices: billionths per kWh.
pub(super) const PRICE: SeriesKind = SeriesKind {
    key: "series",
    columns: &[("price_per_kwh", NANO), ("price_per_mwh", NANO / 1000)],
    bounds: (-PRICE_MAX, PRICE_MAX),
};

/// Carbon intensities: milligrams per kWh.
pub(super) const CARBON: SeriesKind =
    SeriesKind { key: "carbon_series", columns: &[("carbon_g_per_kwh", 1000)], bounds: (0, CARBON_MAX) };

/// What the card says of a file.
pub(super) struct SeriesDraft {
    at: Range<usize>,
    file: String,
    start: Option<String>,
    value: Option<String>,
    per: Option<(Range<usize>, String)>,
    step: Option<i32>,
    timezone: Option<TimeZone>,
    with_gaps: bool,
}

impl Reader<'_> {
    /// A file's name, or a table that says more of it.
    pub(super) fn series_draft(&mut self, key: &str, value: &Value<'_>) -> Option<SeriesDraft> {
        let mut draft = SeriesDraft {
            at: value.span(),
            file: String::new(),
            start: None,
            value: None,
            per: None,
            step: None,
            timezone: None,
            with_gaps: false,
        };
        let DeValue::Table(entries) = value.get_ref() else {
            draft.file = self.text(key, value)?;
            return Some(draft);
        };
        for (name, value) in entries {
            let key = name.get_ref().as_ref();
            match key {
                "file" => draft.file = self.text(key, value).unwrap_or_default(),
                "start" => draft.start = self.text(key, value),
                "value" => draft.value = self.text(key, value),
                "timezone" => draft.timezone = self.timezone(key, value),
                "per" => draft.per = self.word(key, value, &["kWh", "MWh"]).map(|word| (value.span(), word)),
                "step" => {
                    let word = self.word(key, value, &["15m", "30m", "1h"]);
                    draft.step = word.map(|word| match &*word {
                        "15m" => 1,
                        "30m" => 2,
                        _ => 4,
                    });
                }
                "gaps" => {
                    let word = self.word(key, value, &["refused", "unpriced"]);
                    draft.with_gaps = word.as_deref() == Some("unpriced");
                }
                _ => {
                    let known = "known are file, start, value, per, step, timezone, gaps";
                    self.fault(name.span(), key, format!("unknown key; {known}"));
                }
            }
        }
        if !entries.iter().any(|(name, _)| name.get_ref() == "file") {
            self.fault(value.span(), "file", format!("is missing in {key}"));
        }
        Some(draft)
    }

    fn word(&mut self, key: &str, value: &Value<'_>, words: &[&str]) -> Option<String> {
        let text = self.text(key, value)?;
        if !words.contains(&&*text) {
            self.fault(value.span(), key, format!("must be one of {}", words.join(", ")));
            return None;
        }
        Some(text)
    }

    /// Reads the file that a card names.
    pub(super) fn series(
        &mut self,
        draft: &SeriesDraft,
        kind: &SeriesKind,
        tz: Option<&TimeZone>,
        files: &mut Files<'_>,
    ) -> Option<Series> {
        if draft.file.is_empty() {
            return None;
        }
        if let Some((at, _)) = draft.per.as_ref().filter(|_| draft.value.is_none() || kind.columns.len() < 2) {
            self.fault(at.clone(), "per", "goes with `value`, the name of a column of prices");
            return None;
        }
        let text = files(&draft.file).map_err(|why| self.fault(draft.at.clone(), kind.key, why)).ok()?;
        let stated = draft.per.as_ref().map(|(_, per)| if per == "MWh" { NANO / 1000 } else { NANO });
        // Carbon has one unit only.
        let only = Some(kind.columns).filter(|columns| columns.len() == 1).map(|columns| columns[0].1);
        let format = Format {
            file: &draft.file,
            start: draft.start.as_deref().unwrap_or("start"),
            value: draft.value.as_deref(),
            known: kind.columns,
            scale: stated.or(only),
            tz: draft.timezone.as_ref().or(tz),
            step: draft.step,
            with_gaps: draft.with_gaps,
            bounds: kind.bounds,
        };
        Series::read(&text, &format).map_err(|faults| self.faults.extend(faults)).ok()
    }
}
