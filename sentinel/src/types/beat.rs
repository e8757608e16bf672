//! A sign of life.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted up by a room whenever its loop comes round. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Beat(Arc<AtomicU64>);

impl Beat {
    /// It came round.
    pub fn strike(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
