//! The kernel as a sensor: decodes ring batches and fetches what quiet flows left unreported.

use crate::kernel::{FlowSweep, Record, decode};
use crate::metrics::Metrics;
use crate::time;
use bytes::Bytes;
use sentinel_common::event::FlowRecord;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the flow table is looked through for flows gone quiet.
const SWEEP: Duration = Duration::from_millis(200);

/// The room.
pub struct XdpSensor {
    sweep: FlowSweep,
    metrics: Arc<Metrics>,
}

impl XdpSensor {
    /// A sensor over the kernel's flow table.
    pub fn new(sweep: FlowSweep, metrics: Arc<Metrics>) -> Self {
        Self { sweep, metrics }
    }

    /// Runs until the ring's channel closes; then the output closes too.
    pub async fn run(mut self, mut input: mpsc::Receiver<Bytes>, output: mpsc::Sender<Vec<FlowRecord>>) {
        let mut timer = tokio::time::interval(SWEEP);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let records = tokio::select! {
                batch = input.recv() => match batch {
                    Some(batch) => self.decode(&batch),
                    None => return,
                },
                _ = timer.tick() => {
                    let records = tokio::task::block_in_place(|| self.sweep.sweep(time::boot_now()));
                    self.metrics.records("sweep", records.len());
                    records
                }
            };
            if !records.is_empty() && output.send(records).await.is_err() {
                return;
            }
        }
    }

    fn decode(&mut self, batch: &[u8]) -> Vec<FlowRecord> {
        let records: Vec<FlowRecord> = decode(batch)
            .filter_map(|record| {
                record
                    .inspect_err(|error| self.metrics.dropped("decode", error.reason(), 1))
                    .ok()
            })
            .filter_map(|record| match record {
                Record::Flow(mut flow) => self.sweep.settle(&mut flow).then_some(flow),
                Record::Reflex(_) | Record::Return(_) | Record::SynFlood(_) => None,
            })
            .collect();
        self.metrics.records("ring", records.len());
        records
    }
}
