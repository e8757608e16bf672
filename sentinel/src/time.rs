//! The only place that reads a clock.

use crate::types::{Clock, Ktime, Timestamp};
use nix::time::{ClockId, clock_gettime};

fn nanos(clock: ClockId) -> i64 {
    // Both clocks exist on every kernel this runs on; a zero would only make entries expire at once.
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}

/// `CLOCK_BOOTTIME` now.
pub fn boot_now() -> Ktime {
    Ktime(nanos(ClockId::CLOCK_BOOTTIME).max(0) as u64)
}

/// The wall clock now.
pub fn wall_now() -> Timestamp {
    Timestamp(nanos(ClockId::CLOCK_REALTIME))
}

/// How the two clocks stand to each other now.
pub fn clock() -> Clock {
    Clock {
        offset_ns: wall_now().0 - boot_now().0 as i64,
    }
}
