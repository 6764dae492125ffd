//! CPU packages and memory: which account a series of one is. Names are those of the source `rapl`.

use std::collections::BTreeMap;

use meter::{AccountKey, Microjoules, Scope};

use super::exporters::{Spot, account, part};
use super::page::Page;
use super::text::Series;

/// A zone of node_exporter or CEEMS, whose metrics and labels are the same.
pub(super) fn zone(series: &Series<'_>, page: &Page<'_>) -> Spot {
    let (name, index, path) = (zone_name(series), series.label("index"), last_of(series.label("path")));
    if is_mmio(path) && page.series.iter().any(|(_, other)| is_same_by_msr(series, other)) {
        return Spot::Left("intel-rapl-mmio shows the same registers again");
    }
    if series.value.parse() == Ok(0.0) {
        return Spot::Left("RAPL counters that stand at zero are not wired");
    }
    match name.as_str() {
        "package" => account(Scope::Cpu, &format!("package-{index}")),
        "psys" if matches!(index, "" | "0") => account(Scope::Cpu, "psys"),
        "dram" => account(Scope::Dram, &whole_of(path, index, page)),
        "core" | "uncore" => part(Scope::Cpu, &whole_of(path, index, page), &name),
        // A package of several dies: package-0-die-1.
        name if name.starts_with("package-") => account(Scope::Cpu, name),
        _ => Spot::Left("RAPL zones of which it is not known what they contain"),
    }
}

/// What the kernel calls the zone: in the metric's name, or in a label if node_exporter is told so.
fn zone_name(series: &Series<'_>) -> String {
    let name = match series.label("rapl_zone") {
        "" => series.name,
        zone => return zone.replace('_', "-"),
    };
    let name = name.strip_suffix("_joules_total").unwrap_or(name);
    name.split_once("rapl_").map_or(name, |(_, zone)| zone).replace('_', "-")
}

fn last_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_mmio(zone: &str) -> bool {
    zone.starts_with("intel-rapl-mmio")
}

/// Whether another series shows by MSR what this one shows by MMIO.
fn is_same_by_msr(mmio: &Series<'_>, other: &Series<'_>) -> bool {
    let path = last_of(other.label("path"));
    other.name == mmio.name
        && zone_name(other) == zone_name(mmio)
        && other.label("index") == mmio.label("index")
        && path.starts_with("intel-rapl:")
}

/// The package that a zone belongs to: the one whose path it lies below, else that of the same number.
fn whole_of(path: &str, index: &str, page: &Page<'_>) -> String {
    let Some((parent, _)) = path.rsplit_once(':').filter(|(parent, _)| parent.contains(':')) else {
        return format!("package-{index}");
    };
    let is_parent = |series: &&Series<'_>| last_of(series.label("path")) == parent;
    let zones = page.series.iter().map(|(_, series)| series);
    match zones.filter(is_parent).find(|series| zone_name(series).starts_with("package")) {
        Some(package) if zone_name(package) == "package" => format!("package-{}", package.label("index")),
        Some(die) => zone_name(die),
        None => format!("package-{}", parent.rsplit(':').next().unwrap_or(index)),
    }
}

/// A zone of Kepler 0.10 or later: of a machine of one package that zone, else a sum over all packages.
pub(super) fn kepler(series: &Series<'_>, _: &Page<'_>) -> Spot {
    let path = last_of(series.label("path"));
    let number = path.split(':').nth(1).filter(|_| path.starts_with("intel-rapl"));
    let whole = number.map_or_else(|| "packages".into(), |number| format!("package-{number}"));
    match series.label("zone") {
        "package" => account(Scope::Cpu, &whole),
        "dram" => account(Scope::Dram, &whole),
        "psys" => account(Scope::Cpu, "psys"),
        zone @ ("core" | "uncore") => part(Scope::Cpu, &whole, zone),
        _ => Spot::Left("zones of Kepler of which it is not known what they contain"),
    }
}

/// A domain of Kepler before 0.10, whose idle and dynamic energy are two series.
pub(super) fn old_kepler(series: &Series<'_>, _: &Page<'_>) -> Spot {
    if !matches!(series.label("source"), "" | "rapl" | "rapl-sysfs" | "rapl-msr" | "rapl-perf") {
        return Spot::Left("energy that Kepler estimates by a model");
    }
    let whole = match series.label("package") {
        "" => "packages".into(),
        number => format!("package-{number}"),
    };
    match zone_name_of_old_kepler(series.name) {
        "package" => account(Scope::Cpu, &whole),
        "dram" => account(Scope::Dram, &whole),
        zone => part(Scope::Cpu, &whole, zone),
    }
}

fn zone_name_of_old_kepler(name: &str) -> &str {
    name.trim_end_matches("_joules_total").rsplit('_').next().unwrap_or(name)
}

/// A socket of Scaphandre's.
pub(super) fn socket(series: &Series<'_>, _: &Page<'_>) -> Spot {
    match series.label("socket_id") {
        "" => Spot::Nameless,
        number => account(Scope::Cpu, &format!("package-{number}")),
    }
}

/// A domain of a socket of Scaphandre's.
pub(super) fn domain(series: &Series<'_>, _: &Page<'_>) -> Spot {
    let package = match series.label("socket_id") {
        "" => return Spot::Nameless,
        number => format!("package-{number}"),
    };
    match series.label("domain_name") {
        "dram" => account(Scope::Dram, &package),
        zone @ ("core" | "uncore") => part(Scope::Cpu, &package, zone),
        _ => Spot::Left("domains of Scaphandre of which it is not known what they contain"),
    }
}

/// Scaphandre's figure for the host: the sum of its sockets, of use only where these are not shown.
pub(super) fn scaphandre_host(_: &Series<'_>, page: &Page<'_>) -> Spot {
    let sockets = ["scaph_socket_energy_microjoules", "scaph_socket_power_microwatts"];
    if sockets.iter().any(|name| page.of(name).next().is_some()) {
        return Spot::Left("Scaphandre's figure for the host is the sum of its sockets");
    }
    account(Scope::Cpu, "packages")
}

/// Where the register of an account's zone wraps, if the configuration says so. A sum of registers wraps
/// nowhere in particular.
pub(super) fn range(key: &AccountKey, ranges: &BTreeMap<String, u64>) -> Option<Microjoules> {
    let zone = match (key.scope, &*key.device) {
        (_, "packages") => return None,
        (Scope::Dram, _) => "dram",
        (Scope::Cpu, "psys") => "psys",
        (Scope::Cpu, device) => device.split_once('/').map_or("package", |(_, part)| part),
        _ => return None,
    };
    ranges.get(zone).copied().map(Microjoules)
}
