//! The client that means well: downloads, pings, look-ups and a throughput test, over both families.

use super::services::{FILE_BYTES, content};
use crate::child;
use crate::net::Host;
use anyhow::{Context, Result};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Each transfer must come through within this time.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a benign client did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Traffic {
    /// `curl`, `ping`, `dig` or `iperf3`.
    pub tool: String,
    /// Who.
    pub client: String,
    /// Transfers that came through whole.
    pub transfers: u64,
    /// Transfers that did not.
    pub failures: u64,
    /// Payload received, as far as the tool says.
    pub bytes: u64,
    /// What the first failure looked like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
}

/// A client at work until told to stop.
pub struct Benign {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Traffic>>,
}

impl Benign {
    /// Starts one worker for each tool.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(client: &Host, server: &Host) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for tool in ["curl", "ping", "dig", "iperf3"] {
            let (client, server, stop) = (client.clone(), server.clone(), Arc::clone(&stop));
            let work = move || {
                let mut traffic = Traffic {
                    tool: tool.to_owned(),
                    client: client.v4.to_string(),
                    ..Traffic::default()
                };
                let mut v6 = false;
                // At least one transfer of each family, however short the lab.
                while !stop.load(Ordering::Relaxed) || traffic.transfers + traffic.failures < 2 {
                    match transfer(tool, &client, &server, v6) {
                        Ok(bytes) => {
                            traffic.transfers += 1;
                            traffic.bytes += bytes;
                        }
                        Err(_) if crate::interrupt::wanted() => break,
                        Err(error) => {
                            traffic.failures += 1;
                            traffic.first_failure.get_or_insert_with(|| format!("{error:#}"));
                        }
                    }
                    v6 = !v6;
                }
                traffic
            };
            workers.push(std::thread::Builder::new().name(tool.into()).spawn(work)?);
        }
        Ok(Self { stop, workers })
    }

    /// Ends the work after the transfer under way.
    pub fn finish(self) -> Vec<Traffic> {
        self.stop.store(true, Ordering::Relaxed);
        let broken = |_| Traffic {
            failures: 1,
            first_failure: Some("the worker broke".into()),
            ..Traffic::default()
        };
        self.workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(broken))
            .collect()
    }
}

/// One transfer; returns the bytes it brought.
pub(super) fn transfer(tool: &str, client: &Host, server: &Host, v6: bool) -> Result<u64> {
    let (address, family) = (server.address_of(v6), if v6 { "-6" } else { "-4" });
    match tool {
        "curl" => {
            let host = if v6 {
                format!("[{address}]")
            } else {
                address.to_string()
            };
            let into = tempfile::NamedTempFile::new()?;
            let line = format!(
                "curl -sS --noproxy * --max-time 60 -o {} http://{host}/file",
                into.path().display()
            );
            child::must(client.command(&line), PATIENCE)?;
            anyhow::ensure!(
                std::fs::read(into.path())? == content(),
                "the download is not what the server has"
            );
            // A person reads before the next click.
            std::thread::sleep(Duration::from_millis(50));
            Ok(FILE_BYTES as u64)
        }
        "ping" => {
            let line = format!("ping {family} -c 5 -i 0.1 -W 2 {address}");
            // Beside floods on the same processors one of five may be lost; all of them are not.
            child::must(client.command(&line), PATIENCE)?;
            Ok(5 * 64)
        }
        "dig" => {
            let kind = if v6 { "AAAA" } else { "A" };
            // As resolvers do: one packet may be lost on a machine that is starved; to whom is blocked, all are.
            let line = format!("dig +short +tries=3 +time=15 @{address} www.lab.test {kind}");
            let said = child::must(client.command(&line), PATIENCE)?;
            anyhow::ensure!(said.trim() == address.to_string(), "wrong answer: {said}");
            std::thread::sleep(Duration::from_millis(100));
            Ok(said.len() as u64)
        }
        _ => {
            // Rate-limited, so that the throughput test does not take the processors from what it accompanies.
            let line = format!("iperf3 {family} -c {address} -t 3 -b 50M -J --connect-timeout 30000");
            let said = child::must(client.command(&line), PATIENCE)?;
            let result: serde_json::Value = serde_json::from_str(&said).with_context(|| said.clone())?;
            let bytes = result["end"]["sum_received"]["bytes"]
                .as_u64()
                .with_context(|| said.clone())?;
            anyhow::ensure!(bytes > 0, "nothing came through");
            Ok(bytes)
        }
    }
}
