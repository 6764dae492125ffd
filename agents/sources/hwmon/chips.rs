//! Which sensor chips are understood, and what each of their channels measures.

use std::path::{Path, PathBuf};

use meter::Scope;

use super::super::file::{device_name, text, whole};

/// A sensor chip with power or energy channels.
#[derive(Debug, Default)]
pub(in crate::sources) struct Chip {
    /// The driver's name.
    pub(in crate::sources) name: String,
    /// Its folder in the class, `hwmonN`.
    pub(in crate::sources) class: PathBuf,
    /// The folder that holds the channels: `hwmonN` or, with old drivers, `hwmonN/device`.
    pub(in crate::sources) folder: PathBuf,
    /// The device behind it: a PCI or ACPI address that survives a reboot, unlike `hwmonN`.
    pub(in crate::sources) device: String,
    /// Its power and energy channels in order of their numbers; none if it only has volts and amperes.
    pub(in crate::sources) channels: Vec<Channel>,
    /// Channels that are switched off, in words: `energy3 (Rail_C)`.
    pub(in crate::sources) disabled: Vec<String>,
    /// Whether it is the graphics of a processor, whose power is then the whole package's.
    pub(in crate::sources) apu: bool,
}

/// One power or energy channel of a chip.
#[derive(Debug)]
pub(in crate::sources) struct Channel {
    pub(in crate::sources) number: u32,
    pub(in crate::sources) label: Option<String>,
    /// Power files, best first: an average loses nothing between readings, an input is one instant.
    pub(in crate::sources) power: Vec<PathBuf>,
    pub(in crate::sources) energy: Option<PathBuf>,
    /// Nanoseconds over which the driver averages; zero if it does not say.
    pub(in crate::sources) interval_ns: u64,
    /// The most it may draw in µW, by the driver; zero if it does not say.
    pub(in crate::sources) limit_uw: u64,
    /// Whether an ACPI meter says that it measures a battery.
    pub(in crate::sources) battery: bool,
}

/// What a channel of a known chip measures.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sources) enum Meaning {
    /// This account.
    Account(Scope, String),
    /// An ACPI power meter that does not say what it measures.
    AcpiMeter,
    /// A power supply, by its device.
    PowerSupply(String),
    /// A part of something already counted, or nothing that counts.
    Ignored,
    /// A whole CPU package, seen by its graphics processor; of this PCI address.
    Apu(String),
    /// Nothing is known about this chip.
    Unknown,
}

/// Drivers of power supplies. Voltage regulators have the same labels (`pin`, `pout1`), so the label
/// alone would not do.
const POWER_SUPPLIES: [&str; 20] = [
    "acbel_fsg032",
    "bpa-rs600",
    "bpd-rs600",
    "cffps1",
    "cffps2",
    "corsairpsu",
    "crps185",
    "dps460",
    "dps650ab",
    "dps800",
    "dps920ab",
    "fsg032",
    "intel_crps185",
    "ipsps1",
    "pfe1100",
    "pfe3000",
    "sgd009",
    "ym2151e",
    "ym2151",
    "yh5151e",
];

/// Every chip of the tree that has a power or energy channel, or at least volts and amperes, in the order
/// of their numbers.
pub(in crate::sources) fn chips(class: &Path) -> Vec<Chip> {
    let Ok(entries) = std::fs::read_dir(class) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort_by_key(|folder| (folder.as_os_str().len(), folder.clone()));
    folders.iter().filter_map(|folder| chip(folder)).collect()
}

fn chip(hwmon: &Path) -> Option<Chip> {
    let old = hwmon.join("device");
    let folders = [hwmon.to_path_buf(), old.clone()];
    let files = |folder: &PathBuf| (inputs(folder), folder.clone());
    let (inputs, folder) = folders
        .iter()
        .map(files)
        .find(|(inputs, _)| inputs.iter().any(|(kind, _)| is_metered(kind)))
        .or_else(|| {
            let is_product = |inputs: &[(Kind, u32)]| ["in", "curr"].iter().all(|a| inputs.iter().any(|(b, _)| a == b));
            folders.iter().map(files).find(|(inputs, _)| is_product(inputs))
        })?;
    let file_name = |path: &Path| path.file_name().map(|name| device_name(&name.to_string_lossy()));
    let name = text(&hwmon.join("name")).or_else(|| text(&old.join("name"))).or_else(|| file_name(hwmon))?;
    let link = std::fs::read_link(&old).ok().and_then(|target| file_name(&target));
    let device = link.or_else(|| file_name(hwmon))?;
    let metered = inputs.into_iter().filter(|(kind, _)| is_metered(kind));
    let is_off = |(kind, number): &(Kind, u32)| whole(&folder.join(format!("{kind}{number}_enable"))) == Some(0);
    let (off, on): (Vec<_>, Vec<_>) = metered.partition(is_off);
    let disabled = off.iter().map(|(kind, number)| match text(&folder.join(format!("{kind}{number}_label"))) {
        Some(label) => format!("{kind}{number} ({label})"),
        None => format!("{kind}{number}"),
    });
    let disabled = disabled.collect();
    let (channels, apu) = (channels(&folder, &on), name == "amdgpu" && is_apu(hwmon));
    Some(Chip { name, class: hwmon.into(), folder, device, channels, disabled, apu })
}

/// A kind of sensor channel: `power`, `energy`, `in` (volts), `curr` (amperes).
type Kind = &'static str;

fn is_metered(kind: &str) -> bool {
    matches!(kind, "power" | "energy")
}

/// The channels of a folder that hold a value, by kind and number, each once.
fn inputs(folder: &Path) -> Vec<(Kind, u32)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(Kind, u32)> = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((stem, what)) = name.to_str().and_then(|name| name.split_once('_')) else { continue };
        for kind in ["power", "energy", "in", "curr"] {
            if let Some(Ok(number)) = stem.strip_prefix(kind).map(str::parse)
                && (what == "input" || (kind == "power" && what == "average"))
            {
                found.push((kind, number));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The channels that count: an energy channel of its own stands for itself, one beside a power channel of
/// its number counts for it.
fn channels(folder: &Path, found: &[(Kind, u32)]) -> Vec<Channel> {
    let mut numbers: Vec<u32> = found.iter().map(|&(_, number)| number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_iter().map(|number| channel(folder, number, found)).collect()
}

fn channel(folder: &Path, number: u32, found: &[(Kind, u32)]) -> Channel {
    let has = |kind: Kind| found.contains(&(kind, number));
    let path = |file: String| Some(folder.join(file)).filter(|path| path.exists());
    let label = |kind: &str| text(&folder.join(format!("{kind}{number}_label")));
    let oem = || text(&folder.join(format!("power{number}_oem_info")));
    let power = if has("power") {
        ["average", "input"].iter().filter_map(|what| path(format!("power{number}_{what}"))).collect()
    } else {
        Vec::new()
    };
    Channel {
        number,
        label: label("power").or_else(|| label("energy")).or_else(oem),
        power,
        energy: has("energy").then(|| path(format!("energy{number}_input"))).flatten(),
        interval_ns: whole(&folder.join(format!("power{number}_average_interval")))
            .unwrap_or(0)
            .saturating_mul(1_000_000),
        limit_uw: whole(&folder.join(format!("power{number}_cap_max"))).unwrap_or(0),
        battery: whole(&folder.join(format!("power{number}_is_battery"))) == Some(1),
    }
}

/// What a channel measures.
pub(in crate::sources) fn meaning(chip: &Chip, channel: &Channel) -> Meaning {
    let label = channel.label.as_deref().unwrap_or("");
    match chip.name.as_str() {
        // The first channel is the board (or the whole package of an APU); others are parts of it.
        "amdgpu" if channel.number == 1 && chip.apu => Meaning::Apu(chip.device.clone()),
        "amdgpu" if channel.number == 1 => Meaning::Account(Scope::Gpu, chip.device.clone()),
        // Intel: the channel `card`; boards without one have `pkg`. Per-tile chips are `i915_gt0`.
        "i915" | "xe" if is_first_energy(chip, channel) => Meaning::Account(Scope::Gpu, chip.device.clone()),
        "amdgpu" | "i915" | "xe" => Meaning::Ignored,
        name if name.starts_with("i915_gt") => Meaning::Ignored,
        "power_meter" if channel.battery => Meaning::Ignored,
        "power_meter" => grace(label).unwrap_or(Meaning::AcpiMeter),
        name if POWER_SUPPLIES.contains(&name) => {
            // The input side is what is paid for; the outputs are the same energy less the losses.
            let input = label.starts_with("pin") || label == "power total" || label.is_empty();
            if input { Meaning::PowerSupply(format!("psu-{}", chip.device)) } else { Meaning::Ignored }
        }
        _ => Meaning::Unknown,
    }
}

fn is_first_energy(chip: &Chip, channel: &Channel) -> bool {
    let first = chip.channels.iter().find(|channel| channel.energy.is_some());
    first.is_some_and(|first| first.number == channel.number)
}

/// Whether an `amdgpu` is the graphics of a processor; rapl then reads the same package. The table
/// `gpu_metrics` tells by its revision: 1 for cards (and MI300A), 2 and 3 for processors
/// (`kgd_pp_interface.h` of Linux: size in two bytes, then the format's revision).
fn is_apu(class: &Path) -> bool {
    let table = (!sleeps(class)).then(|| std::fs::read(class.join("device/gpu_metrics")));
    matches!(table.and_then(Result::ok).as_deref(), Some([_, _, 2 | 3, ..]))
}

/// Whether the kernel has put the device behind a chip to sleep; reading its sensors would wake it.
pub(in crate::sources) fn sleeps(class: &Path) -> bool {
    text(&class.join("device/power/runtime_status")).is_some_and(|status| status == "suspended")
}

/// NVIDIA Grace names its meters `Grace Power Socket 0` (the CPU: cores and SysIO) and so on. The
/// module holds that CPU, its memory and, on GH200 and GB200, the GPUs that NVML reads: whoever draws the
/// boundary knows it by its name.
fn grace(label: &str) -> Option<Meaning> {
    let (what, socket) = label.split_once(" Power Socket ")?;
    let socket: u8 = socket.trim().parse().ok()?;
    let part = match what {
        "Module" => return Some(Meaning::Account(Scope::Other, format!("module-{socket}"))),
        "Grace" => "",
        "CPU" => "/cpu",
        "SysIO" => "/sysio",
        _ => return None,
    };
    Some(Meaning::Account(Scope::Cpu, format!("grace-{socket}{part}")))
}
