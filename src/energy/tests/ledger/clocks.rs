//! Clocks of machines and of the ledger itself, right and wrong: joules equal, dates by the rules.

use crate::machine::*;
use crate::support::*;
use energy::{AppendOutcome, Ledger, Rejection};
use meter::{Energy, Position, Quality, Record, Refusal, Utc};

#[test]
fn the_ledgers_own_clock_may_step_by_any_amount_while_a_machine_reports() {
    for step in [3 * DAY, -3 * DAY, 40 * DAY, -40 * DAY, -56 * 365 * DAY, 3600, -3600] {
        let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
        machine.read(0, 100);
        nothing_lost(&machine.deliver(&mut ledger, 100, 0, 50));
        machine.read(101, 200);
        nothing_lost(&machine.deliver(&mut ledger, 200, step, 50));
        machine.read(201, 300);
        nothing_lost(&machine.deliver(&mut ledger, 300, 0, 50));
        assert_eq!(machine.measured(&ledger), (300, 300), "{step}");
        assert_eq!(machine.frontier(&ledger), 300, "dates are not stepped: {step}");
    }
}

#[test]
fn the_machines_wall_clock_changes_nothing() {
    // ± 3 days, an hour as if it kept local time over a change to summer time, 1970, 2106.
    for wall in [3 * DAY, -3 * DAY, 3600, -3600, -56 * 365 * DAY, 80 * 365 * DAY] {
        let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
        machine.read(0, 100);
        machine.deliver(&mut ledger, 100, 0, 50);
        machine.wall = wall;
        machine.read(101, 200);
        nothing_lost(&machine.deliver(&mut ledger, 200, 0, 50));
        assert_eq!((machine.measured(&ledger), machine.frontier(&ledger)), ((200, 200), 200), "{wall}");
    }
}

#[test]
fn a_date_is_slewed_by_500_ppm_and_not_at_all_by_network_delay() {
    for (late_ns, moved_ns) in
        [(80_000_000, 0), (-80_000_000, 0), (3_000_000_000, 5_000_000), (-7_000_000_000, -5_000_000)]
    {
        let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
        machine.read(0, 100);
        machine.deliver(&mut ledger, 100, 0, 1000);
        machine.read(101, 110);
        let records = std::mem::take(&mut machine.waiting);
        let outcome = ledger.append(&machine.message(&records, 110), Utc(at(110).0 + late_ns));
        assert!(matches!(outcome, AppendOutcome::Applied { .. }));
        let frontier = machine.agent.state(&ledger).accounts[0].frontier.at;
        assert_eq!(frontier.0 - at(110).0, moved_ns, "of {late_ns}");
        assert_eq!(machine.measured(&ledger).0, 110, "durations are the boot clock's");
    }
}

#[test]
fn a_suspended_machine_leaves_a_hole_as_long_as_its_sleep() {
    // The boot clock counts suspended time: half an hour passes between two readings.
    let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
    machine.read(0, 100);
    machine.read(1900, 2000);
    nothing_lost(&machine.deliver(&mut ledger, 2000, 0, 1000));
    assert_eq!((machine.measured(&ledger), machine.frontier(&ledger)), ((200, 200), 2000));
    let account = &machine.agent.state(&ledger).accounts[0];
    assert_eq!(account.lifetime[Quality::Estimated], Energy::ZERO, "half an hour is not estimated");
    let holes: Vec<_> =
        account.rare().expect("a hole").holes.iter().map(|hole| hole.end.at.since(hole.start.at)).collect();
    assert_eq!(holes, [1800 * S]);
}

#[test]
fn a_boot_first_heard_of_while_the_ledgers_clock_is_wrong_keeps_its_dates() {
    for ahead in [3 * DAY, -3 * DAY] {
        let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
        machine.read(0, 100);
        machine.deliver(&mut ledger, 100, ahead, 50);
        machine.read(101, 200);
        nothing_lost(&machine.deliver(&mut ledger, 200, 0, 1000));
        assert_eq!(machine.measured(&ledger), (200, 200));
        let slewed = machine.agent.state(&ledger).accounts[0].frontier.at.0 - at(200 + ahead).0;
        assert_eq!(slewed, -ahead.signum() * 50_000_000, "100 s at 500 ppm");
    }
}

#[test]
fn a_boot_after_one_dated_ahead_follows_it_and_loses_nothing() {
    // The ledger's clock was three days ahead, is corrected, and the machine reboots; with and without
    // an outage of the ledger around it.
    for (outage, post) in [(0, 1000), (0, 7), (5 * 3600, 1000), (5 * 3600, 7)] {
        let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
        machine.read(0, 100);
        machine.deliver(&mut ledger, 100, 3 * DAY, post);
        machine.reboot(2, 110);
        machine.read(150, 250 + outage);
        nothing_lost(&machine.deliver(&mut ledger, 250 + outage, 0, post));
        assert_eq!(machine.measured(&ledger), (200 + i128::from(outage), 200 + outage as u64));
        // It was 40 s up when it first read: that much, at least, after the last reading before.
        assert_eq!(machine.frontier(&ledger), 100 + 3 * DAY + 40 + 100 + outage);
        machine.read(251 + outage, 300 + outage);
        nothing_lost(&machine.deliver(&mut ledger, 300 + outage, 0, post));
        assert_eq!(machine.measured(&ledger).0, 250 + i128::from(outage));
    }
}

#[test]
fn reporters_of_somebody_else_are_not_booked_twice_when_the_ledgers_clock_was_ahead() {
    // Two collectors read one BMC; the ledger hears of the first while three days ahead, of the second after.
    let (mut ledger, mut first, mut second) = (ledger(), Machine::new(1, -100), Machine::new(2, -50));
    (first.fingerprint, second.fingerprint) = (None, None);
    second.agent.stream = [2; 16];
    first.read(0, 100);
    first.deliver(&mut ledger, 100, 3 * DAY, 1000);
    second.read(0, 100);
    assert_eq!(second.deliver(&mut ledger, 100, 0, 1000).booked, 0, "all of it is covered");
    for now in [110, 120, 130] {
        first.read(now - 9, now);
        first.deliver(&mut ledger, now, 0, 1000);
        second.read(now - 9, now);
        second.deliver(&mut ledger, now, 0, 1000);
    }
    assert_eq!(first.measured(&ledger), (130, 130));
}

#[test]
fn two_collectors_of_one_bmc_book_it_once() {
    let (mut ledger, mut first, mut second) = (ledger(), Machine::new(1, -100), Machine::new(2, -5000));
    (first.fingerprint, second.fingerprint) = (None, None);
    second.agent.stream = [2; 16];
    // The second was cut off for an hour that the first reported.
    first.read(0, 3600);
    first.deliver(&mut ledger, 3600, 0, 100);
    second.read(0, 3600);
    assert_eq!(second.deliver(&mut ledger, 3600, 0, 100).booked, 0);
    assert_eq!(first.measured(&ledger), (3600, 3600));
    assert_eq!(second.frontier(&ledger), 3600);
}

#[test]
fn a_boot_that_was_over_is_dated_by_its_wall_clock_less_that_clocks_error() {
    for wall in [0, 3 * DAY, -3 * DAY, 3600] {
        let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
        machine.wall = wall;
        machine.contexts.clear();
        machine.reboot(1, -100);
        machine.read(0, 100);
        machine.reboot(2, 500);
        machine.read(600, 700);
        nothing_lost(&machine.deliver(&mut ledger, 700, 0, 33));
        assert_eq!((machine.measured(&ledger), machine.frontier(&ledger)), ((200, 200), 700), "{wall}");
        assert_eq!(machine.agent.state(&ledger).accounts[0].first.at, at(0), "{wall}");
    }
}

/// A ledger that knows boot 1 up to 100 s, and a machine about to deliver boot 2 (read from 600 s to
/// 700 s) after its reboot at 900 s, with this error of the wall clock during boot 2 only.
fn delivered_after_reboot(wall: i64, post: usize) -> (Ledger, Machine) {
    let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
    machine.read(0, 100);
    machine.deliver(&mut ledger, 100, 0, post);
    machine.wall = wall;
    machine.reboot(2, 500);
    machine.read(600, 700);
    machine.wall = 0;
    machine.reboot(3, 900);
    machine.read(1000, 1100);
    nothing_lost(&machine.deliver(&mut ledger, 1100, 0, post));
    assert_eq!((machine.measured(&ledger), machine.frontier(&ledger)), ((300, 300), 1100), "{wall}");
    (ledger, machine)
}

#[test]
fn a_wall_clock_that_was_wrong_only_then_moves_a_boot_no_further_than_it_can_have_been() {
    for post in [1000, 9] {
        for wall in [3 * DAY, -3 * DAY, -56 * 365 * DAY, 80 * 365 * DAY, 3600, -3600] {
            let (ledger, machine) = delivered_after_reboot(wall, post);
            // Boot 2 as early as possible: 100 s up, after the last reading of boot 1.
            let state = machine.agent.state(&ledger);
            let holes = &state.accounts[0].rare().expect("holes").holes;
            let ends: Vec<_> = holes.iter().map(|hole| (hole.start.at, hole.end.at)).collect();
            assert_eq!(ends, [(at(100), at(200)), (at(300), at(1000))], "{wall}");
        }
        let (ledger, machine) = delivered_after_reboot(60, post);
        let holes = &machine.agent.state(&ledger).accounts[0].rare().expect("holes").holes;
        assert_eq!(holes[0].end.at, at(660), "an error that contradicts nothing stays");
    }
}

#[test]
fn a_first_boot_of_1970_ends_where_the_next_begins() {
    let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
    machine.wall = -56 * 365 * DAY;
    machine.contexts.clear();
    machine.reboot(1, -100);
    machine.read(0, 100);
    machine.wall = 0;
    machine.reboot(2, 500);
    machine.read(600, 700);
    nothing_lost(&machine.deliver(&mut ledger, 700, 0, 1000));
    assert_eq!((machine.measured(&ledger), machine.frontier(&ledger)), ((200, 200), 700));
    let first = machine.agent.state(&ledger).accounts[0].first.at;
    assert_eq!(first, Utc(at(500 - 100).0 - 1), "just before the boot that sends");
}

/// The machine as its snapshot at a true instant: the stream, the boot and its clock go back.
fn restored(machine: &mut Machine, snapshot: Position, taken: i64, now: i64) {
    machine.agent.position = snapshot;
    machine.booted += now - taken;
}

#[test]
fn a_clock_that_was_set_back_is_told_so_and_loses_nothing_under_a_new_boot_id() {
    let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
    machine.read(0, 100);
    machine.deliver(&mut ledger, 100, 0, 1000);
    let snapshot = machine.agent.position;
    machine.read(101, 5000);
    machine.deliver(&mut ledger, 5000, 0, 1000);
    restored(&mut machine, snapshot, 100, 6000);
    machine.read(6001, 6010);
    // The position is no longer the stream's: the agent sends what it has as a new one.
    let stands = ledger.append(&machine.message(&machine.waiting, 6010), at(6010));
    assert!(matches!(stands, AppendOutcome::Stands(_)));
    (machine.agent.stream, machine.agent.position) = ([2; 16], Position::default());
    let told = ledger.append(&machine.message(&machine.waiting, 6010), at(6010));
    let AppendOutcome::Rejected(rejection @ Rejection::ClockSetBack { behind_ns, .. }) = told else {
        panic!("not told: {told:?}")
    };
    assert_eq!((behind_ns, rejection.code()), (4890 * S, energy::CLOCK_SET_BACK));
    assert_eq!(machine.measured(&ledger), (5000, 5000), "and nothing changed");
    // From here on under a new id of the boot; what was read before is kept, and fenced.
    machine.reboot(7, machine.booted);
    machine.read(6011, 6100);
    let tally = machine.deliver(&mut ledger, 6100, 0, 30);
    assert_eq!((tally.booked, tally.fenced, tally.refused.len()), (90, 10, 0));
    assert_eq!((machine.measured(&ledger), machine.frontier(&ledger)), ((5089, 5089), 6100));
}

#[test]
fn a_machine_restored_to_an_earlier_boot_is_told_so_too() {
    let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
    machine.read(0, 100);
    machine.deliver(&mut ledger, 100, 0, 1000);
    machine.reboot(2, 200);
    machine.read(300, 9000);
    machine.deliver(&mut ledger, 9000, 0, 1000);
    // Back in boot 1, at the very instant it was last heard of.
    machine.reboot(1, -100);
    machine.booted += 9_100 - 100;
    machine.read(9_101, 9_110);
    let told = ledger.append(&machine.message(&machine.waiting, 9_110), at(9_110));
    assert!(matches!(told, AppendOutcome::Rejected(Rejection::ClockSetBack { .. })), "{told:?}");
}

#[test]
fn posts_of_two_agents_on_one_machine_may_overtake_each_other() {
    let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
    machine.read(0, 100);
    let late = machine.message(&machine.waiting, 50);
    let mut other = Machine::new(1, -100);
    other.agent.stream = [2; 16];
    other.read(0, 100);
    other.deliver(&mut ledger, 100, 0, 1000);
    let AppendOutcome::Applied { tally, .. } = ledger.append(&late, at(105)) else { panic!("not applied") };
    assert_eq!((tally.booked, tally.fenced), (0, 101));
}

#[test]
fn instants_that_no_clock_shows_are_refused_and_move_nothing() {
    let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
    machine.read(0, 10);
    for at in [u64::MAX, i64::MAX as u64, 100_000 * S] {
        machine.waiting.push(Record { context: 1, ..power(at, 0, MW) });
    }
    let tally = machine.deliver(&mut ledger, 10, 0, 1000);
    let refused: Vec<_> = tally.refused.iter().map(|refused| (refused.reason, refused.count)).collect();
    assert_eq!((tally.booked, refused), (11, vec![(Refusal::FromFuture, 3)]));
    machine.read(11, 20);
    nothing_lost(&machine.deliver(&mut ledger, 20, 0, 1000));
    // A boot that is over: what lies beyond ±292 years has no date.
    machine.reboot(2, 50);
    machine.waiting.push(Record { context: 1, ..power(u64::MAX, 0, MW) });
    machine.read(60, 70);
    let tally = machine.deliver(&mut ledger, 70, 0, 1000);
    assert_eq!((tally.booked, tally.refused[0].count), (11, 1));
    assert_eq!((machine.measured(&ledger), machine.frontier(&ledger)), ((30, 30), 70));
}

#[test]
fn other_hosts_do_not_notice() {
    let (mut together, mut apart) = (ledger(), ledger());
    let mut good = Machine::new(1, -100);
    let mut alone = Machine::new(1, -100);
    let mut bad = Machine::new(9, -100);
    bad.agent = Agent { import: false, ..Agent::new(9, "node-9", recorded(vec![gpu("a", 1)])) };
    for round in 0..20_i64 {
        let now = (round + 1) * 10;
        for (machine, ledger) in [(&mut good, &mut together), (&mut alone, &mut apart)] {
            machine.read(now - 9, now);
            machine.deliver(ledger, now, 0, 100);
        }
        bad.wall = (round - 10) * DAY;
        bad.reboot(100 + round as u8, now - 10);
        bad.read(now - 9, now);
        bad.deliver(&mut together, now, 0, 100);
    }
    assert_eq!(good.agent.state(&together), alone.agent.state(&apart));
}

#[test]
fn boots_are_bounded_and_the_running_one_is_kept() {
    let (mut ledger, mut machine) = (ledger(), Machine::new(1, -100));
    for round in 0..100_i64 {
        let now = (round + 1) * 1000;
        machine.contexts.clear();
        machine.reboot(1 + round as u8, now - 500);
        machine.read(now - 100, now);
        nothing_lost(&machine.deliver(&mut ledger, now, 0, 50));
    }
    let state = machine.agent.state(&ledger);
    assert_eq!(state.boots.len(), 32);
    assert_eq!(state.boots.last().expect("some").boot, [100; 16]);
    assert_eq!(machine.measured(&ledger), (100 * 100, 100 * 100));
}

#[test]
fn a_running_boot_is_not_forgotten_for_others() {
    // Dated three days ahead, it keeps its dates while a collector reboots forty times.
    let (mut ledger, mut machine, mut collector) = (ledger(), Machine::new(1, -100), Machine::new(2, -100));
    (collector.agent.stream, collector.fingerprint) = ([2; 16], None);
    machine.read(0, 10);
    machine.deliver(&mut ledger, 10, 3 * DAY, 50);
    for round in 1..=40_i64 {
        let now = round * 100;
        collector.contexts.clear();
        collector.reboot(100 + round as u8, now - 50);
        collector.read(now - 40, now);
        collector.deliver(&mut ledger, now, 0, 50);
        machine.read(now - 5, now);
        nothing_lost(&machine.deliver(&mut ledger, now, 0, 50));
    }
    assert_eq!(machine.frontier(&ledger), 4000 + 3 * DAY - 2, "4000 s at 500 ppm are 2 s");
}
