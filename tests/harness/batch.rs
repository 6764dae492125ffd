//! JSON batches, as anyone without an agent writes them.

use serde_json::{Value, json};

use super::{Answer, Point, post_json};

/// A stream's name: any UUID.
pub(crate) fn stream(number: u64) -> String {
    format!("0d3c0000-0000-4000-8000-{number:012x}")
}

/// A power reading; milliwatts become decimal watts, nothing becomes null.
pub(crate) fn power(scope: &str, device: &str, (ms, milliwatts): Point, period_ms: i64) -> Value {
    let watts = milliwatts.map(|milliwatts| milliwatts as f64 / 1000.0);
    json!({ "scope": scope, "device": device, "at_ms": ms, "watts": watts, "period_ms": period_ms })
}

/// One batch of a host.
pub(crate) fn batch(stream: &str, seq: u64, host: &str, readings: &[Value]) -> Value {
    json!({ "stream": stream, "seq": seq, "host": host, "readings": readings })
}

/// A writer of batches that counts its numbers itself.
pub(crate) struct Writer<'a> {
    server: &'a str,
    stream: String,
    host: String,
    seq: u64,
    labels: Value,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(server: &'a str, number: u64, host: &str) -> Self {
        Self { server, stream: stream(number), host: host.to_owned(), seq: 0, labels: json!({}) }
    }

    pub(crate) fn labelled(mut self, labels: Value) -> Self {
        self.labels = labels;
        self
    }

    /// Sends the next batch; what came back.
    pub(crate) fn send(&mut self, readings: &[Value]) -> Answer {
        self.seq += 1;
        let mut body = batch(&self.stream, self.seq, &self.host, readings);
        body["labels"] = self.labels.clone();
        post_json(self.server, &body)
    }

    /// Sends an account's power readings, fails unless they are on disk, and gives the answer.
    pub(crate) fn power(&mut self, scope: &str, device: &str, points: &[Point], period_ms: i64) -> Value {
        let readings: Vec<Value> = points.iter().map(|point| power(scope, device, *point, period_ms)).collect();
        let answer = self.send(&readings).json();
        assert_eq!(answer["durable_seq"], self.seq, "{answer}");
        answer
    }
}
