//! The kernel's flow map, in memory: the same key, the same update rule, the same reports.

use crate::flow::Bounded;
use crate::types::Ktime;
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{CAUSE_IDLE, Direction, FlowKey, FlowValue, STATE_ALLOWED};
use sentinel_common::packet::PacketMeta;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    value: FlowValue,
    /// Has packets that no report carried.
    unreported: bool,
    /// Stands in the queue of flows to look at.
    queued: bool,
}

/// Flows of a capture. A capture has no inside: of two hosts, the one that is seen to send first is the remote one.
#[derive(Debug)]
pub struct ModelFlows {
    flows: Bounded<FlowKey, Kept>,
    /// Of two hosts, smaller address first: whether the smaller one sent first.
    pairs: Bounded<(Addr, Addr), bool>,
    quiet: VecDeque<(u64, FlowKey)>,
    interval_ns: u64,
    created: u64,
}

impl ModelFlows {
    /// An empty map of `capacity` flows, reporting busy ones every `interval`.
    pub fn new(capacity: usize, interval: Duration) -> Self {
        Self {
            flows: Bounded::new(capacity),
            pairs: Bounded::new(capacity),
            quiet: VecDeque::new(),
            interval_ns: interval.as_nanos() as u64,
            created: 0,
        }
    }

    /// Flows created so far.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// The direction of a packet.
    pub fn direction(&mut self, packet: &PacketMeta) -> Direction {
        let smaller_sends = packet.src <= packet.dst;
        let pair = if smaller_sends {
            (packet.src, packet.dst)
        } else {
            (packet.dst, packet.src)
        };
        let smaller_first = *self.pairs.touch_or(pair, || smaller_sends);
        if smaller_first == smaller_sends {
            Direction::Ingress
        } else {
            Direction::Egress
        }
    }

    /// Accounts a packet that passed; a report if one is due, and the flow that made room, if one had to.
    pub fn packet(
        &mut self,
        packet: &PacketMeta,
        direction: Direction,
        allowed: Option<bool>,
        now: Ktime,
    ) -> (Option<FlowRecord>, Option<(FlowKey, FlowValue)>) {
        let key = FlowKey::of(packet, direction);
        let mut evicted = None;
        if self.flows.peek(&key).is_none() {
            self.created += 1;
            evicted = self.flows.insert(key, Kept::default()).map(|(k, kept)| (k, kept.value));
        }
        let Some(kept) = self.flows.touch(&key) else {
            return (None, evicted);
        };
        if let Some(allowed) = allowed {
            let without = kept.value.state & !STATE_ALLOWED;
            kept.value.state = if allowed { without | STATE_ALLOWED } else { without };
        }
        let report = kept
            .value
            .update(packet, direction, now.0, self.interval_ns)
            .map(|cause| {
                kept.value.mark_reported(now.0);
                FlowRecord::new(key, kept.value, cause, now.0)
            });
        kept.unreported = report.is_none();
        if kept.unreported && !kept.queued {
            kept.queued = true;
            self.quiet.push_back((now.0 + self.interval_ns, key));
        }
        (report, evicted)
    }

    /// Reports flows that went quiet with packets unreported.
    pub fn sweep(&mut self, now: Ktime) -> Vec<FlowRecord> {
        let mut records = Vec::new();
        while self.quiet.front().is_some_and(|(due, _)| *due <= now.0) {
            let Some((_, key)) = self.quiet.pop_front() else { break };
            let Some(kept) = self.flows.peek_mut(&key) else {
                continue;
            };
            kept.queued = false;
            if !kept.unreported {
                continue;
            }
            let last = kept.value.last_ns();
            if last + self.interval_ns > now.0 {
                kept.queued = true;
                self.quiet.push_back((last + self.interval_ns, key));
                continue;
            }
            kept.unreported = false;
            kept.value.mark_reported(now.0);
            records.push(FlowRecord::new(key, kept.value, CAUSE_IDLE, now.0));
        }
        records
    }

    /// Takes out a flow that has been quiet since before `horizon`, the quietest first.
    pub fn pop_idle(&mut self, horizon: Ktime) -> Option<(FlowKey, FlowValue)> {
        let idle = self
            .flows
            .oldest()
            .is_some_and(|(_, kept)| kept.value.last_ns() < horizon.0);
        if !idle {
            return None;
        }
        self.flows.pop_oldest().map(|(key, kept)| (key, kept.value))
    }
}
