//! What is written, and what becomes of it when whoever it is for is not as it should be.

mod formats;
mod loss;
mod server;
mod servers;

use super::room::{Deps, open, readers};
use crate::bus::Bus;
use crate::config::ExportConfig;
use crate::metrics::Metrics;
use crate::store::{Record, Store};
use crate::types::testing::alert;
use crate::types::{Alert, Component, Condition, DecisionId, FlowEnd, Health, Hits, Mint, Stats, Timestamp};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// When the tests' agents began.
const STARTED: Timestamp = Timestamp(1_000_000_000_000);

/// A database and its writer.
struct Books {
    store: Store,
    writer: Option<JoinHandle<()>>,
}

impl Books {
    fn open(path: &Path) -> Self {
        let (store, writer) = Store::open(path).unwrap();
        Self {
            store,
            writer: Some(std::thread::spawn(move || writer.run())),
        }
    }

    /// Stores so many alerts, one second apart; their names.
    async fn alerts(&self, mint: &mut Mint, seconds: std::ops::Range<i64>) -> Vec<String> {
        let alerts: Vec<Arc<Alert>> = seconds
            .map(|second| Arc::new(alert(mint, Timestamp(second * 1_000_000_000))))
            .collect();
        let names = alerts.iter().map(|alert| alert.id.to_string()).collect();
        self.store
            .commit(alerts.into_iter().map(Record::Alert).collect())
            .await
            .unwrap();
        names
    }

    /// Waits until each sink knows where it begins: what is stored from then on is no history to it.
    async fn begun(&self, config: &ExportConfig) {
        let deadline = Instant::now() + Duration::from_mins(1);
        for sink in readers(config) {
            while self.store.cursor(sink).await.unwrap().is_none() {
                assert!(Instant::now() < deadline, "{sink}: no beginning within 60 s");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        self.store.close();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

/// A running exporter.
struct Running {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    cancel: CancellationToken,
    health: watch::Receiver<Arc<Health>>,
    metrics: Arc<Metrics>,
    reopen: watch::Sender<u64>,
    hits: watch::Sender<Arc<HashMap<DecisionId, Hits>>>,
    stats: watch::Sender<Arc<Stats>>,
    flows: Option<mpsc::Sender<FlowEnd>>,
}

impl Running {
    fn start(config: &ExportConfig, store: &Store) -> Self {
        let (health_tx, health) = watch::channel(Arc::default());
        let (reopen, reopened) = watch::channel(0);
        let (hits, hits_rx) = watch::channel(Arc::default());
        let (stats, stats_rx) = watch::channel(Arc::default());
        let metrics = Arc::new(Metrics::new());
        metrics.watch_stats(stats_rx.clone());
        let cancel = CancellationToken::new();
        let deps = Deps {
            store: store.clone(),
            bus: Bus::default(),
            metrics: Arc::clone(&metrics),
            health: health_tx,
            reopen: reopened,
            hits: hits_rx,
            stats: stats_rx,
            started: STARTED,
        };
        let export = open(config, deps, &cancel);
        Self {
            tasks: export.rooms.into_iter().map(|(_, room)| tokio::spawn(room)).collect(),
            cancel,
            health,
            metrics,
            reopen,
            hits,
            stats,
            flows: export.flows,
        }
    }

    /// An orderly end.
    async fn stop(self) -> Arc<Metrics> {
        self.cancel.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.metrics
    }

    /// As by `kill -9`: nothing is handed over any more.
    async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
    }

    fn counted(&self, sink: &str, result: &str) -> u64 {
        counted(&self.metrics, sink, result)
    }

    /// What is wrong, if anything is.
    fn wrong(&self) -> Option<String> {
        match self.health.borrow().components.get(&Component::Export) {
            Some(Condition::Degraded { cause, mend }) => Some(format!("{cause}: {mend}")),
            _ => None,
        }
    }
}

/// `sentinel_export_events_total` of a sink.
fn counted(metrics: &Metrics, sink: &str, result: &str) -> u64 {
    let line = format!("sentinel_export_events_total{{sink=\"{sink}\",result=\"{result}\"}} ");
    let text = metrics.encode().unwrap();
    text.lines()
        .find_map(|found| found.strip_prefix(&line)?.parse().ok())
        .unwrap_or(0)
}

/// Polls until it holds; fails after a minute.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within 60 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The file alone, in a folder.
fn file_only(dir: &Path) -> (ExportConfig, PathBuf) {
    let mut config = ExportConfig::default();
    let path = dir.join("eve.json");
    config.eve.file.clone_from(&path);
    (config, path)
}

/// The lines of a file that are there and whole.
fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The names of the alerts in them.
fn alerts_in(path: &Path) -> Vec<String> {
    let lines = lines(path).into_iter().filter(|line| line["event_type"] == "alert");
    lines
        .map(|line| line["sentinel"]["alert"]["id"].as_str().unwrap().to_owned())
        .collect()
}
