//! The kernel as a sensor: decodes ring batches and fetches what quiet flows left unreported.

use crate::detect::Notice;
use crate::kernel::{FlowSweep, Record, decode};
use crate::metrics::Metrics;
use crate::time;
use bytes::Bytes;
use sentinel_common::event::FlowRecord;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Records handed on at once: the channel to the flow table has its bound in batches, and a sweep fetches thousands.
const PIECE: usize = 512;
/// How often the flow table is looked through for flows gone quiet.
const SWEEP: Duration = Duration::from_millis(200);
/// So many parts of it at a time, however much is found.
const SWEEPS: usize = 8;
/// Batches of the ring at most that come between two parts of it: those must not fill its channel meanwhile.
const BETWEEN: usize = 64;

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

    /// Runs until the ring's channel closes; then the outputs close too. Flows wait for their reader; what the kernel
    /// noticed goes its own way from here, and beyond the bound is counted.
    pub async fn run(
        mut self,
        mut input: mpsc::Receiver<Bytes>,
        output: mpsc::Sender<Vec<FlowRecord>>,
        notices: mpsc::Sender<Notice>,
    ) {
        let mut timer = tokio::time::interval(SWEEP);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let goes_on = tokio::select! {
                batch = input.recv() => match batch {
                    Some(batch) => hand_on(self.decode(&batch, &notices), &output).await,
                    None => return,
                },
                _ = timer.tick() => {
                    let goes_on = self.sweep(&mut input, &output, &notices).await;
                    // One that took longer than the interval would be due again at once.
                    timer.reset();
                    goes_on
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// False where nobody listens any more.
    async fn sweep(
        &mut self,
        input: &mut mpsc::Receiver<Bytes>,
        output: &mpsc::Sender<Vec<FlowRecord>>,
        notices: &mpsc::Sender<Notice>,
    ) -> bool {
        for _ in 0..SWEEPS {
            let records = tokio::task::block_in_place(|| self.sweep.sweep(time::boot_now()));
            self.metrics.records("sweep", records.len());
            if !hand_on(records, output).await {
                return false;
            }
            if !self.sweep.is_cut() {
                break;
            }
            for _ in 0..BETWEEN {
                let Ok(batch) = input.try_recv() else { break };
                if !hand_on(self.decode(&batch, notices), output).await {
                    return false;
                }
            }
        }
        true
    }

    fn decode(&mut self, batch: &[u8], notices: &mpsc::Sender<Notice>) -> Vec<FlowRecord> {
        let records: Vec<FlowRecord> = decode(batch)
            .filter_map(|record| {
                record
                    .inspect_err(|error| self.metrics.dropped("decode", error.reason(), 1))
                    .ok()
            })
            .filter_map(|record| {
                let notice = match record {
                    Record::Flow(mut flow) => return self.sweep.settle(&mut flow).then_some(flow),
                    Record::Reflex(record) => Notice::Reflex(record),
                    Record::Return(record) => Notice::Return(record),
                    Record::SynFlood(record) => Notice::SynFlood(record),
                };
                if notices.try_send(notice).is_err() {
                    self.metrics.dropped("sensor", "notices_full", 1);
                }
                None
            })
            .collect();
        self.metrics.records("ring", records.len());
        records
    }
}

/// In order and in pieces, once there is room; false where nobody listens any more.
async fn hand_on(records: Vec<FlowRecord>, output: &mpsc::Sender<Vec<FlowRecord>>) -> bool {
    if records.len() <= PIECE {
        return records.is_empty() || output.send(records).await.is_ok();
    }
    for piece in records.chunks(PIECE) {
        if output.send(piece.to_vec()).await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sweep_of_many_is_handed_on_in_pieces() {
        let records: Vec<FlowRecord> = (0..=2 * PIECE as u32)
            .map(|slot| FlowRecord {
                slot,
                ..FlowRecord::default()
            })
            .collect();
        let (output, mut input) = mpsc::channel(8);
        assert!(hand_on(records.clone(), &output).await && hand_on(Vec::new(), &output).await);
        assert!(hand_on(records[..3].to_vec(), &output).await);
        drop(output);
        let mut came = Vec::new();
        while let Some(piece) = input.recv().await {
            came.push(piece);
        }
        assert_eq!(came.iter().map(Vec::len).collect::<Vec<_>>(), [PIECE, PIECE, 1, 3]);
        assert_eq!(came[..3].concat(), records);
        let (output, input) = mpsc::channel(1);
        drop(input);
        assert!(!hand_on(records, &output).await);
    }
}
