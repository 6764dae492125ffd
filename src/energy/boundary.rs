//! What is billed: one non-overlapping cut through an owner's accounts, slot by slot.
//!
//! Bookings are to accounts; the boundary is applied when reading, so a corrected topology reads
//! correctly. In each slot
//! - device `x/…` is a part of `x` and counts only where `x` does not;
//! - `cpu:psys` (the platform domain of RAPL) contains the CPU packages and the memory: it counts
//!   for what they do not explain;
//! - accounts of scope `chassis` are the owner's outermost meter: they are billed for the seconds they
//!   cover, and seconds that only components cover are the components' energy, marked estimated;
//! - without such a meter the components are summed;
//! - `pdu` and `facility` are reference meters and never billed.
//!
//! What the meter saw and no component explains is *unattributed*: the difference, also by quality, so
//! that every grouping adds up to the meter's own figures. It is negative where meters disagree.

use meter::{AccountKey, ByQuality, Energy, Quality, Scope};

use crate::Cell;

/// One owner's billed energy in one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Billed {
    /// Non-overlapping lines; their sum is the billed energy.
    pub lines: Vec<BilledLine>,
    /// For how long there were readings at the boundary, in nanoseconds.
    pub covered_ns: u64,
    /// Whether an outermost meter was billed, not the sum of components.
    pub metered: bool,
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

impl Billed {
    /// The billed energy.
    #[must_use]
    pub fn total(&self) -> Energy {
        self.lines.iter().map(|line| line.energy.total()).sum()
    }
}

/// Bills one owner's slot: `cells` by account index, possibly shorter than `keys`. `out` is reused.
pub fn bill(keys: &[AccountKey], cells: &[Cell], out: &mut Billed) {
    out.lines.clear();
    let (mut meter, mut meter_covered, mut metered) = (ByQuality::default(), 0, false);
    let mut components_covered = 0;
    for (index, (key, cell)) in keys.iter().zip(cells).enumerate() {
        if !is_active(cell) || matches!(key.scope, Scope::Pdu | Scope::Facility) || has_active_whole(key, keys, cells) {
            continue;
        }
        if key.scope == Scope::Chassis {
            metered = true;
            meter += cell.energy;
            meter_covered = meter_covered.max(cell.covered_ns);
        } else {
            components_covered = components_covered.max(cell.covered_ns);
            let account = u16::try_from(index).ok();
            out.lines.push(BilledLine { account, energy: cell.energy, covered_ns: cell.covered_ns });
        }
    }
    take_out_of_platform(keys, &mut out.lines);
    out.metered = metered;
    out.covered_ns = if metered { meter_covered } else { components_covered };
    if metered {
        bill_meter(meter, meter_covered, components_covered, out);
    }
}

/// The meter's energy, completed for seconds that only components saw, less what they explain.
fn bill_meter(mut meter: ByQuality, meter_covered: u64, components_covered: u64, out: &mut Billed) {
    let mut components = ByQuality::default();
    for line in &out.lines {
        components += line.energy;
    }
    // A meter whose hole was estimated has been completed already.
    let missed = components_covered.saturating_sub(meter_covered);
    if missed > 0 && meter[Quality::Estimated] == Energy::ZERO {
        let share = Share { part: missed, whole: components_covered };
        meter[Quality::Estimated] += share.of(components.total());
    }
    meter -= components;
    out.lines.push(BilledLine { account: None, energy: meter, covered_ns: meter_covered });
}

/// A fraction of nanoseconds.
struct Share {
    part: u64,
    whole: u64,
}

impl Share {
    /// The fraction of an amount, rounded down. A slot's nanoseconds and a megawatt fit 128 bits
    /// together; division comes first for whatever else is handed in.
    fn of(&self, Energy(all): Energy) -> Energy {
        let (part, whole) = (i128::from(self.part), i128::from(self.whole));
        Energy(all.div_euclid(whole) * part + (all.rem_euclid(whole) * part).div_euclid(whole))
    }
}

fn is_active(cell: &Cell) -> bool {
    *cell != Cell::default()
}

/// Whether the account is a part of another that counts in this slot.
fn has_active_whole(key: &AccountKey, keys: &[AccountKey], cells: &[Cell]) -> bool {
    key.device.contains('/') && keys.iter().zip(cells).any(|(other, cell)| is_active(cell) && key.is_part_of(other))
}

/// RAPL's platform domain contains packages and memory: it keeps what they do not explain.
fn take_out_of_platform(keys: &[AccountKey], lines: &mut [BilledLine]) {
    let key = |line: &BilledLine| line.account.and_then(|index| keys.get(usize::from(index)));
    let is_platform =
        |line: &BilledLine| key(line).is_some_and(|key| key.scope == Scope::Cpu && &*key.device == "psys");
    let Some(platform) = lines.iter().position(is_platform) else { return };
    let contained = |line: &&BilledLine| {
        !is_platform(line) && key(line).is_some_and(|key| matches!(key.scope, Scope::Cpu | Scope::Dram))
    };
    let mut parts = ByQuality::default();
    for line in lines.iter().filter(contained) {
        parts += line.energy;
    }
    lines[platform].energy -= parts;
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = 900_000_000_000;

    fn owner(accounts: &[(Scope, &str, u64, u64)]) -> (Vec<AccountKey>, Vec<Cell>) {
        let keys = accounts.iter().map(|(scope, device, ..)| AccountKey::new(*scope, device).expect("a good device"));
        let cells = accounts.iter().map(|(.., joules, covered)| {
            Cell::of(Quality::Integrated, Energy::from_microjoules(joules * 1_000_000), *covered)
        });
        (keys.collect(), cells.collect())
    }

    fn billed(accounts: &[(Scope, &str, u64, u64)]) -> (Vec<(Option<u16>, i128)>, i128, bool) {
        let (keys, cells) = owner(accounts);
        let mut out = Billed::default();
        bill(&keys, &cells, &mut out);
        let joules = |energy: Energy| energy.microjoules() / 1_000_000;
        let lines = out.lines.iter().map(|line| (line.account, joules(line.energy.total()))).collect();
        (lines, joules(out.total()), out.metered)
    }

    #[test]
    fn without_a_meter_components_are_summed() {
        let (_, total, metered) =
            billed(&[(Scope::Gpu, "a", 5, FULL), (Scope::Gpu, "b", 7, FULL), (Scope::Cpu, "package-0", 1, FULL)]);
        assert_eq!((total, metered), (13, false));
    }

    #[test]
    fn a_meter_is_billed_once_and_split_into_components_and_the_rest() {
        let (lines, total, metered) =
            billed(&[(Scope::Gpu, "a", 50, FULL), (Scope::Chassis, "wall", 80, FULL), (Scope::Dram, "d", 5, FULL)]);
        assert_eq!(lines, [(Some(0), 50), (Some(2), 5), (None, 25)]);
        assert_eq!((total, metered), (80, true));
    }

    #[test]
    fn parts_count_only_where_the_whole_does_not() {
        assert_eq!(
            billed(&[
                (Scope::Chassis, "wall", 80, FULL),
                (Scope::Chassis, "wall/ch1", 30, FULL),
                (Scope::Chassis, "wall/ch2", 50, FULL)
            ])
            .1,
            80
        );
        assert_eq!(
            billed(&[
                (Scope::Chassis, "wall", 0, 0),
                (Scope::Chassis, "wall/ch1", 30, FULL),
                (Scope::Chassis, "wall/ch2", 50, FULL)
            ])
            .1,
            80
        );
        assert_eq!(billed(&[(Scope::Cpu, "package-0", 9, FULL), (Scope::Cpu, "package-0/core", 7, FULL)]).1, 9);
    }

    #[test]
    fn the_platform_domain_contains_packages_and_memory_but_no_gpu() {
        let (lines, total, _) = billed(&[
            (Scope::Cpu, "psys", 30, FULL),
            (Scope::Cpu, "package-0", 10, FULL),
            (Scope::Cpu, "package-0/core", 8, FULL),
            (Scope::Dram, "package-0", 4, FULL),
            (Scope::Gpu, "a", 100, FULL),
        ]);
        assert_eq!(lines, [(Some(0), 16), (Some(1), 10), (Some(3), 4), (Some(4), 100)]);
        assert_eq!(total, 130);
    }

    #[test]
    fn seconds_the_meter_missed_are_the_components_marked_estimated() {
        let (keys, cells) = owner(&[(Scope::Chassis, "wall", 80, FULL / 2), (Scope::Gpu, "a", 60, FULL)]);
        let mut out = Billed::default();
        bill(&keys, &cells, &mut out);
        assert_eq!(out.total(), Energy::from_microjoules(110_000_000));
        let estimated: Energy = out.lines.iter().map(|line| line.energy[Quality::Estimated]).sum();
        assert_eq!(estimated, Energy::from_microjoules(30_000_000));
        assert_eq!(out.covered_ns, FULL / 2);
    }

    #[test]
    fn a_meter_below_its_components_shows_a_negative_rest() {
        let (lines, total, _) = billed(&[(Scope::Chassis, "", 40, FULL), (Scope::Gpu, "a", 50, FULL)]);
        assert_eq!((lines, total), (vec![(Some(1), 50), (None, -10)], 40));
    }

    #[test]
    fn reference_meters_are_never_billed() {
        assert_eq!(billed(&[(Scope::Pdu, "outlet-1", 40, FULL), (Scope::Facility, "main", 50, FULL)]).1, 0);
    }
}
