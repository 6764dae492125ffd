//! Which metric of which exporter is whose power or energy: the one place where this is said.
//!
//! A metric that is not in these tables is not read. What is left out on purpose: power and energy of
//! processes, containers, pods and virtual machines (Kepler, Scaphandre, CEEMS) and of PowerAPI, which are
//! estimates of shares of what is read here; windows of Zeus, which begin and end with a program's section;
//! limits, averages over minutes, minima and maxima.

use std::collections::HashMap;
use std::sync::LazyLock;

use meter::{AccountKey, Scope};

use super::page::{PROCESS_START, Page};
use super::text::Series;
use super::value::Unit;
use super::{gpus, hwmon, machines, rapl};
use crate::sources::file::device_name;

/// A program that shows readings to whoever asks.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) name: &'static str,
    /// How often its values are new, in seconds; zero for at every request.
    pub(super) renews_s: u64,
    /// What its counters count from.
    pub(super) counts: Counts,
    pub(super) metrics: &'static [Metric],
}

/// What counters of an exporter count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// What the device's register does: the exporter passes it on, and restarting it changes nothing.
    Register,
    /// The exporter adds up itself: a new process begins anew.
    Itself,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    /// Whose value a series is.
    pub(super) place: fn(&Series<'_>, &Page<'_>) -> Spot,
    /// What to do with several series of one account.
    pub(super) several: Several,
    /// Of metrics of one account the lowest that gives a value is read; equal ones belong together.
    pub(super) rank: u8,
}

/// What several series of one account and rank mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Several {
    /// The same again: the first that is a value.
    Same,
    /// Different things, of which it is not known which one is meant: none of them.
    Unclear,
    /// Parts of so many pieces.
    Parts(usize),
    /// Values of several instants: the latest.
    Latest,
}

/// Whose value a series is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// This account's.
    Account(AccountKey),
    /// Nobody's, and why; an empty text for what helps to understand other series.
    Left(&'static str),
    /// Somebody's who cannot be named.
    Nameless,
}

/// An account, if the device can be named so.
pub(super) fn account(scope: Scope, device: &str) -> Spot {
    let device = device_name(device);
    let key = if device.is_empty() { None } else { AccountKey::new(scope, &device).ok() };
    key.map_or(Spot::Nameless, Spot::Account)
}

/// A part of a device, `package-0/core`: `device_name` would take the slash away.
pub(super) fn part(scope: Scope, whole: &str, part: &str) -> Spot {
    let device = format!("{}/{}", device_name(whole), device_name(part));
    AccountKey::new(scope, &device).map_or(Spot::Nameless, Spot::Account)
}

const fn metric(name: &'static str, unit: Unit, place: fn(&Series<'_>, &Page<'_>) -> Spot) -> Metric {
    Metric { name, unit, place, several: Several::Same, rank: 0 }
}

impl Metric {
    const fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    const fn several(mut self, several: Several) -> Self {
        self.several = several;
        self
    }
}

/// A series that says something about others.
const fn word(name: &'static str) -> Metric {
    metric(name, Unit::Word, |_, _| Spot::Left(""))
}

/// NVIDIA's dcgm-exporter. Rows of MIG instances and of pods that share a GPU repeat the board's value.
const DCGM: Exporter = Exporter {
    name: "dcgm-exporter",
    renews_s: 30,
    counts: Counts::Register,
    metrics: &[
        metric("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Unit::Millijoules, gpus::nvidia),
        metric("dcgm_total_energy_consumption", Unit::Millijoules, gpus::nvidia),
        metric("DCGM_FI_DEV_POWER_USAGE", Unit::Watts, gpus::nvidia),
        metric("dcgm_power_usage", Unit::Watts, gpus::nvidia),
        metric("DCGM_FI_DEV_POWER_USAGE_INSTANT", Unit::Watts, gpus::nvidia).rank(1),
    ],
};

/// utkuozdemir/nvidia_gpu_exporter: names of `nvidia-smi`, UUIDs without `GPU-`. Energy only with NVML.
const NVIDIA_SMI: Exporter = Exporter {
    name: "nvidia_gpu_exporter",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[
        metric("nvidia_smi_energy_joules_total", Unit::Joules, gpus::nvidia),
        metric("nvidia_smi_power_draw_average_watts", Unit::Watts, gpus::nvidia),
        metric("nvidia_smi_power_draw_watts", Unit::Watts, gpus::nvidia).rank(1),
        metric("nvidia_smi_power_draw_instant_watts", Unit::Watts, gpus::nvidia).rank(2),
    ],
};

/// plazonic/nvidia_gpu_prometheus_exporter (jobstats) and the one it comes from.
const JOBSTATS: Exporter = Exporter {
    name: "nvidia_gpu_prometheus_exporter",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[metric("nvidia_gpu_power_usage_milliwatts", Unit::Milliwatts, gpus::nvidia)],
};

/// node_exporter. RAPL registers wrap where the page does not say.
const NODE: Exporter = Exporter {
    name: "node_exporter",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[
        metric("node_rapl_package_joules_total", Unit::Joules, rapl::zone),
        metric("node_rapl_dram_joules_total", Unit::Joules, rapl::zone),
        metric("node_rapl_core_joules_total", Unit::Joules, rapl::zone),
        metric("node_rapl_uncore_joules_total", Unit::Joules, rapl::zone),
        metric("node_rapl_psys_joules_total", Unit::Joules, rapl::zone),
        metric("node_rapl_joules_total", Unit::Joules, rapl::zone),
        metric("node_hwmon_energy_joule_total", Unit::Joules, hwmon::sensor),
        metric("node_hwmon_power_average_watt", Unit::Watts, hwmon::sensor),
        metric("node_hwmon_power_input_watt", Unit::Watts, hwmon::sensor).rank(1),
        metric("node_hwmon_power_watt", Unit::Watts, hwmon::sensor).rank(1),
        word("node_hwmon_power_is_battery_watt"),
        word("node_hwmon_power_average_interval_seconds"),
        word("node_hwmon_chip_names"),
        word("node_hwmon_sensor_label"),
    ],
};

/// Kepler from 0.10 and before. Its `…_cpu_joules_total` wraps as the register does; active and idle, which
/// it adds up itself, do not.
const KEPLER: Exporter = Exporter {
    name: "kepler",
    renews_s: 5,
    counts: Counts::Itself,
    metrics: &[
        metric("kepler_node_cpu_active_joules_total", Unit::Joules, rapl::kepler).several(Several::Parts(2)),
        metric("kepler_node_cpu_idle_joules_total", Unit::Joules, rapl::kepler).several(Several::Parts(2)),
        metric("kepler_node_cpu_joules_total", Unit::Joules, rapl::kepler).rank(1),
        metric("kepler_node_cpu_watts", Unit::Watts, rapl::kepler),
        metric("kepler_node_gpu_joules_total", Unit::Joules, gpus::kepler),
        metric("kepler_node_gpu_watts", Unit::Watts, gpus::kepler),
        metric("kepler_platform_watts", Unit::Watts, machines::kepler_platform).several(Several::Unclear),
        metric("kepler_node_package_joules_total", Unit::Joules, rapl::old_kepler).several(Several::Parts(2)),
        metric("kepler_node_dram_joules_total", Unit::Joules, rapl::old_kepler).several(Several::Parts(2)),
        metric("kepler_node_core_joules_total", Unit::Joules, rapl::old_kepler).several(Several::Parts(2)),
        metric("kepler_node_uncore_joules_total", Unit::Joules, rapl::old_kepler).several(Several::Parts(2)),
        metric("kepler_node_platform_joules_total", Unit::Joules, machines::old_kepler_platform)
            .several(Several::Parts(2)),
    ],
};

/// Scaphandre. Its energies are the registers' own values.
const SCAPHANDRE: Exporter = Exporter {
    name: "scaphandre",
    renews_s: 2,
    counts: Counts::Register,
    metrics: &[
        metric("scaph_socket_energy_microjoules", Unit::Microjoules, rapl::socket),
        metric("scaph_socket_power_microwatts", Unit::Microwatts, rapl::socket),
        metric("scaph_domain_energy_microjoules", Unit::Microjoules, rapl::domain),
        metric("scaph_domain_power_microwatts", Unit::Microwatts, rapl::domain),
        metric("scaph_host_rapl_psys_microjoules", Unit::Microjoules, |_, _| account(Scope::Cpu, "psys")),
        metric("scaph_host_energy_microjoules", Unit::Microjoules, rapl::scaphandre_host),
        metric("scaph_host_power_microwatts", Unit::Microwatts, rapl::scaphandre_host),
    ],
};

/// CEEMS. Its hwmon metrics are left out: chips are named there in a way that does not say what they measure.
const CEEMS: Exporter = Exporter {
    name: "ceems_exporter",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[
        metric("ceems_rapl_package_joules_total", Unit::Joules, rapl::zone),
        metric("ceems_rapl_dram_joules_total", Unit::Joules, rapl::zone),
        metric("ceems_rapl_core_joules_total", Unit::Joules, rapl::zone),
        metric("ceems_ipmi_dcmi_power_current_watts", Unit::Watts, machines::dcmi),
        metric("ceems_ipmi_dcmi_current_watts", Unit::Watts, machines::dcmi),
        metric("ceems_redfish_power_current_watts", Unit::Watts, machines::bmc).several(Several::Unclear),
        metric("ceems_redfish_current_watts", Unit::Watts, machines::bmc).several(Several::Unclear),
        metric("ceems_cray_pm_counters_energy_joules", Unit::Joules, machines::cray),
        metric("ceems_cray_pm_counters_power_watts", Unit::Watts, machines::cray),
    ],
};

/// ipmi_exporter: DCMI under its present name and the one that its documentation still has. Of its sensors
/// `ipmi_power_watts` nothing says what they measure.
const IPMI: Exporter = Exporter {
    name: "ipmi_exporter",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[
        metric("ipmi_dcmi_power_consumption_watts", Unit::Watts, machines::dcmi),
        metric("ipmi_dcmi_power_consumption_current_watts", Unit::Watts, machines::dcmi),
    ],
};

/// mrlhansen/idrac_exporter, which reads any Redfish BMC. The supplies' input is what is paid for.
const IDRAC: Exporter = Exporter {
    name: "idrac_exporter",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[
        metric("idrac_power_control_consumed_watts", Unit::Watts, machines::power_control).several(Several::Unclear),
        metric("idrac_power_supply_input_watts", Unit::Watts, machines::idrac_supply).several(Several::Unclear),
        metric("idrac_pdu_energy_kwh", Unit::KilowattHours, machines::pdu),
        metric("idrac_pdu_power_watts", Unit::Watts, machines::pdu),
    ],
};

/// AMD's device-metrics-exporter; a prefix that its configuration gives to all names is a setting here too.
const AMD: Exporter = Exporter {
    name: "device-metrics-exporter",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[
        metric("gpu_energy_consumed", Unit::Microjoules, gpus::amd),
        metric("gpu_package_power", Unit::Watts, gpus::amd),
        metric("gpu_average_package_power", Unit::Watts, gpus::amd).rank(1),
        metric("gpu_power_usage", Unit::Watts, gpus::amd).rank(2),
        // Its prefix in AMD's own charts.
        metric("amd_gpu_energy_consumed", Unit::Microjoules, gpus::amd),
        metric("amd_gpu_package_power", Unit::Watts, gpus::amd),
        metric("amd_gpu_average_package_power", Unit::Watts, gpus::amd).rank(1),
        metric("amd_gpu_power_usage", Unit::Watts, gpus::amd).rank(2),
    ],
};

/// Omnistat: GPUs by number, and Cray's counters as `omnistat_vendor_…`, whose total holds CPU and memory.
const OMNISTAT: Exporter = Exporter {
    name: "omnistat",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[
        metric("rocm_energy_joules", Unit::Joules, gpus::rocm),
        metric("rocm_average_socket_power_watts", Unit::Watts, gpus::rocm),
        metric("omnistat_vendor_energy_joules", Unit::Joules, machines::pm_counters),
        metric("omnistat_vendor_power_watts", Unit::Watts, machines::pm_counters),
        metric("omnistat_vendor_cpu_energy_joules", Unit::Joules, |_, _| account(Scope::Cpu, "packages")),
        metric("omnistat_vendor_cpu_power_watts", Unit::Watts, |_, _| account(Scope::Cpu, "packages")),
        metric("omnistat_vendor_memory_energy_joules", Unit::Joules, |_, _| account(Scope::Dram, "packages")),
        metric("omnistat_vendor_memory_power_watts", Unit::Watts, |_, _| account(Scope::Dram, "packages")),
    ],
};

/// all-smi, which adds up power itself.
const ALL_SMI: Exporter = Exporter {
    name: "all-smi",
    renews_s: 0,
    counts: Counts::Itself,
    metrics: &[
        metric("all_smi_energy_consumed_joules_total", Unit::Joules, gpus::all_smi_energy),
        metric("all_smi_gpu_power_consumption_watts", Unit::Watts, gpus::all_smi),
        metric("all_smi_cpu_power_consumption_watts", Unit::Watts, |_, _| account(Scope::Cpu, "packages"))
            .several(Several::Unclear),
        metric("all_smi_chassis_power_watts", Unit::Watts, |_, _| {
            Spot::Left("all-smi's chassis power is the sum of what it reads, no meter")
        }),
    ],
};

/// EAR's report plug-in: one page for many nodes, so that a selector says which one is meant. Powers are
/// averages over its period, stamped with its end.
const EAR: Exporter = Exporter {
    name: "ear",
    renews_s: 60,
    counts: Counts::Register,
    metrics: &[
        metric("periodic_metric_DC_power_Watts", Unit::Watts, |series, page| {
            machines::ear(series, page, Scope::Chassis, "ear-dc")
        })
        .several(Several::Latest),
        metric("periodic_metric_PCK_power_Watts", Unit::Watts, |series, page| {
            machines::ear(series, page, Scope::Cpu, "packages")
        })
        .several(Several::Latest),
        metric("periodic_metric_DRAM_power_Watts", Unit::Watts, |series, page| {
            machines::ear(series, page, Scope::Dram, "packages")
        })
        .several(Several::Latest),
    ],
};

/// Agents that follow OpenTelemetry's conventions for hardware: `hw.host.*` is the whole machine, `hw.*` a
/// device of it.
const OTEL: Exporter = Exporter {
    name: "opentelemetry",
    renews_s: 0,
    counts: Counts::Register,
    metrics: &[
        metric("hw_host_energy_joules_total", Unit::Joules, machines::bmc).several(Several::Unclear),
        metric("hw_host_power_watts", Unit::Watts, machines::bmc).several(Several::Unclear),
        metric("hw_energy_joules_total", Unit::Joules, machines::otel).several(Several::Unclear),
        metric("hw_power_watts", Unit::Watts, machines::otel).several(Several::Unclear),
    ],
};

/// What says when a process began: of use only where the exporter counts itself.
const PROCESS: Exporter = Exporter { name: "", renews_s: 0, counts: Counts::Register, metrics: &[word(PROCESS_START)] };

/// Every exporter; of two that show one device on one page the first is read.
static EXPORTERS: [Exporter; 14] =
    [DCGM, NVIDIA_SMI, JOBSTATS, NODE, CEEMS, KEPLER, SCAPHANDRE, IDRAC, IPMI, AMD, OMNISTAT, ALL_SMI, EAR, OTEL];
static PROCESS_ONLY: Exporter = PROCESS;

/// A metric with its exporter, and its place among those that may show the same account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) exporter: &'static Exporter,
    pub(super) metric: &'static Metric,
    /// Lower is better.
    pub(super) order: (usize, u8),
}

static BY_NAME: LazyLock<HashMap<&'static [u8], Known>> = LazyLock::new(|| {
    let all = EXPORTERS.iter().chain([&PROCESS_ONLY]).enumerate();
    let known = |(place, exporter): (usize, &'static Exporter)| {
        exporter
            .metrics
            .iter()
            .map(move |metric| (metric.name.as_bytes(), Known { exporter, metric, order: (place, metric.rank) }))
    };
    all.flat_map(known).collect()
});

/// Names of all metrics that are known, as regular expressions.
pub(super) fn patterns() -> impl Iterator<Item = String> {
    let names = EXPORTERS.iter().chain([&PROCESS_ONLY]).flat_map(|exporter| exporter.metrics);
    names.map(|metric| metric.name.to_owned()).chain(["node_rapl_package_.+".to_owned()])
}

/// What is known of a metric.
pub(super) fn known(name: &[u8]) -> Option<Known> {
    // A package of several dies has them in the metric's name: node_rapl_package_0_die_1_joules_total.
    let name = if name.starts_with(b"node_rapl_package_") { b"node_rapl_package_joules_total" } else { name };
    BY_NAME.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_metric_is_there_twice() {
        let all: usize = EXPORTERS.iter().chain([&PROCESS_ONLY]).map(|exporter| exporter.metrics.len()).sum();
        assert_eq!(BY_NAME.len(), all);
        assert!(known(b"node_rapl_package_0_die_1_joules_total").is_some() && known(b"node_load1").is_none());
    }
}
