//! NVIDIA GPUs by the driver's library (NVML).
//!
//! One call per GPU gives the energy counter (mJ since the driver was loaded, Volta and newer), the
//! average power and the instant power. The counter books; power is the average, else the instant
//! value, else what older drivers have. Energy of MIG instances is their board's: NVML repeats the
//! board's figure for each, so only boards are read.
//!
//! **Epoch.** NVML has no id for a driver load. The epoch is the boot and the driver's version; a
//! reload of the same version within a boot shows as a counter that falls, which the ledger takes as
//! a reset because no modulus is declared.
//!
//! **Never wakes a GPU.** One that the kernel may suspend is only read while it is active. Nothing is
//! profiled, no setting is touched.
//!
//! **Errors stay with their GPU.** A value that fails is left out; a GPU that fell off the bus is
//! asked again once a minute while the others go on. Only a driver that went away ends the source.

use meter::{AccountKey, DeviceDecl, Microjoules, Milliwatts, Refusal, Sample, Scope};
use nvml_wrapper::error::NvmlError;

use super::file::{boot_epoch, device_name, text};
use super::nvml_library::{self, Board, Library};
use super::{FoundDevice, NvmlSettings, PollError, Probe, Roots, Source, period_ns};

type Open = fn(&str) -> Result<Box<dyn Library>, NvmlError>;

/// The source `nvml`.
pub struct Nvml {
    path: String,
    roots: Roots,
    period_ns: u64,
    open: Open,
    library: Option<Box<dyn Library>>,
    gpus: Vec<Gpu>,
    devices: Vec<DeviceDecl>,
}

/// A GPU that is read; its place in the list is its place among the devices.
struct Gpu {
    index: u32,
    board: Board,
    /// Whether the kernel may suspend it.
    may_sleep: bool,
    /// Whether it has an energy counter.
    counts: bool,
    /// Readings to skip before a lost GPU is asked again; zero for one that answers.
    skip: u64,
}

/// How a look at one GPU failed.
enum Trouble {
    /// The driver is gone, and with it every GPU.
    Driver(NvmlError),
    /// This GPU is gone until it is reset.
    Lost(NvmlError),
    /// Nothing this time.
    Passing(NvmlError),
}

/// How long a lost GPU is left alone: only a reset or a reboot brings one back.
const LOST_PAUSE_NS: u64 = 60_000_000_000;

impl Nvml {
    /// A source that loads the library when it is probed.
    #[must_use]
    pub fn new(settings: &NvmlSettings, roots: &Roots) -> Self {
        Self::with(nvml_library::open, settings, roots)
    }

    fn with(open: Open, settings: &NvmlSettings, roots: &Roots) -> Self {
        Self {
            path: settings.library.clone(),
            roots: roots.clone(),
            period_ns: period_ns(settings.period_ms),
            open,
            library: None,
            gpus: Vec::new(),
            devices: Vec::new(),
        }
    }

    fn power_file(&self, board: &Board, file: &str) -> Option<String> {
        text(&self.roots.sys.join("bus/pci/devices").join(&board.pci).join("power").join(file))
    }

    /// Declares one GPU, or says why it cannot be read.
    fn declare(&self, library: &dyn Library, index: u32, version: &str) -> Result<(Gpu, DeviceDecl), String> {
        let board = library.describe(index).map_err(|error| format!("GPU {index}: {error}"))?;
        // A shared stand-in such as `GPU-0` would pour two machines' GPUs into one account.
        let device = device_name(if board.uuid.is_empty() { &board.pci } else { &board.uuid });
        let key = AccountKey::new(Scope::Gpu, &device).map_err(|error| format!("GPU {index}: {error}"))?;
        if device.is_empty() {
            return Err(format!("GPU {index} has neither UUID nor PCI address"));
        }
        let counts = energy(library, index).is_ok();
        let epoch = if counts { boot_epoch(&self.roots.proc, &format!("nvml/{version}")) } else { 0 };
        let limit = Milliwatts(board.limit_mw.into());
        let may_sleep = self.power_file(&board, "control").as_deref() == Some("auto");
        let decl = DeviceDecl { key, period_ns: self.period_ns, limit, modulus: None, epoch };
        Ok((Gpu { index, board, may_sleep, counts, skip: 0 }, decl))
    }

    fn sleeps(&self, gpu: &Gpu) -> bool {
        gpu.may_sleep && self.power_file(&gpu.board, "runtime_status").is_some_and(|status| status != "active")
    }
}

impl Source for Nvml {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn probe(&mut self) -> Probe {
        (self.library, self.gpus, self.devices) = (None, Vec::new(), Vec::new());
        let opened =
            (self.open)(&self.path).and_then(|library| Ok((library.driver_version()?, library.count()?, library)));
        let (version, count, library) = match opened {
            Ok(opened) => opened,
            Err(error) => return Probe::Absent { why: why_absent(&self.path, &error) },
        };
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        for index in 0..count {
            match self.declare(library.as_ref(), index, &version) {
                Ok((_, decl)) if self.devices.iter().any(|known| known.key == decl.key) => {
                    left_out.push(format!("GPU {index}: {} is there already", decl.key));
                }
                Ok((gpu, decl)) => {
                    found.push(FoundDevice { decl: decl.clone(), about: about(&gpu, &version), now: None });
                    self.gpus.push(gpu);
                    self.devices.push(decl);
                }
                Err(why) => left_out.push(why),
            }
        }
        let note = (!left_out.is_empty()).then(|| format!("left out: {}", left_out.join("; ")));
        if found.is_empty() {
            let hidden = "the driver answers but shows no GPU: see NVIDIA_VISIBLE_DEVICES and the device cgroup";
            return Probe::Absent { why: note.unwrap_or_else(|| hidden.into()) };
        }
        self.library = Some(library);
        super::look(self, &mut found);
        Probe::Found { devices: found, note }
    }

    fn period_ns(&self) -> u64 {
        self.period_ns
    }

    fn read(&mut self, into: &mut Vec<Sample>) -> Result<(), PollError> {
        let Some(library) = self.library.take() else { return Err(PollError::Gone("not probed".into())) };
        let before = into.len();
        let (mut last, mut lost, mut asleep) = (None, 0, 0);
        let mut gpus = std::mem::take(&mut self.gpus);
        for (device, gpu) in (0_u16..).zip(&mut gpus) {
            if gpu.skip > 0 {
                gpu.skip -= 1;
                lost += 1;
                continue;
            }
            if self.sleeps(gpu) {
                asleep += 1;
                continue;
            }
            match look(library.as_ref(), gpu, device) {
                Ok(sample) => into.push(sample),
                Err(Trouble::Driver(error)) => {
                    into.truncate(before);
                    return Err(PollError::Gone(format!("the NVIDIA driver: {error}")));
                }
                Err(Trouble::Lost(error)) => {
                    tracing::warn!(gpu = %gpu.board.uuid, %error, "a GPU is lost until it is reset; the others go on");
                    gpu.skip = LOST_PAUSE_NS / self.period_ns.max(1);
                    lost += 1;
                    last = Some(format!("{}: {error}", gpu.board.uuid));
                }
                Err(Trouble::Passing(error)) => last = Some(format!("{}: {error}", gpu.board.uuid)),
            }
        }
        let all_lost = lost == gpus.len();
        (self.gpus, self.library) = (gpus, Some(library));
        match last {
            _ if into.len() > before || asleep > 0 => Ok(()),
            why if all_lost => Err(PollError::Gone(why.unwrap_or_else(|| "every GPU is lost".into()))),
            why => Err(PollError::Retry(why.unwrap_or_else(|| "no GPU gave a value".into()))),
        }
    }

    fn devices(&self) -> &[DeviceDecl] {
        &self.devices
    }
}

/// Reads one GPU.
fn look(library: &dyn Library, gpu: &Gpu, device: u16) -> Result<Sample, Trouble> {
    let (energy, power) = match library.fields(gpu.index) {
        Ok(fields) => (fields.energy_mj, fields.average_mw.or(fields.instant_mw)),
        Err(error) if is_old(&error) => (library.energy_mj(gpu.index), Err(error)),
        Err(error) => return Err(trouble(error)),
    };
    let power = power.or_else(|_| library.power_mw(gpu.index).map(u64::from));
    let mut sample = Sample { device, ..Sample::default() };
    match (power, energy) {
        (Err(power), Err(energy)) => {
            let worst = if matches!(trouble_of(&energy), Kind::Passing) { power } else { energy };
            return Err(trouble(worst));
        }
        (power, energy) => {
            match power {
                // Registers full of ones: "not available".
                Ok(mw) if mw >= u64::from(u32::MAX) => sample.refused = Some(Refusal::Sentinel),
                Ok(mw) => sample.power = Some(Milliwatts(mw)),
                Err(_) => {}
            }
            match energy.map(|mj| mj.checked_mul(1000)) {
                Ok(Some(uj)) if gpu.counts => sample.counter = Some(Microjoules(uj)),
                Ok(None) => sample.refused = Some(Refusal::Sentinel),
                _ => {}
            }
        }
    }
    Ok(sample)
}

fn energy(library: &dyn Library, index: u32) -> Result<u64, NvmlError> {
    library.fields(index).and_then(|fields| fields.energy_mj).or_else(|_| library.energy_mj(index))
}

/// Whether a driver is too old for field values.
fn is_old(error: &NvmlError) -> bool {
    use NvmlError::{FailedToLoadSymbol, FunctionNotFound, InvalidArg, NotSupported};
    matches!(error, FailedToLoadSymbol(_) | FunctionNotFound | NotSupported | InvalidArg)
}

enum Kind {
    Driver,
    Lost,
    Passing,
}

fn trouble_of(error: &NvmlError) -> Kind {
    match error {
        NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch => Kind::Driver,
        NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::NotFound => Kind::Lost,
        _ => Kind::Passing,
    }
}

fn trouble(error: NvmlError) -> Trouble {
    match trouble_of(&error) {
        Kind::Driver => Trouble::Driver(error),
        Kind::Lost => Trouble::Lost(error),
        Kind::Passing => Trouble::Passing(error),
    }
}

fn about(gpu: &Gpu, version: &str) -> String {
    let mut text = format!("{} at {}, driver {version}", gpu.board.name, gpu.board.pci);
    if !gpu.counts {
        text.push_str(", no energy counter");
    }
    if gpu.board.mig {
        text.push_str(", MIG: the board's energy, instances have none of their own");
    }
    text
}

fn why_absent(path: &str, error: &NvmlError) -> String {
    let hint = match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "no NVIDIA driver here; in a container set NVIDIA_DRIVER_CAPABILITIES=utility; elsewhere set [sources.nvml] library"
        }
        NvmlError::DriverNotLoaded => "the library is there but the kernel module nvidia is not loaded",
        NvmlError::NoPermission => "no permission on /dev/nvidiactl",
        NvmlError::LibRmVersionMismatch => {
            "the driver was updated and its module not yet reloaded: reboot or reload it"
        }
        _ => "the driver does not answer",
    };
    format!("{path}: {error} ({hint})")
}

#[cfg(test)]
#[path = "nvml_tests.rs"]
mod tests;
