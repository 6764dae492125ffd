//! The audit agrees with every ledger that booking makes, and finds whatever is altered in one.

use crate::support::*;
use energy::{Audited, Cell, HourBlock, HourCell, Ledger, OpenSlot, OwnerState, Policy, StoredAnswer, audit};
use meter::{Energy, Mark, Quality, Record, Slot};
use proptest::prelude::*;

/// A row with its version, and every posting with the version that wrote it.
#[derive(Clone)]
struct Kept {
    state: OwnerState,
    version: u64,
    postings: Vec<(u64, HourBlock)>,
}

impl Kept {
    fn audited(&self) -> Audited {
        // Within an hour in the order they were written, as a store gives them.
        let mut postings: Vec<_> = self.postings.iter().collect();
        postings.sort_by_key(|(_, block)| block.hour);
        audit(&self.state, self.version, postings.into_iter().map(|(version, block)| (*version, block)))
    }

    fn codes(&self) -> Vec<&'static str> {
        self.audited().discrepancies.iter().map(|one| one.code).collect()
    }
}

/// Books batches through one stream, each with a commit of its own.
fn keep(batches: &[&[Record]]) -> Kept {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![gpu("a", 1), counter("b", 1, 7, None)]));
    let (mut version, mut postings) = (0, Vec::new());
    for batch in batches {
        agent.send(&mut ledger, batch);
        for dirty in ledger.take_commit() {
            version = dirty.next;
            postings.extend(dirty.settled.into_iter().map(|block| (dirty.next, block)));
        }
    }
    Kept { state: agent.state(&ledger).clone(), version, postings }
}

/// Two hours of power every second but for a hole of 5 min and one of 20 min; a counter beside it.
fn two_hours() -> Kept {
    let read = |from: u64, to: u64| {
        (from..to).flat_map(|second| {
            let at = T0 + second * S;
            [power(at, 0, 100_000 + second), count(at, 1, second * 50_000_000)]
        })
    };
    let mut early: Vec<Record> = read(0, 1000).collect();
    let mark = Some(Box::new(Mark::Cut));
    early.insert(2 * 434, Record { context: 1, at: T0 + 433 * S + 7, mark, ..Record::default() });
    let late: Vec<Record> = read(1300, 3000).chain(read(4200, 7200)).collect();
    keep(&[&early, &late])
}

#[test]
fn a_sound_ledger_has_nothing_to_find_and_its_sums_are_the_readings() {
    let kept = two_hours();
    assert!(kept.postings.len() > 2 && !kept.state.open.is_empty(), "both places are added up");
    let audited = kept.audited();
    assert_eq!(audited.discrepancies, []);
    assert_eq!(audited.accounts, 2);
    // Trapezoids of 1 s within each stretch, and the straight line over the hole of 301 s.
    let area =
        |from: u64, to: u64| (from..to - 1).map(|s| i128::from(200_000 + 2 * s + 1) * i128::from(S)).sum::<i128>();
    let line = i128::from(200_000 + 999 + 1300_u64) * i128::from(301 * S);
    assert_eq!(audited.energy[Quality::Integrated], Energy(area(0, 1000) + area(1300, 3000) + area(4200, 7200)));
    assert_eq!(audited.energy[Quality::Estimated], Energy(line));
    assert_eq!(audited.energy[Quality::Counter], joules(7199 * 50));
}

/// One change, and what the audit must say of it.
type Change = (&'static str, fn(&mut Kept));

const CHANGES: [Change; 27] = [
    ("cut-share", |kept| kept.postings[0].1.cuts[0].cell.covered_ns += 900 * S),
    ("cut-share", |kept| kept.postings[0].1.cuts[1].cell.energy[Quality::Counter] = joules(1_000_000)),
    ("cut-share", |kept| kept.postings[0].1.cuts[0].at.0 += 7_200 * S as i64),
    ("register-integrated", |kept| kept.state.accounts[0].lifetime[Quality::Integrated] += Energy(1)),
    ("register-counter", |kept| kept.state.accounts[1].lifetime[Quality::Counter] += Energy(-1)),
    ("register-estimated", |kept| kept.state.accounts[0].lifetime[Quality::Estimated] += Energy(1)),
    ("covered-time", |kept| kept.state.accounts[0].covered_ns += 1),
    ("coverage", |kept| kept.state.accounts[0].rare_mut().holes[1].end.at.0 -= 1),
    ("coverage", |kept| kept.state.accounts[0].rare_mut().holes.truncate(1)),
    ("holes", |kept| kept.state.accounts[0].rare_mut().holes.swap(0, 1)),
    ("holes", |kept| kept.state.accounts[0].rare_mut().holes[0].start.at.0 -= 2_000 * S as i64),
    ("estimates", |kept| kept.state.accounts[0].rare_mut().holes[0].estimate = None),
    ("estimate-line", |kept| {
        let line = kept.state.accounts[0].rare_mut().holes[0].estimate.as_mut().expect("an estimate");
        line.to.0 -= 1;
    }),
    ("span", |kept| kept.state.accounts[0].first.at.0 += 9_000 * S as i64),
    ("register-integrated", |kept| drop(kept.postings.remove(1))),
    ("register-integrated", |kept| {
        let twice = kept.postings[0].clone();
        kept.postings.push(twice);
    }),
    ("slot-overfull", |kept| {
        // A slot booked twice, with the registers to match: only the slot's length tells.
        let cell = kept.postings[0].1.cells[0];
        let account = &mut kept.state.accounts[usize::from(cell.account)];
        account.lifetime += cell.cell.energy;
        account.covered_ns += cell.cell.covered_ns;
        let block = HourBlock { cells: vec![cell], cuts: vec![], ..kept.postings[0].1 };
        kept.postings.push((1, block));
    }),
    ("posting-version", |kept| kept.postings[0].0 = kept.version + 1),
    ("posting-version", |kept| kept.postings[0].0 = 0),
    ("unknown-account", |kept| kept.postings[0].1.cells[0].account = 9),
    ("outside-span", |kept| {
        let cell = HourCell { quarter: 0, account: 0, cell: Cell::of(Quality::Integrated, Energy(1), 0) };
        kept.postings.push((1, HourBlock { hour: 0, cells: vec![cell], cuts: vec![] }));
    }),
    ("open-slots", |kept| {
        let open = OpenSlot { slot: Slot(kept.state.open[0].slot.0), cells: Vec::new(), cuts: Vec::new() };
        kept.state.open.push(open);
    }),
    ("register-counter", |kept| kept.state.open[0].cells[1].energy[Quality::Counter] += Energy(2)),
    ("account-twice", |kept| {
        let keys = std::sync::Arc::make_mut(&mut kept.state.keys);
        keys[1] = keys[0].clone();
    }),
    ("account-keys", |kept| drop(std::sync::Arc::make_mut(&mut kept.state.keys).pop())),
    ("stream-twice", |kept| kept.state.streams.push(kept.state.streams[0].clone())),
    ("stream-answers", |kept| {
        let answer = StoredAnswer { seq: 1, body: [0; 16], tally: energy::Tally::default() };
        kept.state.streams[0].answers.push(answer);
    }),
];

#[test]
fn every_alteration_is_found() {
    let sound = two_hours();
    for (number, (code, change)) in CHANGES.into_iter().enumerate() {
        let mut altered = sound.clone();
        change(&mut altered);
        assert!(altered.codes().contains(&code), "change {number}: {code} is not in {:?}", altered.codes());
    }
}

#[test]
fn a_discrepancy_names_the_account_and_both_figures() {
    let mut kept = two_hours();
    let before = kept.state.accounts[1].lifetime[Quality::Counter];
    kept.state.accounts[1].lifetime[Quality::Counter] += Energy(3);
    let found = kept.audited().discrepancies;
    let [one] = &found[..] else { panic!("one alteration, {found:?}") };
    assert_eq!(one.account.as_ref().map(ToString::to_string).as_deref(), Some("gpu:b"));
    assert_eq!((&one.expected, &one.found), (&format!("{} half pJ", before.0), &format!("{} half pJ", before.0 + 3)));
}

proptest! {
    /// Whatever the steps, the order of batches and the number of commits.
    #[test]
    fn no_ledger_that_booking_makes_has_a_discrepancy(
        steps in proptest::collection::vec((prop_oneof![5 => 1_u64..3, 2 => 3_u64..900, 1 => 900_u64..9000], 0_u64..900_000), 2..200),
        batch in 1_usize..30,
        shuffle in proptest::collection::vec(any::<u16>(), 200),
    ) {
        let mut at = T0;
        let records: Vec<Record> = steps.iter().enumerate().map(|(number, (step, value))| {
            at += step * S;
            if number % 3 == 0 { count(at, 1, at / S * 40_000) } else { power(at, 0, *value) }
        }).collect();
        let mut batches: Vec<&[Record]> = records.chunks(batch).collect();
        batches.sort_by_cached_key(|batch| shuffle[batch[0].at as usize / S as usize % shuffle.len()]);
        prop_assert_eq!(keep(&batches).audited().discrepancies, []);
    }
}
