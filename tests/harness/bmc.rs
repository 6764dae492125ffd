//! A BMC that stands in for many: Redfish over HTTPS on the loopback, with sessions, and as slow, busy and
//! wrong as the real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) const USER: &str = "monitor";
pub(crate) const PASSWORD: &str = "hunter2-is-no-password";

/// What a resource says now.
type Body = Arc<dyn Fn() -> String + Send + Sync>;

/// How a BMC treats who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// Answers after this many milliseconds.
    Slow(u64),
    /// Takes requests and never answers.
    Hangs,
    /// 503 with `Retry-After` in seconds.
    Busy(u32),
    /// Answers with something that is no JSON.
    Garbage,
    /// Breaks off in the middle of a body.
    Truncated,
    /// Answers with two megabytes.
    Endless,
    /// Sends everybody, with their credentials, to another machine.
    Redirects,
    /// Refuses user and password.
    Refuses,
}

/// What was asked of a BMC so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) logins: u32,
    pub(crate) refused: u32,
    pub(crate) deleted: u32,
    pub(crate) connections: u32,
    /// Most requests at one time.
    pub(crate) at_once: u32,
    /// Method and path of every request.
    pub(crate) requests: Vec<String>,
}

#[derive(Default)]
struct State {
    resources: BTreeMap<String, Body>,
    sessions: BTreeSet<String>,
    mood: Mood,
    now: u32,
    seen: Seen,
}

/// A running BMC; its sockets close when it is dropped.
pub(crate) struct Bmc {
    address: SocketAddr,
    tls: Option<Certificate>,
    state: Arc<Mutex<State>>,
    ends: Arc<AtomicBool>,
}

struct Certificate {
    pem: String,
    fingerprint: String,
}

impl Bmc {
    /// A BMC that speaks TLS with a certificate signed by itself.
    pub(crate) fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let der = made.cert.der().clone();
        let digest = ring::digest::digest(&ring::digest::SHA256, &der);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![der], key)
            .expect("a certificate and its key");
        let certificate = Certificate { pem: made.cert.pem(), fingerprint: format!("sha256:{hex}") };
        Self::listen(Some((Arc::new(config), certificate)))
    }

    /// A BMC without TLS.
    pub(crate) fn start_plain() -> Self {
        Self::listen(None)
    }

    fn listen(tls: Option<(Arc<ServerConfig>, Certificate)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (config, certificate) = tls.unzip();
        let bmc = Self {
            address: listener.local_addr().expect("an address"),
            tls: certificate,
            state: Arc::default(),
            ends: Arc::default(),
        };
        let (state, ends) = (Arc::clone(&bmc.state), Arc::clone(&bmc.ends));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let (state, config, ends) = (Arc::clone(&state), config.clone(), Arc::clone(&ends));
                std::thread::spawn(move || connection(stream, config, &state, &ends));
            }
        });
        bmc.put(
            "/redfish/v1/",
            r#"{"Id": "RootService", "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "Chassis": {"@odata.id": "/redfish/v1/Chassis"},
            "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}}"#,
        );
        bmc
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// The certificate's SHA-256 fingerprint, as the configuration has it.
    pub(crate) fn fingerprint(&self) -> &str {
        self.tls.as_ref().map_or("", |tls| &tls.fingerprint)
    }

    /// The certificate itself, which signs itself.
    pub(crate) fn pem(&self) -> &str {
        self.tls.as_ref().map_or("", |tls| &tls.pem)
    }

    /// Puts a resource in its place.
    pub(crate) fn put(&self, path: &str, body: impl Into<String>) {
        let body = body.into();
        self.put_with(path, move || body.clone());
    }

    /// Puts a resource in its place that says something else each time.
    pub(crate) fn put_with(&self, path: &str, body: impl Fn() -> String + Send + Sync + 'static) {
        self.state().resources.insert(path.into(), Arc::new(body));
    }

    /// Makes it a server: a system in a rack-mounted chassis, whose `EnvironmentMetrics` are these.
    pub(crate) fn be_a_server(&self, serial: &str, uuid: &str, metrics: impl Fn() -> String + Send + Sync + 'static) {
        let member = |path: &str| format!(r#"{{"Members": [{{"@odata.id": {path:?}}}]}}"#);
        self.put("/redfish/v1/Systems", member("/redfish/v1/Systems/1"));
        self.put(
            "/redfish/v1/Systems/1",
            format!(
                r#"{{"Id": "1", "UUID": {uuid:?}, "SerialNumber": {serial:?}, "Manufacturer": "Contoso",
                    "Model": "C-1U", "PowerState": "On", "Links": {{"Chassis": [{{"@odata.id": "/redfish/v1/Chassis/1"}}]}}}}"#
            ),
        );
        self.put("/redfish/v1/Chassis", member("/redfish/v1/Chassis/1"));
        self.put(
            "/redfish/v1/Chassis/1",
            format!(
                r#"{{"Id": "1", "ChassisType": "RackMount", "SerialNumber": {serial:?},
                    "Location": {{"Placement": {{"Rack": "R12", "Row": "C"}}}},
                    "EnvironmentMetrics": {{"@odata.id": "/redfish/v1/Chassis/1/EnvironmentMetrics"}}}}"#
            ),
        );
        self.put_with("/redfish/v1/Chassis/1/EnvironmentMetrics", metrics);
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Forgets all sessions, as after a restart.
    pub(crate) fn forget_sessions(&self) {
        self.state().sessions.clear();
    }

    /// How many sessions are open.
    pub(crate) fn sessions(&self) -> usize {
        self.state().sessions.len()
    }

    pub(crate) fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    /// How often this path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let wanted = format!("GET {path}");
        self.state().seen.requests.iter().filter(|request| **request == wanted).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A request, as far as it matters here; header names are in lower case.
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// An answer: status, further headers, body.
struct Reply(u16, String, String);

fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, state: &Mutex<State>, ends: &AtomicBool) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(300)));
    let stream: Box<dyn Stream> = match tls {
        Some(config) => {
            let Ok(connection) = ServerConnection::new(config) else { return };
            Box::new(StreamOwned::new(connection, stream))
        }
        None => Box::new(stream),
    };
    let mut stream = BufReader::new(stream);
    let mut is_first = true;
    while let Some(request) = request(&mut stream) {
        let mood = {
            let mut state = lock(state);
            state.seen.connections += u32::from(std::mem::take(&mut is_first));
            state.seen.requests.push(format!("{} {}", request.method, request.path));
            state.now += 1;
            state.seen.at_once = state.seen.at_once.max(state.now);
            state.mood
        };
        match mood {
            Mood::Slow(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Mood::Hangs => hang(state, ends),
            _ => {}
        }
        let Reply(status, headers, body) = reply(&request, mood, &mut lock(state));
        lock(state).now -= 1;
        let length = if mood == Mood::Truncated { body.len() + 100 } else { body.len() };
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        let stream = stream.get_mut();
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        if sent.and_then(|()| stream.flush()).is_err() || mood == Mood::Truncated || ends.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Waits for better times.
fn hang(state: &Mutex<State>, ends: &AtomicBool) {
    while lock(state).mood == Mood::Hangs && !ends.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn request(stream: &mut BufReader<Box<dyn Stream>>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn reply(request: &Request, mood: Mood, state: &mut State) -> Reply {
    let of = |status: u16, body: &str| Reply(status, String::new(), body.into());
    match mood {
        Mood::Busy(seconds) => return Reply(503, format!("Retry-After: {seconds}\r\n"), "{}".into()),
        Mood::Garbage => return of(200, "<html>no \u{7f} JSON"),
        Mood::Endless => return of(200, &" ".repeat(2 << 20)),
        Mood::Redirects => return Reply(302, "Location: https://127.0.0.1:1/redfish/v1/\r\n".into(), String::new()),
        _ => {}
    }
    const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
    if request.method == "POST" && request.path == SESSIONS {
        return log_in(request, mood, state);
    }
    let token = request.headers.get("x-auth-token").cloned().unwrap_or_default();
    let basic = request.headers.get("authorization").is_some_and(|value| *value == basic());
    let is_open = request.path.trim_end_matches('/') == "/redfish/v1";
    if !is_open && (mood == Mood::Refuses || !(basic || state.sessions.contains(&token))) {
        state.seen.refused += 1;
        return of(401, r#"{"error": {}}"#);
    }
    if request.method == "DELETE" && request.path == format!("{SESSIONS}/{token}") {
        state.sessions.remove(&token);
        state.seen.deleted += 1;
        return of(204, "");
    }
    match state.resources.get(&request.path) {
        Some(body) => of(200, &body()),
        None => of(404, r#"{"error": {}}"#),
    }
}

fn log_in(request: &Request, mood: Mood, state: &mut State) -> Reply {
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap_or_default();
    if mood == Mood::Refuses || body["UserName"] != USER || body["Password"] != PASSWORD {
        state.seen.refused += 1;
        return Reply(401, String::new(), r#"{"error": {}}"#.into());
    }
    state.seen.logins += 1;
    let token = format!("t{}", state.seen.logins);
    let headers = format!("X-Auth-Token: {token}\r\nLocation: {}/{token}\r\n", request.path);
    state.sessions.insert(token);
    Reply(201, headers, "{}".into())
}

/// The header of basic authentication with the right user and password.
fn basic() -> String {
    // RFC 4648 of "monitor:hunter2-is-no-password".
    "Basic bW9uaXRvcjpodW50ZXIyLWlzLW5vLXBhc3N3b3Jk".into()
}
