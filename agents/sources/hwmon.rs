//! Sensor chips of the kernel's hwmon class: AMD and Intel GPUs, ACPI power meters, Grace, power
//! supplies.
//!
//! A chip is read only if it is known what it measures: most power channels of a board (regulators,
//! rails, cores) are parts of something else, and a part that is added is counted twice. What is left
//! out is named by the probe, and `[sources.hwmon] chips` says what it is.
//!
//! `powerN_average` is preferred to `powerN_input`, `energyN_input` (µJ) is the counter. A file that
//! is empty or fails (`ENODATA`, `EAGAIN`, `EIO`: a GPU asleep, a bus busy) is no value. Neither a board
//! nor a machine that is read draws nothing: their zero is a value that is none.

pub(super) mod chips;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use meter::{AccountKey, DeviceDecl, Microjoules, Milliwatts, Refusal, Sample, Scope};

use super::file::{Attribute, Reading, boot_epoch, device_name, is_gone, text};
use super::missing::Missing;
use super::rapl::has_zones;
use super::{FoundDevice, HwmonSettings, PollError, Probe, Roots, Source, period_ns};
use chips::{Channel, Chip, Meaning, chips, meaning, sleeps};

/// The source `hwmon`.
#[derive(Debug)]
pub struct Hwmon {
    settings: HwmonSettings,
    roots: Roots,
    period_ns: u64,
    sensors: Vec<Sensor>,
    devices: Vec<DeviceDecl>,
    /// AMD's GPUs by PCI address, and the place of the device that measures each.
    amd: BTreeMap<String, Option<u16>>,
    missing: Missing,
    look_anew: bool,
}

/// The open files of one account.
#[derive(Debug)]
struct Sensor {
    power: Vec<Attribute>,
    energy: Option<Attribute>,
    /// Whether zero power is no value.
    never_zero: bool,
    /// The chip's folder, if the kernel may put its device to sleep.
    may_sleep: Option<PathBuf>,
}

/// A channel that will be read, and where it is booked.
struct Choice<'a> {
    chip: &'a Chip,
    channel: &'a Channel,
    scope: Scope,
    device: String,
    never_zero: bool,
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
            amd: BTreeMap::new(),
            missing: Missing::default(),
            look_anew: false,
        }
    }

    /// Which channels to read; why others are not goes to `remarks`.
    fn choose<'a>(&self, chips: &'a [Chip], remarks: &mut BTreeSet<String>) -> Vec<Choice<'a>> {
        let mut chosen = Vec::new();
        let (mut acpi, mut supplies) = (Vec::new(), Vec::new());
        let mut unknown = BTreeMap::new();
        for (chip, channel) in chips.iter().flat_map(|chip| chip.channels.iter().map(move |channel| (chip, channel))) {
            let choice = |scope, device, never_zero| Choice { chip, channel, scope, device, never_zero };
            if let Some(&scope) = self.settings.chips.get(&chip.name) {
                chosen.push(choice(scope, configured_device(chip, channel), false));
                continue;
            }
            match meaning(chip, channel) {
                Meaning::Account(scope, device) => {
                    let is_whole = !device.contains('/');
                    chosen.push(choice(scope, device, is_whole));
                }
                Meaning::AcpiMeter => acpi.push(choice(Scope::Chassis, "acpi-power-meter".into(), true)),
                // One of two supplies may stand by.
                Meaning::PowerSupply(device) => supplies.push(choice(Scope::Chassis, device, false)),
                Meaning::Apu(device) if has_zones(&self.roots.sys) => {
                    remarks.insert(format!("gpu:{device}: it measures the whole processor, which rapl reads"));
                }
                Meaning::Apu(device) => chosen.push(choice(Scope::Gpu, device, true)),
                Meaning::Ignored => {}
                Meaning::Unknown => *unknown.entry(&chip.name).or_insert(0) += 1,
            }
        }
        chosen.append(&mut self.chassis_meter(acpi, supplies, remarks));
        for (name, count) in unknown {
            let channels = if count == 1 { "channel" } else { "channels" };
            remarks.insert(format!(
                "chip {name}, {count} {channels}: not known to be a meter of its own, see `[sources.hwmon] chips`"
            ));
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
        self.amd.clear();
        let class = self.roots.sys.join("class/hwmon");
        let chips = chips(&class);
        let mut remarks = BTreeSet::new();
        unreadable(&chips, &mut remarks);
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
            match Sensor::open(&choice) {
                Ok(sensor) if is_second_die(&choice, &sensor) => {
                    self.amd.insert(choice.chip.device.clone(), None);
                    remarks.insert(format!(
                        "{at}: {} reads 0 W (of a card with two dies the first reads it whole)",
                        decl.key
                    ));
                }
                Ok(sensor) => {
                    let label = choice.channel.label.as_deref().map(|label| format!(": {label}"));
                    let about = format!("{at}{}", label.unwrap_or_default());
                    found.push(FoundDevice { decl: decl.clone(), about, now: None });
                    if choice.chip.name == "amdgpu" {
                        self.amd.insert(choice.chip.device.clone(), u16::try_from(self.devices.len()).ok());
                    }
                    self.devices.push(decl);
                    self.sensors.push(sensor);
                }
                Err(error) => {
                    if choice.chip.name == "amdgpu" {
                        // It has a number, but no device.
                        self.amd.insert(choice.chip.device.clone(), Some(u16::MAX));
                    }
                    remarks.insert(format!("{at}: {error}"));
                }
            }
        }
        let note =
            (!remarks.is_empty()).then(|| format!("left out: {}", remarks.into_iter().collect::<Vec<_>>().join("; ")));
        if found.is_empty() {
            return Probe::Absent { why: note.unwrap_or_else(|| nothing_there(&class)) };
        }
        self.missing.looked(found.len());
        super::look(self, &mut found);
        Probe::Found { devices: found, note }
    }

    fn period_ns(&self) -> u64 {
        self.period_ns
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), PollError> {
        if std::mem::take(&mut self.look_anew)
            && let Probe::Absent { why } = self.probe()
        {
            return Err(PollError::Gone(why));
        }
        let (before, mut failure, mut asleep) = (into.len(), Failure::default(), 0);
        for (device, sensor) in (0_u16..).zip(&self.sensors) {
            if sensor.may_sleep.as_deref().is_some_and(sleeps) {
                asleep += 1;
                continue;
            }
            let sample = sensor.read(device, &mut failure);
            if sample != (Sample { device, ..Sample::default() }) {
                into.push(sample);
            }
        }
        self.look_anew = self.missing.read(self.sensors.len() - failure.gone, self.period_ns);
        if failure.gone > 0 && self.missing.is_news() {
            tracing::warn!(what = failure.last, "a sensor is gone: looked for once a minute; the others go on");
        }
        if into.len() > before || asleep > 0 { Ok(()) } else { Err(failure.into_error(self.sensors.len())) }
    }

    fn devices(&self) -> &[DeviceDecl] {
        &self.devices
    }

    /// AMD's numbers, in the order of PCI addresses as its tools count them. A card with two dies counts twice, and
    /// its first die measures both.
    fn nicknames(&self) -> Vec<(u16, String)> {
        let mut first = None;
        let mut names = Vec::new();
        for (number, (address, place)) in self.amd.iter().enumerate() {
            first = place.or(first);
            names.extend(first.map(|place| (place, number.to_string())));
            names.extend(first.filter(|_| place.is_none()).map(|place| (place, address.clone())));
        }
        names
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
    /// Sensors whose files are all gone.
    gone: usize,
}

impl Failure {
    fn into_error(self, sensors: usize) -> PollError {
        let why = self.last.unwrap_or_else(|| "no sensor gave a value".into());
        if self.gone == sensors { PollError::Gone(why) } else { PollError::Retry(why) }
    }
}

impl Sensor {
    fn open(choice: &Choice<'_>) -> std::io::Result<Self> {
        let power = choice.channel.power.iter().map(|path| Attribute::open(path)).collect::<Result<_, _>>()?;
        let energy = choice.channel.energy.as_deref().map(Attribute::open).transpose()?;
        let control = text(&choice.chip.class.join("device/power/control"));
        let may_sleep = control.is_some_and(|control| control == "auto").then(|| choice.chip.class.clone());
        Ok(Self { power, energy, never_zero: choice.never_zero, may_sleep })
    }

    /// Whether it stands at zero power. One that sleeps is not asked.
    fn is_zero(&self) -> bool {
        let awake = !self.may_sleep.as_deref().is_some_and(sleeps);
        awake && self.power.iter().find_map(|file| file.power().ok().flatten()) == Some(Ok(0))
    }

    fn read(&self, device: u16, failure: &mut Failure) -> Sample {
        let (mut gone, mut files) = (0, 0);
        let mut note = |file: &Attribute, reading: std::io::Result<Reading>| {
            files += 1;
            reading.unwrap_or_else(|error| {
                gone += usize::from(is_gone(&error));
                failure.last = Some(format!("{}: {error}", file.path().display()));
                None
            })
        };
        let mut power = None;
        for file in &self.power {
            let found = note(file, file.power());
            // An average that is a "no value" mark does not hide a good input.
            if power.is_none() || matches!(found, Some(Ok(_))) {
                power = found;
            }
            if matches!(power, Some(Ok(_))) {
                break;
            }
        }
        let counter = self.energy.as_ref().and_then(|file| note(file, file.counter()));
        failure.gone += usize::from(gone == files);
        if self.never_zero && power == Some(Ok(0)) {
            power = Some(Err(Refusal::Sentinel));
        }
        let mut sample = Sample { device, ..Sample::default() };
        // µW to mW, rounded to the nearest.
        sample.power = settle(power, &mut sample.refused).map(|uw| Milliwatts(uw.saturating_add(500) / 1000));
        sample.counter = settle(counter, &mut sample.refused).map(Microjoules);
        sample
    }
}

/// Whether a chip is the second die of a card that its first die reads as a whole: the driver shows power and
/// limit of it as zero (`aldebaran_ppt.c` of Linux). A card that only now reads zero has a limit.
fn is_second_die(choice: &Choice<'_>, sensor: &Sensor) -> bool {
    choice.chip.name == "amdgpu" && choice.channel.limit_uw == 0 && sensor.is_zero()
}

/// Notes what cannot be read of these chips at all.
fn unreadable(chips: &[Chip], remarks: &mut BTreeSet<String>) {
    let mut products = BTreeMap::new();
    for chip in chips {
        for channel in &chip.disabled {
            remarks.insert(format!("chip {}, {channel}: switched off", chip.name));
        }
        if chip.channels.is_empty() && chip.disabled.is_empty() {
            *products.entry(&chip.name).or_insert(0) += 1;
        }
    }
    for (name, count) in products {
        let times = if count == 1 { String::new() } else { format!(", {count} times") };
        remarks.insert(format!("chip {name}{times}: volts and amperes but no power"));
    }
}

/// The device of a chip that the configuration vouches for: chip, place and channel.
fn configured_device(chip: &Chip, channel: &Channel) -> String {
    let has_label = |other: &&Channel| other.label == channel.label;
    let own = match &channel.label {
        Some(label) if chip.channels.iter().filter(has_label).count() == 1 => label.clone(),
        Some(label) => format!("{label}-{}", channel.number),
        None => channel.number.to_string(),
    };
    device_name(&format!("{}-{}-{own}", chip.name, chip.device))
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
mod tests;
