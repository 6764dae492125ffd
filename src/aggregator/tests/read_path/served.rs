//! A real server on loopback over a hand-made store.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aggregator::{Parts, Settings};
use meter::Utc;
use store::Store;
use tokio::sync::oneshot;

/// Writes a file into a folder, and gives its path as settings have it.
pub(crate) fn write(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_string_lossy().into_owned()
}

/// A server that stops when it is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn on(store: Arc<dyn Store>, mut settings: Settings, now: fn() -> Utc) -> Self {
        settings.server.listen = "127.0.0.1:0".into();
        settings.server.workers = 1;
        settings.server.timezone = "UTC".into();
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let parts = Parts { settings, store, exporter: None, now, on_death: |_| () };
                let running = aggregator::start_on(parts).expect("it starts");
                ready.send(running.addr).expect("somebody waits");
                let _ = stopped.await;
                running.stop().await;
            });
        });
        Self { addr: is_ready.recv().expect("it starts"), stop: Some(stop), thread: Some(thread) }
    }

    /// Status, head and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String, String) {
        fetch(self.addr, path, "")
    }

    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        let (status, _, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The status and code of a problem document.
    pub(crate) fn problem(&self, path: &str) -> (u16, String, String) {
        let (status, head, body) = self.get(path);
        assert!(head.contains("application/problem+json"), "{path}: {head}");
        let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        (status, document["code"].as_str().expect("a code").into(), document["detail"].as_str().expect("words").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Fetches a page; comes again, as a browser would, while the figures are added up for the first time: on a busy machine
/// that takes longer than the server waits for it.
pub(crate) fn fetch(addr: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    let since = Instant::now();
    loop {
        let answer = fetch_once(addr, path, headers);
        if !answer.2.contains("Adding up energy and cost") || since.elapsed() > Duration::from_secs(60) {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Fetches whatever is there now; chunked or not.
pub(crate) fn fetch_once(addr: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, mut body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, head.to_owned(), body.to_owned());
    }
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    (status, head.to_owned(), whole)
}
