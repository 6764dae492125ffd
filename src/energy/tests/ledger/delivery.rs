//! Streams: compare-and-append, hello, binding, numbered posts, commits.

use crate::support::*;
use energy::{AppendOutcome, Flag, Hello, Ledger, NumberedPost, Policy, PostOutcome, Sent};
use meter::{Clock, Context, Position, Utc};

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

#[test]
fn two_streams_are_flagged_when_they_take_turns_and_not_when_one_begins_anew() {
    let device = || recorded(vec![chassis(1)]);
    let readings = |from: u64| (from..from + 5).map(|second| power(T0 + second * S, 0, 100_000)).collect::<Vec<_>>();
    let send = |ledger: &mut Ledger, agent: &mut Agent, from: u64| {
        agent.import = false;
        let at = Utc((T0 + (from + 5) * S) as i64);
        let outcome = ledger.append(&agent.message(&readings(from)), at);
        let AppendOutcome::Applied { at, tally } = outcome else { panic!("not applied: {outcome:?}") };
        agent.position = at;
        tally
    };
    let flagged = |ledger: &Ledger, agent: &Agent| agent.state(ledger).accounts[0].is_flagged(Flag::TwoStreams);

    // An agent that had to begin a new stream sends its spool again.
    let mut ledger = Ledger::new(Policy::default());
    let (mut old, mut new) = (Agent::new(1, "node-1", device()), Agent::new(2, "node-1", device()));
    send(&mut ledger, &mut old, 0);
    assert_eq!(send(&mut ledger, &mut new, 0).fenced, 5);
    send(&mut ledger, &mut new, 5);
    assert!(!flagged(&ledger, &new));

    // Two collectors read one BMC.
    let mut ledger = Ledger::new(Policy::default());
    let (mut one, mut other) = (Agent::new(1, "node-1", device()), Agent::new(2, "node-1", device()));
    for round in 0..3 {
        send(&mut ledger, &mut one, round * 5);
        assert_eq!(send(&mut ledger, &mut other, round * 5).fenced, 5);
    }
    assert!(flagged(&ledger, &one));
    assert_eq!(one.state(&ledger).accounts[0].lifetime.total(), joules(100 * 14), "and billed once");
}

#[test]
fn the_present_is_shown_while_the_past_is_brought_and_books_nothing() {
    let boot = [7; 16];
    let context = Context { clock: Clock::Boot(boot), wall_offset_ns: 0, devices: vec![gpu("a", 1)] };
    let mut ledger = Ledger::new(Policy::default());
    let agent = Agent::new(1, "node-1", context);
    let hours_ago = [power(1000 * S, 0, 100_000), power(1001 * S, 0, 100_000)];
    let mut append = agent.message(&hours_ago);
    append.import = false;
    append.sent = Some(Sent { boot, boot_ns: 30_000 * S, wall_ns: 0 });
    append.live = vec![power(29_999 * S, 0, 700_000)];
    assert!(matches!(ledger.append(&append, NOW), AppendOutcome::Applied { .. }));
    let account = &agent.state(&ledger).accounts[0];
    assert_eq!(account.shown, Some((Utc(NOW.0 - S as i64), meter::Milliwatts(700_000))));
    assert_eq!((account.lifetime.total(), account.covered_ns), (joules(100), S));
    assert_eq!(account.frontier.at, Utc(NOW.0 - 28_999 * S as i64), "the past is dated by its age");
}

#[test]
fn an_append_may_refer_to_more_contexts_than_are_kept() {
    // An agent that was started twenty times while nobody answered: each start is a context of its own.
    let mut ledger = Ledger::new(Policy { contexts: 16, ..Policy::default() });
    let mut agent = agent();
    let records: Vec<_> = (0..20).map(|n| meter::Record { context: 1 + n, ..power(T0 + n * S, 0, 100_000) }).collect();
    let mut append = agent.message(&records);
    let context = |n: u64| meter::Context { wall_offset_ns: n as i64, ..recorded(vec![gpu("a", 1)]) };
    append.hello = Some(Hello { contexts: (1..=20).map(|n| (n, context(n))).collect(), ..Hello::default() });
    assert!(matches!(ledger.append(&append, NOW), AppendOutcome::Applied { .. }));
    assert_eq!(agent.state(&ledger).accounts[0].lifetime.total(), joules(19 * 100));
    assert_eq!(agent.state(&ledger).contexts.len(), 16);
    // The oldest is forgotten afterwards, and asked for when it is named again.
    agent.position = append.end;
    assert_eq!(ledger.append(&agent.message(&records[..1]), NOW), AppendOutcome::SayHello);
}
