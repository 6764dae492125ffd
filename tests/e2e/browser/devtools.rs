//! A headless Chromium, driven over its DevTools protocol: JSON over a WebSocket.

use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::harness::{tool, wait_for};

/// A browser on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(40);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: String,
    number: u64,
    /// What the page complained of: exceptions, errors, what its policy refused.
    pub(crate) complaints: Vec<String>,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one; nothing, and a visible line, where there is no Chromium.
    pub(crate) fn start(skipped: &str) -> Option<Self> {
        let program = tool("chromium", skipped)?;
        let profile = tempfile::tempdir().expect("a directory");
        let log = File::create(profile.path().join("log")).expect("a log");
        let mut command = Command::new(program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]);
        command.args(["--no-first-run", "--disable-extensions", "--disable-background-networking"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("chromium");
        let file = profile.path().join("DevToolsActivePort");
        let address = wait_for("the browser", PATIENCE, || {
            let text = std::fs::read_to_string(&file).ok()?;
            let (port, path) = text.trim().split_once('\n')?;
            Some(format!("ws://127.0.0.1:{port}{path}"))
        });
        let (socket, _) = tungstenite::connect(address).expect("its socket");
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        }
        let (complaints, session) = (Vec::new(), String::new());
        let mut browser = Self { child, socket, session, number: 0, complaints, profile };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let asked = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", asked);
        attached["sessionId"].as_str().expect("a session").clone_into(&mut self.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.call(domain, json!({}));
        }
        self.size(1280, 1000);
    }

    /// Calls a method and gives its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.attempt(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a method and gives its result, or the error that the browser answers.
    fn attempt(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.number += 1;
        let mut call = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_empty() && !method.starts_with("Browser.") {
            call["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(call.to_string())).expect("an open socket");
        loop {
            let message = self.socket.read().unwrap_or_else(|why| panic!("{method}: {why}"));
            let Message::Text(text) = message else { continue };
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["id"] == self.number {
                let error = &answer["error"];
                return if error.is_null() { Ok(answer["result"].clone()) } else { Err(error.clone()) };
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.complaints.push(params["exceptionDetails"].to_string()),
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"]["text"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }

    /// Goes to an address and waits until it is there.
    pub(crate) fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.until(
            "the page",
            &format!("document.readyState === 'complete' && location.href !== 'about:blank' && {url:?}.length > 0"),
        );
    }

    /// What an expression comes to.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", asked);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    pub(crate) fn text(&mut self, expression: &str) -> String {
        self.eval(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&mut self, what: &str, expression: &str) {
        // A page that is on its way has no body yet.
        let tried = format!("(() => {{ try {{ return {expression} }} catch {{ return false }} }})()");
        let asked = json!({ "expression": tried, "returnByValue": true, "awaitPromise": true });
        // Asked while one page goes and the next one comes, the browser answers neither yes nor no.
        let mut is_so =
            || self.attempt("Runtime.evaluate", asked.clone()).is_ok_and(|of| of["result"]["value"] == true);
        wait_for(what, PATIENCE, || is_so().then_some(()));
    }

    /// Clicks on the link with this text, and waits until the address is as the link says.
    pub(crate) fn follow(&mut self, text: &str) {
        let find = format!("[...document.querySelectorAll('a')].find((a) => a.textContent.trim() === {text:?})");
        let href = self.text(&format!("{find}?.href ?? ''"));
        assert!(!href.is_empty(), "there is no link {text:?} in {}", self.text("document.body.innerText"));
        self.eval(&format!("{find}.click()"));
        self.until(
            "the page behind the link",
            &format!("location.href === {href:?} && document.readyState === 'complete'"),
        );
    }

    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    pub(crate) fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["rawKeyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": 9 }),
            );
        }
    }

    /// Where downloads go.
    pub(crate) fn downloads(&mut self) -> std::path::PathBuf {
        let folder = self.profile.path().join("downloads");
        std::fs::create_dir_all(&folder).expect("a folder");
        let asked = json!({ "behavior": "allow", "downloadPath": folder.to_str() });
        self.call("Browser.setDownloadBehavior", asked);
        folder
    }

    /// Leaves a picture of the whole page for people to look at.
    pub(crate) fn picture(&mut self, name: &str) {
        let asked = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self.call("Page.captureScreenshot", asked);
        let bytes = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().expect("a picture"));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dashboard-{name}.png"));
        std::fs::write(path, bytes.expect("base64")).expect("a file");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
