//! From flow records to feature records.

use super::limits::Limits;
use super::piece::{ACTIVE, IDLE, LAST_MARK, LINGER, MARKS, Piece, SECOND, STEP_NS, Steps, steps};
use super::record::{Cut, FeatureRecord};
use super::vector::vector;
use super::windows::Windows;
use crate::flow::{Bounded, Observation};
use crate::types::{Ktime, Service};
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{EGRESS, FlowKey, Half};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What surrounds a flow is told as of this long after its latest packet, at most: at the end of 15 quiet seconds
/// the source's last 10 would be empty.
const NEAR: Steps = 5 * SECOND;
/// What a builder had to give up, cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureLosses {
    /// Flows told early because there was no room.
    pub flows: u64,
    /// Sources forgotten because their table was full.
    pub sources: u64,
    /// Destinations likewise.
    pub destinations: u64,
    /// Pairs likewise.
    pub pairs: u64,
    /// Services likewise.
    pub services: u64,
    /// Sketches likewise.
    pub sketches: u64,
    /// Segments after the end of their connection, not told.
    pub echoes: u64,
}

impl FeatureLosses {
    /// Everything that had to make room.
    pub const fn total(&self) -> u64 {
        self.flows + self.sources + self.destinations + self.pairs + self.services + self.sketches
    }
}

/// Makes feature records from flow records. Synchronous; takes the time, reads no clock.
///
/// A flow ends after 15 quiet seconds, or a second after its TCP connection; one that goes on is told of every 60 s,
/// each time of what came since. So that nobody waits a minute for a verdict, a flow is also told of 3, 10 and 30 s
/// after its beginning (later pieces: 30 s), each time of everything since the beginning of the piece; where nothing
/// came since the last record, there is none. Training and serving see the same records.
///
/// Windows are those up to the time of the record, or to 5 s after the flow's latest packet where that is earlier.
#[derive(Debug)]
pub struct Builder {
    pieces: Bounded<FlowKey, Piece>,
    windows: Windows,
    due: BinaryHeap<Reverse<(Steps, FlowKey)>>,
    now: Steps,
    begun: u32,
    echoes: u64,
}

impl Builder {
    /// An empty builder.
    pub fn new(limits: &Limits) -> Self {
        Self {
            pieces: Bounded::new(limits.flows),
            windows: Windows::new(limits),
            due: BinaryHeap::new(),
            now: 0,
            begun: 0,
            echoes: 0,
        }
    }

    /// Flows held.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether no flow is held.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Looks that are to be taken at flows.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.due.len()
    }

    /// Sources, destinations, pairs, services and sketches held.
    pub fn held(&self) -> [usize; 5] {
        self.windows.held()
    }

    /// What had to be given up so far.
    pub fn losses(&self) -> FeatureLosses {
        let [sources, destinations, pairs, services, sketches] = self.windows.evicted();
        FeatureLosses {
            flows: self.pieces.evicted(),
            sources,
            destinations,
            pairs,
            services,
            sketches,
            echoes: self.echoes,
        }
    }

    /// Upper bound of the builder's heap, bytes, whatever the traffic: about 80 MiB with the default limits.
    pub const fn memory_bound(limits: &Limits) -> usize {
        // The queue is cleared at twice the flows, and may have just doubled.
        let due = 4 * (limits.flows + 1) * size_of::<(Steps, FlowKey)>();
        Bounded::<FlowKey, Piece>::memory_bound(limits.flows) + Windows::memory_bound(limits) + due
    }

    /// Takes in a record and what the flow table made of it; appends what is due by then to `out`.
    pub fn record(&mut self, record: &FlowRecord, seen: &Observation, out: &mut Vec<FeatureRecord>) {
        self.tick(Ktime(record.now_ns), out);
        let key = record.key;
        if seen.new
            && let Some(mut piece) = self.pieces.remove(&key)
        {
            // The flow table knows a new connection from the old one, or had to forget it.
            let cut = if piece.closes == Steps::MAX {
                Cut::Evicted
            } else {
                Cut::Closed
            };
            self.tell(&key, &mut piece, cut, self.now, out);
        }
        let counts = &record.counts;
        let news = counts.packets > 0;
        let mut piece = match self.pieces.peek(&key) {
            Some(piece) => *piece,
            None if news => self.begin(record, seen),
            None => return,
        };
        let at = steps(counts.last_ns).min(self.now);
        if news {
            let ahead = seen.from_inside == (record.direction == EGRESS);
            let half = if ahead { &mut piece.forward } else { &mut piece.reverse };
            half.absorb(counts);
            self.windows
                .sent(piece.id, piece.source, piece.service, at, (ahead, counts));
            piece.last = piece.last.max(at);
            piece.news = true;
        }
        piece.allowed = seen.allowed;
        piece.completed |= seen.completed;
        if seen.closed && !piece.echo && piece.closes == Steps::MAX {
            piece.closes = self.now + LINGER;
        }
        let due = piece.next_due();
        // Later is seen to when the time comes.
        let sooner = due < piece.due;
        if sooner {
            piece.due = due;
        }
        if let Some((key, mut evicted)) = self.pieces.insert(key, piece) {
            self.tell(&key, &mut evicted, Cut::Evicted, self.now, out);
        }
        if sooner {
            self.queue(due, key);
        }
    }

    /// Lets time pass; appends what is due by then to `out`, in the order in which it is due.
    pub fn tick(&mut self, now: Ktime, out: &mut Vec<FeatureRecord>) {
        self.now = steps(now.0).max(self.now);
        while let Some(Reverse((due, key))) = self.due.peek().copied() {
            if due > self.now {
                break;
            }
            self.due.pop();
            self.look(due, key, out);
        }
    }

    /// Ends every flow.
    pub fn finish(&mut self, out: &mut Vec<FeatureRecord>) {
        while let Some((key, mut piece)) = self.pieces.pop_oldest() {
            self.tell(&key, &mut piece, Cut::End, self.now, out);
        }
        self.due.clear();
    }

    fn begin(&mut self, record: &FlowRecord, seen: &Observation) -> Piece {
        let (id, counts) = (self.begun, &record.counts);
        self.begun = self.begun.wrapping_add(1);
        let service = (seen.target.ip.into(), seen.target.port, seen.target.proto);
        let source = seen.source.into();
        let start = steps(counts.first_ns).min(self.now);
        let echo = seen.closed && !seen.closed_now && !seen.new;
        if !echo {
            self.windows.began(id, source, service, start);
        }
        Piece {
            id,
            source,
            source_port: seen.source_port,
            service,
            forward: Half::default(),
            reverse: Half::default(),
            start,
            last: start,
            closes: Steps::MAX,
            due: Steps::MAX,
            mark: 0,
            from_inside: seen.from_inside,
            allowed: seen.allowed,
            completed: seen.completed,
            news: false,
            told: !seen.new,
            unjudged: !echo,
            echo,
        }
    }

    /// Sees what a flow's time has brought.
    fn look(&mut self, due: Steps, key: FlowKey, out: &mut Vec<FeatureRecord>) {
        let Some(mut piece) = self.pieces.peek(&key).copied().filter(|piece| piece.due == due) else {
            return;
        };
        let ends = if piece.closes <= due {
            Some(Cut::Closed)
        } else if piece.last + IDLE <= due {
            Some(Cut::Idle)
        } else {
            None
        };
        if let Some(cut) = ends {
            self.pieces.remove(&key);
            self.tell(&key, &mut piece, cut, due, out);
            return;
        }
        if piece.start + ACTIVE <= due {
            self.tell(&key, &mut piece, Cut::Active, due, out);
            piece.forward = Half::default();
            piece.reverse = Half::default();
            piece.start = due;
            piece.mark = LAST_MARK;
        } else {
            while MARKS
                .get(usize::from(piece.mark))
                .is_some_and(|m| piece.start + m <= due)
            {
                piece.mark += 1;
                self.tell(&key, &mut piece, Cut::Mark, due, out);
            }
        }
        piece.due = piece.next_due();
        if let Some(kept) = self.pieces.peek_mut(&key) {
            *kept = piece;
        }
        self.queue(piece.due, key);
    }

    /// Tells of a flow, where there is news, as of `at`.
    fn tell(&mut self, key: &FlowKey, piece: &mut Piece, cut: Cut, at: Steps, out: &mut Vec<FeatureRecord>) {
        if !std::mem::take(&mut piece.news) {
            return;
        }
        if piece.nothing_but_echo() {
            self.echoes += 1;
            return;
        }
        if std::mem::take(&mut piece.unjudged) {
            self.windows.judged(piece.source, at, piece.failed());
        }
        let (source, service) = (piece.source, piece.service);
        let around = self.windows.around(source, service, at.min(piece.last + NEAR));
        let (forward, reverse) = (&piece.forward, &piece.reverse);
        let first = [forward, reverse].into_iter().filter(|half| half.packets > 0);
        let (ip, port, proto) = service;
        out.push(FeatureRecord {
            at: Ktime(at * STEP_NS),
            source: source.into(),
            source_port: piece.source_port,
            target: Service {
                ip: ip.into(),
                port,
                proto,
            },
            from_inside: piece.from_inside,
            start: Ktime(first.clone().map(|half| half.first_ns).min().unwrap_or_default()),
            end: Ktime(first.map(|half| half.last_ns).max().unwrap_or_default()),
            cut,
            continued: std::mem::replace(&mut piece.told, true),
            packets: forward.packets,
            allowed: piece.allowed,
            vector: vector(key.proto, forward, reverse, &around),
        });
    }

    /// Remembers to look at a flow. A look that was put forward leaves its old place behind; of such there are never
    /// more than flows.
    fn queue(&mut self, due: Steps, key: FlowKey) {
        if self.due.len() > 2 * self.pieces.capacity() {
            let pieces = &self.pieces;
            let valid = |(due, key): &(Steps, FlowKey)| pieces.peek(key).is_some_and(|piece| piece.due == *due);
            self.due.retain(|Reverse(entry)| valid(entry));
        }
        self.due.push(Reverse((due, key)));
    }
}
