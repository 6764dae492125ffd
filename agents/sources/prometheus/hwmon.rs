//! Sensor chips as node_exporter shows them, understood as the source `hwmon` understands them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::exporters::{Spot, account};
use super::machines;
use super::page::Page;
use super::text::Series;
use crate::sources::hwmon::chips::{Channel, Chip, Meaning, meaning};

/// The metrics that are a channel's value.
const CHANNELS: [&str; 4] = [
    "node_hwmon_energy_joule_total",
    "node_hwmon_power_average_watt",
    "node_hwmon_power_input_watt",
    "node_hwmon_power_watt",
];

/// The account of a channel.
pub(super) fn sensor(series: &Series<'_>, page: &Page<'_>) -> Spot {
    match of(series, page) {
        Some(Meaning::Account(scope, device)) => account_or_part(scope, &device),
        Some(Meaning::AcpiMeter) => machines::acpi_meter(series, page),
        Some(Meaning::PowerSupply(_)) => {
            Spot::Left("power supplies of hwmon: whether they are all that feed the machine is not known")
        }
        Some(Meaning::Apu(_)) => Spot::Left("the graphics of a processor: it measures the whole package"),
        Some(Meaning::Ignored) => Spot::Left(""),
        Some(Meaning::Unknown) | None => Spot::Left("hwmon chips that are not known to be a meter of their own"),
    }
}

fn account_or_part(scope: meter::Scope, device: &str) -> Spot {
    match device.split_once('/') {
        Some((whole, part)) => super::exporters::part(scope, whole, part),
        None => account(scope, device),
    }
}

/// How many ACPI power meters a page shows that do not say what they measure.
pub(super) fn acpi_meters(page: &Page<'_>) -> usize {
    let sensors = page.series.iter().filter(|(known, _)| CHANNELS.contains(&known.metric.name));
    let meters = sensors.map(|(_, series)| series).filter(|series| of(series, page) == Some(Meaning::AcpiMeter));
    meters.map(|series| (series.label("chip"), series.label("sensor"))).collect::<BTreeSet<_>>().len()
}

/// The seconds over which a channel averages, in nanoseconds; zero if it does not say.
pub(super) fn interval_ns(series: &Series<'_>, page: &Page<'_>) -> u64 {
    let (chip, sensor) = (series.label("chip"), series.label("sensor"));
    if sensor.is_empty() {
        return 0;
    }
    let seconds = page
        .of("node_hwmon_power_average_interval_seconds")
        .find(|other| other.label("chip") == chip && other.label("sensor") == sensor);
    let seconds = seconds.and_then(|series| series.value.parse::<f64>().ok()).unwrap_or(0.0);
    std::time::Duration::try_from_secs_f64(seconds.min(3600.0))
        .map_or(0, |interval| u64::try_from(interval.as_nanos()).unwrap_or(0))
}

/// What a channel measures; nothing for a chip whose driver the page does not name.
fn of(series: &Series<'_>, page: &Page<'_>) -> Option<Meaning> {
    let label = series.label("chip");
    let name = page.of("node_hwmon_chip_names").find(|other| other.label("chip") == label)?.label("chip_name");
    let mut numbers = BTreeSet::new();
    for (known, other) in page.series.iter().filter(|(_, other)| other.label("chip") == label) {
        if CHANNELS.contains(&known.metric.name) {
            numbers.extend(number(other));
        }
    }
    let channels = numbers.into_iter().map(|number| channel(label, number, page)).collect();
    let chip = Chip { name: name.into(), device: device(label), channels, ..Chip::default() };
    let number = number(series)?;
    chip.channels.iter().find(|channel| channel.number == number).map(|channel| meaning(&chip, channel))
}

/// The number of a channel: 1 of `power1`.
fn number(series: &Series<'_>) -> Option<u32> {
    series.label("sensor").trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().ok()
}

fn channel(chip: &str, number: u32, page: &Page<'_>) -> Channel {
    let find = |metric, kind: &str| {
        let sensor = format!("{kind}{number}");
        page.of(metric).find(|other| other.label("chip") == chip && other.label("sensor") == sensor)
    };
    let label = |kind| find("node_hwmon_sensor_label", kind).map(|series| series.label("label").to_owned());
    let battery = find("node_hwmon_power_is_battery_watt", "power").is_some_and(|series| series.value != "0");
    Channel {
        number,
        label: label("power").or_else(|| label("energy")),
        power: Vec::new(),
        energy: find("node_hwmon_energy_joule_total", "energy").map(|_| PathBuf::new()),
        interval_ns: 0,
        limit_uw: 0,
        battery,
    }
}

/// The device behind a chip. node_exporter names a chip by its bus and device and writes `_` for what no
/// label of its may hold: `0000:02:00_0_0000:03:00_0` is the PCI device 0000:03:00.0.
fn device(chip: &str) -> String {
    let words: Vec<&str> = chip.rsplitn(3, '_').collect();
    match words.as_slice() {
        [function, slot, ..] if slot.contains(':') && function.len() == 1 => format!("{slot}.{function}"),
        [device, ..] => (*device).to_owned(),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chips_name_leads_to_its_device() {
        for (chip, name) in [
            ("0000:02:00_0_0000:03:00_0", "0000:03:00.0"),
            ("pci0000:00_0000:00:02_0", "0000:00:02.0"),
            ("lnxsybus:00_acpi000d:00", "acpi000d:00"),
            ("nct6779", "nct6779"),
        ] {
            assert_eq!(device(chip), name);
        }
    }
}
