//! Finds flows that went quiet: the kernel reports on packets, so the last words of a flow have to be fetched.
//!
//! Read from the table's own memory, and nothing is written into it: that would race with the kernel and lose packets.
//! What was fetched is remembered until the kernel reports the same filling of the slot, and taken off that record
//! ([`FlowSweep::settle`]), so that every packet is told of once.

use super::fetched::{Fetched, Outstanding};
use super::flows::{AHEAD, FlowMemory};
use super::maps::Shared;
use crate::config::KernelConfig;
use crate::types::Ktime;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::CAUSE_IDLE;
use sentinel_common::slot::{HEAD_TOLD, Head, WAYS, silent, units};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Slots looked at by one [`FlowSweep::sweep`]: about 5 ms of reading.
const STRETCH: u32 = 1 << 20;
/// Records of one [`FlowSweep::sweep`], 1.5 MiB; what goes beyond comes with the next.
const RECORDS: usize = 1 << 13;
/// The kernel's clock moves in steps of a jiffy (10 ms at most), and differs by as much between CPUs.
const CLOCK_STEP: Duration = Duration::from_millis(20);
/// How long the kernel's own record of what was fetched is waited for at most, once the slot has moved on, where no
/// later record shows that there is none.
const OUTSTANDING: Duration = Duration::from_secs(30);

/// Walks the flow table, a bounded stretch per call.
pub struct FlowSweep {
    memory: Arc<FlowMemory>,
    shared: Arc<Shared>,
    /// As many as there are slots at most.
    fetched: Outstanding,
    /// Latest time in a record of the ring: what was made well before has all come.
    ring_at: Ktime,
    postponed: u64,
    at: u32,
    quiet: Duration,
    idle: Duration,
    seen: u64,
    cut: bool,
    records: usize,
}

impl FlowSweep {
    pub(super) fn new(memory: Arc<FlowMemory>, config: &KernelConfig, shared: Arc<Shared>) -> Self {
        Self {
            memory,
            shared,
            fetched: Outstanding::default(),
            ring_at: Ktime(0),
            postponed: 0,
            at: 0,
            quiet: config.report_interval + CLOCK_STEP,
            idle: Duration::from_mins(1),
            seen: 0,
            cut: false,
            records: RECORDS,
        }
    }

    /// Quiet time after which a flow no longer counts as held; 60 s unless set. Best the same as `flow.idle_timeout`.
    #[must_use]
    pub const fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Records of one sweep at most, but for those of one bucket; 8,192 unless set.
    #[must_use]
    pub const fn with_records(mut self, records: usize) -> Self {
        self.records = if records < WAYS { WAYS } else { records };
        self
    }

    /// Looks at the next stretch of the table (1,048,576 slots at most) and returns a [`CAUSE_IDLE`] record of what
    /// every flow in it left unreported before it went quiet, each packet once.
    ///
    /// Call it every `report_interval` or so, again where it [was cut short](FlowSweep::is_cut), and pass every record of
    /// the ring through [`FlowSweep::settle`]. `now` is the boot clock's, and not ahead of it: of a slot younger than half
    /// an interval the kernel takes for granted that it was not fetched.
    pub fn sweep(&mut self, now: Ktime) -> Vec<FlowRecord> {
        let mut records = Vec::new();
        let since = units(now.0);
        let [quiet, idle] = [self.quiet, self.idle].map(whole_units);
        let end = self.memory.slots().min(self.at.saturating_add(STRETCH));
        while self.at < end && records.len() + WAYS <= self.records {
            let first = self.at;
            if first.is_multiple_of((AHEAD * WAYS) as u32) {
                self.memory.fetch_heads(first);
            }
            self.at += WAYS as u32;
            let heads = self.memory.heads(first);
            // Mostly nothing is due: that is asked of all four before it is asked of each.
            let mut due = false;
            for head in &heads {
                let used = head.tag != 0;
                self.seen += u64::from(used && !silent(since, head.last, idle));
                due |= used && head.packets > 0 && silent(since, head.last, quiet);
            }
            if !due {
                continue;
            }
            for (slot, head) in (first..).zip(heads) {
                if head.tag != 0 && head.packets > 0 && silent(since, head.last, quiet) {
                    records.extend(self.fetch(slot, &head, now));
                }
            }
        }
        self.cut = self.at < end;
        if self.at == self.memory.slots() {
            self.at = 0;
            self.shared.flows.store(self.seen, Ordering::Relaxed);
            self.seen = 0;
            self.forget(now);
        }
        records
    }

    /// What a quiet slot has that was not told of yet.
    fn fetch(&mut self, slot: u32, head: &Head, now: Ktime) -> Option<FlowRecord> {
        let filling = (slot, head.seq);
        let before = self.fetched.get(filling);
        if before.is_some_and(|fetched| fetched.counts.packets == u64::from(head.packets)) {
            return None;
        }
        if before.is_none() && self.fetched.len() >= self.memory.slots() as usize {
            self.postponed += 1;
            return None;
        }
        let found = self.memory.slot(slot, head)?;
        if !self.memory.claim(slot, head) {
            return None;
        }
        let (key, counts) = (found.key(), found.half(head, now.0));
        let mut record = FlowRecord {
            header: FlowRecord::HEADER,
            now_ns: now.0,
            key,
            counts,
            state: u32::from(head.state & HEAD_TOLD),
            cause: CAUSE_IDLE,
            direction: found.direction(),
            ifindex: found.ifindex,
            slot,
            seq: u32::from(head.seq),
        };
        if let Some(before) = before {
            record.counts.subtract(&before.counts);
        }
        let fetched = Fetched {
            key,
            counts,
            moved: None,
        };
        self.fetched.insert(filling, fetched);
        Some(record)
    }

    /// Takes off a record of the ring what was fetched of it before; false where that leaves nothing to tell.
    pub fn settle(&mut self, record: &mut FlowRecord) -> bool {
        self.ring_at = self.ring_at.max(Ktime(record.now_ns));
        let filling = (record.slot, record.seq as u16);
        if self
            .fetched
            .get(filling)
            .is_none_or(|fetched| fetched.key != record.key)
        {
            return true;
        }
        if let Some(fetched) = self.fetched.remove(filling) {
            record.counts.subtract(&fetched.counts);
        }
        record.counts.packets > 0
    }

    /// Whether the last [`FlowSweep::sweep`] had as many records as it may have before its stretch was over.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Quiet flows not fetched because as many as there are slots wait for the kernel's own record; they are looked at
    /// again with the next pass.
    pub const fn postponed(&self) -> u64 {
        self.postponed
    }

    /// Lets go of what no record will come for: another flow took the slot, and all it held had been fetched.
    fn forget(&mut self, now: Ktime) {
        let (memory, ring_at) = (&self.memory, self.ring_at);
        self.fetched.retain(|(slot, seq), fetched| {
            if memory.head(slot).seq == seq {
                return true;
            }
            let moved = *fetched.moved.get_or_insert(now);
            // Records come in the order they were made in.
            ring_at < moved.after(CLOCK_STEP) && now.since(moved) < OUTSTANDING
        });
    }
}

fn whole_units(time: Duration) -> u32 {
    units(time.as_nanos() as u64)
}
