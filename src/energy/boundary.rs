//! What is billed: one non-overlapping cut through an owner's accounts, slot by slot.
//!
//! Bookings are to accounts; the boundary is applied when reading, so a corrected topology reads
//! correctly. In each slot
//! - device `x/…` is a part of `x` and counts only where `x` does not;
//! - accounts of scope `chassis` are outermost meters, of which one family is billed (`meters`);
//! - seconds that it missed and components saw are the components' energy, times what the meter usually
//!   shows over them (`ratio`), marked estimated;
//! - without such a meter the components are summed;
//! - domains that contain others keep what their contents do not explain (`containers`);
//! - what owner and chassis both report of one scope counts where it covers more, the owner's own first;
//! - `pdu` and `facility` are reference meters and never billed.
//!
//! What the meter saw and no component explains is *unattributed*: the difference, also by quality, so
//! that every grouping adds up to the meter's own figures. It is negative where meters disagree.

mod containers;
mod meters;
mod ratio;
mod settle;
mod share;

use meter::{AccountKey, ByQuality, Doubt, Doubts, Energy, Methods, Scope};

pub use meters::{JOIN_NS, Seen};
pub use ratio::{History, LOOK_BACK_DAYS, Place, Ratio};
pub use settle::Missed;
pub use share::{Split, part_of};

use crate::Cell;
use meters::Family;

/// The accounts of a billed owner, sorted once for all its slots.
#[derive(Clone, Debug, Default)]
pub struct Boundary {
    roles: Vec<Role>,
    families: Vec<Family>,
    /// Parts, each with a whole that it counts for only where that is silent.
    parts: Vec<(usize, usize)>,
    /// The kinds of containers there are, one bit each.
    containers: u8,
    /// The scopes of which both the owner and its chassis have components.
    doubled: Vec<Scope>,
}

/// What an account is to the boundary.
#[derive(Clone, Copy, Debug)]
struct Role {
    is: Is,
    scope: Scope,
    linked: bool,
    is_part: bool,
    /// The kind of container it is, and those that it is inside of.
    container: Option<u8>,
    inside: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// A meter of the family of that number.
    Meter(usize),
    Component,
    /// A reference: never billed.
    Reference,
}

/// One owner's billed energy in one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Billed {
    /// Non-overlapping lines; their sum is the billed energy.
    pub lines: Vec<BilledLine>,
    /// For how long there were readings at the boundary, in nanoseconds.
    pub covered_ns: u64,
    /// Whether it is billed at an outermost meter, not as the sum of components.
    pub metered: bool,
    /// For how long the meter was missed and components saw what is billed instead, in nanoseconds.
    pub ratio_ns: u64,
    /// By which rules.
    pub methods: Methods,
    /// What people should look at.
    pub doubts: Doubts,
    /// What the accounts showed, before anything was estimated.
    pub survey: Survey,
    seen: Vec<Seen>,
}

/// A part of the billed energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilledLine {
    /// The account, or nothing for what no component explains.
    pub account: Option<u16>,
    /// Its share of the billed energy.
    pub energy: ByQuality,
    /// For how long this account itself had readings, in nanoseconds.
    pub covered_ns: u64,
}

/// What an owner's accounts showed of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The outermost meter, if one says anything.
    pub meter: Option<Seen>,
    /// The components.
    pub components: ByQuality,
    /// For how long there were readings of components, in nanoseconds.
    pub components_ns: u64,
    /// The scopes of the components, one bit each.
    pub scopes: u16,
    /// The length of the slot, in nanoseconds.
    pub length_ns: u64,
}

impl Billed {
    /// The billed energy.
    #[must_use]
    pub fn total(&self) -> Energy {
        self.energy().total()
    }

    /// The billed energy by quality.
    #[must_use]
    pub fn energy(&self) -> ByQuality {
        let mut all = ByQuality::default();
        self.lines.iter().for_each(|line| all += line.energy);
        all
    }
}

/// Bills one owner by itself: `cells` by account index, possibly shorter than `keys`. `out` is reused. For
/// many slots make a [`Boundary`] once.
pub fn bill(keys: &[AccountKey], cells: &[Cell], out: &mut Billed) {
    Boundary::new(keys, &[]).bill(cells, out);
}

impl Boundary {
    /// The boundary of an owner with these accounts, and those of the chassis that it sits in.
    #[must_use]
    pub fn new(own: &[AccountKey], linked: &[AccountKey]) -> Self {
        let mut boundary = Self::default();
        let sides = [(own, 0, false), (linked, own.len(), true)];
        for (keys, _, linked) in sides {
            let meters = keys.iter().filter(|key| key.scope == Scope::Chassis);
            boundary.families.extend(meters.map(|key| Family::of(key, linked)));
        }
        boundary.families.sort_unstable();
        boundary.families.dedup();
        for (keys, offset, linked) in sides {
            for (index, key) in keys.iter().enumerate() {
                boundary.add(key, linked, keys, offset, index);
            }
        }
        let has = |scope: Scope, linked: bool| {
            let is_it = |role: &Role| role.is == Is::Component && role.scope == scope && role.linked == linked;
            boundary.roles.iter().any(is_it)
        };
        boundary.doubled = Scope::ALL.into_iter().filter(|&scope| has(scope, false) && has(scope, true)).collect();
        boundary
    }

    /// Adds an account, one of `keys`, which are counted from `offset` on.
    fn add(&mut self, key: &AccountKey, linked: bool, keys: &[AccountKey], offset: usize, index: usize) {
        let family = Family::of(key, linked);
        let is = match key.scope {
            Scope::Pdu | Scope::Facility => Is::Reference,
            Scope::Chassis => Is::Meter(self.families.binary_search(&family).unwrap_or(0)),
            _ => Is::Component,
        };
        let asks_whole = key.device.contains('/') && (is == Is::Component || family.adds_parts());
        let wholes = keys.iter().enumerate().filter(|(_, whole)| asks_whole && is_part(key, whole));
        let before = self.parts.len();
        self.parts.extend(wholes.map(|(whole, _)| (offset + index, offset + whole)));
        let is_component = is == Is::Component;
        let container = if is_component { containers::kind(key) } else { None };
        self.containers |= container.map_or(0, |kind| 1 << kind);
        self.roles.push(Role {
            is,
            scope: key.scope,
            linked,
            is_part: self.parts.len() > before,
            container,
            inside: if is_component { containers::inside(key) } else { 0 },
        });
    }

    /// Bills a span of unknown length, without knowing what was before it: `cells` by account index, possibly
    /// fewer than there are accounts. `out` is reused.
    pub fn bill(&self, cells: &[Cell], out: &mut Billed) {
        self.survey(cells, u64::MAX, out);
        out.settle(&Missed::default());
    }

    /// What the accounts show of a slot of `length_ns`; [`Billed::settle`] then says what is billed.
    pub fn survey(&self, cells: &[Cell], length_ns: u64, out: &mut Billed) {
        out.lines.clear();
        out.seen.clear();
        out.seen.extend(self.families.iter().map(|family| Seen { linked: family.linked, ..Seen::default() }));
        for (index, (role, cell)) in self.roles.iter().zip(cells).enumerate() {
            let is_out = role.is == Is::Reference || role.is_part && self.has_active_whole(index, cells);
            if is_out || !is_active(cell) {
                continue;
            }
            match role.is {
                Is::Meter(family) => out.seen[family].add(cell),
                Is::Component | Is::Reference => {
                    let account = u16::try_from(index).ok();
                    out.lines.push(BilledLine { account, energy: cell.energy, covered_ns: cell.covered_ns });
                }
            }
        }
        self.drop_doubled(&mut out.lines);
        let is_below = containers::take_out(self.containers, &self.roles, &mut out.lines, length_ns);
        let meter = meters::most_complete(&out.seen).map(|family| out.seen[family]);
        out.survey = Survey { meter, length_ns, ..Survey::default() };
        for line in &out.lines {
            let scope = self.role(line).map_or(0, |role| 1 << role.scope as u16);
            out.survey.add(line, scope);
        }
        out.doubts = Doubts::NONE;
        if is_below {
            out.doubts.insert(Doubt::ContainerBelowContents);
        }
    }

    /// The accounts whose energy that of the billed meter is the sum of, after [`Boundary::survey`] of these
    /// cells.
    #[must_use]
    pub fn metering(&self, cells: &[Cell], surveyed: &Billed) -> Vec<usize> {
        let Some(family) = meters::most_complete(&surveyed.seen) else { return Vec::new() };
        let is_of = |(account, (role, cell)): &(usize, (&Role, &Cell))| {
            let is_out = role.is_part && self.has_active_whole(*account, cells);
            role.is == Is::Meter(family) && !is_out && is_active(cell)
        };
        self.roles.iter().zip(cells).enumerate().filter(is_of).map(|(account, _)| account).collect()
    }

    /// Whether an account is an outermost meter that counts whenever it is read; of its family's coverage it
    /// is a lower bound.
    #[must_use]
    pub fn is_meter(&self, account: usize) -> bool {
        self.roles.get(account).is_some_and(|role| matches!(role.is, Is::Meter(_)) && !role.is_part)
    }

    /// Whether an account is a component.
    #[must_use]
    pub fn is_component(&self, account: usize) -> bool {
        self.roles.get(account).is_some_and(|role| role.is == Is::Component)
    }

    fn role(&self, line: &BilledLine) -> Option<&Role> {
        self.roles.get(usize::from(line.account?))
    }

    /// Whether a whole that the account is a part of counts in this slot.
    fn has_active_whole(&self, account: usize, cells: &[Cell]) -> bool {
        let wholes = self.parts.iter().filter(|(part, _)| *part == account).map(|(_, whole)| *whole);
        wholes.filter_map(|whole| cells.get(whole)).any(is_active)
    }

    /// Of scopes that owner and chassis both report one side counts: they see the same devices.
    fn drop_doubled(&self, lines: &mut Vec<BilledLine>) {
        for &scope in &self.doubled {
            let is_of = |line: &BilledLine, linked: bool| {
                self.role(line).is_some_and(|role| role.scope == scope && role.linked == linked)
            };
            let most = |linked| lines.iter().filter(|line| is_of(line, linked)).map(|line| line.covered_ns).max();
            let (Some(own), Some(theirs)) = (most(false), most(true)) else { continue };
            let drops_linked = own.saturating_add(JOIN_NS) >= theirs;
            lines.retain(|line| !is_of(line, drops_linked));
        }
    }
}

impl Survey {
    fn add(&mut self, line: &BilledLine, scope: u16) {
        self.components += line.energy;
        self.components_ns = self.components_ns.max(line.covered_ns);
        self.scopes |= scope;
    }
}

/// Whether one account is a part of another: `wall/ch1` of `wall`, a MIG instance of its board.
fn is_part(key: &AccountKey, whole: &AccountKey) -> bool {
    let is_mig = || {
        let board = key.device.strip_prefix("MIG-").and_then(|rest| rest.strip_prefix(&*whole.device));
        key.scope == whole.scope && !whole.device.is_empty() && board.is_some_and(|rest| rest.starts_with('/'))
    };
    key.is_part_of(whole) || is_mig()
}

fn is_active(cell: &Cell) -> bool {
    *cell != Cell::default()
}

/// Whether a meter shows less than what is inside it by more than 5 %: more than two good meters differ by.
fn is_clearly_below(Energy(outer): Energy, Energy(inner): Energy) -> bool {
    outer * 100 < inner * 95
}
