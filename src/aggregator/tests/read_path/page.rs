//! The page: what it shows, and that nothing in a label becomes a part of it.

use std::sync::Arc;

use aggregator::Settings;
use meter::{Scope, Slot, Utc};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::served::{Server, fetch};

const S: i32 = MONDAY.0;

fn now() -> Utc {
    Slot(S + 2).start()
}

fn served(labels: &[(&str, &str)], hosts: usize) -> Server {
    let mut fleet = Fleet::new();
    for n in 0..hosts {
        let owner = host(&format!("node-{n:03}"));
        fleet.owner(&owner, &[(Scope::Gpu, "a")], MONDAY, Slot(S + 1));
        fleet.label(&owner, MONDAY.start(), labels);
        fleet.open(&owner, MONDAY, &[cell(kj(3600), 900)]);
    }
    fleet.settle_all(Slot(S + 2));
    Server::on(fleet.store, Settings::default(), now)
}

#[test]
fn nothing_in_a_label_becomes_markup() {
    let values =
        ["<script>alert(1)</script>", "\"><img src=x onerror=alert(2)>", "'-alert(3)-'", "</style><b>", "{{7*7}}"];
    for value in values {
        let server = served(&[("team", value), ("note", value)], 1);
        let (status, head, html) = server.get("/");
        assert_eq!(status, 200);
        for bad in ["<script", "<img", "<b>", "onerror=alert(2)>"] {
            assert!(!html.contains(bad), "{value:?} left {bad:?} on the page");
        }
        let style = html.matches("</style>").count();
        assert_eq!(style, 1, "{value:?}");
        // It is there, as text.
        let text = value
            .replace('&', "&#38;")
            .replace('<', "&#60;")
            .replace('>', "&#62;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;");
        assert!(html.contains(&format!("note={text}")), "{value:?}");
        let policy = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("content-security-policy"))
            .expect("a policy");
        assert!(policy.contains("default-src 'self'") && policy.contains("script-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-inline"), "{policy}");
    }
}

#[test]
fn the_address_people_come_by_is_escaped_too() {
    let server = Server::on(Arc::clone(&Fleet::new().store) as _, Settings::default(), now);
    let (_, _, html) =
        fetch(server.addr, "/", "x-forwarded-host: \"><script>alert(1)</script>\r\nx-forwarded-proto: <b>\r\n");
    assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    assert!(html.contains("wattledger-agent run --server") && html.contains("No readings yet"));
}

#[test]
fn the_page_asks_nothing_of_others_and_runs_nothing() {
    let html = served(&[("team", "nlp")], 3).get("/").2;
    for bad in ["http://", "https://", "src=", "@import", "url(", "onclick", "javascript:", " style=\""] {
        let found = html.replace("http://www.w3.org/2000/svg", "").contains(bad);
        assert!(!found, "{bad:?} is on the page");
    }
    let nonces: Vec<String> = [&served(&[], 1), &served(&[], 1)].map(|server| nonce(&server.get("/"))).into();
    assert!(nonces[0].len() == 32 && nonces[0] != nonces[1], "a nonce is used once: {nonces:?}");
}

/// The nonce, which must be the same in head and page.
fn nonce((_, head, html): &(u16, String, String)) -> String {
    let nonce = html.split_once("<style nonce=\"").and_then(|(_, rest)| rest.split_once('"')).expect("a nonce").0;
    assert!(head.contains(&format!("'nonce-{nonce}'")), "{head}");
    nonce.to_owned()
}

#[test]
fn figures_are_the_ledgers_and_missing_ones_say_so() {
    let html = served(&[("team", "nlp"), ("simulated", "true")], 2).get("/").2;
    // 2 × 3600 kJ are 2 kWh; both GPUs show 500 W at their last reading.
    for words in [
        "1.00<small> kW</small>",
        "2.00<small> kWh</small>",
        "unpriced",
        "This month by team",
        "Simulated or replayed data: 2 of 2 hosts",
    ] {
        assert!(html.contains(words), "{words:?} is not on the page");
    }
}

#[test]
fn at_most_200_hosts_are_listed_and_the_rest_is_counted() {
    let html = served(&[], 203).get("/").2;
    assert_eq!(html.matches("<span class=\"state ").count(), 200);
    assert!(html.contains("and 3 more"));
}
