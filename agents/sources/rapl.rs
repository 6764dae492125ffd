//! CPU packages, memory and platform by the kernel's powercap zones (RAPL).
//!
//! **Accounts.** `package-N` (also `package-N-die-M`) is `cpu: package-N`; its zones `core` and
//! `uncore` are the parts `cpu: package-N/core` and `…/uncore`, so they are never added to it; its
//! zone `dram` is `dram: package-N`, beside the package and not in it. `psys` is `cpu: psys`: it
//! contains every package and the memory, and whoever draws the boundary knows it by that name. The
//! `psys-N` of a further socket is left out: whether it repeats the platform is documented nowhere.
//! Two sockets are two accounts.
//!
//! **Modulus.** The register has 32 bits of about 15 or 61 µJ. The kernel reports
//! `max_energy_range_uj` = (2³² − 1) · unit, so the true wrap is one unit later; `wraps_at` finds the
//! unit and declares that, to the microjoule. A zone without a readable range is not used: a wrap would
//! look like a reset.
//!
//! **Duplicates.** `intel-rapl-mmio` shows the same registers a second time and is dropped wherever
//! `intel-rapl` has a zone of that name. Dies of one package that stand at the same value show one register.
//! A counter that stands at exactly zero is one the board does not wire (often psys or dram) and is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use meter::{AccountKey, DeviceDecl, Microjoules, Milliwatts, Sample, Scope};

use super::file::{Attribute, boot_epoch, device_name, is_gone, text, whole};
use super::missing::Missing;
use super::{FoundDevice, PollError, Probe, RaplSettings, Roots, Source, period_ns};

/// The source `rapl`.
#[derive(Debug)]
pub struct Rapl {
    roots: Roots,
    period_ns: u64,
    counters: Vec<Attribute>,
    devices: Vec<DeviceDecl>,
    missing: Missing,
    look_anew: bool,
}

/// A powercap zone: its kernel name (`intel-rapl:0:1`), folder and own name (`dram`).
struct Zone {
    id: String,
    folder: PathBuf,
    name: String,
}

/// What was left out, in words for people.
#[derive(Default)]
struct Remarks {
    denied: usize,
    others: BTreeSet<String>,
}

/// The longest time between readings that can be set, in milliseconds.
///
/// A package that declares no limit may draw 2 kW, and an EPYC's register holds 65.5 kJ: from 32 s on, two
/// wraps cannot be excluded and the ledger books nothing. Half of that, so that one reading may fail.
pub const PERIOD_MAX_MS: u64 = 15_000;

const DENIED: &str = "permission denied on energy_uj, which only root may read since Linux 5.10: run the agent as root, \
    give its service CAP_DAC_READ_SEARCH, or let a tmpfiles.d rule open the files to its group, \
    `z /sys/devices/virtual/powercap/intel-rapl/*/energy_uj 0440 root wattledger` and the same for `*/*/energy_uj`";

impl Rapl {
    /// A source that reads below `roots.sys`; nothing is opened yet.
    #[must_use]
    pub fn new(settings: &RaplSettings, roots: &Roots) -> Self {
        Self {
            roots: roots.clone(),
            period_ns: period_ns(settings.period_ms),
            counters: Vec::new(),
            devices: Vec::new(),
            missing: Missing::default(),
            look_anew: false,
        }
    }

    fn declare(&self, zone: &Zone, key: AccountKey, epoch: u64) -> Result<DeviceDecl, String> {
        let range = whole(&zone.folder.join("max_energy_range_uj")).filter(|&range| range > 0);
        let range = range.ok_or_else(|| format!("{} has no readable max_energy_range_uj", zone.id))?;
        let limit = if zone.name.starts_with("package-") { limit(&zone.folder) } else { Milliwatts(0) };
        Ok(DeviceDecl { key, period_ns: self.period_ns, limit, modulus: Some(wraps_at(range)), epoch })
    }

    /// Opens a zone's counter if it can be used, else remarks why not.
    fn open(
        &self,
        zone: &Zone,
        key: AccountKey,
        (epoch, dies): (u64, &mut Dies),
        remarks: &mut Remarks,
    ) -> Option<(DeviceDecl, Attribute)> {
        let remark = match self.declare(zone, key, epoch) {
            Err(remark) => remark,
            Ok(decl) => {
                match Attribute::open(&zone.folder.join("energy_uj")).and_then(|file| Ok((file.counter()?, file))) {
                    Ok((Some(Ok(0)), _)) => format!("the counter of {} ({}) stands at zero", zone.id, zone.name),
                    Ok((Some(Ok(uj)), _)) if let Some(other) = dies.repeats(&zone.name, uj) => {
                        format!("{} ({}) repeats the counter of {other}", zone.id, zone.name)
                    }
                    Ok((_, file)) => return Some((decl, file)),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        remarks.denied += 1;
                        return None;
                    }
                    Err(error) => format!("{}: {error}", zone.folder.join("energy_uj").display()),
                }
            }
        };
        remarks.others.insert(remark);
        None
    }
}

impl Source for Rapl {
    fn name(&self) -> &'static str {
        "rapl"
    }

    fn probe(&mut self) -> Probe {
        self.counters.clear();
        self.devices.clear();
        let zones = zones(&self.roots.sys);
        if zones.is_empty() {
            return Probe::Absent { why: nothing_there(&self.roots.sys) };
        }
        let names: BTreeMap<&str, &str> = zones.iter().map(|zone| (zone.id.as_str(), zone.name.as_str())).collect();
        let epoch = boot_epoch(&self.roots.proc, "rapl");
        let (mut remarks, mut seen, mut found) = (Remarks::default(), BTreeSet::new(), Vec::new());
        let mut dies = Dies::default();
        for zone in &zones {
            let Some(key) = account(zone, &names) else {
                remarks.others.insert(format!("{} ({}): what it contains is not known", zone.id, zone.name));
                continue;
            };
            if !seen.insert(key.clone()) {
                let shown = if is_mmio(&zone.id) { "shows the same registers again" } else { "is there twice" };
                remarks.others.insert(format!("{} ({}) {shown}", zone.id, zone.name));
                continue;
            }
            if let Some((decl, counter)) = self.open(zone, key, (epoch, &mut dies), &mut remarks) {
                found.push(FoundDevice { decl: decl.clone(), about: about(zone), now: None });
                self.devices.push(decl);
                self.counters.push(counter);
            }
        }
        if found.is_empty() {
            return Probe::Absent { why: remarks.text().unwrap_or_else(|| nothing_there(&self.roots.sys)) };
        }
        self.missing.looked(found.len());
        super::look(self, &mut found);
        Probe::Found { devices: found, note: remarks.text() }
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
        let (before, mut failed, mut gone) = (into.len(), None, 0);
        for (device, counter) in (0_u16..).zip(&self.counters) {
            match counter.counter() {
                Ok(Some(Ok(uj))) => {
                    into.push(Sample { device, counter: Some(Microjoules(uj)), ..Sample::default() });
                }
                Ok(Some(Err(reason))) => into.push(Sample { device, refused: Some(reason), ..Sample::default() }),
                Ok(None) => {}
                Err(error) => {
                    gone += usize::from(is_gone(&error));
                    failed = Some(format!("{}: {error}", counter.path().display()));
                }
            }
        }
        self.look_anew = self.missing.read(self.counters.len() - gone, self.period_ns);
        if gone > 0 && self.missing.is_news() {
            tracing::warn!(what = failed, "a zone is gone: looked for once a minute; the others go on");
        }
        if into.len() > before {
            return Ok(());
        }
        let why = failed.unwrap_or_else(|| "no zone gave a value".into());
        Err(if gone == self.counters.len() { PollError::Gone(why) } else { PollError::Retry(why) })
    }

    fn devices(&self) -> &[DeviceDecl] {
        &self.devices
    }
}

impl Remarks {
    fn text(&self) -> Option<String> {
        let denied = (self.denied > 0).then(|| format!("{} zones: {DENIED}", self.denied));
        let left_out = (!self.others.is_empty())
            .then(|| format!("left out: {}", self.others.iter().cloned().collect::<Vec<_>>().join("; ")));
        let all: Vec<String> = denied.into_iter().chain(left_out).collect();
        (!all.is_empty()).then(|| all.join(". "))
    }
}

fn is_mmio(id: &str) -> bool {
    id.starts_with("intel-rapl-mmio:")
}

fn is_zone(id: &str) -> bool {
    id.starts_with("intel-rapl:") || is_mmio(id)
}

/// Whether there is anything that rapl would read.
pub(super) fn has_zones(sys: &Path) -> bool {
    !zones(sys).is_empty()
}

/// Every zone; MSR zones before their MMIO duplicates, parents before their parts.
fn zones(sys: &Path) -> Vec<Zone> {
    let mut folders = Vec::new();
    collect(&sys.join("class/powercap"), 1, &mut folders);
    if folders.is_empty() {
        collect(&sys.join("devices/virtual/powercap"), 3, &mut folders);
    }
    let mut zones: Vec<Zone> = folders
        .into_iter()
        .filter_map(|(id, folder)| text(&folder.join("name")).map(|name| Zone { id, folder, name }))
        .collect();
    zones.sort_by(|a, b| (is_mmio(&a.id), a.id.len(), &a.id).cmp(&(is_mmio(&b.id), b.id.len(), &b.id)));
    zones
}

fn collect(folder: &Path, depth: usize, into: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if is_zone(&id) {
            into.push((id.clone(), entry.path()));
        }
        // The class folder is flat and made of links; only the device tree is nested.
        if depth > 1 && (is_zone(&id) || id.starts_with("intel-rapl")) {
            collect(&entry.path(), depth - 1, into);
        }
    }
}

/// The account of a zone; nothing for a name that is not known, whose nesting cannot be known either.
fn account(zone: &Zone, names: &BTreeMap<&str, &str>) -> Option<AccountKey> {
    let name = device_name(&zone.name);
    let parent = zone.id.rsplit_once(':').and_then(|(parent, _)| names.get(parent));
    let top = |name: &str| name.starts_with("package-") || name == "psys";
    let (scope, device) = match (name.as_str(), parent) {
        (name, None) if top(name) => (Scope::Cpu, name.to_owned()),
        ("dram", None) => (Scope::Dram, "dram".into()),
        ("dram", Some(package)) => (Scope::Dram, device_name(package)),
        ("core" | "uncore", Some(package)) => (Scope::Cpu, format!("{}/{name}", device_name(package))),
        _ => return None,
    };
    AccountKey::new(scope, &device).ok()
}

fn about(zone: &Zone) -> String {
    match zone.name.as_str() {
        "psys" => "platform: contains packages and memory".into(),
        "dram" => "memory beside the package".into(),
        "core" => "cores, part of the package".into(),
        "uncore" => "integrated graphics, part of the package".into(),
        name => format!("CPU {name}"),
    }
}

/// The most a package may draw by its own declaration: the largest of its power limits, short-term
/// ones included, because twice the rated power is normal for a moment. Limits of over 2 kW mean
/// "none" and of under 1 W are register defaults: neither counts. A package that says no maximum declares
/// nothing: its limits alone are settings, and energy must not be refused because one was raised later.
fn limit(folder: &Path) -> Milliwatts {
    let largest = |what: &str| {
        let limits = (0..4).filter_map(|n| whole(&folder.join(format!("constraint_{n}_{what}_uw"))));
        limits.filter(|uw| (1_000_000..=2_000_000_000).contains(uw)).max()
    };
    Milliwatts(largest("max_power").map_or(0, |most| most.max(largest("power_limit").unwrap_or(0)) / 1000))
}

/// Where a 32-bit register wraps whose largest value the kernel gives as `range` µJ.
///
/// The kernel multiplies the register by its unit in whole nanojoules (`intel_rapl_common.c`:
/// 15 258 nJ for 2⁻¹⁶ J, 61 035 nJ for 2⁻¹⁴ J, 15 300 nJ for some memory), so the range tells the unit, and
/// 2³² units are the wrap. A range that is no such product is taken as it is.
fn wraps_at(range: u64) -> Microjoules {
    let (range, most) = (u128::from(range), u128::from(u32::MAX));
    let unit = (range * 1000).div_ceil(most);
    let wrap = if unit * most / 1000 == range { (unit * (most + 1) + 500) / 1000 } else { range };
    Microjoules(u64::try_from(wrap).unwrap_or(u64::MAX))
}

/// The counters of dies seen so far, by package: on some parts every die shows its package's register.
#[derive(Default)]
struct Dies(Vec<(String, String, u64)>);

impl Dies {
    /// The die of the same package whose counter this is, if its value is the same within a joule: that
    /// much may be drawn between two looks, and running counters are else never so near.
    fn repeats(&mut self, name: &str, uj: u64) -> Option<String> {
        let (package, _) = name.split_once("-die-")?;
        let same = |(other, _, value): &&(String, String, u64)| other == package && value.abs_diff(uj) <= 1_000_000;
        let repeated = self.0.iter().find(same).map(|(_, name, _)| name.clone());
        self.0.push((package.into(), name.into(), uj));
        repeated
    }
}

fn nothing_there(sys: &Path) -> String {
    let class = sys.join("class/powercap");
    if class.is_dir() {
        format!(
            "no intel-rapl zone in {}: load the module intel_rapl_msr (Intel, AMD from Linux 5.8); virtual machines and \
             Arm have none",
            class.display()
        )
    } else {
        format!("{} is missing: the kernel has no powercap support, or a container hides it", class.display())
    }
}

#[cfg(test)]
mod tests;
