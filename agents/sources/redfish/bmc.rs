//! One target: a BMC, or a power distribution unit.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use meter::{AccountKey, DeviceDecl, Labels, Milliwatts, Owner, Sample, Scope};

use super::client::{Client, NoAnswer};
use super::document::Document;
use super::figures::Gauge;
use super::resources::{self, System};
use super::settings::Kind;
use super::survey::{self, Machine, optional};
use crate::sources::target::{Outlet, Reach, Target};
use crate::sources::{FoundDevice, PollError};

/// Failures in a row after which everything is looked for anew: firmware may have changed meanwhile.
const FAILURES_MAX: u32 = 3;

/// How many readings lie between two looks at whether the machine is on.
const LOOK_EVERY: u32 = 30;

/// Longest time between readings, however rarely there is a new value: a failure then costs no more.
const PERIOD_MAX_NS: u64 = 60_000_000_000;

/// What the configuration says of a target.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) owner: Owner,
    pub(super) kind: Kind,
    /// Labels from the configuration, `hw.host` among them.
    pub(super) labels: Labels,
    pub(super) period_ns: u64,
    /// Whether the outlets of a power distribution unit are read.
    pub(super) outlets: bool,
}

/// A BMC or a power distribution unit.
#[derive(Debug)]
pub(super) struct Bmc {
    client: Client,
    site: Site,
    outlets: Vec<Outlet>,
    /// Per outlet and device, where its values stand.
    gauges: Vec<Vec<Gauge>>,
    /// Where it says whether the machine is on.
    system: Option<String>,
    readings: u32,
    failures: u32,
    /// The next reading: there is no new value before, or it wants to be left alone.
    not_before: Option<Instant>,
}

impl Bmc {
    pub(super) fn new(client: Client, site: Site) -> Self {
        let (outlets, gauges) = (Vec::new(), Vec::new());
        Self { client, site, outlets, gauges, system: None, readings: 0, failures: 0, not_before: None }
    }

    async fn look(&mut self) -> Result<Reach, NoAnswer> {
        self.outlets.clear();
        self.gauges.clear();
        self.system = None;
        let remarks = match self.site.kind {
            Kind::Chassis => {
                let machine = survey::machine(&mut self.client).await?;
                self.furnish(machine)
            }
            Kind::Meter => {
                let units = survey::units(&mut self.client, self.site.outlets).await?;
                let several = units.len() > 1;
                for unit in units {
                    let labels = resources::labels(None, Some(&unit.chassis));
                    let name = if several {
                        format!("{}-{}", self.site.owner.name, unit.id)
                    } else {
                        self.site.owner.name.to_string()
                    };
                    let serial = unit.chassis.serial.unwrap_or_default();
                    self.add(&name, labels, (Scope::Pdu, "mains"), unit.gauges, &serial);
                }
                Vec::new()
            }
        };
        let note = (!remarks.is_empty()).then(|| format!("left out: {}", remarks.join("; ")));
        if self.gauges.iter().all(Vec::is_empty) {
            let why = note.unwrap_or_else(|| "no resource of it says how much power it draws".into());
            return Ok(Reach::Absent { why: format!("{}: no meter: {why}", self.address()) });
        }
        let mut now: Vec<Vec<Sample>> = self.outlets.iter().map(|_| Vec::new()).collect();
        self.read_all(&mut now).await?;
        let devices = self.outlets.iter().zip(&self.gauges).zip(now);
        let devices = devices.map(|((outlet, gauges), now)| found(outlet, gauges, &now)).collect();
        Ok(Reach::Found { devices, note })
    }

    /// Makes outlets of what was found; tells what was left out.
    fn furnish(&mut self, machine: Machine) -> Vec<String> {
        let mut labels = resources::labels(machine.system.as_ref(), machine.chassis.as_ref());
        let enclosure =
            machine.enclosure.and_then(|(chassis, gauges)| Some((chassis.enclosure_name()?, chassis, gauges)));
        if let Some((name, ..)) = &enclosure {
            labels.insert("hw.enclosure".into(), name.clone());
        }
        let serial = labels.get("hw.serial").cloned().unwrap_or_default();
        let name = self.site.owner.name.to_string();
        self.system = machine.system.map(|system| system.path);
        self.add(&name, labels, (Scope::Chassis, "bmc"), machine.gauges, &serial);
        if let Some((name, chassis, gauges)) = enclosure {
            let labels = resources::labels(None, Some(&chassis));
            let serial = chassis.serial.unwrap_or_default();
            self.add(&name, labels, (Scope::Chassis, "bmc"), gauges, &serial);
        }
        machine.remarks
    }

    /// Adds an outlet. What the configuration says of the target counts for the one it is for.
    fn add(&mut self, name: &str, mut labels: Labels, (scope, base): (Scope, &str), gauges: Vec<Gauge>, serial: &str) {
        let Ok(owner) = Owner::new(&self.site.owner.cluster, self.site.kind.owner(), name) else { return };
        if owner == self.site.owner || self.site.kind == Kind::Meter {
            labels.extend(self.site.labels.clone());
        }
        let declare = |gauge: &Gauge| {
            let device = if gauge.part.is_empty() { base.to_owned() } else { format!("{base}/{}", gauge.part) };
            Some(DeviceDecl {
                key: AccountKey::new(scope, &device).ok()?,
                period_ns: gauge.period_ns.max(self.site.period_ns),
                limit: Milliwatts(0),
                modulus: None,
                epoch: gauge.epoch(serial),
            })
        };
        let (gauges, devices) = gauges
            .into_iter()
            .filter_map(|gauge| Some((declare(&gauge)?, gauge)))
            .map(|(device, gauge)| (gauge, device))
            .unzip();
        self.outlets.push(Outlet { owner, labels, devices });
        self.gauges.push(gauges);
    }

    /// Reads every resource once, one after the other.
    async fn read_all(&mut self, into: &mut [Vec<Sample>]) -> Result<(), NoAnswer> {
        let mut paths: Vec<String> = self.gauges.iter().flatten().map(|gauge| gauge.path.clone()).collect();
        paths.dedup();
        let mut last = None;
        for path in paths {
            match self.client.get(&path).await {
                Ok(text) => match Document::parse(&text) {
                    Ok(document) => self.take(&path, document, into)?,
                    Err(why) => last = Some(NoAnswer::Wrong(format!("{path}: {why}"))),
                },
                Err(error @ (NoAnswer::Missing(_) | NoAnswer::Wrong(_))) => last = Some(error),
                // Nothing else would be answered either.
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
        }
        match last {
            Some(error) if into.iter().all(Vec::is_empty) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes from a document the values of all devices whose values stand there.
    fn take(&self, path: &str, document: Document<'_>, into: &mut [Vec<Sample>]) -> Result<(), NoAnswer> {
        for (gauges, samples) in self.gauges.iter().zip(into) {
            for (device, gauge) in (0_u16..).zip(gauges).filter(|(_, gauge)| gauge.path == path) {
                if let Some(why) = gauge.outdated(document) {
                    return Err(NoAnswer::Missing(why));
                }
                let values = gauge.read(document);
                let refused = [values.power.and_then(Result::err), values.counter.and_then(Result::err)];
                samples.push(Sample {
                    device,
                    power: values.power.and_then(Result::ok),
                    counter: values.counter.and_then(Result::ok),
                    refused: refused.into_iter().flatten().next(),
                });
            }
            samples.sort_by_key(|sample| sample.device);
        }
        Ok(())
    }

    /// Looks now and then whether the machine is on. What fails here is no news: the readings tell.
    async fn look_at_power(&mut self) {
        self.readings = self.readings.wrapping_add(1);
        let Some(path) = self.system.clone().filter(|_| self.readings.is_multiple_of(LOOK_EVERY)) else { return };
        let Ok(Some(text)) = optional(self.client.get(&path).await) else { return };
        let Ok(document) = Document::parse(&text) else { return };
        if let (Some(on), Some(outlet)) = (System::parse(&path, document).on, self.outlets.first_mut()) {
            outlet.labels.insert("hw.power".into(), resources::power_word(on).into());
        }
    }

    /// How much longer there is nothing to ask for.
    fn rest(&self) -> Option<Duration> {
        self.not_before?.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    }

    /// When there is a new value, as far as it is known. Half a period early is not too early.
    fn renewed_in(&self) -> Option<Duration> {
        let renewed = self.gauges.iter().flatten().map(|gauge| gauge.period_ns).min()?.min(PERIOD_MAX_NS);
        Some(Duration::from_nanos(renewed.checked_sub(self.site.period_ns / 2)?))
    }

    fn succeeded(&mut self, began: Instant) {
        self.failures = 0;
        self.not_before = self.renewed_in().map(|wait| began + wait);
    }

    /// Notes a failure. The first costs one reading: the next is tried as ever, unless it asked for more time.
    fn failed(&mut self, error: &NoAnswer) {
        let period = Duration::from_nanos(self.site.period_ns);
        let wait = period.saturating_mul(self.failures.min(FAILURES_MAX));
        self.failures = self.failures.saturating_add(1);
        let asked = match error {
            NoAnswer::Busy(_, Some(asked)) => *asked,
            _ => Duration::ZERO,
        };
        self.not_before = Some(Instant::now() + wait.max(asked));
    }

    async fn read_once(&mut self, into: &mut [Vec<Sample>]) -> Result<(), PollError> {
        if self.gauges.iter().all(Vec::is_empty) {
            return Err(PollError::Gone(format!("{}: not looked at yet", self.address())));
        }
        if let Some(rest) = self.rest() {
            let why = || format!("{} is left alone for {} s", self.address(), rest.as_secs() + 1);
            return if self.failures == 0 { Ok(()) } else { Err(PollError::Retry(why())) };
        }
        let began = Instant::now();
        match self.read_all(into).await {
            Ok(()) => {
                self.succeeded(began);
                self.look_at_power().await;
                Ok(())
            }
            Err(error) => {
                into.iter_mut().for_each(Vec::clear);
                self.failed(&error);
                let why = format!("{} {error}", self.address());
                let gone = matches!(error, NoAnswer::Missing(_)) || self.failures >= FAILURES_MAX;
                Err(if gone { PollError::Gone(why) } else { PollError::Retry(why) })
            }
        }
    }
}

/// What a probe shows of an outlet's devices.
fn found(outlet: &Outlet, gauges: &[Gauge], now: &[Sample]) -> Vec<FoundDevice> {
    let about = |gauge: &Gauge| format!("{}, {}", outlet.owner.name, gauge.about);
    let devices = outlet.devices.iter().zip(gauges).zip(0_u16..);
    let now = |device| now.iter().find(|sample| sample.device == device).copied();
    devices
        .map(|((decl, gauge), device)| FoundDevice { decl: decl.clone(), about: about(gauge), now: now(device) })
        .collect()
}

impl Target for Bmc {
    fn name(&self) -> &'static str {
        "redfish"
    }

    fn address(&self) -> &str {
        self.client.address()
    }

    fn owner(&self) -> &Owner {
        &self.site.owner
    }

    fn period_ns(&self) -> u64 {
        self.site.period_ns
    }

    fn probe(&mut self) -> BoxFuture<'_, Reach> {
        async move {
            if let Some(rest) = self.rest().filter(|_| self.failures > 0) {
                return Reach::Absent { why: format!("{} is left alone for {} s", self.address(), rest.as_secs() + 1) };
            }
            match self.look().await {
                Ok(reach) => {
                    (self.failures, self.not_before) = (0, None);
                    reach
                }
                Err(error) => {
                    self.failed(&error);
                    Reach::Absent { why: format!("{} {error}", self.address()) }
                }
            }
        }
        .boxed()
    }

    fn outlets(&self) -> &[Outlet] {
        &self.outlets
    }

    fn read<'a>(&'a mut self, into: &'a mut [Vec<Sample>]) -> BoxFuture<'a, Result<(), PollError>> {
        self.read_once(into).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.client.close().boxed()
    }
}
