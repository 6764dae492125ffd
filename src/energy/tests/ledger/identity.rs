//! Who may report under a name, and several who report the same: refused or fenced, never booked twice.

use crate::support::*;
use energy::{Append, AppendOutcome, Flag, Hello, Ledger, NumberedPost, Policy, PostOutcome, Rejection, Sent};
use meter::{Clock, Context, Id, Owner, Position, Record, Utc};

fn at(s: u64) -> Utc {
    Utc((T0 + s * S) as i64)
}

/// An agent of a machine whose boot began at `T0` and whose clock is right.
fn agent(stream: u8, boot: u8) -> Agent {
    let context = Context { clock: Clock::Boot([boot; 16]), wall_offset_ns: T0 as i64, devices: vec![gpu("a", 1)] };
    Agent { import: false, ..Agent::new(stream, "node-1", context) }
}

/// 100 W once a second from `from` up to and with `to`, in seconds after `T0`.
fn readings(from: u64, to: u64) -> Vec<Record> {
    (from..=to).map(|s| power(s * S, 0, 100_000)).collect()
}

fn message(agent: &Agent, fingerprint: Option<Id>, records: &[Record], now: u64) -> Append {
    let mut append = agent.message(records);
    let Clock::Boot(boot) = agent.context.clock else { panic!("a boot clock") };
    append.sent = Some(Sent { boot, boot_ns: now * S, wall_ns: at(now).0 });
    append.hello = Some(Hello { fingerprint, contexts: vec![(1, agent.context.clone())], ..Hello::default() });
    append
}

/// Booked and fenced readings.
fn send(ledger: &mut Ledger, agent: &mut Agent, machine: Option<Id>, from: u64, to: u64) -> (u64, u64) {
    match ledger.append(&message(agent, machine, &readings(from, to), to), at(to)) {
        AppendOutcome::Applied { at, tally } => {
            agent.position = at;
            (tally.booked, tally.fenced)
        }
        other => panic!("not applied: {other:?}"),
    }
}

fn is_flagged(ledger: &Ledger, agent: &Agent) -> bool {
    agent.state(ledger).accounts[0].is_flagged(Flag::TwoStreams)
}

const ONE: Id = [1; 16];
const TWO: Id = [2; 16];

#[test]
fn another_machine_under_the_same_name_is_refused_both_are_named_and_nothing_changes() {
    let (mut ledger, mut first, second) = (Ledger::new(Policy::default()), agent(1, 1), agent(2, 2));
    send(&mut ledger, &mut first, Some(ONE), 0, 100);
    let before = first.state(&ledger).clone();
    let told = ledger.append(&message(&second, Some(TWO), &readings(0, 100), 100), at(100));
    let AppendOutcome::Rejected(rejection) = told else { panic!("not refused: {told:?}") };
    let text = rejection.to_string();
    for part in ["default/host/node-1", &"01".repeat(16), &"02".repeat(16), "wattledger host rebind node-1"] {
        assert!(text.contains(part), "{part} in {text:?}");
    }
    assert_eq!(rejection.code(), "host-bound-elsewhere");
    assert!(matches!(rejection, Rejection::BoundElsewhere { bound: ONE, theirs: TWO, .. }));
    assert_eq!(*first.state(&ledger), before);
    assert_eq!(ledger.take_commit().len(), 1, "only what the first reported");
}

#[test]
fn once_the_name_is_freed_the_new_machine_delivers_what_it_kept_with_its_dates() {
    // The new one took the place of the old one after 100 s; it was refused until 1000 s.
    let (mut ledger, mut old, mut new) = (Ledger::new(Policy::default()), agent(1, 1), agent(2, 2));
    send(&mut ledger, &mut old, Some(ONE), 0, 100);
    let kept = message(&new, Some(TWO), &readings(200, 1000), 1000);
    assert!(matches!(ledger.append(&kept, at(1000)), AppendOutcome::Rejected(_)));
    assert_eq!(ledger.rebind(&old.owner, None), Some(Some(ONE)));
    assert_eq!(send(&mut ledger, &mut new, Some(TWO), 200, 1000), (801, 0));
    let account = &old.state(&ledger).accounts[0];
    assert_eq!((account.lifetime.measured(), account.covered_ns), (joules(90_000), 900 * S));
    assert_eq!(account.frontier.at, at(1000));
    // Now the old one is the stranger; it is asked to introduce itself again.
    let stands = ledger.append(&message(&old, Some(ONE), &readings(1001, 1010), 1010), at(1010));
    assert_eq!(stands, AppendOutcome::Stands(Position::default()));
    old.position = Position::default();
    let told = ledger.append(&message(&old, Some(ONE), &readings(1001, 1010), 1010), at(1010));
    assert!(matches!(told, AppendOutcome::Rejected(Rejection::BoundElsewhere { bound: TWO, theirs: ONE, .. })));
}

#[test]
fn what_both_machines_read_at_once_is_booked_once_after_the_name_is_freed() {
    let (mut ledger, mut old, mut new) = (Ledger::new(Policy::default()), agent(1, 1), agent(2, 2));
    send(&mut ledger, &mut old, Some(ONE), 0, 1000);
    assert_eq!(ledger.rebind(&old.owner, None), Some(Some(ONE)));
    assert_eq!(send(&mut ledger, &mut new, Some(TWO), 500, 1000), (0, 501), "one account, one axis of time");
    assert_eq!(send(&mut ledger, &mut new, Some(TWO), 1001, 1100), (100, 0));
    assert_eq!(old.state(&ledger).accounts[0].lifetime.measured(), joules(110_000));
}

#[test]
fn a_new_machine_does_not_follow_the_boots_of_the_one_before() {
    // The old one was dated three days ahead.
    let (mut ledger, mut old, mut new) = (Ledger::new(Policy::default()), agent(1, 1), agent(2, 2));
    let ahead = ledger.append(&message(&old, Some(ONE), &readings(0, 100), 100), at(100 + 3 * 86_400));
    let AppendOutcome::Applied { at: position, .. } = ahead else { panic!("not applied: {ahead:?}") };
    old.position = position;
    assert_eq!(ledger.rebind(&old.owner, None), Some(Some(ONE)));
    assert_eq!(send(&mut ledger, &mut new, Some(TWO), 200, 300), (101, 0));
    assert_eq!(new.state(&ledger).accounts[0].first.at, at(200));
}

#[test]
fn the_ledger_learns_what_it_did_not_know_of_a_machine() {
    let of = |hardware, system| Some(meter::machine::fingerprint([hardware; 8], [system; 8]));
    let (mut ledger, mut agent) = (Ledger::new(Policy::default()), agent(1, 1));
    // As a user, as root, after a reboot without a disk, in a container.
    for (round, (told, known)) in
        [(of(0, 1), of(0, 1)), (of(5, 1), of(5, 1)), (of(5, 2), of(5, 2)), (of(0, 0), of(5, 2))].into_iter().enumerate()
    {
        let from = round as u64 * 10;
        send(&mut ledger, &mut agent, told, from, from + 9);
        assert_eq!(agent.state(&ledger).fingerprint, known);
    }
    let other = ledger.append(&message(&agent, of(6, 2), &readings(50, 60), 60), at(60));
    assert!(matches!(other, AppendOutcome::Rejected(_)), "a cloned disk in another machine");
}

#[test]
fn two_streams_that_read_one_device_are_fenced_and_flagged() {
    // The same boot: an agent on the host and one in a container; two boots: two collectors of one BMC.
    for (boot, machine) in [(1, Some(ONE)), (2, None)] {
        let (mut ledger, mut first, mut second) = (Ledger::new(Policy::default()), agent(1, 1), agent(2, boot));
        for now in [10, 20, 30, 40_u64] {
            let from = now - 10;
            send(&mut ledger, &mut first, machine, from, now);
            let (booked, fenced) = send(&mut ledger, &mut second, machine, from, now);
            assert_eq!((booked, fenced), (0, 11));
        }
        let account = &first.state(&ledger).accounts[0];
        assert_eq!((account.lifetime.measured(), account.covered_ns), (joules(4000), 40 * S));
        assert!(is_flagged(&ledger, &first));
        assert!(account.rare().expect("fenced").fenced >= joules(3900));
    }
}

#[test]
fn an_agent_that_begins_a_new_stream_is_no_second_agent() {
    let (mut ledger, mut before, mut after) = (Ledger::new(Policy::default()), agent(1, 1), agent(2, 1));
    send(&mut ledger, &mut before, Some(ONE), 0, 60);
    for from in [0, 20, 40] {
        let records = readings(from, from + 19);
        let AppendOutcome::Applied { at, tally } = ledger.append(&message(&after, Some(ONE), &records, 61), at(61))
        else {
            panic!("not applied")
        };
        after.position = at;
        assert_eq!((tally.booked, tally.fenced), (0, 20));
    }
    send(&mut ledger, &mut after, Some(ONE), 60, 90);
    assert_eq!(after.state(&ledger).accounts[0].lifetime.measured(), joules(9000));
    assert!(!is_flagged(&ledger, &after), "its own repetition");
}

/// A numbered post of a client that reads a host's chassis.
fn json(stream: u8, seq: u64, records: Vec<Record>) -> NumberedPost {
    NumberedPost {
        stream: [stream; 16],
        seq,
        body: [seq as u8; 16],
        owner: Owner::host("node-1").expect("a good name"),
        labels: None,
        context: recorded(vec![chassis(1)]),
        import: false,
        records,
        unnamed: Vec::new(),
    }
}

#[test]
fn a_node_agent_a_bmc_collector_and_a_scraper_of_one_node_book_each_account_once() {
    // The agent reads the GPU; the collector reads the chassis, by JSON; the scraper reads both.
    let (mut ledger, mut own) = (Ledger::new(Policy::default()), agent(1, 1));
    let mut scraper = agent(2, 2);
    scraper.context.devices = vec![gpu("a", 1), chassis(1)];
    for (seq, now) in [10, 20, 30, 40_u64].into_iter().enumerate() {
        let from = now - 10;
        assert_eq!(send(&mut ledger, &mut own, Some(ONE), from + 1, now), (10, 0));
        let of_bmc = (from + 1..=now).map(|s| power(T0 + s * S, 0, 400_000)).collect();
        let told = ledger.post(&json(3, seq as u64 + 1, of_bmc), at(now));
        assert!(matches!(&told, PostOutcome::Applied { tally, .. } if tally.booked == 10), "{told:?}");
        let mut scraped = readings(from + 1, now);
        for record in &mut scraped {
            let both = record.samples[0];
            record.samples.push(meter::Sample { device: 1, power: Some(meter::Milliwatts(400_000)), ..both });
        }
        let told = ledger.append(&message(&scraper, None, &scraped, now), at(now));
        let AppendOutcome::Applied { at, tally } = told else { panic!("not applied: {told:?}") };
        scraper.position = at;
        assert_eq!((tally.booked, tally.fenced), (0, 20));
    }
    let state = own.state(&ledger);
    let totals: Vec<_> = state.accounts.iter().map(|account| account.lifetime.measured()).collect();
    assert_eq!(totals, [joules(3900), joules(4 * 3900)]);
    // The machine goes before the scraper, which is as it should be; two that read the chassis are not.
    let flagged: Vec<_> = state.accounts.iter().map(|account| account.is_flagged(Flag::TwoStreams)).collect();
    assert_eq!(flagged, [false, true]);
}

#[test]
fn two_clients_of_one_chassis_are_fenced_and_flagged_and_one_started_anew_is_not() {
    let mut ledger = Ledger::new(Policy::default());
    let reading = |s: u64| vec![power(T0 + s * S, 0, 400_000)];
    let flagged = |ledger: &Ledger| {
        let state = ledger.state(&Owner::host("node-1").expect("a good name")).expect("known");
        (state.accounts[0].is_flagged(Flag::TwoStreams), state.accounts[0].lifetime.measured())
    };
    for seq in 1..=5 {
        ledger.post(&json(1, seq, reading(seq)), at(seq));
    }
    // Started anew, it repeats its last reading and goes on.
    for seq in 1..=5 {
        ledger.post(&json(2, seq, reading(seq + 4)), at(seq + 5));
    }
    assert_eq!(flagged(&ledger), (false, joules(400 * 8)));
    for seq in 6..=10 {
        ledger.post(&json(2, seq, reading(seq + 4)), at(seq + 4));
        ledger.post(&json(1, seq, reading(seq + 4)), at(seq + 4));
    }
    assert_eq!(flagged(&ledger), (true, joules(400 * 13)));
}

#[test]
fn a_machine_labels_itself_and_others_label_it_only_before_it_has_spoken() {
    let (mut ledger, mut own, scraper) = (Ledger::new(Policy::default()), agent(1, 1), agent(2, 2));
    let labels = |team: &str| meter::Labels::from([("team".to_owned(), team.to_owned())]);
    let teams = |ledger: &Ledger| -> Vec<String> {
        own_state(ledger).labels.iter().map(|since| since.labels["team"].clone()).collect()
    };
    let greet = |agent: &mut Agent, ledger: &mut Ledger, machine: Option<Id>, team: &str, from: u64| {
        let mut append = message(agent, machine, &readings(from, from + 9), from + 9);
        append.hello = append.hello.map(|hello| Hello { labels: labels(team), ..hello });
        let AppendOutcome::Applied { at, .. } = ledger.append(&append, at(from + 9)) else { panic!("not applied") };
        agent.position = at;
    };
    let mut scraper = scraper;
    greet(&mut scraper, &mut ledger, None, "scraped", 0);
    assert_eq!(teams(&ledger), ["scraped"]);
    // From here on the two greet in turn, and a client posts labels by JSON: nothing flips.
    for round in 1..6 {
        greet(&mut own, &mut ledger, Some(ONE), "own", 10 * round);
        greet(&mut scraper, &mut ledger, None, "scraped", 10 * round);
        let posted = NumberedPost { labels: Some(labels("json")), ..json(3, round, vec![]) };
        let posted = NumberedPost { owner: own.owner.clone(), ..posted };
        assert!(matches!(ledger.post(&posted, at(10 * round)), PostOutcome::Applied { .. }));
        assert_eq!(teams(&ledger), ["scraped", "own"], "round {round}");
    }
    // A name that was freed may be labelled by anybody again, until its machine speaks.
    assert_eq!(ledger.rebind(&own.owner, None), Some(Some(ONE)));
    let posted = NumberedPost { labels: Some(labels("json")), owner: own.owner.clone(), ..json(4, 1, vec![]) };
    assert!(matches!(ledger.post(&posted, at(100)), PostOutcome::Applied { .. }));
    assert_eq!(teams(&ledger).last().map(String::as_str), Some("json"));
}

fn own_state(ledger: &Ledger) -> &energy::OwnerState {
    ledger.state(&Owner::host("node-1").expect("a name")).expect("an owner")
}
