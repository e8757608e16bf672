//! The ring's reader: copies raw records into batches, on a timer, and never waits for whoever takes them.
//!
//! The kernel wakes nobody per record; reading every couple of milliseconds costs a tenth of that. The copy frees the
//! ring at once, so that a slow consumer fills the channel, where the loss is counted here, and not the ring.

use super::decode::is_notice;
use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use sentinel_common::event::{FlowRecord, ReflexRecord, ReturnRecord, SynFloodRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// What a batch has room for, bytes; it is full where another record might not fit.
const BATCH_BYTES: usize = 64 * 1024;
/// The longest record there is, bytes.
const RECORD_BYTES: usize = size_of::<FlowRecord>();
const _: () = {
    assert!(size_of::<ReflexRecord>() <= RECORD_BYTES);
    assert!(size_of::<ReturnRecord>() <= RECORD_BYTES);
    assert!(size_of::<SynFloodRecord>() <= RECORD_BYTES);
};
/// What the kernel noticed is kept from batches that nobody took, up to so many bytes: flows are told of again, a notice once.
const KEPT_BYTES: usize = 16 * 1024;
/// Batches read in one go before other tasks get a turn.
const BATCHES_PER_TURN: usize = 64;

/// Reads the ring.
pub struct RingReader {
    ring: Option<RingBuf<MapData>>,
    poll_interval: Duration,
    lost: Arc<AtomicU64>,
    batch: Records,
    /// Those of `batch` that go into the next one where nobody takes it.
    notices: Records,
}

/// Raw records back to back, and how many.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    number: u64,
}

impl Records {
    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.number += 1;
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.number = 0;
    }

    fn is_full(&self) -> bool {
        self.bytes.len() > BATCH_BYTES - RECORD_BYTES
    }
}

impl RingReader {
    /// Of any ring of such records; the product's own is [`Kernel::ring`](super::Kernel::ring).
    pub fn over(ring: RingBuf<MapData>, poll_interval: Duration) -> Self {
        Self::new(Some(ring), poll_interval, Arc::default())
    }

    pub(super) fn new(ring: Option<RingBuf<MapData>>, poll_interval: Duration, lost: Arc<AtomicU64>) -> Self {
        Self {
            ring,
            poll_interval,
            lost,
            batch: Records {
                bytes: Vec::with_capacity(BATCH_BYTES),
                number: 0,
            },
            notices: Records::default(),
        }
    }

    /// Records dropped so far because the channel was full.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Reads until cancelled or until nobody listens any more. Each item is many raw records back to back, for
    /// [`decode`](super::decode). A full channel costs the newest batch, which is counted; what the kernel noticed is taken out of it
    /// and goes with the next. Where the channel runs full, only full batches go into it: its bound is in batches.
    ///
    /// What is in the ring at the moment of cancellation is still handed on.
    pub async fn run(mut self, out: mpsc::Sender<Bytes>, cancel: CancellationToken) {
        self.read(&out, &cancel).await;
        self.lost.fetch_add(self.batch.number, Ordering::Relaxed);
    }

    async fn read(&mut self, out: &mpsc::Sender<Bytes>, cancel: &CancellationToken) {
        let mut timer = tokio::time::interval(self.poll_interval.max(Duration::from_micros(100)));
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                biased;
                () = cancel.cancelled() => true,
                _ = timer.tick() => false,
            };
            loop {
                let Ok(more) = self.turn(out, last) else { return };
                if !more {
                    break;
                }
                tokio::task::yield_now().await;
                if last {
                    // A flood would keep a last reading going for ever.
                    return;
                }
            }
            if last {
                return;
            }
        }
    }

    /// Hands on up to [`BATCHES_PER_TURN`] batches; whether there may be more.
    fn turn(&mut self, out: &mpsc::Sender<Bytes>, last: bool) -> Result<bool, Closed> {
        for _ in 0..BATCHES_PER_TURN {
            self.fill();
            let full = self.batch.is_full();
            let scarce = out.capacity() < out.max_capacity() - out.max_capacity() / 4 && !out.is_closed();
            if self.batch.number == 0 || !full && scarce && !last {
                return Ok(false);
            }
            match out.try_send(Bytes::copy_from_slice(&self.batch.bytes)) {
                Ok(()) => {
                    self.batch.clear();
                    self.notices.clear();
                }
                Err(mpsc::error::TrySendError::Full(_)) => {
                    let kept = self.notices.number;
                    self.lost.fetch_add(self.batch.number - kept, Ordering::Relaxed);
                    self.batch.clear();
                    self.batch.bytes.extend_from_slice(&self.notices.bytes);
                    self.batch.number = kept;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.batch.clear();
                    return Err(Closed);
                }
            }
            if !full {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies records out of the ring until the batch is full.
    fn fill(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        while !self.batch.is_full()
            && let Some(record) = ring.next()
        {
            self.batch.push(&record);
            if is_notice(&record) && self.notices.bytes.len() + record.len() <= KEPT_BYTES {
                self.notices.push(&record);
            }
        }
    }
}

/// Nobody listens any more.
struct Closed;

#[cfg(test)]
mod tests {
    use super::super::decode::bytes;
    use super::*;
    use sentinel_common::event::{Header, KIND_FLOW, KIND_REFLEX};

    fn reader() -> (RingReader, Arc<AtomicU64>) {
        let lost = Arc::default();
        (RingReader::new(None, Duration::ZERO, Arc::clone(&lost)), lost)
    }

    fn flow() -> Vec<u8> {
        let mut flow = FlowRecord::default();
        flow.header.kind = KIND_FLOW;
        bytes(&flow)
    }

    fn fill_up(reader: &mut RingReader) {
        while !reader.batch.is_full() {
            reader.batch.push(&flow());
        }
    }

    #[test]
    fn where_the_channel_runs_full_only_full_batches_go_into_it() {
        let (mut reader, lost) = reader();
        let (out, mut taken) = mpsc::channel(8);
        // A quarter of the channel is room for batches of any size.
        for _ in 0..2 {
            reader.batch.push(&flow());
            assert!(reader.turn(&out, false).is_ok_and(|more| !more));
            assert_eq!(reader.batch.number, 0);
        }
        out.try_send(Bytes::new()).unwrap();
        reader.batch.push(&flow());
        assert!(reader.turn(&out, false).is_ok_and(|more| !more));
        assert_eq!((taken.len(), reader.batch.number), (3, 1), "it waits to be filled up");
        fill_up(&mut reader);
        assert!(reader.turn(&out, false).is_ok());
        assert_eq!((taken.len(), reader.batch.number), (4, 0), "it is full");
        // The last one goes as it is, and so does one where the channel was emptied.
        reader.batch.push(&flow());
        assert!(reader.turn(&out, true).is_ok());
        assert_eq!(taken.len(), 5);
        reader.batch.push(&flow());
        while taken.try_recv().is_ok() {}
        assert!(reader.turn(&out, false).is_ok());
        assert_eq!(taken.try_recv().unwrap().len(), size_of::<FlowRecord>());
        assert_eq!(lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_channel_costs_flows_which_are_counted_and_no_notice() {
        let (mut reader, lost) = reader();
        let (out, mut taken) = mpsc::channel(1);
        out.try_send(Bytes::new()).unwrap();
        let notice = bytes(&ReflexRecord {
            header: Header {
                kind: KIND_REFLEX,
                ..Header::default()
            },
            ..ReflexRecord::default()
        });
        reader.batch.push(&notice);
        reader.notices.push(&notice);
        fill_up(&mut reader);
        let flows = reader.batch.number - 1;
        assert!(reader.turn(&out, false).is_ok());
        assert_eq!(lost.load(Ordering::Relaxed), flows);
        assert!(taken.try_recv().unwrap().is_empty());
        assert!(reader.turn(&out, false).is_ok());
        assert_eq!(&taken.try_recv().unwrap()[..], notice, "it came with the next");
        assert_eq!((reader.batch.number, reader.notices.number), (0, 0));
        // Nobody listens any more: an end, not a loss.
        drop(taken);
        reader.batch.push(&flow());
        assert!(reader.turn(&out, false).is_err());
        assert_eq!(lost.load(Ordering::Relaxed), flows);
    }
}
