//! Who posts, as fast as answers come, and remembers what was acknowledged. What the ledger must then
//! hold is worked out here, in whole microjoules.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::harness::{slots_around, stream};

const DEVICES: u64 = 24;
/// Between two readings of an account.
const STEP_MS: i64 = 60_000;
/// Threads that post.
const THREADS: usize = 6;

/// One host: each post is one reading of each of its devices.
#[derive(Debug)]
pub(crate) struct Sender {
    name: String,
    number: u64,
    start_ms: i64,
    /// The last post that was answered as durable.
    pub(crate) acknowledged: u64,
    /// The last one that was ever sent.
    sent: u64,
    /// The next one to send.
    next: u64,
    /// The host's energy in µJ after so many posts.
    energy: Vec<i128>,
}

/// What came back.
enum Told {
    Durable,
    /// Another number is the next one.
    Expected(u64),
    Later,
    Nothing,
}

impl Sender {
    pub(crate) fn new(number: u64, start_ms: i64) -> Self {
        let name = format!("node-{number:02}");
        Self { name, number, start_ms, acknowledged: 0, sent: 0, next: 1, energy: vec![0, 0] }
    }

    fn milliwatts(&self, device: u64, post: u64) -> u64 {
        200_000 + 1000 * ((self.number * 31 + device * 7 + post * post) % 997)
    }

    /// The host's energy after so many posts: trapezoids between neighbours. 1 mW · 1 ms = 1 µJ.
    fn energy_after(&mut self, posts: u64) -> i128 {
        while (self.energy.len() as u64) <= posts {
            let post = self.energy.len() as u64;
            let pairs = (0..DEVICES).map(|device| self.milliwatts(device, post - 1) + self.milliwatts(device, post));
            let twice = i128::from(pairs.sum::<u64>()) * i128::from(STEP_MS);
            assert_eq!(twice % 2, 0, "whole microjoules");
            self.energy.push(self.energy.last().copied().unwrap_or_default() + twice / 2);
        }
        self.energy[usize::try_from(posts).expect("a number of posts")]
    }

    fn body(&self, post: u64) -> Value {
        let at = self.start_ms + i64::try_from(post).expect("a number of posts") * STEP_MS;
        let reading = |device: u64| {
            let watts = self.milliwatts(device, post) / 1000;
            json!({ "scope": "gpu", "device": format!("gpu-{device}"), "at_ms": at, "watts": watts, "period_ms": STEP_MS })
        };
        let readings = (0..DEVICES).map(reading).collect::<Vec<_>>();
        json!({ "stream": stream(self.number), "seq": post, "host": self.name, "import": true, "readings": readings })
    }

    fn post(&mut self, client: &Client, url: &str) -> Told {
        self.sent = self.sent.max(self.next);
        let request = client.post(format!("{url}/api/v1/ingest")).header("content-type", "application/json");
        let Ok(answer) = request.body(self.body(self.next).to_string()).send() else { return Told::Nothing };
        let status = answer.status().as_u16();
        let Ok(answer) = answer.json::<Value>() else { return Told::Nothing };
        match (status, answer["expected"].as_u64()) {
            (200, _) => {
                assert_eq!(answer["durable_seq"].as_u64(), Some(self.next), "{answer}");
                Told::Durable
            }
            (409, Some(expected)) => Told::Expected(expected),
            (503, _) => Told::Later,
            _ => panic!("{}: {status} {answer}", self.name),
        }
    }

    /// Posts once; false when nobody answers.
    fn step(&mut self, client: &Client, url: &str) -> bool {
        match self.post(client, url) {
            Told::Durable => {
                self.acknowledged = self.acknowledged.max(self.next);
                self.next += 1;
            }
            Told::Expected(expected) => {
                // Only a ledger that went back asks for what it had acknowledged.
                assert!(expected < self.next, "{} sent {}, {expected} is expected", self.name, self.next);
                self.next = expected;
            }
            Told::Later => std::thread::sleep(Duration::from_millis(20)),
            Told::Nothing => return false,
        }
        true
    }
}

/// The energy of each group of a rollup by one key, in µJ; nothing if nobody answers.
pub(crate) fn energies(client: &Client, url: &str, query: &str) -> Option<BTreeMap<String, i128>> {
    let answer = client.get(format!("{url}/api/v1/rollup?{query}")).send().ok()?;
    let status = answer.status();
    let document: Value = answer.json().ok()?;
    assert_eq!(status, 200, "{document}");
    let row = |row: &Value| {
        let group = row["by"].as_object().and_then(|by| by.values().next()).unwrap_or_else(|| panic!("{row}"));
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{row}")).to_owned();
        (text(group), text(&row["energy_uj"]).parse().expect("a whole number"))
    };
    Some(document["rows"].as_array().unwrap_or_else(|| panic!("{document}")).iter().map(row).collect())
}

/// What a ledger holds of all senders after a cut.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Hosts for which something acknowledged is missing.
    pub(crate) hosts_short: u64,
    /// Acknowledged posts that are missing.
    pub(crate) lost: u64,
    /// Posts that are there although nobody was told.
    pub(crate) unanswered: u64,
}

/// All senders.
#[derive(Debug)]
pub(crate) struct Senders {
    all: Vec<Sender>,
    start_ms: i64,
    client: Client,
}

impl Senders {
    pub(crate) fn new(count: u64, start_ms: i64) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().expect("an HTTP client");
        Self { all: (0..count).map(|number| Sender::new(number, start_ms)).collect(), start_ms, client }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.all.iter().map(|sender| sender.acknowledged).sum()
    }

    /// Compares the ledger with what was acknowledged: each host's energy is that after some number of
    /// its posts, never more than were sent. Nothing if nobody answers.
    pub(crate) fn check(&mut self, url: &str) -> Option<Held> {
        let last = self.all.iter().map(|sender| sender.sent).max().unwrap_or_default();
        let end_ms = self.start_ms + i64::try_from(last).expect("a number of posts") * STEP_MS;
        let query = format!("window={}&by=host", slots_around(self.start_ms, end_ms));
        let found = energies(&self.client, url, &query)?;
        let mut held = Held::default();
        for sender in &mut self.all {
            let energy = found.get(&sender.name).copied().unwrap_or_default();
            if energy == 0 && sender.acknowledged <= 1 {
                continue;
            }
            // The first post alone joins nothing: without energy, none of what counts is there.
            let posts = (1..=sender.sent).find(|posts| sender.energy_after(*posts) == energy).unwrap_or_else(|| {
                let Sender { name, acknowledged, sent, .. } = sender;
                panic!(
                    "{name}: {energy} µJ is the energy of no number of posts; {acknowledged} acknowledged, {sent} sent"
                )
            });
            held.lost += sender.acknowledged.saturating_sub(posts);
            held.hosts_short += u64::from(posts < sender.acknowledged);
            held.unanswered += posts.saturating_sub(sender.acknowledged);
        }
        Some(held)
    }

    /// Posts until `enough` says so or nobody answers.
    pub(crate) fn post_until(&mut self, url: &str, enough: &(dyn Fn() -> bool + Sync)) {
        let client = &self.client;
        let gone = AtomicBool::new(false);
        let share = self.all.len().div_ceil(THREADS);
        std::thread::scope(|scope| {
            for senders in self.all.chunks_mut(share) {
                let gone = &gone;
                scope.spawn(move || {
                    while !gone.load(Ordering::Relaxed) && !enough() {
                        for sender in &mut *senders {
                            if !sender.step(client, url) {
                                gone.store(true, Ordering::Relaxed);
                                return;
                            }
                        }
                    }
                });
            }
        });
    }

    /// Sends again whatever the ledger asks for, until it holds everything ever sent.
    pub(crate) fn catch_up(&mut self, url: &str) {
        for sender in &mut self.all {
            let last = sender.sent;
            while sender.next <= last {
                assert!(sender.step(&self.client, url), "{}: nobody answers any more", sender.name);
            }
        }
    }
}
