//! The way through a service: which machine it stands for, and which resources are read from then on.
//!
//! What is not there is passed over. What fails for another reason ends the survey: a figure must not be
//! chosen because a better one did not answer this time.

use super::client::{Client, NoAnswer};
use super::document::{Document, MEMBERS_MAX};
use super::figures::{self, Gauge};
use super::resources::{Around, Chassis, System};

/// Most chassis around each other.
const DEPTH_MAX: usize = 8;

/// Most systems, chassis and supplies that are looked at: each is a request.
const SYSTEMS_MAX: usize = 8;
const CHASSIS_MAX: usize = 32;
const SUPPLIES_MAX: usize = 16;

/// What a BMC stands for.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) system: Option<System>,
    /// The machine's outermost chassis.
    pub(super) chassis: Option<Chassis>,
    /// The figures of the machine's own meter.
    pub(super) gauges: Vec<Gauge>,
    /// The enclosure that it shares, if that has the only meter, with its figures.
    pub(super) enclosure: Option<(Chassis, Vec<Gauge>)>,
    /// What was left out, and why.
    pub(super) remarks: Vec<String>,
}

/// A power distribution unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) id: String,
    pub(super) chassis: Chassis,
    pub(super) gauges: Vec<Gauge>,
}

/// Looks for the machine behind a BMC.
pub(super) async fn machine(client: &mut Client) -> Result<Machine, NoAnswer> {
    let root = client.greet().await?;
    let root = parse(&root)?;
    let mut found = Machine::default();
    found.system = system(client, root.link("Systems"), &mut found.remarks).await?;
    let Some(inner) = chassis(client, root.link("Chassis"), found.system.as_ref()).await? else {
        let pdus =
            root.link("PowerEquipment").map_or("", |_| ": it is a power distribution unit; set kind = \"meter\"");
        return Err(NoAnswer::Wrong(format!("has no chassis{pdus}")));
    };
    let (outer, enclosure) = climb(client, inner.clone()).await?;
    let on = found.system.as_ref().and_then(|system| system.on).or(outer.on);
    found.gauges = meter(client, &outer, on, &mut found.remarks).await?;
    if found.gauges.is_empty() && outer != inner {
        found.gauges = meter(client, &inner, on, &mut found.remarks).await?;
    }
    if let (true, Some(enclosure)) = (found.gauges.is_empty(), enclosure) {
        let gauges = meter(client, &enclosure, None, &mut found.remarks).await?;
        if !gauges.is_empty() && enclosure.serial.is_none() {
            found.remarks.push(format!("{}: the enclosure's meter, because it has no serial number", enclosure.path));
        } else if !gauges.is_empty() {
            found.enclosure = Some((enclosure, gauges));
        }
    }
    found.chassis = Some(outer);
    Ok(found)
}

/// The first system that is one.
async fn system(
    client: &mut Client,
    collection: Option<String>,
    remarks: &mut Vec<String>,
) -> Result<Option<System>, NoAnswer> {
    let mut systems = Vec::new();
    for path in members(client, collection, SYSTEMS_MAX).await? {
        if let Some(text) = optional(client.get(&path).await)? {
            systems.push(System::parse(&path, parse(&text)?));
        }
    }
    systems.retain(|system| !system.is_part);
    if systems.len() > 1 {
        let others: Vec<&str> = systems[1..].iter().map(|system| system.path.as_str()).collect();
        remarks.push(format!("further systems behind the same BMC: {}", others.join(", ")));
    }
    Ok(systems.into_iter().next())
}

/// The chassis of a system: the one it names, else the one that names it, else the first that is no part.
async fn chassis(
    client: &mut Client,
    collection: Option<String>,
    system: Option<&System>,
) -> Result<Option<Chassis>, NoAnswer> {
    // Some systems name boards and backplanes as well.
    let mut named = Vec::new();
    for path in system.iter().flat_map(|system| &system.chassis).take(SYSTEMS_MAX) {
        named.extend(one_chassis(client, path).await?);
        if named.last().is_some_and(Chassis::is_machine) {
            return Ok(named.pop());
        }
    }
    if !named.is_empty() {
        return Ok(Some(named.swap_remove(0)));
    }
    let mut all = Vec::new();
    for path in members(client, collection, CHASSIS_MAX).await? {
        let Some(chassis) = one_chassis(client, &path).await? else { continue };
        if system.is_some_and(|system| chassis.systems.contains(&system.path)) {
            return Ok(Some(chassis));
        }
        all.push(chassis);
    }
    all.sort_by_key(|chassis| !chassis.is_machine());
    Ok(all.into_iter().next())
}

async fn one_chassis(client: &mut Client, path: &str) -> Result<Option<Chassis>, NoAnswer> {
    let Some(text) = optional(client.get(path).await)? else { return Ok(None) };
    Ok(Some(Chassis::parse(path, parse(&text)?)))
}

/// Goes outwards as long as it is the same machine; then the enclosure around that, if there is one.
async fn climb(client: &mut Client, inner: Chassis) -> Result<(Chassis, Option<Chassis>), NoAnswer> {
    let mut here = inner;
    for _ in 0..DEPTH_MAX {
        let Some(path) = here.within.clone() else { break };
        let Some(mut outer) = one_chassis(client, &path).await? else { break };
        match here.around(&outer) {
            Around::Room => break,
            Around::Shared => return Ok((here, Some(outer))),
            Around::Same => {
                outer.inherit(&here);
                here = outer;
            }
        }
    }
    Ok((here, None))
}

/// The figures of a chassis' meter, in the order of [`figures`]; none if it has no meter. `on` is whether
/// the machine is, as far as it is known.
async fn meter(
    client: &mut Client,
    chassis: &Chassis,
    on: Option<bool>,
    remarks: &mut Vec<String>,
) -> Result<Vec<Gauge>, NoAnswer> {
    let mut second_best = Vec::new();
    if let Some(path) = &chassis.environment
        && let Some(text) = optional(client.get(path).await)?
    {
        let document = parse(&text)?;
        let gauge = figures::of_metrics(path, "PowerWatts", document);
        if let Some(mut gauge) = judged(gauge, document, on, &mut second_best, remarks) {
            gauge.period_ns = period_ns(client, gauge.sensor.as_deref()).await?;
            return Ok(vec![gauge]);
        }
    }
    let legacy = match &chassis.power {
        Some(path) => optional(client.get(path).await)?.map(|text| (path, text)),
        None => None,
    };
    if let Some((path, text)) = &legacy {
        let document = parse(text)?;
        for gauge in [figures::of_control(path, document), figures::of_fujitsu(path, document)] {
            if let Some(gauge) = judged(gauge, document, on, &mut second_best, remarks) {
                return Ok(vec![gauge]);
            }
        }
    }
    if !chassis.has_own_supplies() {
        return Ok(second_best);
    }
    let supplies = supplies(client, chassis, remarks).await?;
    if !supplies.is_empty() {
        return Ok(supplies);
    }
    if let Some((path, text)) = &legacy {
        let supplies = figures::of_legacy_supplies(path, parse(text)?);
        if !supplies.is_empty() {
            return Ok(supplies);
        }
    }
    Ok(second_best)
}

/// The figure if it has a value now. One without may have one later, and is put by, if it is the first; one
/// that gives 0 W of a machine that is on is no meter.
fn judged(
    gauge: Option<Gauge>,
    document: Document<'_>,
    on: Option<bool>,
    second_best: &mut Vec<Gauge>,
    remarks: &mut Vec<String>,
) -> Option<Gauge> {
    let gauge = gauge?;
    if gauge.is_silent(document) && on == Some(true) {
        remarks.push(format!("{}: it says 0 W, and the machine is on", gauge.about));
        return None;
    }
    if gauge.has_value(document) {
        return Some(gauge);
    }
    if second_best.is_empty() {
        second_best.push(gauge);
    }
    None
}

/// What goes into each supply; nothing unless every supply tells.
async fn supplies(client: &mut Client, chassis: &Chassis, remarks: &mut Vec<String>) -> Result<Vec<Gauge>, NoAnswer> {
    let Some(path) = &chassis.power_subsystem else { return Ok(Vec::new()) };
    let Some(text) = optional(client.get(path).await)? else { return Ok(Vec::new()) };
    let collection = parse(&text)?.link("PowerSupplies");
    let mut gauges = Vec::new();
    for (place, path) in members(client, collection, SUPPLIES_MAX).await?.into_iter().enumerate() {
        let Some(text) = optional(client.get(&path).await)? else { continue };
        let supply = parse(&text)?;
        if !figures::is_present(supply) {
            continue;
        }
        let gauge = match supply.link("Metrics") {
            Some(metrics) => optional(client.get(&metrics).await)?
                .and_then(|text| figures::of_metrics(&metrics, "InputPowerWatts", Document::parse(&text).ok()?)),
            None => None,
        };
        let Some(gauge) = gauge else {
            remarks.push(format!("{path}: it does not say what goes into it, so the supplies are no meter"));
            return Ok(Vec::new());
        };
        gauges.push(Gauge { part: figures::part(supply.text("Id").as_deref(), place), ..gauge });
    }
    gauges.sort_by(|a, b| a.part.cmp(&b.part));
    gauges.dedup_by(|a, b| a.part == b.part);
    Ok(gauges)
}

/// How often a sensor has a new value; zero if it does not say.
async fn period_ns(client: &mut Client, sensor: Option<&str>) -> Result<u64, NoAnswer> {
    let Some(sensor) = sensor else { return Ok(0) };
    let text = optional(client.get(sensor).await)?;
    Ok(text.and_then(|text| Document::parse(&text).ok().map(figures::sensor_period_ns)).unwrap_or(0))
}

/// Looks for the power distribution units of a service, and for their outlets if these are `wanted`.
pub(super) async fn units(client: &mut Client, wanted: bool) -> Result<Vec<Unit>, NoAnswer> {
    let root = client.greet().await?;
    let Some(equipment) = parse(&root)?.link("PowerEquipment") else {
        return Err(NoAnswer::Wrong("has no power equipment: it is no power distribution unit".into()));
    };
    let equipment = client.get(&equipment).await?;
    let mut units = Vec::new();
    for kind in ["RackPDUs", "FloorPDUs"] {
        let collection = parse(&equipment)?.link(kind);
        for path in members(client, collection, SUPPLIES_MAX).await? {
            if let Some(text) = optional(client.get(&path).await)? {
                units.push(unit(client, &path, parse(&text)?, wanted).await?);
            }
        }
    }
    Ok(units)
}

async fn unit(client: &mut Client, path: &str, document: Document<'_>, outlets: bool) -> Result<Unit, NoAnswer> {
    let mut gauges = Vec::new();
    if let Some(metrics) = document.link("Metrics")
        && let Some(text) = optional(client.get(&metrics).await)?
    {
        gauges.extend(figures::of_metrics(&metrics, "PowerWatts", parse(&text)?));
    }
    let collection = document.link("Outlets").filter(|_| outlets);
    for path in members(client, collection, MEMBERS_MAX).await? {
        let Some(text) = optional(client.get(&path).await)? else { continue };
        let outlet = parse(&text)?;
        let id = outlet.text("Id").unwrap_or_else(|| path.rsplit('/').next().unwrap_or_default().to_owned());
        let gauge = figures::of_metrics(&path, "PowerWatts", outlet);
        gauges.extend(gauge.map(|gauge| Gauge { part: format!("outlet-{}", figures::name(&id)), ..gauge }));
    }
    gauges.sort_by(|a, b| a.part.cmp(&b.part));
    gauges.dedup_by(|a, b| a.part == b.part);
    let id = document.text("Id").unwrap_or_else(|| "1".into());
    Ok(Unit { id: figures::name(&id), chassis: Chassis::parse(path, document), gauges })
}

/// The members of a collection, which may be missing.
async fn members(client: &mut Client, collection: Option<String>, most: usize) -> Result<Vec<String>, NoAnswer> {
    let Some(path) = collection else { return Ok(Vec::new()) };
    let Some(text) = optional(client.get(&path).await)? else { return Ok(Vec::new()) };
    let mut members = parse(&text)?.links("Members");
    members.truncate(most);
    Ok(members)
}

fn parse(text: &str) -> Result<Document<'_>, NoAnswer> {
    Document::parse(text).map_err(NoAnswer::Wrong)
}

/// Makes of a resource that is not there, or that we may not read, none.
pub(super) fn optional(answer: Result<String, NoAnswer>) -> Result<Option<String>, NoAnswer> {
    match answer {
        Ok(text) => Ok(Some(text)),
        Err(NoAnswer::Missing(_) | NoAnswer::Wrong(_)) => Ok(None),
        Err(other) => Err(other),
    }
}
