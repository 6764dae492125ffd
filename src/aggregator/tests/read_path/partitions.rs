//! However a window is cut and whatever it is grouped by: the same sum, of fleets made by dice, with meters that
//! miss time, shared chassis, devices read twice, hosts that move.

use cost::Step;
use energy::{Account, BootDate, Cell, Edge, Hole, Rare};
use meter::{ByQuality, Energy, Milliwatts, Owner, OwnerKind, Quality, Scope, Slot, Utc};

use crate::fleet::{Fleet, MONDAY, host};
use crate::rollup::Ask;

const S: i32 = MONDAY.0;
/// Three days and a bit, so that the ratio of one day decides on the next.
pub(crate) const SLOTS: i32 = 3 * 96 + 5;
const SECOND: i64 = 1_000_000_000;

/// Numbers by seed (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Holes in seconds since the first slot: some of a minute, some of hours, rarely one of a day.
fn holes(dice: &mut Dice) -> Vec<(i64, i64)> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < i64::from(SLOTS) * 900 {
        at += 600 + dice.below(80_000) as i64;
        let long = match dice.below(8) {
            0 => 86_400,
            1 | 2 => 7200,
            _ => 20 + dice.below(300) as i64,
        };
        holes.push((at, at + long));
        at += long + 1;
    }
    holes.retain(|(_, end)| *end < i64::from(SLOTS) * 900);
    holes
}

/// Books an account as the ledger would: what it covers of each slot, and the holes between. Short holes have a
/// line.
fn book(fleet: &mut Fleet, owner: &Owner, index: usize, watts: u64, dice: &mut Dice) -> Vec<Cell> {
    let holes = if dice.one_in(3) { Vec::new() } else { holes(dice) };
    let account: &mut Account = &mut fleet.state(owner).accounts[index];
    let edge = |second: i64| Edge { at: Utc(Slot(S).start().0 + second * SECOND), ..Edge::default() };
    let made = holes.iter().map(|(start, end)| Hole { start: edge(*start), end: edge(*end), estimate: None });
    account.rare = Some(Box::new(Rare { holes: made.collect(), ..Rare::default() }));
    let cell = |slot: i32| {
        let (from, until) = (i64::from(slot) * 900, i64::from(slot + 1) * 900);
        let within = |(start, end): &(i64, i64)| (*end.min(&until) - *start.max(&from)).max(0);
        let missing: i64 = holes.iter().map(within).sum();
        let lined: i64 = holes.iter().filter(|(start, end)| end - start <= 900).map(within).sum();
        let mw = watts * 1000 + (slot as u64 * 7919 + watts) % 50_000;
        let of = |seconds: i64| Energy::of_constant(Milliwatts(mw), (seconds * SECOND) as u64);
        let mut energy = ByQuality::of(Quality::Integrated, of(900 - missing));
        energy[Quality::Estimated] = of(lined);
        Cell { energy, covered_ns: ((900 - missing) * SECOND) as u64 }
    };
    (0..SLOTS).map(cell).collect()
}

fn add(fleet: &mut Fleet, owner: &Owner, accounts: &[(Scope, &str, u64)], dice: &mut Dice) {
    let keys: Vec<(Scope, &str)> = accounts.iter().map(|(scope, device, _)| (*scope, *device)).collect();
    fleet.owner(owner, &keys, Slot(S), Slot(S + SLOTS - 1));
    let watts = accounts.iter().enumerate();
    let columns: Vec<Vec<Cell>> = watts.map(|(index, (.., watts))| book(fleet, owner, index, *watts, dice)).collect();
    for slot in 0..SLOTS {
        let cells: Vec<Cell> = columns.iter().map(|column| column[slot as usize]).collect();
        fleet.open(owner, Slot(S + slot), &cells);
    }
    if dice.one_in(2) {
        let own = BootDate { boot: [1; 16], mono: 0, utc: Utc(0), own: true };
        fleet.state(owner).boots.push(own);
    }
}

const GPUS: [&str; 2] = ["GPU-5a1c0000-1234-abcd-ef00-000000000001", "GPU-5a1c0000-1234-abcd-ef00-000000000002"];

/// Hosts a and b with what meters they have, c with a BMC of its own, d to f in an enclosure of which one moves.
pub(crate) fn made_by(dice: &mut Dice) -> (Fleet, String) {
    let mut fleet = Fleet::new();
    let meters = ["wall", "bmc", "dcmi", "psu-1", "psu-2", "acpi-power-meter", "bmc/psu-1"];
    for name in ["a", "b", "c", "d", "e", "f"] {
        let mut accounts =
            vec![(Scope::Cpu, "package-0", 150), (Scope::Dram, "package-0", 30), (Scope::Pdu, "o", 9999)];
        accounts.extend(meters.iter().filter(|_| dice.one_in(4)).map(|meter| (Scope::Chassis, *meter, 900)));
        accounts.extend(GPUS.iter().filter(|_| dice.one_in(3)).map(|gpu| (Scope::Gpu, *gpu, 300)));
        if dice.one_in(3) {
            accounts.push((Scope::Cpu, "psys", 220));
        }
        add(&mut fleet, &host(name), &accounts, dice);
    }
    for (name, watts) in [("bmc-c", 700), ("enc", 1900)] {
        let owner = Owner::new("default", OwnerKind::Chassis, name).expect("a name");
        add(&mut fleet, &owner, &[(Scope::Chassis, "bmc", watts), (Scope::Gpu, GPUS[0], 301)], dice);
    }
    fleet.settle_all(Slot(S + SLOTS - 3));
    let move_day = 5 + dice.below(3);
    let csv = format!(
        "host,chassis,team,valid_from,valid_to\nc,bmc-c,x,,\nd,enc,x,,\ne,enc,y,,\n\
         f,enc,y,,2026-10-0{move_day}T12:15:00Z\nf,,z,2026-10-0{move_day}T12:15:00Z,\na,,z,,2026-10-06\na,,y,2026-10-06,\n"
    );
    (fleet, csv)
}

#[test]
fn every_grouping_and_every_cut_of_a_window_adds_up_to_the_same() {
    let (mut with_ratio, mut doubled) = (0, 0);
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let (fleet, csv) = made_by(&mut dice);
        let ask = Ask::of(&fleet, &csv, Slot(S + SLOTS).start());
        let all = S..S + SLOTS;
        let whole = ask.answer("", "", None, all.clone()).total;
        with_ratio += u32::from(whole.quality.ratio_seconds > 0.0);
        doubled += u32::from(whole.flags.contains_key("same-device-elsewhere"));
        for by in ["host", "team", "scope", "chassis,device", "host,scope,device"] {
            for step in [None, Some(Step::Quarter), Some(Step::Day)] {
                let answer = ask.answer(by, "", step, all.clone());
                let rows: i128 = answer.rows.iter().map(|row| row.energy_uj).sum();
                assert_eq!((rows, answer.total.energy_uj), (whole.energy_uj, whole.energy_uj), "{seed} {by} {step:?}");
            }
        }
        // Windows round each for itself, by less than a microjoule.
        for pieces in [2, 7, 40] {
            let mut cuts: Vec<i32> = (1..pieces).map(|_| S + dice.below(SLOTS as u64) as i32).collect();
            cuts.extend([all.start, all.end]);
            cuts.sort_unstable();
            let (mut sum, mut seconds) = (0, 0.0);
            for cut in cuts.windows(2) {
                let total = ask.answer("", "", None, cut[0]..cut[1]).total;
                sum += total.energy_uj;
                seconds += total.quality.ratio_seconds + total.quality.metered_seconds * 1e-3;
            }
            let lost = whole.energy_uj - sum;
            assert!((0..=pieces as i128).contains(&lost), "{seed}: {lost} µJ in {pieces} windows");
            let expected = whole.quality.ratio_seconds + whole.quality.metered_seconds * 1e-3;
            assert!((seconds - expected).abs() < 1e-3, "{seed}: {seconds} of {expected}");
        }
        // And so do labels and hosts, however they are chosen.
        let part = |select: &str| ask.answer("", select, None, all.clone()).total.energy_uj;
        for halves in [["team=x", "team!=x"], ["host=a|d", "host!=a|d"], ["scope=gpu", "scope!=gpu"]] {
            let lost = whole.energy_uj - halves.into_iter().map(part).sum::<i128>();
            assert!((0..=1).contains(&lost), "{seed} {halves:?}: {lost}");
        }
        let quality = whole.quality;
        assert!((quality.metered_seconds + quality.summed_seconds - quality.covered_seconds).abs() < 1e-6);
        assert!(
            quality.covered_seconds + quality.ratio_seconds <= quality.expected_seconds + 1e-6,
            "{seed}: {quality:?}"
        );
    }
    assert!(with_ratio > 3 && doubled > 3, "the dice must bite: {with_ratio}, {doubled}");
}
