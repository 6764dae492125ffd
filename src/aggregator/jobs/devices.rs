//! Whether the devices that a job names are there: one that leads to no account would use nothing, unseen.

use std::collections::BTreeSet;
use std::sync::Arc;

use billing::published::Snapshot;
use billing::topology::Topology;
use cost::tenancy::names_device;
use meter::{Allocation, Owner};
use serde_json::json;

use crate::http::problem::Problem;

/// Most devices of a host that a refusal names.
const NAMED_MAX: usize = 10;

/// Refuses a job that names a device which none of its host's accounts has, nor one of the enclosures that the host
/// was ever in. Accounts stay when a device is gone, so jobs of the past are judged alike. A host without accounts has
/// not said yet what it has.
///
/// # Errors
/// A problem that names the host, the device, and what the host has.
pub fn require(on: &[(Owner, Arc<Allocation>)], snapshot: &Snapshot, topology: &Topology) -> Result<(), Problem> {
    for (owner, allocation) in on.iter().filter(|(_, allocation)| !allocation.devices.is_empty()) {
        let own = devices([owner, topology.inventory.canonical(owner)], snapshot);
        let Some(own) = own else { continue };
        let links = topology.links_of(owner).iter();
        let outside = devices(links.flat_map(|link| [Some(&link.chassis), link.bmc.as_ref()]).flatten(), snapshot);
        let all = || own.iter().chain(outside.iter().flatten());
        let is_there = |name: &&Arc<str>| all().any(|device| names_device(name, device));
        if let Some(name) = allocation.devices.iter().find(|name| !is_there(name)) {
            return Err(refused(owner, name, &own));
        }
    }
    Ok(())
}

/// The devices of all accounts of these owners; nothing if they have no account.
fn devices<'a>(owners: impl IntoIterator<Item = &'a Owner>, snapshot: &Snapshot) -> Option<BTreeSet<Arc<str>>> {
    let views: Vec<_> = owners.into_iter().filter_map(|owner| snapshot.owner(owner)).collect();
    let keys = || views.iter().flat_map(|view| view.state.keys.iter());
    keys().next()?;
    Some(keys().map(|key| Arc::clone(&key.device)).filter(|device| !device.is_empty()).collect())
}

fn refused(owner: &Owner, name: &str, own: &BTreeSet<Arc<str>>) -> Problem {
    let known: Vec<&str> = own.iter().take(NAMED_MAX).map(|device| &**device).collect();
    let more = own.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let has = if known.is_empty() { "no device by name".to_owned() } else { known.join(", ") + &more };
    let shown: String = name.chars().take(80).collect();
    let detail = format!("devices: {} has no device {shown:?}; it has {has}", owner.name);
    Problem::bad_request("unknown-device", detail).with("field", json!("devices")).with("known", json!(known))
}
