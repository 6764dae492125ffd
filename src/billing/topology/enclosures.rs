//! Machines that share an enclosure: `hw.enclosure` of a BMC names the chassis that it sits in.
//!
//! Where the enclosure has the only meter, all machines in it share that. Where every BMC in it has a
//! meter of its own those bill, and the enclosure measures the same once more. Where only some have one,
//! the enclosure bills: what the others use is known from it alone.

use std::collections::{BTreeMap, BTreeSet};

use meter::{Owner, OwnerKind, Utc};

use super::Link;
use super::joins::{Joined, pieces, push};
use super::unmatched::{Reason, Unmatched};
use crate::hardware::Hardware;
use crate::inventory::ALWAYS;

/// Puts hosts into the enclosures that their BMCs name, and notes whom each chassis measures.
pub(super) fn place(joined: &mut Joined, hardware: &Hardware) {
    let outer = outer_meters(hardware);
    let mut hosts: BTreeMap<Owner, BTreeSet<Owner>> = BTreeMap::new();
    for (host, links) in &mut joined.links {
        let known = std::mem::take(links);
        for link in known.into_iter().flat_map(|link| divide(&link, hardware)) {
            let named = enclosure_at(&link.chassis, link.valid.start, hardware).filter(|_| link.bmc.is_none());
            for chassis in [Some(&link.chassis), link.bmc.as_ref(), named.as_ref()].into_iter().flatten() {
                hosts.entry(chassis.clone()).or_default().insert(host.clone());
            }
            push(
                links,
                match named.filter(|enclosure| outer.contains(enclosure)) {
                    Some(enclosure) => Link { bmc: Some(link.chassis), chassis: enclosure, ..link },
                    None => link,
                },
            );
        }
    }
    joined.hosts = hosts;
    nobodies(joined, hardware);
}

/// Every enclosure that a BMC ever named.
pub(super) fn named(hardware: &Hardware) -> impl Iterator<Item = Owner> {
    namings(hardware).map(|(enclosure, _)| enclosure)
}

/// Every enclosure that a BMC ever named, with whether that BMC has a meter of its own.
fn namings(hardware: &Hardware) -> impl Iterator<Item = (Owner, bool)> {
    let chassis = hardware.iter().filter(|(owner, _)| owner.kind == OwnerKind::Chassis);
    chassis.flat_map(|(bmc, said)| {
        let named = said.ever().filter_map(|facts| enclosure(bmc, facts.enclosure.as_deref()?));
        named.map(|enclosure| (enclosure, said.meters))
    })
}

/// The enclosures whose meter bills those that sit in them.
fn outer_meters(hardware: &Hardware) -> BTreeSet<Owner> {
    let mut inner: BTreeMap<Owner, Vec<bool>> = BTreeMap::new();
    for (enclosure, meters) in namings(hardware) {
        inner.entry(enclosure).or_default().push(meters);
    }
    let bills = |(enclosure, inner): &(Owner, Vec<bool>)| {
        let Some(said) = hardware.get(enclosure) else { return false };
        if said.meters { !inner.iter().all(|meters| *meters) } else { !inner.iter().any(|meters| *meters) }
    };
    inner.into_iter().filter(bills).map(|(enclosure, _)| enclosure).collect()
}

/// A link, cut where its chassis names another enclosure.
fn divide(link: &Link, hardware: &Hardware) -> Vec<Link> {
    let mut borders = BTreeSet::from([link.valid.start, link.valid.end]);
    let changes = hardware.get(&link.chassis).into_iter().flat_map(|said| said.changes());
    borders.extend(changes.filter(|at| link.valid.contains(at)));
    pieces(&borders).map(|valid| Link { valid, ..link.clone() }).collect()
}

fn enclosure_at(chassis: &Owner, at: Utc, hardware: &Hardware) -> Option<Owner> {
    enclosure(chassis, hardware.get(chassis)?.at(at).enclosure.as_deref()?)
}

fn enclosure(bmc: &Owner, name: &str) -> Option<Owner> {
    Owner::new(&bmc.cluster, OwnerKind::Chassis, name).ok().filter(|enclosure| enclosure != bmc)
}

/// Lists links to what nobody has ever reported.
fn nobodies(joined: &mut Joined, hardware: &Hardware) {
    let link = |owner: &Owner, reason, named: &str| Unmatched {
        owner: owner.clone(),
        reason,
        candidates: Vec::new(),
        named: Some(named.into()),
    };
    for (host, links) in &joined.links {
        for unread in links.iter().filter(|link| hardware.get(&link.chassis).is_none()) {
            let entry = link(host, Reason::UnknownChassis, &unread.chassis.name);
            joined.unmatched.push((unread.valid.clone(), entry));
        }
    }
    for (bmc, said) in hardware.iter().filter(|(owner, _)| owner.kind == OwnerKind::Chassis) {
        let mut borders: BTreeSet<Utc> = said.changes().collect();
        borders.extend([ALWAYS.start, ALWAYS.end]);
        for valid in pieces(&borders) {
            let Some(name) = &said.at(valid.start).enclosure else { continue };
            let is_known = enclosure(bmc, name).map(|enclosure| hardware.get(&enclosure).is_some());
            if is_known != Some(true) && **name != *bmc.name {
                joined.unmatched.push((valid, link(bmc, Reason::UnknownEnclosure, name)));
            }
        }
    }
}
