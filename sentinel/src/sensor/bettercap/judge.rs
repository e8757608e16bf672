//! The half of the sensor that makes flows of events.

use super::event::Event;
use super::flows::{FlowLosses, Flows};
use super::order::{HOLD, Order};
use crate::host::HostFacts;
use crate::metrics::Metrics;
use crate::time;
use crate::types::Ktime;
use sentinel_common::event::FlowRecord;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// How often flows gone quiet are looked for, and the reader is told that nothing came.
const SWEEP: Duration = Duration::from_millis(50);
/// Events put in order at once; more do not wait.
const WAITING: usize = 4096;
/// Events taken in one go.
const BATCH: usize = 1024;

/// Turns events into flow records.
pub struct BettercapFlows {
    pub(super) flows: Flows,
    pub(super) events: mpsc::Receiver<(i64, Event)>,
    pub(super) connected: Arc<AtomicBool>,
    pub(super) facts: watch::Receiver<Arc<HostFacts>>,
    /// Whether Bettercap runs on this host, so that its addresses are the near side's.
    pub(super) here: bool,
    pub(super) idle: Duration,
    pub(super) metrics: Arc<Metrics>,
}

impl BettercapFlows {
    /// Runs until the other half ends; then the output closes too. Records wait for their reader.
    ///
    /// An empty batch says that nothing more came until now: while connected and not behind, it is sent all the time.
    pub async fn run(mut self, output: mpsc::Sender<Vec<FlowRecord>>) {
        let mut timer = tokio::time::interval(SWEEP);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut order = Order::default();
        let mut batch = Vec::new();
        let (mut lost, mut was_connected) = (FlowLosses::default(), false);
        self.learn_near();
        loop {
            let mut records = Vec::new();
            let over = tokio::select! {
                received = self.events.recv_many(&mut batch, BATCH) => {
                    let now = Instant::now();
                    for (at, event) in batch.drain(..) {
                        order.put(at, event, now);
                    }
                    received == 0
                }
                _ = timer.tick() => {
                    if self.here && self.facts.has_changed().unwrap_or(false) {
                        self.learn_near();
                    }
                    false
                }
            };
            let (now, offset) = (Instant::now(), time::clock().offset_ns);
            let most = if over { 0 } else { WAITING };
            while let Some((at, event)) = order.take(now, most) {
                // A clock that is ahead of ours must not put flows into the future.
                let at = Ktime(at.saturating_sub(offset).max(1).cast_unsigned()).min(time::boot_now());
                self.flows.take(&event, at, &mut records);
            }
            let connected = self.connected.load(Ordering::Relaxed);
            if connected && !std::mem::replace(&mut was_connected, connected) {
                self.flows.connected();
            }
            was_connected = connected;
            let quiet = self.events.is_empty() && order.is_empty() && connected;
            let heard = if quiet {
                Ktime(time::boot_now().0.saturating_sub(HOLD.as_nanos() as u64))
            } else {
                self.flows.last()
            };
            self.flows.sweep(heard, self.idle, &mut records);
            self.count(&mut lost);
            self.metrics.records("bettercap", records.len());
            if !records.is_empty() && output.send(records).await.is_err() {
                return;
            }
            if over || quiet && output.send(Vec::new()).await.is_err() {
                return;
            }
        }
    }

    fn learn_near(&mut self) {
        if self.here {
            let facts = Arc::clone(&self.facts.borrow_and_update());
            self.flows.set_near(facts.addresses.iter().copied());
        }
    }

    fn count(&self, told: &mut FlowLosses) {
        let now = self.flows.losses();
        self.metrics.dropped("bettercap", "flows_full", now.talks - told.talks);
        self.metrics
            .dropped("bettercap", "homeless", now.homeless - told.homeless);
        *told = now;
    }
}
