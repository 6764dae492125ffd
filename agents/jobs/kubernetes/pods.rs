//! From the kubelet's list to allocations: one for each pod that holds a device or cores of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use meter::job::JOB_NAME_MAX;
use meter::{Allocation, Labels, hash, reading};

use super::kubelet::{PodResources, Pods};

/// What begins the names of resources whose devices draw enough power to have a meter.
const MEASURED: [&str; 5] = ["nvidia.com/", "amd.com/", "gpu.intel.com/", "habana.ai/", "google.com/tpu"];

/// A pod that holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    /// Who it is, and how many cores are its own; its devices are not known to be this machine's yet.
    pub(super) allocation: Allocation,
    /// Its devices, each with its resource.
    pub(super) devices: Vec<(String, Arc<str>)>,
}

/// Whether a resource's devices should have a meter.
#[must_use]
pub(super) fn is_measured(resource: &str) -> bool {
    MEASURED.iter().any(|prefix| resource.starts_with(prefix))
}

/// The pods that hold devices or cores of their own, by id.
#[must_use]
pub(super) fn holding(list: Pods) -> BTreeMap<Arc<str>, Pod> {
    let pods = list.pods.into_iter().map(pod);
    let holds = |pod: &Pod| !pod.devices.is_empty() || pod.allocation.cores > 0;
    pods.filter(holds).map(|pod| (Arc::clone(&pod.allocation.id), pod)).collect()
}

fn pod(resources: PodResources) -> Pod {
    let mut devices = Vec::new();
    let (mut cores, mut containers) = (0, Vec::new());
    for container in resources.containers {
        let before = (devices.len(), cores);
        for of_one in container.devices {
            devices.extend(of_one.device_ids.iter().map(|id| (of_one.resource_name.clone(), Arc::from(id.as_str()))));
        }
        cores += container.cpu_ids.len();
        if before != (devices.len(), cores) {
            containers.push(container.name);
        }
    }
    let mut labels = Labels::new();
    let mut label = |key: &str, value: &str| {
        if reading::label_value_is_valid(value) {
            labels.insert(key.into(), value.into());
        }
    };
    label("namespace", &resources.namespace);
    label("pod", &resources.name);
    // Of many containers only as many as a label holds.
    label("container", &shortened(containers.join(","), reading::LABEL_VALUE_MAX));
    let allocation = Allocation {
        id: shortened(format!("{}/{}", resources.namespace, resources.name), JOB_NAME_MAX).into(),
        account: resources.namespace.as_str().into(),
        labels,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        ..Allocation::default()
    };
    Pod { allocation, devices }
}

/// A text of at most `most` bytes; what is longer ends in its hash, so that two long ones stay apart.
fn shortened(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let end = format!("~{:016x}", hash::stable_hash(text.as_bytes()));
    let mut kept = text;
    let at = (0..=most - end.len()).rev().find(|at| kept.is_char_boundary(*at)).unwrap_or(0);
    kept.truncate(at);
    kept + &end
}

#[cfg(test)]
mod tests {
    use super::super::kubelet::{ContainerDevices, ContainerResources};
    use super::*;

    fn container(name: &str, gpus: &[&str], cores: i64) -> ContainerResources {
        let device_ids = gpus.iter().map(|id| (*id).to_owned()).collect();
        let devices = vec![ContainerDevices { resource_name: "nvidia.com/gpu".into(), device_ids }];
        ContainerResources { name: name.into(), devices, cpu_ids: (0..cores).collect() }
    }

    #[test]
    fn a_pod_is_the_sum_of_its_containers_and_one_that_holds_nothing_is_none() {
        let named = |name: &str, containers| PodResources { name: name.into(), namespace: "ml".into(), containers };
        let list = Pods {
            pods: vec![
                named("train-0", vec![container("main", &["GPU-a", "GPU-b"], 4), container("sidecar", &[], 0)]),
                named("web", vec![container("main", &[], 0)]),
                named("pinned", vec![container("main", &[], 2), container("log", &[], 1)]),
            ],
        };
        let pods = holding(list);
        assert_eq!(pods.keys().map(|id| &**id).collect::<Vec<_>>(), ["ml/pinned", "ml/train-0"]);
        let train = &pods["ml/train-0"];
        assert_eq!((&*train.allocation.account, &*train.allocation.user, train.allocation.cores), ("ml", "", 4));
        let labels = [("container", "main"), ("namespace", "ml"), ("pod", "train-0")];
        assert_eq!(train.allocation.labels, labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(train.devices.len(), 2);
        assert_eq!(
            (pods["ml/pinned"].allocation.cores, &*pods["ml/pinned"].allocation.labels["container"]),
            (3, "main,log")
        );
    }

    #[test]
    fn long_names_stay_apart_and_fit() {
        let long = |end: char| PodResources {
            name: "x".repeat(250) + &end.to_string(),
            namespace: "ml".into(),
            containers: vec![container("main", &["GPU-a"], 0)],
        };
        let pods = holding(Pods { pods: vec![long('a'), long('b')] });
        assert_eq!(pods.len(), 2);
        for pod in pods.into_values() {
            assert_eq!(pod.allocation.labels["pod"].len(), 251);
            assert!(pod.allocation.checked().is_ok());
        }
        assert_eq!(shortened("ü".repeat(100), 64).len(), 63);
    }
}
