//! Records in, alerts out: the flow table and the detectors, driven by one task.

use crate::detect::Detectors;
use crate::flow::{FlowTable, Observation};
use crate::metrics::Metrics;
use crate::time;
use crate::types::Alert;
use sentinel_common::event::FlowRecord;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often timeouts are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Figures for `/stats`; written by the analysis and the guard, read by whoever counts.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Flows in the table.
    pub flows: AtomicU64,
    /// Sources with windows.
    pub sources: AtomicU64,
    /// How long interfaces were there and unprotected, ns.
    pub unprotected_ns: AtomicU64,
}

/// The room.
pub struct Analysis {
    table: FlowTable,
    detectors: Detectors,
    metrics: Arc<Metrics>,
    gauges: Arc<Gauges>,
    counted: HashMap<(&'static str, &'static str), u64>,
}

impl Analysis {
    /// Puts the parts together.
    pub fn new(table: FlowTable, detectors: Detectors, metrics: Arc<Metrics>, gauges: Arc<Gauges>) -> Self {
        Self {
            table,
            detectors,
            metrics,
            gauges,
            counted: HashMap::new(),
        }
    }

    /// Runs until the input closes; then the output closes too.
    pub async fn run(mut self, mut input: mpsc::Receiver<Vec<FlowRecord>>, output: mpsc::Sender<Arc<Alert>>) {
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let alerts = tokio::select! {
                batch = input.recv() => match batch {
                    Some(batch) => self.records(&batch),
                    None => return,
                },
                _ = timer.tick() => self.tick(),
            };
            for alert in alerts {
                if output.send(Arc::new(alert)).await.is_err() {
                    return;
                }
            }
        }
    }

    fn records(&mut self, batch: &[FlowRecord]) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for record in batch {
            let started = Instant::now();
            if let Some(observation) = self.table.apply(record) {
                alerts.extend(self.detectors.observe(&observation));
            }
            self.metrics.flow_score_seconds.observe(started.elapsed().as_secs_f64());
        }
        alerts
    }

    fn tick(&mut self) -> Vec<Alert> {
        let now = time::boot_now();
        self.detectors.set_clock(time::clock());
        let timeouts: Vec<Observation> = self.table.tick(now);
        let mut alerts: Vec<Alert> = timeouts.iter().flat_map(|o| self.detectors.observe(o)).collect();
        alerts.extend(self.detectors.tick(now));
        self.count_losses();
        self.gauges.flows.store(self.table.len() as u64, Ordering::Relaxed);
        self.gauges
            .sources
            .store(self.table.sources() as u64, Ordering::Relaxed);
        alerts
    }

    /// Passes on what tables gave up since the last time.
    fn count_losses(&mut self) {
        let losses = self.table.losses();
        let tables = [
            (("flow", "table_full"), losses.flows),
            (("flow", "sources_full"), losses.sources),
            (("flow", "unjudged"), losses.unjudged),
            (("flow", "stale"), losses.stale),
        ];
        let detectors = self.detectors.loads();
        let detectors = detectors
            .into_iter()
            .map(|(name, _, evicted)| (("detect", name.as_str()), evicted));
        for (place, total) in tables.into_iter().chain(detectors) {
            let before = self.counted.insert(place, total).unwrap_or(0);
            self.metrics.dropped(place.0, place.1, total - before);
        }
    }
}
