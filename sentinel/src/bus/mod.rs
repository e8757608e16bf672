//! The live lane: events to whoever listens, and never a wait for them.
//!
//! In: [`Event`]s, after they became durable. Out: numbered [`Live`] events to any number of listeners.
//! Invariant: publishing never blocks; a listener that lags loses the oldest events and is told how many.
//! Deliberately elsewhere: durability (`store`).

use crate::types::{Event, Live};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;

/// Events a slow listener may be behind before it loses the oldest.
const LANE: usize = 4096;

/// The publishing end; cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus {
    sender: broadcast::Sender<Live>,
    seq: Arc<AtomicU64>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(LANE).0,
            seq: Arc::new(AtomicU64::new(0)),
        }
    }
}

impl Bus {
    /// Publishes to whoever listens now.
    pub fn publish(&self, event: Event) {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        // An error means that nobody listens, which is no loss.
        let _ = self.sender.send(Live { seq, event });
    }

    /// A new listener; it sees what is published from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Live> {
        self.sender.subscribe()
    }
}
