//! Which account a device's name leads to, and how many cores the machine has.

use std::path::Path;
use std::sync::Arc;

use meter::Owner;

use super::refused::Refused;
use crate::clock;
use crate::health::{Registry, State};

/// The accounts that these names lead to: each a device of this machine's by its account's name or by what else
/// its source says it is called.
///
/// # Errors
/// [`Refused::Device`] names the first that leads nowhere, [`Refused::NotYet`] if that may be because sources are
/// still being looked for.
pub fn accounts(registry: &Registry, owner: &Owner, names: &[Arc<str>]) -> Result<Vec<Arc<str>>, Refused> {
    names.iter().map(|name| account(registry, owner, name)).collect()
}

fn account(registry: &Registry, owner: &Owner, name: &str) -> Result<Arc<str>, Refused> {
    let mut found: Vec<Arc<str>> = Vec::new();
    let board = board_of(name);
    for health in registry.list() {
        found.extend(health.device_called(owner, board));
    }
    found.sort();
    found.dedup();
    let shown: String = name.chars().take(80).collect();
    match found.len() {
        // An instance keeps its name: it has a share of its board.
        1 if name.starts_with("MIG-") => Ok(name.into()),
        1 => found.pop().ok_or(Refused::Device(shown)),
        0 if is_looking(registry) => Err(Refused::NotYet(shown)),
        0 => Err(Refused::Device(shown)),
        _ => Err(Refused::Ambiguous(shown)),
    }
}

/// The board that a share of it is named after: of a time slice (`GPU-…::3`, NVIDIA's device plugin) and of an
/// instance under its old name (`MIG-GPU-…/1/0`).
fn board_of(name: &str) -> &str {
    let name = name.split_once("::").map_or(name, |(board, _)| board);
    let instance = name.strip_prefix("MIG-").filter(|rest| rest.starts_with("GPU-"));
    instance.map_or(name, |rest| rest.split('/').next().unwrap_or(rest))
}

/// Whether a source of this machine was not looked at yet.
fn is_looking(registry: &Registry) -> bool {
    let now = clock::boot_ns();
    registry.list().iter().any(|health| health.target.is_none() && health.state(now) == State::Waiting)
}

/// The cores that the kernel counts, hyperthreads one by one as schedulers do; zero if it does not tell.
#[must_use]
pub fn cores(sys: &Path) -> u32 {
    let list = std::fs::read_to_string(sys.join("devices/system/cpu/present")).unwrap_or_default();
    ranges(list.trim()).unwrap_or(0)
}

/// How many numbers a list such as `0-63,128` holds.
fn ranges(list: &str) -> Option<u32> {
    list.split(',').try_fold(0_u32, |sum, range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
        sum.checked_add(high.checked_sub(low)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Called, Health};

    fn called(owner: &str, name: &str, device: &str) -> Called {
        Called { owner: Owner::host(owner).expect("a good name"), name: name.into(), device: device.into() }
    }

    fn registry(state: State, names: Vec<Called>) -> Registry {
        let registry = Registry::default();
        let health = Arc::new(Health::new("nvml", None, 1_000_000_000));
        health.turn(state);
        health.know(names);
        registry.add(health);
        registry
    }

    #[test]
    fn a_device_is_found_by_its_account_its_number_or_a_share_of_it() {
        let own = Owner::host("n1").expect("a good name");
        let names = vec![called("n1", "GPU-a", "GPU-a"), called("n1", "0", "GPU-a"), called("n2", "GPU-b", "GPU-b")];
        let registry = registry(State::Up, names);
        let find = |name: &str| accounts(&registry, &own, &[name.into()]);
        for name in ["GPU-a", "0", "GPU-a::3"] {
            assert_eq!(find(name).expect(name), [Arc::from("GPU-a")], "{name}");
        }
        assert_eq!(find("MIG-GPU-a/1/0").expect("an instance"), [Arc::from("MIG-GPU-a/1/0")]);
        for other in ["1", "GPU-b", "MIG-5a1c", "MIG-GPU-b/1/0", "", "::"] {
            assert!(matches!(find(other), Err(Refused::Device(name)) if name == other), "{other:?}");
        }
    }

    #[test]
    fn a_name_of_two_devices_and_one_that_may_still_come_are_told_apart() {
        let own = Owner::host("n1").expect("a good name");
        let two = registry(State::Up, vec![called("n1", "0", "GPU-a"), called("n1", "0", "0000:c1:00.0")]);
        assert!(matches!(accounts(&two, &own, &["0".into()]), Err(Refused::Ambiguous(_))));
        let none = registry(State::Waiting, Vec::new());
        assert!(matches!(accounts(&none, &own, &["0".into()]), Err(Refused::NotYet(_))));
    }

    #[test]
    fn cores_are_counted_as_the_kernel_lists_them() {
        assert_eq!((ranges("0-63"), ranges("0"), ranges("0-3,8-11,15")), (Some(64), Some(1), Some(9)));
        assert_eq!((ranges(""), ranges("3-1"), ranges("a")), (None, None, None));
    }
}
