//! Sensor chips of the kernel's hwmon class: AMD and Intel GPUs, ACPI power meters, Grace, power
//! supplies.
//!
//! A chip is read only if it is known what it measures: most power channels of a board (regulators,
//! rails, cores) are parts of something else, and a part that is added is counted twice. What is left
//! out is named by the probe, and `[sources.hwmon] chips` says what it is.
//!
//! `powerN_average` is preferred to `powerN_input`, `energyN_input` (µJ) is the counter. A file that
//! is empty or fails (`ENODATA`, `EAGAIN`, `EIO`: a GPU asleep, a bus busy) is no value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use meter::{AccountKey, DeviceDecl, Microjoules, Milliwatts, Refusal, Sample, Scope};

use super::file::{Attribute, Reading, boot_epoch, device_name, is_gone};
use super::hwmon_chips::{Channel, Chip, Meaning, chips, meaning};
use super::{FoundDevice, HwmonSettings, PollError, Probe, Roots, Source, period_ns};

/// The source `hwmon`.
#[derive(Debug)]
pub struct Hwmon {
    settings: HwmonSettings,
    roots: Roots,
    period_ns: u64,
    sensors: Vec<Sensor>,
    devices: Vec<DeviceDecl>,
}

/// The open files of one account.
#[derive(Debug)]
struct Sensor {
    power: Vec<Attribute>,
    energy: Option<Attribute>,
}

/// A channel that will be read, and where it is booked.
struct Choice<'a> {
    chip: &'a Chip,
    channel: &'a Channel,
    scope: Scope,
    device: String,
}

impl Hwmon {
    /// A source that reads below `roots.sys`; nothing is opened yet.
    #[must_use]
    pub fn new(settings: &HwmonSettings, roots: &Roots) -> Self {
        Self {
            settings: settings.clone(),
            roots: roots.clone(),
            period_ns: period_ns(settings.period_ms),
            sensors: Vec::new(),
            devices: Vec::new(),
        }
    }

    /// Which channels to read; why others are not goes to `remarks`.
    fn choose<'a>(&self, chips: &'a [Chip], remarks: &mut BTreeSet<String>) -> Vec<Choice<'a>> {
        let mut chosen = Vec::new();
        let (mut acpi, mut supplies) = (Vec::new(), Vec::new());
        let mut unknown = BTreeMap::new();
        for (chip, channel) in chips.iter().flat_map(|chip| chip.channels.iter().map(move |channel| (chip, channel))) {
            let choice = |scope, device| Choice { chip, channel, scope, device };
            if let Some(&scope) = self.settings.chips.get(&chip.name) {
                chosen.push(choice(scope, configured_device(chip, channel)));
                continue;
            }
            match meaning(chip, channel) {
                Meaning::Account(scope, device) => chosen.push(choice(scope, device)),
                Meaning::AcpiMeter => acpi.push(choice(Scope::Chassis, "acpi-power-meter".into())),
                Meaning::PowerSupply(device) => supplies.push(choice(Scope::Chassis, device)),
                Meaning::Module(label) => {
                    remarks.insert(format!("{label}: contains GPUs that are read by themselves"));
                }
                Meaning::Ignored => {}
                Meaning::Unknown => *unknown.entry(&chip.name).or_insert(0) += 1,
            }
        }
        chosen.append(&mut self.chassis_meter(acpi, supplies, remarks));
        for (name, count) in unknown {
            let how = format!("`[sources.hwmon] chips = {{ \"{name}\" = \"<scope>\" }}` reads it");
            remarks.insert(format!("{count} channels of the chip {name}, not known to be a meter of its own; {how}"));
        }
        chosen
    }

    /// The one meter of the whole machine: the supplies if a person vouches for them, else the ACPI
    /// power meter if there is exactly one. Both together would be counted twice.
    fn chassis_meter<'a>(
        &self,
        acpi: Vec<Choice<'a>>,
        supplies: Vec<Choice<'a>>,
        remarks: &mut BTreeSet<String>,
    ) -> Vec<Choice<'a>> {
        let vouched = self.settings.power_supplies && !supplies.is_empty();
        match acpi.len() {
            0 => {}
            _ if vouched => _ = remarks.insert("the ACPI power meter: the power supplies are read instead".into()),
            1 if self.settings.acpi_power_meter => {}
            1 => _ = remarks.insert("the ACPI power meter is switched off by `acpi_power_meter = false`".into()),
            n => _ = remarks.insert(format!("{n} ACPI power meters that do not say what they measure")),
        }
        if vouched {
            return supplies;
        }
        for supply in supplies {
            let how = "if these are all that feed the machine, `power_supplies = true` reads them as its meter";
            remarks.insert(format!("{}: {how}", supply.device));
        }
        if acpi.len() == 1 && self.settings.acpi_power_meter { acpi } else { Vec::new() }
    }

    fn declare(&self, choice: &Choice<'_>, epoch: u64) -> Option<DeviceDecl> {
        let has_counter = choice.channel.energy.is_some();
        Some(DeviceDecl {
            key: AccountKey::new(choice.scope, &choice.device).ok()?,
            period_ns: self.period_ns.max(choice.channel.interval_ns),
            limit: Milliwatts(choice.channel.limit_uw / 1000),
            modulus: None,
            epoch: if has_counter { epoch } else { 0 },
        })
    }
}

impl Source for Hwmon {
    fn name(&self) -> &'static str {
        "hwmon"
    }

    fn probe(&mut self) -> Probe {
        self.sensors.clear();
        self.devices.clear();
        let class = self.roots.sys.join("class/hwmon");
        let chips = chips(&class);
        let mut remarks = BTreeSet::new();
        let chosen = self.choose(&chips, &mut remarks);
        let epoch = boot_epoch(&self.roots.proc, "hwmon");
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for choice in chosen {
            let Some(decl) = self.declare(&choice, epoch) else { continue };
            let at = format!("{} ({})", choice.chip.folder.display(), choice.chip.name);
            if !seen.insert(decl.key.clone()) {
                remarks.insert(format!("{at}: {} is there already", decl.key));
                continue;
            }
            match Sensor::open(choice.channel) {
                Ok(sensor) => {
                    let label = choice.channel.label.as_deref().unwrap_or("no label");
                    found.push(FoundDevice { decl: decl.clone(), about: format!("{at}: {label}"), now: None });
                    self.devices.push(decl);
                    self.sensors.push(sensor);
                }
                Err(error) => _ = remarks.insert(format!("{at}: {error}")),
            }
        }
        let note =
            (!remarks.is_empty()).then(|| format!("left out: {}", remarks.into_iter().collect::<Vec<_>>().join("; ")));
        if found.is_empty() {
            return Probe::Absent { why: note.unwrap_or_else(|| nothing_there(&class)) };
        }
        super::look(self, &mut found);
        Probe::Found { devices: found, note }
    }

    fn period_ns(&self) -> u64 {
        self.period_ns
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), PollError> {
        let (before, mut failure) = (into.len(), Failure::default());
        for (device, sensor) in (0_u16..).zip(&self.sensors) {
            let mut sample = Sample { device, ..Sample::default() };
            let power = sensor.power.iter().find_map(|file| failure.note(file, file.power()));
            let counter = sensor.energy.as_ref().and_then(|file| failure.note(file, file.counter()));
            // µW to mW, rounded to the nearest.
            sample.power = settle(power, &mut sample.refused).map(|uw| Milliwatts(uw.saturating_add(500) / 1000));
            sample.counter = settle(counter, &mut sample.refused).map(Microjoules);
            if sample != (Sample { device, ..Sample::default() }) {
                into.push(sample);
            }
        }
        if into.len() > before { Ok(()) } else { Err(failure.into_error()) }
    }

    fn devices(&self) -> &[DeviceDecl] {
        &self.devices
    }
}

/// Takes the value out of a reading, or notes why it is refused.
fn settle(reading: Reading, refused: &mut Option<Refusal>) -> Option<u64> {
    match reading? {
        Ok(value) => Some(value),
        Err(reason) => {
            *refused = Some(reason);
            None
        }
    }
}

/// What went wrong during one look.
#[derive(Default)]
struct Failure {
    last: Option<String>,
    gone: usize,
    files: usize,
}

impl Failure {
    fn note(&mut self, file: &Attribute, reading: std::io::Result<Reading>) -> Reading {
        self.files += 1;
        reading.unwrap_or_else(|error| {
            self.gone += usize::from(is_gone(&error));
            self.last = Some(format!("{}: {error}", file.path().display()));
            None
        })
    }

    fn into_error(self) -> PollError {
        let why = self.last.unwrap_or_else(|| "no sensor gave a value".into());
        if self.gone == self.files { PollError::Gone(why) } else { PollError::Retry(why) }
    }
}

impl Sensor {
    fn open(channel: &Channel) -> std::io::Result<Self> {
        let power = channel.power.iter().map(|path| Attribute::open(path)).collect::<Result<_, _>>()?;
        let energy = channel.energy.as_deref().map(Attribute::open).transpose()?;
        Ok(Self { power, energy })
    }
}

/// The device of a chip that the configuration vouches for: chip, place and channel.
fn configured_device(chip: &Chip, channel: &Channel) -> String {
    let channel = channel.label.clone().unwrap_or_else(|| channel.number.to_string());
    device_name(&format!("{}-{}-{channel}", chip.name, chip.device))
}

fn nothing_there(class: &Path) -> String {
    if class.is_dir() {
        format!(
            "no chip with a power or energy channel in {}: servers need the module acpi_power_meter, AMD GPUs amdgpu",
            class.display()
        )
    } else {
        format!("{} is missing: the kernel has no hwmon support, or a container hides it", class.display())
    }
}

#[cfg(test)]
#[path = "hwmon_tests.rs"]
mod tests;
