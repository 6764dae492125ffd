//! The whole machine by its BMC, in band: DCMI's power reading over IPMI.
//!
//! The account is `chassis: dcmi`. It is asked through the kernel's device; or, where the configuration
//! names one, by a program that prints the reading (`ipmitool`, FreeIPMI's `ipmi-dcmi`). By default no
//! program is started: a process per reading costs more than every other source, and what a machine runs
//! is its operator's to say.
//!
//! What is booked is the current power. The average beside it is over a span that BMCs set as they like:
//! a second, or all the time since they were started.

mod dcmi;
mod ways;

use std::path::Path;
use std::time::Duration;

use meter::{AccountKey, DeviceDecl, Milliwatts, Sample, Scope};
use serde::{Deserialize, Serialize};

use super::{FoundDevice, PollError, Probe, Roots, Source, period_ns};
use dcmi::PowerReading;
use ways::{Bmc, Device, Program, Trouble};

/// Settings of the source `ipmi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IpmiSettings {
    /// Whether to ask the machine's own BMC.
    pub enabled: bool,
    /// Milliseconds between readings. BMCs renew their power every second to every minute.
    pub period_ms: u64,
    /// Longest time for one answer, in milliseconds.
    pub timeout_ms: u64,
    /// The kernel's devices; the first that is there is asked.
    #[serde(deserialize_with = "crate::config::list")]
    pub devices: Vec<String>,
    /// A program that prints the reading, and its arguments; asked where no device can be. Empty: none.
    #[serde(deserialize_with = "crate::config::list")]
    pub command: Vec<String>,
    /// Whether a reading counts that the BMC does not call active: some measure and never set that bit.
    pub trust_inactive: bool,
}

impl Default for IpmiSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            period_ms: 5000,
            timeout_ms: 5000,
            devices: ["/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0"].map(Into::into).into(),
            command: Vec::new(),
            trust_inactive: false,
        }
    }
}

/// The source `ipmi`.
#[derive(Debug)]
pub struct Ipmi {
    settings: IpmiSettings,
    roots: Roots,
    period_ns: u64,
    bmc: Option<Box<dyn Bmc>>,
    devices: Vec<DeviceDecl>,
}

impl Ipmi {
    /// A source that opens its device or runs its program when it is probed.
    #[must_use]
    pub fn new(settings: &IpmiSettings, roots: &Roots) -> Self {
        Self {
            settings: settings.clone(),
            roots: roots.clone(),
            period_ns: period_ns(settings.period_ms),
            bmc: None,
            devices: Vec::new(),
        }
    }

    /// The ways there are, best first.
    fn ways(&self) -> Vec<Box<dyn Bmc>> {
        let limit = Duration::from_millis(self.settings.timeout_ms.clamp(100, 60_000));
        let device = self.settings.devices.iter().find(|path| Path::new(path).exists());
        let device = device.map(|path| Box::new(Device::new(path, limit)) as Box<dyn Bmc>);
        let command = &self.settings.command;
        let program = (!command.is_empty()).then(|| Box::new(Program::new(command, limit)) as Box<dyn Bmc>);
        device.into_iter().chain(program).collect()
    }

    fn sample(&self, answer: Result<PowerReading, Trouble>) -> Result<Sample, Trouble> {
        let power = match answer {
            Ok(reading) => reading.power(self.settings.trust_inactive),
            Err(Trouble::Refused(reason)) => Err(reason),
            Err(trouble) => return Err(trouble),
        };
        Ok(Sample { power: power.ok(), refused: power.err(), ..Sample::default() })
    }

    /// Takes a way into use that answered, or that may answer yet.
    fn found(&mut self, bmc: Box<dyn Bmc>, answer: Result<PowerReading, Trouble>) -> Option<Probe> {
        let key = AccountKey::new(Scope::Chassis, "dcmi").ok()?;
        let decl = DeviceDecl { key, period_ns: self.period_ns, limit: Milliwatts(0), modulus: None, epoch: 0 };
        let about = format!("the machine by its BMC, {}{}", bmc.place(), statistics(answer.as_ref().ok()));
        let note = match &answer {
            Ok(reading) => self.doubts(reading),
            Err(Trouble::Refused(_)) => Some("the BMC's answer is no power reading; it is asked on".into()),
            Err(Trouble::Passing(why) | Trouble::Lasting(why)) => Some(format!("{why}; it is asked on")),
        };
        let now = self.sample(answer).ok();
        self.bmc = Some(bmc);
        self.devices = vec![decl.clone()];
        Some(Probe::Found { devices: vec![FoundDevice { decl, about, now }], note })
    }

    /// What a person should know of a reading that is not booked.
    fn doubts(&self, reading: &PowerReading) -> Option<String> {
        let watts = reading.current_w;
        if !reading.active && !self.settings.trust_inactive {
            return Some(format!(
                "the BMC says that it does not measure now, beside {watts} W: compare with `ipmitool dcmi power \
                 reading`; if the watts are right, `[sources.ipmi] trust_inactive = true` books them"
            ));
        }
        let why = "the BMC has no power meter, or has not read it yet; it is asked on";
        reading.power(true).is_err().then(|| format!("{watts} W is no power of a running machine: {why}"))
    }
}

impl Source for Ipmi {
    fn name(&self) -> &'static str {
        "ipmi"
    }

    fn probe(&mut self) -> Probe {
        (self.bmc, self.devices) = (None, Vec::new());
        let mut reasons = Vec::new();
        for mut bmc in self.ways() {
            match bmc.ask() {
                Err(Trouble::Lasting(why)) => reasons.push(why),
                answer => {
                    if let Some(found) = self.found(bmc, answer) {
                        return found;
                    }
                }
            }
        }
        if reasons.is_empty() {
            reasons.push(no_device(&self.roots.sys, &self.settings.devices));
        }
        Probe::Absent { why: reasons.join("; ") }
    }

    fn period_ns(&self) -> u64 {
        self.period_ns
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), PollError> {
        let Some(bmc) = &mut self.bmc else { return Err(PollError::Gone("not probed".into())) };
        let answer = bmc.ask();
        match self.sample(answer) {
            Ok(sample) => {
                into.push(sample);
                Ok(())
            }
            Err(Trouble::Lasting(why)) => Err(PollError::Gone(why)),
            Err(Trouble::Passing(why)) => Err(PollError::Retry(why)),
            Err(Trouble::Refused(reason)) => Err(PollError::Retry(reason.to_string())),
        }
    }

    fn devices(&self) -> &[DeviceDecl] {
        &self.devices
    }
}

/// What the BMC itself says of its past, for people.
fn statistics(reading: Option<&PowerReading>) -> String {
    let Some(past) = reading.and_then(|reading| reading.statistics) else { return String::new() };
    let (least, most, average) = (past.minimum_w, past.maximum_w, past.average_w);
    format!("; by its own count {least} to {most} W, on average {average} W over {} ms", past.frame_ms)
}

/// Why there is no device, by the modules that make one.
fn no_device(sys: &Path, devices: &[String]) -> String {
    let loaded = |module: &str| sys.join("module").join(module).exists();
    let missing = format!("none of {} is there", devices.join(", "));
    let hint = match (loaded("ipmi_si") || loaded("ipmi_ssif") || loaded("ipmi_powernv"), loaded("ipmi_devintf")) {
        (true, true) => "the modules are loaded: a container hides the device, or the board has no BMC",
        (true, false) => "load the module ipmi_devintf",
        (false, _) => {
            "no BMC here (virtual machines have none), or the modules ipmi_si and ipmi_devintf are not loaded"
        }
    };
    format!("{missing}: {hint}")
}

#[cfg(test)]
mod tests;
