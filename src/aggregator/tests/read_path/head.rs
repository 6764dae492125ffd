//! `HEAD`: what the `GET` answers, but for its body.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use aggregator::Settings;
use meter::Slot;

use crate::fleet::{Fleet, MONDAY};
use crate::served::Server;

fn server() -> Server {
    Server::on(Arc::clone(&Fleet::new().store) as _, Settings::default(), || Slot(MONDAY.0 + 2).start())
}

/// The lines of an answer's head but for its date, and how many bytes follow it.
fn asked(server: &Server, method: &str, path: &str, headers: &str) -> (BTreeSet<String>, usize) {
    let mut stream = TcpStream::connect(server.addr).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap_or_else(|why| panic!("{method} {path}: {why}"));
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an end of the head");
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let lines = head.lines().filter(|line| !line.starts_with("date: ")).map(str::to_owned).collect();
    (lines, bytes.len() - end - 4)
}

#[test]
fn every_get_has_its_head() {
    let server = server();
    let document = server.json("/api/v1/openapi.json");
    let mut compared = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        // The stream of events has a GET that does not end.
        if item.get("get").is_none() || path == "/api/v1/events" {
            continue;
        }
        let url = path.replace("{id}", "x").replace("{period}", "2026-10").replace("{file}", "page.css");
        for headers in ["", "accept-encoding: gzip\r\n", "if-none-match: *\r\n"] {
            let (of_get, _) = asked(&server, "GET", &url, headers);
            let (of_head, body) = asked(&server, "HEAD", &url, headers);
            assert_eq!((&of_head, body), (&of_get, 0), "{url} {headers}");
            compared += 1;
        }
    }
    assert!(compared > 75, "{compared}");
    for (url, status, header) in [
        ("/", "200 ok", "content-length: "),
        ("/assets/page.css", "200 ok", "content-length: "),
        ("/api/v1/openapi.json", "200 ok", "etag: "),
        ("/api/v1/hosts", "200 ok", "content-type: application/json"),
        ("/metrics", "200 ok", "transfer-encoding: chunked"),
        ("/api/v1/hosts/x", "404 not found", "content-type: application/problem+json"),
    ] {
        let (head, _) = asked(&server, "HEAD", url, "");
        assert!(head.contains(&format!("http/1.1 {status}")), "{url}: {head:?}");
        assert!(head.iter().any(|line| line.starts_with(header)), "{url}: {head:?}");
    }
}

#[test]
fn the_head_of_a_stream_ends_and_holds_no_seat() {
    let server = server();
    for _ in 0..aggregator::events::LISTENERS_MAX + 1 {
        let (head, body) = asked(&server, "HEAD", "/api/v1/events", "");
        assert!(head.contains("http/1.1 200 ok") && head.contains("content-type: text/event-stream"), "{head:?}");
        assert_eq!(body, 0);
    }
}

#[test]
fn where_there_is_no_get_there_is_no_head() {
    let server = server();
    let (head, body) = asked(&server, "HEAD", "/api/v1/ingest", "");
    assert!(head.contains("http/1.1 405 method not allowed") && head.contains("allow: post"), "{head:?}");
    assert_eq!(body, 0);
}
