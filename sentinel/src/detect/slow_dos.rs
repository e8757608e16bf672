//! Exhausting a service with connections that are held open and get nowhere.
//!
//! Looks for: endpoint denial of service by exhaustion (MITRE ATT&CK T1499.001, T1499.002): slow headers (slowloris), slow
//! bodies, slow reading, idle connections. Blind spots: fewer connections than the limit from each of many sources;
//! requests that are expensive rather than slow; a slow request after an answer on the same connection; services on other
//! ports; HTTP/2 and HTTP/3 streams inside one connection.
//! Known false positives: many people behind one address who all paused a video that is sent over plain connections.

use super::{Detector, Finding, Voice, place, row, share, span};
use crate::config::SlowDosConfig;
use crate::flow::{Bounded, Observation};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime};
use sentinel_common::addr::Addr;
use std::time::Duration;

/// What a client may say without being answered and still be called slow, payload bytes per report.
const CRUMB: u64 = 512;
/// Apart in time so far, crumbs count one by one.
const APART: Duration = Duration::from_secs(1);
/// Window probes that say the client does not read (RFC 9293 3.8.6.1), within `PROBING` of the last payload.
const PROBES: u8 = 3;
const PROBING: Duration = Duration::from_secs(15);
/// A connection not heard of for so long is forgotten.
const GONE: Duration = Duration::from_mins(5);
/// So many times the connections that get nowhere may all that are open be: behind a shared address most get somewhere.
const SHARE: usize = 2;
/// How often the connections of a pair are counted.
const LOOK: Duration = Duration::from_millis(500);

/// One open connection.
#[derive(Clone, Copy, Debug)]
struct Held {
    port: u16,
    opened: Ktime,
    /// The server said something, or the connection was opened.
    progress: Ktime,
    /// The client said something.
    spoke: Ktime,
    seen: Ktime,
    crumbs: u8,
    probes: u8,
    /// Anybody said anything, or may have before we looked.
    used: bool,
    /// The server did.
    answered: bool,
}

impl Held {
    fn stalled(&self, at: Ktime, stall: Duration) -> bool {
        let nowhere = !self.used || self.crumbs > 0 || self.probes >= PROBES;
        nowhere && at.since(self.progress) >= stall
    }
}

/// Open connections of one source to one service.
#[derive(Debug, Default)]
struct Pair {
    open: Vec<Held>,
    looked: Ktime,
}

/// Counts, per source and service, open connections without progress.
///
/// A connection gets nowhere while the server has said nothing for `stall`, and the client adds a crumb now and then, or
/// does not read what the server has for it, or nobody said anything yet. A request that waits for its answer, an upload
/// and an idle connection after an answer do not count. At least half of what the source holds open must get nowhere.
#[derive(Debug)]
pub struct SlowDos {
    pairs: Bounded<(Addr, Addr, u16), Pair>,
    dropped: u64,
    ports: Vec<u16>,
    limit: u32,
    stall: Duration,
    egress: bool,
}

impl SlowDos {
    /// Nothing open yet. Without `egress` no progress is seen, and the detector is silent.
    pub fn new(config: &SlowDosConfig, sources: usize, egress: bool) -> Self {
        let mut ports = config.ports.clone();
        ports.sort_unstable();
        Self {
            pairs: Bounded::new(Self::capacity(sources)),
            dropped: 0,
            ports,
            limit: config.connections.max(2),
            stall: config.stall,
            egress,
        }
    }

    /// Pairs of source and service: one in 64 of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 64)
    }

    /// Connections kept per pair: four times the limit.
    fn cap(limit: u32) -> usize {
        4 * limit as usize
    }

    pub(super) fn memory_bound(config: &SlowDosConfig, sources: usize) -> usize {
        // A vector may have just doubled.
        let own = 2 * Self::cap(config.connections) * size_of::<Held>();
        Bounded::<(Addr, Addr, u16), Pair>::memory_bound(Self::capacity(sources)) + Self::capacity(sources) * own
    }

    fn note(&mut self, o: &Observation) -> Option<u32> {
        let key = (Addr::from(o.source), Addr::from(o.target.ip), o.target.port);
        if o.closed {
            let pair = self.pairs.peek_mut(&key)?;
            pair.open.retain(|held| held.port != o.source_port);
            if pair.open.is_empty() {
                self.pairs.remove(&key);
            }
            return None;
        }
        let pair = self.pairs.touch_or(key, Pair::default);
        let place = pair.open.iter().position(|held| held.port == o.source_port);
        let index = if let Some(index) = place {
            index
        } else {
            if pair.open.len() >= Self::cap(self.limit) {
                // Whoever gets somewhere makes room, so that good connections hide no bad ones.
                self.dropped += 1;
                let idle = pair.open.iter().position(|held| held.progress > held.opened)?;
                pair.open.remove(idle);
            }
            pair.open.push(Held {
                port: o.source_port,
                opened: o.started,
                progress: o.started,
                spoke: o.started,
                seen: o.at,
                crumbs: 0,
                probes: 0,
                used: o.forward.syn == 0,
                answered: o.forward.syn == 0,
            });
            pair.open.len() - 1
        };
        touch(&mut pair.open[index], o);
        if o.at.since(pair.looked) < LOOK {
            return None;
        }
        pair.looked = o.at;
        pair.open.retain(|held| o.at.since(held.seen) < GONE);
        let stalled = pair.open.iter().filter(|held| held.stalled(o.at, self.stall)).count();
        (SHARE * stalled >= pair.open.len()).then_some(stalled as u32)
    }

    fn finding(&self, o: &Observation, stalled: u32) -> Finding {
        let open = self
            .pairs
            .peek(&(Addr::from(o.source), Addr::from(o.target.ip), o.target.port))
            .map_or(0, |pair| pair.open.len());
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::SlowDos,
            technique: "slow connections".into(),
            ratio: f64::from(stalled) / f64::from(self.limit),
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row("stalled", stalled.into(), self.limit.into(), "connections"),
                row("open", open as f64, 0.0, "connections"),
            ],
            summary: format!(
                "{} holds {stalled} connections to {} open that got nowhere for {} or longer; the limit is {}",
                o.source,
                place(&o.target),
                span(self.stall),
                self.limit
            ),
        }
    }
}

/// Takes in what came of a connection.
fn touch(held: &mut Held, o: &Observation) {
    let (ahead, back) = (&o.forward_delta, &o.reverse_delta);
    held.seen = o.at;
    held.used |= o.forward.payload > 0 || o.reverse.payload > 0;
    held.answered |= o.reverse.payload > 0;
    if back.payload > 0 || ahead.payload > CRUMB {
        (held.progress, held.crumbs, held.probes) = (o.at, 0, 0);
    } else if ahead.payload > 0 && o.at.since(held.spoke) >= APART {
        // The first word is a request, and may well wait for its answer. Who was answered once may keep the connection alive,
        // or go on to send what needs no answer.
        let first = o.forward.payload == ahead.payload || held.answered;
        held.crumbs = held.crumbs.saturating_add(u8::from(!first));
    } else if back.packets > 0 && held.spoke <= held.progress && o.at.since(held.progress) <= PROBING {
        let probes = u8::try_from(back.packets).unwrap_or(u8::MAX);
        let late = o.at.since(held.progress) >= APART;
        held.probes = held.probes.saturating_add(if late { probes } else { 0 });
    }
    if ahead.payload > 0 {
        held.spoke = o.at;
    }
}

impl Detector for SlowDos {
    fn name(&self) -> Name {
        Name::SlowDos
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let watched = self.egress && o.tcp() && !o.from_inside && self.ports.binary_search(&o.target.port).is_ok();
        // Whoever never proved that it receives is a matter of SYN floods.
        if !watched || !o.completed {
            return None;
        }
        let stalled = self.note(o)?;
        let ratio = f64::from(stalled) / f64::from(self.limit);
        if ratio < 1.0 || !voice.may(o.source, Name::SlowDos, Family::SlowDos, ratio, o.at) {
            return None;
        }
        Some(self.finding(o, stalled))
    }

    fn load(&self) -> (usize, u64) {
        (self.pairs.len(), self.pairs.evicted() + self.dropped)
    }
}
