//! Readings as a JSON client writes them, made into a context and records.

use std::borrow::Cow;
use std::collections::HashMap;

use energy::RefusedCount;
use meter::{AccountKey, Clock, Context, DeviceDecl, Microjoules, Milliwatts, Record, Refusal, Sample, Scope};
use serde_json::value::RawValue;

use super::ingest_json::Reading;
use super::problem::Problem;

/// The period of a reading that states none: what a cron job or a slow exporter does.
const PERIOD_DEFAULT_NS: u64 = 60_000_000_000;
/// Readings refused before they could be named, kept apart by name up to this many; the answer is
/// stored with the row.
const UNNAMED_MAX: usize = 256;
/// Longest part of an unusable name that is told, in characters.
const SHOWN_MAX: usize = 64;

/// The readings of one body.
#[derive(Default)]
pub(crate) struct Readings {
    keys: Vec<AccountKey>,
    index: HashMap<Scope, HashMap<String, usize>>,
    items: Vec<Item>,
    unnamed: Vec<RefusedCount>,
}

/// What one reading says of one account.
#[derive(Clone, Copy)]
struct Item {
    at: u64,
    account: usize,
    period_ns: Option<u64>,
    power: Option<Milliwatts>,
    counter: Option<Counter>,
    refused: Option<Refusal>,
}

#[derive(Clone, Copy)]
struct Counter {
    value: Microjoules,
    modulus: Option<Microjoules>,
    epoch: u64,
}

impl Readings {
    /// Takes reading number `index`.
    ///
    /// # Errors
    /// A [`Problem`] that names the reading if it has no instant or no readable period: then the
    /// client's program is wrong, not a sensor.
    pub(crate) fn add(&mut self, index: usize, reading: &Reading<'_>) -> Result<(), Problem> {
        let at_ms = instant(index, reading.at_ms)?;
        let period_ns = period(index, reading.period_ms)?;
        let (scope, device) = (text(reading.scope), text(reading.device));
        let Some(account) = self.account(&scope, &device) else {
            self.refuse_unnamed(&scope, &device, Refusal::BadName);
            return Ok(());
        };
        let Some(at) = at_ms.checked_mul(1_000_000).and_then(|ns| u64::try_from(ns).ok()) else {
            let reason = if at_ms < 0 { Refusal::TooOld } else { Refusal::FromFuture };
            self.refuse_unnamed(&scope, &device, reason);
            return Ok(());
        };
        let mut item = Item { at, account, period_ns, power: None, counter: None, refused: None };
        let mut refusals = [None; 2];
        match reading.watts.map(|watts| Milliwatts::from_watts_text(watts.get())) {
            Some(Ok(power)) => item.power = Some(power),
            Some(Err(refusal)) => refusals[0] = Some(refusal),
            None => {}
        }
        match counter(reading) {
            Some(Ok(counter)) => item.counter = Some(counter),
            Some(Err(refusal)) => refusals[1] = Some(refusal),
            None => {}
        }
        let has_value = item.power.is_some() || item.counter.is_some();
        if has_value {
            self.items.push(item);
        } else if refusals == [None; 2] {
            refusals[0] = Some(Refusal::NoValue);
        }
        for refusal in refusals.into_iter().flatten() {
            self.items.push(Item { power: None, counter: None, refused: Some(refusal), ..item });
        }
        Ok(())
    }

    fn account(&mut self, scope: &str, device: &str) -> Option<usize> {
        let scope = scope.parse::<Scope>().ok()?;
        let devices = self.index.entry(scope).or_default();
        if let Some(account) = devices.get(device) {
            return Some(*account);
        }
        self.keys.push(AccountKey::new(scope, device).ok()?);
        devices.insert(device.into(), self.keys.len() - 1);
        Some(self.keys.len() - 1)
    }

    fn refuse_unnamed(&mut self, scope: &str, device: &str, reason: Refusal) {
        let shown = |text: &str| text.chars().take(SHOWN_MAX).collect::<String>();
        let (mut scope, mut device) = (shown(scope), shown(device));
        if self.unnamed.len() >= UNNAMED_MAX {
            (scope, device) = (String::new(), "(more)".into());
        }
        let same = |count: &&mut RefusedCount| count.scope == scope && count.device == device && count.reason == reason;
        match self.unnamed.iter_mut().find(same) {
            Some(known) => known.count += 1,
            None => self.unnamed.push(RefusedCount { scope, device, reason, count: 1 }),
        }
    }

    /// The context, the records in order of time, and what could not be named.
    pub(crate) fn finish(mut self) -> (Context, Vec<Record>, Vec<RefusedCount>) {
        // Stable: two readings of one account at one instant are a step, and keep their order.
        self.items.sort_by_key(|item| (item.at, item.account));
        let mut devices = Devices { keys: &self.keys, known: HashMap::new(), declared: Vec::new() };
        let mut records: Vec<Record> = Vec::new();
        for instant in self.items.chunk_by(|one, next| one.at == next.at) {
            let first = records.len();
            for account in instant.chunk_by(|one, next| one.account == next.account) {
                for (layer, item) in merged(account).into_iter().enumerate() {
                    if first + layer == records.len() {
                        records.push(Record { context: 0, at: item.at, samples: Vec::new(), ..Record::default() });
                    }
                    let Some(device) = devices.of(&item) else { continue };
                    let counter = item.counter.map(|counter| counter.value);
                    let sample = Sample { device, power: item.power, counter, refused: item.refused };
                    records[first + layer].samples.push(sample);
                }
            }
        }
        let context = Context { clock: Clock::Utc, wall_offset_ns: 0, devices: devices.declared };
        let id = wire::context_id(&context);
        for record in &mut records {
            record.context = id;
            record.samples.sort_by_key(|sample| sample.device);
        }
        (context, records, self.unnamed)
    }
}

/// The items of one account at one instant: power and counter that complement each other are one.
fn merged(items: &[Item]) -> Vec<Item> {
    let mut merged: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        let complements = |last: &&mut Item| {
            let either = last.refused.is_none() && item.refused.is_none();
            either && last.power.is_some() != item.power.is_some() && last.counter.is_some() != item.counter.is_some()
        };
        match merged.last_mut().filter(complements) {
            Some(last) => {
                last.power = last.power.or(item.power);
                last.counter = last.counter.or(item.counter);
                last.period_ns = last.period_ns.or(item.period_ns);
            }
            None => merged.push(*item),
        }
    }
    merged
}

/// The declarations made so far.
struct Devices<'a> {
    keys: &'a [AccountKey],
    known: HashMap<(usize, u64, Option<Microjoules>, u64), u16>,
    declared: Vec<DeviceDecl>,
}

impl Devices<'_> {
    /// The index of the item's device. A body has room for fewer than 65,536.
    fn of(&mut self, item: &Item) -> Option<u16> {
        let period_ns = item.period_ns.unwrap_or(PERIOD_DEFAULT_NS);
        let (modulus, epoch) = item.counter.map_or((None, 0), |counter| (counter.modulus, counter.epoch));
        let declaration = (item.account, period_ns, modulus, epoch);
        if let Some(device) = self.known.get(&declaration) {
            return Some(*device);
        }
        let device = u16::try_from(self.declared.len()).ok()?;
        let key = self.keys[item.account].clone();
        self.declared.push(DeviceDecl { key, period_ns, limit: Milliwatts(0), modulus, epoch });
        self.known.insert(declaration, device);
        Some(device)
    }
}

fn instant(index: usize, at_ms: Option<&RawValue>) -> Result<i64, Problem> {
    let told = |what: &str| {
        let detail = format!("readings[{index}]: at_ms {what}; it is the reading's instant in whole Unix milliseconds");
        Problem::bad_request("bad-time", detail).with("reading", index.into())
    };
    let at_ms = at_ms.ok_or_else(|| told("is missing"))?.get();
    at_ms.parse().map_err(|_| told(&format!("is {}", shorten(at_ms))))
}

fn period(index: usize, period_ms: Option<&RawValue>) -> Result<Option<u64>, Problem> {
    let Some(period_ms) = period_ms.map(RawValue::get) else { return Ok(None) };
    let period_ms = period_ms.parse::<u64>().map_err(|_| {
        let detail = format!("readings[{index}]: period_ms is {}, not whole milliseconds", shorten(period_ms));
        Problem::bad_request("bad-period", detail).with("reading", index.into())
    })?;
    Ok(Some(period_ms.saturating_mul(1_000_000)))
}

fn counter(reading: &Reading<'_>) -> Option<Result<Counter, Refusal>> {
    let joules = reading.joules?;
    let modulus = reading.wraps_at_joules.map(|joules| match Microjoules::from_joules_text(joules.get()) {
        Ok(Microjoules(0)) | Err(_) => Err(Refusal::CounterNotFinite),
        Ok(modulus) => Ok(modulus),
    });
    let counter = Microjoules::from_joules_text(joules.get()).and_then(|value| {
        Ok(Counter { value, modulus: modulus.transpose()?, epoch: meter::hash::epoch(&text(reading.epoch)) })
    });
    Some(counter)
}

/// The text of a string; of a number its digits, so that `"device": 0` is device `0`.
fn text(value: Option<&RawValue>) -> Cow<'_, str> {
    let json = value.map_or("", RawValue::get);
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        Some(_) => serde_json::from_str::<String>(json).map_or(Cow::Borrowed(json), Cow::Owned),
        None => Cow::Borrowed(json),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}
