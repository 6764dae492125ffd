//! NVIDIA GPUs by the driver's library (NVML).
//!
//! One call per GPU gives the energy counter (mJ since the driver was loaded, Volta and newer), the average
//! power and the instant power. The counter books. Power is the average, else the instant value, else what
//! older drivers have: NVML averages over a second on Ampere and newer, and knows no average on GA100 (A100,
//! A30) and older, where the instant value is all there is. Energy of MIG instances is their board's: NVML
//! repeats the board's figure for each, so only boards are read.
//!
//! **Epoch.** The boot, the driver's version, its load by the kernel's number for it (NVML has none), and, for
//! a GPU that the driver sets up anew for each user or that was lost meanwhile, the session with the library.
//! A counter that starts again is then another counter even if it has passed its old value.
//!
//! **Superchips** (GH200, GB200). A GPU with links to a CPU on a module that is measured is read with its own
//! power, and the module's power is an account that contains both. Their counter is left alone: on GH200 it was measured to
//! be the module's, on others it is documented nowhere.
//!
//! **Never wakes a GPU.** One that the kernel may suspend is only read while it is active. Nothing is
//! profiled, no setting is touched.
//!
//! **Errors stay with their GPU.** A value that fails is left out; a GPU that fell off the bus is asked
//! again once a minute while the others go on. As often the GPUs are counted, and new ones taken in. Only a
//! driver that went away ends the source.

mod inventory;
mod kernel;
mod library;
mod module;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use library::{Board, Library};
use meter::{DeviceDecl, Sample};
use nvml_wrapper::error::NvmlError;
use reading::{Trouble, trouble};

use super::{NvmlSettings, PollError, Probe, Roots, Source, period_ns};

type Open = fn(&str) -> Result<Box<dyn Library>, NvmlError>;

/// The source `nvml`.
pub struct Nvml {
    path: String,
    roots: Roots,
    period_ns: u64,
    /// Readings between two looks for GPUs that came, went or were lost.
    rescan: u64,
    until_rescan: u64,
    open: Open,
    library: Option<Box<dyn Library>>,
    session: Session,
    gpus: Vec<Gpu>,
    /// GPUs that could not be described yet, by their number.
    unread: Vec<u32>,
    /// How often each GPU was lost or taken away.
    losses: BTreeMap<String, u32>,
    devices: Vec<DeviceDecl>,
}

/// A GPU that is read.
struct Gpu {
    board: Board,
    /// Its account's name and place among the devices; none if only its module is measured.
    place: Option<u16>,
    /// The place of the module that it is on.
    module: Option<u16>,
    /// Whether the kernel may suspend it.
    may_sleep: bool,
    /// Whether it has an energy counter to book by.
    counts: bool,
    /// Readings to skip before a lost GPU is asked again; none for one that is not lost.
    skip: Option<u64>,
    /// Whether its last reading failed.
    failing: bool,
}

/// What holds for as long as the library is open.
#[derive(Default)]
struct Session {
    version: String,
    /// This session and no other.
    id: String,
    seen: Seen,
}

/// What tells that GPUs or the driver came or went.
#[derive(Default, PartialEq, Eq)]
struct Seen {
    count: u32,
    load: u64,
    bound: BTreeSet<String>,
}

impl Nvml {
    /// A source that loads the library when it is probed.
    #[must_use]
    pub fn new(settings: &NvmlSettings, roots: &Roots) -> Self {
        Self::with(library::open, settings, roots)
    }

    fn with(open: Open, settings: &NvmlSettings, roots: &Roots) -> Self {
        let period_ns = period_ns(settings.period_ms);
        let rescan = settings.rescan_s.max(1).saturating_mul(1_000_000_000) / period_ns;
        Self {
            path: settings.library.clone(),
            roots: roots.clone(),
            period_ns,
            rescan: rescan.max(1),
            until_rescan: 0,
            open,
            library: None,
            session: Session::default(),
            gpus: Vec::new(),
            unread: Vec::new(),
            losses: BTreeMap::new(),
            devices: Vec::new(),
        }
    }

    /// Opens the library: a new session.
    fn open(&mut self) -> Result<Box<dyn Library>, NvmlError> {
        let library = (self.open)(&self.path)?;
        let (version, count) = (library.driver_version()?, library.count()?);
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let id = format!("{}-{began}", std::process::id());
        self.session = Session { version, id, seen: Seen::now(count, &self.roots) };
        Ok(library)
    }

    fn sleeps(&self, gpu: &Gpu) -> bool {
        gpu.may_sleep && kernel::sleeps(&self.roots.sys, &gpu.board.pci())
    }

    /// Once in a while: takes in what came, and lets go of what went.
    fn look_around(&mut self, mut library: Box<dyn Library>) -> Result<Box<dyn Library>, NvmlError> {
        if self.until_rescan > 0 {
            self.until_rescan -= 1;
            return Ok(library);
        }
        self.until_rescan = self.rescan;
        let count = match library.count() {
            Err(error) if trouble(&error) == Trouble::Driver => return Err(error),
            count => count.unwrap_or(self.session.seen.count),
        };
        let seen = Seen::now(count, &self.roots);
        let (found, left_out) = if seen == self.session.seen {
            let unread = std::mem::take(&mut self.unread);
            self.adopt_all(library.as_ref(), unread)
        } else if seen.count == self.session.seen.count {
            // The kernel sees what the library, which looked at its opening, does not.
            drop(library);
            library = self.open()?;
            self.enumerate(library.as_ref())
        } else {
            self.session.seen = seen;
            self.enumerate(library.as_ref())
        };
        for device in found {
            tracing::info!(device = %device.decl.key, about = device.about, "found");
        }
        tracing::debug!(?left_out, "looked for GPUs again");
        Ok(library)
    }

    /// Notes how a GPU's reading went, and says so when that changed.
    fn note(&mut self, gpu: &mut Gpu, read: Result<(), &NvmlError>) {
        let name = &gpu.board.uuid;
        match read {
            Ok(()) => {
                if std::mem::take(&mut gpu.failing) {
                    tracing::info!(gpu = name, "answers again");
                }
                if gpu.skip.take().is_some() && gpu.counts {
                    self.count_anew(gpu);
                }
            }
            Err(error) => {
                let lost = trouble(error) == Trouble::Lost;
                if lost && gpu.skip.is_none() {
                    tracing::warn!(gpu = name, %error, "a GPU is lost until it is reset; the others go on");
                } else if !gpu.failing {
                    tracing::warn!(gpu = name, %error, "a GPU gives no value; the others go on");
                }
                gpu.failing = true;
                gpu.skip = if lost { Some(self.rescan) } else { gpu.skip };
            }
        }
    }

    /// A GPU that was lost has been reset: its counter is another one.
    fn count_anew(&mut self, gpu: &Gpu) {
        let Some(place) = gpu.place.map(usize::from) else { return };
        let name = self.devices[place].key.device.to_string();
        *self.losses.entry(name.clone()).or_default() += 1;
        self.devices[place].epoch = self.epoch(&gpu.board, &name);
    }
}

impl Seen {
    fn now(count: u32, roots: &Roots) -> Self {
        Self { count, load: kernel::driver_load(&roots.sys), bound: kernel::bound(&roots.sys) }
    }
}

impl Source for Nvml {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn probe(&mut self) -> Probe {
        // The library is let go of first: a session that another one holds on to learns nothing new.
        self.library = None;
        let library = match self.open() {
            Ok(library) => library,
            Err(error) => {
                self.forget();
                return Probe::Absent { why: why_absent(&self.path, &error) };
            }
        };
        let (mut found, left_out) = self.enumerate(library.as_ref());
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
        let gone = |error: NvmlError| PollError::Gone(format!("the NVIDIA driver: {error}"));
        let Some(library) = self.library.take() else { return Err(PollError::Gone("not probed".into())) };
        let library = self.look_around(library).map_err(gone)?;
        let before = into.len();
        let (mut last, mut lost, mut asleep) = (None, 0, 0);
        let mut gpus = std::mem::take(&mut self.gpus);
        for gpu in &mut gpus {
            if let Some(skip) = gpu.skip.filter(|skip| *skip > 0) {
                gpu.skip = Some(skip - 1);
                lost += 1;
            } else if self.sleeps(gpu) {
                asleep += 1;
            } else {
                let read = look(library.as_ref(), gpu, before, into);
                self.note(gpu, read.as_ref().copied());
                let Err(error) = read else { continue };
                if trouble(&error) == Trouble::Driver {
                    into.truncate(before);
                    self.gpus = gpus;
                    return Err(gone(error));
                }
                lost += usize::from(trouble(&error) == Trouble::Lost);
                last = Some(format!("{}: {error}", gpu.board.uuid));
            }
        }
        let all_lost = lost == gpus.len();
        (self.gpus, self.library) = (gpus, Some(library));
        into[before..].sort_unstable_by_key(|sample| sample.device);
        match last {
            _ if into.len() > before || asleep > 0 => Ok(()),
            why if all_lost => Err(PollError::Gone(why.unwrap_or_else(|| "no GPU is left".into()))),
            why => Err(PollError::Retry(why.unwrap_or_else(|| "no GPU gave a value".into()))),
        }
    }

    fn devices(&self) -> &[DeviceDecl] {
        &self.devices
    }

    /// NVML's numbers, in the order of PCI addresses: those of `nvidia-smi`, and of Slurm where it finds GPUs itself.
    fn nicknames(&self) -> Vec<(u16, String)> {
        self.gpus.iter().filter_map(|gpu| Some((gpu.place?, gpu.board.index.to_string()))).collect()
    }
}

/// Reads one GPU, and its module unless another GPU of it did so; `before` is where this look begins in `into`.
fn look(library: &dyn Library, gpu: &Gpu, before: usize, into: &mut Vec<Sample>) -> Result<(), NvmlError> {
    let own = gpu.place.map(|place| reading::gpu(library, &gpu.board, gpu.counts, place));
    let module = gpu.module.filter(|place| into[before..].iter().all(|sample| sample.device != *place));
    let module = module.map(|place| reading::module(library, &gpu.board, place));
    let mut result = Ok(());
    for sample in [own, module].into_iter().flatten() {
        match sample {
            Ok(sample) => into.push(sample),
            Err(error) => result = Err(error),
        }
    }
    result
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
mod tests;
