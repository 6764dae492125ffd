//! The rate card's TOML: every fault is found, with its line and key.

use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use meter::time::SLOT_NS;
use meter::{Slot, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::currency::Currency;
use crate::error::{Fault, shortened};
use crate::money::{MICRO, NANO};
use crate::rates::Rate;
use crate::window::{instant, zone};

const KEYS: &str = "site, currency, price_per_kwh, pue, carbon_g_per_kwh, valid_from, timezone";

/// Most of a currency per kWh: beyond the dearest in the weakest currency, and far from overflow.
const PRICE_MAX: i64 = 1_000_000;
/// Highest PUE: beyond any plant.
const PUE_MAX: i64 = 10;
/// Highest carbon intensity in g/kWh: five times the worst lignite.
const CARBON_MAX: i64 = 10_000;

type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// The rates of a card, or all its faults.
pub(crate) fn read(text: &str) -> Result<Vec<Rate>, Vec<Fault>> {
    let mut reader = Reader { text, faults: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().unwrap_or(0..0);
        reader.fault(at, "", error.message().to_owned());
    }
    let mut rates = Vec::new();
    if reader.faults.is_empty() {
        for entry in document.get_ref() {
            reader.top(entry, &mut rates);
        }
        reader.refuse_doubles(&rates);
    }
    reader.faults.sort_by_key(|fault| fault.line);
    if reader.faults.is_empty() { Ok(rates) } else { Err(reader.faults) }
}

struct Reader<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

/// The values of one `[[rate]]` as they are found.
#[derive(Default)]
struct Draft {
    site: Option<String>,
    currency: Option<Currency>,
    price_nano: Option<i64>,
    pue_micro: Option<i64>,
    carbon_milligrams: Option<i64>,
    timezone: Option<TimeZone>,
    valid_from: Option<(Range<usize>, String)>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1
    }

    fn fault(&mut self, at: Range<usize>, key: &str, problem: impl Into<String>) {
        let line = self.line(at.start);
        self.faults.push(Fault { line, key: key.into(), problem: problem.into() });
    }

    fn top(&mut self, (key, value): Entry<'_, '_>, rates: &mut Vec<Rate>) {
        let name = key.get_ref().as_ref();
        let Some(tables) = value.get_ref().as_array().filter(|_| name == "rate") else {
            let hint =
                if name == "rate" { "write [[rate]], one block per rate" } else { "unknown key; known is [[rate]]" };
            self.fault(key.span(), name, hint);
            return;
        };
        for table in tables.iter() {
            match table.get_ref().as_table() {
                Some(entries) => rates.extend(self.rate(table.span(), entries)),
                None => self.fault(table.span(), "rate", "write [[rate]], one block per rate"),
            }
        }
    }

    fn rate(&mut self, at: Range<usize>, entries: &DeTable<'_>) -> Option<Rate> {
        let before = self.faults.len();
        let mut draft = Draft::default();
        for entry in entries {
            self.entry(entry, &mut draft);
        }
        let given = |key: &str| entries.iter().any(|(name, _)| name.get_ref() == key);
        for key in ["currency", "price_per_kwh"] {
            if !given(key) {
                self.fault(at.clone(), key, "is missing in this [[rate]]");
            }
        }
        let tz = draft.timezone.unwrap_or(TimeZone::UTC);
        let valid_from = draft.valid_from.and_then(|(at, text)| {
            let slot = valid_from(&text, &tz);
            slot.map_err(|problem| self.fault(at, "valid_from", problem)).ok()
        });
        if self.faults.len() > before {
            return None;
        }
        Some(Rate {
            site: draft.site,
            currency: draft.currency?,
            price_nano: draft.price_nano?,
            pue_micro: draft.pue_micro.unwrap_or(MICRO),
            carbon_milligrams: draft.carbon_milligrams,
            valid_from,
            line: self.line(at.start),
        })
    }

    fn entry(&mut self, (key, value): Entry<'_, '_>, draft: &mut Draft) {
        let name = key.get_ref().as_ref();
        match name {
            "price_per_kwh" => draft.price_nano = self.decimal(name, value, NANO, 0, PRICE_MAX),
            "pue" => draft.pue_micro = self.decimal(name, value, MICRO, 1, PUE_MAX),
            "carbon_g_per_kwh" => draft.carbon_milligrams = self.decimal(name, value, 1000, 0, CARBON_MAX),
            "site" => {
                draft.site = self.text(name, value);
                if draft.site.as_deref() == Some("") {
                    self.fault(
                        value.span(),
                        name,
                        "is empty; leave the key out for every site without a rate of its own",
                    );
                }
            }
            "currency" => {
                let Some(code) = self.text(name, value) else { return };
                draft.currency = Currency::new(&code);
                if draft.currency.is_none() {
                    let problem =
                        format!("{:?} is no ISO 4217 code: three capital letters such as EUR", shortened(&code));
                    self.fault(value.span(), name, problem);
                }
            }
            "timezone" => {
                let Some(text) = self.text(name, value) else { return };
                match zone(&text) {
                    Ok(tz) => draft.timezone = Some(tz),
                    Err(_) => {
                        let problem = format!("{:?} is no IANA time zone such as Europe/Paris", shortened(&text));
                        self.fault(value.span(), name, problem);
                    }
                }
            }
            "valid_from" => {
                let text = match value.get_ref() {
                    DeValue::Datetime(at) => Some(at.to_string()),
                    _ => self.text(name, value),
                };
                draft.valid_from = text.map(|text| (value.span(), text));
            }
            _ => self.fault(key.span(), name, format!("unknown key; known are {KEYS}")),
        }
    }

    fn text(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.fault(value.span(), key, format!("must be text in quotes, not {}", value.get_ref().type_str()));
        }
        text
    }

    /// A decimal in whole `1/scale`s between `low` and `high`, both included.
    fn decimal(&mut self, key: &str, value: &Spanned<DeValue<'_>>, scale: i64, low: i64, high: i64) -> Option<i64> {
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

    fn refuse_doubles(&mut self, rates: &[Rate]) {
        for (index, rate) in rates.iter().enumerate() {
            let twin =
                rates[..index].iter().find(|other| (&other.site, other.valid_from) == (&rate.site, rate.valid_from));
            if let Some(twin) = twin {
                let problem = format!("is for the same site and valid_from as the one at line {}", twin.line);
                self.faults.push(Fault { line: rate.line, key: "rate".into(), problem });
            }
        }
    }
}

fn exact(text: &str, scale: i64, low: i64, high: i64) -> Result<i64, String> {
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

/// The slot that a rate begins with: a date (the day's start in `tz`), or an instant.
fn valid_from(text: &str, tz: &TimeZone) -> Result<Slot, String> {
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
