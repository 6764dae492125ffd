//! What the kernel says of NVIDIA's driver and GPUs: facts that NVML has no call for, or that a call would
//! wake a GPU for. All of it is files, and all of it may be missing in a container.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::file::{text, whole};

/// Which load of the driver this is; zero where the kernel does not show it.
///
/// The kernel numbers the entries of sysfs one by one and, since Linux 4.14, gives no number twice in
/// a boot: the number of the module's folder is another one after every load. It is the same in every container,
/// since sysfs shows modules to all alike. The folder's times say nothing: they are those of the first look.
pub(super) fn driver_load(sys: &Path) -> u64 {
    std::fs::metadata(sys.join("module/nvidia")).map_or(0, |folder| folder.ino())
}

/// The GPUs that the driver is bound to, by PCI address. In a container these are the machine's, not only those
/// that it may use: good to notice a change, not to count.
pub(super) fn bound(sys: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(sys.join("bus/pci/drivers/nvidia"));
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(':')).collect()
}

/// Whether the kernel may suspend a GPU while nobody uses it.
pub(super) fn may_sleep(sys: &Path, pci: &str) -> bool {
    text(&device(sys, pci).join("power/control")).as_deref() == Some("auto")
}

/// Whether a GPU is suspended, or about to be.
pub(super) fn sleeps(sys: &Path, pci: &str) -> bool {
    text(&device(sys, pci).join("power/runtime_status")).is_some_and(|status| status != "active")
}

/// The CPU socket that a GPU is nearest to, counted from zero in the kernel's order of packages; nothing if the
/// kernel does not say.
pub(super) fn socket(sys: &Path, pci: &str) -> Option<usize> {
    let near = text(&device(sys, pci).join("local_cpulist"))?;
    let first = near.split(|c: char| !c.is_ascii_digit()).next()?;
    let cpus = sys.join("devices/system/cpu");
    let package = |cpu: &Path| whole(&cpu.join("topology/physical_package_id"));
    let here = package(&cpus.join(format!("cpu{first}")))?;
    // The packages' own numbers may be any: on ARM they are the firmware's.
    let folders = std::fs::read_dir(&cpus).ok()?.flatten().map(|entry| entry.path());
    let all: BTreeSet<u64> = folders.filter_map(|cpu| package(&cpu)).collect();
    all.iter().position(|package| *package == here)
}

fn device(sys: &Path, pci: &str) -> PathBuf {
    sys.join("bus/pci/devices").join(pci)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_is_loaded_again_is_another_load() {
        let sys = tempfile::tempdir().expect("a folder");
        assert_eq!(driver_load(sys.path()), 0);
        let module = sys.path().join("module/nvidia");
        std::fs::create_dir_all(&module).expect("made");
        let first = driver_load(sys.path());
        assert_ne!(first, 0);
        std::fs::write(module.join("version"), "570.86.15\n").expect("written");
        assert_eq!(driver_load(sys.path()), first, "what happens inside is no load");
        // The folder of before stays, so that the file system cannot give its number again.
        std::fs::rename(&module, sys.path().join("before")).expect("moved");
        std::fs::create_dir_all(&module).expect("made");
        assert_ne!(driver_load(sys.path()), first);
    }

    #[test]
    fn bound_gpus_are_the_addresses_among_the_drivers_files() {
        let sys = tempfile::tempdir().expect("a folder");
        assert!(bound(sys.path()).is_empty());
        for name in ["0000:17:00.0", "0000:ca:00.0", "bind", "new_id", "module"] {
            std::fs::create_dir_all(sys.path().join("bus/pci/drivers/nvidia").join(name)).expect("made");
        }
        assert_eq!(Vec::from_iter(bound(sys.path())), ["0000:17:00.0", "0000:ca:00.0"]);
    }

    #[test]
    fn a_socket_is_the_rank_of_the_package_near_the_gpu() {
        let sys = tempfile::tempdir().expect("a folder");
        let write = |path: String, content: &str| {
            let path = sys.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, content).expect("written");
        };
        // Two packages of two CPUs, numbered as firmware does.
        for (cpu, package) in [(0, "256\n"), (1, "256\n"), (2, "7000\n"), (3, "7000\n")] {
            write(format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id"), package);
        }
        for (pci, cpus) in [("0008:01:00.0", "0-1\n"), ("0018:01:00.0", "2-3\n"), ("0028:01:00.0", "\n")] {
            write(format!("bus/pci/devices/{pci}/local_cpulist"), cpus);
        }
        assert_eq!(socket(sys.path(), "0008:01:00.0"), Some(0));
        assert_eq!(socket(sys.path(), "0018:01:00.0"), Some(1));
        assert_eq!(socket(sys.path(), "0028:01:00.0"), None, "no CPU is near");
        assert_eq!(socket(sys.path(), "0038:01:00.0"), None);
    }
}
