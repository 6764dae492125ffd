//! Domains that contain others: each keeps what its contents do not explain, so that nothing counts twice.
//!
//! | contains | |
//! |---|---|
//! | `cpu:packages` | `cpu:package-…` |
//! | `dram:packages` | `dram:package-…` |
//! | `other:module-…`, all modules together | GPUs that the NVIDIA driver names, `cpu:grace-…` |
//! | `cpu:psys` | all other `cpu`, and `dram` |
//!
//! Which GPU sits in which module is not told by any of the sources: the modules are treated together, and
//! what their contents leave is shared among them in proportion. A container that shows less than its
//! contents keeps a negative rest, so that sums stay right, and is flagged.

use meter::{AccountKey, ByQuality, Scope};

use super::meters::JOIN_NS;
use super::share::{Split, part_of};
use super::{BilledLine, Role};

/// The kinds of containers, the inner ones first.
const KINDS: u8 = 4;
const CPU_PACKAGES: u8 = 0;
const DRAM_PACKAGES: u8 = 1;
const MODULES: u8 = 2;
const PLATFORM: u8 = 3;

/// The kind of container that an account is.
pub(super) fn kind(key: &AccountKey) -> Option<u8> {
    match (key.scope, &*key.device) {
        (Scope::Cpu, "packages") => Some(CPU_PACKAGES),
        (Scope::Dram, "packages") => Some(DRAM_PACKAGES),
        (Scope::Cpu, "psys") => Some(PLATFORM),
        (Scope::Other, device) if device.starts_with("module-") => Some(MODULES),
        _ => None,
    }
}

/// The kinds of containers that an account is inside of, one bit each.
pub(super) fn inside(key: &AccountKey) -> u8 {
    let device = &*key.device;
    let own = kind(key).map_or(0, |kind| 1 << kind);
    let platform = if matches!(key.scope, Scope::Cpu | Scope::Dram) { 1 << PLATFORM } else { 0 };
    let closer = match key.scope {
        Scope::Cpu if device.starts_with("package-") => 1 << CPU_PACKAGES,
        Scope::Dram if device.starts_with("package-") => 1 << DRAM_PACKAGES,
        Scope::Cpu if device.starts_with("grace-") => 1 << MODULES,
        Scope::Gpu if device.starts_with("GPU-") || device.starts_with("MIG-") => 1 << MODULES,
        _ => 0,
    };
    (platform | closer) & !own
}

#[derive(Default)]
struct Sum {
    energy: ByQuality,
    covered_ns: u64,
    lines: usize,
}

impl Sum {
    fn add(&mut self, line: &BilledLine) {
        self.energy += line.energy;
        self.covered_ns = self.covered_ns.max(line.covered_ns);
        self.lines += 1;
    }
}

/// Takes contents out of containers. Tells whether one of them shows clearly less than it contains.
pub(super) fn take_out(present: u8, roles: &[Role], lines: &mut [BilledLine], length_ns: u64) -> bool {
    let mut is_below = false;
    for kind in (0..KINDS).filter(|kind| present & (1 << kind) != 0) {
        let role = |line: &BilledLine| line.account.and_then(|account| roles.get(usize::from(account)));
        let is_container = |line: &BilledLine| role(line).is_some_and(|role| role.container == Some(kind));
        let (mut containers, mut contents) = (Sum::default(), Sum::default());
        for line in lines.iter() {
            if is_container(line) {
                containers.add(line);
            } else if role(line).is_some_and(|role| role.inside & (1 << kind) != 0) {
                contents.add(line);
            }
        }
        if containers.lines == 0 || contents.lines == 0 {
            continue;
        }
        let whole_ns = length_ns.saturating_sub(JOIN_NS);
        let is_complete = containers.covered_ns >= whole_ns && contents.covered_ns >= whole_ns;
        is_below |= is_complete && super::is_clearly_below(containers.energy.total(), contents.energy.total());
        let explained = explained(&containers, &contents);
        let weights = lines.iter().filter(|line| is_container(line)).map(|line| line.energy.total());
        let mut split = Split::by(weights);
        for line in lines.iter_mut().filter(|line| is_container(line)) {
            let share = split.next(&explained, line.energy.total());
            line.energy -= share;
        }
    }
    is_below
}

/// What the contents explain of the containers: all they used, but nothing for time that the containers
/// did not see.
fn explained(containers: &Sum, contents: &Sum) -> ByQuality {
    if containers.covered_ns.saturating_add(JOIN_NS) >= contents.covered_ns {
        return contents.energy;
    }
    part_of(&contents.energy, containers.covered_ns, contents.covered_ns)
}
