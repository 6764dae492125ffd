//! An aggregator of a hundred lines: streams with positions as the protocol wants them, no energy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use meter::{DeviceDecl, Id, Labels, Mark, Position, Record, Refusal, Scope};
use wire::{Answer, Append, AppendAnswer, RefusedCount};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// 503 with this Retry-After, nothing applied.
    Busy(u64),
    /// Applied, and the connection closed without an answer.
    LoseReply,
    /// Applied, and answered with bytes that are none of ours.
    Garbage,
}

/// What the aggregator saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    streams: BTreeMap<Id, Vec<Record>>,
    contexts: BTreeSet<u64>,
    devices: BTreeMap<u64, Vec<DeviceDecl>>,
    faults: VecDeque<Fault>,
    refuse_every: Option<u64>,
    rejected: BTreeSet<String>,
    before_garbage: Vec<usize>,
    owners: BTreeMap<String, Greeting>,
    pub(crate) labels: Labels,
    pub(crate) posts: usize,
    pub(crate) hellos: usize,
    pub(crate) connections: usize,
    pub(crate) largest: usize,
    pub(crate) imports: bool,
}

/// How an owner was introduced, and what came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greeting {
    pub(crate) streams: BTreeSet<Id>,
    /// Whether the machine reports itself.
    pub(crate) own: bool,
    /// The labels of each introduction that differed from the one before.
    pub(crate) labels: Vec<Labels>,
    /// Values by device name.
    pub(crate) values: BTreeMap<String, Vec<u64>>,
    pub(crate) records: usize,
}

impl Seen {
    /// How an owner was introduced; nothing if it was not.
    pub(crate) fn owner(&self, canonical: &str) -> Option<&Greeting> {
        self.owners.get(canonical)
    }

    fn greet(&mut self, append: &Append) {
        for context in append.hello.iter().flat_map(|hello| &hello.contexts) {
            self.devices.insert(wire::context_id(context), context.devices.clone());
        }
        let owner = self.owners.entry(append.owner.canonical()).or_default();
        owner.streams.insert(append.stream);
        if let Some(hello) = &append.hello {
            owner.own = hello.fingerprint.is_some();
            if owner.labels.last() != Some(&hello.labels) {
                owner.labels.push(hello.labels.clone());
            }
        }
        owner.records += append.records.len();
        for record in &append.records {
            for sample in &record.samples {
                let devices = self.devices.get(&record.context).expect("a declared context");
                let name = devices[usize::from(sample.device)].key.to_string();
                owner.values.entry(name).or_default().extend(sample.power.map(|power| power.0));
            }
        }
    }

    /// The instants of the records of each stream.
    pub(crate) fn instants(&self) -> Vec<Vec<u64>> {
        self.streams.values().map(|records| records.iter().map(|record| record.at).collect()).collect()
    }

    /// The marks in all streams, with their instants.
    pub(crate) fn marks(&self) -> Vec<(u64, Mark)> {
        let records = self.streams.values().flatten();
        records.filter_map(|record| Some((record.at, record.mark.as_deref()?.clone()))).collect()
    }

    /// How many streams had `count` records when garbage was answered.
    pub(crate) fn complete_before_garbage(&self, count: usize) -> usize {
        self.before_garbage.iter().filter(|held| **held == count).count()
    }

    fn apply(&mut self, append: &Append) -> AppendAnswer {
        if self.rejected.contains(&*append.owner.name) {
            return AppendAnswer::Rejected { code: "owner-cap".into(), detail: "no more room".into() };
        }
        if let Some(hello) = &append.hello {
            self.hellos += 1;
            self.labels.extend(hello.labels.clone());
            self.contexts.extend(hello.contexts.iter().map(wire::context_id));
        }
        self.imports |= append.import;
        if append.records.iter().any(|record| !self.contexts.contains(&record.context)) {
            return AppendAnswer::SayHello;
        }
        let stream = self.streams.entry(append.stream).or_default();
        let stands = wire::advance(Position::default(), stream);
        if stands != append.base {
            return AppendAnswer::Stands(stands);
        }
        stream.extend(append.records.iter().cloned());
        self.greet(append);
        let count = append.records.len() as u64;
        let bad = self
            .refuse_every
            .map_or(0, |every| append.records.iter().filter(|r| r.at.is_multiple_of(every)).count() as u64);
        let refused = RefusedCount { scope: Scope::Gpu, device: "GPU-1".into(), reason: Refusal::Sentinel, count: bad };
        let refused = if bad > 0 { vec![refused] } else { vec![] };
        AppendAnswer::Durable { at: append.end(), booked: count - bad, fenced: 0, refused }
    }
}

/// The aggregator; its threads end with the test's process.
pub(crate) struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Fake {
    pub(crate) fn start(faults: &[Fault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Seen { faults: faults.iter().copied().collect(), ..Seen::default() }));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&shared);
                lock(&seen).connections += 1;
                std::thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// A restore: every stream falls back to its first `count` records.
    pub(crate) fn truncate(&self, count: usize) {
        lock(&self.seen).streams.values_mut().for_each(|records| records.truncate(count));
    }

    pub(crate) fn forget(&self) {
        lock(&self.seen).streams.clear();
        self.forget_contexts();
    }

    pub(crate) fn forget_contexts(&self) {
        lock(&self.seen).contexts.clear();
    }

    pub(crate) fn refuse_every(&self, every: u64) {
        lock(&self.seen).refuse_every = Some(every);
    }

    pub(crate) fn accept_all(&self) {
        lock(&self.seen).rejected.clear();
    }

    pub(crate) fn reject(&self, name: &str) {
        lock(&self.seen).rejected.insert(name.into());
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("no test panics with the lock")
}

fn serve(stream: TcpStream, seen: &Mutex<Seen>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let mut writer = stream;
    while let Some(body) = request(&mut reader) {
        let (answer, fault) = {
            let mut seen = lock(seen);
            seen.posts += 1;
            seen.largest = seen.largest.max(body.len());
            let fault = seen.faults.pop_front();
            if let Some(Fault::Busy(seconds)) = fault {
                let text = format!("HTTP/1.1 503 Busy\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n");
                writer.write_all(text.as_bytes()).expect("writes");
                continue;
            }
            let post = wire::decode_post(&body).expect("a good post");
            let answers = post.appends.iter().map(|append| seen.apply(append)).collect();
            if matches!(fault, Some(Fault::Garbage)) {
                seen.before_garbage = seen.streams.values().map(Vec::len).collect();
            }
            (Answer { ledger: [9; 16], generation: 1, answers }, fault)
        };
        let bytes = match fault {
            Some(Fault::LoseReply) => return,
            Some(Fault::Garbage) => b"\xffhello".to_vec(),
            _ => wire::encode_answer(&answer).expect("a good answer"),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            wire::CONTENT_TYPE,
            bytes.len()
        );
        writer.write_all(&[head.as_bytes(), &bytes].concat()).expect("writes");
    }
}

/// Reads one request and returns its body; nothing when the connection ends.
fn request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    assert!(line.starts_with("POST /api/v1/ingest HTTP/1.1"), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
