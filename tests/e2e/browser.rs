//! The dashboard in a real browser: it lives, it leads on, it survives a restart, and nothing in a label runs.
//!
//! Pictures are left in `target/tmp/dashboard-*.png`.

mod demo;
mod devtools;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Home, Server, Writer, free_address, now_ms, wait_for};
use devtools::Browser;

const MINUTE: i64 = 60_000;
const RATES: &str = "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.25\"\npue = \"1.2\"\n";
const BUDGETS: &str = "[[budget]]\nname = \"nlp\"\nwhere = \"team=nlp\"\nkwh = \"5\"\n";

/// A day of readings of hosts of two teams: a meter, two GPUs, a processor.
fn fleet(server: &Server, hosts: u64) {
    for number in 0..hosts {
        let team = if number % 2 == 0 { "nlp" } else { "vision" };
        let labels = json!({ "team": team, "site": "par1", "rack": format!("r{}", number / 2) });
        let mut writer = Writer::new(&server.url, number, &format!("node-{number}")).labelled(labels);
        let now = now_ms() / MINUTE * MINUTE;
        let wave = |minute: i64| 80_000 * ((minute / 30 + number.cast_signed()) % 5);
        let points = |milliwatts: i64, times: i64| -> Vec<_> {
            let point = |minute: i64| (now - (24 * 60 - minute) * MINUTE, Some(milliwatts + times * wave(minute)));
            (0..=24 * 60).map(point).collect()
        };
        writer.power("chassis", "wall", &points(900_000, 2), MINUTE);
        writer.power("gpu", "g0", &points(300_000, 1), MINUTE);
        writer.power("gpu", "g1", &points(250_000, 1), MINUTE);
        writer.power("cpu", "package-0", &points(100_000, 0), MINUTE);
    }
}

/// A reading of now.
fn reading(server: &Server, stream: u64, host: &str, labels: Value, milliwatts: i64) {
    let mut writer = Writer::new(&server.url, stream, host).labelled(labels);
    writer.power("chassis", "wall", &[(now_ms() - 1000, Some(milliwatts - 1)), (now_ms(), Some(milliwatts))], MINUTE);
}

fn served(home: &Home, listen: &str) -> Server {
    served_with(home, listen, "")
}

/// With an inventory.
fn served_with(home: &Home, listen: &str, inventory: &str) -> Server {
    let rates = home.write("rates.toml", RATES);
    let budgets = home.write("budgets.toml", BUDGETS);
    let known = if inventory.is_empty() { PathBuf::new() } else { home.write("inventory.csv", inventory) };
    let settings = format!("[files]\ninventory = {known:?}\nrates = {rates:?}\n[budgets]\nfile = {budgets:?}\n");
    let file = home.write("aggregator.toml", settings);
    home.start_with(listen, &["--config", file.to_str().expect("a plain path")])
}

const POWER: &str = "document.getElementById('power-number').textContent";

#[test]
fn an_operator_looks_around() {
    let Some(mut browser) = Browser::start("the dashboard in a browser") else { return };
    let home = Home::new();
    let server = served(&home, "127.0.0.1:0");
    fleet(&server, 4);
    browser.go(&server.url);
    browser.until("the stream", "document.getElementById('live').dataset.state === 'live'");

    // Live: another host begins, and the number follows without a new page.
    browser.eval("window.isSame = true");
    let before = browser.text(POWER);
    reading(&server, 90, "big", json!({ "team": "nlp" }), 900_000_000);
    browser.until("the number of now", &format!("{POWER} !== {before:?} && document.title.startsWith('90')"));
    assert_eq!(browser.eval("window.isSame"), true);

    // Range, grouping, drill-down, and back.
    browser.follow("7 days");
    assert!(browser.text("location.search").contains("range=7d"));
    browser.follow("site");
    browser.follow("par1");
    assert!(
        browser.text("location.search").contains("by=rack&where=site%3Dpar1"),
        "{}",
        browser.text("location.search")
    );
    browser.follow("r0");
    let hosts = browser.text("document.querySelector('[data-part=groups]').innerText");
    assert!(hosts.contains("node-0") && hosts.contains("node-1") && !hosts.contains("node-2"), "{hosts}");
    browser.follow("node-0");
    let page = browser.text("document.body.innerText");
    for words in ["unattributed", "package-0", "Power by component", "Lifetime", "EUR"] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    browser.picture("host-desk");
    browser.eval("history.back()");
    browser.until("the view before", "location.search.includes('rack')");

    // A filter by hand; what is wrong with one is said.
    browser.go(&server.url);
    let fill =
        |text: &str| format!("document.getElementById('where').value = {text:?}; document.forms[0].requestSubmit()");
    browser.eval(&fill("team=vision"));
    browser.until("the filter", "location.search.includes('vision') && document.readyState === 'complete'");
    let table = browser.text("document.querySelector('[data-part=groups]').innerText");
    assert!(table.contains("vision") && !table.contains("nlp"), "{table}");
    browser.eval(&fill("colour=red"));
    browser.until("what is wrong", "document.body.innerText.includes('there is no key')");

    // The view as a file.
    let folder = browser.downloads();
    browser.go(&format!("{}/?range=24h&by=team&where=team%3Dnlp", server.url));
    browser.eval("[...document.querySelectorAll('a')].find((a) => a.textContent === 'CSV').click()");
    let csv = wait_for("the download", Duration::from_secs(30), || {
        std::fs::read_to_string(folder.join("wattledger-report.csv")).ok().filter(|text| text.contains("nlp"))
    });
    assert!(csv.contains("EUR") && !csv.contains("vision"), "{csv}");
    let complaints = std::mem::take(&mut browser.complaints);
    let expected = |text: &String| text.contains("400");
    assert!(complaints.iter().all(expected), "{complaints:?}");
}

#[test]
fn it_says_that_it_is_stale_and_lives_again_when_the_aggregator_does() {
    let Some(mut browser) = Browser::start("the dashboard over a restart") else { return };
    let (home, listen) = (Home::new(), free_address());
    let server = served(&home, &listen);
    // An empty ledger says what to do, and shows the first readings by itself.
    browser.go(&server.url);
    let told = browser.text("document.body.innerText");
    assert!(told.contains("No readings yet") && told.contains("wattledger-agent run --server"), "{told}");
    browser.picture("empty");
    reading(&server, 1, "node-0", json!({}), 500_000);
    browser.until("the first readings", "document.getElementById('power-number')?.textContent === '500'");
    browser.until("the stream", "document.getElementById('live').dataset.state === 'live'");
    server.kill();
    browser.until("what is stale", "document.getElementById('live').dataset.state === 'stale'");
    browser.picture("stale");
    let server = served(&home, &listen);
    browser.until("the stream again", "document.getElementById('live').dataset.state === 'live'");
    reading(&server, 2, "node-1", json!({}), 700_000);
    browser.until("what came after", &format!("{POWER} === '1.20'"));
}

#[test]
fn nothing_in_a_label_runs() {
    let Some(mut browser) = Browser::start("hostile labels in a browser") else { return };
    let home = Home::new();
    let server = served(&home, "127.0.0.1:0");
    let hostile = [
        "<script>window.hacked=1</script>",
        "<img src=x onerror=window.hacked=1>",
        "\"><svg onload=window.hacked=1>",
        "' onmouseover='window.hacked=1",
        "javascript:window.hacked=1",
    ];
    for (number, value) in hostile.into_iter().enumerate() {
        let labels = json!({ "team": value, "site": value, "rack": value, "owner": value, "simulated": value });
        reading(&server, number as u64, &format!("node-{number}"), labels, 500_000);
    }
    for path in [
        "/",
        "/?by=site",
        "/?by=rack",
        "/?by=owner",
        "/?by=simulated",
        "/?by=host",
        "/hosts/node-1",
        "/?by=%3Cscript%3E",
    ] {
        browser.go(&format!("{}{path}", server.url));
        let run = browser
            .eval("window.hacked === undefined && document.querySelectorAll('img, script:not([src])').length === 0");
        assert_eq!(run, true, "{path}");
    }
    browser.go(&format!("{}/?by=owner", server.url));
    let text = browser.text("document.querySelector('[data-part=groups]').innerText");
    assert!(hostile.iter().all(|value| text.contains(value)), "each is there as text: {text}");
    // Also what comes in later, by the script.
    browser.eval("document.querySelectorAll('a').forEach((a) => a.dispatchEvent(new MouseEvent('mouseover')))");
    assert_eq!(browser.eval("window.hacked === undefined"), true);
}

#[test]
fn it_fits_a_phone_in_the_light_and_in_the_dark_and_goes_by_keyboard() {
    let Some(mut browser) = Browser::start("the dashboard on a phone") else { return };
    let home = Home::new();
    let server = served_with(&home, "127.0.0.1:0", "host,chassis\nnode-[0-3],enc-1\n");
    fleet(&server, 6);
    let long = "a-very-long-name-that-somebody-gave-to-a-machine-of-his-which-is-in-no-way-short.example.org";
    reading(
        &server,
        80,
        long,
        json!({ "team": "a-team-with-a-name-that-is-too-long-for-a-phone", "site": "par1" }),
        800_000,
    );
    let ground = "getComputedStyle(document.body).backgroundColor";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (name, width) in [("phone", 390), ("desk", 1280)] {
            browser.size(width, 900);
            for (page, path) in [
                ("fleet", "/"),
                ("hosts", "/?by=host&range=7d"),
                ("chassis", "/chassis/enc-1"),
                ("host", "/hosts/node-0"),
                ("wrong", "/?by=no"),
            ] {
                browser.go(&format!("{}{path}", server.url));
                let wide = browser.eval("document.documentElement.scrollWidth");
                assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{path} is {wide} wide on {width}");
                browser.picture(&format!("{page}-{name}-{scheme}"));
            }
        }
        grounds.push(browser.text(ground));
    }
    assert_ne!(grounds[0], grounds[1], "the dark is dark");
    // The first stop of the keyboard leads past what comes before; what has the focus shows it.
    browser.go(&server.url);
    browser.press("Tab");
    assert_eq!(browser.text("document.activeElement.className"), "skip");
    assert_eq!(browser.eval("document.activeElement.getBoundingClientRect().top >= 0"), true);
    browser.press("Tab");
    browser.press("Tab");
    let outline = browser.text("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "{}", browser.text("document.activeElement.outerHTML"));
    // Every table has a caption and heads; every figure a name.
    let unnamed = "document.querySelectorAll('table:not(:has(caption)), th:not([scope]), svg[role=img]:not([aria-label])').length";
    assert_eq!(browser.eval(unnamed), 0);
}
