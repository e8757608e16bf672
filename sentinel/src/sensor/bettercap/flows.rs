//! From packets as Bettercap tells them to flow records as the kernel makes them.

use super::event::{Event, Packet, Words};
use super::infer::{LONGEST, Talk};
use crate::flow::{Bounded, ModelFlows, Told};
use crate::types::Ktime;
use ipnet::IpNet;
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{Direction, FlowKey, PROTO_TCP, STATE_HANDSHAKE};
use sentinel_common::packet::PacketMeta;
use std::net::IpAddr;
use std::time::Duration;

/// Ports below this are servers' (RFC 6335, system ports).
const SYSTEM_PORTS: u16 = 1024;
/// So long after the first event a segment that looks like a SYN and may as well be an acknowledgement counts as the
/// latter: connections stood before we listened.
const NEWCOMER: Duration = Duration::from_secs(30);
/// Lengths of an acknowledgement without payload: without timestamps, and with.
const PLAIN_ACK: [u32; 2] = [20, 32];

/// What this sensor could not use, cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FlowLosses {
    /// Conversations forgotten because there were too many.
    pub(super) talks: u64,
    /// Application events without the flow they belong to.
    pub(super) homeless: u64,
}

/// What is kept of a TCP conversation.
#[derive(Clone, Copy, Debug)]
struct Kept {
    talk: Talk,
    /// The near side sent first.
    outward: bool,
    /// The near side is ours, and not only whoever answered: its word is a proof.
    ours: bool,
}

/// The table of flows of this sensor.
#[derive(Debug)]
pub(super) struct Flows {
    kernel: ModelFlows,
    talks: Bounded<FlowKey, Kept>,
    /// The latest TCP flow of each client.
    latest: Bounded<Addr, FlowKey>,
    /// In order.
    near: Vec<IpAddr>,
    inside: Vec<IpNet>,
    began: Option<Ktime>,
    last: Ktime,
    losses: FlowLosses,
}

impl Flows {
    /// An empty table of `capacity` flows, whose busy ones are reported every `interval`. `inside`: prefixes of our side.
    pub(super) fn new(capacity: usize, interval: Duration, inside: Vec<IpNet>) -> Self {
        Self {
            kernel: ModelFlows::new(capacity, interval),
            talks: Bounded::new(capacity),
            latest: Bounded::new((capacity / 8).max(16)),
            near: Vec::new(),
            inside,
            began: None,
            last: Ktime::default(),
            losses: FlowLosses::default(),
        }
    }

    /// A connection begins: what stood before was not heard.
    pub(super) fn connected(&mut self) {
        self.began = None;
    }

    /// The time of the latest event.
    pub(super) fn last(&self) -> Ktime {
        self.last
    }

    /// Says which addresses are ours, beside the prefixes.
    pub(super) fn set_near(&mut self, near: impl Iterator<Item = IpAddr>) {
        self.near = near.collect();
        self.near.sort_unstable();
    }

    /// What could not be used so far.
    pub(super) fn losses(&self) -> FlowLosses {
        FlowLosses {
            talks: self.talks.evicted(),
            ..self.losses
        }
    }

    fn near(&self, ip: &IpAddr) -> bool {
        self.near.binary_search(ip).is_ok() || self.inside.iter().any(|net| net.contains(ip))
    }

    /// Takes in an event of the time `at`; adds the records there are now.
    pub(super) fn take(&mut self, event: &Event, at: Ktime, records: &mut Vec<FlowRecord>) {
        // The flow table lets no time run backwards.
        self.last = self.last.max(at);
        match event {
            Event::Packet(packet) => self.packet(packet, records),
            Event::Words(words) => self.words(words, records),
            Event::Sighting(_) | Event::Other => {}
        }
    }

    /// Adds the records of flows gone quiet by `now`, and forgets those that are over.
    pub(super) fn sweep(&mut self, now: Ktime, idle: Duration, records: &mut Vec<FlowRecord>) {
        for mut record in self.kernel.sweep(now) {
            if let Some(kept) = self.talks.peek(&record.key) {
                prove(&mut record, *kept);
            }
            records.push(record);
        }
        let horizon = Ktime(now.0.saturating_sub(idle.as_nanos() as u64));
        while let Some((key, _)) = self.kernel.pop_idle(horizon) {
            self.talks.remove(&key);
        }
    }

    fn packet(&mut self, packet: &Packet, records: &mut Vec<FlowRecord>) {
        let header = if packet.src.is_ipv4() { 20 } else { 40 };
        let meta = PacketMeta {
            src: packet.src.into(),
            dst: packet.dst.into(),
            src_port: packet.src_port,
            dst_port: packet.dst_port,
            proto: packet.proto,
            ip_version: if packet.src.is_ipv4() { 4 } else { 6 },
            l3_len: packet.l4_len + header,
            payload_len: packet.l4_len.saturating_sub(8),
            ..PacketMeta::EMPTY
        };
        let near = (self.near(&packet.src), self.near(&packet.dst));
        let direction = match near {
            (false, true) => Direction::Ingress,
            (true, false) => Direction::Egress,
            _ => self.kernel.direction(&meta),
        };
        if packet.proto == PROTO_TCP {
            // Of two that are not ours either may be whoever forges the other.
            let ours = near != (false, false);
            self.segment(meta, packet.l4_len, packet.flags, (direction, ours), records);
        } else {
            let told = self.kernel.packet(&meta, direction, Some(false), self.last);
            records.extend(told.records);
        }
    }

    fn segment(
        &mut self,
        mut meta: PacketMeta,
        len: u32,
        flags: Option<u8>,
        (direction, ours): (Direction, bool),
        records: &mut Vec<FlowRecord>,
    ) {
        let outward = direction == Direction::Egress;
        let began = *self.began.get_or_insert(self.last);
        // What is neither a bare acknowledgement nor data may be a scan from a server's port.
        let plain = PLAIN_ACK.contains(&len) || len > LONGEST;
        let served = plain && meta.src_port < SYSTEM_PORTS && meta.dst_port >= SYSTEM_PORTS;
        let stood = self.last.since(began) < NEWCOMER && PLAIN_ACK.contains(&len);
        let key = FlowKey::of(&meta, direction);
        let mut new = false;
        let kept = self.talks.touch_or(key, || {
            new = true;
            Kept {
                talk: Talk::default(),
                outward,
                ours,
            }
        });
        let segment = kept.talk.segment(len, kept.outward == outward, !served && !stood);
        meta.tcp_flags = flags.unwrap_or(segment.flags);
        meta.payload_len = segment.payload;
        let kept = *kept;
        if new {
            self.latest.insert(meta.src, key);
        }
        self.told(&meta, direction, kept, records);
    }

    /// A packet of which only the words are told: it belongs to the latest connection of its client, if any.
    fn words(&mut self, words: &Words, records: &mut Vec<FlowRecord>) {
        let client = if words.answer { words.dst } else { Some(words.src) };
        let key = client.and_then(|client| self.latest.touch(&client.into()).copied());
        let sender = Addr::from(words.src);
        let found = key
            .filter(|key| key.remote == sender || key.local == sender)
            .and_then(|key| Some((key, self.talks.touch(&key)?)));
        let Some((key, kept)) = found else {
            self.losses.homeless += 1;
            return;
        };
        let outward = key.local == sender;
        let segment = kept.talk.words(kept.outward == outward);
        let kept = *kept;
        let (src, dst) = if outward {
            ((key.local, key.local_port), (key.remote, key.remote_port))
        } else {
            ((key.remote, key.remote_port), (key.local, key.local_port))
        };
        let header = if words.src.is_ipv4() { 20 } else { 40 };
        let meta = PacketMeta {
            src: src.0,
            dst: dst.0,
            src_port: src.1,
            dst_port: dst.1,
            proto: key.proto,
            tcp_flags: segment.flags,
            ip_version: if words.src.is_ipv4() { 4 } else { 6 },
            // At least: how long it was is not told.
            l3_len: header + 20 + segment.payload,
            payload_len: segment.payload,
            ..PacketMeta::EMPTY
        };
        let direction = if outward { Direction::Egress } else { Direction::Ingress };
        self.told(&meta, direction, kept, records);
    }

    fn told(&mut self, meta: &PacketMeta, direction: Direction, kept: Kept, records: &mut Vec<FlowRecord>) {
        let Told { records: told, evicted } = self.kernel.packet(meta, direction, Some(false), self.last);
        let key = FlowKey::of(meta, direction);
        for mut record in told {
            if record.key == key {
                prove(&mut record, kept);
            } else if let Some(kept) = self.talks.peek(&record.key) {
                prove(&mut record, *kept);
            }
            records.push(record);
        }
        if let Some((gone, _)) = evicted {
            self.talks.remove(&gone);
        }
    }
}

/// The far side receives what is sent to its address, if the near side's stack sent payload to it.
fn prove(record: &mut FlowRecord, kept: Kept) {
    if kept.ours && kept.talk.spoke(kept.outward) {
        record.state |= STATE_HANDSHAKE;
    }
}
