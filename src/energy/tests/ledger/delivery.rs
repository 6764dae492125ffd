//! Streams: compare-and-append, hello, binding, numbered posts, commits.

use crate::support::*;
use energy::{AppendOutcome, Hello, Ledger, NumberedPost, Policy, PostOutcome, Rejection};
use meter::{Position, Utc};

const NOW: Utc = Utc(T0 as i64 + 3600 * S as i64);

fn agent() -> Agent {
    Agent::new(1, "node-1", recorded(vec![gpu("a", 1)]))
}

#[test]
fn an_append_is_applied_only_on_exactly_its_prefix() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = agent();
    let first = agent.message(&[power(T0, 0, 100_000), power(T0 + S, 0, 100_000)]);
    let AppendOutcome::Applied { at, .. } = ledger.append(&first, NOW) else { panic!("not applied") };
    assert_eq!(ledger.append(&first, NOW), AppendOutcome::Stands(at), "a repetition is told where the stream stands");
    agent.position = Position { seq: 2, digest: [9; 16] };
    let other_past = agent.message(&[power(T0 + 2 * S, 0, 100_000)]);
    assert_eq!(ledger.append(&other_past, NOW), AppendOutcome::Stands(at), "another digest is another past");
    agent.position = Position { seq: 5, digest: [9; 16] };
    let gap = agent.message(&[power(T0 + 9 * S, 0, 100_000)]);
    assert_eq!(ledger.append(&gap, NOW), AppendOutcome::Stands(at));
    assert_eq!(agent.state(&ledger).accounts[0].lifetime.total(), joules(100));
}

#[test]
fn an_unknown_stream_or_context_must_say_hello_and_changes_nothing() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = agent();
    let mut mute = agent.message(&[power(T0, 0, 1)]);
    mute.hello = None;
    assert_eq!(ledger.append(&mute, NOW), AppendOutcome::SayHello);
    assert!(ledger.state(&agent.owner).is_none() && ledger.dirty_count() == 0);
    agent.send(&mut ledger, &[power(T0, 0, 1)]);
    let mut other = agent.message(&[power(T0 + S, 0, 1)]);
    other.records[0].context = 2;
    assert_eq!(ledger.append(&other, NOW), AppendOutcome::SayHello);
}

#[test]
fn a_host_name_belongs_to_the_machine_that_first_reported_itself_under_it() {
    let mut ledger = Ledger::new(Policy::default());
    let claim = |stream: u8, machine: u8| {
        let mut append = Agent::new(stream, "node-1", recorded(vec![gpu("a", 1)])).message(&[power(T0, 0, 1)]);
        let hello = append.hello.take().expect("first append");
        append.hello = Some(Hello { fingerprint: Some([machine; 16]), ..hello });
        append
    };
    assert!(matches!(ledger.append(&claim(1, 1), NOW), AppendOutcome::Applied { .. }));
    assert!(matches!(ledger.append(&claim(2, 1), NOW), AppendOutcome::Applied { .. }), "the same machine, reinstalled");
    let AppendOutcome::Rejected(Rejection::BoundElsewhere { bound, theirs, .. }) = ledger.append(&claim(3, 2), NOW)
    else {
        panic!("two machines shared a name")
    };
    assert_eq!((bound, theirs), ([1; 16], [2; 16]));
}

fn post(seq: u64, body: u8, at: u64) -> NumberedPost {
    NumberedPost {
        stream: [5; 16],
        seq,
        body: [body; 16],
        owner: meter::Owner::host("node-17").expect("a good name"),
        labels: None,
        context: recorded(vec![gpu("a", 1)]),
        import: false,
        records: vec![power(at, 0, 100_000)],
        unnamed: Vec::new(),
    }
}

#[test]
fn numbered_posts_apply_once_and_repeat_their_answer() {
    let mut ledger = Ledger::new(Policy::default());
    assert_eq!(ledger.post(&post(2, 0, T0), NOW), PostOutcome::Expected(1));
    assert!(ledger.state(&post(1, 1, T0).owner).is_none());
    let PostOutcome::Applied { seq: 1, tally } = ledger.post(&post(1, 1, T0), NOW) else { panic!("not applied") };
    assert_eq!(ledger.post(&post(1, 1, T0), NOW), PostOutcome::Repeated { seq: 1, tally });
    assert_eq!(ledger.post(&post(1, 2, T0), NOW), PostOutcome::BodyDiffers);
    assert_eq!(ledger.post(&post(3, 3, T0), NOW), PostOutcome::Expected(2));
    for seq in 2..40 {
        assert!(matches!(ledger.post(&post(seq, seq as u8, T0 + seq * S), NOW), PostOutcome::Applied { .. }));
    }
    assert_eq!(ledger.post(&post(1, 1, T0), NOW), PostOutcome::Older { oldest_kept: 24 });
    let state = ledger.state(&post(1, 1, T0).owner).expect("known");
    assert_eq!(state.accounts[0].lifetime.total(), joules(39 * 100));
}

#[test]
fn a_commit_takes_each_change_once_with_its_version() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = agent();
    agent.send(&mut ledger, &[power(T0 - S, 0, 100_000), power(T0 + S, 0, 100_000)]);
    let first = ledger.take_commit();
    assert_eq!((first.len(), first[0].expect, first[0].next), (1, 0, 1));
    assert_eq!(first[0].settled.len(), 1, "the slot before the newest leaves the row");
    assert_eq!(first[0].state.open.len(), 1);
    assert!(ledger.take_commit().is_empty());
    agent.send(&mut ledger, &[power(T0 + 2 * S, 0, 100_000)]);
    let second = ledger.take_commit();
    assert_eq!((second[0].expect, second[0].next, second[0].settled.len()), (1, 2, 0));
    assert_eq!(first[0].state.accounts[0].lifetime.total(), joules(200), "a taken row does not change any more");
}

#[test]
fn a_forgotten_candidate_is_as_if_it_had_not_been_applied() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = agent();
    agent.send(&mut ledger, &[power(T0, 0, 100_000), power(T0 + S, 0, 100_000)]);
    let stored = ledger.take_commit().remove(0);
    let before = agent.position;
    let next = [power(T0 + 2 * S, 0, 100_000)];
    agent.send(&mut ledger, &next);
    ledger.forget(&agent.owner);
    ledger.insert((*stored.state).clone(), stored.next);
    assert_eq!((ledger.dirty_count(), ledger.accounts()), (0, 1));
    agent.position = before;
    agent.send(&mut ledger, &next);
    assert_eq!(agent.state(&ledger).accounts[0].lifetime.total(), joules(200));
    assert_eq!(ledger.take_commit()[0].expect, 1);
}
