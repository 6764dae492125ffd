//! A real server on loopback over a store that can be held, broken and killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aggregator::app::wall_clock;
use aggregator::{Parts, Settings};
use billing::published::Snapshot;
use meter::Owner;
use serde_json::Value;
use store::{
    Durability, HistoryEntry, HistoryQuery, Identity, ImageItem, MemoryStore, Outcome, OwnerCommit, Row, Store,
    StoreError,
};
use tokio::sync::oneshot;

/// Holds up who passes while it is shut.
#[derive(Default)]
pub(crate) struct Gate {
    is_shut: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    pub(crate) fn shut(&self) {
        *self.is_shut.lock().expect("the gate") = true;
    }

    pub(crate) fn open(&self) {
        *self.is_shut.lock().expect("the gate") = false;
        self.moved.notify_all();
    }

    fn pass(&self) {
        let is_shut = self.is_shut.lock().expect("the gate");
        drop(self.moved.wait_while(is_shut, |is_shut| *is_shut).expect("the gate"));
    }
}

/// A memory store with a gate before each commit, and one before history is read.
pub(crate) struct TestStore {
    inner: MemoryStore,
    pub(crate) commit_gate: Gate,
    pub(crate) history_gate: Gate,
    pub(crate) failing: AtomicBool,
    pub(crate) panicking: AtomicBool,
    pub(crate) begun: AtomicUsize,
    pub(crate) commits: AtomicUsize,
}

impl TestStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new([7; 16], 1),
            commit_gate: Gate::default(),
            history_gate: Gate::default(),
            failing: AtomicBool::new(false),
            panicking: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
        })
    }

    pub(crate) fn shut(&self) {
        self.commit_gate.shut();
    }

    pub(crate) fn open(&self) {
        self.commit_gate.open();
    }

    pub(crate) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.failing.load(Ordering::SeqCst) { Err(StoreError::Failed("secret internals".into())) } else { Ok(()) }
    }
}

impl Store for TestStore {
    fn load(&self, owners: &[Owner]) -> Result<Vec<Option<Row>>, StoreError> {
        self.check()?;
        self.inner.load(owners)
    }

    fn commit(&self, commits: Vec<OwnerCommit>) -> Result<Vec<Outcome>, StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.commit_gate.pass();
        assert!(!self.panicking.load(Ordering::SeqCst), "the store was told to panic");
        self.check()?;
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(commits)
    }

    fn scan(&self, parts: Range<u8>, each: &mut dyn FnMut(Row)) -> Result<(), StoreError> {
        self.inner.scan(parts, each)
    }

    fn history(&self, query: &HistoryQuery, each: &mut dyn FnMut(HistoryEntry)) -> Result<(), StoreError> {
        self.history_gate.pass();
        self.inner.history(query, each)
    }

    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn put_documents(&self, documents: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        self.check()?;
        self.inner.put_documents(documents)
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.document(name)
    }

    fn documents(&self, from: &str, until: &str, each: &mut dyn FnMut(String, Vec<u8>)) -> Result<(), StoreError> {
        self.inner.documents(from, until, each)
    }

    fn commit_number(&self) -> u64 {
        self.inner.commit_number()
    }

    fn image(&self, each: &mut dyn FnMut(ImageItem) -> Result<(), StoreError>) -> Result<u64, StoreError> {
        self.inner.image(each)
    }
}

/// A server on a thread of its own.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    app: actix_web::web::Data<aggregator::app::App>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Settings for a free port and one worker.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.server.listen = "127.0.0.1:0".into();
    settings.server.workers = 1;
    settings
}

pub(crate) static DEATHS: AtomicUsize = AtomicUsize::new(0);

fn count_death(_: &'static str) {
    DEATHS.fetch_add(1, Ordering::SeqCst);
}

impl Server {
    pub(crate) fn on(store: Arc<dyn Store>, settings: Settings) -> Self {
        Self::from(move || {
            aggregator::start_on(Parts { settings, store, exporter: None, now: wall_clock, on_death: count_death })
        })
    }

    pub(crate) fn from(
        start: impl FnOnce() -> Result<aggregator::Running, aggregator::AggregatorError> + Send + 'static,
    ) -> Self {
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let running = start().expect("it starts");
                ready.send((running.addr, running.app.clone())).expect("somebody waits");
                let _ = stopped.await;
                running.stop().await;
            });
        });
        let (addr, app) = is_ready.recv().expect("it starts");
        Self { addr, app, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.app.books.published.load()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it stops");
        }
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.addr).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Client { reader: BufReader::new(stream.try_clone().expect("a clone")), stream }
    }

    pub(crate) fn post(&self, body: &str) -> Response {
        self.connect().post("application/json", body.as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.connect().send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
    }

    /// Posts from a thread of its own.
    pub(crate) fn post_later(&self, body: &str) -> JoinHandle<Response> {
        let (mut client, body) = (self.connect(), body.to_owned());
        std::thread::spawn(move || client.post("application/json", body.as_bytes()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn post(&mut self, kind: &str, body: &[u8]) -> Response {
        let head = format!(
            "POST /api/v1/ingest HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat())
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> Response {
        self.stream.write_all(request).expect("sent");
        self.read()
    }

    pub(crate) fn read(&mut self) -> Response {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, value)| value.parse().expect("a length"));
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).expect("a body");
        Response { status, headers, body }
    }
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The code of the problem document that this is.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], self.status);
        for member in ["type", "title", "detail"] {
            assert!(document[member].is_string(), "{member}");
        }
        (self.status, document["code"].as_str().expect("a code").into())
    }
}

/// Waits until `what` holds.
pub(crate) fn until(mut what: impl FnMut() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never came to pass");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A body of one stream and host with a reading now.
pub(crate) fn body(seq: u64, host: &str, watts: &str) -> String {
    let at_ms = wall_clock().0 / 1_000_000;
    format!(
        r#"{{"stream":"s-{host}","seq":{seq},"host":"{host}","readings":[{{"scope":"gpu","device":"g0","at_ms":{at_ms},"watts":{watts}}}]}}"#
    )
}
