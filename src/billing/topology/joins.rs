//! Which chassis is which host's: a pure function of the inventory and of what hardware says.
//!
//! A chassis joins its host by the first of these that says anything:
//! 1. the inventory's link;
//! 2. `hw.host` of the chassis: the agent's configuration named the host of this BMC;
//! 3. the SMBIOS UUID, in either byte order;
//! 4. the serial number. It also decides among hosts that have one UUID in common.
//!
//! A host that the inventory puts into any chassis is joined to no other. A BMC that is nevertheless its
//! own is a meter within that chassis, and measures nothing that the chassis does not.
//!
//! What matches more than one counterpart is joined to none of them, for as long as it does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use meter::{Owner, OwnerKind, Utc, machine};

use super::unmatched::{Reason, Unmatched};
use super::{By, Link, enclosures};
use crate::hardware::{Facts, Hardware, Said, Uuid};
use crate::inventory::{ALWAYS, Inventory};

/// Everything that follows from an inventory and what hardware says.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// By host: ascending and disjoint.
    pub(super) links: BTreeMap<Owner, Vec<Link>>,
    /// By chassis: the hosts that it ever measures, alone or with others.
    pub(super) hosts: BTreeMap<Owner, BTreeSet<Owner>>,
    /// What could not be joined, and when.
    pub(super) unmatched: Vec<(Range<Utc>, Unmatched)>,
}

/// What one chassis is to a host for a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Claim {
    /// Its BMC.
    Of(Owner, By),
    /// Nobody's.
    Nobody(Reason, Vec<Owner>),
    /// It is out of service.
    Retired,
}

/// A chassis that claims a host.
struct Claimant<'a> {
    valid: Range<Utc>,
    chassis: &'a Owner,
    by: By,
}

/// Joins everything that can be joined.
pub(super) fn join(inventory: &Inventory, hardware: &Hardware) -> Joined {
    let mut links = of_inventory(inventory);
    // Neither what the inventory links nor an enclosure with BMCs of its own is somebody's BMC.
    let linked = links.values().flatten().map(|link| link.chassis.clone());
    let taken: BTreeSet<Owner> = linked.chain(enclosures::named(hardware)).collect();
    let matcher = Matcher::new(inventory, hardware);
    let mut unmatched = Vec::new();
    for (host, claimants) in matcher.claimed(&taken, &mut unmatched) {
        let mut joins = settle(&claimants, &mut unmatched);
        if inventory.entry(&host).is_some_and(|entry| entry.sits_alone) {
            overridden(&joins, &[], &mut unmatched);
            joins.clear();
        }
        let joins = match links.remove(&host) {
            Some(known) => matcher.within(&host, known, &joins, &mut unmatched),
            None => joins,
        };
        links.insert(host, joins);
    }
    links.retain(|_, links| !links.is_empty());
    let mut joined = Joined { links, hosts: BTreeMap::new(), unmatched };
    enclosures::place(&mut joined, hardware);
    joined
}

/// The inventory's own links.
fn of_inventory(inventory: &Inventory) -> BTreeMap<Owner, Vec<Link>> {
    let mut links: BTreeMap<Owner, Vec<Link>> = BTreeMap::new();
    for (host, entry) in inventory.entries().filter(|(owner, _)| owner.kind == OwnerKind::Host) {
        for span in &entry.spans {
            let Some(chassis) = span.chassis.clone() else { continue };
            let link = Link { valid: span.valid.clone(), chassis, bmc: None, by: By::Inventory };
            links.entry(host.clone()).or_default().push(link);
        }
    }
    links
}

/// Who has a host when: the strongest claim, if it is the only one of its strength.
fn settle(claimants: &[Claimant<'_>], unmatched: &mut Vec<(Range<Utc>, Unmatched)>) -> Vec<Link> {
    let borders = claimants.iter().flat_map(|claimant| [claimant.valid.start, claimant.valid.end]).collect();
    let mut links = Vec::new();
    for valid in pieces(&borders) {
        let there: Vec<_> = claimants.iter().filter(|claimant| claimant.valid.contains(&valid.start)).collect();
        let strongest = there.iter().map(|claimant| claimant.by).min();
        let (first, rest): (Vec<_>, Vec<_>) = there.into_iter().partition(|claimant| Some(claimant.by) == strongest);
        let of = |chassis: &Owner, reason, others: &[&Claimant<'_>]| {
            let candidates = others.iter().map(|other| other.chassis.clone()).filter(|other| other != chassis);
            Unmatched { owner: chassis.clone(), reason, candidates: candidates.collect(), named: None }
        };
        if let [only] = first[..] {
            let link = Link { valid: valid.clone(), chassis: only.chassis.clone(), bmc: None, by: only.by };
            push(&mut links, link);
        } else {
            for claimant in &first {
                unmatched.push((valid.clone(), of(claimant.chassis, Reason::SeveralChassis, &first)));
            }
        }
        for claimant in rest {
            unmatched.push((valid.clone(), of(claimant.chassis, Reason::HostTaken, &first)));
        }
    }
    links
}

/// Lists the chassis of joins that the inventory's links override.
fn overridden(joins: &[Link], links: &[Link], unmatched: &mut Vec<(Range<Utc>, Unmatched)>) {
    for join in joins {
        let candidates = links.iter().map(|link| link.chassis.clone()).collect();
        let owner = join.chassis.clone();
        let entry = Unmatched { owner, reason: Reason::HostInInventory, candidates, named: None };
        unmatched.push((join.valid.clone(), entry));
    }
}

/// Appends a link, or lengthens the last one.
pub(super) fn push(links: &mut Vec<Link>, link: Link) {
    match links.last_mut() {
        Some(last) if last.valid.end == link.valid.start && last.is_to_the_same(&link) => {
            last.valid.end = link.valid.end;
        }
        _ => links.push(link),
    }
}

/// The pieces between borders.
pub(super) fn pieces(borders: &BTreeSet<Utc>) -> impl Iterator<Item = Range<Utc>> {
    borders.iter().zip(borders.iter().skip(1)).map(|(start, end)| *start..*end)
}

/// Hosts by what they are known by.
struct Matcher<'a> {
    inventory: &'a Inventory,
    hardware: &'a Hardware,
    uuids: HashMap<Uuid, Vec<Told<'a>>>,
    serials: HashMap<Arc<str>, Vec<Told<'a>>>,
}

/// A host and what it says of itself.
type Told<'a> = (&'a Owner, &'a Said);

impl<'a> Matcher<'a> {
    fn new(inventory: &'a Inventory, hardware: &'a Hardware) -> Self {
        let mut matcher = Self { inventory, hardware, uuids: HashMap::new(), serials: HashMap::new() };
        for (host, said) in hardware.iter().filter(|(owner, _)| owner.kind == OwnerKind::Host) {
            for facts in said.ever() {
                if let Some(uuid) = facts.uuid.this() {
                    matcher.uuids.entry(*uuid).or_default().push((host, said));
                }
                if let Some(serial) = facts.serial.this() {
                    matcher.serials.entry(Arc::clone(serial)).or_default().push((host, said));
                }
            }
        }
        matcher
    }

    /// By host, the chassis that claim it; of the chassis that are not taken.
    fn claimed(
        &self,
        taken: &BTreeSet<Owner>,
        unmatched: &mut Vec<(Range<Utc>, Unmatched)>,
    ) -> BTreeMap<Owner, Vec<Claimant<'a>>> {
        let mut claimed: BTreeMap<Owner, Vec<Claimant<'a>>> = BTreeMap::new();
        let chassis = self.hardware.iter().filter(|(owner, _)| owner.kind == OwnerKind::Chassis);
        for (chassis, said) in chassis.filter(|(owner, _)| !taken.contains(*owner)) {
            for (valid, claim) in self.claims(chassis, said) {
                match claim {
                    Claim::Of(host, by) => claimed.entry(host).or_default().push(Claimant { valid, chassis, by }),
                    Claim::Nobody(reason, candidates) => {
                        unmatched.push((valid, Unmatched { owner: chassis.clone(), reason, candidates, named: None }));
                    }
                    Claim::Retired => {}
                }
            }
        }
        claimed
    }

    /// What a chassis is, for all of time.
    fn claims(&self, chassis: &Owner, said: &Said) -> Vec<(Range<Utc>, Claim)> {
        let mut borders = BTreeSet::from([ALWAYS.start, ALWAYS.end]);
        borders.extend(said.changes().chain(self.inventory.retired(chassis)));
        for (host, told) in said.ever().flat_map(|facts| self.known_by(facts)) {
            borders.extend(told.changes().chain([told.since()]));
            borders.extend(self.inventory.retired(host));
        }
        let mut claims: Vec<(Range<Utc>, Claim)> = Vec::with_capacity(1);
        for piece in pieces(&borders) {
            let claim = self.claim(chassis, said.at(piece.start), piece.start);
            match claims.last_mut() {
                Some((before, same)) if *same == claim => before.end = piece.end,
                _ => claims.push((piece, claim)),
            }
        }
        claims
    }

    /// Every host that was ever known by what these facts say.
    fn known_by(&self, facts: &Facts) -> impl Iterator<Item = &Told<'a>> {
        let uuid = facts.uuid.this().and_then(|uuid| self.uuids.get(uuid));
        let serial = facts.serial.this().and_then(|serial| self.serials.get(serial));
        uuid.into_iter().chain(serial).flatten()
    }

    fn claim(&self, chassis: &Owner, facts: &Facts, at: Utc) -> Claim {
        if self.inventory.retired(chassis).is_some_and(|retired| retired <= at) {
            return Claim::Retired;
        }
        if let Some(name) = &facts.host {
            return match self.named(&chassis.cluster, name) {
                Some(host) => Claim::Of(host, By::Configuration),
                None => Claim::Nobody(Reason::BadHostName, Vec::new()),
            };
        }
        let uuid = facts.uuid.this();
        let serial = facts.serial.this();
        let by_uuid =
            self.hosts(chassis, at, uuid.and_then(|uuid| self.uuids.get(uuid)), |said| said.uuid.this() == uuid);
        let by_serial = self.hosts(chassis, at, serial.and_then(|serial| self.serials.get(serial)), |said| {
            said.serial.this() == serial
        });
        decide(facts, by_uuid, by_serial)
    }

    /// The host that a configuration names: as it stands, or by its short lower-case name, which is what
    /// agents go by.
    fn named(&self, cluster: &str, name: &str) -> Option<Owner> {
        let short = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let of = |name: &str| Owner::new(cluster, OwnerKind::Host, name).ok();
        let is_known = |host: &Owner| self.hardware.get(host).is_some() || self.inventory.entry(host).is_some();
        let host = of(name).filter(is_known).or_else(|| of(&short).filter(is_known)).or_else(|| of(name))?;
        Some(self.inventory.canonical(&host).clone())
    }

    /// The hosts among `known` that say so at an instant, each machine once.
    fn hosts(
        &self,
        chassis: &Owner,
        at: Utc,
        known: Option<&Vec<Told<'a>>>,
        says: impl Fn(&Facts) -> bool,
    ) -> BTreeSet<&'a Owner> {
        let mut hosts: Vec<Told<'_>> = Vec::new();
        for &(host, said) in known.into_iter().flatten() {
            // Who said it twice, with something else in between, follows itself.
            let is_known = hosts.last().is_some_and(|(known, _)| *known == host);
            let is_retired = || self.inventory.retired(host).is_some_and(|retired| retired <= at);
            if !is_known && host.cluster == chassis.cluster && says(said.at(at)) && !is_retired() {
                hosts.push((host, said));
            }
        }
        one_name_each(&mut hosts, at);
        hosts.into_iter().map(|(host, _)| self.inventory.canonical(host)).collect()
    }

    /// The links of a host that the inventory puts into chassis, with its own BMC within them.
    fn within(
        &self,
        host: &Owner,
        links: Vec<Link>,
        settled: &[Link],
        unmatched: &mut Vec<(Range<Utc>, Unmatched)>,
    ) -> Vec<Link> {
        overridden(settled, &links, unmatched);
        let mut all = Vec::with_capacity(links.len());
        for link in links {
            let mut borders = BTreeSet::from([link.valid.start, link.valid.end]);
            let inner = settled.iter().flat_map(|inner| [inner.valid.start, inner.valid.end]);
            borders.extend(inner.filter(|at| link.valid.contains(at)));
            for valid in pieces(&borders) {
                let inner = settled.iter().find(|inner| inner.valid.contains(&valid.start));
                // Where the inventory's chassis is this host's by its own word, the other is another machine's.
                let inner = inner.filter(|_| !self.is_own(host, &link.chassis, valid.start));
                push(&mut all, Link { valid, bmc: inner.map(|inner| inner.chassis.clone()), ..link.clone() });
            }
        }
        all
    }

    /// Whether what a chassis says of itself is what the host says.
    fn is_own(&self, host: &Owner, chassis: &Owner, at: Utc) -> bool {
        let said = self.hardware.get(chassis).map(|said| said.at(at));
        said.is_some_and(|facts| match self.claim(chassis, facts, at) {
            Claim::Of(own, _) => own == *host,
            Claim::Nobody(_, candidates) => candidates.contains(host),
            Claim::Retired => false,
        })
    }
}

/// A machine that reported under several names is one: the name it took last, by then, is meant.
fn one_name_each(hosts: &mut Vec<Told<'_>>, at: Utc) {
    let is_one = |a: &Said, b: &Said| match (a.machine, b.machine) {
        (Some(a), Some(b)) => machine::same_machine(&a, &b) && a.iter().zip(&b).any(|(a, b)| *a != 0 && *b != 0),
        _ => false,
    };
    if hosts.len() > 1 && hosts.windows(2).all(|pair| is_one(pair[0].1, pair[1].1)) {
        hosts.sort_by_key(|(_, said)| said.since());
        let by_then = hosts.partition_point(|(_, said)| said.since() <= at);
        hosts.swap(0, by_then.saturating_sub(1));
        hosts.truncate(1);
    }
}

/// What a chassis is, by the hosts that have its UUID and those that have its serial number.
fn decide(facts: &Facts, by_uuid: BTreeSet<&Owner>, by_serial: BTreeSet<&Owner>) -> Claim {
    let only = |hosts: &BTreeSet<&Owner>| hosts.first().filter(|_| hosts.len() == 1).map(|host| (*host).clone());
    let both: BTreeSet<&Owner> = by_uuid.intersection(&by_serial).copied().collect();
    let by_serial = if by_uuid.is_empty() { by_serial } else { both };
    if let Some(host) = only(&by_uuid) {
        return Claim::Of(host, By::Uuid);
    }
    if let Some(host) = only(&by_serial) {
        return Claim::Of(host, By::Serial);
    }
    let several = if by_uuid.is_empty() { by_serial } else { by_uuid };
    let reason =
        match (several.is_empty(), facts.is_silent(), facts.uuid.this().is_none() && facts.serial.this().is_none()) {
            (false, ..) => Reason::SeveralHosts,
            (true, true, _) => Reason::NoIdentity,
            (true, false, true) => Reason::Placeholder,
            (true, false, false) => Reason::NoHost,
        };
    Claim::Nobody(reason, several.into_iter().cloned().collect())
}
