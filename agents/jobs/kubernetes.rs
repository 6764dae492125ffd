//! Pods, by the kubelet's own word: its PodResources service says which devices and which exclusive cores each pod on
//! this machine holds.
//!
//! It is asked every few seconds; a pod that is there begins, one that is not there any more has ended. So its edges
//! are known to one such period, and a pod that comes and goes between two questions is not seen. A kubelet that does
//! not answer ends nobody's pod.

mod kubelet;
mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use meter::{Allocation, Mark};
use tokio::time::MissedTickBehavior;

pub use kubelet::{ContainerDevices, ContainerResources, PodResources, Pods, list};
use pods::Pod;

use super::desk::Desk;
use super::message::Word;
use super::refused::Refused;
use super::settings::KubernetesSettings;
use super::tally::Way;

/// Most names of devices that nobody knows that are remembered, so that each is said once.
const UNKNOWN_MAX: usize = 1000;

/// What was said already.
#[derive(Debug, Default)]
struct Said {
    silent: bool,
    unknown: BTreeSet<String>,
}

/// Follows the pods for as long as the agent runs.
pub async fn follow(settings: &KubernetesSettings, desk: &Desk) {
    desk.tally().kubelet.store(true, Relaxed);
    let mut clock = tokio::time::interval(Duration::from_millis(settings.period_ms));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = Said::default();
    loop {
        clock.tick().await;
        match list(&settings.socket).await {
            Ok(pods) => {
                if std::mem::take(&mut said.silent) {
                    tracing::info!(socket = %settings.socket.display(), "the kubelet answers again");
                }
                compare(pods::holding(pods), desk, &mut said).await;
            }
            Err(why) => {
                desk.tally().kubelet_failures.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut said.silent, true) {
                    tracing::warn!(socket = %settings.socket.display(), why, "the kubelet does not say which pods run: trying on; those that ran are taken to run");
                }
            }
        }
    }
}

/// Tells what began and ended since the last answer.
async fn compare(pods: BTreeMap<Arc<str>, Pod>, desk: &Desk, said: &mut Said) {
    for gone in desk.pods() {
        if !pods.contains_key(&gone) {
            tell(Mark::Stop(gone), desk).await;
        }
    }
    for pod in pods.into_values() {
        if let Some(allocation) = known(pod, desk, said) {
            let mark = Mark::Start(Arc::new(allocation));
            let is_running =
                desk.check(&Word { mark: mark.clone(), at: None }).is_ok_and(|ready| desk.is_running(&ready));
            if !is_running {
                tell(mark, desk).await;
            }
        }
    }
}

async fn tell(mark: Mark, desk: &Desk) {
    let word = Word { mark, at: None };
    match desk.hear(&word, Way::Kubernetes).await {
        Ok(_) => {}
        Err(refused) if refused.is_passing() => tracing::debug!(why = %refused, "a pod is told of later"),
        Err(refused) => tracing::debug!(why = %refused, "a pod is not told of"),
    }
}

/// A pod's allocation with those of its devices that are measured here; nothing if it has to wait.
fn known(pod: Pod, desk: &Desk, said: &mut Said) -> Option<Allocation> {
    let mut allocation = pod.allocation;
    if allocation.cores > 0 {
        allocation.cores_of = desk.cores_of();
    }
    for (resource, device) in pod.devices {
        let alone =
            Allocation { id: Arc::clone(&allocation.id), devices: vec![device.clone()], ..Allocation::default() };
        match desk.check(&Word { mark: Mark::Start(Arc::new(alone)), at: None }) {
            Ok(_) => allocation.devices.push(device),
            Err(refused) if refused.is_passing() => return None,
            Err(refused @ (Refused::Device(_) | Refused::Ambiguous(_))) if pods::is_measured(&resource) => {
                let is_news = said.unknown.len() < UNKNOWN_MAX && said.unknown.insert(device.to_string());
                if is_news {
                    desk.tally().refuse(&refused);
                    tracing::warn!(pod = &*allocation.id, resource, %device, "a pod holds a device that no source of this machine reads: its energy is not the pod's");
                }
            }
            // Network adapters, FUSE and other things that are not measured by themselves.
            Err(_) => {}
        }
    }
    (!allocation.devices.is_empty() || allocation.cores > 0).then_some(allocation)
}
