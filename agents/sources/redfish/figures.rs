//! Which figure of a chassis is its meter, and how it is read again.
//!
//! One figure per meter, in this order:
//! 1. `EnvironmentMetrics`: the energy counter if it is fine enough, and the power beside it;
//! 2. the legacy `Power`: the first `PowerControl` that is about the whole chassis;
//! 3. `PowerSubsystem`: what goes into each power supply, as parts;
//! 4. the legacy `Power`: what goes into each power supply, as parts.
//!
//! What a supply gives out is never a meter: 4 to 15 % are lost in it.

use meter::{Microjoules, Milliwatts, Refusal, hash};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::document::{Document, is_path};
use crate::sources::file::device_name;

/// Fewest digits behind the point of a counter that books: it then moves in steps of at most 3.6 kJ. A step
/// of 0.01 kWh is what an idle server draws in minutes, and would fall into the wrong slot.
const DECIMALS_MIN: u32 = 3;

/// The longest average that is preferred to a present value, in seconds: a longer one comes so late that
/// energy falls into the wrong slot, and to the wrong job.
const AVERAGE_MAX_S: u64 = 60;

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What an IPMI sensor of 16 bits says that has no value.
const WORD_OF_ONES: Milliwatts = Milliwatts(65_535_000);

/// A way into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A field of an object.
    Field(&'static str),
    /// The item of a list with this `MemberId`; where items have none, the item at this place.
    Member(Option<String>, usize),
}

/// Where a device's values stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gauge {
    /// The device's name behind that of its meter: empty for the meter itself, `psu-1` for a part.
    pub(super) part: String,
    /// The resource.
    pub(super) path: String,
    pub(super) power: Option<Vec<Step>>,
    pub(super) counter: Option<Vec<Step>>,
    /// A counter that was too coarse when it was looked at.
    pub(super) coarse: Option<Vec<Step>>,
    /// Since when the counter counts, as it says itself.
    pub(super) since: Option<String>,
    /// How often there is a new value, in nanoseconds; zero if it does not say.
    pub(super) period_ns: u64,
    /// Another resource that tells how often.
    pub(super) sensor: Option<String>,
    /// What it is, for people.
    pub(super) about: String,
}

/// Values of one device; nothing where it has no such value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) power: Option<Result<Milliwatts, Refusal>>,
    pub(super) counter: Option<Result<Microjoules, Refusal>>,
}

impl Gauge {
    /// Reads the device's values. A field that is gone is no value, as one that is `null`.
    pub(super) fn read(&self, document: Document<'_>) -> Values {
        let at = |steps: &[Step]| find(document, steps);
        Values {
            power: self.power.as_ref().map(|steps| at(steps).map_or(Err(Refusal::NoValue), watts)),
            counter: self.counter.as_ref().map(|steps| at(steps).map_or(Err(Refusal::NoValue), Document::kwh)),
        }
    }

    /// Why this no longer describes the document, if so: the counter begins anew, or a better one showed up.
    pub(super) fn outdated(&self, document: Document<'_>) -> Option<String> {
        let energy = document.field("EnergykWh");
        if self.counter.is_some() && energy.and_then(|energy| energy.text("SensorResetTime")) != self.since {
            return Some(format!("{}: the energy counter was set back", self.path));
        }
        let counter = self.coarse.as_ref().and_then(|steps| find(document, steps))?;
        (counter.decimals() >= DECIMALS_MIN)
            .then(|| format!("{}: the energy counter is fine enough to be read", self.path))
    }

    /// Whether it gives a value now.
    pub(super) fn has_value(&self, document: Document<'_>) -> bool {
        let values = self.read(document);
        values.power.is_some_and(|power| power.is_ok()) || values.counter.is_some_and(|counter| counter.is_ok())
    }

    /// Whether its power is zero and there is no counter: of a machine that is on this is no measurement.
    pub(super) fn is_silent(&self, document: Document<'_>) -> bool {
        self.read(document) == Values { power: Some(Ok(Milliwatts(0))), counter: None }
    }

    /// What the counter counts from; zero without one.
    pub(super) fn epoch(&self, serial: &str) -> u64 {
        let Some(steps) = &self.counter else { return 0 };
        hash::epoch(&format!("redfish {serial} {} {steps:?} {}", self.path, self.since.as_deref().unwrap_or_default()))
    }
}

/// The figure of metrics with a power of this name: those of a chassis (`PowerWatts`), of a supply
/// (`InputPowerWatts`), of a power distribution unit.
pub(super) fn of_metrics(path: &str, power: &'static str, document: Document<'_>) -> Option<Gauge> {
    let has_power = document.field(power).is_some_and(|field| field.field("Reading").is_some());
    let counter = ["LifetimeReading", "Reading"].into_iter().find(|name| {
        let value = document.path(&["EnergykWh", name]).map(Document::kwh);
        // A counter that stands at zero is one that nobody feeds.
        matches!(value, Some(Ok(value)) if value.0 > 0)
    });
    let steps = |name| vec![Step::Field("EnergykWh"), Step::Field(name)];
    let is_fine = |name: &&str| document.path(&["EnergykWh", name]).is_some_and(|one| one.decimals() >= DECIMALS_MIN);
    let fine = counter.filter(is_fine);
    let coarse = counter.filter(|name| !is_fine(name));
    if !has_power && fine.is_none() {
        return None;
    }
    let since =
        fine.filter(|name| *name == "Reading").and_then(|_| document.field("EnergykWh")?.text("SensorResetTime"));
    let what = match (fine, has_power) {
        (Some(name), true) => format!("EnergykWh.{name}, {power}.Reading"),
        (Some(name), false) => format!("EnergykWh.{name}"),
        (None, _) => format!("{power}.Reading"),
    };
    Some(Gauge {
        path: path.into(),
        power: has_power.then(|| vec![Step::Field(power), Step::Field("Reading")]),
        counter: fine.map(steps),
        coarse: coarse.map(steps),
        since,
        sensor: document.field(power).and_then(|field| field.text("DataSourceUri")).filter(|path| is_path(path)),
        about: format!("{path}: {what}"),
        ..Gauge::default()
    })
}

/// The figure of the first power control that is about the whole chassis.
pub(super) fn of_control(path: &str, document: Document<'_>) -> Option<Gauge> {
    let controls = document.list("PowerControl");
    let (place, control) = controls.iter().enumerate().find(|(_, control)| is_whole(**control))?;
    let (field, seconds) = consumed(*control)?;
    let mut power = vec![Step::Field("PowerControl"), Step::Member(control.name("MemberId"), place)];
    power.extend(field.iter().map(|name| Step::Field(name)));
    let name = control.text("Name").unwrap_or_else(|| "PowerControl".into());
    Some(Gauge {
        path: path.into(),
        power: Some(power),
        period_ns: seconds * SECOND,
        about: format!("{path}: {name}, {}", field.join(".")),
        ..Gauge::default()
    })
}

/// The figure of Fujitsu, whose power control may be empty (github.com/mrlhansen/idrac_exporter/issues/121).
pub(super) fn of_fujitsu(path: &str, document: Document<'_>) -> Option<Gauge> {
    const FIELDS: [&str; 4] = ["Oem", "ts_fujitsu", "ChassisPowerConsumption", "CurrentPowerConsumptionW"];
    document.path(&FIELDS)?;
    Some(Gauge {
        path: path.into(),
        power: Some(FIELDS.into_iter().map(Step::Field).collect()),
        about: format!("{path}: {}", FIELDS.join(".")),
        ..Gauge::default()
    })
}

/// Whether a power control is about the whole. Lenovo adds ones of the CPU and memory subsystems, which are
/// parts of the first.
fn is_whole(control: Document<'_>) -> bool {
    let context = control.text("PhysicalContext").unwrap_or_default();
    let name = control.text("Name").unwrap_or_default().to_ascii_lowercase();
    let parts =
        ["cpu", "processor", "memory", "dimm", "gpu", "fan", "sub-system", "subsystem", "accelerator", "storage"];
    matches!(context.as_str(), "" | "Chassis" | "System" | "PowerSupply" | "Board" | "SystemBoard" | "Room" | "Rack")
        && !parts.iter().any(|part| name.contains(part))
}

/// Which field of a power control is read, and over how many seconds it is an average (zero: a present
/// value). An average of a minute loses nothing between readings; a present value does.
fn consumed(control: Document<'_>) -> Option<(&'static [&'static str], u64)> {
    const PRESENT: &[&str] = &["PowerConsumedWatts"];
    const AVERAGE: &[&str] = &["PowerMetrics", "AverageConsumedWatts"];
    let interval = control.path(&["PowerMetrics", "IntervalInMin"]).and_then(Document::number);
    let seconds = interval.and_then(|minutes| minutes.checked_mul(Decimal::from(60))?.round().to_u64()).unwrap_or(0);
    let average = control.path(AVERAGE).map(watts).filter(|_| seconds > 0 && is_between_extremes(control));
    match (average, control.path(PRESENT).map(watts)) {
        (Some(Ok(_)), present) if seconds <= AVERAGE_MAX_S || !matches!(present, Some(Ok(_))) => {
            Some((AVERAGE, seconds))
        }
        (_, Some(_)) => Some((PRESENT, 0)),
        (Some(_), None) => Some((AVERAGE, seconds)),
        (None, None) => None,
    }
}

/// An average outside of what it is the average of is a left-over of something else.
fn is_between_extremes(control: Document<'_>) -> bool {
    let metric = |name| control.path(&["PowerMetrics", name]).map(watts).and_then(Result::ok);
    let average = metric("AverageConsumedWatts");
    average.is_none_or(|average| {
        metric("MinConsumedWatts").is_none_or(|least| least <= average)
            && metric("MaxConsumedWatts").is_none_or(|most| most >= average)
    })
}

/// The figures of the supplies of the legacy resource: what goes into each.
pub(super) fn of_legacy_supplies(path: &str, document: Document<'_>) -> Vec<Gauge> {
    let supplies = document.list("PowerSupplies");
    let measured = supplies.iter().enumerate().filter(|(_, supply)| {
        is_present(**supply) && supply.field("PowerInputWatts").is_some() && !is_rating(**supply)
    });
    let gauges: Vec<Gauge> = measured
        .map(|(place, supply)| {
            let member = supply.name("MemberId");
            Gauge {
                part: part(member.as_deref(), place),
                path: path.into(),
                power: Some(vec![
                    Step::Field("PowerSupplies"),
                    Step::Member(member, place),
                    Step::Field("PowerInputWatts"),
                ]),
                about: format!("{path}: {}, PowerInputWatts", supply.text("Name").unwrap_or_else(|| "supply".into())),
                ..Gauge::default()
            }
        })
        .collect();
    // Some of the supplies are not the machine's meter.
    let all = supplies.iter().filter(|supply| is_present(**supply)).count();
    if gauges.len() == all { gauges } else { Vec::new() }
}

/// Whether something is in its place. A supply that was pulled out gives nothing, and no null either.
pub(super) fn is_present(document: Document<'_>) -> bool {
    let state = document.field("Status").and_then(|status| status.text("State"));
    state.is_none_or(|state| state != "Absent")
}

/// Whether a supply gives its rating in place of what it draws. Dell does: 900 W into a supply that gives
/// out 203 of its 750 W (github.com/influxdata/telegraf/issues/9575).
fn is_rating(supply: Document<'_>) -> bool {
    let watts = |names: &[&str]| supply.path(names).map(Document::watts).and_then(Result::ok);
    let Some(input) = watts(&["PowerInputWatts"]) else { return false };
    let declared = watts(&["Oem", "Dell", "DellPowerSupplyView", "Range1MaxInputPowerWatts"]);
    let capacity = watts(&["PowerCapacityWatts"]);
    declared == Some(input) || capacity.is_some_and(|capacity| capacity.0 > 0 && input >= capacity)
}

/// The name of a supply's account behind that of its meter.
pub(super) fn part(id: Option<&str>, place: usize) -> String {
    let id = id.map(name).filter(|id| !id.is_empty());
    format!("psu-{}", id.unwrap_or_else(|| place.to_string()))
}

/// A name out of an id.
pub(super) fn name(id: &str) -> String {
    device_name(id)
}

/// How often a sensor has a new value, in nanoseconds: what it averages over, else how often it senses.
pub(super) fn sensor_period_ns(sensor: Document<'_>) -> u64 {
    let duration = |name| sensor.text(name)?.parse::<jiff::SignedDuration>().ok();
    let period = duration("AveragingInterval").or_else(|| duration("SensingInterval"));
    // More than an hour is nothing that readings could be joined over.
    period.and_then(|period| u64::try_from(period.as_nanos()).ok()).filter(|&ns| ns <= 3600 * SECOND).unwrap_or(0)
}

/// A power in watts; a 16-bit register full of ones is none.
fn watts(document: Document<'_>) -> Result<Milliwatts, Refusal> {
    document.watts().and_then(|power| if power == WORD_OF_ONES { Err(Refusal::Sentinel) } else { Ok(power) })
}

fn find<'a>(document: Document<'a>, steps: &[Step]) -> Option<Document<'a>> {
    steps.iter().try_fold(document, |document, step| match step {
        Step::Field(name) => document.field(name),
        Step::Member(None, place) => document.items().get(*place).copied(),
        Step::Member(Some(id), _) => {
            document.items().into_iter().find(|item| item.name("MemberId").as_ref() == Some(id))
        }
    })
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
