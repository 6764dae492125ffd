//! A scraper that never looks away: reads `/metrics` again and again, through all faults, and notes every
//! counter that steps back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::blocking::Client;

/// Counters that must not step back within one value of their label `gen`.
const FAMILIES: [&str; 3] =
    ["wattledger_energy_joules_total", "wattledger_billed_energy_joules_total", "wattledger_readings_total"];

/// Between two scrapes.
const PAUSE: Duration = Duration::from_millis(40);

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    // Even for plain HTTP the client wants to know how it would encrypt.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().expect("an HTTP client")
});

/// Gets a page, if all of it comes.
pub(crate) fn try_get(url: &str) -> Option<(u16, String)> {
    let response = CLIENT.get(url).send().ok()?;
    let status = response.status().as_u16();
    Some((status, response.text().ok()?))
}

/// Posts JSON: status and body, if all of it comes.
pub(crate) fn try_post(url: &str, body: &str) -> Option<(u16, String)> {
    let request = CLIENT.post(url).header("content-type", "application/json").body(body.to_owned());
    let response = request.send().ok()?;
    let status = response.status().as_u16();
    Some((status, response.text().ok()?))
}

/// The series of a page that belong to a family: text before the value, and the value in millionths.
pub(crate) fn series<'a>(page: &'a str, family: &'a str) -> impl Iterator<Item = (&'a str, i128)> {
    let lines =
        page.lines().filter(move |line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line}"));
        (name, millionths(value))
    })
}

/// A decimal number with at most six places, exactly.
fn millionths(text: &str) -> i128 {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let number = |text: &str| text.parse::<i128>().unwrap_or_else(|why| panic!("{text:?}: {why}"));
    assert!(places.len() <= 6, "{text}");
    let size = number(whole).abs() * 1_000_000 + number(&format!("{places:0<6}"));
    if negative { -size } else { size }
}

/// The running scraper.
pub(crate) struct Scraper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Scraped>,
}

/// What it saw.
#[derive(Debug, Default)]
pub(crate) struct Scraped {
    /// Pages read whole.
    pub(crate) pages: usize,
    /// Attempts without a page: nobody was there, or was killed meanwhile.
    pub(crate) vain: usize,
    /// Every counter's highest value so far.
    highest: BTreeMap<String, i128>,
    steps_back: Vec<String>,
}

impl Scraper {
    /// Begins to watch.
    pub(crate) fn start(url: &str) -> Self {
        let (stop, url) = (Arc::new(AtomicBool::new(false)), format!("{url}/metrics"));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut scraped = Scraped::default();
            while !asked.load(Ordering::Relaxed) {
                match try_get(&url) {
                    Some((200, page)) => scraped.read(&page),
                    _ => scraped.vain += 1,
                }
                std::thread::sleep(PAUSE);
            }
            scraped
        });
        Self { stop, thread }
    }

    /// Ends watching; fails if a counter stepped back or nothing was seen.
    pub(crate) fn finish(self) -> Scraped {
        self.stop.store(true, Ordering::Relaxed);
        let scraped = self.thread.join().expect("the scraper");
        assert!(scraped.steps_back.is_empty(), "counters stepped back:\n{}", scraped.steps_back.join("\n"));
        assert!(scraped.pages > 0 && !scraped.highest.is_empty(), "nothing was watched: {} pages", scraped.pages);
        println!(
            "scraped {} pages ({} times nobody answered), {} counters, none stepped back",
            scraped.pages,
            scraped.vain,
            scraped.highest.len()
        );
        scraped
    }
}

impl Scraped {
    fn read(&mut self, page: &str) {
        self.pages += 1;
        for (name, value) in FAMILIES.iter().flat_map(|family| series(page, family)) {
            match self.highest.get_mut(name) {
                Some(highest) if value < *highest => {
                    self.steps_back.push(format!("page {}: {name} fell from {highest} to {value}", self.pages));
                }
                Some(highest) => *highest = value,
                None => drop(self.highest.insert(name.to_owned(), value)),
            }
        }
    }
}

#[test]
fn a_step_back_is_seen_and_a_new_generation_is_none() {
    let mut scraped = Scraped::default();
    let page =
        |joules: &str, generation: u32| format!("wattledger_energy_joules_total{{gen=\"{generation}\"}} {joules}\n");
    scraped.read(&page("12.000001", 1));
    scraped.read(&page("12.000001", 1));
    scraped.read(&page("3", 2));
    assert!(scraped.steps_back.is_empty(), "{scraped:?}");
    scraped.read(&page("12", 1));
    assert_eq!(scraped.steps_back.len(), 1, "{scraped:?}");
    assert_eq!((millionths("-0.5"), millionths("7"), millionths("7.25")), (-500_000, 7_000_000, 7_250_000));
}
