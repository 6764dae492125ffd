//! What must hold for every sequence of readings, batching and delivery.

use crate::support::*;
use std::collections::BTreeMap;

use energy::{Account, Ledger, OwnerState, Policy};
use meter::{AccountKey, Energy, Quality, Record};
use proptest::prelude::*;

/// Steps of time in ms and power in mW: mostly regular, some holes, some steps in place.
fn walk() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let step = prop_oneof![6 => 900_u64..1100, 2 => 1_u64..30_000, 1 => 30_000_u64..2_000_000, 1 => Just(0_u64)];
    proptest::collection::vec((step, 0_u64..800_000), 2..120)
}

fn records(walk: &[(u64, u64)], device: u16) -> Vec<Record> {
    let mut at = T0;
    walk.iter()
        .map(|(step, mw)| {
            at += step * 1_000_000;
            power(at, device, *mw)
        })
        .collect()
}

/// The rule, written down a second time: neighbours are joined up to 10 s, estimated up to 15 min.
fn oracle(walk: &[(u64, u64)]) -> (i128, i128, u64) {
    let (mut measured, mut estimated, mut covered) = (0, 0, 0);
    for pair in walk.windows(2) {
        let dt = pair[1].0 * 1_000_000;
        let area = (pair[0].1 + pair[1].1) as i128 * dt as i128;
        if dt <= 10 * S {
            measured += area;
            covered += dt;
        } else if dt <= 900 * S {
            estimated += area;
        }
    }
    (measured, estimated, covered)
}

/// Accounts by key: their order is that of their first readings.
fn by_key(state: &OwnerState) -> BTreeMap<&AccountKey, &Account> {
    state.keys.iter().zip(&state.accounts).collect()
}

fn check(state: &OwnerState) -> Result<(), TestCaseError> {
    let lifetime: Energy = state.accounts.iter().map(|account| account.lifetime.total()).sum();
    let covered: u64 = state.accounts.iter().map(|account| account.covered_ns).sum();
    prop_assert_eq!(slot_sums(state), (lifetime, covered), "slots add up to the registers");
    for account in &state.accounts {
        let parts: Energy = Quality::ALL.into_iter().map(|quality| account.lifetime[quality]).sum();
        prop_assert_eq!(parts, account.lifetime.total());
        let holes: u64 =
            account.rare().map_or(0, |rare| rare.holes.iter().map(|hole| hole.end.at.since(hole.start.at)).sum());
        let (known, span) = (account.covered_ns + holes, account.frontier.at.since(account.first.at));
        // The length of holes that became final is not kept.
        let is_final = account.rare().is_some_and(|rare| rare.final_holes > 0);
        prop_assert!(known == span || (is_final && known < span), "{known} of {span} ns are covered or a hole");
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_ledger_equals_the_rule_in_any_batching(walk in walk(), batch in 1_usize..40) {
        let state = book(recorded(vec![gpu("a", 1)]), &records(&walk, 0), batch);
        let account = &state.accounts[0];
        let (measured, estimated, covered) = oracle(&walk);
        prop_assert_eq!(account.lifetime[Quality::Integrated], Energy(measured));
        prop_assert_eq!(account.lifetime[Quality::Estimated], Energy(estimated));
        prop_assert_eq!(account.covered_ns, covered);
        check(&state)?;
    }

    #[test]
    fn accounts_do_not_touch_each_other_in_any_interleaving(
        a in walk(), b in walk(), order in proptest::collection::vec(any::<bool>(), 240)
    ) {
        let context = || recorded(vec![gpu("a", 1), gpu("b", 1)]);
        let (mut left, mut right) = (records(&a, 0).into_iter().peekable(), records(&b, 1).into_iter().peekable());
        let mut mixed = Vec::new();
        for first in order {
            mixed.extend(if first { left.next() } else { right.next() });
        }
        mixed.extend(left.chain(right));
        let together = book(context(), &mixed, 7);
        let apart = book(context(), &records(&a, 0).into_iter().chain(records(&b, 1)).collect::<Vec<_>>(), 1000);
        prop_assert_eq!(by_key(&together), by_key(&apart));
        check(&together)?;
    }

    /// Whatever comes in whatever order through however many streams: no instant is booked twice. At
    /// constant power that is energy = power × covered time, exactly.
    #[test]
    fn no_delivery_order_books_an_instant_twice(
        steps in proptest::collection::vec(1_u64..40_000, 2..80),
        order in proptest::collection::vec((0_usize..80, 1_u8..6), 1..200),
    ) {
        let mut at = T0;
        let all: Vec<Record> = steps.iter().map(|ms| { at += ms * 1_000_000; power(at, 0, 250_000) }).collect();
        let mut ledger = Ledger::new(Policy::default());
        let mut agents: Vec<_> = (1..6).map(|stream| Agent::new(stream, "node-1", recorded(vec![gpu("a", 1)]))).collect();
        let (mut measured, mut gross) = (Energy::ZERO, Energy::ZERO);
        for (index, stream) in order {
            agents[usize::from(stream) - 1].send(&mut ledger, &all[index % all.len()..=index % all.len()]);
            let account = &agents[0].state(&ledger).accounts[0];
            let reversed = account.rare().map_or(Energy::ZERO, |rare| rare.reversed);
            prop_assert!(account.lifetime.measured() >= measured, "measured registers are monotone");
            prop_assert!(account.lifetime[Quality::Estimated] + reversed >= gross, "gross estimates are monotone");
            measured = account.lifetime.measured();
            gross = account.lifetime[Quality::Estimated] + reversed;
            prop_assert_eq!(measured, Energy(2 * 250_000 * i128::from(account.covered_ns)));
            prop_assert!(account.lifetime[Quality::Estimated] >= Energy::ZERO);
        }
        check(agents[0].state(&ledger))?;
    }

    /// The same with a counter: it never books more than the counter moved.
    #[test]
    fn a_counter_in_any_order_books_at_most_its_own_difference(
        order in proptest::collection::vec((0_u64..200, 1_u8..4), 1..100),
    ) {
        let mut ledger = Ledger::new(Policy::default());
        let context = || recorded(vec![counter("a", 1, 9, None)]);
        let mut agents: Vec<_> = (1..4).map(|stream| Agent::new(stream, "node-1", context())).collect();
        for (second, stream) in &order {
            agents[usize::from(*stream) - 1].send(&mut ledger, &[count(T0 + second * S, 0, second * 300_000_000)]);
        }
        let seen = order.iter().map(|(second, _)| *second);
        let span = seen.clone().max().unwrap_or(0) - seen.min().unwrap_or(0);
        let state = agents[0].state(&ledger);
        prop_assert_eq!(state.accounts[0].lifetime.total(), joules(span * 300));
        prop_assert_eq!(state.accounts[0].covered_ns, span * S);
        check(state)?;
    }

    /// A history that follows live data fills the hole so that the ledger is as if all had come in order.
    #[test]
    fn history_after_live_equals_everything_in_order(mws in proptest::collection::vec(0_u64..700_000, 300), from in 20_usize..120, len in 20_usize..150) {
        let all: Vec<Record> = (0_u64..).zip(&mws).map(|(i, mw)| power(T0 + i * S, 0, *mw)).collect();
        let straight = book(recorded(vec![gpu("a", 1)]), &all, 30);
        let mut ledger = Ledger::new(Policy::default());
        let mut live = Agent::new(1, "node-1", recorded(vec![gpu("a", 1)]));
        live.send(&mut ledger, &all[..from]);
        live.send(&mut ledger, &all[from + len..]);
        let mut history = Agent::new(2, "node-1", recorded(vec![gpu("a", 1)]));
        history.send(&mut ledger, &all[from..from + len]);
        let healed = live.state(&ledger);
        prop_assert_eq!(healed.accounts[0].lifetime, straight.accounts[0].lifetime);
        prop_assert_eq!(healed.accounts[0].covered_ns, straight.accounts[0].covered_ns);
        prop_assert_eq!(&healed.open, &straight.open);
    }
}
