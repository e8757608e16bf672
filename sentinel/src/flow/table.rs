//! The table of bidirectional flows.

use super::pace::Pace;
use super::sources::{Change, Sources};
use super::{Bounded, Cause, Fate, Observation, Stealth, Tally};
use crate::config::FlowConfig;
use crate::types::{FlowEnd, FlowState, Ktime, Service};
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{
    CAUSE_CLOSE, CAUSE_FIRST, CAUSE_IDLE, EGRESS, FlowKey, INGRESS, KEY_FRAGMENT, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP,
    PROTO_UDP, STATE_ALLOWED, STATE_CLOSED, STATE_HANDSHAKE, STATE_OPENED_BY_EGRESS, STATE_REPORTED,
};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// Flows pushed out before their time to answer was over, kept for the next tick to judge. More are counted and lost.
const EARLY: usize = 8192;
/// Flows that ended, kept until they are fetched. More are counted and lost.
const ENDED: usize = 16_384;
/// Time after the first record in which a UDP packet from a well-known port to a high one may answer a request that
/// went out before we watched, and is therefore no probe.
const STRANGER: Duration = Duration::from_secs(30);
/// How long after its beginning a UDP flow may still turn out to belong to a TCP connection.
const COMPANION_KNOWN: Duration = Duration::from_secs(5);
/// Ports below this are servers' (RFC 6335, system ports).
const SYSTEM_PORTS: u16 = 1024;
/// Payload of a greeting: a responder that says more was listened to.
const GREETING: u64 = 512;

/// What a flow table had to give up, cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowLosses {
    /// Flows forgotten because the table was full.
    pub flows: u64,
    /// Initiators forgotten because their table was full.
    pub sources: u64,
    /// Unanswered flows among the forgotten that were never judged.
    pub unjudged: u64,
    /// Records that said nothing new.
    pub stale: u64,
}

/// Bits of [`Entry::bits`]. Reversed: the near side opened the flow.
pub(super) const REVERSED: u8 = 1;
pub(super) const COMPLETED: u8 = 2;
pub(super) const CLOSED: u8 = 4;
const COMPANION: u8 = 8;
const WAITING: u8 = 16;
const PROVEN: u8 = 32;
pub(super) const ALLOWED: u8 = 64;

/// What is kept per flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) forward: Tally,
    pub(super) reverse: Tally,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    seen: Ktime,
    pub(super) pace: Pace,
    forward_len_max: u32,
    fate: Fate,
    bits: u8,
}

impl Entry {
    /// What is kept of a flow that is first heard of by this record.
    fn begun(record: &FlowRecord) -> Self {
        let counts = &record.counts;
        let outward = record.direction == EGRESS;
        let opened_by_egress = if counts.syn > 0 {
            outward
        } else if counts.synack > 0 {
            !outward
        } else {
            record.state & STATE_OPENED_BY_EGRESS != 0
        };
        Self {
            forward: Tally::default(),
            reverse: Tally::default(),
            first_ns: counts.first_ns,
            last_ns: counts.last_ns,
            seen: Ktime(record.now_ns),
            pace: Pace::default(),
            forward_len_max: 0,
            fate: Fate::Open,
            bits: if opened_by_egress { REVERSED } else { 0 },
        }
    }

    pub(super) fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    fn set(&mut self, bit: u8, on: bool) {
        self.bits = if on { self.bits | bit } else { self.bits & !bit };
    }
}

/// Bidirectional flows and what their initiators did lately. Synchronous; takes the time, reads no clock.
#[derive(Debug)]
pub struct FlowTable {
    flows: Bounded<FlowKey, Entry>,
    sources: Sources,
    /// Flows that wait for an answer, in the order in which their time runs out.
    waiting: VecDeque<(Ktime, FlowKey)>,
    early: VecDeque<(FlowKey, Entry)>,
    idle_timeout: Duration,
    answer_timeout: Duration,
    egress: bool,
    born: Option<Ktime>,
    unjudged: u64,
    stale: u64,
    /// What ended since it was last fetched, where anybody wants to know.
    ended: Option<Vec<FlowEnd>>,
    ended_lost: u64,
}

impl FlowTable {
    /// An empty table.
    pub fn new(config: &FlowConfig) -> Self {
        Self {
            flows: Bounded::new(config.max_flows),
            sources: Sources::new(config.max_sources),
            waiting: VecDeque::new(),
            early: VecDeque::new(),
            idle_timeout: config.idle_timeout,
            answer_timeout: config.answer_timeout,
            egress: true,
            born: None,
            unjudged: 0,
            stale: 0,
            ended: None,
            ended_lost: 0,
        }
    }

    /// Has it keep flows that end for [`FlowTable::take_ended`].
    #[must_use]
    pub fn with_ended(mut self, keep: bool) -> Self {
        self.ended = keep.then(Vec::new);
        self
    }

    /// Flows that ended since the last time, and how many more did that there was no room for.
    pub fn take_ended(&mut self) -> (Vec<FlowEnd>, u64) {
        let ended = self.ended.as_mut().map(std::mem::take).unwrap_or_default();
        (ended, std::mem::take(&mut self.ended_lost))
    }

    fn over(&mut self, key: &FlowKey, entry: &Entry) {
        match &mut self.ended {
            None => {}
            Some(ended) if ended.len() < ENDED => ended.push(end(key, entry)),
            Some(_) => self.ended_lost += 1,
        }
    }

    /// Says whether records carry both directions (`kernel.egress`). Without what goes out no answer is ever seen:
    /// then silence proves nothing, and a handshake counts as completed once its initiator goes on.
    #[must_use]
    pub fn with_egress(mut self, egress: bool) -> Self {
        self.egress = egress;
        self
    }

    /// Flows held.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether no flow is held.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// What is held, most recently touched first.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&FlowKey, &Entry)> {
        self.flows.iter().rev()
    }

    /// What is held of a flow.
    pub(super) fn entry(&self, key: &FlowKey) -> Option<&Entry> {
        self.flows.peek(key)
    }

    /// Initiators held.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// What had to be given up so far.
    pub fn losses(&self) -> FlowLosses {
        FlowLosses {
            flows: self.flows.evicted(),
            sources: self.sources.evicted(),
            unjudged: self.unjudged,
            stale: self.stale,
        }
    }

    /// Upper bound of the table's heap, bytes, whatever the traffic: about 64 MiB with the default limits.
    pub fn memory_bound(config: &FlowConfig) -> usize {
        // A deque may have just doubled.
        let waiting = 2 * config.max_flows * size_of::<(Ktime, FlowKey)>();
        Bounded::<FlowKey, Entry>::memory_bound(config.max_flows)
            + Sources::memory_bound(config.max_sources)
            + waiting
            + 2 * EARLY * size_of::<(FlowKey, Entry)>()
            + 2 * ENDED * size_of::<FlowEnd>()
    }

    /// Takes in a record. `None` where it says nothing new.
    pub fn apply(&mut self, record: &FlowRecord) -> Option<Observation> {
        let now = Ktime(record.now_ns);
        self.born.get_or_insert(now);
        let counts = &record.counts;
        let known = self.flows.peek(&record.key).copied();
        if let Some(before) = known.filter(|known| fresh_connection(record, known)) {
            self.over(&record.key, &before);
        }
        let known = known.filter(|known| !fresh_connection(record, known));
        let new = known.is_none();
        let mut entry = known.unwrap_or_else(|| Entry::begun(record));
        let (was_completed, was_closed) = (entry.has(COMPLETED), entry.has(CLOSED));
        let came = Tally::from(counts);
        let ahead = entry.has(REVERSED) == (record.direction == EGRESS);
        let (mut forward_delta, mut reverse_delta) = (Tally::default(), Tally::default());
        if ahead {
            entry.forward.absorb(&came);
            entry.forward_len_max = entry.forward_len_max.max(counts.len_max);
            forward_delta = came;
        } else {
            entry.reverse.absorb(&came);
            reverse_delta = came;
        }
        if counts.packets > 0 {
            entry.first_ns = entry.first_ns.min(counts.first_ns);
            entry.last_ns = entry.last_ns.max(counts.last_ns);
        }
        entry.seen = entry.seen.max(now);
        entry.pace.add(now, &came);
        if new || record.direction == INGRESS {
            // What goes out is not asked about each time.
            entry.set(ALLOWED, record.state & STATE_ALLOWED != 0);
        }
        if record.state & STATE_HANDSHAKE != 0 {
            entry.set(PROVEN, true);
        }
        if record.key.proto == PROTO_TCP {
            let completed = was_completed || self.completed(&entry);
            entry.set(COMPLETED, completed);
            let both = entry.forward.fin > 0 && entry.reverse.fin > 0;
            entry.set(CLOSED, was_closed || both || record.state & STATE_CLOSED != 0);
        }
        if !new && came.packets == 0 && was_completed == entry.has(COMPLETED) && was_closed == entry.has(CLOSED) {
            self.stale += 1;
            return None;
        }
        let was_fate = if new { Fate::Open } else { entry.fate };
        entry.fate = self.fate(&record.key, &entry, was_fate, false, now);

        let (source, target) = ends(&record.key, &entry);
        // The TCP connection may be reported as completed a little after the UDP flow began.
        let young = now.since(Ktime(entry.first_ns)) <= COMPANION_KNOWN;
        if record.key.proto == PROTO_UDP && young && self.sources.companion(&source.0, target, now) {
            entry.set(COMPANION, true);
        }
        let begins = new || ahead && entry.forward.packets == came.packets;
        if begins {
            self.await_answer(&record.key, &mut entry, now);
        }
        let cause = match record.cause {
            CAUSE_FIRST if new => Cause::First,
            CAUSE_CLOSE if entry.has(CLOSED) => Cause::Close,
            CAUSE_IDLE => Cause::Idle,
            _ => Cause::Periodic,
        };
        let change = Change {
            opened: new,
            talked: entry.fate == Fate::Talked && was_fate != Fate::Talked,
            completed: entry.has(COMPLETED) && !was_completed,
        };
        let mut observation = observe(&record.key, &entry);
        observation.window = self.sources.note(source.0, target, now, change);
        observation.at = if cause == Cause::Idle {
            Ktime(entry.last_ns)
        } else {
            now
        };
        observation.cause = cause;
        observation.forward_delta = forward_delta;
        observation.reverse_delta = reverse_delta;
        observation.new = new;
        observation.completed_now = change.completed;
        observation.closed_now = entry.has(CLOSED) && !was_closed;
        observation.fate_now = entry.fate != was_fate;

        // Whoever was forgotten while its answer was still due is judged at the next tick.
        let pushed_out = self.flows.insert(record.key, entry);
        if let Some((key, pushed_out)) = &pushed_out {
            self.over(key, pushed_out);
        }
        if let Some((key, pushed_out)) = pushed_out.filter(|(_, entry)| entry.has(WAITING)) {
            if self.early.len() < EARLY {
                self.early.push_back((key, pushed_out));
            } else {
                self.unjudged += 1;
            }
        }
        if begins && entry.has(WAITING) {
            self.queue(record.key, now);
        }
        Some(observation)
    }

    /// Lets time pass: judges who was not answered in time, forgets who has been quiet too long.
    pub fn tick(&mut self, now: Ktime) -> Vec<Observation> {
        let mut out = Vec::new();
        while let Some((key, mut entry)) = self.early.pop_front() {
            out.extend(self.time_out(&key, &mut entry, now));
        }
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            let Some((due, key)) = self.waiting.pop_front() else {
                break;
            };
            out.extend(self.judge_waiting(&key, due));
        }
        let horizon = |timeout: Duration| Ktime(now.0.saturating_sub(timeout.as_nanos() as u64));
        let quiet_since = horizon(self.idle_timeout);
        while self.flows.oldest().is_some_and(|(_, e)| e.seen < quiet_since) {
            if let Some((key, entry)) = self.flows.pop_oldest() {
                self.over(&key, &entry);
            }
        }
        self.sources
            .forget(horizon(self.idle_timeout.max(Duration::from_secs(64))));
        out
    }

    fn judge_waiting(&mut self, key: &FlowKey, due: Ktime) -> Option<Observation> {
        let mut entry = *self.flows.peek(key)?;
        if !entry.has(WAITING) {
            return None;
        }
        let observation = self.time_out(key, &mut entry, due);
        if let Some(kept) = self.flows.peek_mut(key) {
            *kept = entry;
        }
        observation
    }

    /// The wait of a flow is over: an observation, if it came to nothing.
    fn time_out(&mut self, key: &FlowKey, entry: &mut Entry, at: Ktime) -> Option<Observation> {
        entry.set(WAITING, false);
        let before = entry.fate;
        entry.fate = self.fate(key, entry, before, true, at);
        if entry.fate == before || !entry.fate.failed() {
            return None;
        }
        let (source, target) = ends(key, entry);
        let mut observation = observe(key, entry);
        observation.window = self.sources.note(source.0, target, at, Change::default());
        observation.at = at;
        observation.fate_now = true;
        Some(observation)
    }

    /// Marks a new flow that asks for an answer.
    fn await_answer(&self, key: &FlowKey, entry: &mut Entry, now: Ktime) {
        let (_, (target, _)) = ends(key, entry);
        let asks = match key.proto {
            PROTO_TCP => entry.forward.syn > 0 && !entry.has(COMPLETED),
            PROTO_UDP => {
                entry.reverse.packets == 0 && self.egress && !to_many(target) && !self.stranger(key, entry, now)
            }
            _ => false,
        };
        if key.flags & KEY_FRAGMENT != 0 || !asks || entry.fate != Fate::Open {
            return;
        }
        entry.set(WAITING, true);
    }

    /// Puts a flow in the queue of those that wait, once whoever it pushed out is gone.
    fn queue(&mut self, key: FlowKey, now: Ktime) {
        if self.waiting.len() >= self.flows.capacity() {
            // More openings than flows fit: most of these flows were pushed out, and judged for that, already.
            let lost = self.waiting.pop_front();
            let waits = lost
                .and_then(|(_, key)| self.flows.peek(&key))
                .is_some_and(|e| e.has(WAITING));
            self.unjudged += u64::from(waits);
        }
        self.waiting.push_back((now.after(self.answer_timeout), key));
    }

    /// Whether a UDP flow may be the answer to a request from before our time.
    fn stranger(&self, key: &FlowKey, entry: &Entry, now: Ktime) -> bool {
        served(key, entry) && self.born.is_some_and(|born| now.since(born) < STRANGER)
    }

    /// Whether a TCP handshake was completed.
    fn completed(&self, entry: &Entry) -> bool {
        let (ahead, back) = (&entry.forward, &entry.reverse);
        let went_on = ahead.ack > ahead.rst;
        // Payload both ways on a flow that began before we looked is as good as a handshake.
        let spoke = ahead.payload > 0 && back.payload > 0;
        let proven = entry.has(PROVEN) && (!entry.has(REVERSED) || went_on);
        proven || spoke || (!self.egress && went_on && ahead.syn > 0)
    }

    fn fate(&self, key: &FlowKey, entry: &Entry, before: Fate, timed_out: bool, now: Ktime) -> Fate {
        if key.flags & KEY_FRAGMENT != 0 {
            return before;
        }
        match key.proto {
            PROTO_TCP => self.tcp_fate(key, entry, before, timed_out),
            PROTO_UDP | PROTO_ICMP | PROTO_ICMPV6 if entry.reverse.packets > 0 => Fate::Talked,
            PROTO_UDP if timed_out && self.egress && !self.stranger(key, entry, now) => Fate::Unanswered,
            _ => before,
        }
    }

    fn tcp_fate(&self, key: &FlowKey, entry: &Entry, before: Fate, timed_out: bool) -> Fate {
        let (ahead, back) = (&entry.forward, &entry.reverse);
        if before == Fate::Talked {
            return before;
        }
        if ahead.syn == 0 {
            // A truncated TCP header reads as no flags and no ports.
            let readable = key.remote_port != 0 && key.local_port != 0;
            // Past the SYN every segment of a stack carries ACK, save a RST.
            return if readable && ahead.packets > 0 && ahead.ack.max(ahead.rst) == 0 {
                let kind = match (ahead.null > 0, ahead.xmas > 0, ahead.bare_fin > 0) {
                    (true, ..) => Stealth::Null,
                    (_, true, _) => Stealth::Xmas,
                    (.., true) => Stealth::Fin,
                    _ => Stealth::Odd,
                };
                Fate::Probe(kind)
            } else if entry.has(COMPLETED) {
                Fate::Talked
            } else if readable && lone_ack(ahead, back) && !served(key, entry) {
                Fate::Probe(if ahead.fin > 0 { Stealth::Maimon } else { Stealth::Ack })
            } else {
                before
            };
        }
        if entry.has(COMPLETED) {
            let hung_up = ahead.rst > 0 && back.fin == 0 && back.payload < GREETING;
            return if ahead.payload > 0 {
                Fate::Talked
            } else if entry.has(CLOSED) && (back.payload == 0 || hung_up) {
                Fate::Empty
            } else if back.payload > 0 && entry.has(CLOSED) {
                Fate::Talked
            } else {
                before
            };
        }
        if back.synack > 0 {
            return if ahead.rst > 0 || timed_out {
                Fate::HalfOpen
            } else {
                before
            };
        }
        if back.rst > 0 {
            return Fate::Refused;
        }
        if timed_out && back.packets == 0 && self.egress {
            return Fate::Unanswered;
        }
        // Without the other direction, a SYN that nothing followed is all there is to see of a half-open handshake.
        if timed_out && !self.egress {
            return Fate::HalfOpen;
        }
        before
    }
}

/// Whether a record shows a new TCP connection on the ports of one that closed: the kernel had forgotten that one.
fn fresh_connection(record: &FlowRecord, known: &Entry) -> bool {
    record.key.proto == PROTO_TCP
        && known.has(CLOSED)
        && record.state & STATE_REPORTED == 0
        && record.counts.syn > 0
        && record.counts.first_ns > known.last_ns
}

/// Whether the initiator has a server's port and the responder a client's: a server that closes or probes connections
/// its client has forgotten looks like this.
fn served(key: &FlowKey, entry: &Entry) -> bool {
    let (source, target) = ends(key, entry);
    source.1 < SYSTEM_PORTS && target.1 >= SYSTEM_PORTS
}

/// Whether all there was is a bare ACK or two (with FIN or without), met by nothing but RSTs.
fn lone_ack(ahead: &Tally, back: &Tally) -> bool {
    let acks = ahead.packets > 0 && ahead.packets <= 2 && u64::from(ahead.ack) == ahead.packets;
    let bare = ahead.payload + back.payload == 0 && ahead.rst.max(ahead.synack) == 0;
    acks && bare && back.rst > 0 && u64::from(back.rst) == back.packets
}

/// Multicast or limited broadcast: nobody has to answer.
fn to_many(target: Addr) -> bool {
    match IpAddr::from(target) {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// Initiator and responder.
pub(super) fn ends(key: &FlowKey, entry: &Entry) -> ((Addr, u16), (Addr, u16)) {
    let remote = (key.remote, key.remote_port);
    let local = (key.local, key.local_port);
    if entry.has(REVERSED) {
        (local, remote)
    } else {
        (remote, local)
    }
}

/// The parts of an observation that the entry knows.
fn observe(key: &FlowKey, entry: &Entry) -> Observation {
    let (source, target) = ends(key, entry);
    Observation {
        at: entry.seen,
        cause: Cause::TimedOut,
        source: source.0.into(),
        source_port: source.1,
        target: Service {
            ip: target.0.into(),
            port: target.1,
            proto: key.proto,
        },
        from_inside: entry.has(REVERSED),
        forward: entry.forward,
        reverse: entry.reverse,
        forward_delta: Tally::default(),
        reverse_delta: Tally::default(),
        forward_len_max: entry.forward_len_max,
        started: Ktime(entry.first_ns),
        last: Ktime(entry.last_ns),
        remote_proven: entry.has(PROVEN),
        completed: entry.has(COMPLETED),
        completed_now: false,
        closed: entry.has(CLOSED),
        closed_now: false,
        new: false,
        allowed: entry.has(ALLOWED),
        fate: entry.fate,
        fate_now: false,
        companion: entry.has(COMPANION),
        window: super::SourceWindow::default(),
    }
}

/// What is told of a flow that is over.
fn end(key: &FlowKey, entry: &Entry) -> FlowEnd {
    let (source, target) = ends(key, entry);
    let (ahead, back) = (&entry.forward, &entry.reverse);
    FlowEnd {
        source: source.0.into(),
        source_port: source.1,
        target: Service {
            ip: target.0.into(),
            port: target.1,
            proto: key.proto,
        },
        from_inside: entry.has(REVERSED),
        packets_ahead: ahead.packets,
        bytes_ahead: ahead.bytes,
        packets_back: back.packets,
        bytes_back: back.bytes,
        started: Ktime(entry.first_ns),
        last: Ktime(entry.last_ns),
        state: if entry.has(CLOSED) {
            FlowState::Closed
        } else if entry.has(COMPLETED) || ahead.packets > 0 && back.packets > 0 {
            FlowState::Established
        } else {
            FlowState::New
        },
    }
}
