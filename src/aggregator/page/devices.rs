//! The devices of an owner: what each draws now and what it used, and where there is more of it.

use meter::{Owner, OwnerKind};

use super::view::encoded;
use super::words::{self, Figure};
use crate::asked::Range;
use crate::hosts_view::DeviceView;

/// Most devices that are listed.
const DEVICES_MAX: usize = 300;

/// The devices that are listed, and how many more there are.
pub(super) struct Devices {
    pub(super) rows: Vec<Device>,
    pub(super) more: usize,
    /// What the energy of the range is.
    pub(super) says: &'static str,
    /// What a dash says of it.
    pub(super) dash: &'static str,
}

/// One device.
pub(super) struct Device {
    pub(super) scope: String,
    pub(super) name: String,
    pub(super) href: String,
    pub(super) power: Option<Figure>,
    pub(super) energy: Option<Figure>,
    pub(super) lifetime: Figure,
    pub(super) flags: Vec<&'static str>,
}

impl Devices {
    /// These devices on a page of `owner`, with what they used.
    pub(super) fn of(
        owner: &Owner,
        views: &[DeviceView],
        used: impl Fn(&DeviceView) -> Option<Figure>,
        range: Range,
    ) -> Self {
        let device = |view: &DeviceView| Device {
            power: view.watts.map(words::power),
            energy: used(view),
            lifetime: words::energy(view.lifetime.joules / 3.6e6),
            flags: view.flags.clone(),
            scope: if view.kind == owner.kind.word() {
                view.scope.into()
            } else {
                format!("{} of {}", view.scope, view.owner)
            },
            href: href(&view.id, range),
            name: name(view),
        };
        let (says, dash) = match owner.kind {
            OwnerKind::Host => ("as it is billed", "not billed by itself"),
            _ => ("as it was read", "no readings"),
        };
        let rows = views.iter().take(DEVICES_MAX).map(device).collect();
        Self { rows, more: views.len().saturating_sub(DEVICES_MAX), says, dash }
    }
}

/// How a device is called; one without a name is its scope as a whole.
pub(super) fn name(view: &DeviceView) -> String {
    if view.device.is_empty() { format!("({})", view.scope) } else { view.device.clone() }
}

/// The address of a device's page.
pub(super) fn href(id: &str, range: Range) -> String {
    let parts: Vec<String> = id.split('/').map(encoded).collect();
    format!("/devices/{}{}", parts.join("/"), range.query())
}
