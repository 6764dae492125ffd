//! The page: what it shows, and that nothing in a label becomes a part of it.

use std::sync::Arc;

use aggregator::Settings;
use meter::{Scope, Slot, Utc};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::served::{Server, fetch};

const S: i32 = MONDAY.0;
/// What a browser takes.
const BROWSER: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

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

/// The tags of the page's own, and nothing else that loads or runs.
fn is_harmless(html: &str) {
    let rest = html.replace("http://www.w3.org/2000/svg", "");
    for bad in
        ["http://", "https://", "@import", "url(", "onclick", "onerror=", "javascript:", " style=\"", "<style", "<img"]
    {
        assert!(!rest.contains(bad), "{bad:?} is on the page");
    }
    assert_eq!(html.matches("<script").count(), 1, "one script");
    assert!(html.contains("<script src=\"/assets/live.js?v="), "its own");
}

#[test]
fn nothing_in_a_label_becomes_markup() {
    let values = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(2)>",
        "'-alert(3)-'",
        "</title><b>",
        "{{7*7}}",
        "a,b=c|d&e",
    ];
    for value in values {
        let server = served(&[("team", value), ("site", value), ("rack", value), ("note", value)], 1);
        let text = value
            .replace('&', "&#38;")
            .replace('<', "&#60;")
            .replace('>', "&#62;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;");
        for path in ["/", "/?by=site", "/?by=rack", "/?by=note", "/?by=host", "/hosts/node-000"] {
            let (status, head, html) = server.get(path);
            assert_eq!(status, 200, "{path}");
            for bad in ["<script>", "<img", "<b>", "onerror=alert(2)>", "alert(1)</script>"] {
                assert!(!html.contains(bad), "{value:?} left {bad:?} on {path}");
            }
            // It is there, as text.
            assert!(path == "/?by=host" || html.contains(&text), "{value:?} is not on {path}");
            let policy = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-security-policy"));
            let policy = policy.expect("a policy");
            assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
        }
    }
}

#[test]
fn a_row_leads_to_what_is_in_it_whatever_it_is_called() {
    let server = served(&[("team", "a,b=c|d [x] é")], 2);
    let html = server.get("/").2;
    let href = html.split("href=\"").find(|part| part.contains("by=host") && part.contains("where=")).expect("a link");
    let href = href.split('"').next().expect("its end").replace("&#38;", "&");
    let (status, _, inside) = server.get(&href);
    assert_eq!(status, 200, "{href}");
    assert!(inside.contains("node-000") && inside.contains("node-001"), "{href}");
    // A value that cannot be written in a filter is no link.
    let html = served(&[("team", "a\"b")], 1).get("/").2;
    assert!(html.contains("a&#34;b") && !html.contains("where=team"), "no link that leads nowhere");
}

#[test]
fn the_address_people_come_by_is_escaped_too() {
    let server = Server::on(Arc::clone(&Fleet::new().store) as _, Settings::default(), now);
    let (_, _, html) =
        fetch(server.addr, "/", "x-forwarded-host: \"><script>alert(1)</script>\r\nx-forwarded-proto: <b>\r\n");
    assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
    assert!(html.contains("wattledger-agent run --server") && html.contains("No readings yet"));
}

#[test]
fn the_page_asks_nothing_of_others_and_runs_only_its_own_script() {
    let server = served(&[("team", "nlp")], 3);
    for path in ["/", "/?range=7d&by=host", "/hosts/node-000", "/?range=nonsense"] {
        is_harmless(&fetch(server.addr, path, BROWSER).2);
    }
    let (status, head, script) = server.get("/assets/live.js?v=1");
    assert!(status == 200 && head.contains("text/javascript") && head.contains("immutable"), "{head}");
    assert!(!script.contains("innerHTML") && !script.contains("eval("), "nothing becomes markup unread");
    let (status, head, style) = server.get("/assets/page.css?v=1");
    assert!(status == 200 && head.contains("text/css") && !style.contains("url("), "{head}");
    assert_eq!(server.get("/assets/secret").0, 404);
}

#[test]
fn figures_are_the_ledgers_and_missing_ones_say_so() {
    let html = served(&[("team", "nlp"), ("simulated", "true")], 2).get("/").2;
    // 2 × 3600 kJ are 2 kWh; both GPUs show 500 W at their last reading.
    for words in [
        "<span id=\"power-number\">1.00</span><small id=\"power-unit\"> kW</small>",
        "2.00<small> kWh</small>",
        "unpriced",
        "24 hours by team",
        "Simulated or replayed data: 2 of 2 hosts",
        "2 of 2 live",
    ] {
        assert!(html.contains(words), "{words:?} is not on the page");
    }
}

#[test]
fn hosts_come_in_pages_and_each_once() {
    let server = served(&[], 123);
    let mut seen = Vec::new();
    for page in 1..=3 {
        let (status, _, html) = server.get(&format!("/?by=host&sort=name&page={page}"));
        assert_eq!(status, 200);
        let table = html.split("id=\"who\"").nth(1).and_then(|rest| rest.split("Biggest consumers").next());
        let names = table.expect("a table").split("href=\"/hosts/default/").skip(1);
        seen.extend(names.map(|name| name.split('"').next().expect("a name").to_owned()));
    }
    let all: Vec<String> = (0..123).map(|n| format!("node-{n:03}")).collect();
    assert_eq!(seen, all);
    assert!(server.get("/?by=host&page=3").2.contains("101 to 123 of 123"));
}

#[test]
fn what_cannot_be_shown_says_so_and_why() {
    let server = served(&[("team", "nlp")], 1);
    for (path, word) in [
        ("/?range=3h", "range"),
        ("/?by=colour", "there is no key"),
        ("/?where=colour%3Dred", "there is no key"),
        ("/?where=team", "is not key=value"),
        ("/?nonsense=1", "there is no parameter"),
        ("/?page=0", "page"),
        ("/?by=team,site", "one key at a time"),
        ("/?by=team&state=live", "by=host"),
        ("/hosts/node-000?by=team", "there is no parameter"),
    ] {
        assert_eq!(server.problem(path).0, 400, "to a program");
        let (status, head, html) = fetch(server.addr, path, BROWSER);
        assert_eq!(status, 400, "{path}");
        assert!(head.contains("text/html") && html.contains("This view cannot be shown"), "{path}: {html}");
        assert!(html.contains(word), "{path} does not say {word}");
    }
    let (status, _, html) = fetch(server.addr, "/hosts/nobody", BROWSER);
    assert!(status == 404 && html.contains("there is no host"), "{html}");
}

#[test]
fn money_is_not_shown_where_it_is_not_wanted() {
    let page = |show_cost: bool| {
        let mut fleet = Fleet::new();
        let owner = host("node-000");
        fleet.owner(&owner, &[(Scope::Gpu, "a")], MONDAY, Slot(S + 1));
        fleet.label(&owner, MONDAY.start(), &[("team", "nlp")]);
        fleet.open(&owner, MONDAY, &[cell(kj(3600), 900)]);
        fleet.settle_all(Slot(S + 2));
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("rates.toml");
        std::fs::write(&path, "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.5\"\n").expect("a file");
        let mut settings = Settings::default();
        settings.server.show_cost = show_cost;
        settings.files.rates = path.to_string_lossy().into_owned();
        let server = Server::on(fleet.store, settings, now);
        ["/", "/?by=host", "/hosts/node-000"].map(|path| server.get(path).2).concat()
    };
    let with = page(true);
    assert!(with.contains("0.50\u{a0}EUR") && with.contains(">Cost</th>"), "{with}");
    let without = page(false);
    for word in ["EUR", "Cost", "unpriced"] {
        assert!(!without.contains(word), "{word} is on the page");
    }
    assert!(without.contains("1.00<small> kWh"), "energy is");
}

#[test]
fn a_host_is_shown_component_by_component_with_what_none_explains() {
    let mut fleet = Fleet::new();
    let owner = host("node-000");
    fleet.owner(&owner, &[(Scope::Chassis, "wall"), (Scope::Gpu, "g0"), (Scope::Cpu, "c0")], MONDAY, Slot(S + 1));
    for slot in [MONDAY, Slot(S + 1)] {
        fleet.open(&owner, slot, &[cell(kj(1800), 900), cell(kj(900), 900), cell(kj(540), 900)]);
    }
    fleet.settle_all(Slot(S + 2));
    let html = Server::on(fleet.store, Settings::default(), now).get("/hosts/node-000").2;
    // Of 2 kW the GPU draws 1 kW and the processor 600 W.
    for words in [
        "gpu: 1.00\u{a0}kW",
        "cpu: 600\u{a0}W",
        "unattributed: 400\u{a0}W",
        "1.00<small> kWh</small>",
        "50\u{202f}%",
        "30\u{202f}%",
        "20\u{202f}%",
    ] {
        assert!(html.contains(words), "{words:?} is not on the page: {html}");
    }
}
