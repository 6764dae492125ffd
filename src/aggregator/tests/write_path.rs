//! The write path over real HTTP: answers, commits, failures, limits, shutdown.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod clocks;
mod common;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{DEATHS, Server, TestStore, body, settings, until};
use meter::{AccountKey, Clock, Context, DeviceDecl, Milliwatts, Owner, Position, Record, Sample, Scope};
use store::Store;
use wire::{Answer, AppendAnswer, Hello, Post};

/// A post that nothing tells of has arrived within this, on a busy machine too.
const ARRIVES: Duration = Duration::from_secs(1);

fn host(name: &str) -> Owner {
    Owner::host(name).expect("a good name")
}

#[test]
fn an_answer_waits_until_its_commit_is_on_disk() {
    let store = TestStore::new();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    store.shut();
    let first = server.post_later(&body(1, "a", "100"));
    until(|| store.begun.load(Ordering::SeqCst) == 1);
    // What arrives while a commit is in flight shares the next one, and so does a repetition.
    let later: Vec<_> = ["b", "c", "d"].map(|host| server.post_later(&body(1, host, "100"))).into();
    std::thread::sleep(ARRIVES);
    assert!(!first.is_finished() && later.iter().all(|post| !post.is_finished()), "nothing is on disk yet");
    assert!(server.snapshot().owner(&host("a")).is_none(), "what is not on disk is not shown");
    store.open();
    let answer = first.join().expect("an answer");
    assert_eq!((answer.status, answer.json()["durable_seq"].as_u64()), (200, Some(1)));
    for post in later {
        assert_eq!(post.join().expect("an answer").status, 200);
    }
    assert_eq!(store.commits.load(Ordering::SeqCst), 2, "three posts share a commit");
    assert_eq!(server.snapshot().owners().count(), 4);
}

#[test]
fn a_repetition_gets_the_same_answer_and_books_nothing_also_while_the_first_waits() {
    let store = TestStore::new();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    let post = body(1, "a", "100");
    store.shut();
    let first = server.post_later(&post);
    until(|| store.begun.load(Ordering::SeqCst) == 1);
    let second = server.post_later(&post);
    std::thread::sleep(Duration::from_millis(700));
    assert!(!second.is_finished(), "an answer may not rest on what is not on disk");
    store.open();
    let (first, second) = (first.join().expect("an answer"), second.join().expect("an answer"));
    assert_eq!((first.status, &first.body), (200, &second.body));
    let third = server.post(&post);
    assert_eq!(third.body, first.body);
    let snapshot = server.snapshot();
    assert_eq!(snapshot.owner(&host("a")).expect("the owner").state.readings, 1);
}

#[test]
fn numbers_that_contradict_the_stream_are_conflicts() {
    let server = Server::on(TestStore::new(), settings());
    assert_eq!(server.post(&body(1, "a", "100")).status, 200);
    assert_eq!(server.post(&body(1, "a", "200")).problem(), (409, "body-differs".into()));
    let gap = server.post(&body(3, "a", "100"));
    assert_eq!(gap.problem(), (409, "number-gap".into()));
    assert_eq!(gap.json()["expected"], 2);
}

#[test]
fn a_failing_store_books_nothing_and_says_come_again_until_it_recovers() {
    let store = TestStore::new();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    assert_eq!(server.post(&body(1, "a", "100")).status, 200);
    let before = server.snapshot().owner(&host("a")).expect("the owner").version;
    store.fail(true);
    for host in ["a", "b"] {
        let refused = server.post(&body(2, host, "100"));
        assert_eq!(refused.status, 503);
        assert_eq!(refused.problem().1, "store-failed");
        assert!(!refused.header("retry-after").is_empty());
        assert!(!String::from_utf8_lossy(&refused.body).contains("secret"), "internals leak");
    }
    until(|| server.get("/readyz").status == 503);
    assert_eq!(server.get("/healthz").status, 200);
    let snapshot = server.snapshot();
    assert!(snapshot.owner(&host("b")).is_none());
    assert_eq!(snapshot.owner(&host("a")).expect("the owner").version, before);
    store.fail(false);
    until(|| server.get("/readyz").status == 200);
    // The ledger stands where the disk stands: 2 is the next number of a, 1 that of b.
    assert_eq!(server.post(&body(2, "a", "100")).status, 200);
    assert_eq!(server.post(&body(1, "b", "100")).status, 200);
}

#[test]
fn what_is_applied_while_a_commit_fails_is_refused_too() {
    let store = TestStore::new();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    store.shut();
    let first = server.post_later(&body(1, "a", "100"));
    until(|| store.begun.load(Ordering::SeqCst) == 1);
    let second = server.post_later(&body(1, "b", "100"));
    std::thread::sleep(ARRIVES);
    store.fail(true);
    store.open();
    assert_eq!(first.join().expect("an answer").status, 503);
    assert_eq!(second.join().expect("an answer").status, 503);
    store.fail(false);
    until(|| server.get("/readyz").status == 200);
    assert_eq!(server.snapshot().owners().count(), 0);
    assert_eq!(server.post(&body(1, "b", "100")).status, 200);
}

#[test]
fn beyond_the_bytes_in_flight_posts_are_turned_away_on_a_connection_that_lives() {
    let store = TestStore::new();
    let mut settings = settings();
    settings.limits.in_flight_bytes = 3000;
    let server = Server::on(Arc::<TestStore>::clone(&store), settings);
    store.shut();
    let held = [server.post_later(&body(1, "a", "1")), server.post_later(&body(1, "b", "1"))];
    until(|| store.begun.load(Ordering::SeqCst) == 1);
    std::thread::sleep(ARRIVES);
    let mut client = server.connect();
    for _ in 0..3 {
        let refused = client.post("application/json", body(1, "c", "1").as_bytes());
        assert_eq!(refused.problem(), (503, "overloaded".into()));
        assert!(!refused.header("retry-after").is_empty());
    }
    store.open();
    for post in held {
        assert_eq!(post.join().expect("an answer").status, 200);
    }
    assert_eq!(client.post("application/json", body(1, "c", "1").as_bytes()).status, 200, "room was given back");
}

#[test]
fn bodies_that_are_none_get_a_problem_document_and_change_nothing() {
    let mut settings = settings();
    settings.limits.body_deadline_s = 1;
    let server = Server::on(TestStore::new(), settings);
    let good = body(1, "a", "1");
    let large = vec![b' '; wire::BODY_MAX + 1];
    for (kind, bytes, status, code) in [
        ("text/plain", good.as_bytes(), 415, "unsupported-media-type"),
        ("", good.as_bytes(), 415, "unsupported-media-type"),
        ("application/json", &large, 413, "body-too-large"),
        ("application/json", b"{", 400, "malformed-json"),
        ("application/json", b"", 400, "malformed-json"),
        ("application/json", b"\xff\xfe", 400, "malformed-json"),
        (wire::CONTENT_TYPE, b"", 400, "malformed-post"),
        (wire::CONTENT_TYPE, b"\xff\x00", 400, "wire-version"),
        (wire::CONTENT_TYPE, b"\x01\xff\xff\xff\xff\xff\xff\xff\xff", 400, "malformed-post"),
    ] {
        assert_eq!(server.connect().post(kind, bytes).problem(), (status, code.into()), "{kind}");
    }
    let head = "POST /api/v1/ingest HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let gzip = format!("{head}content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{{}}");
    assert_eq!(server.connect().send(gzip.as_bytes()).problem(), (415, "unsupported-media-type".into()));
    let slow = format!("{head}content-length: 100\r\n\r\n{{");
    let start = Instant::now();
    assert_eq!(server.connect().send(slow.as_bytes()).problem(), (408, "body-too-slow".into()));
    assert!(start.elapsed() < Duration::from_secs(8));
    // More than was stated can be sent in chunks; it ends at the same limit.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16));
    let endless = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(17));
    assert_eq!(server.connect().send(endless.as_bytes()).problem(), (413, "body-too-large".into()));
    assert_eq!(server.snapshot().owners().count(), 0);
}

#[test]
fn errors_of_the_framework_are_problem_documents_too() {
    let server = Server::on(TestStore::new(), settings());
    assert_eq!(server.get("/nowhere").problem(), (404, "no-such-path".into()));
    assert_eq!(server.get("/api/v1/ingest").problem(), (405, "method-not-allowed".into()));
}

const DEVICE: &str = "g0";

/// An append of one record of one device on the clock UTC.
fn append(base: Position, hello: bool) -> Post {
    let key = AccountKey::new(Scope::Gpu, DEVICE).expect("a good device");
    let device = DeviceDecl { key, period_ns: 1_000_000_000, limit: Milliwatts(0), modulus: None, epoch: 0 };
    let context = Context { clock: Clock::Utc, wall_offset_ns: 0, devices: vec![device] };
    let at = u64::try_from(aggregator::app::wall_clock().0).expect("after 1970");
    let sample = Sample { device: 0, power: Some(Milliwatts(1000)), ..Sample::default() };
    let records = vec![Record { context: wire::context_id(&context), at, samples: vec![sample], ..Record::default() }];
    let hello = hello.then(|| Hello { contexts: vec![context], agent: "test/1".into(), ..Hello::default() });
    let append = wire::Append { stream: [3; 16], owner: host("n"), hello, base, import: false, records, live: vec![] };
    Post { sent: None, appends: vec![append] }
}

fn send(server: &Server, post: &Post) -> Answer {
    let bytes = wire::encode_post(post).expect("bytes");
    let response = server.connect().post(wire::CONTENT_TYPE, &bytes);
    assert_eq!((response.status, response.header("content-type")), (200, wire::CONTENT_TYPE));
    wire::decode_answer(&response.body).expect("an answer")
}

#[test]
fn agents_are_told_where_their_stream_stands() {
    let store = TestStore::new();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    let start = Position::default();
    assert_eq!(send(&server, &append(start, false)).answers, [AppendAnswer::SayHello]);
    let post = append(start, true);
    let end = post.appends[0].end();
    let answer = send(&server, &post);
    assert_eq!((answer.ledger, answer.generation), (store.identity().ledger, store.identity().generation));
    assert_eq!(answer.answers, [AppendAnswer::Durable { at: end, booked: 1, fenced: 0, refused: vec![] }]);
    assert_eq!(send(&server, &post).answers, [AppendAnswer::Stands(end)], "the same again is applied no more");
    assert_eq!(server.snapshot().owner(&host("n")).expect("the owner").state.readings, 1);
}

#[test]
fn who_looks_while_the_ledger_is_added_up_for_the_first_time_sees_what_is_known_and_then_the_rest() {
    let store = TestStore::new();
    let server = Server::on(store.clone(), settings());
    store.history_gate.shut();
    assert_eq!(server.post(&body(1, "node-1", "413.0")).status, 200);
    let page = |path: &str| {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        String::from_utf8(answer.body).expect("UTF-8")
    };
    let early = ["/", "/hosts/node-1", "/?range=30d"].map(|path| (path, page(path)));
    store.history_gate.open();
    for (path, html) in early {
        assert!(html.contains("Adding up energy and cost") && html.contains("what one host used"), "{path}: {html}");
        assert!(html.contains("content=\"2\"") && html.contains(">413<"), "it comes again, and power is known: {html}");
        assert!(!html.contains("This month"), "no figure that is not there");
    }
    until(|| page("/").contains("This month"));
    assert!(page("/hosts/node-1").contains("node-1"));
    assert!(!page("/").contains("content=\"2\""));
}

#[test]
fn a_shutdown_with_open_connections_is_quick_and_leaves_everything_on_disk() {
    let store = TestStore::new();
    let mut server = Server::on(Arc::<TestStore>::clone(&store), settings());
    let mut idle = server.connect();
    assert_eq!(idle.post("application/json", body(1, "a", "1").as_bytes()).status, 200);
    let mut half = server.connect();
    half.stream.write_all(b"POST /api/v1/ingest HTTP/1.1\r\nhost: x\r\ncontent-le").expect("sent");
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(store.load(&[host("a")]).expect("loads")[0].is_some());
}

#[test]
fn a_dead_store_actor_does_not_leave_a_live_server() {
    let store = TestStore::new();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    store.panicking.store(true, Ordering::SeqCst);
    let before = DEATHS.load(Ordering::SeqCst);
    let _post = server.post_later(&body(1, "a", "1"));
    until(|| DEATHS.load(Ordering::SeqCst) > before);
    until(|| server.get("/readyz").status == 503);
}

#[test]
fn a_ledger_on_disk_is_found_again_and_belongs_to_one_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut settings = settings();
    settings.server.data_dir = dir.path().join("data").to_string_lossy().into_owned();
    let start = |settings: aggregator::Settings| {
        move || futures_util::FutureExt::now_or_never(aggregator::start(settings)).expect("no waiting")
    };
    let mut server = Server::from(start(settings.clone()));
    let post = body(1, "a", "100");
    let answer = server.post(&post);
    assert_eq!(answer.status, 200);
    let second = std::thread::spawn({
        let settings = settings.clone();
        move || {
            actix_rt::System::new().block_on(aggregator::start(settings)).map(drop).map_err(|error| error.to_string())
        }
    });
    let refused = second.join().expect("no panic").expect_err("the directory is taken");
    assert!(refused.contains("in use"), "{refused}");
    server.stop();
    drop(server);
    let exports = std::fs::read_dir(dir.path().join("data/exports")).expect("exports").count();
    assert!(exports > 0, "an export is written at shutdown");
    let server = Server::from(start(settings));
    assert_eq!(server.snapshot().owner(&host("a")).expect("the owner").state.readings, 1);
    assert_eq!(server.post(&post).body, answer.body, "the same answer also after a restart");
}
