//! A client without an agent that posts JSON as fast as it is answered: the aggregator is never idle when
//! a fault comes, and each number is sent until it is on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::dice::Dice;
use crate::harness::{Point, batch, joined, power, rows, slot_ago_ms, slots_around, stream};
use crate::scraper::try_post;

/// Readings of one batch, and how far they are apart.
const BATCH: i64 = 5;
const STEP_MS: i64 = 100;
const HOST: &str = "json-client";

/// The client at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// What it sent, all of it acknowledged.
pub(crate) struct Sent {
    points: Vec<Point>,
    bodies: Vec<Value>,
    repeated: usize,
    /// Whether what was acknowledged may be asked for again.
    forgives: bool,
}

impl Load {
    /// Begins to post.
    pub(crate) fn start(url: &str, dice: Dice) -> Self {
        Self::with(url, dice, false)
    }

    /// Begins to post to a ledger that may lose what it acknowledged, because its files are taken from it.
    pub(crate) fn start_forgiving(url: &str, dice: Dice) -> Self {
        Self::with(url, dice, true)
    }

    fn with(url: &str, mut dice: Dice, forgives: bool) -> Self {
        let (stop, url) = (Arc::new(AtomicBool::new(false)), format!("{url}/api/v1/ingest"));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut sent = Sent { points: Vec::new(), bodies: Vec::new(), repeated: 0, forgives };
            // Ten days ago: however fast it is, it does not catch up with the present.
            let begin = slot_ago_ms(240);
            while !asked.load(Ordering::Relaxed) {
                let first = sent.points.len() as i64;
                let points = (first..first + BATCH).map(|n| (begin + n * STEP_MS, Some(dice.below(900_000) as i64)));
                let points: Vec<Point> = points.collect();
                let readings: Vec<Value> = points.iter().map(|point| power("gpu", "GPU-json", *point, 1000)).collect();
                sent.points.extend(&points);
                sent.bodies.push(batch(&stream(7), sent.bodies.len() as u64 + 1, HOST, &readings));
                sent.deliver(&url);
            }
            sent
        });
        Self { stop, thread }
    }

    /// Ends posting; everything that was begun is acknowledged. The aggregator must be there.
    pub(crate) fn finish(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the JSON client")
    }
}

impl Sent {
    /// Posts the last batch until it is on disk; goes back as far as a ledger asks for that may have lost some.
    fn deliver(&mut self, url: &str) {
        let last = self.bodies.len();
        let mut seq = last;
        while seq <= last {
            match try_post(url, &self.bodies[seq - 1].to_string()) {
                Some((200, answer)) => {
                    let answer: Value = serde_json::from_str(&answer).expect("JSON");
                    assert_eq!(answer["durable_seq"], seq as u64, "{answer}");
                    seq += 1;
                }
                Some((409, problem)) => {
                    let problem: Value = serde_json::from_str(&problem).expect("JSON");
                    let expected =
                        problem["expected"].as_u64().filter(|expected| self.forgives && *expected < seq as u64);
                    seq = expected.unwrap_or_else(|| panic!("batch {seq} of {last}: {problem}")) as usize;
                }
                Some((status, _)) if status < 500 => panic!("batch {seq} of {last} was refused: {status}"),
                _ => {
                    self.repeated += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    /// Fails unless the ledger has exactly what was sent.
    pub(crate) fn compare(&self, url: &str) {
        let (first, last) = (self.points[0].0, self.points[self.points.len() - 1].0);
        let rows = rows(url, &format!("window={}&by=host&where=host={HOST}", slots_around(first, last)));
        let energy: Vec<i128> = rows.iter().map(|row| row.energy_uj).collect();
        assert_eq!(energy, [joined(&self.points, 10_000).0.div_euclid(2)], "{} batches", self.bodies.len());
        println!(
            "0 difference: {} JSON batches, {} sent more than once, {} µJ",
            self.bodies.len(),
            self.repeated,
            energy[0]
        );
    }
}
