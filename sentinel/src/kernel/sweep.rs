//! Finds flows that went quiet: the kernel reports on packets, so the last words of a flow have to be fetched.
//!
//! Nothing is written back into a flow: a write would race with the kernel's own updates and lose packets. A flow is
//! recognised by the moment it turned quiet, so it is reported once, twice at most; records are cumulative, so a
//! second one changes nothing.

use super::maps::Shared;
use super::sys::{BatchCursor, lookup_batch};
use crate::config::KernelConfig;
use crate::types::Ktime;
use aya::maps::MapData;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{CAUSE_IDLE, FlowKey, FlowValue};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Elements fetched by one system call.
const BATCH: usize = 4096;
/// System calls of one [`FlowSweep::sweep`]: its bound.
const BATCHES: usize = 8;
/// Entries removed by one [`FlowSweep::sweep`].
const REMOVALS: usize = 8192;
/// The kernel's clock moves in steps of a jiffy (10 ms at most), and differs by as much between CPUs.
const CLOCK_STEP: Duration = Duration::from_millis(20);

/// Walks the flow map, a bounded stretch per call.
pub struct FlowSweep {
    flows: Arc<MapData>,
    shared: Arc<Shared>,
    cursor: BatchCursor,
    quiet: Duration,
    idle: Duration,
    /// When the pass before this one began, and this one.
    previous: Ktime,
    current: Ktime,
    seen: u64,
}

impl FlowSweep {
    pub(super) fn new(flows: Arc<MapData>, config: &KernelConfig, shared: Arc<Shared>) -> Self {
        Self {
            flows,
            shared,
            cursor: BatchCursor::default(),
            quiet: config.report_interval + CLOCK_STEP,
            idle: Duration::from_mins(1),
            previous: Ktime(0),
            current: Ktime(0),
            seen: 0,
        }
    }

    /// Quiet time after which a flow leaves the map; 60 s unless set. Best the same as `flow.idle_timeout`.
    #[must_use]
    pub const fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Looks at the next stretch of the map (32,768 flows at most) and returns a [`CAUSE_IDLE`] record of each that went quiet since
    /// it was last looked at, with packets unreported. Flows idle for longer leave the map.
    ///
    /// Call it every `report_interval` or so. A map that cannot be read yields nothing.
    pub fn sweep(&mut self, now: Ktime) -> Vec<FlowRecord> {
        let mut records = Vec::new();
        let mut removals = 0;
        for _ in 0..BATCHES {
            if self.cursor.at_start() {
                self.previous = self.current;
                self.current = now;
                self.seen = 0;
            }
            let Ok(found) = lookup_batch::<FlowKey, FlowValue>(self.flows.fd().as_fd(), &mut self.cursor, BATCH) else {
                self.cursor = BatchCursor::default();
                break;
            };
            self.seen += found.len() as u64;
            for (key, value) in found {
                let silence = now.since(Ktime(value.last_ns()));
                if silence >= self.idle && removals < REMOVALS {
                    removals += 1;
                    let _ = super::sys::delete(self.flows.fd().as_fd(), &key);
                }
                if self.turned_quiet(&value, now) {
                    records.push(FlowRecord::new(key, value, CAUSE_IDLE, now.0));
                }
            }
            if self.cursor.at_start() {
                self.shared.flows.store(self.seen, Ordering::Relaxed);
                break;
            }
        }
        records
    }

    /// Whether unreported packets lie in this flow, and it fell silent since the pass before looked.
    fn turned_quiet(&self, value: &FlowValue, now: Ktime) -> bool {
        let quiet_at = Ktime(value.last_ns()).after(self.quiet);
        value.unreported() > 0 && now >= quiet_at && quiet_at > self.previous
    }
}
