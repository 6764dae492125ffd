//! What a page says of an owner beside figures: where it stands, its labels, how it is known and billed.

use meter::{Owner, OwnerKind, Utc};

use super::frame::{Link, local_time};
use super::view::{View, term};
use super::words;
use super::{chassis_href, owner_href};
use crate::asked::Range;
use crate::hosts_view::HostView;
use crate::query::Zone;
use crate::summary::Summary;

/// Something to know, and where there is more of it.
pub(super) struct Fact {
    pub(super) what: &'static str,
    pub(super) value: String,
    pub(super) href: Option<String>,
}

impl Fact {
    pub(super) const fn new(what: &'static str, value: String) -> Self {
        Self { what, value, href: None }
    }
}

/// Where it stands: the views it is found in, from the widest, and the chassis that it sits in.
pub(super) fn trail(host: &HostView, kind: OwnerKind, range: Range) -> Vec<Link> {
    let mut view = View::default().over(range);
    let mut trail = vec![Link::to("Fleet".into(), view.href())];
    let places = ["site", "rack"].into_iter().filter_map(|key| Some((key, host.labels.get(key)?.as_str())));
    let rows = if kind == OwnerKind::Chassis { "chassis" } else { "host" };
    for (key, value) in places {
        if let Some(inside) = view.inside(key, value, rows) {
            trail.push(Link::to(format!("{key} {value}"), inside.href()));
            view = inside;
        }
    }
    if let Some(chassis) = &host.chassis {
        trail.push(Link::to(format!("chassis {chassis}"), chassis_href(&host.cluster, chassis, range)));
    }
    trail
}

/// Its labels, each with the view of who has the same.
pub(super) fn labels(host: &HostView, range: Range) -> Vec<Link> {
    let link = |(key, value): (&String, &String)| {
        let others = term(key, value).and_then(|_| View::default().over(range).inside(key, value, "host"));
        Link::to(format!("{key}={value}"), others.map(|view| view.href()).unwrap_or_default())
    };
    host.labels.iter().map(link).collect()
}

/// The instant of an answer, in the zone of the page.
pub(super) fn instant(text: &str, zone: &Zone) -> Option<String> {
    let ns = i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()?;
    Some(local_time(Utc(ns), &zone.tz, "%Y-%m-%d %H:%M:%S"))
}

/// What is to be known of a host or chassis.
pub(super) fn facts(host: &HostView, summary: &Summary, range: Range) -> Vec<Fact> {
    let at = |text: &Option<String>| instant(text.as_ref()?, &summary.zone);
    let chassis_of = |name: &Option<String>| name.as_ref().map(|name| chassis_href(&host.cluster, name, range));
    // The meter is named as owners are, `cluster/kind/name`.
    let meter = host.boundary.meter.as_ref().and_then(|meter| meter.parse::<Owner>().ok());
    let meter = meter.filter(|meter| meter.kind == OwnerKind::Chassis);
    let refused: Vec<String> =
        host.refused.iter().map(|(reason, count)| format!("{} {reason}", words::count(*count))).collect();
    let billed = match (&host.boundary.meter, host.boundary.method) {
        (Some(meter), Some(method)) => Some(format!("{meter} ({method})")),
        (None, Some(method)) => Some(method.to_owned()),
        _ => None,
    };
    let chassis = host.chassis.clone().map(|name| match host.joined_by {
        Some(by) => format!("{name} (joined by {by})"),
        None => name,
    });
    let linked = [
        ("Billed at", billed, meter.map(|meter| owner_href(&meter, range))),
        ("Chassis", chassis, chassis_of(&host.chassis)),
        ("BMC", host.bmc.clone(), chassis_of(&host.bmc)),
    ];
    let plain = [
        ("Now called", host.alias_of.clone()),
        ("Newest reading", at(&host.last_reading)),
        ("Last heard of", at(&host.last_seen)),
        ("Readings", Some(words::count(host.readings))),
        ("Refused readings", (!refused.is_empty()).then(|| refused.join(", "))),
        ("Machine", host.machine.clone()),
        (
            "Refused machine",
            host.refused_machine
                .as_ref()
                .map(|machine| format!("{}, last at {}", machine.machine, machine.last_refused)),
        ),
    ];
    let linked = linked.into_iter().filter_map(|(what, value, href)| Some(Fact { what, value: value?, href }));
    linked.chain(plain.into_iter().filter_map(|(what, value)| Some(Fact::new(what, value?)))).collect()
}
