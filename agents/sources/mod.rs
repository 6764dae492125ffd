//! Power sources: one file per kind of sensor.
//!
//! A source is probed, then read at instants that the sampler chooses. Absent hardware is a normal
//! answer with a reason a person can act on. A value that could not be read is left out of the
//! reading, never zero; a value that is none (a sentinel, a negative power) is passed on with the
//! reason it is refused, so that it is counted.
//!
//! Which accounts each source writes, and how they nest:
//!
//! | source | scope: device | contains |
//! |---|---|---|
//! | nvml | `gpu: GPU-<uuid>` | |
//! | nvml (superchips) | `other: module-N` | its `gpu: GPU-<uuid>` and `cpu: grace-N` |
//! | hwmon (amdgpu, i915, xe) | `gpu: <PCI address>` | |
//! | rapl | `cpu: psys` | every `cpu: package-*` and `dram: package-*` of the machine |
//! | rapl | `cpu: package-N` | `cpu: package-N/core`, `cpu: package-N/uncore` |
//! | rapl | `dram: package-N` | the memory beside that package |
//! | hwmon (Grace) | `cpu: grace-N` | `cpu: grace-N/cpu`, `cpu: grace-N/sysio` |
//! | hwmon (Grace) | `other: module-N` | `cpu: grace-N`, its memory, and the GPUs on it |
//! | redfish | `chassis: bmc`, of the BMC's or the enclosure's own chassis | the machine, or all in the enclosure |
//! | redfish | `chassis: bmc/psu-<id>` | together the same, where nothing else is measured |
//! | redfish (PDU) | `pdu: mains` of a meter | `pdu: mains/outlet-<id>` |
//! | hwmon (ACPI) | `chassis: acpi-power-meter` | the machine |
//! | ipmi | `chassis: dcmi` | the machine |
//! | hwmon (PSU) | `chassis: psu-<device>` | together the machine: switched off by default |
//! | prometheus | as above, for what exporters show | |
//! | prometheus | `cpu: packages`, `dram: packages` | a sum: every `package-*` of that scope |
//! | prometheus | `chassis: bmc`, `dcmi`, `pm-counters`, `ear-dc` | the machine, each in its own way |
//! | prometheus | `chassis: bmc/psu-<id>` | parts of `bmc` |

mod file;
mod file_sd;
pub mod hwmon;
pub mod ipmi;
mod missing;
pub mod nvml;
pub mod prometheus;
pub mod rapl;
pub mod recorded;
pub mod redfish;
pub mod replay;
pub mod simulated;
pub mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;

use meter::{DeviceDecl, Sample, Scope};
pub use prometheus::PrometheusSettings;
pub use redfish::RedfishSettings;
use serde::{Deserialize, Serialize};

/// What a look for hardware found.
#[derive(Debug)]
pub enum Probe {
    /// There is something to read.
    Found {
        /// The devices, in the order of [`Source::devices`].
        devices: Vec<FoundDevice>,
        /// What a person should know: sensors left out and why.
        note: Option<String>,
    },
    /// There is nothing to read.
    Absent {
        /// Which file, library or permission is missing, and what would help.
        why: String,
    },
}

/// A device and what it says now.
#[derive(Debug)]
pub struct FoundDevice {
    /// The account it writes, its period, limit and counter.
    pub decl: DeviceDecl,
    /// What it is, for people.
    pub about: String,
    /// Its values at the time of the probe, if it gave any.
    pub now: Option<Sample>,
}

/// Why a reading failed.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// Nothing this time; the next reading may succeed.
    #[error("no reading this time: {0}")]
    Retry(String),
    /// The hardware or its driver went away: probe again later.
    #[error("gone: {0}")]
    Gone(String),
    /// The source cannot work and will not by itself.
    #[error("broken: {0}")]
    Broken(String),
}

/// A kind of power sensor.
pub trait Source: Send {
    /// The source's name, as in the configuration.
    fn name(&self) -> &'static str;
    /// Looks for hardware. May be called again, for instance after [`PollError::Gone`].
    fn probe(&mut self) -> Probe;
    /// How often to read, in nanoseconds.
    fn period_ns(&self) -> u64;
    /// Reads every device once and appends what it gave, in ascending order of device. A device that
    /// gave nothing is left out.
    ///
    /// # Errors
    /// [`PollError`] if no device gave anything; nothing is appended then.
    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), PollError>;
    /// The devices found by the last probe; [`Sample::device`] is an index into them.
    fn devices(&self) -> &[DeviceDecl];
    /// What else devices are called, by their place: the numbers that drivers and schedulers give them.
    fn nicknames(&self) -> Vec<(u16, String)> {
        Vec::new()
    }
}

/// Where the kernel's file trees are: parameters, so that recorded trees can stand in.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The tree usually at `/sys`.
    pub sys: PathBuf,
    /// The tree usually at `/proc`.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }
}

/// Which sources are read, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourcesSettings {
    /// NVIDIA GPUs.
    pub nvml: NvmlSettings,
    /// CPU packages and memory by the kernel's powercap zones.
    pub rapl: RaplSettings,
    /// Sensor chips: AMD and Intel GPUs, ACPI power meters, Grace, power supplies.
    pub hwmon: HwmonSettings,
    /// BMCs and power distribution units.
    pub redfish: RedfishSettings,
    /// Exporters that already run.
    pub prometheus: PrometheusSettings,
    /// The machine's own BMC, in band.
    pub ipmi: ipmi::IpmiSettings,
    /// A made-up machine, for demonstrations and tests.
    pub simulated: SimulatedSettings,
}

/// Settings of the source `nvml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NvmlSettings {
    /// Whether to look for NVIDIA GPUs.
    pub enabled: bool,
    /// Milliseconds between readings.
    pub period_ms: u64,
    /// The driver's library: a name for the loader, or a path.
    pub library: String,
    /// Seconds between two looks for GPUs that were added, taken away, or lost.
    pub rescan_s: u64,
}

/// Settings of the source `rapl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaplSettings {
    /// Whether to read powercap zones.
    pub enabled: bool,
    /// Milliseconds between readings, at most [`rapl::PERIOD_MAX_MS`].
    pub period_ms: u64,
}

/// Settings of the source `hwmon`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HwmonSettings {
    /// Whether to read sensor chips.
    pub enabled: bool,
    /// Milliseconds between readings.
    pub period_ms: u64,
    /// Whether the ACPI power meter measures the whole machine. On some GPU servers it covers the
    /// CPU board only: switch it off there.
    pub acpi_power_meter: bool,
    /// Whether the power supplies of the tree are all that feed the machine: their inputs are then its
    /// chassis meter, instead of the ACPI power meter.
    pub power_supplies: bool,
    /// Further chips to trust, by driver name, and what they measure: `ina226 = "chassis"`.
    pub chips: BTreeMap<String, Scope>,
}

/// Settings of the source `simulated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedSettings {
    /// Whether to make up readings.
    pub enabled: bool,
    /// Milliseconds between readings.
    pub period_ms: u64,
    /// The same seed gives the same fleet.
    pub seed: u64,
    /// Which machine of the fleet this one is.
    pub host: u32,
    /// GPUs of the machine, at most 16.
    pub gpus: u8,
}

/// A second: hardware averages over about as long, and counters lose nothing between readings.
const PERIOD_MS: u64 = 1000;

impl Default for NvmlSettings {
    fn default() -> Self {
        Self { enabled: true, period_ms: PERIOD_MS, library: "libnvidia-ml.so.1".into(), rescan_s: 60 }
    }
}

impl Default for RaplSettings {
    fn default() -> Self {
        Self { enabled: true, period_ms: PERIOD_MS }
    }
}

impl Default for HwmonSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            period_ms: PERIOD_MS,
            acpi_power_meter: true,
            power_supplies: false,
            chips: BTreeMap::new(),
        }
    }
}

impl Default for SimulatedSettings {
    fn default() -> Self {
        Self { enabled: false, period_ms: PERIOD_MS, seed: 1, host: 0, gpus: 8 }
    }
}

/// Shows what each device of a source reads now.
fn look(source: &mut dyn Source, found: &mut [FoundDevice]) {
    let mut now = Vec::new();
    // A reading that fails here is no news: the next tick tells.
    let _ = source.read(&mut now);
    for sample in now {
        if let Some(device) = found.get_mut(usize::from(sample.device)) {
            device.now = Some(sample);
        }
    }
}

/// Every enabled source, not yet probed.
#[must_use]
pub fn all(settings: &SourcesSettings, roots: &Roots) -> Vec<Box<dyn Source>> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if settings.nvml.enabled {
        sources.push(Box::new(nvml::Nvml::new(&settings.nvml, roots)));
    }
    if settings.rapl.enabled {
        sources.push(Box::new(rapl::Rapl::new(&settings.rapl, roots)));
    }
    if settings.hwmon.enabled {
        sources.push(Box::new(hwmon::Hwmon::new(&settings.hwmon, roots)));
    }
    if settings.ipmi.enabled {
        sources.push(Box::new(ipmi::Ipmi::new(&settings.ipmi, roots)));
    }
    if settings.simulated.enabled {
        sources.push(Box::new(simulated::Simulated::new(&settings.simulated)));
    }
    sources
}

/// What knows the targets that are read over the network. Hosts and BMCs belong to `cluster` unless they say
/// otherwise.
#[must_use]
pub fn discoveries(settings: &SourcesSettings, _roots: &Roots, cluster: &str) -> Vec<Box<dyn target::Discovery>> {
    // Each kind of source adds its own, if there is anything in its settings.
    let mut discoveries: Vec<Box<dyn target::Discovery>> = Vec::new();
    if settings.prometheus.enabled && !settings.prometheus.targets.is_empty() {
        discoveries.push(Box::new(prometheus::Prometheus::new(&settings.prometheus, cluster)));
    }
    if settings.redfish.is_used() {
        discoveries.push(Box::new(redfish::Redfish::new(&settings.redfish, cluster)));
    }
    discoveries
}

/// A period in nanoseconds, between 10 ms (sensors renew no faster) and an hour (the longest time
/// over which two readings are ever joined).
fn period_ns(period_ms: u64) -> u64 {
    period_ms.clamp(10, 3_600_000) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_sensors_says_per_source_what_is_missing() {
        let empty = tempfile::tempdir().expect("a folder");
        let roots = Roots { sys: empty.path().join("sys"), proc: empty.path().join("proc") };
        let mut settings = SourcesSettings::default();
        settings.nvml.library = "libno-such-library.so.1".into();
        settings.ipmi.devices = vec!["/dev/no-such-device".into()];
        let expected = [
            ("nvml", "libno-such-library.so.1"),
            ("rapl", "class/powercap"),
            ("hwmon", "class/hwmon"),
            ("ipmi", "/dev/no-such-device"),
        ];
        let mut sources = all(&settings, &roots);
        assert_eq!(sources.len(), expected.len());
        for (source, (name, missing)) in sources.iter_mut().zip(expected) {
            assert_eq!(source.name(), name);
            let Probe::Absent { why } = source.probe() else { panic!("{name} found something in an empty tree") };
            assert!(why.contains(missing), "{name}: {why}");
            assert!(source.devices().is_empty());
        }
    }

    #[test]
    fn whatever_this_machine_has_is_read_or_explained() {
        for mut source in all(&SourcesSettings::default(), &Roots::default()) {
            match source.probe() {
                Probe::Absent { why } => {
                    assert!(!why.is_empty() && source.devices().is_empty());
                    eprintln!("{}: absent: {why}", source.name());
                }
                Probe::Found { devices, note } => {
                    assert_eq!(devices.len(), source.devices().len());
                    for device in devices {
                        eprintln!("{}: {}, {}: {:?}", source.name(), device.decl.key, device.about, device.now);
                    }
                    eprintln!("{}: {}", source.name(), note.unwrap_or_default());
                    let mut samples = Vec::new();
                    source.read(&mut samples).expect("what was found can be read");
                    assert!(samples.is_sorted_by_key(|sample| sample.device));
                }
            }
        }
    }

    #[test]
    fn an_unknown_setting_is_an_error_and_absent_ones_are_defaults() {
        let parse = serde_json::from_str::<SourcesSettings>;
        assert!(parse(r#"{"rapl": {"enabeld": false}}"#).is_err());
        assert!(parse(r#"{"rappl": {}}"#).is_err());
        let some = parse(r#"{"hwmon": {"chips": {"ina226": "chassis"}}}"#).expect("good settings");
        assert_eq!(some.hwmon.chips["ina226"], Scope::Chassis);
        assert_eq!(some.rapl, RaplSettings::default());
        assert!(!some.simulated.enabled, "nothing is made up unless asked for");
    }
}
