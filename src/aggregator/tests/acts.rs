//! Administration over real HTTP: rebinding and retiring hosts, backups, and who may ask for it.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

#[expect(dead_code, reason = "what only the other tests use")]
mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use common::{Client, Response, Server, TestStore, body, settings, until};
use meter::{
    AccountKey, Allocation, Clock, Context, DeviceDecl, Id, Mark, Milliwatts, Owner, Position, Record, Sample, Scope,
};
use serde_json::Value;
use store::Store;
use wire::{AppendAnswer, Hello, Post};

fn host(name: &str) -> Owner {
    Owner::host(name).expect("a good name")
}

fn act(server: &Server, path: &str, body: &str) -> Response {
    let head = format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1:1\r\ncontent-type: application/json\r\n");
    server.connect().send(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

fn shown(server: &Server, name: &str) -> Value {
    let answer = server.get(&format!("/api/v1/hosts/{name}"));
    assert_eq!(answer.status, 200);
    answer.json()["host"].clone()
}

fn acts(server: &Server) -> Vec<Value> {
    let answer = server.connect().send(b"GET /api/v1/acts HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["acts"].as_array().expect("a list").clone()
}

/// A machine that reports itself as host `n`.
struct Machine {
    id: Id,
    stream: Id,
    position: Position,
}

impl Machine {
    fn new(number: u8) -> Self {
        Self { id: [number; 16], stream: [number; 16], position: Position::default() }
    }

    /// Sends a reading of its own device; with a hello, or without if the stream is known.
    fn send(&mut self, server: &Server, hello: bool) -> AppendAnswer {
        let key = AccountKey::new(Scope::Gpu, &format!("GPU-{}", self.id[0])).expect("a good device");
        let device = DeviceDecl { key, period_ns: 1_000_000_000, limit: Milliwatts(0), modulus: None, epoch: 0 };
        let context = Context { clock: Clock::Utc, wall_offset_ns: 0, devices: vec![device] };
        let at = u64::try_from(aggregator::app::wall_clock().0).expect("after 1970");
        let samples = vec![Sample { device: 0, power: Some(Milliwatts(1000)), ..Sample::default() }];
        let records = vec![Record { context: wire::context_id(&context), at, samples, ..Record::default() }];
        let fingerprint = Some(self.id);
        let hello = hello.then(|| Hello { fingerprint, contexts: vec![context], ..Hello::default() });
        let (owner, base) = (host("n"), self.position);
        let append = wire::Append { stream: self.stream, owner, hello, base, import: false, records, live: vec![] };
        let end = append.end();
        let bytes = wire::encode_post(&Post { sent: None, appends: vec![append] }).expect("bytes");
        let response = server.connect().post(wire::CONTENT_TYPE, &bytes);
        let answer = wire::decode_answer(&response.body).expect("an answer").answers.remove(0);
        if matches!(answer, AppendAnswer::Durable { .. }) {
            self.position = end;
        }
        answer
    }

    fn is_taken(&mut self, server: &Server, hello: bool) -> bool {
        matches!(self.send(server, hello), AppendAnswer::Durable { .. })
    }
}

#[test]
fn a_name_goes_to_the_machine_that_was_refused_and_the_one_before_is_refused() {
    let store = TestStore::new();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    let (mut old, mut new) = (Machine::new(1), Machine::new(2));
    assert!(old.is_taken(&server, true) && old.is_taken(&server, false));
    assert_eq!(server.post(&body(1, "n", "100")).status, 200, "a script reports for the host, too");
    assert_eq!(shown(&server, "n").get("refused_machine"), None);
    let AppendAnswer::Rejected { code, detail } = new.send(&server, true) else { panic!("two machines, one name") };
    assert_eq!(code, "host-bound-elsewhere");
    assert!(detail.contains("wattledger host rebind n"), "it names what to do: {detail}");
    let refused = shown(&server, "n");
    assert_eq!(refused["machine"], "01".repeat(16));
    assert_eq!(refused["refused_machine"]["machine"], "02".repeat(16));
    assert_eq!(refused["flags"], serde_json::json!(["machine-refused"]));
    let listed = server.get("/api/v1/hosts").json();
    assert_eq!(listed["hosts"][0]["refused_machine"]["machine"], "02".repeat(16));

    let done = act(&server, "/api/v1/hosts/default/n/rebind", r#"{"by":"ada"}"#);
    assert_eq!(done.status, 200, "{done:?}");
    let document = done.json();
    assert_eq!((&document["host"], &document["act"]["by"]), (&"default/n".into(), &"ada".into()));
    assert_eq!((&document["act"]["old"], &document["act"]["new"]), (&"01".repeat(16).into(), &"02".repeat(16).into()));
    assert_eq!(acts(&server), [document["act"].clone()]);
    assert_eq!(shown(&server, "n").get("refused_machine"), None);

    // It is on disk, not only in memory.
    let row = store.load(&[host("n")]).expect("loads").remove(0).expect("a row");
    let state = store::records::decode_row(&row.owner, &row.bytes).expect("a row");
    assert_eq!(state.fingerprint, Some([2; 16]));
    assert!(new.is_taken(&server, true));
    // The machine before goes on with its stream; it has to say who it is, and is refused.
    assert_eq!(old.send(&server, false), AppendAnswer::Stands(Position::default()));
    old.position = Position::default();
    assert!(matches!(old.send(&server, true), AppendAnswer::Rejected { .. }));
    assert_eq!(server.post(&body(2, "n", "100")).status, 200, "the script's numbers go on");
}

#[test]
fn a_name_is_freed_for_the_next_machine_if_none_was_refused() {
    let server = Server::on(TestStore::new(), settings());
    let (mut old, mut new) = (Machine::new(1), Machine::new(2));
    assert!(old.is_taken(&server, true));
    let done = act(&server, "/api/v1/hosts/n/rebind", "{}").json();
    assert_eq!((&done["act"]["old"], &done["act"]["new"]), (&"01".repeat(16).into(), &Value::Null));
    assert_eq!(act(&server, "/api/v1/hosts/n/rebind", "{}").problem(), (409, "not-bound".into()));
    assert!(new.is_taken(&server, true));
    old.position = Position::default();
    assert!(!old.is_taken(&server, true));
}

#[test]
fn a_job_that_a_stream_told_of_outlives_the_process_and_ends_when_its_host_retires() {
    let store = TestStore::new();
    let mut server = Server::on(Arc::<TestStore>::clone(&store), settings());
    let mut machine = Machine::new(1);
    assert!(machine.is_taken(&server, true));
    let context = Context { clock: Clock::Utc, wall_offset_ns: 0, devices: vec![] };
    let at = u64::try_from(aggregator::app::wall_clock().0).expect("after 1970");
    let told =
        |at, mark| Record { context: wire::context_id(&context), at, mark: Some(Box::new(mark)), ..Record::default() };
    let job = |id: &str| Mark::Start(Arc::new(Allocation { id: id.into(), ..Allocation::default() }));
    let records = vec![told(at, job("1")), told(at + 1, job("2")), told(at + 1_000_000, Mark::Stop("1".into()))];
    let hello = Some(Hello { fingerprint: Some([1; 16]), contexts: vec![context.clone()], ..Hello::default() });
    let (stream, base, owner) = (machine.stream, machine.position, host("n"));
    let append = wire::Append { stream, owner, hello, base, import: false, records, live: vec![] };
    let bytes = wire::encode_post(&Post { sent: None, appends: vec![append] }).expect("bytes");
    let answer = wire::decode_answer(&server.connect().post(wire::CONTENT_TYPE, &bytes).body).expect("an answer");
    assert!(matches!(answer.answers[..], [AppendAnswer::Durable { .. }]), "{answer:?}");

    let ended = || {
        let (mut found, names) = (Vec::new(), store::records::hold_names(0..i32::MAX));
        let take = &mut |_, bytes: Vec<u8>| found.push(store::records::decode_hold(&bytes).expect("a hold"));
        store.documents(&names.start, &names.end, take).expect("lists");
        found
            .into_iter()
            .map(|(owner, hold)| (owner, hold.allocation.id.to_string(), hold.until.is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ended(), [(host("n"), "1".into(), true)]);
    server.stop();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    let running = |server: &Server| {
        let snapshot = server.snapshot();
        let holds = &snapshot.owner(&host("n")).expect("the host").state.holds;
        holds.iter().map(|hold| hold.allocation.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(running(&server), ["2"]);
    assert_eq!(act(&server, "/api/v1/hosts/n/retire", "{}").status, 200);
    assert_eq!((running(&server).len(), ended().len()), (0, 2));
}

#[test]
fn a_retired_host_is_listed_and_flagged_if_it_reports_and_comes_back_when_told() {
    let store = TestStore::new();
    let mut server = Server::on(Arc::<TestStore>::clone(&store), settings());
    assert_eq!(server.post(&body(1, "n", "100")).status, 200);
    let done = act(&server, "/api/v1/hosts/n/retire", r#"{"by":"ada"}"#);
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(shown(&server, "n")["state"], "retired");
    assert_eq!(server.get("/api/v1/hosts?state=retired").json()["hosts"][0]["host"], "n");
    assert_eq!(shown(&server, "n")["flags"], serde_json::json!([]));
    // It outlives the process.
    server.stop();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    assert_eq!(shown(&server, "n")["state"], "retired");
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(server.post(&body(2, "n", "100")).json()["booked"], 1, "its energy is booked as ever");
    let retired = shown(&server, "n");
    assert_eq!((&retired["state"], &retired["flags"][0]), (&"retired".into(), &"reports-though-retired".into()));
    assert_eq!(act(&server, "/api/v1/hosts/n/unretire", "{}").status, 200);
    assert_eq!(shown(&server, "n")["state"], "live");
    assert_eq!(act(&server, "/api/v1/hosts/n/unretire", "{}").problem(), (409, "not-retired".into()));
    let told: Vec<Value> = acts(&server).iter().map(|act| act["act"].clone()).collect();
    assert_eq!(told, ["unretire", "retire"], "the newest first");
}

#[test]
fn nothing_is_expected_of_a_host_after_it_was_retired() {
    let server = Server::on(TestStore::new(), settings());
    let now = aggregator::app::wall_clock().0 / 1_000_000_000;
    let at = |second: i64| {
        format!(r#"{{"scope":"gpu","device":"g0","at_ms":{},"watts":100,"period_ms":60000}}"#, second * 1000)
    };
    let (first, last) = (now - 7200, now - 7140);
    let body = format!(r#"{{"stream":"s","seq":1,"host":"n","readings":[{},{}]}}"#, at(first), at(last));
    assert_eq!(server.post(&body).status, 200);
    let expected = || {
        let path = format!("/api/v1/rollup?window={},{}&by=host", now - 10_800, now + 900);
        server.get(&path).json()["rows"][0]["quality"]["expected_seconds"].as_f64().expect("a number")
    };
    assert!(expected() >= 7199.0);
    let retired = jiff::Timestamp::from_second(last).expect("an instant");
    assert_eq!(act(&server, "/api/v1/hosts/n/retire", &format!(r#"{{"at":"{retired}"}}"#)).status, 200);
    assert_eq!(expected(), 60.0);
    for bad in ["2999-01-01T00:00:00Z", "yesterday"] {
        let refused = act(&server, "/api/v1/hosts/n/retire", &format!(r#"{{"at":"{bad}"}}"#));
        assert_eq!(refused.problem(), (400, "bad-instant".into()), "{bad}");
    }
}

#[test]
fn only_this_machine_administers_and_only_what_there_is() {
    let server = Server::on(TestStore::new(), settings());
    assert_eq!(server.post(&body(1, "n", "100")).status, 200);
    for (headers, code) in [
        ("host: 127.0.0.1:9810\r\nx-forwarded-for: 10.0.0.7\r\n", "not-from-here"),
        ("host: localhost\r\nforwarded: for=10.0.0.7\r\n", "not-from-here"),
        ("host: [::1]:9810\r\nvia: 1.1 proxy\r\n", "not-from-here"),
        ("host: evil.example:9810\r\n", "not-from-here"),
    ] {
        for path in ["/api/v1/acts", "/api/v1/backup"] {
            let refused = server.connect().send(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes());
            assert_eq!(refused.problem(), (403, code.into()), "{headers} {path}");
        }
        let head = format!("POST /api/v1/hosts/n/retire HTTP/1.1\r\n{headers}content-type: application/json\r\n");
        let refused = server.connect().send(format!("{head}content-length: 2\r\n\r\n{{}}").as_bytes());
        assert_eq!(refused.problem(), (403, code.into()), "{headers}");
    }
    // What a foreign page's form could send.
    let form = b"POST /api/v1/hosts/n/retire HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(server.connect().send(form).problem(), (415, "unsupported-media-type".into()));
    for deed in ["rebind", "retire", "unretire"] {
        let path = format!("/api/v1/hosts/nobody/{deed}");
        assert_eq!(act(&server, &path, "{}").problem(), (404, "no-such-owner".into()));
        let path = format!("/api/v1/hosts/n/{deed}");
        for bad in ["", "[", r#"{"who":"x"}"#, r#"{"by":"\u0007"}"#] {
            assert_eq!(act(&server, &path, bad).problem(), (400, "malformed-act".into()), "{deed} {bad}");
        }
        assert_eq!(server.get(&path).problem(), (404, "no-such-owner".into()), "a host could have this name");
    }
    assert_eq!(shown(&server, "n")["state"], "live");
    assert_eq!(acts(&server), [Value::Null; 0]);
}

#[test]
fn an_act_that_cannot_be_recorded_is_not_done() {
    let store = TestStore::new();
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    assert!(Machine::new(1).is_taken(&server, true));
    store.fail(true);
    for deed in ["rebind", "retire"] {
        let refused = act(&server, &format!("/api/v1/hosts/n/{deed}"), "{}");
        assert_eq!(refused.problem(), (503, "store-failed".into()), "{deed}");
    }
    store.fail(false);
    assert_eq!(shown(&server, "n")["machine"], "01".repeat(16));
    assert_eq!(shown(&server, "n")["state"], "live");
    assert_eq!(acts(&server), [Value::Null; 0]);
}

/// The body of a chunked answer.
fn unchunked(answer: &[u8]) -> Vec<u8> {
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let (mut rest, mut body) = (&answer[at..], Vec::new());
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk's head");
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..line]).expect("a length"), 16).expect("a length");
        if len == 0 {
            return body;
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + len]);
        rest = &rest[line + 2 + len + 2..];
    }
}

/// A backup that has begun, as far as it was read: its image is of a moment that is over. Asks again for as long as
/// another one's end was not noticed yet.
fn begun_backup(server: &Server, ask: &[u8]) -> (Client, Vec<u8>) {
    let (mut begun, mut answer) = (None, vec![0; 64 << 10]);
    until(|| {
        let mut reader = server.connect();
        reader.stream.write_all(ask).expect("sent");
        reader.stream.read_exact(&mut answer[..12]).expect("reads");
        let is_begun = answer.starts_with(b"HTTP/1.1 200");
        begun = is_begun.then_some(reader);
        is_begun
    });
    let mut reader = begun.expect("a backup");
    reader.stream.read_exact(&mut answer[12..]).expect("reads");
    (reader, answer)
}

#[test]
fn a_backup_is_read_while_commits_go_on_and_one_at_a_time() {
    let store = TestStore::new();
    // More than pipes and sockets hold, so that a reader that waits stops the writer.
    store.put_document("large", &vec![7; 24 << 20]).expect("puts");
    let server = Server::on(Arc::<TestStore>::clone(&store), settings());
    assert_eq!(server.post(&body(1, "a", "100")).status, 200);
    let ask = b"GET /api/v1/backup HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (mut reader, mut answer) = begun_backup(&server, ask);
    assert_eq!(server.connect().send(ask).problem(), (503, "backup-running".to_owned()));
    // The image is of a moment before this.
    assert_eq!(server.post(&body(1, "b", "100")).status, 200, "commits do not wait for the reader");
    reader.stream.read_to_end(&mut answer).expect("reads");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("backup.image");
    std::fs::write(&file, unchunked(&answer)).expect("writes");
    let report = store::audit_image(&file).expect("a whole image");
    assert_eq!((report.owners, report.findings.len(), report.documents), (1, 0, 1));
    until(|| server.connect().send(b"GET /api/v1/acts HTTP/1.1\r\nhost: localhost\r\n\r\n").status == 200);
    // A reader that goes away leaves the door free.
    drop(reader);
    let (gone, _) = begun_backup(&server, ask);
    assert_eq!(server.connect().send(ask).status, 503);
    drop(gone);
    drop(begun_backup(&server, ask));
}
