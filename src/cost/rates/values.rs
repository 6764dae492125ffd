//! Values of a card's TOML: each is read strictly, each fault has its line and key.

use std::borrow::Cow;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use meter::time::SLOT_NS;
use meter::{Slot, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use toml::Spanned;
use toml::de::DeValue;

use crate::error::{Fault, shortened};
use crate::window::{instant, zone};

/// A key with its value.
pub(super) type Entry<'a, 'i> = (&'a Spanned<Cow<'i, str>>, &'a Spanned<DeValue<'i>>);
/// A value with its place.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// A card while it is read.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) faults: Vec<Fault>,
}

impl Reader<'_> {
    /// The line of a place in the text, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1
    }

    pub(super) fn fault(&mut self, at: Range<usize>, key: &str, problem: impl Into<String>) {
        let line = self.line(at.start);
        self.faults.push(Fault { file: None, line, key: key.into(), problem: problem.into() });
    }

    /// Text in quotes, not empty.
    pub(super) fn text(&mut self, key: &str, value: &Value<'_>) -> Option<String> {
        match value.get_ref().as_str().map(str::trim) {
            Some("") => self.fault(value.span(), key, "is empty; leave the key out instead"),
            Some(text) => return Some(text.to_owned()),
            None => {
                let kind = value.get_ref().type_str();
                self.fault(value.span(), key, format!("must be text in quotes, not {kind}"));
            }
        }
        None
    }

    /// A decimal in whole `1/scale`s between `low` and `high`, both included.
    pub(super) fn decimal(&mut self, key: &str, value: &Value<'_>, scale: i64, low: i64, high: i64) -> Option<i64> {
        let read = match value.get_ref() {
            DeValue::String(text) => exact(text, scale, low, high),
            DeValue::Integer(whole) => exact(whole.as_str(), scale, low, high),
            DeValue::Float(float) => Err(format!(
                "write it in quotes, \"{}\": a TOML float is binary and would be another amount than the one you read",
                float.as_str()
            )),
            other => Err(format!("must be a decimal number in quotes, not {}", other.type_str())),
        };
        read.map_err(|problem| self.fault(value.span(), key, problem)).ok()
    }

    /// A text with commas, or a list of texts and numbers: its items with their places.
    pub(super) fn items(&mut self, key: &str, value: &Value<'_>) -> Vec<(Range<usize>, String)> {
        let mut items = Vec::new();
        let mut take = |value: &Value<'_>| match value.get_ref() {
            DeValue::String(text) => {
                items.extend(text.split(',').map(|item| (value.span(), item.trim().to_lowercase())));
                true
            }
            DeValue::Integer(whole) => {
                items.push((value.span(), whole.as_str().to_owned()));
                true
            }
            DeValue::Datetime(date) => {
                items.push((value.span(), date.to_string()));
                true
            }
            _ => false,
        };
        let is_good = match value.get_ref() {
            DeValue::Array(list) => list.iter().all(&mut take),
            _ => take(value),
        };
        if !is_good {
            self.fault(value.span(), key, "must be text such as \"mon-fri\", or a list of such texts");
        } else if items.is_empty() {
            self.fault(value.span(), key, "is empty; leave the key out instead");
        }
        items
    }

    pub(super) fn timezone(&mut self, key: &str, value: &Value<'_>) -> Option<TimeZone> {
        let text = self.text(key, value)?;
        let zone = zone(&text).ok();
        if zone.is_none() {
            let problem = format!("{:?} is no IANA time zone such as Europe/Paris", shortened(&text));
            self.fault(value.span(), key, problem);
        }
        zone
    }

    /// The text of a date or instant, which is read when the zone is known.
    pub(super) fn moment(&mut self, key: &str, value: &Value<'_>) -> Option<(Range<usize>, String)> {
        let text = match value.get_ref() {
            DeValue::Datetime(at) => Some(at.to_string()),
            _ => self.text(key, value),
        };
        text.map(|text| (value.span(), text))
    }

    /// The slot of what [`Self::moment`] read.
    pub(super) fn slot(&mut self, key: &str, moment: Option<(Range<usize>, String)>, tz: &TimeZone) -> Option<Slot> {
        let (at, text) = moment?;
        border(&text, tz).map_err(|problem| self.fault(at, key, problem)).ok()
    }
}

/// A decimal in whole `1/scale`s between `low` and `high`, both included.
pub(super) fn exact(text: &str, scale: i64, low: i64, high: i64) -> Result<i64, String> {
    let value = Decimal::from_str_exact(text.trim())
        .map_err(|_| format!("{:?} is no decimal number such as \"0.2150\"", shortened(text)))?;
    if value < Decimal::from(low) || value > Decimal::from(high) {
        return Err(format!("{value} is not between {low} and {high}"));
    }
    let scaled = value * Decimal::from(scale);
    if !scaled.fract().is_zero() {
        return Err(format!("{value} has more than {} decimals", scale.ilog10()));
    }
    scaled.to_i64().ok_or_else(|| format!("{value} is out of range"))
}

/// The slot that something begins or ends with: a date (the day's start in `tz`), or an instant.
fn border(text: &str, tz: &TimeZone) -> Result<Slot, String> {
    let text = text.trim();
    let from_civil = |at: DateTime| at.to_zoned(tz.clone()).ok().and_then(|at| instant(&at));
    let at = if text.len() == 10 {
        text.parse::<Date>().ok().and_then(|date| crate::window::day_start(date, tz))
    } else if let Ok(at) = text.parse::<Timestamp>() {
        i64::try_from(at.as_nanosecond()).ok().map(Utc)
    } else {
        text.parse::<DateTime>().ok().and_then(from_civil)
    };
    let at =
        at.ok_or_else(|| format!("{:?} is no date such as 2026-01-01 and no RFC 3339 instant", shortened(text)))?;
    if at.0.rem_euclid(SLOT_NS) != 0 {
        return Err(format!("{text} is not on a quarter of an hour: prices change at 00, 15, 30 or 45"));
    }
    Ok(at.slot())
}
