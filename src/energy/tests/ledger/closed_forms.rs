//! The ledger against closed forms: no difference, not in one half picojoule.

use crate::support::*;
use energy::{Flag, Ledger, Policy};
use meter::{Energy, Microjoules, Quality, Refusal, Sample};

#[test]
fn constant_power_is_power_times_time() {
    for period in [1, 2, 7, 10] {
        let records: Vec<_> = (0..=1000).map(|i| power(T0 + i * period * S, 0, 412_500)).collect();
        let state = book(recorded(vec![gpu("a", period)]), &records, 17);
        assert_eq!(state.accounts[0].lifetime[Quality::Integrated], Energy(2 * 412_500 * (1000 * period * S) as i128));
        assert_eq!(state.accounts[0].covered_ns, 1000 * period * S);
        assert_eq!(slot_sums(&state), (state.accounts[0].lifetime.total(), 1000 * period * S));
    }
}

#[test]
fn a_ramp_with_jitter_across_slots_is_its_trapezoid() {
    // Power 10 mW per ms since the start; the trapezoid of a linear function is exact at any stamps.
    let mut at = T0 + 897 * S;
    let start = at;
    let mut records = Vec::new();
    for i in 0..5000_u64 {
        records.push(power(at, 0, (at - start) / 1_000_000 * 10));
        at += (900 + (i * 7919) % 201) * 1_000_000;
    }
    let ms = (records.last().expect("some").at - start) / 1_000_000;
    let state = book(recorded(vec![chassis(1)]), &records, 100);
    // ∫ 10 t dt = 5 t² mW·ms = 5 t² µJ.
    assert_eq!(state.accounts[0].lifetime.total(), Energy::from_microjoules(5 * ms * ms));
    assert!(state.open.len() > 5, "it lies across several slots");
    assert_eq!(slot_sums(&state).0, state.accounts[0].lifetime.total());
}

#[test]
fn two_readings_at_one_instant_are_a_step() {
    // 100 W for 5 s, then 300 W for 5 s.
    let records = [
        power(T0, 0, 100_000),
        power(T0 + 5 * S, 0, 100_000),
        power(T0 + 5 * S, 0, 300_000),
        power(T0 + 10 * S, 0, 300_000),
    ];
    for batch in 1..=4 {
        assert_eq!(book(recorded(vec![gpu("a", 5)]), &records, batch).accounts[0].lifetime.total(), joules(2000));
    }
}

#[test]
fn a_slot_border_splits_a_piece_without_rest() {
    // 0 W to 8 W over 4 s, half a second of it before the border: 0.25 J and 15.75 J.
    let records = [power(T0 - S / 2, 0, 0), power(T0 + 7 * S / 2, 0, 8_000)];
    let state = book(recorded(vec![gpu("a", 4)]), &records, 2);
    let cells: Vec<_> =
        state.open.iter().map(|open| (open.cells[0].energy.total().microjoules(), open.cells[0].covered_ns)).collect();
    assert_eq!(cells, [(250_000, S / 2), (15_750_000, 7 * S / 2)]);
}

#[test]
fn an_eight_hour_outage_after_700_w_bills_nothing() {
    let records = [power(T0, 0, 700_000), power(T0 + S, 0, 700_000), power(T0 + S + 8 * 3600 * S, 0, 50_000)];
    let state = book(recorded(vec![gpu("a", 1)]), &records, 3);
    assert_eq!(state.accounts[0].lifetime.total(), joules(700));
    assert_eq!(state.accounts[0].covered_ns, S);
    assert_eq!(state.accounts[0].rare().expect("a hole").holes.len(), 1);
}

#[test]
fn a_short_hole_is_estimated_and_says_so() {
    // 12 s of a 1 s source is beyond its 10 s: linear between 100 W and 200 W, not covered.
    let records = [power(T0, 0, 100_000), power(T0 + 12 * S, 0, 200_000)];
    let account = &book(recorded(vec![gpu("a", 1)]), &records, 2).accounts[0];
    assert_eq!(account.lifetime[Quality::Estimated], joules(1800));
    assert_eq!((account.lifetime.measured(), account.covered_ns), (Energy::ZERO, 0));
}

#[test]
fn a_late_fill_reverses_exactly_the_estimate_it_replaces() {
    let mut ledger = Ledger::new(Policy::default());
    let context = recorded(vec![gpu("a", 10)]);
    let mut live = Agent::new(1, "node-1", context.clone());
    // A hole of 100 s across a slot border, estimated from 100 W to 200 W.
    live.send(&mut ledger, &[power(T0 - 30 * S, 0, 100_000), power(T0 + 70 * S, 0, 200_000)]);
    assert_eq!(live.state(&ledger).accounts[0].lifetime[Quality::Estimated], joules(15_000));
    // The truth comes late, by another stream: 50 W all the time.
    let mut late = Agent::new(2, "node-1", context);
    for s in [-20_i64, -10, 0, 10, 20, 30, 40, 50, 60] {
        late.send(&mut ledger, &[power((T0 as i64 + s * S as i64) as u64, 0, 50_000)]);
    }
    let state = live.state(&ledger);
    let account = &state.accounts[0];
    assert_eq!(account.lifetime[Quality::Estimated], Energy::ZERO);
    assert_eq!(account.rare().expect("it had holes").reversed, joules(15_000));
    // Trapezoids 100→50, 8 × 50, 50→200, ten seconds each.
    assert_eq!(account.lifetime[Quality::Integrated], joules(750 + 8 * 500 + 1250));
    assert_eq!(account.covered_ns, 100 * S);
    assert!(account.rare().expect("it had holes").holes.is_empty());
    for open in &state.open {
        assert_eq!(open.cells[0].energy[Quality::Estimated], Energy::ZERO, "also slot by slot");
    }
}

#[test]
fn a_late_reading_that_tells_of_a_restart_takes_the_estimate_before_it_back() {
    let mut ledger = Ledger::new(Policy::default());
    let mut live = Agent::new(1, "node-1", recorded(vec![counter("a", 1, 1, None)]));
    let with_counter = |second: u64, uj| {
        let mut record = power(T0 + second * S, 0, 100_000);
        record.samples[0].counter = Some(Microjoules(uj));
        record
    };
    // A counter and power, then 200 s later power alone: 100 W are estimated.
    live.send(&mut ledger, &[with_counter(0, 5_000_000), power(T0 + 200 * S, 0, 100_000)]);
    assert_eq!(live.state(&ledger).accounts[0].lifetime[Quality::Estimated], joules(20_000));
    // Half way another epoch had begun: the device may have been off before.
    let mut late = Agent::new(2, "node-1", recorded(vec![counter("a", 1, 2, None)]));
    late.send(&mut ledger, &[with_counter(100, 7_000_000)]);
    let account = &live.state(&ledger).accounts[0];
    assert_eq!((account.lifetime[Quality::Estimated], account.lifetime.measured()), (joules(10_000), Energy::ZERO));
    assert_eq!(account.rare().expect("holes").reversed, joules(10_000));
    assert_eq!(slot_sums(live.state(&ledger)).0, joules(10_000));
}

#[test]
fn one_late_reading_in_the_middle_of_a_hole_closes_both_sides() {
    // A minutely source with a hole of 300 s; 150 s to either side are within its three minutes.
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![gpu("a", 60)]));
    agent.send(&mut ledger, &[power(T0, 0, 100_000), power(T0 + 300 * S, 0, 300_000)]);
    assert_eq!(agent.state(&ledger).accounts[0].lifetime[Quality::Estimated], joules(60_000));
    agent.send(&mut ledger, &[power(T0 + 150 * S, 0, 100_000)]);
    let account = &agent.state(&ledger).accounts[0];
    assert_eq!(account.lifetime[Quality::Estimated], Energy::ZERO);
    assert_eq!(account.lifetime[Quality::Integrated], joules(15_000 + 30_000));
    assert_eq!(account.covered_ns, 300 * S);
}

#[test]
fn a_file_sent_twice_under_different_streams_books_once() {
    let context = recorded(vec![gpu("a", 1), gpu("b", 1)]);
    let records: Vec<_> = (0..500).flat_map(|i| [power(T0 + i * S, 0, 300_000 + i), power(T0 + i * S, 1, i)]).collect();
    let once = book(context.clone(), &records, 50);
    let mut ledger = Ledger::new(Policy::default());
    for stream in [1, 2, 3] {
        let mut agent = Agent::new(stream, "node-1", context.clone());
        for chunk in records.chunks(stream as usize * 13) {
            agent.send(&mut ledger, chunk);
        }
    }
    let thrice = Agent::new(1, "node-1", context).state(&ledger).clone();
    for (one, three) in once.accounts.iter().zip(&thrice.accounts) {
        assert_eq!((one.lifetime, one.covered_ns), (three.lifetime, three.covered_ns));
    }
    assert_eq!(once.open, thrice.open);
    let fenced = thrice.accounts[0].rare().expect("fenced").fenced;
    assert_eq!(
        fenced,
        once.accounts[0].lifetime.total() + once.accounts[0].lifetime.total(),
        "all of both repetitions"
    );
}

#[test]
fn refused_readings_are_gaps_not_zeros() {
    let bad = |at, reason| meter::Record {
        context: 1,
        at,
        samples: vec![Sample { refused: Some(reason), ..Sample::default() }],
        ..meter::Record::default()
    };
    let records = [
        power(T0, 0, 700_000),
        bad(T0 + S, Refusal::PowerNotFinite),
        bad(T0 + 2 * S, Refusal::PowerNegative),
        power(T0 + 3 * S, 0, 700_000),
    ];
    let state = book(recorded(vec![gpu("a", 1)]), &records, 4);
    assert_eq!(state.accounts[0].lifetime.total(), joules(2100));
    assert_eq!(state.refused, [(Refusal::PowerNotFinite, 1), (Refusal::PowerNegative, 1)]);
    assert_eq!(state.readings, 4);
}

#[test]
fn a_bad_power_beside_a_good_counter_is_counted_and_the_counter_books() {
    let both = |at, uj| meter::Record {
        context: 1,
        at,
        samples: vec![Sample {
            counter: Some(meter::Microjoules(uj)),
            refused: Some(Refusal::PowerNotFinite),
            ..Sample::default()
        }],
        ..meter::Record::default()
    };
    let state = book(recorded(vec![counter("a", 1, 7, None)]), &[both(T0, 0), both(T0 + S, 300_000_000)], 2);
    assert_eq!(state.accounts[0].lifetime[Quality::Counter], joules(300));
    assert_eq!(state.refused, [(Refusal::PowerNotFinite, 2)]);
}

#[test]
fn a_glitch_above_the_ceiling_is_refused_and_a_132_kw_rack_is_not() {
    let records = [power(T0, 0, 700_000), power(T0 + S, 0, 100_000_000), power(T0 + 2 * S, 0, 700_000)];
    let state = book(recorded(vec![gpu("a", 1)]), &records, 3);
    assert_eq!(state.accounts[0].lifetime.total(), joules(1400));
    assert_eq!(state.refused, [(Refusal::AboveCeiling, 1)]);

    let records: Vec<_> = (0..=3600).map(|i| power(T0 + i * S, 0, 132_000_000)).collect();
    assert_eq!(book(recorded(vec![chassis(1)]), &records, 100).accounts[0].lifetime.total(), joules(132_000 * 3600));
}

#[test]
fn counters_book_across_any_gap_of_one_epoch_and_nothing_across_a_reset() {
    let context = recorded(vec![counter("a", 1, 7, None)]);
    let records =
        [count(T0, 0, 5_000_000), count(T0 + 8 * 3600 * S, 0, 900_005_000_000), count(T0 + 8 * 3600 * S + S, 0, 100)];
    let state = book(context, &records, 3);
    let account = &state.accounts[0];
    assert_eq!(account.lifetime[Quality::Counter], Energy::from_microjoules(900_000_000_000));
    assert_eq!(account.covered_ns, 8 * 3600 * S);
    assert_eq!(account.lifetime.total(), slot_sums(&state).0);
}

#[test]
fn a_rapl_counter_at_400_w_read_every_15_s_is_exact_over_hours() {
    // EPYC: wraps every 164 s. Peers that treat a wrap as a reset lose 4.6 % here.
    let modulus = 65_532_610_987_u64;
    let context = recorded(vec![counter("package-0", 15, 7, Some(modulus))]);
    let records: Vec<_> =
        (0..=960_u64).map(|i| count(T0 + i * 15 * S, 0, (i * 15 * 400_000_000 + 12_345) % modulus)).collect();
    assert_eq!(book(context, &records, 64).accounts[0].lifetime.total(), joules(400 * 15 * 960));
}

#[test]
fn a_counter_that_fell_and_came_back_books_no_jump() {
    // Reported of a real meter: to 0 and back would have been 15.5 MWh in 10 s.
    let context = recorded(vec![counter("a", 10, 7, None)]);
    let kwh = 3_600_000_000_000_u64;
    let values = [15_500 * kwh, 0, 15_500 * kwh + 1_000_000, 15_500 * kwh + 2_000_000, 15_500 * kwh + 3_000_000];
    let records: Vec<_> = (0_u64..).zip(values).map(|(i, value)| count(T0 + i * 10 * S, 0, value)).collect();
    let state = book(context, &records, 5);
    assert_eq!(state.accounts[0].lifetime.total(), joules(2));
    assert_eq!(state.refused, [(Refusal::CounterJump, 1)]);
    assert!(state.accounts[0].is_flagged(Flag::CounterJumped));
}

#[test]
fn a_counter_that_reads_low_is_flagged_against_integrated_power() {
    // 187 J by the counter against 327 J by power in 5 s: reported of an idle board.
    let context = recorded(vec![counter("a", 1, 7, None)]);
    let sample = |i: u64| meter::Record {
        context: 1,
        at: T0 + i * S,
        samples: vec![Sample {
            power: Some(meter::Milliwatts(65_400)),
            counter: Some(meter::Microjoules(i * 37_400_000)),
            ..Sample::default()
        }],
        ..meter::Record::default()
    };
    let records: Vec<_> = (0..1000).map(sample).collect();
    let state = book(context, &records, 100);
    assert!(state.accounts[0].is_flagged(Flag::CounterDisagrees));
    assert_eq!(
        state.accounts[0].lifetime[Quality::Counter],
        Energy::from_microjoules(999 * 37_400_000),
        "the counter books"
    );
}

#[test]
fn only_a_good_reading_opens_an_account() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![gpu("good", 1), gpu("glitch", 1), gpu("mute", 1)]));
    let tally = agent.send(&mut ledger, &[power(T0, 0, 1000), power(T0, 1, 100_000_000)]);
    assert_eq!(
        (tally.booked, tally.refused[0].reason, &*tally.refused[0].device),
        (1, Refusal::AboveCeiling, "glitch")
    );
    assert_eq!(agent.state(&ledger).keys.len(), 1);
    agent.send(&mut ledger, &[power(T0 + S, 0, 1000), power(T0 + S, 1, 1000)]);
    agent.send(&mut ledger, &[power(T0 + 2 * S, 0, 1000), power(T0 + 2 * S, 1, 1000)]);
    let state = agent.state(&ledger);
    assert_eq!(state.accounts.iter().map(|account| account.covered_ns).collect::<Vec<_>>(), [2 * S, S]);
}

#[test]
fn the_cap_is_counted_per_owner_first_and_existing_accounts_go_on() {
    let mut ledger = Ledger::new(Policy { owner_accounts: 3, accounts: 5, ..Policy::default() });
    let devices = |host: &str, n: u32| recorded((0..n).map(|i| gpu(&format!("{host}-{i}"), 1)).collect());
    let all = |n: u16, at| (0..n).map(|device| power(at, device, 1000)).collect::<Vec<_>>();
    let mut flood = Agent::new(1, "flood", devices("f", 9));
    let tally = flood.send(&mut ledger, &all(9, T0));
    assert_eq!((tally.booked, tally.refused.len()), (3, 6));
    assert!(tally.refused.iter().all(|refused| refused.reason == Refusal::OwnerAccountCap));
    let mut second = Agent::new(2, "second", devices("s", 3));
    let tally = second.send(&mut ledger, &all(3, T0));
    assert_eq!((tally.booked, tally.refused[0].reason), (2, Refusal::AccountCap));
    assert_eq!(tally.refused[0].device, "s-2");
    assert_eq!(ledger.accounts(), 5);
    assert_eq!(flood.send(&mut ledger, &all(9, T0 + S)).booked, 3, "existing accounts go on");
    let third = Agent::new(3, "third", devices("t", 1));
    let outcome = ledger.append(&third.message(&all(1, T0)), meter::Utc(T0 as i64));
    assert!(matches!(outcome, energy::AppendOutcome::Rejected(_)), "{outcome:?}");
    assert!(ledger.state(&third.owner).is_none(), "a refused owner leaves no row");
}
