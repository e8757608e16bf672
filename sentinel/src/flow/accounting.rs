//! The kernel's flow table, in memory: the same counting, the same reports; but both directions of a flow in one place,
//! and as many flows as there is room for, whatever their hash.

use super::Bounded;
use crate::types::Ktime;
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{
    CAUSE_EVICTED, CAUSE_IDLE, Direction, FlowKey, FlowValue, Half, PROTO_ICMPV6, STATE_REPORTED,
};
use sentinel_common::packet::PacketMeta;
use sentinel_common::slot::{HEAD_TOLD, Head, Slot, idle, units};
use sentinel_common::table::{Host, Pass, empty, wait};
use sentinel_common::talk;
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

/// A hash that all flows may have: each has a cell of its own.
const HASH: u64 = 0;
/// A tag likewise.
const TAG: u32 = 1;
/// Types of ICMPv6 by which routers and neighbours advertise themselves.
const ADVERTISEMENTS: [u16; 2] = [134, 136];

#[derive(Clone, Debug, Default)]
struct Kept {
    /// Ingress, then egress.
    halves: [(Head, Slot); 2],
    /// When the first packet since the last record of each came, and the latest: a capture's clock is finer than a slot's.
    times: [(Ktime, Ktime); 2],
    cell: Cell<talk::Cell>,
    /// What was reported.
    total: FlowValue,
    last: Ktime,
    /// Stands in the queue of flows to look at.
    queued: bool,
}

impl Kept {
    fn unreported(&self) -> bool {
        self.halves.iter().any(|(head, _)| head.packets > 0)
    }

    /// Reports what was not.
    fn flush(&mut self, cause: u32, now: Ktime, interval_ns: u64, records: &mut Vec<FlowRecord>) {
        for ((head, slot), times) in self.halves.iter_mut().zip(self.times) {
            if head.packets > 0 {
                let record = record(head, slot, cause, now, times);
                self.total.absorb(record.direction, &record.counts, record.state);
                records.push(record);
                head.state |= STATE_REPORTED as u16;
                empty(head, slot);
                slot.due = units(now.0).wrapping_add(wait(interval_ns));
            }
        }
    }
}

fn record(head: &Head, slot: &Slot, cause: u32, now: Ktime, (first, latest): (Ktime, Ktime)) -> FlowRecord {
    FlowRecord {
        header: FlowRecord::HEADER,
        now_ns: now.0,
        key: slot.key(),
        counts: Half {
            first_ns: first.0,
            last_ns: latest.0,
            ..slot.half(head, now.0)
        },
        state: u32::from(head.state & HEAD_TOLD),
        cause,
        direction: slot.direction(),
        ..FlowRecord::default()
    }
}

/// What a slot has around it here: a ring that is never full.
struct Around<'a> {
    cell: &'a Cell<talk::Cell>,
    now: Ktime,
    /// When the first packet since the last record came.
    first: Ktime,
    record: Option<FlowRecord>,
}

impl<'a> Host for Around<'a> {
    type Words = &'a Cell<talk::Cell>;

    fn words(&mut self, _hash: u64) -> Option<Self::Words> {
        Some(self.cell)
    }

    fn allowed(&mut self) -> bool {
        false
    }

    fn report(&mut self, head: &Head, slot: &Slot, _way: usize, cause: u32) -> bool {
        self.record = Some(record(head, slot, cause, self.now, (self.first, self.now)));
        true
    }

    fn taken(&mut self, _way: usize) -> u64 {
        0
    }

    fn evicted(&mut self, _packets: u32, _told: bool) {}

    fn hide(&self, way: u64) -> u64 {
        way
    }
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

/// What a packet brought about.
#[derive(Debug, Default)]
pub struct Told {
    /// Records, in order.
    pub records: Vec<FlowRecord>,
    /// The flow that made room, if one had to.
    pub evicted: Option<(FlowKey, FlowValue)>,
}

impl ModelFlows {
    /// An empty table of `capacity` flows, reporting busy ones every `interval`.
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
        // Who advertises itself was asked before, by everybody's address (RFC 4861).
        let answers = packet.proto == PROTO_ICMPV6 && ADVERTISEMENTS.contains(&packet.src_port);
        let smaller_first = *self.pairs.touch_or(pair, || smaller_sends != answers);
        if smaller_first == smaller_sends {
            Direction::Ingress
        } else {
            Direction::Egress
        }
    }

    /// Accounts a packet that passed.
    pub fn packet(&mut self, packet: &PacketMeta, direction: Direction, allowed: Option<bool>, now: Ktime) -> Told {
        let key = FlowKey::of(packet, direction);
        let mut told = Told::default();
        if self.flows.peek(&key).is_none() {
            self.created += 1;
            if let Some((key, mut kept)) = self.flows.insert(key, Kept::default()) {
                kept.flush(CAUSE_EVICTED, now, self.interval_ns, &mut told.records);
                told.evicted = Some((key, kept.total));
            }
        }
        let Some(kept) = self.flows.touch(&key) else {
            return told;
        };
        let pass = Pass {
            packet,
            direction,
            hash: HASH,
            now_ns: now.0,
            interval_ns: self.interval_ns,
            ifindex: 0,
            allowed,
            clear: 0,
        };
        let mut around = Around {
            cell: &kept.cell,
            now,
            first: now,
            record: None,
        };
        let number = direction.number() as usize;
        let (head, slot) = &mut kept.halves[number];
        let created = head.tag == 0 || idle(units(now.0), head.last);
        if created {
            pass.begin(head, slot, TAG, &mut around);
        }
        if head.packets == 0 {
            kept.times[number].0 = now;
        }
        around.first = kept.times[number].0;
        pass.add(head, slot, 0, created, &mut around);
        kept.times[number].1 = now;
        kept.last = now;
        if let Some(record) = around.record {
            kept.total.absorb(record.direction, &record.counts, record.state);
            told.records.push(record);
        }
        if kept.unreported() && !kept.queued {
            kept.queued = true;
            self.quiet.push_back((now.0 + self.interval_ns, key));
        }
        told
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
            if !kept.unreported() {
                continue;
            }
            let last = kept.last.0;
            if last + self.interval_ns > now.0 {
                kept.queued = true;
                self.quiet.push_back((last + self.interval_ns, key));
                continue;
            }
            kept.flush(CAUSE_IDLE, now, self.interval_ns, &mut records);
        }
        records
    }

    /// Takes out a flow that has been quiet since before `horizon`, the quietest first. Nothing of it is unreported
    /// by then, if the sweep is called as it should be.
    pub fn pop_idle(&mut self, horizon: Ktime) -> Option<(FlowKey, FlowValue)> {
        let idle = self.flows.oldest().is_some_and(|(_, kept)| kept.last < horizon);
        if !idle {
            return None;
        }
        let (key, mut kept) = self.flows.pop_oldest()?;
        kept.flush(CAUSE_IDLE, horizon, self.interval_ns, &mut Vec::new());
        Some((key, kept.total))
    }
}
