//! Whole machines, their supplies and PDUs: which account a series of one is.

use meter::Scope;

use super::exporters::{Spot, account, part};
use super::page::Page;
use super::text::Series;
use super::{gpus, hwmon};

/// Words in the names of power controls that are a part of the machine and inside the whole one.
const PARTS: [&str; 8] = ["cpu", "memory", "dimm", "gpu", "sub-system", "subsystem", "fan", "storage"];

/// Power by IPMI's DCMI. Boards that do not measure it answer zero, which no machine that answers draws.
pub(super) fn dcmi(series: &Series<'_>, _: &Page<'_>) -> Spot {
    if stands_at_zero(series) {
        return Spot::Left("DCMI power that stands at zero is not measured");
    }
    account(Scope::Chassis, "dcmi")
}

/// Whether a power is zero.
pub(super) fn stands_at_zero(series: &Series<'_>) -> bool {
    series.value.parse() == Ok(0.0)
}

/// The machine as its BMC, or an agent that knows no more than "the host", measures it.
pub(super) fn bmc(_: &Series<'_>, _: &Page<'_>) -> Spot {
    account(Scope::Chassis, "bmc")
}

/// A power control of a Redfish BMC: the one of the whole machine.
pub(super) fn power_control(series: &Series<'_>, _: &Page<'_>) -> Spot {
    named_control(series.label("name"))
}

fn named_control(name: &str) -> Spot {
    let name = name.to_ascii_lowercase();
    if PARTS.iter().any(|part| name.contains(part)) {
        return Spot::Left("power controls of parts of the machine");
    }
    account(Scope::Chassis, "bmc")
}

/// The input of a power supply of idrac_exporter, whose label was once `psu`.
pub(super) fn idrac_supply(series: &Series<'_>, _: &Page<'_>) -> Spot {
    match series.label("id") {
        "" => supply(series.label("psu")),
        id => supply(id),
    }
}

fn supply(id: &str) -> Spot {
    if id.is_empty() { Spot::Nameless } else { part(Scope::Chassis, "bmc", &format!("psu-{id}")) }
}

/// A PDU that is read by Redfish.
pub(super) fn pdu(series: &Series<'_>, _: &Page<'_>) -> Spot {
    account(Scope::Pdu, series.label("id"))
}

/// The machine as Kepler 0.11 or later reads it from its BMC: the power control or the supplies.
pub(super) fn kepler_platform(series: &Series<'_>, page: &Page<'_>) -> Spot {
    if series.label("source") == "acpi" {
        return account(Scope::Chassis, "acpi-power-meter");
    }
    let chassis = series.label("chassis_id");
    if page.of("kepler_platform_watts").any(|other| other.label("chassis_id") != chassis) {
        return Spot::Left("several chassis behind one BMC: which one is the machine is not known");
    }
    match series.label("source_type") {
        "PowerSupply" => supply(series.label("source_id")),
        "PowerControl" => named_control(series.label("source_name")),
        _ => named_control(series.label("power_control_name")),
    }
}

/// The machine as Kepler before 0.10 adds it up. Without a meter it is a model's estimate.
pub(super) fn old_kepler_platform(series: &Series<'_>, _: &Page<'_>) -> Spot {
    match series.label("source") {
        "acpi" => account(Scope::Chassis, "acpi-power-meter"),
        "redfish" => account(Scope::Chassis, "bmc"),
        _ => Spot::Left("platform energy of Kepler that does not say which meter it comes from"),
    }
}

/// Cray's counters by domain. The whole node contains the others.
pub(super) fn cray(series: &Series<'_>, page: &Page<'_>) -> Spot {
    match series.label("domain") {
        "" | "node" | "total" => pm_counters(series, page),
        "cpu" => account(Scope::Cpu, "packages"),
        "memory" => account(Scope::Dram, "packages"),
        _ => Spot::Left("accelerators of Cray's counters, whose numbers are nobody else's"),
    }
}

/// Cray's counter of the whole node.
pub(super) fn pm_counters(_: &Series<'_>, _: &Page<'_>) -> Spot {
    account(Scope::Chassis, "pm-counters")
}

/// A figure of EAR's, if all of the page that was selected is of one node.
pub(super) fn ear(series: &Series<'_>, page: &Page<'_>, scope: Scope, device: &str) -> Spot {
    let node = |series: &Series<'_>| series.label("node").split(", jobid=").next().map(str::to_owned);
    let mine = node(series);
    if page.of(series.name).any(|other| node(other) != mine) {
        return Spot::Left("a page of several nodes: say with `only = { node = \"{host}\" }` which one is meant");
    }
    account(scope, device)
}

/// A device that follows OpenTelemetry's conventions. One inside another that is read is a part of it.
pub(super) fn otel(series: &Series<'_>, page: &Page<'_>) -> Spot {
    let parent = series.label("hw_parent");
    let holds = |other: &Series<'_>| {
        !parent.is_empty() && other.label("hw_id") == parent && matches!(otel_device(other), Spot::Account(_))
    };
    if page.of(series.name).any(holds) {
        return Spot::Left("devices inside others that are read");
    }
    otel_device(series)
}

fn otel_device(series: &Series<'_>) -> Spot {
    let id = series.label("hw_id");
    match series.label("hw_type") {
        _ if id.is_empty() => Spot::Nameless,
        "gpu" => gpus::by_id(id),
        "cpu" => account(Scope::Cpu, id),
        "memory" => account(Scope::Dram, id),
        "physical_disk" | "disk_controller" | "logical_disk" => account(Scope::Storage, id),
        "network" => account(Scope::Other, id),
        "power_supply" => supply(id),
        _ => Spot::Left("kinds of hardware that are not read by themselves"),
    }
}

/// The machine's ACPI power meter, unless it stands at zero, as some boards have it.
pub(super) fn acpi_meter(series: &Series<'_>, page: &Page<'_>) -> Spot {
    if stands_at_zero(series) {
        return Spot::Left("an ACPI power meter that stands at zero does not measure");
    }
    match hwmon::acpi_meters(page) {
        1 => account(Scope::Chassis, "acpi-power-meter"),
        _ => Spot::Left("several ACPI power meters that do not say what they measure"),
    }
}
