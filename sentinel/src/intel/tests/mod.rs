//! Sources that say what a test wants, and the proofs that need many parts at once.

mod ask;
mod month;
mod provider;
mod redis;
mod restart;
mod scripted;

pub(super) use scripted::{IP, Scripted};

use super::{Intel, IntelSource, Upkeep, WallClock};
use crate::config::{Config, IntelConfig, SourcesConfig};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::types::{Answer, Secret, Severity, Timestamp};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Settings in which these sources are asked, with limits by minute, day and month.
fn config(sources: &[(&'static str, [u32; 3])]) -> IntelConfig {
    let mut config = IntelConfig::default();
    let all: &mut SourcesConfig = &mut config.sources;
    for (name, [minute, day, month]) in sources {
        let source = match *name {
            "virustotal" => &mut all.virustotal,
            "abuseipdb" => &mut all.abuseipdb,
            "otx" => &mut all.otx,
            "ipqualityscore" => &mut all.ipqualityscore,
            "greynoise" => &mut all.greynoise,
            other => panic!("{other}"),
        };
        source.key = Some(Secret::new("k3y-never-told"));
        (source.per_minute, source.per_day, source.per_month) = (*minute, *day, *month);
    }
    config
}

fn intel(config: &IntelConfig, sources: &[&Scripted], store: Option<Store>, clock: WallClock) -> (Intel, Upkeep) {
    let clients: Vec<Box<dyn IntelSource>> = sources.iter().map(|s| s.boxed()).collect();
    let thresholds = Config::default().risk_thresholds;
    Intel::with_clock(config, &thresholds, clients, store, Arc::new(Metrics::new()), clock)
}

/// Asks with something to gain, and returns the answers in the order in which they came.
async fn ask(intel: &Intel, ip: IpAddr, severity: Severity) -> Vec<Answer> {
    let mut answers = Vec::new();
    intel.ask_all(ip, severity, 0.65, |answer| answers.push(answer)).await;
    answers
}

/// Asks the first source past the scheduler; `fresh`, `cache`, or the error's label.
async fn ask_first(intel: &Intel, ip: IpAddr, severity: Severity) -> &'static str {
    match intel.each().next().unwrap().ask(ip, severity).await {
        Ok(reply) if reply.cached => "cache",
        Ok(_) => "fresh",
        Err(error) => error.label(),
    }
}

/// Some address of the Internet, another for every number.
fn address(n: u32) -> IpAddr {
    IpAddr::from((0x2d00_0000 + n).to_be_bytes())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A database with its writer.
struct Database {
    store: Store,
    writer: Option<JoinHandle<()>>,
}

impl Database {
    fn open(path: &Path) -> Self {
        let (store, writer) = Store::open(path).unwrap();
        let writer = Some(std::thread::spawn(move || writer.run()));
        Self { store, writer }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.store.close();
        self.writer.take().unwrap().join().unwrap();
    }
}

/// Polls until it holds; fails the test after a minute.
async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 60 s");
}

/// Median and 99th percentile, ms.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    (at(50), at(99))
}
