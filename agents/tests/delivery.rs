//! Spool, outbox and link against an aggregator that misbehaves on purpose: over loopback HTTP, with
//! every record counted on the other side.
#![expect(clippy::expect_used, reason = "a test stops where it cannot go on")]

#[expect(dead_code, reason = "the tests of targets and jobs look at owners and marks")]
mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agents::config::Settings;
use agents::link::{Link, LinkError};
use agents::outbox::{Lane, Outbox};
use agents::replay::{self, SendError, SendSettings};
use agents::sources::replay::RecordedOwner;
use agents::spool::Spool;
use fake::{Fake, Fault};
use meter::{AccountKey, Clock, Context, DeviceDecl, Labels, Milliwatts, Owner, Record, Refusal, Sample, Scope};

fn context() -> Arc<Context> {
    let key = AccountKey::new(Scope::Gpu, "GPU-1").expect("a good name");
    let device = DeviceDecl { key, period_ns: 1, limit: Milliwatts(0), modulus: None, epoch: 0 };
    Arc::new(Context { clock: Clock::Utc, wall_offset_ns: 0, devices: vec![device] })
}

fn record(at: u64) -> Record {
    let sample = Sample { power: Some(Milliwatts(at)), ..Sample::default() };
    Record { context: wire::context_id(&context()), at, samples: vec![sample], ..Record::default() }
}

fn owner(name: &str) -> Owner {
    Owner::host(name).expect("a good name")
}

fn lane() -> Lane {
    let spool = Spool::in_memory(1 << 20).expect("a spool");
    Lane::live(owner("n1"), Some([1; 16]), Labels::from([("team".into(), "nlp".into())]), spool)
}

/// Takes, posts and settles until nothing is left to say or an error comes back.
async fn drain(outbox: &mut Outbox, link: &mut Link) -> Result<(), LinkError> {
    while let Some(outgoing) = outbox.next_post(agents::clock::boot_ns(), None).expect("encodes") {
        let answer = link.post(&outgoing.body).await?;
        outbox.settle(&answer, agents::clock::boot_ns());
    }
    Ok(())
}

fn link(fake: &Fake) -> Link {
    Link::new(&[fake.url()], Duration::from_secs(20)).expect("a link")
}

fn fill(outbox: &mut Outbox, range: std::ops::RangeInclusive<u64>) {
    let lane = outbox.lane(0).expect("a lane");
    range.for_each(|at| lane.append(&context(), &record(at)));
}

#[actix_rt::test]
async fn every_record_arrives_once_and_in_order() {
    let fake = Fake::start(&[]);
    let (mut outbox, mut link) = (Outbox::new(vec![lane()]), link(&fake));
    fill(&mut outbox, 1..=20);
    drain(&mut outbox, &mut link).await.expect("delivers");
    fill(&mut outbox, 21..=30);
    drain(&mut outbox, &mut link).await.expect("delivers");
    assert!(outbox.is_delivered());
    let seen = fake.seen();
    assert_eq!(seen.instants(), [(1..=30).collect::<Vec<u64>>()]);
    assert_eq!((seen.posts, seen.hellos, seen.connections), (2, 1, 1), "introduced once, on one connection");
    assert_eq!(outbox.tally().booked, 30);
}

#[actix_rt::test]
async fn a_lost_reply_does_not_double() {
    let fake = Fake::start(&[Fault::LoseReply]);
    let (mut outbox, mut link) = (Outbox::new(vec![lane()]), link(&fake));
    fill(&mut outbox, 1..=5);
    assert!(matches!(drain(&mut outbox, &mut link).await, Err(LinkError::Unreachable { .. })));
    // More was sampled before the next attempt.
    fill(&mut outbox, 6..=8);
    drain(&mut outbox, &mut link).await.expect("delivers");
    assert_eq!(fake.seen().instants(), [(1..=8).collect::<Vec<u64>>()]);
    assert!(outbox.is_delivered());
}

#[actix_rt::test]
async fn a_busy_aggregator_is_obeyed() {
    let fake = Fake::start(&[Fault::Busy(3)]);
    let (mut outbox, mut link) = (Outbox::new(vec![lane()]), link(&fake));
    fill(&mut outbox, 1..=5);
    let error = drain(&mut outbox, &mut link).await.expect_err("busy");
    let LinkError::Busy { retry_after, .. } = &error else { panic!("{error}") };
    assert_eq!(*retry_after, Some(Duration::from_secs(3)));
    drain(&mut outbox, &mut link).await.expect("delivers");
    assert_eq!(fake.seen().instants(), [[1, 2, 3, 4, 5]]);
}

#[actix_rt::test]
async fn a_ledger_restored_from_a_backup_gets_again_what_it_lost() {
    let fake = Fake::start(&[]);
    let (mut outbox, mut link) = (Outbox::new(vec![lane()]), link(&fake));
    fill(&mut outbox, 1..=10);
    drain(&mut outbox, &mut link).await.expect("delivers");
    fake.truncate(4);
    fill(&mut outbox, 11..=12);
    drain(&mut outbox, &mut link).await.expect("delivers");
    assert!(outbox.is_delivered());
    assert_eq!(fake.seen().instants(), [(1..=12).collect::<Vec<u64>>()]);
}

#[actix_rt::test]
async fn a_ledger_that_lost_everything_heals_from_the_ring() {
    let fake = Fake::start(&[]);
    let (mut outbox, mut link) = (Outbox::new(vec![lane()]), link(&fake));
    fill(&mut outbox, 1..=10);
    drain(&mut outbox, &mut link).await.expect("delivers");
    fake.forget();
    fill(&mut outbox, 11..=12);
    drain(&mut outbox, &mut link).await.expect("delivers");
    assert_eq!(fake.seen().instants(), [(1..=12).collect::<Vec<u64>>()]);
}

#[actix_rt::test]
async fn an_agent_behind_its_ledger_begins_a_new_stream() {
    let fake = Fake::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state/spool");
    let open = || Spool::open(&path, [1; 16], 1 << 20).expect("opens");
    let lane = |spool| Lane::live(owner("n1"), Some([1; 16]), Labels::new(), spool);
    let mut link = link(&fake);
    let mut outbox = Outbox::new(vec![lane(open())]);
    fill(&mut outbox, 1..=4);
    drain(&mut outbox, &mut link).await.expect("delivers");
    drop(outbox);
    let segment = path.join("0000000000000000.segment");
    let early = std::fs::read(&segment).expect("a segment");
    let mut outbox = Outbox::new(vec![lane(open())]);
    fill(&mut outbox, 5..=9);
    drain(&mut outbox, &mut link).await.expect("delivers");
    assert_eq!(fake.seen().instants(), [(1..=9).collect::<Vec<u64>>()], "a restart goes on in the same stream");
    drop(outbox);
    // The disk goes back in time (a restored image) and other readings follow.
    std::fs::write(&segment, early).expect("writes");
    let mut outbox = Outbox::new(vec![lane(open())]);
    fill(&mut outbox, 100..=101);
    drain(&mut outbox, &mut link).await.expect("delivers");
    let mut streams = fake.seen().instants();
    streams.sort();
    assert_eq!(streams, [vec![1, 2, 3, 4, 5, 6, 7, 8, 9], vec![1, 2, 3, 4, 100, 101]]);
}

#[actix_rt::test]
async fn what_was_dropped_before_it_arrived_does_not_stop_the_rest() {
    let fake = Fake::start(&[]);
    let spool = Spool::in_memory(64 << 10).expect("a spool");
    let mut outbox = Outbox::new(vec![Lane::live(owner("n1"), None, Labels::new(), spool)]);
    // Days apart there is nothing to coalesce.
    let days = |at: u64| at * 2 * 86_400_000_000_000;
    fill(&mut outbox, 0..=0);
    (1..=9000).for_each(|at| outbox.lane(0).expect("a lane").append(&context(), &record(days(at))));
    let start = outbox.lanes()[0].spool().start().seq;
    assert!(start > 1 && outbox.lanes()[0].spool().dropped() == start);
    drain(&mut outbox, &mut link(&fake)).await.expect("delivers");
    assert!(outbox.is_delivered());
    assert_eq!(fake.seen().instants(), [(start..=9000).map(days).collect::<Vec<u64>>()]);
}

#[actix_rt::test]
async fn asked_to_introduce_itself_it_does() {
    let fake = Fake::start(&[]);
    let (mut outbox, mut link) = (Outbox::new(vec![lane()]), link(&fake));
    fill(&mut outbox, 1..=3);
    drain(&mut outbox, &mut link).await.expect("delivers");
    fake.forget_contexts();
    fill(&mut outbox, 4..=6);
    drain(&mut outbox, &mut link).await.expect("delivers");
    assert_eq!((fake.seen().instants(), fake.seen().hellos), (vec![(1..=6).collect()], 2));
}

#[actix_rt::test]
async fn the_second_address_is_tried_when_the_first_is_dead() {
    let fake = Fake::start(&[]);
    let servers = ["http://127.0.0.1:9".to_owned(), fake.url()];
    let mut link = Link::new(&servers, Duration::from_secs(2)).expect("a link");
    let mut outbox = Outbox::new(vec![lane()]);
    fill(&mut outbox, 1..=3);
    drain(&mut outbox, &mut link).await.expect("delivers");
    assert_eq!(fake.seen().instants(), [[1, 2, 3]]);
}

fn recorded(name: &str, count: u64) -> RecordedOwner {
    let records = (1..=count).map(record).collect();
    RecordedOwner { owner: owner(name), contexts: vec![Context::clone(&context())], records }
}

#[actix_rt::test]
async fn recordings_share_posts_and_survive_faults() {
    let fake = Fake::start(&[Fault::Busy(0), Fault::LoseReply, Fault::Garbage]);
    fake.refuse_every(10);
    let owners: Vec<RecordedOwner> = (0..50).map(|n| recorded(&format!("n{n}"), 2000)).collect();
    let settings = SendSettings { timeout: Duration::from_secs(30), ..SendSettings::to(&fake.url()) };
    // An answer that cannot be read is told, not guessed at.
    let error = replay::send(owners.clone(), &settings, |_, _| {}).await.expect_err("garbage");
    assert!(matches!(error, SendError::Link(LinkError::Garbled { .. })), "{error}");
    let mut last = (0, 0);
    let summary = replay::send(owners, &settings, |done, total| last = (done, total)).await.expect("delivers");
    assert_eq!((last, summary.records, summary.owners), ((100_000, 100_000), 100_000, 50));
    assert_eq!(summary.tally.refused, BTreeMap::from([(Refusal::Sentinel, 10_000)]));
    let seen = fake.seen();
    let whole = (1..=2000).collect::<Vec<u64>>();
    assert_eq!(
        seen.instants().iter().filter(|instants| **instants == whole).count(),
        50 + seen.complete_before_garbage(2000)
    );
    assert!(seen.posts < 60, "{} posts for 50 streams", seen.posts);
    assert!(seen.imports && seen.largest <= wire::BODY_MAX);
}

#[actix_rt::test]
async fn nobody_there_is_an_error_that_says_what_to_do() {
    let settings = SendSettings::to("http://127.0.0.1:9");
    let error = replay::send(vec![recorded("n1", 5)], &settings, |_, _| {}).await.expect_err("refused").to_string();
    assert!(error.contains("cannot reach http://127.0.0.1:9: Connection refused"), "{error}");
    assert!(error.contains("is `wattledger serve` running there?"), "{error}");
}

#[actix_rt::test]
async fn a_rejected_owner_is_named_and_the_others_arrive() {
    let fake = Fake::start(&[]);
    fake.reject("n2");
    let owners = vec![recorded("n1", 5), recorded("n2", 5), recorded("n3", 5)];
    let error =
        replay::send(owners, &SendSettings::to(&fake.url()), |_, _| {}).await.expect_err("rejected").to_string();
    assert!(error.contains("default/host/n2") && error.contains("owner-cap"), "{error}");
    assert_eq!(fake.seen().instants(), [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]);
}

#[actix_rt::test]
async fn a_pace_spreads_a_recording_over_time() {
    let fake = Fake::start(&[]);
    let mut recording = recorded("n1", 3);
    for (record, second) in recording.records.iter_mut().zip(0..) {
        record.at = second * 10_000_000_000;
    }
    // 20 recorded seconds, ten times faster.
    let settings = SendSettings { speed: Some(10.0), ..SendSettings::to(&fake.url()) };
    let started = Instant::now();
    let summary = replay::send(vec![recording], &settings, |_, _| {}).await.expect("delivers");
    assert!(started.elapsed() >= Duration::from_secs(2) && started.elapsed() < Duration::from_secs(10));
    assert_eq!((summary.records, fake.seen().posts), (3, 3));
}

fn simulated(fake: &Fake, state_dir: &std::path::Path) -> Settings {
    let mut settings = Settings::default();
    settings.agent.host = "n1".into();
    settings.agent.state_dir = state_dir.into();
    settings.uplink.servers = vec![fake.url()];
    settings.uplink.interval_s = 1;
    settings.metrics.listen = String::new();
    settings.sources.nvml.enabled = false;
    settings.sources.rapl.enabled = false;
    settings.sources.hwmon.enabled = false;
    settings.sources.simulated.enabled = true;
    settings.sources.simulated.period_ms = 50;
    settings.jobs.enabled = false;
    settings
}

#[actix_rt::test]
async fn the_whole_agent_samples_delivers_stops_and_resumes() {
    let fake = Fake::start(&[Fault::Busy(0)]);
    let folder = tempfile::tempdir().expect("a folder");
    let settings = simulated(&fake, &folder.path().join("state"));
    let arrived = || fake.seen().instants().concat().len();
    for life in 1..=2_usize {
        let agent = agents::run::start(&settings).expect("starts");
        let since = Instant::now();
        while arrived() <= life * 35 {
            assert!(since.elapsed() < Duration::from_secs(30), "{} records", arrived());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let stopping = Instant::now();
        assert!(agent.stop().await, "everything is delivered");
        assert!(stopping.elapsed() < Duration::from_secs(5));
    }
    let seen = fake.seen();
    let instants = seen.instants();
    assert_eq!(instants.len(), 1, "one stream over both lives");
    assert!(instants[0].is_sorted_by(|a, b| a < b) && instants[0].len() > 60, "{} records", instants[0].len());
    assert_eq!(seen.labels["simulated"], "true");
}

#[actix_rt::test]
async fn the_agent_stops_in_time_when_nobody_answers() {
    let fake = Fake::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = simulated(&fake, &folder.path().join("state"));
    settings.uplink.servers = vec!["http://127.0.0.1:9".into()];
    let agent = agents::run::start(&settings).expect("starts");
    let second = agents::run::start(&settings).expect_err("the folder is in use").to_string();
    assert!(second.contains("in use by another wattledger-agent"), "{second}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let stopping = Instant::now();
    assert!(!agent.stop().await);
    assert!(stopping.elapsed() < Duration::from_secs(10));
    let stopped = agents::clock::boot_ns();
    // What was sampled waits in the spool.
    settings.uplink.servers = vec![fake.url()];
    let agent = agents::run::start(&settings).expect("starts");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(agent.stop().await);
    let early = fake.seen().instants()[0].iter().filter(|at| **at < stopped).count();
    assert!(early > 5, "{early} records of before");
}
