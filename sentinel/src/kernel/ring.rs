//! The ring's reader: copies raw records into batches, on a timer, and never waits for whoever takes them.
//!
//! The kernel wakes nobody per record; reading every couple of milliseconds costs a tenth of that. The copy frees the
//! ring at once, so that a slow consumer fills the channel, where the loss is counted here, and not the ring.

use super::decode::is_notice;
use aya::maps::{MapData, RingBuf};
use bytes::{Bytes, BytesMut};
use sentinel_common::event::FlowRecord;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// What a batch has room for, bytes. It is handed on once another record might not fit, and so never grows: a batch that did
/// would hold twice of what is in it for as long as it waits.
const BATCH_BYTES: usize = 64 * 1024;
/// The longest record there is, bytes.
const RECORD_BYTES: usize = size_of::<FlowRecord>();
/// What the kernel noticed is kept from batches that nobody took, up to so many bytes: flows are told of again, a notice once.
const KEPT_BYTES: usize = 16 * 1024;
/// Batches read in one go before other tasks get a turn.
const BATCHES_PER_TURN: usize = 64;

/// Reads the ring.
pub struct RingReader {
    ring: Option<RingBuf<MapData>>,
    poll_interval: Duration,
    lost: Arc<AtomicU64>,
    kept: Records,
}

/// Raw records back to back, and how many.
#[derive(Default)]
struct Records {
    bytes: BytesMut,
    number: u64,
}

impl Records {
    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.number += 1;
    }

    /// Whether another record might not fit.
    fn is_full(&self) -> bool {
        self.bytes.len() > BATCH_BYTES - RECORD_BYTES
    }
}

impl RingReader {
    pub(super) fn new(ring: Option<RingBuf<MapData>>, poll_interval: Duration, lost: Arc<AtomicU64>) -> Self {
        Self {
            ring,
            poll_interval,
            lost,
            kept: Records::default(),
        }
    }

    /// Records dropped so far because the channel was full.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Reads until cancelled or until nobody listens any more. Each item is many raw records back to back, for
    /// [`decode`](super::decode). A full channel costs the newest batch, which is counted; what the kernel noticed is taken out of it
    /// and goes with the next.
    ///
    /// What is in the ring at the moment of cancellation is still handed on.
    pub async fn run(mut self, out: mpsc::Sender<Bytes>, cancel: CancellationToken) {
        self.read(&out, &cancel).await;
        self.lost.fetch_add(self.kept.number, Ordering::Relaxed);
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
                let Ok(more) = self.turn(out) else { return };
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
    fn turn(&mut self, out: &mpsc::Sender<Bytes>) -> Result<bool, Closed> {
        for _ in 0..BATCHES_PER_TURN {
            let (batch, notices) = self.batch();
            if batch.number == 0 {
                return Ok(false);
            }
            let full = batch.is_full();
            match out.try_send(batch.bytes.freeze()) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.lost.fetch_add(batch.number - notices.number, Ordering::Relaxed);
                    self.kept = notices;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Closed),
            }
            if !full {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was kept, and records copied out of the ring, up to the size of a batch; and the notices among them, up to theirs.
    fn batch(&mut self) -> (Records, Records) {
        let mut notices = std::mem::take(&mut self.kept);
        let mut batch = Records {
            bytes: BytesMut::with_capacity(BATCH_BYTES),
            number: notices.number,
        };
        batch.bytes.extend_from_slice(&notices.bytes);
        let Some(ring) = &mut self.ring else {
            return (batch, notices);
        };
        while !batch.is_full()
            && let Some(record) = ring.next()
        {
            batch.push(&record);
            if is_notice(&record) && notices.bytes.len() + record.len() <= KEPT_BYTES {
                notices.push(&record);
            }
        }
        (batch, notices)
    }
}

/// Nobody listens any more.
struct Closed;
