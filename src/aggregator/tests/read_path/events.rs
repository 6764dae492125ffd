//! Live power as a stream: what comes, how many may listen, and that it ends.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aggregator::Settings;
use aggregator::events::LISTENERS_MAX;
use meter::{Scope, Slot, Utc};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::served::Server;

fn now() -> Utc {
    Slot(MONDAY.0 + 1).start()
}

fn served() -> Server {
    let mut fleet = Fleet::new();
    let owner = host("node-1");
    fleet.owner(&owner, &[(Scope::Gpu, "a")], MONDAY, MONDAY);
    fleet.open(&owner, MONDAY, &[cell(kj(450), 900)]);
    fleet.settle_all(Slot(MONDAY.0 + 1));
    Server::on(fleet.store, Settings::default(), now)
}

/// A listener; what it reads first is the head.
fn listen(server: &Server) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.addr).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    BufReader::new(stream)
}

/// The next line that begins so.
fn line(reader: &mut BufReader<TcpStream>, start: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).expect("a line") > 0, "the stream ended before {start:?}");
        if line.starts_with(start) {
            return line.trim().to_owned();
        }
    }
}

#[test]
fn listeners_are_told_of_power_until_the_aggregator_ends() {
    let server = served();
    let mut listener = listen(&server);
    assert!(line(&mut listener, "HTTP/1.1").contains("200"));
    assert!(line(&mut listener, "content-type").contains("text/event-stream"));
    line(&mut listener, "retry: 2000");
    for _ in 0..2 {
        line(&mut listener, "event: power");
        let data = line(&mut listener, "data: ");
        let news: serde_json::Value = serde_json::from_str(&data["data: ".len()..]).expect("JSON");
        assert_eq!(news["watts"], 500.0);
        assert_eq!(news["hosts"]["live"], 1);
        assert_eq!((&news["shown"]["number"], &news["shown"]["unit"]), (&"500".into(), &"W".into()));
    }
    let since = Instant::now();
    let ending = std::thread::spawn(move || drop(server));
    let mut rest = String::new();
    while listener.read_line(&mut rest).expect("the end, not a cut") > 0 {}
    ending.join().expect("it stops");
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ends as it should: {rest:?}");
    assert!(since.elapsed() < Duration::from_secs(10), "and soon");
}

#[test]
fn no_more_listen_than_there_are_seats_and_a_seat_is_free_again() {
    let server = served();
    let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| listen(&server)).collect();
    for listener in &mut all {
        assert!(line(listener, "HTTP/1.1").contains("200"));
    }
    assert_eq!(server.problem("/api/v1/events").1, "too-many-listeners");
    assert_eq!(server.problem("/api/v1/events?since=1").1, "unknown-parameter");
    all.clear();
    let since = Instant::now();
    loop {
        let mut listener = listen(&server);
        if line(&mut listener, "HTTP/1.1").contains("200") {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "a seat is never free again");
    }
}
