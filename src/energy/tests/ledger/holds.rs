//! Holds: which jobs a machine runs, and when they ended.

use crate::machine::*;
use crate::support::*;
use std::sync::Arc;

use energy::{CutCount, Ledger, MarkOutcome, Policy};
use meter::{Allocation, Hold, Mark, Record, Refusal, Utc};

fn job(id: &str, cores: u32) -> Arc<Allocation> {
    Arc::new(Allocation { id: id.into(), cores, ..Allocation::default() })
}

fn start(at: u64, id: &str) -> Record {
    told(at, Mark::Start(job(id, 1)))
}

fn stop(at: u64, id: &str) -> Record {
    told(at, Mark::Stop(id.into()))
}

fn told(at: u64, mark: Mark) -> Record {
    Record { context: 1, at, mark: Some(Box::new(mark)), ..Record::default() }
}

fn ended(ledger: &mut Ledger) -> Vec<(String, i64, i64)> {
    let seconds = |at: Utc| (at.0 - T0 as i64).div_euclid(S as i64);
    let ended = |hold: Hold| (hold.allocation.id.to_string(), seconds(hold.from), seconds(hold.until.expect("an end")));
    ledger.take_commit().into_iter().flat_map(|dirty| dirty.ended).map(ended).collect()
}

fn running(agent: &Agent, ledger: &Ledger) -> Vec<String> {
    agent.state(ledger).holds.iter().map(|hold| hold.allocation.id.to_string()).collect()
}

#[test]
fn a_job_runs_until_it_is_stopped_and_leaves_with_the_commit() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![gpu("a", 1)]));
    agent.send(&mut ledger, &[power(T0, 0, 1), start(T0 + S, "1"), start(T0 + 2 * S, "2")]);
    assert_eq!((running(&agent, &ledger), ended(&mut ledger)), (vec!["1".into(), "2".into()], vec![]));
    agent.send(&mut ledger, &[stop(T0 + 3 * S, "1")]);
    assert_eq!(running(&agent, &ledger), ["2"]);
    assert_eq!(ended(&mut ledger), [("1".into(), 1, 3)]);
    agent.send(&mut ledger, &[power(T0 + 9 * S, 0, 1)]);
    assert_eq!(ended(&mut ledger), [], "it leaves once");
    let state = agent.state(&ledger);
    assert_eq!((state.cuts.len(), state.readings, state.refused.len()), (3, 2, 0));
}

#[test]
fn under_one_id_one_job_runs() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![]));
    // Told twice, as by two agents: one hold, which began when it was first told.
    agent.send(&mut ledger, &[start(T0 + S, "1"), start(T0 + 2 * S, "1")]);
    assert_eq!(ended(&mut ledger), []);
    // Another allocation under the same id takes its place.
    agent.send(&mut ledger, &[told(T0 + 5 * S, Mark::Start(job("1", 2)))]);
    assert_eq!((running(&agent, &ledger).len(), ended(&mut ledger)), (1, vec![("1".into(), 1, 5)]));
    // Its end was told before another one's late beginning.
    agent.send(&mut ledger, &[told(T0 + 3 * S, Mark::Start(job("1", 3)))]);
    assert_eq!((running(&agent, &ledger).len(), ended(&mut ledger)), (1, vec![("1".into(), 3, 5)]));
    // A stop from before its start is another's.
    agent.send(&mut ledger, &[stop(T0 + 4 * S, "1"), stop(T0 + 4 * S, "nobody")]);
    assert_eq!(agent.state(&ledger).refused, [(Refusal::UnknownJob, 2)]);
    // Held for no time it leaves nothing.
    agent.send(&mut ledger, &[stop(T0 + 5 * S, "1")]);
    assert_eq!((running(&agent, &ledger).len(), ended(&mut ledger)), (0, vec![]));
}

#[test]
fn a_mark_sent_again_under_another_name_changes_nothing() {
    let mut ledger = ledger();
    let mut machine = Machine::new(1, 0);
    machine.read(0, 100);
    machine.waiting.push(start(100 * S + 1, "1"));
    machine.waiting.push(stop(100 * S + 2, "1"));
    let before = machine.waiting.clone();
    machine.deliver(&mut ledger, 100, 0, 1000);
    // The clock is slewed over days, and then all of it comes once more as another stream.
    machine.read(101, 90_000);
    machine.deliver(&mut ledger, 90_000, 3, 1000);
    let (cuts, count) = (agent_cuts(&machine, &ledger), ended(&mut ledger).len());
    assert_eq!((cuts.len(), count), (2, 1));
    machine.agent.stream = [9; 16];
    machine.agent.position = meter::Position::default();
    machine.waiting = before;
    machine.deliver(&mut ledger, 90_000, 3, 1000);
    assert_eq!(agent_cuts(&machine, &ledger), cuts);
    let state = machine.agent.state(&ledger);
    assert_eq!((state.holds.len(), state.refused.len()), (0, 0));
    assert_eq!(ended(&mut ledger), []);
}

fn agent_cuts(machine: &Machine, ledger: &Ledger) -> Vec<energy::Cut> {
    machine.agent.state(ledger).cuts.to_vec()
}

#[test]
fn a_machine_that_rebooted_runs_no_job_of_before() {
    let mut ledger = ledger();
    let mut machine = Machine::new(1, 0);
    machine.read(0, 100);
    machine.waiting.push(start(50 * S, "1"));
    machine.waiting.sort_by_key(|record| record.at);
    machine.deliver(&mut ledger, 100, 0, 30);
    machine.reboot(2, 200);
    // The first word of the new boot is of a job.
    machine.waiting.push(Record { context: 2, ..start(5 * S, "2") });
    machine.read(206, 300);
    machine.deliver(&mut ledger, 300, 0, 30);
    assert_eq!(machine.agent.state(&ledger).holds.len(), 1);
    assert_eq!(ended(&mut ledger), [("1".into(), 50, 100)]);
    // A third boot, whose beginning and the end of the one before come in one post.
    machine.read(301, 310);
    machine.reboot(3, 400);
    machine.read(401, 402);
    machine.deliver(&mut ledger, 402, 0, 1000);
    assert_eq!(ended(&mut ledger), [("2".into(), 205, 310)]);
    assert_eq!(machine.agent.state(&ledger).holds, []);
}

#[test]
fn what_is_told_by_hand_is_dated_by_its_own_word() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![gpu("a", 1)]));
    let now = at(1000);
    let owner = agent.owner.clone();
    assert_eq!(ledger.mark(&owner, now, &Mark::Cut, now), MarkOutcome::UnknownOwner);
    assert_eq!(ledger.dirty_count(), 0);
    agent.send(&mut ledger, &[power(T0, 0, 1)]);
    let ahead = ledger.mark(&owner, at(1601), &Mark::Start(job("1", 1)), now);
    assert_eq!(ahead, MarkOutcome::Refused(Refusal::FromFuture));
    let exact = MarkOutcome::Marked(CutCount { exact: 1, late: 0 });
    assert_eq!(ledger.mark(&owner, at(1600), &Mark::Start(job("1", 1)), now), exact);
    assert_eq!(ledger.mark(&owner, at(1600), &Mark::Start(job("1", 1)), now), exact, "asked again it is the same");
    assert_eq!(ledger.mark(&owner, at(1700), &Mark::Stop("1".into()), at(1700)), exact);
    assert_eq!(ledger.mark(&owner, at(1700), &Mark::Stop("1".into()), at(1700)), MarkOutcome::UnknownJob);
    assert_eq!(ended(&mut ledger), [("1".into(), 1600, 1700)]);
    // Retired, it holds nothing any more.
    ledger.mark(&owner, at(1800), &Mark::Start(job("2", 1)), at(1800));
    assert_eq!((ledger.release(&owner, at(1900)), ledger.release(&owner, at(1900))), (1, 0));
    assert_eq!(ended(&mut ledger), [("2".into(), 1800, 1900)]);
}

#[test]
fn as_many_jobs_run_as_may() {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", recorded(vec![]));
    let starts: Vec<_> = (0..1025).map(|n| start(T0 + n * S, &n.to_string())).collect();
    agent.send(&mut ledger, &starts);
    let state = agent.state(&ledger);
    assert_eq!((state.holds.len(), &state.refused[..]), (1024, &[(Refusal::HoldCap, 1)][..]));
    agent.send(&mut ledger, &[stop(T0 + 2000 * S, "7"), start(T0 + 2001 * S, "new")]);
    assert_eq!(agent.state(&ledger).holds.len(), 1024);
}
