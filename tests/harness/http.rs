//! HTTP as strangers speak it: well (reqwest) and badly (bytes on a socket).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use reqwest::blocking::{Client, Response};
use serde_json::Value;

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    // Even for plain HTTP the client wants to know how it would encrypt.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(60)).no_proxy().build().expect("an HTTP client")
});

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The content type, without parameters.
    pub(crate) kind: String,
    pub(crate) body: String,
}

impl Answer {
    fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        Self { status, kind, body: response.text().expect("a whole answer") }
    }

    /// The document of a successful answer.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why} in {}", self.body))
    }

    /// The stable code of a problem document; fails if this is none.
    pub(crate) fn problem(&self) -> String {
        assert!((400..500).contains(&self.status), "a client error was expected: {} {}", self.status, self.body);
        assert_eq!(self.kind, "application/problem+json", "{} {}", self.status, self.body);
        let document: Value = serde_json::from_str(&self.body).expect("a problem document");
        document["code"].as_str().expect("a stable code").to_owned()
    }
}

/// The client itself, for what needs other methods and headers.
pub(crate) fn client() -> &'static Client {
    &CLIENT
}

pub(crate) fn get(url: &str) -> Answer {
    Answer::of(CLIENT.get(url).send().unwrap_or_else(|why| panic!("GET {url}: {why}")))
}

pub(crate) fn post(url: &str, kind: &str, body: impl Into<Vec<u8>>) -> Answer {
    let request = CLIENT.post(url).header("content-type", kind).body(body.into());
    Answer::of(request.send().unwrap_or_else(|why| panic!("POST {url}: {why}")))
}

/// Posts a JSON batch to a server's ingest.
pub(crate) fn post_json(server: &str, body: &Value) -> Answer {
    post(&format!("{server}/api/v1/ingest"), "application/json", body.to_string())
}

/// Sends bytes, closes the sending half, and gives whatever comes back until the other side closes.
pub(crate) fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("a listening aggregator");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
