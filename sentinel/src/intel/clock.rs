//! The wall clock, handed in.

use crate::types::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where wall time comes from: [`crate::time::wall_now`], or what a test says.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl WallClock {
    /// The system's.
    pub fn system() -> Self {
        Self(Arc::new(crate::time::wall_now))
    }

    /// Another one.
    pub fn by(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// Time from `earlier` to `later`; zero where it lies behind.
pub(super) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_nanos(later.0.saturating_sub(earlier.0).max(0) as u64)
}
