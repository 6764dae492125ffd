//! A made-up machine: eight GPUs, two CPU packages and a chassis meter, for demonstrations and tests.
//!
//! What it gives looks like the real thing: GPUs a counter in mJ steps and a power averaged over a
//! second, packages a counter that wraps like Intel's, the chassis an averaged power without counter:
//! what the components draw with 6 % lost in the supplies, and 350 W for fans and the rest. Every
//! description says that it is simulated; whoever runs it also labels the host `simulated=true`.

mod workload;

use std::time::{SystemTime, UNIX_EPOCH};

use meter::{
    AccountKey, Clock, Context, DeviceDecl, Microjoules, Milliwatts, NameError, Owner, Record, Sample, Scope, Utc,
};

use super::replay::RecordedOwner;
use super::{FoundDevice, PollError, Probe, SimulatedSettings, Source, period_ns};
use workload::{Load, ORIGIN, Week};

/// Idle, low and high power of a GPU like an H100, in mW.
const GPU_MW: [u64; 3] = [75_000, 320_000, 680_000];
/// Idle, low and high power of a CPU package, in mW.
const CPU_MW: [u64; 3] = [65_000, 140_000, 240_000];
/// Where Intel's counters wrap, in µJ.
const CPU_WRAP_UJ: u64 = 262_143_328_850;
/// Chassis: watts drawn beside the components, and thousandths of theirs for the supplies' losses.
const BASE_MW: u64 = 350_000;
const SUPPLY_PERMILLE: u64 = 1064;
/// Most GPUs of one machine: the largest systems sold have 16.
const GPUS_MAX: u8 = 16;
/// What the made-up meters average over, at least.
const AVERAGE_NS: u64 = 1_000_000_000;
/// Longest step of a history: the CPU counters wrap every 18 minutes at full load.
const STEP_MAX_NS: u64 = 600_000_000_000;

/// A made-up machine. All it gives is a function of its seed, its number and the instant.
#[derive(Clone, Debug)]
pub struct SimulatedHost {
    week: Week,
    gpus: Vec<Load>,
    cpus: Vec<Load>,
    keys: Vec<AccountKey>,
    epoch: u64,
}

impl SimulatedHost {
    /// Machine number `host` of the fleet `seed`, with `gpus` GPUs (at most 16).
    ///
    /// # Errors
    /// Never in practice: the device names are well-formed.
    pub fn new(seed: u64, host: u32, gpus: u8) -> Result<Self, NameError> {
        let gpus = gpus.min(GPUS_MAX);
        let gpu = |n| AccountKey::new(Scope::Gpu, &format!("GPU-simulated-{seed:x}-{host:05}-{n}"));
        let mut keys = (0..gpus).map(gpu).collect::<Result<Vec<_>, _>>()?;
        for package in ["package-0", "package-1"] {
            keys.push(AccountKey::new(Scope::Cpu, package)?);
        }
        keys.push(AccountKey::new(Scope::Chassis, "simulated")?);
        let load = |device: u64, power| Load::new(seed, host, device, power);
        Ok(Self {
            week: Week::new(seed, host),
            gpus: (0..gpus.into()).map(|n| load(n, GPU_MW)).collect(),
            cpus: (0..2).map(|n| load(100 + n, CPU_MW)).collect(),
            keys,
            epoch: meter::hash::epoch(&format!("simulated/{seed}/{host}")),
        })
    }

    /// The machine's devices, read every `period_ns` nanoseconds: GPUs, packages, chassis.
    #[must_use]
    pub fn devices(&self, period_ns: u64) -> Vec<DeviceDecl> {
        let declare = |key: &AccountKey| {
            let (limit, modulus, epoch) = match key.scope {
                Scope::Gpu => (700_000, None, self.epoch),
                Scope::Cpu => (350_000, Some(Microjoules(CPU_WRAP_UJ)), self.epoch),
                _ => (0, None, 0),
            };
            DeviceDecl { key: key.clone(), period_ns, limit: Milliwatts(limit), modulus, epoch }
        };
        self.keys.iter().map(declare).collect()
    }

    /// Every device's values at an instant, for readings `period_ns` nanoseconds apart; nothing before
    /// 2024, where the model begins.
    pub fn samples(&self, at: Utc, period_ns: u64, into: &mut Vec<Sample>) {
        let window = period_ns.max(AVERAGE_NS);
        if at.0 < ORIGIN.0.saturating_add_unsigned(window) {
            return;
        }
        let gpus = self.gpus.iter().map(|load| {
            let before = load.energy_pj(&self.week, earlier(at, window));
            let now = load.energy_pj(&self.week, at);
            (Some(average(now - before, window)), Some(Microjoules(whole(now / 1_000_000_000) * 1000)))
        });
        let cpus = self.cpus.iter().map(|load| {
            let uj = load.energy_pj(&self.week, at) / 1_000_000;
            (None, Some(Microjoules(whole(uj % u128::from(CPU_WRAP_UJ)))))
        });
        let chassis = self.chassis_pj(at) - self.chassis_pj(earlier(at, window));
        let values = gpus.chain(cpus).chain([(Some(average(chassis, window)), None)]);
        for (device, (power, counter)) in (0_u16..).zip(values) {
            into.push(Sample { device, power, counter, refused: None });
        }
    }

    /// The energy the chassis drew since the model began, in pJ, rounded down.
    fn chassis_pj(&self, at: Utc) -> u128 {
        let parts: u128 = self.gpus.iter().chain(&self.cpus).map(|load| load.energy_pj(&self.week, at)).sum();
        u128::from(BASE_MW) * u128::from(at.since(ORIGIN)) + parts * u128::from(SUPPLY_PERMILLE) / 1000
    }
}

/// What `host` would have given from `from` to before `to`, read every `step_ns` nanoseconds (at most
/// ten minutes): as if recorded. Its counters are those of the live source, so that the two join.
#[must_use]
pub fn history(host: &SimulatedHost, owner: Owner, from: Utc, to: Utc, step_ns: u64) -> RecordedOwner {
    let step_ns = step_ns.clamp(1_000_000, STEP_MAX_NS);
    let context = Context { clock: Clock::Utc, wall_offset_ns: 0, devices: host.devices(step_ns) };
    let id = wire::context_id(&context);
    let instants = (0..).map_while(|n: i64| {
        let at = from.0.checked_add(n.checked_mul(i64::try_from(step_ns).ok()?)?)?;
        (at < to.0).then_some(Utc(at))
    });
    let records = instants.filter_map(|at| {
        let mut samples = Vec::with_capacity(host.keys.len());
        host.samples(at, step_ns, &mut samples);
        let record = Record { context: id, at: u64::try_from(at.0).ok()?, samples, ..Record::default() };
        (!record.samples.is_empty()).then_some(record)
    });
    RecordedOwner { owner, records: records.collect(), contexts: vec![context] }
}

/// The source `simulated`: a made-up machine, read now.
pub struct Simulated {
    host: Option<SimulatedHost>,
    period_ns: u64,
    now: Box<dyn Fn() -> Utc + Send>,
    devices: Vec<DeviceDecl>,
}

impl Simulated {
    /// The machine that the settings name, at the machine's own time.
    #[must_use]
    pub fn new(settings: &SimulatedSettings) -> Self {
        Self::at(settings, Box::new(wall_by_boot_clock()))
    }

    /// The machine that the settings name, at the time that `now` tells.
    #[must_use]
    pub fn at(settings: &SimulatedSettings, now: Box<dyn Fn() -> Utc + Send>) -> Self {
        let host = SimulatedHost::new(settings.seed, settings.host, settings.gpus).ok();
        Self { host, period_ns: period_ns(settings.period_ms), now, devices: Vec::new() }
    }
}

impl Source for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn probe(&mut self) -> Probe {
        let Some(host) = &self.host else { return Probe::Absent { why: "the model has no names".into() } };
        self.devices = host.devices(self.period_ns);
        let mut now = Vec::new();
        host.samples((self.now)(), self.period_ns, &mut now);
        let found = self.devices.iter().enumerate().map(|(n, decl)| FoundDevice {
            decl: decl.clone(),
            about: format!("simulated {}: no such hardware", decl.key.scope),
            now: now.get(n).copied(),
        });
        let note = "simulated: a made-up machine, nothing here is measured";
        Probe::Found { devices: found.collect(), note: Some(note.into()) }
    }

    fn period_ns(&self) -> u64 {
        self.period_ns
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), PollError> {
        let before = into.len();
        if let Some(host) = &self.host {
            host.samples((self.now)(), self.period_ns, into);
        }
        if into.len() > before { Ok(()) } else { Err(PollError::Broken("the model begins in 2024".into())) }
    }

    fn devices(&self) -> &[DeviceDecl] {
        &self.devices
    }

    fn nicknames(&self) -> Vec<(u16, String)> {
        let gpus = (0_u16..).zip(&self.devices).filter(|(_, device)| device.key.scope == Scope::Gpu);
        gpus.map(|(place, _)| (place, place.to_string())).collect()
    }
}

/// Wall time as it was at the start plus what the boot clock counted since: no step of the wall clock
/// makes the counters jump.
fn wall_by_boot_clock() -> impl Fn() -> Utc + Send {
    let boot_ns = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    };
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let offset = i64::try_from(wall).unwrap_or(i64::MAX) - boot_ns();
    move || Utc(offset + boot_ns())
}

fn earlier(at: Utc, ns: u64) -> Utc {
    Utc(at.0.saturating_sub_unsigned(ns))
}

/// mW over `ns` nanoseconds, rounded down.
fn average(pj: u128, ns: u64) -> Milliwatts {
    Milliwatts(whole(pj / u128::from(ns.max(1))))
}

/// The model's figures stay below 2^64 for thousands of years.
fn whole(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u64 = 10_000_000_000;

    fn host() -> SimulatedHost {
        SimulatedHost::new(42, 3, 8).expect("good names")
    }

    fn recorded(hours: i64) -> RecordedOwner {
        let from = Utc(1_790_000_000_000_000_000);
        let to = Utc(from.0 + hours * 3_600_000_000_000);
        history(&host(), Owner::host("sim-003").expect("a good name"), from, to, STEP)
    }

    /// The instant power of every component, read off the curve each 100 ms: an independent slow sum.
    fn slow_sum_uj(host: &SimulatedHost, loads: &[Load], from: i64, ns: i64) -> u128 {
        let instants = (0..ns / 100_000_000).map(|n| Utc(from + n * 100_000_000));
        let power = |at: Utc| loads.iter().map(|load| u128::from(load.power(&host.week, at))).sum::<u128>();
        instants.map(|at| power(at) * 100).sum()
    }

    #[test]
    fn counters_agree_with_a_slow_sum_of_the_power_also_over_a_wrap() {
        let (host, history) = (host(), recorded(2));
        let (first, last) = (&history.records[0], history.records.last().expect("records"));
        let span = (last.at - first.at) as i64;
        for (device, load) in host.gpus.iter().chain(&host.cpus).enumerate() {
            let counter = |record: &Record| record.samples[device].counter.expect("a counter").0;
            // Differences as the ledger takes them: wrapped at the declared modulus.
            let modulus = history.contexts[0].devices[device].modulus.map_or(u64::MAX, |m| m.0);
            let steps = history.records.windows(2).map(|pair| {
                let (a, b) = (counter(&pair[0]), counter(&pair[1]));
                u128::from(if b >= a { b - a } else { b + modulus - a })
            });
            let slow = slow_sum_uj(&host, std::slice::from_ref(load), first.at as i64, span);
            let counted: u128 = steps.sum();
            // GPU counters tick in mJ, so either end may be off by one.
            assert!(counted.abs_diff(slow) <= 1000, "device {device}: {counted} µJ, by hand {slow} µJ");
        }
        let wraps = history.records.windows(2).filter(|pair| pair[1].samples[8].counter < pair[0].samples[8].counter);
        assert!(wraps.count() >= 1, "no wrap was seen");
    }

    #[test]
    fn the_chassis_draws_its_base_and_the_components_with_their_losses() {
        let (host, history) = (host(), recorded(1));
        let all: Vec<Load> = host.gpus.iter().chain(&host.cpus).cloned().collect();
        // Each reading is the average of the step before it, so their sum is the energy up to the last.
        let sum: u128 = history.records[1..].iter().map(|r| u128::from(r.samples[10].power.expect("power").0)).sum();
        let (first, last) = (history.records[0].at, history.records[history.records.len() - 1].at);
        let parts = slow_sum_uj(&host, &all, first as i64, (last - first) as i64);
        let expected = 350_000 * u128::from(last - first) / 1_000_000 + parts * 1064 / 1000;
        let metered = sum * u128::from(STEP) / 1_000_000;
        // Every average is rounded down by less than a milliwatt.
        let rounding = u128::from(last - first) / 1_000_000;
        assert!(metered <= expected && expected - metered <= rounding, "{metered} µJ, by hand {expected} µJ");
    }

    #[test]
    fn history_and_live_readings_are_the_same_function() {
        let history = recorded(1);
        let at = Utc(history.records[30].at as i64);
        let settings = SimulatedSettings { seed: 42, host: 3, period_ms: 10_000, ..SimulatedSettings::default() };
        let mut live = Simulated::at(&settings, Box::new(move || at));
        let Probe::Found { devices, note } = live.probe() else { panic!("nothing found") };
        assert!(note.is_some_and(|note| note.contains("simulated")));
        assert!(devices.iter().all(|device| device.about.contains("simulated")));
        let mut samples = Vec::new();
        live.read(&mut samples).expect("read");
        assert_eq!(samples, history.records[30].samples);
        assert_eq!(live.devices(), history.contexts[0].devices);
    }

    #[test]
    fn nothing_was_drawn_before_the_model_began() {
        let mut samples = Vec::new();
        host().samples(Utc(0), STEP, &mut samples);
        assert!(samples.is_empty());
        let from = Utc(ORIGIN.0 - 60_000_000_000);
        let owner = Owner::host("sim").expect("a good name");
        let history = history(&host(), owner, from, Utc(ORIGIN.0 + 60_000_000_000), STEP);
        assert_eq!(history.records[0].at, (ORIGIN.0 as u64) + STEP, "the first whole average");
    }

    #[test]
    fn the_boot_clock_carries_the_wall_clock_on() {
        let now = wall_by_boot_clock();
        let first = now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i64;
        assert!((wall - first.0).abs() < 1_000_000_000, "{wall} is far from {}", first.0);
        assert!(now() >= first);
    }
}
