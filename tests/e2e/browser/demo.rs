//! The dashboard as a newcomer meets it: in front of `wattledger demo`, with what it makes up and plays.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::POWER;
use super::devtools::Browser;
use crate::harness::{Home, rows, wait_for};

/// A debug build sends a week of a small fleet's minutes within this, on a machine that does other things too.
const HISTORY: Duration = Duration::from_secs(240);

/// A running demo; killed when dropped.
struct Demo {
    child: Child,
    url: String,
}

impl Demo {
    /// Starts one, and waits until its week of history is on disk and it goes on live.
    fn start(home: &Home) -> Self {
        let mut command = home.command(env!("CARGO_BIN_EXE_wattledger"));
        command.args(["demo", "--hosts", "8", "--listen", "127.0.0.1:0", "--data-dir"]).arg(home.data());
        let log = std::fs::File::create(home.path("demo.log")).expect("a log");
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the demo");
        let out = BufReader::new(child.stdout.take().expect("a piped output"));
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut demo = Self { child, url: String::new() };
        let since = Instant::now();
        loop {
            let line = lines.recv_timeout(HISTORY.saturating_sub(since.elapsed())).expect("a demo that goes on");
            if let Some(url) = line.strip_prefix("dashboard") {
                demo.url = url.trim().to_owned();
            }
            if line.starts_with("history") {
                return demo;
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Energy in microjoules by the first key, as a CSV report has it.
fn energy_of(csv: &str) -> BTreeMap<String, i128> {
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let at = head.iter().position(|name| *name == "energy_uj").expect("a column of energy");
    let cells = lines.map(|line| line.split(',').collect::<Vec<_>>());
    cells.map(|cells| (cells[2].to_owned(), cells[at].parse().expect("microjoules"))).collect()
}

/// The same by team, as the rollup of a window has it.
fn rolled_up(server: &str, window: &str) -> BTreeMap<String, i128> {
    let rows = rows(server, &format!("window={window}&by=team"));
    rows.into_iter().map(|row| (row.by["team"].clone(), row.energy_uj)).collect()
}

/// What stands out beyond the right edge of the screen.
const TOO_WIDE: &str = "[...document.querySelectorAll('main *, header *, footer *')].filter((e) => e.getClientRects().length \
    && !e.closest('.unseen, .clip, .label, svg, pre') && !e.matches('.skip, .unseen') \
    && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 120)).join('\\n')";

#[test]
fn a_newcomer_looks_around_the_demo() {
    let Some(mut browser) = Browser::start("the demo in a browser") else { return };
    let home = Home::new();
    let demo = Demo::start(&home);
    browser.go(&demo.url);
    browser.until("the stream", "document.getElementById('live').dataset.state === 'live'");
    let told = browser.text("document.body.innerText");
    for words in ["Simulated or replayed data: 9 of", "nlp", "vision", "climate", "benchmark", "EUR", "7 days"] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    // The number follows the fleet, whose readings change every two seconds.
    let before = browser.text(POWER);
    assert_ne!(before, "–");
    browser.until("another number of now", &format!("{POWER} !== {before:?} && {POWER} !== '–'"));

    look_closer(&mut browser, &demo);
    filter(&mut browser, &demo);
    take_a_report_along(&mut browser, &demo);
    every_size_and_light(&mut browser, &demo);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// Another range; from a team to a host of it to a device of that.
fn look_closer(browser: &mut Browser, demo: &Demo) {
    let title = "document.querySelector('[data-part=graph] h2').textContent";
    for (link, word, named) in [("1 hour", "1h", "Power, 1 hour"), ("7 days", "7d", "Power, 7 days")] {
        browser.follow(link);
        assert!(browser.text("location.search").contains(&format!("range={word}")), "{link}");
        assert_eq!(browser.text(title), named);
        assert_eq!(browser.eval("document.querySelectorAll('[data-part=graph] .line').length"), 1, "{link} is drawn");
    }
    browser.go(&demo.url);
    browser.follow("nlp");
    assert!(browser.text("location.search").contains("where=team%3Dnlp"), "{}", browser.text("location.search"));
    let of_team = rows(&demo.url, "window=24h&by=host&where=team%3Dnlp");
    let listed = browser.text("document.querySelector('[data-part=groups]').innerText");
    for row in &of_team {
        assert!(listed.contains(&row.by["host"]), "{:?} is not in {listed}", row.by);
    }
    let host = of_team.first().expect("a host of the team").by["host"].clone();
    browser.follow(&host);
    let devices = "document.querySelectorAll('[data-part=devices] tbody tr').length";
    assert!(browser.eval(devices).as_u64().is_some_and(|count| count >= 9), "eight GPUs, a meter and more");
    let first = "document.querySelector('[data-part=devices] tbody a')";
    let (name, href) = (browser.text(&format!("{first}.textContent")), browser.text(&format!("{first}.href")));
    browser.eval(&format!("{first}.click()"));
    browser.until("the device", &format!("location.href === {href:?} && document.readyState === 'complete'"));
    let page = browser.text("document.body.innerText");
    for words in [&*name, &*host, "Power, 24 hours", "Its readings are", "Coverage", "First reading"] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    assert_eq!(browser.eval("document.querySelectorAll('[data-part=graph] .line').length"), 1, "its power is drawn");
    browser.follow(&format!("host {host}"));
    assert_eq!(browser.text("location.pathname"), format!("/hosts/default/{host}"));
}

fn filter(browser: &mut Browser, demo: &Demo) {
    browser.go(&demo.url);
    browser.eval("document.getElementById('where').value = 'site=sto1'; document.forms[0].requestSubmit()");
    browser.until("the filter", "location.search.includes('sto1') && document.readyState === 'complete'");
    browser.follow("host");
    let table = browser.text("document.querySelector('[data-part=groups]').innerText");
    assert!(table.contains("sto-") && !table.contains("par-"), "{table}");
    browser.picture("demo-filter");
}

/// The report is the rollup of the same window, to the microjoule: compared while nothing was booked between.
fn take_a_report_along(browser: &mut Browser, demo: &Demo) {
    let folder = browser.downloads();
    let file = folder.join("wattledger-report.csv");
    browser.go(&format!("{}/?by=team", demo.url));
    let (csv, rolled) = wait_for("a download between two readings", Duration::from_secs(90), || {
        let _ = std::fs::remove_file(&file);
        let before = rolled_up(&demo.url, "24h");
        browser.eval("[...document.querySelectorAll('a')].find((a) => a.textContent === 'CSV').click()");
        let csv = wait_for("the download", Duration::from_secs(30), || {
            std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
        });
        let (after, told) = (rolled_up(&demo.url, "24h"), energy_of(&csv));
        // Energy only grows: what lies between two answers is bounded by them at any time.
        for (team, energy) in &told {
            let (least, most) = (before.get(team).copied().unwrap_or(0), after[team]);
            assert!(least <= *energy && *energy <= most, "{team}: {least} {energy} {most}");
        }
        (before == after).then_some((told, after))
    });
    assert!(csv.len() >= 4 && csv.values().all(|energy| *energy > 0), "{csv:?}");
    assert_eq!(csv, rolled);
}

/// Pictures of all pages; none is wider than its screen, and the dark is dark.
fn every_size_and_light(browser: &mut Browser, demo: &Demo) {
    let host = rows(&demo.url, "window=24h&by=host").into_iter().map(|row| row.by["host"].clone());
    let host = host.into_iter().find(|host| host.starts_with("par-")).expect("a host in Paris");
    browser.go(&format!("{}/hosts/{host}", demo.url));
    let device = browser.text("new URL(document.querySelector('[data-part=devices] tbody a').href).pathname");
    let pages = [
        ("fleet", "/".to_owned()),
        ("hour", "/?range=1h".to_owned()),
        ("week", "/?range=7d&by=host".to_owned()),
        ("host", format!("/hosts/{host}")),
        ("device", device),
        ("none", "/devices/nothing".to_owned()),
    ];
    let (mut grounds, mut faults) = (Vec::new(), Vec::new());
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (name, width) in [("phone", 390), ("desk", 1280)] {
            browser.size(width, 900);
            for (page, path) in &pages {
                browser.go(&format!("{}{path}", demo.url));
                browser.picture(&format!("demo-{page}-{name}-{scheme}"));
                let (wide, beyond) = (browser.eval("document.documentElement.scrollWidth"), browser.text(TOO_WIDE));
                if !beyond.is_empty() || wide.as_u64().is_none_or(|wide| wide > u64::from(width)) {
                    faults.push(format!("{path} is {wide} wide on {width}: {beyond}"));
                }
            }
        }
        grounds.push(browser.text("getComputedStyle(document.body).backgroundColor"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_ne!(grounds[0], grounds[1]);
    // The page of what is not there is answered 404, and a browser tells.
    let expected = |text: &String| text.contains("404");
    let complaints = std::mem::take(&mut browser.complaints);
    assert!(complaints.iter().all(expected) && complaints.len() == 4, "{complaints:?}");
}
