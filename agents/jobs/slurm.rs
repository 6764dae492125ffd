//! What Slurm's prolog and epilog say of a job in their environment.
//!
//! Which variables there are was read in Slurm's guide and sources (`doc/html/prolog_epilog.shtml`,
//! `src/plugins/prep/script/prep_script_slurmd.c`): id, user, account, partition, the CPUs per node and the GPUs are
//! set in Prolog and Epilog, `SLURM_CPUS_ON_NODE` and `SLURM_ARRAY_*` are not. So a job's id is `SLURM_JOB_ID`, also
//! of a task of an array, which has one of its own.

use std::sync::Arc;

use meter::{Allocation, Labels, hostlist};

/// Where a variable's value is looked up.
pub(super) type Look<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The job's id.
pub(super) fn id(look: Look<'_>) -> Option<String> {
    filled(look, "SLURM_JOB_ID")
}

/// The job; its id is empty outside of Slurm.
pub(super) fn allocation(look: Look<'_>) -> Allocation {
    let text = |name: &str| Arc::from(filled(look, name).unwrap_or_default());
    let labels = [
        ("partition", "SLURM_JOB_PARTITION"),
        ("array_job", "SLURM_ARRAY_JOB_ID"),
        ("array_task", "SLURM_ARRAY_TASK_ID"),
    ];
    let labels: Labels =
        labels.into_iter().filter_map(|(key, name)| Some((key.to_owned(), filled(look, name)?))).collect();
    Allocation {
        id: text("SLURM_JOB_ID"),
        user: text("SLURM_JOB_USER"),
        account: text("SLURM_JOB_ACCOUNT"),
        labels,
        devices: devices(look),
        cores: cores(look).unwrap_or(0),
        cores_of: 0,
    }
}

fn filled(look: Look<'_>, name: &str) -> Option<String> {
    look(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The GPUs. `SLURM_JOB_GPUS` counts them as Slurm does, which is NVML's order; with MIG it counts instances, and
/// then `CUDA_VISIBLE_DEVICES` has their names.
fn devices(look: Look<'_>) -> Vec<Arc<str>> {
    let list = |name: &str| -> Vec<Arc<str>> {
        let list = filled(look, name).unwrap_or_default();
        let is_device = |item: &&str| !item.is_empty() && *item != "NoDevFiles";
        list.split(',').map(str::trim).filter(is_device).map(Arc::from).collect()
    };
    let visible = list("CUDA_VISIBLE_DEVICES");
    if visible.iter().any(|name| name.starts_with("MIG-")) {
        return visible;
    }
    list("SLURM_JOB_GPUS")
}

/// The cores on this node.
fn cores(look: Look<'_>) -> Option<u32> {
    if let Some(cores) = filled(look, "SLURM_CPUS_ON_NODE") {
        return cores.parse().ok();
    }
    let per_node = filled(look, "SLURM_JOB_CPUS_PER_NODE")?;
    let groups: Vec<(u32, usize)> = per_node.split(',').map(group).collect::<Option<_>>()?;
    let place = match groups.as_slice() {
        [_] => 0,
        _ => {
            let nodes = filled(look, "SLURM_JOB_NODELIST").or_else(|| filled(look, "SLURM_NODELIST"))?;
            let own = filled(look, "SLURMD_NODENAME")?;
            names(&nodes).position(|node| node == own)?
        }
    };
    let mut left = place;
    for (cores, nodes) in groups {
        if left < nodes {
            return Some(cores);
        }
        left -= nodes;
    }
    None
}

/// The names of a node list in its order: `n[08-10],x1`. A piece that cannot be read names nobody.
fn names(list: &str) -> impl Iterator<Item = String> {
    let mut depth = 0;
    let pieces = list.split(move |c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth == 0
    });
    pieces.flat_map(|piece| hostlist::expand(piece).unwrap_or_default())
}

/// `16(x2)`: sixteen on each of two nodes.
fn group(text: &str) -> Option<(u32, usize)> {
    match text.split_once("(x") {
        Some((cores, nodes)) => Some((cores.parse().ok()?, nodes.strip_suffix(')')?.parse().ok()?)),
        None => Some((text.parse().ok()?, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Allocation {
        let look = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        allocation(&look)
    }

    #[test]
    fn a_prologs_environment_is_an_allocation() {
        let job = of(&[
            ("SLURM_JOB_ID", "4711"),
            ("SLURM_JOB_USER", "alice"),
            ("SLURM_JOB_ACCOUNT", "nlp"),
            ("SLURM_JOB_PARTITION", "gpu"),
            ("SLURM_JOB_GPUS", "0,3"),
            ("CUDA_VISIBLE_DEVICES", "0,1"),
            ("SLURM_JOB_CPUS_PER_NODE", "16"),
        ]);
        assert_eq!((&*job.id, &*job.user, &*job.account, job.cores), ("4711", "alice", "nlp", 16));
        assert_eq!(job.devices, ["0", "3"].map(Arc::from), "not those as a cgroup counts them");
        assert_eq!(job.labels, Labels::from([("partition".to_owned(), "gpu".to_owned())]));
        assert_eq!(of(&[]), Allocation::default());
    }

    #[test]
    fn instances_are_named_and_no_files_are_no_devices() {
        let mig = of(&[("SLURM_JOB_GPUS", "3"), ("CUDA_VISIBLE_DEVICES", "MIG-5a1c")]);
        assert_eq!(mig.devices, [Arc::from("MIG-5a1c")]);
        assert!(of(&[("SLURM_JOB_GPUS", "NoDevFiles")]).devices.is_empty());
    }

    #[test]
    fn cores_are_those_of_this_node() {
        let at = |node: &str| {
            let nodes = [("SLURM_JOB_NODELIST", "n[08-10],x1"), ("SLURMD_NODENAME", node)];
            of(&[nodes.as_slice(), &[("SLURM_JOB_CPUS_PER_NODE", "16(x2),8,4")]].concat()).cores
        };
        assert_eq!(["n08", "n09", "n10", "x1", "n11"].map(at), [16, 16, 8, 4, 0], "zero where nobody knows");
        assert_eq!(of(&[("SLURM_CPUS_ON_NODE", "3"), ("SLURM_JOB_CPUS_PER_NODE", "16(x2),8")]).cores, 3);
        assert_eq!(of(&[("SLURM_JOB_CPUS_PER_NODE", "many")]).cores, 0);
    }
}
