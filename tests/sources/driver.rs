//! The strings of `fake_nvml.c`: a driver's library whose GPUs do what a test says, while an agent reads them.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::harness::{Home, tool};

const GPUS: u64 = 32;
const WAVES: u64 = 3;
/// Sizes in words of the C structs.
const HEAD: u64 = 48;
const GPU: u64 = 64;

/// NVML's code for a GPU that fell off the bus.
pub(crate) const LOST: u64 = 15;

/// Calls that can be made to fail, by their place in the control file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Handle = 0,
    Uuid = 1,
    Limits = 2,
    Mig = 3,
    Persistence = 4,
    Fields = 5,
    EnergyField = 6,
    AverageField = 7,
    InstantField = 8,
    TotalEnergy = 9,
    PowerUsage = 10,
    ModuleField = 11,
}

/// What else can be set of a GPU.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Knob {
    BaseMj = 16,
    ResetAtNs = 17,
    StepNs = 18,
    Permille = 19,
    RawPower = 20,
    RawEnergy = 21,
    PowerType = 22,
    EnergyType = 23,
    HangMs = 24,
    Mig = 25,
    Persistent = 26,
    LimitMw = 27,
    C2cLinks = 28,
    ModuleMw = 29,
    Looks = 30,
    RawInstant = 31,
    Waves = 33,
}

/// What can be set of the driver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Global {
    Gpus = 0,
    InitError = 1,
    DriverError = 2,
    NowNs = 3,
    Version = 4,
    Order = 8,
}

/// A square wave of power: `high_mw` for `half_ns`, `low_mw` for as long, and so on; constant if `half_ns` is zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wave {
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    pub(crate) half_ns: u64,
    pub(crate) high_mw: u64,
    pub(crate) low_mw: u64,
}

impl Wave {
    /// Power for `lasts_ms` from `from_ns` on, half of the time high and half low: `halves` of each.
    pub(crate) fn square(from_ns: u64, lasts_ms: u64, halves: u64, high_mw: u64, low_mw: u64) -> Self {
        let lasts_ns = lasts_ms * 1_000_000;
        assert_eq!(lasts_ns % (2 * halves), 0, "whole halves");
        Self { from_ns, to_ns: from_ns + lasts_ns, half_ns: lasts_ns / (2 * halves), high_mw, low_mw }
    }

    /// Its energy in microjoules: the mean of both powers over the whole time, 1 mW · 1 ms = 1 µJ.
    pub(crate) fn uj(&self) -> u64 {
        let ms = (self.to_ns - self.from_ns) / 1_000_000;
        (self.high_mw + self.low_mw) * ms / 2
    }
}

/// A driver's library of one test's own.
pub(crate) struct Driver {
    library: PathBuf,
    control: File,
}

impl Driver {
    /// A driver of `gpus` healthy GPUs without load; nothing, and a visible line, without a C compiler.
    pub(crate) fn new(home: &Home, gpus: u64) -> Option<Self> {
        let library = home.path("libnvidia-ml.so.1");
        std::fs::copy(built()?, &library).expect("a copy of the library");
        let beside = PathBuf::from(format!("{}.control", library.display()));
        let control = File::options().read(true).write(true).create_new(true).open(beside).expect("a control file");
        control.set_len((HEAD + GPUS * GPU) * 8).expect("room");
        let driver = Self { library, control };
        driver.write_bytes(Global::Version as u64, b"570.86.15\0");
        for place in 0..GPUS {
            driver.put(Global::Order as u64 + place, place);
            driver.set(place, Knob::LimitMw, 700_000);
            driver.set(place, Knob::Persistent, 1);
            driver.set(place, Knob::StepNs, 100_000_000);
            // Apart from each other, so that one taken for another shows.
            driver.set(place, Knob::BaseMj, 1_000_000_000 * (place + 1));
        }
        driver.set_global(Global::Gpus, gpus);
        Some(driver)
    }

    /// Where it lies.
    pub(crate) fn library(&self) -> &Path {
        &self.library
    }

    /// The configuration of an agent that reads this driver and nothing else, looks for GPUs every so many
    /// seconds, and reports every second.
    pub(crate) fn config(&self, host: &str, period_ms: u64, rescan_s: u64) -> String {
        format!(
            "[agent]\nhost = \"{host}\"\n[uplink]\ninterval_s = 1\n[sources]\nrapl.enabled = false\n\
             hwmon.enabled = false\n[sources.nvml]\nlibrary = \"{}\"\nperiod_ms = {period_ms}\nrescan_s = {rescan_s}\n",
            self.library.display()
        )
    }

    pub(crate) fn set(&self, gpu: u64, knob: Knob, value: u64) {
        self.put(HEAD + gpu * GPU + knob as u64, value);
    }

    /// Lets a call fail with one of NVML's codes, or succeed again with 0.
    pub(crate) fn fail(&self, gpu: u64, call: Call, code: u64) {
        self.put(HEAD + gpu * GPU + call as u64, code);
    }

    pub(crate) fn set_global(&self, what: Global, value: u64) {
        self.put(what as u64, value);
    }

    /// Which GPUs there are, in the driver's order.
    pub(crate) fn order(&self, places: &[u64]) {
        for (number, place) in (0..).zip(places) {
            self.put(Global::Order as u64 + number, *place);
        }
        self.set_global(Global::Gpus, places.len() as u64);
    }

    /// Gives a GPU one of its waves, which must not have begun.
    pub(crate) fn wave(&self, gpu: u64, number: u64, wave: &Wave) {
        assert!(number < WAVES);
        let first = HEAD + gpu * GPU + Knob::Waves as u64 + number * 5;
        // The beginning comes last: until then it has no power.
        for (word, value) in
            [(4, wave.low_mw), (3, wave.high_mw), (2, wave.half_ns), (1, wave.to_ns), (0, wave.from_ns)]
        {
            self.put(first + word, value);
        }
    }

    /// How often the GPU was looked at.
    pub(crate) fn looks(&self, gpu: u64) -> u64 {
        let mut word = [0; 8];
        let at = (HEAD + gpu * GPU + Knob::Looks as u64) * 8;
        self.control.read_exact_at(&mut word, at).expect("a control file");
        u64::from_ne_bytes(word)
    }

    /// Every function of the library that was ever called.
    pub(crate) fn calls(&self) -> BTreeSet<String> {
        let noted = std::fs::read_to_string(format!("{}.calls", self.library.display())).unwrap_or_default();
        noted.lines().map(str::to_owned).collect()
    }

    fn put(&self, word: u64, value: u64) {
        self.write_bytes(word, &value.to_ne_bytes());
    }

    fn write_bytes(&self, word: u64, bytes: &[u8]) {
        self.control.write_all_at(bytes, word * 8).expect("a control file");
    }
}

/// Nanoseconds of the boot clock, by which the made-up GPUs' power goes.
pub(crate) fn boot_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Every function that a meter may call.
pub(crate) const READING: [&str; 14] = [
    "nvmlInit_v2",
    "nvmlShutdown",
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetHandleByPciBusId_v2",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetPowerManagementLimitConstraints",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetPersistenceMode",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetPowerUsage",
];

/// The built library, or nothing and a visible line.
fn built() -> Option<&'static Path> {
    static BUILT: LazyLock<Option<(tempfile::TempDir, PathBuf)>> = LazyLock::new(|| {
        let cc = tool("cc", "a stand-in for NVIDIA's driver")?;
        let folder = tempfile::tempdir().expect("a folder");
        let built = folder.path().join("fake_nvml.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sources/fake_nvml.c");
        let flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"];
        let output =
            Command::new(cc).args(flags).arg(&built).args([source, "-ldl"]).output().expect("the compiler runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some((folder, built))
    });
    BUILT.as_ref().map(|(_, path)| path.as_path())
}
