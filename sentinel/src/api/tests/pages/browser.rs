//! A headless Chromium, driven over its DevTools protocol: just enough to open a page, run a line of script and read the console.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "about:blank",
];

/// One browser with one page; ends with the value.
pub(super) struct Browser {
    child: Child,
    profile: TempDir,
    socket: Socket,
    session: Option<String>,
    next: u64,
    /// Console messages, exceptions and log entries (policy violations among them), as the browser tells them.
    pub(super) complaints: Vec<String>,
}

impl Browser {
    /// One that is logged in; `None` where no Chromium is installed.
    pub(super) async fn start() -> Option<Self> {
        let mut browser = Self::stranger().await?;
        browser
            .call("Network.setCookie", super::cookie_of_the_open_session())
            .await;
        Some(browser)
    }

    /// One that is not.
    pub(super) async fn stranger() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let child = Command::new("chromium")
            .args(ARGUMENTS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let port_file = profile.path().join("DevToolsActivePort");
        let deadline = Instant::now() + Duration::from_mins(1);
        let endpoint = loop {
            let text = std::fs::read_to_string(&port_file).unwrap_or_default();
            if let Some((port, path)) = text.split_once('\n') {
                break format!("ws://127.0.0.1:{port}{path}");
            }
            assert!(Instant::now() < deadline, "chromium did not start within 60 s");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let (socket, _) = tokio_tungstenite::connect_async(endpoint).await.unwrap();
        let mut browser = Self {
            child,
            profile,
            socket,
            session: None,
            next: 0,
            complaints: Vec::new(),
        };
        let page = browser
            .call("Target.createTarget", json!({ "url": "about:blank" }))
            .await;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({})).await;
        }
        Some(browser)
    }

    /// One command, and its result.
    pub(super) async fn call(&mut self, method: &str, params: Value) -> Value {
        let result = self.try_call(method, params).await;
        result.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.next += 1;
        let id = self.next;
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.socket
            .send(Message::Text(command.to_string().into()))
            .await
            .unwrap();
        loop {
            let message = tokio::time::timeout(Duration::from_mins(1), self.socket.next()).await;
            let Message::Text(text) = message.expect("no answer within 60 s").unwrap().unwrap() else {
                continue;
            };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == id {
                if !message["error"].is_null() {
                    return Err(message);
                }
                return Ok(message["result"].clone());
            }
            match message["method"].as_str() {
                Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => {
                    self.complaints.push(message["params"].to_string());
                }
                // A dialog means that somebody's script ran; it must not hang the test.
                Some("Page.javascriptDialogOpening") => self.complaints.push(text.to_string()),
                _ => {}
            }
        }
    }

    pub(super) async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
    }

    /// To another page of the dashboard, by its hash.
    pub(super) async fn go(&mut self, hash: &str) {
        self.eval(&format!("location.hash = {}", json!(hash))).await;
        let name = hash.trim_start_matches("#/").split(['/', '?']).next().unwrap();
        let name = if name.is_empty() { "home" } else { name };
        self.until(&format!("document.querySelector('#page').dataset.page === '{name}'"))
            .await;
    }

    /// How wide and high the page is, by day or night.
    pub(super) async fn shape(&mut self, width: u32, height: u32, dark: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// Keeps what is seen under `target/tmp/pages`.
    pub(super) async fn picture(&mut self, name: &str) {
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/pages");
        std::fs::create_dir_all(&folder).unwrap();
        let bytes = base64(taken["data"].as_str().unwrap());
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// What axe-core finds serious or worse in the page (WCAG 2.1 A and AA).
    pub(super) async fn barriers(&mut self) -> Vec<Value> {
        // Injected by the debugger: the page's own policy would not let it in.
        if self.eval("typeof axe").await != json!("object") {
            let axe = include_str!("../../testdata/axe/axe.min.js");
            self.eval(&format!("{axe}; 0")).await;
        }
        let tags = json!(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]);
        let found = self
            .eval(&format!(
                "axe.run(document, {{ runOnly: {tags} }}).then((r) => r.violations \
                 .filter((v) => ['serious', 'critical'].includes(v.impact)) \
                 .map((v) => ({{ rule: v.id, help: v.help, where: v.nodes.slice(0, 3).map((n) => n.html + ' ' + n.failureSummary) }})))"
            ))
            .await;
        found.as_array().unwrap().clone()
    }

    /// The value of an expression in the page; none where it has the page left before it is told.
    pub(super) async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = match self.try_call("Runtime.evaluate", params).await {
            Err(left) if left.to_string().contains("navigated or closed") => return Value::Null,
            told => told.unwrap_or_else(|error| panic!("{expression}: {error}")),
        };
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Polls until the expression is true; fails the test after a minute.
    pub(super) async fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + Duration::from_mins(1);
        // The page may not be there yet.
        let asked = format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
        let params = json!({ "expression": asked, "returnByValue": true });
        // A page that is left meanwhile has no answer.
        loop {
            let told = self.try_call("Runtime.evaluate", params.clone()).await;
            if told.is_ok_and(|told| told["result"]["value"] == json!(true)) {
                return;
            }
            if Instant::now() > deadline {
                let text = self.eval("document.body.innerText").await;
                panic!("not within 60 s: {expression}\n{text}\n{:?}", self.complaints);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// As Chromium sends bytes.
fn base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(value).collect();
    digits
        .chunks(4)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - chunk.len()));
            bits.to_be_bytes()[1..chunk.len()].to_vec()
        })
        .collect()
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Helper processes may still write there for a moment; what stays is a directory below /tmp.
        let _ = std::fs::remove_dir_all(self.profile.path());
    }
}
