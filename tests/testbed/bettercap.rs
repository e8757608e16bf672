//! A real Bettercap, started as its users start it: with the caplet and the script this project ships.

use crate::child::Child;
use crate::net::Host;
use crate::wait;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Until it answers.
const START: Duration = Duration::from_secs(90);
/// Who may listen, and with which password.
pub const LOGIN: (&str, &str) = ("sentinel", "canary-bettercap-4f1b");

/// It listens on loopback in a host's namespace.
pub struct Bettercap {
    child: Child,
    host: Host,
}

impl Bettercap {
    /// Starts it on a host's `eth0` and waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in time; its output is in the error.
    pub fn start(host: &Host) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/bettercap/start.sh");
        // As compose hands it over.
        let mut password = tempfile::NamedTempFile::new()?;
        writeln!(password, "{}", LOGIN.1)?;
        let mut command = host.program(&script.to_string_lossy(), &[]);
        command
            .env("BETTERCAP_INTERFACE", "eth0")
            .env("BETTERCAP_USERNAME", LOGIN.0)
            .env("BETTERCAP_PASSWORD_FILE", password.path());
        let child = Child::spawn(command)?;
        let mut bettercap = Self {
            child,
            host: host.clone(),
        };
        let up = wait::until("Bettercap to answer", START, || {
            if let Some(status) = bettercap.child.ended()? {
                bail!("it ended with {status}");
            }
            // It answers before it listens.
            let sniffs = |session: &Value| {
                let modules = session["modules"].as_array()?;
                let sniffer = modules.iter().find(|module| module["name"] == "net.sniff")?;
                (sniffer["running"] == true).then_some(())
            };
            Ok(bettercap.session().ok().as_ref().and_then(sniffs))
        });
        let said = bettercap.child.output();
        up.map_err(|error| error.context(said))?;
        Ok(bettercap)
    }

    /// What it says of its session.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn session(&self) -> Result<Value> {
        let login = format!("{}:{}", LOGIN.0, LOGIN.1);
        let args = [
            "-s",
            "-f",
            "-m",
            "30",
            "-u",
            &login,
            "http://127.0.0.1:8081/api/session",
        ];
        let answer = crate::child::must(self.host.program("curl", &args), START)?;
        serde_json::from_str(&answer).context("its session is no JSON")
    }

    /// Settings of an agent in the same namespace that listens to it; the password lies in `file`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn settings(file: &Path) -> Result<Value> {
        std::fs::write(file, LOGIN.1)?;
        Ok(json!({ "url": "ws://127.0.0.1:8081", "username": LOGIN.0, "password_file": file }))
    }

    /// Stops it from running for a while, as a busy machine would; what it captures waits in the kernel.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.child.signal(signal)
    }
}
