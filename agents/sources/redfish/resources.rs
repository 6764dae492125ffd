//! The resources that say what hardware a BMC stands for: systems, chassis, power distribution units.

use meter::{Labels, reading};

use super::document::Document;
use crate::sources::file::device_name;

/// A system: what runs an operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct System {
    pub(super) path: String,
    /// The SMBIOS system UUID in lower case.
    pub(super) uuid: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) vendor: Option<String>,
    pub(super) model: Option<String>,
    /// Whether it is switched on; nothing while it changes, or if it does not say.
    pub(super) on: Option<bool>,
    /// The chassis that contain it.
    pub(super) chassis: Vec<String>,
    /// Whether it is a part that calls itself a system, as the GPU baseboard of an HGX.
    pub(super) is_part: bool,
}

/// What a chassis is, as far as it matters whose power it draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes into an enclosure that several share: a blade, a sled.
    Blade,
    /// It is made to hold several machines.
    Enclosure,
    /// It is a piece of a room: a rack, a row.
    Room,
    /// It is a part of a machine: a board, a module, a drive.
    Part,
    /// A machine by itself, or it does not say.
    #[default]
    Machine,
}

/// A chassis: a piece of metal that something is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chassis {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) serial: Option<String>,
    pub(super) vendor: Option<String>,
    pub(super) model: Option<String>,
    pub(super) on: Option<bool>,
    pub(super) rack: Option<String>,
    pub(super) row: Option<String>,
    /// The chassis around it.
    pub(super) within: Option<String>,
    /// The systems in it.
    pub(super) systems: Vec<String>,
    pub(super) environment: Option<String>,
    pub(super) power_subsystem: Option<String>,
    /// The resource that came before the two.
    pub(super) power: Option<String>,
}

/// How a chassis stands to the one around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// The same machine: the outer one's meter is the machine's.
    Same,
    /// An enclosure that several machines share.
    Shared,
    /// A piece of a room: its meter is nobody's.
    Room,
}

impl System {
    pub(super) fn parse(path: &str, document: Document<'_>) -> Self {
        let id = document.text("Id").unwrap_or_default();
        Self {
            path: path.into(),
            uuid: document.text("UUID").map(|uuid| uuid.to_ascii_lowercase()).filter(|uuid| is_uuid(uuid)),
            serial: identity(document, "SerialNumber"),
            vendor: identity(document, "Manufacturer"),
            model: identity(document, "Model"),
            on: power_state(document),
            chassis: document.field("Links").map(|links| links.links("Chassis")).unwrap_or_default(),
            is_part: id.starts_with("HGX_") || document.text("SystemType").is_some_and(|kind| kind == "Virtual"),
        }
    }
}

impl Chassis {
    pub(super) fn parse(path: &str, document: Document<'_>) -> Self {
        let links = document.field("Links");
        let location = document.field("Location");
        let placed = |name| location?.field("Placement")?.text(name).and_then(label);
        let described = |name| described(location?, name);
        Self {
            path: path.into(),
            kind: kind(&document.text("ChassisType").unwrap_or_default()),
            serial: identity(document, "SerialNumber"),
            vendor: identity(document, "Manufacturer"),
            model: identity(document, "Model"),
            on: power_state(document),
            rack: placed("Rack").or_else(|| described("RackName")),
            row: placed("Row").or_else(|| described("Aisle")),
            within: links.and_then(|links| links.link("ContainedBy")).filter(|around| around != path),
            systems: links.map(|links| links.links("ComputerSystems")).unwrap_or_default(),
            environment: document.link("EnvironmentMetrics"),
            power_subsystem: document.link("PowerSubsystem"),
            power: document.link("Power"),
        }
    }

    /// How this chassis stands to the one around it.
    pub(super) fn around(&self, outer: &Self) -> Around {
        match (self.kind, outer.kind) {
            (_, Kind::Room) => Around::Room,
            (Kind::Blade, _) | (_, Kind::Enclosure) => Around::Shared,
            _ if outer.systems.len() > 1 => Around::Shared,
            _ => Around::Same,
        }
    }

    /// Whether this may be a machine, and no part or room of one.
    pub(super) fn is_machine(&self) -> bool {
        matches!(self.kind, Kind::Machine | Kind::Blade)
    }

    /// Learns from a chassis inside, which is the same machine, what it does not say itself.
    pub(super) fn inherit(&mut self, inner: &Self) {
        for (own, other) in [
            (&mut self.serial, &inner.serial),
            (&mut self.vendor, &inner.vendor),
            (&mut self.model, &inner.model),
            (&mut self.rack, &inner.rack),
            (&mut self.row, &inner.row),
        ] {
            if own.is_none() {
                own.clone_from(other);
            }
        }
        self.on = self.on.or(inner.on);
    }

    /// Whether supplies that are listed in it feed it alone: those of a blade feed all in the enclosure.
    pub(super) fn has_own_supplies(&self) -> bool {
        self.kind != Kind::Blade
    }

    /// The name of the owner that this enclosure is; nothing without a serial number, because then each BMC
    /// in it would make another of it.
    pub(super) fn enclosure_name(&self) -> Option<String> {
        let serial = device_name(self.serial.as_deref()?);
        (!serial.is_empty()).then(|| format!("enclosure-{serial}"))
    }
}

/// The value of the label `hw.power`.
pub(super) const fn power_word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// What is known of a machine, as labels.
pub(super) fn labels(system: Option<&System>, chassis: Option<&Chassis>) -> Labels {
    let of = |a: fn(&System) -> &Option<String>, b: fn(&Chassis) -> &Option<String>| {
        system.and_then(|one| a(one).clone()).or_else(|| chassis.and_then(|one| b(one).clone()))
    };
    let on = system.and_then(|one| one.on).or_else(|| chassis.and_then(|one| one.on));
    let known = [
        ("hw.uuid", system.and_then(|one| one.uuid.clone())),
        ("hw.serial", of(|one| &one.serial, |one| &one.serial)),
        ("hw.vendor", of(|one| &one.vendor, |one| &one.vendor)),
        ("hw.model", of(|one| &one.model, |one| &one.model)),
        ("hw.power", on.map(|on| power_word(on).to_owned())),
        ("rack", chassis.and_then(|one| one.rack.clone())),
        ("row", chassis.and_then(|one| one.row.clone())),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn kind(text: &str) -> Kind {
    match text {
        "Blade" | "Sled" | "Cartridge" => Kind::Blade,
        "Enclosure" | "Shelf" | "Drawer" | "Sidecar" => Kind::Enclosure,
        "Rack" | "Row" | "Pod" | "Zone" | "RackGroup" | "Facility" | "Building" => Kind::Room,
        "Card" | "Module" | "Component" | "Expansion" | "IPBasedDrive" | "StorageEnclosure" | "HeatExchanger"
        | "ImmersionTank" | "PowerStrip" => Kind::Part,
        _ => Kind::Machine,
    }
}

/// The states between on and off are neither.
fn power_state(document: Document<'_>) -> Option<bool> {
    match document.text("PowerState")?.as_str() {
        "On" => Some(true),
        "Off" => Some(false),
        _ => None,
    }
}

/// What boards say that nobody programmed, in lower case.
const UNSET: [&str; 14] = [
    "na",
    "n/a",
    "none",
    "null",
    "unknown",
    "default string",
    "not available",
    "not specified",
    "0123456789",
    "system manufacturer",
    "system product name",
    "system serial number",
    "to be filled by o.e.m.",
    "to be filled by o.e.m",
];

/// A property that tells one machine from another; nothing if it is what boards say that nobody programmed.
fn identity(document: Document<'_>, name: &str) -> Option<String> {
    let text = label(document.text(name)?)?;
    let lower = text.to_ascii_lowercase();
    let unset = UNSET.contains(&lower.as_str()) || lower.chars().all(|c| matches!(c, '0' | '.' | '-' | ' ' | 'x'));
    (!unset).then_some(text)
}

/// A text that can be a label's value.
fn label(text: String) -> Option<String> {
    (!text.is_empty() && reading::label_value_is_valid(&text)).then_some(text)
}

/// Whether this is a UUID that some machine has, in lower case.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let shaped = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    // All zeros, all ones, and what boards of one maker have that nobody programmed.
    let unset = text.bytes().all(|byte| matches!(byte, b'0' | b'-'))
        || text.bytes().all(|byte| matches!(byte, b'f' | b'-'))
        || text == "03000200-0400-0500-0006-000700080009";
    shaped && !unset
}

/// A part of the place as Dell writes it: `Info` holds values in the order of the names in `InfoFormat`.
fn described(location: Document<'_>, name: &str) -> Option<String> {
    let (names, values) = (location.text("InfoFormat")?, location.text("Info")?);
    let place = names.split(';').position(|one| one.trim() == name)?;
    label(values.split(';').nth(place)?.trim().to_owned())
}

#[cfg(test)]
#[path = "resources_tests.rs"]
mod tests;
