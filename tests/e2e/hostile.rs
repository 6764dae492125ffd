//! Bodies from people who are careless, broken or malicious: a problem document, and nothing changes.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Home, Server, batch, get, post, post_json, power, raw, slot_ago_ms, stream};

const JSON: &str = "application/json";
const BINCODE: &str = "application/vnd.wattledger.v1+bincode";

/// All that a body could have changed.
fn ledger(server: &Server) -> Vec<String> {
    let page = get(&format!("{}/metrics", server.url)).body;
    let kept = [
        "wattledger_energy_joules_total",
        "wattledger_accounts ",
        "wattledger_hosts",
        "wattledger_fenced_joules_total",
    ];
    let mut lines: Vec<String> =
        page.lines().filter(|line| kept.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect();
    lines.sort();
    let devices = get(&format!("{}/api/v1/devices?limit=1000", server.url)).json();
    let ids = devices["devices"].as_array().expect("a list").iter().map(|one| one["id"].to_string());
    lines.extend(ids);
    lines
}

/// A server that has already booked something.
fn seeded(home: &Home) -> Server {
    let server = home.start();
    let start = slot_ago_ms(3);
    let readings = [0, 30].map(|second| power("gpu", "GPU-a", (start + second * 1000, Some(100_000)), 30_000));
    post_json(&server.url, &batch(&stream(1), 1, "node-1", &readings)).json();
    server
}

fn assert_is_refused(what: &str, answer: &Answer) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.body);
    let code = answer.problem();
    assert!(
        !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || "-0123456789".contains(c)),
        "{what}: {code}"
    );
    for inside in ["panicked", "/src/", ".rs:", "RUST_BACKTRACE", "sled"] {
        assert!(!answer.body.contains(inside), "{what} leaks {inside:?}: {}", answer.body);
    }
}

/// Bodies that are no batch, each with the reason why not.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let now = slot_ago_ms(2);
    let good = || batch(&stream(7), 1, "node-7", &[power("gpu", "GPU-b", (now, Some(1000)), 1000)]);
    let with = |pointer: &str, value: Value| {
        let mut body = good();
        *body.pointer_mut(pointer).expect("a member") = value;
        body.to_string().into_bytes()
    };
    let without = |member: &str| {
        let mut body = good();
        body.as_object_mut().expect("an object").remove(member);
        body.to_string().into_bytes()
    };
    let text = good().to_string();
    vec![
        ("nothing", vec![]),
        ("half a document", text.as_bytes()[..text.len() / 2].to_vec()),
        ("two documents", [text.as_bytes(), text.as_bytes()].concat()),
        ("a list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("no UTF-8", b"{\"stream\":\"\xff\xfe\"}".to_vec()),
        ("a deep nest", "[".repeat(100_000).into_bytes()),
        ("a deep nest inside", format!("{{\"stream\":{}", "[".repeat(100_000)).into_bytes()),
        ("zeros", vec![0; 4096]),
        ("no stream", without("stream")),
        ("no number", without("seq")),
        ("no owner", without("host")),
        ("no readings", without("readings")),
        ("a stream without a name", with("/stream", json!(""))),
        ("a stream of 10,000 letters", with("/stream", json!("a".repeat(10_000)))),
        ("a negative number", with("/seq", json!(-1))),
        ("number zero", with("/seq", json!(0))),
        ("a fractional number", with("/seq", json!(1.5))),
        ("a number of 40 digits", with("/seq", serde_json::from_str("1e40").expect("a number"))),
        ("a host that is a path", with("/host", json!("../../etc/passwd"))),
        ("a host with a line break", with("/host", json!("a\nb"))),
        ("a host of markup", with("/host", json!("<script>alert(1)</script>"))),
        ("a host without a name", with("/host", json!(""))),
        ("a host of 10,000 letters", with("/host", json!("a".repeat(10_000)))),
        ("a host that is a number", with("/host", json!(7))),
        ("readings that are none", with("/readings", json!("all of them"))),
        ("a date that is text", with("/readings/0/at_ms", json!("yesterday"))),
        ("a date of 400 digits", format!("{{\"stream\":\"{}\",\"seq\":1,\"host\":\"h\",\"readings\":[{{\"scope\":\"gpu\",\"device\":\"a\",\"at_ms\":{},\"watts\":1}}]}}", stream(8), "9".repeat(400)).into_bytes()),
        ("labels that are a list", { let mut body = good(); body["labels"] = json!(["nlp"]); body.to_string().into_bytes() }),
        ("a label with a line break", { let mut body = good(); body["labels"] = json!({ "team": "a\nb" }); body.to_string().into_bytes() }),
        ("a thousand labels", {
            let mut body = good();
            body["labels"] = (0..1000).map(|n| (format!("l{n}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
            body.to_string().into_bytes()
        }),
        ("more than a mebibyte", format!("{{\"padding\":\"{}\"}}", "x".repeat((1 << 20) + 1)).into_bytes()),
    ]
}

#[test]
fn hostile_bodies_get_a_problem_document_and_change_nothing() {
    let home = Home::new();
    let server = seeded(&home);
    let before = ledger(&server);
    let ingest = format!("{}/api/v1/ingest", server.url);
    for (what, body) in bodies() {
        let answer = post(&ingest, JSON, body.clone());
        assert_is_refused(what, &answer);
        assert_eq!(ledger(&server), before, "{what} changed the ledger");
        assert_is_refused(what, &post(&ingest, BINCODE, body));
    }
    assert_eq!(ledger(&server), before, "as bincode they change nothing either");
    assert_is_refused("a type nobody speaks", &post(&ingest, "text/html", b"<html>".to_vec()));
}

#[test]
fn no_bytes_at_all_are_a_native_batch_by_chance() {
    let home = Home::new();
    let server = seeded(&home);
    let before = ledger(&server);
    let ingest = format!("{}/api/v1/ingest", server.url);
    // xorshift: the same bytes each time.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    for size in [1, 2, 7, 8, 16, 64, 255, 1000, 65_536] {
        for _ in 0..8 {
            let body: Vec<u8> = (0..size).map(|_| byte()).collect();
            assert_is_refused(&format!("{size} random bytes"), &post(&ingest, BINCODE, body));
        }
    }
    // Lengths that promise more than there is, as a variable-length integer writes them.
    for lead in [251_u8, 252, 253, 254, 255] {
        let body = [&[lead][..], &[0xff; 32]].concat();
        assert_is_refused(&format!("a length that begins with {lead}"), &post(&ingest, BINCODE, body));
    }
    assert_eq!(ledger(&server), before);
}

#[test]
fn torn_and_lying_requests_change_nothing() {
    let home = Home::new();
    let server = seeded(&home);
    let before = ledger(&server);
    let address = server.address();
    let body = batch(&stream(9), 1, "node-9", &[power("gpu", "GPU-b", (slot_ago_ms(2), Some(1000)), 1000)]).to_string();
    let head = |length: &str| {
        format!(
            "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )
    };
    for (what, request) in [
        ("a body that ends early", head("100000") + &body),
        ("a length that is no number", head("many") + &body),
        ("a negative length", head("-1") + &body),
        ("a length of 2^64", head("18446744073709551616") + &body),
        (
            "a broken chunk",
            format!(
                "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"
            ),
        ),
        ("no HTTP at all", "\u{16}\u{3}\u{1}garbage\r\n\r\n".to_owned()),
    ] {
        let answer = raw(address, request.as_bytes());
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status.is_empty() || status.starts_with('4'), "{what}: {answer}");
        assert_eq!(ledger(&server), before, "{what} changed the ledger");
    }
}

#[test]
fn slow_writers_do_not_keep_others_waiting() {
    let home = Home::new();
    let config = home.write("wattledger.toml", "[limits]\nbody_deadline_s = 2\n");
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    let slow: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).expect("a listening aggregator");
            let head = format!(
                "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 1000\r\n\r\n{{"
            );
            stream.write_all(head.as_bytes()).expect("a socket");
            stream
        })
        .collect();
    let start = slot_ago_ms(3);
    let readings = [power("gpu", "GPU-a", (start, Some(100_000)), 30_000)];
    post_json(&server.url, &batch(&stream(1), 1, "node-1", &readings)).json();
    // Each slow one is told that its time is over, or finds the door closed.
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let mut answer = [0; 12];
        let told = std::io::Read::read(&mut stream, &mut answer).expect("an answer or an end, not silence");
        let answer = String::from_utf8_lossy(&answer[..told]).into_owned();
        assert!(told == 0 || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[test]
fn wrong_paths_methods_and_parameters_are_explained() {
    let home = Home::new();
    let server = seeded(&home);
    for (path, status) in [
        ("/api/v1/nothing", 404),
        ("/api/v1/hosts/no-such-host", 404),
        ("/api/v1/ingest", 405),
        ("/api/v1/rollup?window=never", 400),
        ("/api/v1/rollup?window=24h&by=planet", 400),
        ("/api/v1/rollup?window=24h&where=planet%3Dearth", 400),
        ("/api/v1/rollup?window=24h&step=7m", 400),
        ("/api/v1/rollup?window=24h&nonsense=1", 400),
        ("/api/v1/report?window=24h&by=team&format=papyrus", 400),
    ] {
        let answer = get(&format!("{}{path}", server.url));
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_is_refused(path, &answer);
    }
    let unknown = get(&format!("{}/api/v1/rollup?window=24h&by=planet", server.url)).body;
    assert!(unknown.contains("planet") && unknown.contains("host"), "the known keys are listed: {unknown}");
}
