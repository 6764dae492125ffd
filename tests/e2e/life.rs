//! Starting and stopping: one aggregator per data directory, a quick and complete end, plain words.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Home, Writer, get, output, rollup, slot_ago_ms, slots_around, wattledger};

fn book(url: &str, start: i64) -> String {
    let points = [(start, Some(100_000)), (start + 60_000, Some(100_000))];
    Writer::new(url, 1, "node-1").power("chassis", "wall", &points, 60_000);
    slots_around(start, start + 60_000)
}

#[test]
fn two_aggregators_on_one_data_directory_the_second_refuses() {
    let home = Home::new();
    let first = home.start();
    let window = book(&first.url, slot_ago_ms(3));

    let second = output(&home, home.serve("127.0.0.1:0", &[]), Duration::from_secs(20));
    assert!(matches!(second.status.code(), Some(1 | 2)), "{second:?}");
    assert!(!second.out.contains("listening on"), "{second:?}");
    let data = home.data().display().to_string();
    assert!(second.err.contains(&data), "it names the directory: {}", second.err);
    assert!(!second.err.contains("panicked"), "{}", second.err);

    assert_eq!(rollup(&first.url, &window, "").energy_uj, 6_000_000_000, "the first goes on");
    first.kill();
    // Nobody has to clean up after a death.
    let third = home.start();
    assert_eq!(rollup(&third.url, &window, "").energy_uj, 6_000_000_000);
}

#[test]
fn sigterm_with_open_clients_ends_within_five_seconds_with_everything_on_disk() {
    let home = Home::new();
    let server = home.start();
    let window = book(&server.url, slot_ago_ms(3));
    let open = |request: &str| {
        let mut stream = TcpStream::connect(server.address()).expect("a listening aggregator");
        stream.write_all(request.as_bytes()).expect("a socket");
        stream
    };
    // Idle, half a request, half a body, an event stream that nobody closes.
    let clients = [
        open(""),
        open("GET /metrics HTTP/1.1\r\nHost: x\r\n"),
        open(
            "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
        ),
        open("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"),
        open("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    std::thread::sleep(Duration::from_millis(300));
    let (status, took) = server.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    // Its own limits add up to five seconds; what a busy disk adds is not its own.
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    drop(clients);

    let server = home.start();
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 6_000_000_000);
}

#[test]
fn the_data_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let server = home.start();
    book(&server.url, slot_ago_ms(3));
    let mode = std::fs::metadata(home.data()).expect("a data directory").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn it_says_when_it_is_alive_and_ready() {
    let home = Home::new();
    let server = home.start();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&format!("{}{path}", server.url)).status, 200, "{path}");
    }
    let page = get(&format!("{}/", server.url));
    assert_eq!((page.status, page.kind.as_str()), (200, "text/html"));
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.body.contains(outside), "the page asks nobody else: {outside}");
    }
}

#[test]
fn wrong_usage_and_configuration_are_exit_code_2_with_the_key_named() {
    let home = Home::new();
    let bad = home.write("bad.toml", "[server]\nlissten = \"127.0.0.1:0\"\n");
    let done = wattledger(&home, &["serve", "--config", bad.to_str().expect("a plain path")]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(done.err.contains("lissten") && done.err.contains("bad.toml"), "{}", done.err);

    let mut command = home.serve("127.0.0.1:0", &[]);
    command.env("WATTLEDGER__SERVER__LISSTEN", "x");
    let done = output(&home, command, Duration::from_secs(20));
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(done.err.to_uppercase().contains("LISSTEN"), "{}", done.err);

    let done = wattledger(&home, &["serve", "--no-such-flag"]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    let done = output(&home, home.serve("0.0.0.0:0", &[]), Duration::from_secs(20));
    assert_eq!(done.status.code(), Some(2), "others could reach it, and nobody would be asked who they are: {done:?}");
}

#[test]
fn every_command_explains_itself() {
    let home = Home::new();
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["report", "--help"],
        &["demo", "--help"],
        &["backup", "--help"],
        &["restore", "--help"],
        &["verify", "--help"],
        &["host", "--help"],
        &["host", "rebind", "--help"],
        &["host", "retire", "--help"],
        &["host", "acts", "--help"],
    ] {
        let done = wattledger(&home, arguments).ok();
        assert!(done.out.contains("Usage"), "{arguments:?}: {}", done.out);
    }
    for arguments in [&["--help"][..], &["run", "--help"], &["probe", "--help"], &["replay", "--help"]] {
        let done = crate::harness::agent(&home, arguments).ok();
        assert!(done.out.contains("Usage"), "{arguments:?}: {}", done.out);
    }
}
