//! Records in, alerts out: the flow table and the detectors, driven by one task.

use super::Witness;
use super::busiest::Busy;
use super::learning::{self, Ask};
use crate::config::{Config, DetectorRoutes};
use crate::detect::{Detectors, Notice};
use crate::flow::{FlowTable, Observation};
use crate::metrics::{FeedFlowLabels, LevelLabels, Metrics};
use crate::model::Model;
use crate::time;
use crate::traffic::{self, Batch};
use crate::types::{
    Alert, Beat, BusyRequest, Component, FlowEnd, Health, Heard, Ktime, ModelCard, Peers, Renewals, hex,
};
use sentinel_common::event::FlowRecord;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How often timeouts are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often it is told who behaved well lately.
const PEERS: Duration = Duration::from_secs(5);

/// How often it is told who was heard of.
const HEARD: Duration = Duration::from_secs(1);

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
    health: watch::Sender<Arc<Health>>,
    peers: watch::Sender<Arc<Peers>>,
    /// When it was last told who behaved well.
    peers_at: Ktime,
    counted: HashMap<(&'static str, &'static str), u64>,
    judged: [u64; 3],
    listed: [u64; 2],
    model: Option<Arc<Model>>,
    card: Option<watch::Sender<Option<Arc<ModelCard>>>>,
    witness: Option<Witness>,
    busy: Option<Busy>,
    heard: Option<(watch::Sender<Arc<Heard>>, Duration)>,
    /// When it was last told who was heard of.
    heard_at: Ktime,
    ended: Option<mpsc::Sender<FlowEnd>>,
    paced: Option<Ktime>,
    traffic: Option<traffic::Sender>,
    renewals: Renewals<Arc<Config>>,
    beat: Beat,
}

impl Analysis {
    /// Puts the parts together.
    pub fn new(
        table: FlowTable,
        detectors: Detectors,
        metrics: Arc<Metrics>,
        gauges: Arc<Gauges>,
        health: watch::Sender<Arc<Health>>,
        peers: watch::Sender<Arc<Peers>>,
    ) -> Self {
        metrics.expect_alerts(DetectorRoutes::DETECTORS);
        Self {
            table,
            detectors,
            metrics,
            gauges,
            health,
            peers,
            peers_at: Ktime::default(),
            counted: HashMap::new(),
            judged: [0; 3],
            listed: [0; 2],
            model: None,
            card: None,
            witness: None,
            busy: None,
            heard: None,
            heard_at: Ktime::default(),
            ended: None,
            paced: None,
            traffic: None,
            renewals: Renewals::default(),
            beat: Beat::default(),
        }
    }

    /// Its sign of life.
    pub fn beat(&self) -> Beat {
        self.beat.clone()
    }

    /// Has it hear of other thresholds.
    #[must_use]
    pub fn with_renewals(self, renewals: Renewals<Arc<Config>>) -> Self {
        Self { renewals, ..self }
    }

    /// Has time pass by what it hears and not by the clock, for a sensor that may be behind: an answer that is still on
    /// its way is not missing. An empty batch says that nothing more came until now.
    #[must_use]
    pub fn paced(self) -> Self {
        Self {
            paced: Some(Ktime::default()),
            ..self
        }
    }

    /// Has it tell the traffic log of flows, under the name of the detectors' sensor; what the channel has no room for is
    /// counted and lost.
    #[must_use]
    pub fn with_traffic(mut self, traffic: Option<traffic::Sender>, config: &Config) -> Self {
        if traffic.is_some() {
            self.detectors = self.detectors.with_rows(config);
        }
        self.traffic = traffic;
        self
    }

    /// Has it told who behaved well and was heard of within `horizon`.
    #[must_use]
    pub fn with_heard(self, heard: watch::Sender<Arc<Heard>>, horizon: Duration) -> Self {
        Self {
            heard: Some((heard, horizon)),
            ..self
        }
    }

    /// Has it tell of flows that ended; what the channel has no room for is counted and lost.
    #[must_use]
    pub fn with_ended(self, ended: Option<mpsc::Sender<FlowEnd>>) -> Self {
        Self {
            table: self.table.with_ended(ended.is_some()),
            ended,
            ..self
        }
    }

    /// Has it tell which model judges.
    #[must_use]
    pub fn with_card(self, card: watch::Sender<Option<Arc<ModelCard>>>) -> Self {
        Self {
            card: Some(card),
            ..self
        }
    }

    /// Has it answer who asks for the busiest flows.
    #[must_use]
    pub fn with_busiest(self, questions: mpsc::Receiver<BusyRequest>) -> Self {
        Self {
            busy: Some(Busy::new(questions)),
            ..self
        }
    }

    /// Has established sessions of whom simulated decisions are about noted.
    #[must_use]
    pub fn with_witness(self, witness: Witness) -> Self {
        Self {
            witness: Some(witness),
            ..self
        }
    }

    /// Runs until the input closes; then the output closes too, and it stays until nobody can ask any more. What the kernel
    /// noticed is heard first.
    pub async fn run(
        mut self,
        mut input: mpsc::Receiver<Vec<FlowRecord>>,
        mut notices: mpsc::Receiver<Notice>,
        mut asks: mpsc::Receiver<Ask>,
        output: mpsc::Sender<Arc<Alert>>,
    ) {
        self.watch(&mut input, &mut notices, &mut asks, output).await;
        self.end_rows();
        // What was gathered up to the end is still asked for.
        while let Some(ask) = asks.recv().await {
            learning::answer(&mut self.detectors, ask, time::boot_now());
        }
    }

    async fn watch(
        &mut self,
        input: &mut mpsc::Receiver<Vec<FlowRecord>>,
        notices: &mut mpsc::Receiver<Notice>,
        asks: &mut mpsc::Receiver<Ask>,
        output: mpsc::Sender<Arc<Alert>>,
    ) {
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let alerts = tokio::select! {
                biased;
                Some(notice) = notices.recv() => self.detectors.notice(&notice).into_iter().collect(),
                _ = timer.tick() => self.tick(),
                Some(ask) = asks.recv() => {
                    learning::answer(&mut self.detectors, ask, time::boot_now());
                    Vec::new()
                }
                renewal = self.renewals.next() => {
                    self.detectors.renew(&renewal.settings);
                    // Whoever asked may have left.
                    let _ = renewal.taken.send(Ok(()));
                    Vec::new()
                }
                Some(question) = Busy::next(&mut self.busy) => {
                    if let Some(busy) = &mut self.busy {
                        busy.answer(question, &self.table, time::boot_now());
                    }
                    Vec::new()
                }
                batch = input.recv() => match batch {
                    Some(batch) => self.records(&batch),
                    None => return,
                },
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
        if let Some(heard) = &mut self.paced {
            let until = batch.iter().map(|record| Ktime(record.now_ns)).max();
            *heard = until.unwrap_or_else(time::boot_now).max(*heard);
        }
        for record in batch {
            let started = Instant::now();
            if let Some(observation) = self.table.apply(record) {
                if let Some(witness) = &mut self.witness {
                    witness.see(&observation);
                }
                alerts.extend(self.detectors.record(record, &observation));
            }
            self.metrics.flow_score_seconds.observe(started.elapsed().as_secs_f64());
        }
        alerts
    }

    fn tick(&mut self) -> Vec<Alert> {
        self.beat.strike();
        let now = self.paced.unwrap_or_else(time::boot_now);
        self.detectors.set_clock(time::clock());
        let timeouts: Vec<Observation> = self.table.tick(now);
        let mut alerts: Vec<Alert> = timeouts.iter().flat_map(|o| self.detectors.observe(o)).collect();
        alerts.extend(self.detectors.tick(now));
        self.tell_ended();
        self.tell_rows();
        self.count_losses();
        if let Some(witness) = &mut self.witness {
            self.metrics.dropped("simulation", "bystanders_full", witness.tell(now));
        }
        self.count_judged();
        self.count_listed();
        if now.since(self.peers_at) >= PEERS {
            self.peers_at = now;
            let good = Arc::new(self.detectors.good_peers(now));
            self.peers.send_if_modified(|told| {
                let news = *told != good;
                if news {
                    *told = good;
                }
                news
            });
        }
        if let Some((heard, horizon)) = &self.heard
            && now.since(self.heard_at) >= HEARD
        {
            self.heard_at = now;
            heard.send_replace(Arc::new(self.detectors.heard_peers(now, *horizon)));
        }
        if let Some(condition) = self.detectors.model_condition() {
            self.health
                .send_if_modified(|board| Health::note(board, Component::Model, condition));
        }
        self.gauges.flows.store(self.table.len() as u64, Ordering::Relaxed);
        self.gauges
            .sources
            .store(self.table.sources() as u64, Ordering::Relaxed);
        alerts
    }

    fn tell_ended(&mut self) {
        let Some(told) = &self.ended else { return };
        let (ended, mut lost) = self.table.take_ended();
        for flow in ended {
            lost += u64::from(told.try_send(flow).is_err());
        }
        if lost > 0 {
            self.metrics.dropped("export", "flows_full", lost);
        }
    }

    fn tell_rows(&mut self) {
        let Some(told) = &self.traffic else { return };
        let (rows, mut lost) = self.detectors.take_rows();
        let count = rows.len() as u64;
        if count > 0 {
            let batch = Batch {
                sensor: self.detectors.sensor().into(),
                clock: time::clock(),
                rows,
            };
            if told.try_send(batch).is_err() {
                lost += count;
            }
        }
        self.metrics.dropped("traffic", "channel_full", lost);
    }

    /// The log is told of flows that go on, too, and may close.
    fn end_rows(&mut self) {
        if self.traffic.is_some() {
            // What waits leaves room for what follows.
            self.tell_rows();
            self.detectors.finish_rows();
            self.tell_rows();
            self.traffic = None;
        }
    }

    /// Passes on which model judges, and what it found since the last time.
    fn count_judged(&mut self) {
        let Some((model, judged)) = self.detectors.judged() else {
            return;
        };
        if !self.model.as_ref().is_some_and(|known| Arc::ptr_eq(known, model)) {
            let record = model.record();
            let calibrated = record.description.site.is_some();
            self.metrics
                .set_model(record.schema.version, hex(model.sha256()), calibrated);
            if let Some(card) = &self.card {
                card.send_replace(self.detectors.model_card().map(Arc::new));
            }
            self.model = Some(Arc::clone(model));
            self.judged = [0; 3];
        }
        for ((level, now), before) in ["judged", "suspicious", "flag"]
            .into_iter()
            .zip(judged)
            .zip(self.judged)
        {
            let counter = self.metrics.model_flows.get_or_create(&LevelLabels { level });
            counter.inc_by(now.saturating_sub(before));
        }
        self.judged = judged;
    }

    /// Passes on how many flows went to listed addresses, and came from them, since the last time.
    fn count_listed(&mut self) {
        let listed = self.detectors.listed_flows();
        for ((direction, now), before) in ["out", "in"].into_iter().zip(listed).zip(self.listed) {
            let counter = self.metrics.feed_flows.get_or_create(&FeedFlowLabels { direction });
            counter.inc_by(now.saturating_sub(before));
        }
        self.listed = listed;
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
        let features = self.detectors.feature_losses().unwrap_or_default();
        let features = [
            (("features", "flows_full"), features.flows),
            (("features", "sources_full"), features.sources),
            (("features", "destinations_full"), features.destinations),
            (("features", "pairs_full"), features.pairs),
            (("features", "services_full"), features.services),
            (("features", "sketches_full"), features.sketches),
        ];
        let detectors = self.detectors.loads();
        let detectors = detectors
            .into_iter()
            .map(|(name, _, evicted)| (("detect", name.as_str()), evicted));
        for (place, total) in tables.into_iter().chain(features).chain(detectors) {
            let before = self.counted.insert(place, total).unwrap_or(0);
            self.metrics.dropped(place.0, place.1, total - before);
        }
    }
}

#[cfg(test)]
mod tests;
