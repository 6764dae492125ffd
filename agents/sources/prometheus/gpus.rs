//! GPUs and other accelerators: which account a series of one is.

use meter::Scope;

use super::exporters::{Spot, account};
use super::page::Page;
use super::text::Series;

/// What the names of accelerators begin with that all-smi lists among GPUs and that are none.
const ACCELERATORS: [&str; 11] = [
    "Tenstorrent",
    "Furiosa",
    "Rebellions",
    "RBLN",
    "Intel Gaudi",
    "Gaudi",
    "Habana",
    "HL-",
    "AWS",
    "Google TPU",
    "TPU",
];

/// An NVIDIA GPU by its UUID, as NVML names it.
pub(super) fn nvidia(series: &Series<'_>, _: &Page<'_>) -> Spot {
    nvidia_uuid(series.label("uuid"))
}

fn nvidia_uuid(uuid: &str) -> Spot {
    if uuid.starts_with("MIG-") {
        return Spot::Left("MIG instances repeat their board");
    }
    let bare = uuid.strip_prefix("GPU-").unwrap_or(uuid).to_ascii_lowercase();
    let is_uuid = bare.len() >= 8 && bare.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_uuid { account(Scope::Gpu, &format!("GPU-{bare}")) } else { Spot::Nameless }
}

/// A GPU of Kepler's: NVIDIA's by UUID, others by what stands in its place. Before 0.10 GPUs had no UUID.
pub(super) fn kepler(series: &Series<'_>, _: &Page<'_>) -> Spot {
    let uuid = series.label("gpu_uuid");
    match series.label("vendor") {
        _ if uuid.is_empty() => Spot::Left("GPUs of a Kepler that does not say which"),
        "nvidia" | "" => nvidia_uuid(uuid),
        _ => account(Scope::Gpu, uuid),
    }
}

/// A GPU of AMD's device-metrics-exporter. A board's power is shown by its first partition, the others
/// show zero.
pub(super) fn amd(series: &Series<'_>, _: &Page<'_>) -> Spot {
    let is_first = |label| matches!(series.label(label), "" | "0");
    if !is_first("gpu_partition_id") || !is_first("partition_id") {
        return Spot::Left("partitions of a GPU that its first one shows as a whole");
    }
    let (uuid, serial, number) = (series.label("gpu_uuid"), series.label("serial_number"), series.label("gpu_id"));
    match (uuid, serial, number) {
        ("", "", "") => Spot::Nameless,
        ("", "", number) => account(Scope::Gpu, &format!("gpu-{number}")),
        ("", serial, _) => account(Scope::Gpu, &format!("amd-{serial}")),
        (uuid, _, _) => account(Scope::Gpu, uuid),
    }
}

/// A GPU of Omnistat's, which gives no more than its number on the machine.
pub(super) fn rocm(series: &Series<'_>, _: &Page<'_>) -> Spot {
    match series.label("card") {
        "" => Spot::Nameless,
        card => account(Scope::Gpu, &format!("card-{card}")),
    }
}

/// A device of all-smi's. `instance` may name a device and is not looked at.
pub(super) fn all_smi(series: &Series<'_>, _: &Page<'_>) -> Spot {
    let uuid = series.label("gpu_uuid");
    let name = match series.label("gpu") {
        "" => series.label("gpu_name"),
        name => name,
    };
    if uuid.starts_with("GPU-") || name.starts_with("NVIDIA") {
        return nvidia_uuid(uuid);
    }
    let accelerator = ACCELERATORS.iter().any(|brand| name.starts_with(brand));
    account(if accelerator { Scope::Accelerator } else { Scope::Gpu }, uuid)
}

/// A counter of all-smi's, which names devices by UUID only: the power beside it says what they are.
pub(super) fn all_smi_energy(series: &Series<'_>, page: &Page<'_>) -> Spot {
    match series.label("scope") {
        "gpu" => {
            let uuid = series.label("gpu_uuid");
            let beside = page.of("all_smi_gpu_power_consumption_watts").find(|other| other.label("gpu_uuid") == uuid);
            all_smi(beside.unwrap_or(series), page)
        }
        "cpu" => account(Scope::Cpu, "packages"),
        _ => Spot::Left("all-smi's chassis energy is the sum of what it reads, no meter"),
    }
}

/// A GPU by what an agent calls it: NVIDIA's by UUID, any by its PCI address.
pub(super) fn by_id(id: &str) -> Spot {
    match id.find("GPU-") {
        Some(at) => nvidia_uuid(&id[at..]),
        None => account(Scope::Gpu, id),
    }
}
